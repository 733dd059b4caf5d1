"""CASA images, which are directories, turned into FITS: what follows is the same for both."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits

from hyper_py.diagnostics import InputError
from hyper_py.names import printable
from hyper_py.reading.recognise import casa_files
from hyper_py.reading.unpacking import BLOCK

_TO_DEG = {
    "deg": 1.0,
    "arcsec": 1.0 / 3600.0,
    "arcmin": 1.0 / 60.0,
    "rad": 180.0 / np.pi,
    "'": 1 / 60,
    '"': 1 / 3600,
}


def n_long_axes(path: Path) -> int:
    """Return how many axes of a CASA image, but for that of polarisation, are longer than 1.

    0 if it cannot be read.
    """
    try:
        header, planes = _opened(path)
    except Exception:  # the error is reported when the image is read
        return 0
    return sum(
        n > 1 and not str(header.get(f"CTYPE{axis}", "")).startswith("STOKES")
        for axis, n in enumerate(planes.shape[::-1], start=1)
    )


def write_casa_as_fits(path: Path, target: IO[bytes]) -> None:
    """Write a CASA image as FITS, plane by plane; masked pixels become NaN.

    Parameters
    ----------
    path : Path
        The directory.
    target : file
        Opened for writing.

    Raises
    ------
    InputError
        If casa-formats-io is not installed, or the image cannot be read.
    """
    casa_files(path)
    header, data = _opened(path)
    mask = _mask(path, data.shape)
    dtype = np.dtype(">f8") if data.dtype.itemsize == 8 else np.dtype(">f4")
    header["SIMPLE"], header["BITPIX"], header["NAXIS"] = True, -8 * dtype.itemsize, data.ndim
    text = _ordered(header, data.shape).tostring(sep="", endcard=True, padding=True)
    target.write(text.encode("ascii"))
    n = 0
    for index in np.ndindex(*data.shape[:-2]):
        plane = np.asarray(data[index].compute(scheduler="synchronous"))
        if mask is not None:
            plane = np.where(np.asarray(mask[index].compute(scheduler="synchronous")), plane, np.nan)
        n += target.write(np.ascontiguousarray(plane, dtype=dtype).tobytes())
    target.write(b"\0" * (-n % BLOCK))
    target.write(_beams_table(_keywords(path)))


def _opened(path: Path) -> tuple[fits.Header, Any]:
    """Return the header of a CASA image as one of FITS, and its pixels as a dask array."""
    try:
        from casa_formats_io import coordsys_to_astropy_wcs, image_to_dask
    except ImportError:
        raise InputError(
            f"{path}: a CASA image needs the package casa-formats-io: pip install 'hyper-py[casa]'"
        ) from None
    keywords = _keywords(path)
    data = image_to_dask(str(path))
    coordinates = keywords["coords"]
    wcs = coordsys_to_astropy_wcs(coordinates)
    if wcs.naxis != data.ndim:
        raise InputError(
            f"{path}: {wcs.naxis} axes have coordinates, the data {data.ndim}: export it as FITS"
        )
    _set_projection(wcs, coordinates)
    header = wcs.to_header(relax=True)
    unit, info = str(keywords.get("units", "")).strip(), keywords.get("imageinfo", {})
    if unit:
        header["BUNIT"] = printable(unit)[:60]
    if info.get("objectname"):
        header["OBJECT"] = printable(str(info["objectname"]))[:60]
    beam = info.get("restoringbeam")
    if isinstance(beam, Mapping):
        header["BMAJ"], header["BMIN"], header["BPA"] = _beam(beam)
    elif _per_plane(info):
        header["CASAMBM"] = True
    return header, data


def _keywords(path: Path) -> dict[str, Any]:
    from casa_formats_io.casa_low_level_io import getdesc

    keywords: dict[str, Any] = getdesc(str(path))["_keywords_"]
    return keywords


def _set_projection(wcs: Any, coordinates: Mapping[str, Any]) -> None:
    """Set the parameters of the projection, such as those of NCP, which the conversion leaves at 0."""
    for key, one in coordinates.items():
        if not key.startswith("direction"):
            continue
        values = [float(v) for v in np.atleast_1d(one.get("projection_parameters", []))]
        if any(values):
            wcs.wcs.set_pv([(wcs.wcs.lat + 1, k, value) for k, value in enumerate(values, start=1)])


def _mask(path: Path, shape: tuple[int, ...]) -> Any:
    """Return where the default mask of an image has pixels, as a dask array; None without a mask."""
    from casa_formats_io import image_to_dask

    name = str(_keywords(path).get("Image_defaultmask", "")).strip()
    if not name:
        return None
    if Path(name).name != name or not (path / name).is_dir():
        raise InputError(f"{path}: there is no mask '{printable(name)}'")
    mask = image_to_dask(str(path), mask=name)
    if mask.shape != shape:
        raise InputError(f"{path}: a mask of shape {mask.shape} for data of {shape}")
    return mask


def _ordered(header: fits.Header, shape: tuple[int, ...]) -> fits.Header:
    """Return a header whose first cards are those that FITS wants first."""
    first = fits.Header()
    for key in ("SIMPLE", "BITPIX", "NAXIS"):
        first[key] = header[key]
    for axis, n in enumerate(shape[::-1], start=1):
        first[f"NAXIS{axis}"] = n
    first["EXTEND"] = True
    for card in header.cards:
        if card.keyword not in first and card.keyword != "WCSAXES":
            first.append(card)
    return first


def _degrees(value: Mapping[str, Any]) -> float:
    return float(value["value"]) * _TO_DEG[str(value["unit"])]


def _beam(beam: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return major and minor axis and position angle of a beam in degrees."""
    return _degrees(beam["major"]), _degrees(beam["minor"]), _degrees(beam["positionangle"])


def _per_plane(info: Mapping[str, Any]) -> Mapping[str, Any] | None:
    beams = info.get("perplanebeams")
    return beams if isinstance(beams, Mapping) and beams else None


def _beams_of_planes(beams: Mapping[str, Any]) -> Iterator[tuple[float, float, float, int, int]]:
    """Yield axes in arcsec, angle in degrees, channel and polarisation of each beam."""
    n_channels = int(beams["nChannels"])
    for k in range(n_channels * int(beams["nStokes"])):
        major, minor, angle = _beam(beams[f"*{k}"])
        yield 3600.0 * major, 3600.0 * minor, angle, k % n_channels, k // n_channels


def _beams_table(keywords: Mapping[str, Any]) -> bytes:
    """Return the HDU with one beam for each channel, as CASA exports it; nothing for an image of one beam."""
    beams = _per_plane(keywords.get("imageinfo", {}))
    if beams is None:
        return b""
    names = ("BMAJ", "BMIN", "BPA", "CHAN", "POL")
    values = np.array(list(_beams_of_planes(beams))).T
    columns = [
        fits.Column(name=name, format="1E" if k < 3 else "1J", unit=unit, array=values[k])
        for k, (name, unit) in enumerate(zip(names, ("arcsec", "arcsec", "deg", None, None), strict=True))
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(stream)
    return stream.getvalue()[BLOCK:]
