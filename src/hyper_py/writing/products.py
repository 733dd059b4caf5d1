"""What a run writes: where each file goes, all files of a map at once or none, and what was done when.

The outputs of a map are written under temporary names beside their places, renamed, and only then recorded
in the map's state file. A map with a state file is complete, whatever happened to the run.
"""

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy.table import Column as TableColumn
from astropy.table import Table

from hyper_py import __version__
from hyper_py.arrays import FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.image import SkyImage
from hyper_py.numerics.tiles import Plane
from hyper_py.writing.tables import (
    SUFFIXES,
    TEXT_FORMS,
    coordinate_decimals,
    join_tables,
    prepare_table,
    template_of,
    write_table,
)

STATE_DIR = ".hyper_py"
"""Hidden directory of the states of maps, below the output directory."""

MANIFEST = "run.json"
REPORT_DIR = "report"
MERGED_NAME = "ALL"
REGION_KINDS = ("centroids", "ellipses")
_TEMPORARY = ".hyper-tmp"
_VALUES_AT_ONCE = 4_000_000
_BATCH_ROWS, _BATCH_MAPS = 10_000, 1000
_CUBE_NAMES = {"background": "background_cube_fullsize", "cut": "background_cube_cut"}

# ----------------------------------------------------------------------------------------- where files go


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where outputs go: directories and first parts of names, relative to `root`."""

    root: Path
    tables: str = "params"
    regions: str = "regions"
    logs: str = "logs"
    table_base: str = "params"
    region_base: str = "region_files"
    log_name: str = "hyper_py.log"
    formats: tuple[str, ...] = ("ipac", "ecsv", "csv")
    fitting: str | None = None
    deblended: str | None = None
    background: str | None = None
    noise: str | None = None
    cubes: str = "maps"
    plot_fitting: str | None = None
    plot_deblended: str | None = None
    plot_background: str | None = None
    plot_noise: str | None = None

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Take what a configuration says about outputs."""
        paths, files, fits = config.paths.output, config.files, config.fits_output
        plots = config.visualization
        return cls(
            root=Path(os.path.abspath(config.below_root())),
            tables=paths.dir_table_out,
            regions=paths.dir_region_out,
            logs=paths.dir_log_out,
            table_base=files.file_table_base,
            region_base=files.file_region_base,
            log_name=files.file_log_name,
            formats=tuple(config.outputs.tables),
            fitting=fits.fits_output_dir_fitting if fits.fits_fitting else None,
            deblended=fits.fits_output_dir_deblended if fits.fits_deblended else None,
            background=fits.fits_output_dir_bg_separate if fits.fits_bg_separate else None,
            noise=fits.fits_output_dir_noise if fits.fits_noise else None,
            cubes=config.control.dir_datacube_slices,
            plot_fitting=plots.output_dir_fitting if plots.visualize_fitting else None,
            plot_deblended=plots.output_dir_deblended if plots.visualize_deblended else None,
            plot_background=plots.output_dir_bg_separate if plots.visualize_bg_separate else None,
            plot_noise=plots.output_dir_noise if plots.visualize_noise else None,
        )

    def table(self, name: str, form: str) -> str:
        """Catalogue of a map, or of all with `MERGED_NAME`."""
        return f"{self.tables}/{self.table_base}_{name}{SUFFIXES[form]}"

    def region(self, name: str, kind: str) -> str:
        """Region file; `kind` is centroids or ellipses."""
        return f"{self.regions}/{self.region_base}_{name}_{kind}.reg"

    def crtf(self, name: str) -> str:
        """Apertures as a CASA region file."""
        return f"{self.regions}/{self.region_base}_{name}_ellipses.crtf"

    def map_log(self, name: str) -> str:
        """Log of one map."""
        return f"{self.logs}/Hyper_log_{name}.log"

    def covariances(self, name: str) -> str:
        """Covariances of the parameters of each fit of a map."""
        return f"{self.tables}/covariances_{name}.ecsv"

    def map_figure(self, name: str) -> str:
        """Figure of the map with all its sources."""
        return f"plots/{name}_map.svg"

    def images(self, name: str) -> dict[str, str]:
        """FITS images of a map that were asked for, by what they show."""
        wanted = {
            "model": self.fitting,
            "residual": self.fitting,
            "rms": self.fitting,
            "background": self.background,
        }
        return {what: f"{place}/{name}_{what}.fits" for what, place in wanted.items() if place is not None}

    def noise_files(self, name: str) -> dict[str, str]:
        """FITS file and figure of the noise of a map that were asked for, by their suffix."""
        wanted = {"fits": self.noise, "png": self.plot_noise}
        return {
            suffix: f"{place}/{name}_noise.{suffix}" for suffix, place in wanted.items() if place is not None
        }

    def outputs(self, name: str) -> list[str]:
        """Every file that a map may have, but for its log and state."""
        tables = [self.table(name, form) for form in SUFFIXES]
        regions = [self.region(name, kind) for kind in REGION_KINDS]
        return [
            *tables,
            *regions,
            self.crtf(name),
            *self.images(name).values(),
            *self.noise_files(name).values(),
            self.covariances(name),
            self.map_figure(name),
            self.rows(name),
            report_data_name(name),
        ]

    def cube(self, name: str, kind: str) -> str:
        """Cube made from a cube; of the background there is one of full size, and one cut to a region."""
        return f"{self.cubes}/{name}_{_CUBE_NAMES.get(kind, kind + '_cube')}.fits"

    def slice(self, name: str) -> str:
        """Channel of a cube as a map."""
        return f"{self.cubes}/{name}.fits"

    def spectra(self, name: str, form: str) -> str:
        """Spectra of the sources of a cube."""
        return f"{self.tables}/spectra_{name}{SUFFIXES[form]}"

    def spectra_figure(self, name: str) -> str:
        """Figure of these spectra."""
        return f"plots/spectra_{name}.png"

    def state(self, name: str) -> str:
        """Record of a complete map."""
        return f"{STATE_DIR}/{name}.json"

    def rows(self, name: str) -> str:
        """Catalogue of a complete map in full precision, from which the merged one is made."""
        return f"{STATE_DIR}/{name}.npy"

    def directories(self) -> tuple[Path, ...]:
        """All directories in which this run writes."""
        names = (
            self.tables,
            self.regions,
            self.logs,
            STATE_DIR,
            self.fitting,
            self.deblended,
            self.background,
            self.noise,
            self.plot_fitting,
            self.plot_deblended,
            self.plot_background,
            self.plot_noise,
        )
        return (self.root, *(self.root / name for name in names if name is not None))


