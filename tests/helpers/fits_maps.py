"""FITS files of small maps and cubes with known pixels, and their keywords."""

import numpy as np
from astropy.io import fits

from hyper_py.reading.io import open_cube

PIXEL, BMAJ, BMIN = 4.0, 20.0, 12.0
BEAM_PIXELS = np.pi / (4 * np.log(2)) * BMAJ * BMIN / PIXEL**2
SHAPE = (24, 30)
CUBE_AXIS = {"CTYPE3": "FREQ", "CRVAL3": 1e11, "CRPIX3": 1.0, "CDELT3": 1e9, "CUNIT3": "Hz"}


def sky_axes(lon, lat):
    """Keywords of the sky on two axes."""
    return {
        f"CTYPE{lon}": "RA---TAN", f"CRVAL{lon}": 83.0, f"CRPIX{lon}": 15.0, f"CDELT{lon}": -PIXEL / 3600,
        f"CTYPE{lat}": "DEC--TAN", f"CRVAL{lat}": -5.0, f"CRPIX{lat}": 12.0, f"CDELT{lat}": PIXEL / 3600,
    }  # fmt: skip


def axis3(kind, value, **others):
    """Keywords of a third axis."""
    return {"CTYPE3": kind, "CRVAL3": value, "CRPIX3": 1.0, "CDELT3": 0.01 * value} | others


def make_header(**changes):
    """A plain map's header; None takes a keyword away."""
    header = fits.Header()
    beam = {"BMAJ": BMAJ / 3600, "BMIN": BMIN / 3600, "BPA": 30.0}
    for key, value in (sky_axes(1, 2) | {"BUNIT": "Jy/beam"} | beam | changes).items():
        if value is not None:
            header[key] = value
    return header


def make_data(shape=SHAPE, seed=3, dtype=np.float64):
    """Random pixels."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def write_map(path, data=None, hdus=(), **changes):
    """Write a map with a plain header and changes of it; return the path."""
    data = make_data() if data is None else data
    fits.HDUList([fits.PrimaryHDU(data, make_header(**changes)), *hdus]).writeto(path, output_verify="ignore")
    return path


def extensions():
    """Pixels and unit of the extensions of `write_many`, by name."""
    data = np.abs(make_data(seed=5)) + 1.0
    return {
        "SIGNAL": (make_data(), "Jy/beam"),
        "ERR": (data, "Jy/beam"),
        "VARIANCE": (data**2, "(Jy/beam)**2"),
        "MILLIVAR": (1e6 * data**2, "mJy2/beam2"),
        "IVAR": (data**-2, None),
        "WEIGHT": (data, None),
        "MASK": ((data > 2).astype(np.int16), None),
        "SMALL": (data[:5, :5], None),
    }


def cube_plane(path, k):
    """Pixels of a channel as they are read."""
    with open_cube(path) as cube:
        return cube.channel(k).data


def write_many(path):
    """Write a file with a map, errors of several kinds, weights and a mask, each in an extension."""
    hdus = [fits.PrimaryHDU(header=fits.Header({"BMAJ": BMAJ / 3600, "BMIN": BMIN / 3600, "BPA": 30.0}))]
    for name, (data, unit) in extensions().items():
        hdus.append(fits.ImageHDU(data, make_header(BUNIT=unit, BMAJ=None, BMIN=None, BPA=None), name=name))
    fits.HDUList(hdus[:1] + hdus[2:3] + hdus[1:2] + hdus[3:]).writeto(path)  # the error comes before the map
    return path
