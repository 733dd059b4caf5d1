"""FITS cubes written plane by plane, in any order, by one process or several.

A file has its full size from the start, all planes blank, so that any program can read it at every stage;
each plane then goes to its own place. The bytes depend on the planes alone, not on the order or the number of
attempts.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy.io import fits

from hyper_py import __version__
from hyper_py.arrays import FloatArray
from hyper_py.files import unlink_if_link
from hyper_py.geometry import Beam

_BLOCK = 2880
_STRUCTURE = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "EXTEND", "BSCALE", "BZERO", "BLANK")


@dataclass(frozen=True, kw_only=True)
class PlaneFile:
    """A FITS cube on disk, planes of which are read and written; small and picklable.

    Attributes
    ----------
    path : Path
    shape : (int, int, int)
        Channels, ny, nx.
    dtype : str
        float32 or float64.
    offset : int
        Byte at which the first plane begins.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: str
    offset: int

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        shape: tuple[int, int, int],
        dtype: str,
        header: Any,
        beams: Sequence[Beam] = (),
        content: str = "",
        reuse: bool = False,
    ) -> tuple[Self, bool]:
        """Write a blank cube, or take over the one that is there.

        Parameters
        ----------
        path : Path
        shape : (int, int, int)
        dtype : str
            float32 or float64.
        header : astropy.io.fits.Header
            Coordinates, unit, beam.
        beams : sequence of Beam
            One a channel: written as a table like CASA's; none where the header has the beam.
        content : str
            What the pixels are.
        reuse : bool
            Keep a file of this very header and size with its planes.

        Returns
        -------
        file : PlaneFile
        reused : bool
        """
        head = cube_header(header, shape=shape, dtype=dtype, content=content, many_beams=bool(beams))
        tail = _beams_table(beams) if beams else b""
        text = head.tostring().encode("ascii")
        file = cls(path=path, shape=shape, dtype=dtype, offset=len(text))
        size = file.offset + -(-file.plane_bytes * shape[0] // _BLOCK) * _BLOCK + len(tail)
        if reuse and path.is_file() and not path.is_symlink() and path.stat().st_size == size:
            with path.open("rb") as stream:
                if stream.read(len(text)) == text:
                    return file, True
        unlink_if_link(path)
        with path.open("wb") as stream:
            stream.write(text)
            blank = np.full(shape[1:], np.nan, dtype=file._stored).tobytes()
            for _ in range(shape[0]):
                stream.write(blank)
            stream.write(b"\0" * (-stream.tell() % _BLOCK))
            stream.write(tail)
        return file, False

    @property
    def _stored(self) -> np.dtype[Any]:
        return np.dtype(self.dtype).newbyteorder(">")

    @property
    def plane_bytes(self) -> int:
        """Bytes of a plane."""
        return self.shape[1] * self.shape[2] * self._stored.itemsize

    def write(self, channel: int, plane: FloatArray) -> None:
        """Write a plane (ny, nx) in the unit of the cube."""
        with self.path.open("r+b", buffering=0) as stream:
            stream.seek(self.offset + channel * self.plane_bytes)
            view = memoryview(np.asarray(plane, dtype=self._stored).tobytes())
            while view:
                view = view[stream.write(view) or 0 :]
            os.fsync(stream)  # the record of the channel says that its planes are there

    def read(self, channel: int) -> FloatArray:
        """Read a plane as float64."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset + channel * self.plane_bytes)
            values = np.frombuffer(stream.read(self.plane_bytes), dtype=self._stored)
        return values.reshape(self.shape[1:]).astype(np.float64)

    def finish(self, path: Path) -> None:
        """Give the file its final name."""
        os.replace(self.path, path)


def cube_header(
    header: Any, *, shape: tuple[int, int, int], dtype: str, content: str, many_beams: bool
) -> fits.Header:
    """Return the header of a cube of three axes with the coordinates, unit and beam of another."""
    head = fits.Header()
    head["SIMPLE"] = (True, "conforms to FITS standard")
    head["BITPIX"] = (-32 if np.dtype(dtype).itemsize == 4 else -64, "IEEE floating point")
    head["NAXIS"] = 3
    for axis, size in enumerate(reversed(shape), start=1):
        head[f"NAXIS{axis}"] = size
    head["EXTEND"] = True
    for card in header.cards:
        if card.keyword not in _STRUCTURE and card.keyword not in ("BMAJ", "BMIN", "BPA"):
            head.append(card, end=True)
    if many_beams:
        head["CASAMBM"] = (True, "CASA multiple beams table present")
    else:
        for key in ("BMAJ", "BMIN", "BPA"):
            if key in header:
                head[key] = header[key]
    if content:
        head["CONTENT"] = content
    head["CREATOR"] = f"Hyper-Py {__version__}"
    return head


def _beams_table(beams: Sequence[Beam]) -> bytes:
    """Return the bytes of a table of beams as CASA writes it."""
    columns = [
        fits.Column("BMAJ", "1E", unit="arcsec", array=np.array([beam.major for beam in beams])),
        fits.Column("BMIN", "1E", unit="arcsec", array=np.array([beam.minor for beam in beams])),
        fits.Column("BPA", "1E", unit="deg", array=np.array([beam.pa for beam in beams])),
        fits.Column("CHAN", "1J", array=np.arange(len(beams))),
        fits.Column("POL", "1J", array=np.zeros(len(beams), dtype=int)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    table.header["NCHAN"], table.header["NPOL"] = len(beams), 1
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    return buffer.getvalue()[_BLOCK:]


def cut_header(header: Any, *, x0: int, y0: int) -> fits.Header:
    """Return a header whose pixels begin at column `x0` and row `y0` of another's, both from 0."""
    cut = header.copy()
    for axis, start in ((1, x0), (2, y0)):
        # CRPIX is 0 where it is not given.
        cut[f"CRPIX{axis}"] = float(cut.get(f"CRPIX{axis}", 0.0)) - start
    return cut