def report_data_name(name: str) -> str:
    """Return where the report's data of a map are, relative to the output directory."""
    return f"{STATE_DIR}/{name}.report.npz"


# ------------------------------------------------------------------------------------------------- atomic


class Stage:
    """Files that appear together, or not at all, as far as a file system can promise that.

    Use as a context manager: what was written to the paths given by `path` is renamed into place when the
    block ends well, in the order asked for, and removed when it does not.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._token = uuid.uuid4().hex[:12]
        self._staged: dict[str, Path] = {}

    def path(self, relative: str) -> Path:
        """Return the temporary path to write the output `relative` to; in the same directory."""
        final = self.root / relative
        final.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last: writers look at it.
        temporary = final.with_name(f".{final.stem}.{self._token}{_TEMPORARY}{final.suffix}")
        self._staged[relative] = temporary
        return temporary

    def text(self, relative: str, text: str) -> None:
        """Write a text file."""
        self.path(relative).write_text(text, encoding="utf-8")

    @property
    def names(self) -> tuple[str, ...]:
        """What was staged, in order."""
        return tuple(self._staged)

    def sizes(self) -> dict[str, int]:
        """Bytes of each staged file."""
        return {name: path.stat().st_size for name, path in self._staged.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, *_: object) -> None:
        try:
            if kind is None:
                for relative, temporary in self._staged.items():
                    os.replace(temporary, self.root / relative)
        finally:
            for temporary in self._staged.values():
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # The file that could not be written, by the name that the user knows.
            for relative, temporary in self._staged.items():
                if str(error.filename) == str(temporary):
                    raise OSError(error.errno, error.strerror, str(self.root / relative)) from None


def write_text(root: Path, relative: str, text: str) -> None:
    """Write one text file atomically."""
    with Stage(root) as stage:
        stage.text(relative, text)


def remove_stale(directories: Iterable[Path]) -> int:
    """Remove temporary files that a killed run has left; return how many."""
    stale = [path for directory in directories if directory.is_dir() for path in directory.iterdir()]
    stale = [path for path in stale if path.name.startswith(".") and _TEMPORARY in path.name]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


@contextmanager
def locked(layout: Layout) -> Iterator[bool]:
    """Hold the output directory for one run; yields False if another run holds it.

    Where the system or the file system knows no locks, nothing is held and True is yielded.
    """
    path = layout.root / STATE_DIR / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except (ImportError, OSError):
            pass
        yield True


# ------------------------------------------------------------------------------------------------- one map


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_catalogue(
    stage: Stage, layout: Layout, catalog: Table, *, name: str, pixel_scale: float, meta: Mapping[str, Any]
) -> None:
    """Stage the catalogue of one map in all formats asked for, and its rows for the merged one.

    Parameters
    ----------
    catalog : Table or QTable
        As `hyper_py.catalog` makes it.
    pixel_scale : float
        Arcsec; decides the digits of coordinates.
    meta : mapping
        What the run was, for the headers.
    """
    prepared = prepare_table(catalog, pixel_scale=pixel_scale, meta=meta)
    template = template_of(prepared, text_widths={}, meta=prepared.meta)
    for form in layout.formats:
        path = stage.path(layout.table(name, form))
        write_table(path, [prepared], form=form, template=template)
    np.save(stage.path(layout.rows(name)), prepared.as_array())


def describe_columns(catalog: Table) -> list[list[str]]:
    """Return name, unit and description of each column: what `write_catalogue`'s rows do not hold."""
    return [
        [name, str(column.unit or ""), column.info.description or ""]
        for name, column in catalog.columns.items()
    ]


