"""Results of single runs of the pipeline on disk, so that they need not be made again."""

import hashlib
import os
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.files import open_regular, read_small, remove_all, synchronise, unlink_if_link

_LARGEST_MARK = 1000
_LARGEST = 2**30
_CHECKSUM_BYTES = hashlib.sha256().digest_size


@dataclass
class Store:
    """Results of runs, kept on disk where a directory is given.

    Each is a file of NumPy with its SHA-256 after it. The directory may come from anybody: what is not as it
    was written is no result, and nothing outside the directory is touched.

    Attributes
    ----------
    directory : Path, optional
    mark : str
        Of all that decides the results; those of another mark are removed.
    """

    directory: Path | None = None
    mark: str = ""
    resume: bool = False
    results: dict[str, Any] = field(default_factory=dict)

    def open(self) -> None:
        """Take over results of the same mark, if that is wanted, and remove all others.

        Raises
        ------
        ConfigurationError
            The directory is a link to another place.
        """
        if self.directory is None:
            return
        if self.directory.is_symlink():
            raise ConfigurationError(f"{self.directory}: a link; remove it, or choose another directory")
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "mark.txt"
        same = self.resume and _mark_in(path) == self.mark
        for one in self.directory.glob("*.npy"):
            known = _stored(one) if same and not one.name.startswith(".") else None
            if known is None:
                remove_all(one)
            else:
                self.results[one.stem] = known
        if not path.is_file() or path.is_symlink():
            remove_all(path)
        path.write_text(self.mark, encoding="utf-8")

    def add(self, name: str, value: Any) -> None:
        """Keep a result."""
        import numpy as np

        self.results[name] = value
        if self.directory is not None:
            text = BytesIO()
            np.save(text, value, allow_pickle=False)
            temporary = self.directory / f".{name}.npy"
            unlink_if_link(temporary)
            temporary.write_bytes(text.getvalue() + hashlib.sha256(text.getvalue()).digest())
            synchronise(temporary)
            temporary.replace(self.directory / f"{name}.npy")


def _mark_in(path: Path) -> str:
    try:
        return read_small(path, most=_LARGEST_MARK).decode(errors="replace")
    except (OSError, InputError):
        return ""


def _stored(path: Path) -> Any:
    """Return a result as `Store.add` wrote it; None for damage, and for what is no plain array."""
    import numpy as np

    try:
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_size > _LARGEST:
                return None
            text = stream.read()
        content, checksum = text[:-_CHECKSUM_BYTES], text[-_CHECKSUM_BYTES:]
        if hashlib.sha256(content).digest() != checksum:
            return None
        return np.lib.format.read_array(BytesIO(content), allow_pickle=False)
    except (OSError, InputError, ValueError, EOFError, MemoryError):
        return None
