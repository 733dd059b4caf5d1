"""Maps and cubes for Python: from files, and from objects of astropy."""

from __future__ import annotations  # short signatures in notebooks

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from astropy import units as u
from astropy.wcs import WCS

from hyper_py.arrays import BoolArray
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.geometry import Beam
from hyper_py.image import SkyImage
from hyper_py.interface.arguments import (
    Place,
    as_bytes,
    as_fill_values,
    as_mask,
    as_path,
    as_place,
    as_word,
    regions_in,
    without_regions,
)
from hyper_py.interface.naming import arguments_named, meta_in_python
from hyper_py.reading import io
from hyper_py.reading.fill import AUTO
from hyper_py.reading.io import CubeReader
from hyper_py.reading.objects import (
    BeamLike,
    Header,
    MapInput,
    MapLike,
    as_beam,
    as_frequency,
    as_unit,
    check_nothing_given,
    image_of,
)
from hyper_py.reading.psf import beam_from_psf

_PATH = "give the name of a FITS file; what is in memory is taken by hyper_py.as_sky_image"
_CUBE = "give the name of a FITS file; of a cube in memory, take plane by plane: as_sky_image(data[k], ...)"
_PLACE = "give the name of a file, or an HDU; an array goes with hyper_py.as_sky_image(data, {name}=...)"
_RESPONSE = "give the name of a file, or an HDU"
_SURVEY = 'give the name of a preset, such as "spire250"'
_STOKES = 'give a letter, such as "I" or "Q"'


def read_image(
    path: str | Path,
    *,
    hdu: int | str | None = None,
    unit: str | u.UnitBase | None = None,
    beam: BeamLike | None = None,
    psf: str | Path | None = None,
    psf_pixel: float | None = None,
    survey: str | None = None,
    frequency: float | u.Quantity | None = None,
    error: Place | None = AUTO,
    mask: Any = None,
    primary_beam: Place | None = None,
    primary_beam_corrected: bool | None = None,
    stokes: str = "I",
    fill_values: float | Sequence[float] | str = AUTO,
    plane: int | None = None,
    max_memory: float | None = None,
) -> SkyImage:
    """Read a map from a FITS file.

    What the header says need not be given; what is given takes precedence.

    Parameters
    ----------
    path : str or Path
        Plain, gzipped or tile-compressed FITS.
    hdu : int or str, optional
        Number or name of the HDU of the map; found if not given.
    unit : str or Unit, optional
        Unit of the map, in place of BUNIT.
    beam : Beam, Quantity or tuple of Quantity, optional
        Beam of the map: a `Beam`, the FWHM of a round one, or (major, minor, pa).
    psf : str or Path, optional
        FITS image of a point source: beam, beam area and side lobes are taken from it.
    psf_pixel : float, optional
        Side of its pixels in arcsec, where its header does not say.
    survey : str, optional
        Preset with the beam, such as "spire250".
    frequency : float or Quantity, optional
        Hz, or a frequency or wavelength; needed by K and W/m2/sr.
    error : int, str or Path, optional
        HDU with the 1-sigma error, the variance or the inverse variance, or another file (`error.fits`,
        `error.fits[ERR]`). "auto" takes the extension that is named so, if there is just one; None takes
        none.
    mask : path, int, str, ndarray of bool (ny, nx), or regions, optional
        HDU, other file or array; pixels that are True (or not zero) are not used. Of region files, and of
        regions of the package regions, the inside.
    primary_beam : path, int or str, optional
        HDU or other file with the response of the primary beam.
    primary_beam_corrected : bool, optional
        Whether the map is divided by the primary beam already; needed if the file does not say so.
    stokes : str
        Which plane of a polarisation axis; one that is not there is an error.
    fill_values : float, sequence of float, or "auto"
        Values, in the file's unit, that mean blank; "auto" finds them.
    plane : int, optional
        Channel of a cube, from 0.
    max_memory : float, optional
        Bytes; the pixels of a map that would need more memory stay in the file and are read when needed.

    Returns
    -------
    SkyImage
        In Jy/pixel; `meta` says what was assumed.

    Raises
    ------
    InputError
        If something is missing or impossible: one line that names the file and the arguments that help.
    ConfigurationError
        If there is no such survey, or two arguments say the same.

    Examples
    --------
    >>> import hyper_py, pathlib, tempfile
    >>> from astropy.io import fits
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(120, 120), n_sources=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "sky.fits"
    ...     fits.PrimaryHDU(sky.image.data, fits.Header(sky.header())).writeto(path)
    ...     image = hyper_py.read_image(path)
    >>> image.shape, image.unit
    ((120, 120), 'Jy/pixel')
    """
    with arguments_named():
        image = io.read_image(
            as_path(path, name="path", remedy=_PATH), plane=plane, bunit=as_unit(unit), hdu=hdu,
            beam=_beam(beam, psf, psf_pixel), frequency=as_frequency(frequency),
            primary_beam_corrected=primary_beam_corrected,
            **_checked(survey, stokes, error, mask, primary_beam, fill_values, max_memory),
        )  # fmt: skip
        image = without_regions(image, mask) if regions_in(mask) else image
    return replace(image, meta=meta_in_python(image.meta))