def write_regions(
    stage: Stage, layout: Layout, catalog: Table, image: SkyImage, *, name: str, fwhm_radius_ratio: float
) -> None:
    """Stage the region files of one map: centroids, and the ellipses of the apertures."""
    from hyper_py.writing.sky_regions import crtf_text, ds9_texts

    # What is read back lies within a millionth of a pixel.
    decimals = max(8, coordinate_decimals(image.pixel_scale) + 4)
    texts = ds9_texts(catalog, image.wcs, fwhm_radius_ratio=fwhm_radius_ratio, decimals=decimals)
    for kind, text in zip(REGION_KINDS, texts, strict=True):
        stage.text(layout.region(name, kind), text)
    stage.text(
        layout.crtf(name),
        crtf_text(catalog, image.wcs, fwhm_radius_ratio=fwhm_radius_ratio, decimals=decimals),
    )


def write_image(
    path: Path, data: FloatArray, image: SkyImage, *, what: str, where: tuple[slice, slice] | None = None
) -> None:
    """Write an image that belongs to a map, in the map's own unit and coordinates, as float32.

    Parameters
    ----------
    path : Path
        FITS file.
    data, image, what, where
        See `image_hdu`.
    """
    image_hdu(data, image, what=what, where=where).writeto(path, overwrite=True)


def image_hdu(
    data: FloatArray,
    image: SkyImage,
    *,
    what: str,
    where: tuple[slice, slice] | None = None,
    name: str | None = None,
) -> Any:
    """Return an image that belongs to a map, in the map's own unit and coordinates, as float32.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Jy/pixel.
    image : SkyImage
        The map.
    what : str
        What the pixels are, for the header.
    where : (slice, slice), optional
        Rows and columns of the map that `data` are; None for all.
    name : str, optional
        Name of an extension; None for a primary HDU.

    Returns
    -------
    astropy.io.fits.PrimaryHDU or ImageHDU
    """
    from astropy.io import fits

    factor: Any = image.jy_per_pixel
    if where is not None and isinstance(factor, np.ndarray):
        factor = factor[where]
    header = _image_header(image, what, where)
    values = np.asarray(data / factor, dtype=np.float32)
    if name is None:
        return fits.PrimaryHDU(values, header=header)
    return fits.ImageHDU(values, header=header, name=name)


