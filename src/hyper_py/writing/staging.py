"""Files that appear together or not at all, and the lock of an output directory."""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from hyper_py.writing.layout import STATE_DIR, Layout

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
        # The suffix stays last: writers look at it.
        temporary = final.with_name(f".{final.stem}.{self._token}{_TEMPORARY}{final.suffix}")
        self._staged[relative] = temporary
        return temporary

    def text(self, relative: str, text: str) -> None:
        """Write a text file."""
        self.path(relative).write_text(text, encoding="utf-8")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the staged files, in order."""
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
            # Name the file that could not be written as the user knows it.
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

    Without locks (some file systems and operating systems) True is yielded.
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
