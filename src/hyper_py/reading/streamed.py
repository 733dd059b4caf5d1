"""Maps too large for memory: pixels are read from the file when they are needed."""

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from hyper_py.arrays import FloatArray
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.reading.fits_files import FitsFile
from hyper_py.reading.unpacking import is_packed

_TYPES = {-32: ">f4", -64: ">f8", 8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8"}


def bytes_at_once(shape: tuple[int, int]) -> int:
    """Return the most bytes that a map read at once takes: six times its float64 pixels, and 250 MB."""
    return 6 * 8 * shape[0] * shape[1] + 250_000_000


def streamed_plane(file: FitsFile, index: int, *, x: int, y: int, fixed: dict[int, int]) -> LazyPlane | None:
    """Return one plane of an image whose pixels are read when they are needed.

    Parameters
    ----------
    file, index, x, y, fixed
        As for `hyper_py.reading.fits_files.read_plane`.

    Returns
    -------
    LazyPlane or None
        float64 in the file's unit; blank and infinite pixels are NaN. None where the file cannot be read in
        pieces: gzipped, tile-compressed, a CASA image, or its axes in another order.
    """
    hdu = file.hdus[index]
    if (x, y) != (1, 2) or file.path.is_dir() or is_packed(file.path) or isinstance(hdu, fits.CompImageHDU):
        return None
    shape, header = file.images[index], file.header(index)
    dtype = np.dtype(_TYPES[int(header["BITPIX"])])
    scale, zero = float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0))
    blank = header.get("BLANK") if dtype.kind in "iu" else None
    ny, nx = shape[-2:]
    channel = 0
    for axis in range(len(shape), 2, -1):
        channel = channel * shape[len(shape) - axis] + fixed[axis]
    start, path = hdu.fileinfo()["datLoc"] + channel * ny * nx * dtype.itemsize, file.path

    def make(rows: slice, columns: slice) -> FloatArray:
        raw = _read(path, start, dtype, nx, rows, columns)
        values = raw.astype(np.float64)
        if (scale, zero) != (1.0, 0.0):
            values = values * scale + zero
        if blank is not None:
            values[raw == blank] = np.nan
        values[~np.isfinite(values)] = np.nan
        return values

    return LazyPlane((ny, nx), make)


def _read(
    path: Path, start: int, dtype: np.dtype, nx: int, rows: slice, columns: slice
) -> NDArray[np.generic]:
    """Read a piece of an array of `nx` columns that begins at a byte of a file.

    The file is read, not mapped: pages of a memory map would count as memory of the process.
    """
    height, width = max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)
    raw = np.empty((height, width), dtype=dtype)
    if not raw.size:
        return raw
    pixels = memoryview(cast(Any, raw.reshape(-1).view(np.uint8)))
    line = pixels.nbytes if width == nx else width * dtype.itemsize  # whole rows are contiguous in the file
    handle = os.open(path, os.O_RDONLY)
    try:
        for i in range(pixels.nbytes // line):
            offset = start + ((rows.start + i) * nx + columns.start) * dtype.itemsize
            done = os.preadv(handle, [pixels[i * line : (i + 1) * line]], offset)
            while done < line:
                got = os.preadv(handle, [pixels[i * line + done : (i + 1) * line]], offset + done)
                if not got:
                    raise OSError(5, "the file ends within the map", str(path))
                done += got
    finally:
        os.close(handle)
    return raw