def write_plane(path: Path, plane: Plane, image: SkyImage, *, what: str) -> None:
    """Write an image that belongs to a map as `write_image` does, some rows at a time."""
    from astropy.io import fits

    ny, nx = image.shape
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": nx, "NAXIS2": ny})
    header.extend(_image_header(image, what, None))
    path.unlink(missing_ok=True)  # the stream would go on at its end
    stream = fits.StreamingHDU(str(path), header)  # of a Path it looks at the name only
    factor: Any = image.jy_per_pixel
    step = max(1, _VALUES_AT_ONCE // nx)
    for first in range(0, ny, step):
        rows, columns = slice(first, min(first + step, ny)), slice(0, nx)
        own = factor if isinstance(factor, float) else factor[rows, columns]
        stream.write(np.asarray(plane[rows, columns] / own, dtype=np.float32))
    stream.close()


def _image_header(image: SkyImage, what: str, where: tuple[slice, slice] | None) -> Any:
    """Return the header of an image that belongs to a map, or to a part of it."""
    header = (image.wcs if where is None else image.wcs[where]).to_header()
    header["BUNIT"] = image.unit
    header["BMAJ"] = (image.beam.major / 3600.0, "[deg] beam FWHM")
    header["BMIN"] = (image.beam.minor / 3600.0, "[deg] beam FWHM")
    header["BPA"] = (image.beam.pa, "[deg] east of north")
    header["CONTENT"] = what
    header["CREATOR"] = f"Hyper-Py {__version__}"
    return header


# -------------------------------------------------------------------------------------------------- state


def read_state(layout: Layout, name: str) -> dict[str, Any] | None:
    """Return the record of a complete map, or None; one that cannot be read is none."""
    try:
        state = json.loads((layout.root / layout.state(name)).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def state_is_current(layout: Layout, state: Mapping[str, Any], *, checksum: str, fingerprint: str) -> bool:
    """Whether a record is of this input and configuration, and all its files are still as written."""
    if (state.get("checksum"), state.get("fingerprint")) != (checksum, fingerprint):
        return False
    sizes = state.get("sizes")
    if not isinstance(sizes, dict):
        return False
    for relative, size in sizes.items():
        try:
            if (layout.root / relative).stat().st_size != size:
                return False
        except OSError:
            return False
    return True


def forget_map(layout: Layout, name: str) -> None:
    """Remove the record of a map, the outputs that it names, and those that this run would write."""
    state = read_state(layout, name) or {}
    (layout.root / layout.state(name)).unlink(missing_ok=True)
    for relative in {*state.get("sizes", {}), *layout.outputs(name)}:
        with suppress(OSError):
            (layout.root / relative).unlink(missing_ok=True)


def as_json(value: Any) -> str:
    """Return JSON for people and programs; numbers that JSON lacks become null."""
    return json.dumps(_clean(value), indent=2, ensure_ascii=False, default=str) + "\n"


def _clean(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


# ------------------------------------------------------------------------------------------------- merged


def remove_merged(layout: Layout) -> None:
    """Remove merged catalogues of an earlier run."""
    for form in SUFFIXES:
        (layout.root / layout.table(MERGED_NAME, form)).unlink(missing_ok=True)


def parts_of(layout: Layout, name: str) -> list[str]:
    """Return the maps that a complete input consists of: itself, or the channels of a cube."""
    state = read_state(layout, name) or {}
    return list(state.get("parts", [name]))


def write_merged(
    layout: Layout, names: Sequence[str], *, meta: Mapping[str, Any], merged: str = MERGED_NAME
) -> tuple[str, ...]:
    """Write the catalogue of several complete maps, with some thousand rows in memory at a time.

    It has the columns that all of them have.

    Parameters
    ----------
    names : sequence of str
        Complete maps, in the order of the rows.
    meta : mapping
        What the run was, for the headers.
    merged : str
        In the names of the files.

    Returns
    -------
    tuple of str
        Files written; none without a map.
    """
    if not names:
        return ()
    columns: list[list[str]] = []
    pixel_scale, n_rows = math.inf, 0
    looks = set()
    for name in names:
        state = read_state(layout, name)
        if state is None:
            raise InputError(
                f"{layout.root / layout.state(name)}: gone while the run was going on; use --resume"
            )
        own = {column[0]: column for column in state["columns"]}
        columns = [column for column in columns if column[0] in own] if columns else [*own.values()]
        pixel_scale = min(pixel_scale, float(state["pixel_scale"]))
        n_rows += int(state["n_sources"])
        decimals = coordinate_decimals(float(state["pixel_scale"]))
        looks.add((json.dumps(state["columns"]), decimals, max(len(name), len("MAP_ID"))))

    def table_of(parts: Sequence[np.ndarray[Any, Any]]) -> Table:
        table = Table()
        for column, unit, description in columns:
            values = np.concatenate([rows[column] for rows in parts])
            table[column] = TableColumn(values, unit=unit or None, description=description)
        return prepare_table(table, pixel_scale=pixel_scale, meta={})

    stored = [layout.root / layout.rows(name) for name in names]
    header = {**meta, "n_sources": n_rows}
    first = table_of([np.load(stored[0])])
    template = template_of(first, text_widths={"MAP_ID": max(map(len, names))}, meta=header)
    with Stage(layout.root) as stage:
        for form in layout.formats:
            path = stage.path(layout.table(merged, form))
            parts = [layout.root / layout.table(name, form) for name in names]
            if len(looks) == 1 and form in TEXT_FORMS and all(part.exists() for part in parts):
                join_tables(path, parts, form=form, template=template)
            else:
                batches = map(table_of, _in_batches(map(np.load, stored)))
                write_table(path, batches, form=form, template=template)
    return stage.names


def _in_batches(parts: Iterable[np.ndarray[Any, Any]]) -> Iterator[list[np.ndarray[Any, Any]]]:
    """Collect the rows of maps until there are enough: making a table costs as much as hundreds of rows."""
    held: list[np.ndarray[Any, Any]] = []
    for rows in parts:
        held.append(rows)
        if sum(map(len, held)) >= _BATCH_ROWS or len(held) == _BATCH_MAPS:
            yield held
            held = []
    if held:
        yield held
