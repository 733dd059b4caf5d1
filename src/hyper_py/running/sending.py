"""Which files of a run, or which single files, go to other programs by SAMP."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from astropy.table import Table

from hyper_py.diagnostics import InputError
from hyper_py.files import read_small
from hyper_py.reading.fits_files import open_fits
from hyper_py.writing.layout import MANIFEST
from hyper_py.writing.samp import Delivery, Message, send
from hyper_py.writing.tables import read_any_table

_LARGEST_MANIFEST = 1_000_000_000
_TABLES = (".vot", ".xml", ".ecsv", ".csv", ".txt", ".parquet")


def send_files(paths: Sequence[Path], *, to: str | None = None) -> tuple[Delivery, ...]:
    """Send the results of runs, tables, maps and DS9 regions to other programs.

    Parameters
    ----------
    paths : sequence of Path
        Output directories of runs, of which maps, catalogues and apertures are sent; or single files.
    to : str, optional
        Part of the name of the program.

    Raises
    ------
    InputError
        If a path is none of these, or nobody can load it.
    """
    with tempfile.TemporaryDirectory(prefix="hyper-py-") as folder:
        found = [message for path in paths for message in _messages(path)]
        return send([_as_votable(one, Path(folder), k) for k, one in enumerate(found)], to=to)


def _messages(path: Path) -> Iterator[Message]:
    if path.is_dir():
        yield from _of_run(path)
    elif not path.is_file():
        raise InputError(f"{path}: no such file or directory")
    elif path.suffix.lower() == ".reg":
        yield Message(kind="regions", path=path, name=path.stem)
    elif path.suffix.lower() in _TABLES or not _is_map(path):
        yield Message(kind="table", path=path, name=path.stem)
    else:
        yield Message(kind="image", path=path, name=path.stem)


def _is_map(path: Path) -> bool:
    with open_fits(path) as file:
        return bool(file.images)


def _of_run(root: Path) -> Iterator[Message]:
    """Yield map, catalogue and apertures of each map of a run."""
    try:
        maps = json.loads(read_small(root / MANIFEST, most=_LARGEST_MANIFEST))["maps"]
        done = [(str(one["name"]), Path(one["path"]), list(one["outputs"])) for one in maps if one["outputs"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{root}: no {MANIFEST} of a run there: name the output directory of a run"
        ) from None
    for name, path, outputs in done:
        if path.is_file():
            yield Message(kind="image", path=path, name=name)
        tables = [root / one for one in outputs if Path(one).suffix in (".ecsv", ".vot", ".csv", ".txt")]
        if tables:
            best = min(tables, key=lambda one: (".ecsv", ".vot", ".csv", ".txt").index(one.suffix))
            yield Message(kind="table", path=best, name=f"{name} sources")
        regions = [root / one for one in outputs if one.endswith("_ellipses.reg")]
        if regions:
            yield Message(kind="regions", path=regions[0], name=name)


def _as_votable(message: Message, folder: Path, number: int) -> Message:
    """Return a table as a VOTable, which every program loads."""
    if message.kind != "table" or message.path.suffix.lower() in (".vot", ".xml"):
        return message
    table: Table = read_any_table(message.path)
    path = folder / f"{number}.vot"
    table.write(path, format="votable")
    return Message(kind="table", path=path, name=message.name)
