"""FITS images that belong to a map: in its unit and coordinates, as float32."""

from pathlib import Path
from typing import Any

import numpy as np

from hyper_py import __version__
from hyper_py.arrays import FloatArray
from hyper_py.image import SkyImage
from hyper_py.numerics.tiles import Plane

_VALUES_AT_ONCE = 4_000_000


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
    header = (image.wcs if where is None else image.wcs[where]).to_header(relax=True)  # with SIP
    header["BUNIT"] = image.unit
    header["BMAJ"] = (image.beam.major / 3600.0, "[deg] beam FWHM")
    header["BMIN"] = (image.beam.minor / 3600.0, "[deg] beam FWHM")
    header["BPA"] = (image.beam.pa, "[deg] east of north")
    header["CONTENT"] = what
    header["CREATOR"] = f"Hyper-Py {__version__}"
    return header
