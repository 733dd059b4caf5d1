"""Maps and cubes for Python: from files, and from objects of astropy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from astropy import units as u
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import Beam
from hyper_py.image import SkyImage
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

Place: TypeAlias = str | Path | int


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
    mask: Place | BoolArray | None = None,
    primary_beam: Place | None = None,
    primary_beam_corrected: bool | None = None,
    stokes: str = "I",
    fill_values: Sequence[float] | str = AUTO,
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
    mask : path, int, str or ndarray of bool (ny, nx), optional
        HDU, other file or array; pixels that are True (or not zero) are not used.
    primary_beam : path, int or str, optional
        HDU or other file with the response of the primary beam.
    primary_beam_corrected : bool, optional
        Whether the map is divided by the primary beam already; needed if the file does not say so.
    stokes : str
        Which plane of a polarisation axis; one that is not there is an error.
    fill_values : sequence of float, or "auto"
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
            path, hdu=hdu, error_hdu=error, bunit=as_unit(unit), beam=_beam(beam, psf, psf_pixel),
            survey_name=survey, frequency=as_frequency(frequency), stokes=stokes, mask=mask,
            primary_beam=primary_beam, primary_beam_corrected=primary_beam_corrected,
            fill_values=fill_values, plane=plane, max_memory=max_memory,
        )  # fmt: skip
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
    fill_values: Sequence[float] | str = AUTO,
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
    >>> from hyper_py.simulation.simulate import simulate_cube
    >>> sky = simulate_cube(seed=1, n_channels=3, shape=(60, 60), n_sources=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "cube.fits"
    ...     fits.PrimaryHDU(sky.data(), fits.Header(sky.header())).writeto(path)
    ...     with hyper_py.open_cube(path) as cube:
    ...         print(len(cube), cube.channel(2).shape)
    3 (60, 60)
    """
    with arguments_named():
        return io.open_cube(
            path, hdu=hdu, error_hdu=error, bunit=as_unit(unit), beam=_beam(beam, psf, psf_pixel),
            survey_name=survey, frequency=as_frequency(frequency), stokes=stokes, mask=mask,
            primary_beam=primary_beam, primary_beam_corrected=primary_beam_corrected,
            fill_values=fill_values, max_memory=max_memory,
        )  # fmt: skip


def _beam(beam: Any, psf: str | Path | None, pixel: float | None) -> Beam | None:
    """Return the beam that is given, or that of a PSF image."""
    if psf is None:
        if pixel is not None:
            raise ConfigurationError("psf_pixel= is the side of the pixels of psf=: give that image too")
        return as_beam(beam)
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
    mask: ArrayLike | None = None,
    frequency: float | u.Quantity | None = None,
    name: str = "map",
) -> SkyImage:
    """Return the `SkyImage` of whatever astropy gives.

    Parameters
    ----------
    data : array_like (ny, nx), Quantity, NDData, CCDData, HDU, HDUList or SkyImage
        Any real type and byte order. A `SkyImage` is returned as it is.
    wcs : WCS or Header
        Of an array. A header also gives unit, beam and frequency where they are not given.
    beam : Beam, Quantity or tuple of Quantity
        A `Beam`, the FWHM of a round one, or (major, minor, pa); in place of a header's.
    unit : str or Unit
        Unit of the numbers, such as "Jy/beam" or "MJy/sr": they are converted to Jy/pixel. A unit that
        contradicts the data's own is refused.
    error : array_like (ny, nx), Quantity or NDUncertainty, optional
        1-sigma errors, in the unit of the data or their own.
    mask : array_like of bool (ny, nx), optional
        True where data are not to be used.
    frequency : float or Quantity, optional
        Hz, or a frequency or wavelength; needed by K and W/m2/sr.
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
        return image_of(data, given)