def open_cube(
    path: str | Path,
    *,
    hdu: int | str | None = None,
    unit: str | u.UnitBase | None = None,
    beam: BeamLike | None = None,
    psf: str | Path | None = None,
    psf_pixel: float | None = None,
    survey: str | None = None,
    frequency: float | u.Quantity | None = None,
    error: Place | None = AUTO,
    mask: Place | BoolArray | None = None,
    primary_beam: Place | None = None,
    primary_beam_corrected: bool | None = None,
    stokes: str = "I",
    fill_values: float | Sequence[float] | str = AUTO,
    max_memory: float | None = None,
) -> CubeReader:
    """Open a cube, to read its channels one at a time.

    Parameters
    ----------
    path, hdu, unit, beam, psf, psf_pixel, survey, frequency, stokes, fill_values
        As in `read_image`.
    error, mask, primary_beam, primary_beam_corrected
        As in `read_image`; cubes of as many channels, or maps.
    max_memory : float, optional
        Bytes; a cube whose channels would need more is refused.

    Returns
    -------
    CubeReader
        An iterable of `SkyImage`; close it, or use it in a `with` statement.

    Raises
    ------
    InputError, ConfigurationError
        As `read_image`. A map is a cube of one channel.

    Examples
    --------
    >>> import hyper_py, pathlib, tempfile
    >>> from astropy.io import fits
    >>> sky = hyper_py.simulate_cube(seed=1, n_channels=3, shape=(60, 60), n_sources=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "cube.fits"
    ...     fits.PrimaryHDU(sky.data(), fits.Header(sky.header())).writeto(path)
    ...     with hyper_py.open_cube(path) as cube:
    ...         print(len(cube), cube.channel(2).shape)
    3 (60, 60)
    """
    if regions_in(mask):
        raise InputError("mask=: of a cube, write the regions to a file (.reg) and give that")
    with arguments_named():
        return io.open_cube(
            as_path(path, name="path", remedy=_CUBE), bunit=as_unit(unit), hdu=hdu,
            beam=_beam(beam, psf, psf_pixel), frequency=as_frequency(frequency),
            primary_beam_corrected=primary_beam_corrected,
            **_checked(survey, stokes, error, mask, primary_beam, fill_values, max_memory),
        )  # fmt: skip


def _checked(
    survey: Any, stokes: Any, error: Any, mask: Any, primary_beam: Any, fill_values: Any, max_memory: Any
) -> dict[str, Any]:
    """Return arguments of both readers by the names that these have for them."""
    return {
        "survey_name": as_word(survey, name="survey", remedy=_SURVEY),
        "stokes": as_word(stokes, name="stokes", remedy=_STOKES),
        "error_hdu": as_place(error, name="error", remedy=_PLACE.format(name="error")),
        "mask": None if regions_in(mask) else as_mask(mask),
        "primary_beam": as_place(primary_beam, name="primary_beam", remedy=_RESPONSE),
        "fill_values": as_fill_values(fill_values),
        "max_memory": as_bytes(max_memory),
    }


