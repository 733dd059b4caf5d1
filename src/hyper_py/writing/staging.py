"""Files that appear together or not at all, and the lock of an output directory."""

import os
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from hyper_py.diagnostics import ConfigurationError
from hyper_py.files import DISK_FULL, checksum, is_inside, remove_all, synchronise, unlink_if_link
from hyper_py.writing.layout import REPORT_DIR, STATE_DIR, Layout

_TEMPORARY = ".hyper-tmp"


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
        # The suffix stays last: writers look at it. The name is short, however long that of the map is.
        number = len(self._staged)
        if relative in self._staged:
            return self._staged[relative]
        temporary = final.with_name(f"{_TEMPORARY}.{self._token}{number}{final.suffix}")
        self._staged[relative] = temporary
        return temporary

    def text(self, relative: str, text: str) -> None:
        """Write a text file."""
        self.path(relative).write_text(text, encoding="utf-8", errors="backslashreplace")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the staged files, in order."""
        return tuple(self._staged)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of each staged file."""
        return {name: checksum(path) for name, path in self._staged.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, *_: object) -> None:
        try:
            if kind is None:
                self._publish()
        except OSError as failure:
            error = failure
            raise self._named(failure) from None
        finally:
            for temporary in self._staged.values():
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            named = self._named(error)
            if named is not error:
                raise named from None

    def _publish(self) -> None:
        """Rename all files, when what is in them is on the disk: a name never stands for zeros."""
        for temporary in self._staged.values():
            synchronise(temporary)
        for relative, temporary in self._staged.items():
            os.replace(temporary, self.root / relative)
        for directory in {temporary.parent for temporary in self._staged.values()}:
            synchronise(directory)

    def _named(self, error: OSError) -> OSError:
        """Name the file that could not be written as the user knows it."""
        names = {str(temporary): relative for relative, temporary in self._staged.items()}
        relative = names.get(os.fspath(error.filename) if error.filename else "")
        if relative is None and not error.filename and error.errno in DISK_FULL and names:
            # A write says only that there is no space: it was to the file that was asked for last.
            relative = list(self._staged)[-1]
        if relative is None:
            return error
        return OSError(error.errno, error.strerror, str(self.root / relative))


def write_text(root: Path, relative: str, text: str) -> None:
    """Write one text file atomically."""
    with Stage(root) as stage:
        stage.text(relative, text)


def remove_stale(directories: Iterable[Path]) -> int:
    """Remove temporary files, and directories, that a killed run has left; return how many."""
    n_removed = 0
    for directory in directories:
        with suppress(OSError):
            for path in directory.iterdir():
                if path.name.startswith(_TEMPORARY):
                    with suppress(OSError):
                        remove_all(path)
                        n_removed += 1
    return n_removed


def remove_pages(root: Path, *, but: Collection[str] = ()) -> tuple[str, ...]:
    """Remove pages of an earlier report; a directory that is a link to another place is left alone.

    Parameters
    ----------
    root : Path
        The output directory.
    but : collection of str
        Pages that stay, relative to it.

    Returns
    -------
    tuple of str
        What was removed, sorted.
    """
    names = {f"{REPORT_DIR}/{path.name}" for path in (root / REPORT_DIR).glob("*.html")} - {*but}
    removed = sorted(name for name in names if is_inside(root, name))
    for name in removed:
        (root / name).unlink()
    return tuple(removed)


def temporary_path(directory: Path, name: str) -> Path:
    """Return a path that `remove_stale` removes, should this process be killed before it does."""
    return directory / f"{_TEMPORARY}.{uuid.uuid4().hex[:12]}.{name}"


@contextmanager
def locked(layout: Layout) -> Iterator[bool]:
    """Hold the output directory for one run; yields False if another run holds it.

    Without locks (some file systems and operating systems) True is yielded.

    Raises
    ------
    ConfigurationError
        The hidden directory of the state is a link to another place.
    """
    path = layout.root / STATE_DIR / "lock"
    if path.parent.is_symlink():
        raise ConfigurationError(f"{path.parent}: a link; remove it, or choose another output directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    unlink_if_link(path)
    # A FIFO in its place would make the opening wait.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o666)
    with os.fdopen(handle, "rb") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except (ImportError, OSError):
            pass
        yield True


@contextmanager
def held(layout: Layout) -> Iterator[None]:
    """Hold the output directory for one run, without temporary files that a killed one has left.

    Raises
    ------
    ConfigurationError
        Another run holds it, or the hidden directory of the state is a link to another place.
    """
    with locked(layout) as ours:
        if not ours:
            raise ConfigurationError(
                f"{layout.root}: another run is writing here; wait, or choose another directory"
            )
        remove_stale(layout.staging_directories())
        yield


def is_held(layout: Layout) -> bool:
    """Whether a run holds the output directory now; False where nobody can tell."""
    with suppress(OSError), locked(layout) as held:
        return not held
    return False