def _beam(beam: Any, psf: str | Path | None, pixel: float | None) -> Beam | None:
    """Return the beam that is given, or that of a PSF image."""
    if psf is None:
        if pixel is not None:
            raise ConfigurationError("psf_pixel= is the side of the pixels of psf=: give that image too")
        return as_beam(beam)
    psf = as_path(psf, name="psf=", remedy="give the name of a FITS image")
    if beam is not None:
        raise ConfigurationError("beam= and psf= both give the beam: leave one of them out")
    return beam_from_psf(psf, pixel=pixel)


def as_sky_image(
    data: MapLike,
    *,
    wcs: WCS | Header | None = None,
    beam: BeamLike | None = None,
    unit: str | u.UnitBase | None = None,
    error: Any = None,
    mask: Any = None,
    frequency: float | u.Quantity | None = None,
    fill_values: float | Sequence[float] | str = AUTO,
    name: str = "map",
) -> SkyImage:
    """Return the `SkyImage` of whatever astropy gives.

    Parameters
    ----------
    data : array_like (ny, nx), Quantity, NDData, CCDData, Cutout2D, HDU, HDUList or SkyImage
        Any real type and byte order. A `SkyImage` is returned as it is.
    wcs : WCS, Header or mapping
        Of an array. A header also gives unit, beam and frequency where they are not given.
    beam : Beam, Quantity or tuple of Quantity
        A `Beam`, the FWHM of a round one, or (major, minor, pa); in place of a header's.
    unit : str or Unit
        Unit of the numbers, such as "Jy/beam" or "MJy/sr": they are converted to Jy/pixel. A unit that
        contradicts the data's own is refused.
    error : array_like (ny, nx), Quantity or NDUncertainty, optional
        1-sigma errors, in the unit of the data or their own.
    mask : array_like of bool (ny, nx), or regions, optional
        True where data are not to be used; or regions of the package regions, whose insides are not used.
    frequency : float or Quantity, optional
        Hz, or a frequency or wavelength; needed by K and W/m2/sr.
    fill_values : float, sequence of float, or "auto"
        Values that mean blank, in the unit of the data; "auto" finds them.
    name : str
        Of the map, in tables and messages.

    Returns
    -------
    SkyImage

    Raises
    ------
    InputError
        If something is missing, contradicts the data, or is impossible; it names the argument.
    ConfigurationError
        If anything is given beside a `SkyImage`.

    Examples
    --------
    >>> import hyper_py, numpy as np
    >>> from astropy import units as u
    >>> from astropy.wcs import WCS
    >>> wcs = WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 83.6, "CRVAL2": 22.0,
    ...            "CDELT1": -0.001, "CDELT2": 0.001, "CRPIX1": 50.5, "CRPIX2": 50.5})
    >>> data = np.random.default_rng(1).normal(size=(100, 100)).astype(">f4")
    >>> image = hyper_py.as_sky_image(data, wcs=wcs, beam=18 * u.arcsec, unit="mJy/beam")
    >>> image.shape, f"{image.beam.major:g} arcsec"
    ((100, 100), '18 arcsec')
    """
    with arguments_named():
        given = MapInput(
            wcs=wcs, beam=as_beam(beam), unit=as_unit(unit), error=error, mask=mask,
            frequency=as_frequency(frequency), name=name,
        )  # fmt: skip
        if isinstance(data, SkyImage):
            check_nothing_given(given)
            return data
        if isinstance(data, CubeReader):
            raise InputError("data: a cube: give a channel, cube[k], or use hyper_py.extract_cube(cube)")
        regions, fills = regions_in(mask), as_fill_values(fill_values)
        image = image_of(data, given._replace(mask=None) if regions else given, fill_values=fills)
        image = replace(image, meta=meta_in_python(image.meta))
        return without_regions(image, mask) if regions else image
