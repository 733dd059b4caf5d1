"""`BandImage`: one map of a field with what a spectrum needs to know about it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u

from hyper_py.diagnostics import InputError
from hyper_py.image import SkyImage, checked_image


@dataclass(frozen=True, kw_only=True, eq=False)
class BandImage:
    """One band of a field.

    Attributes
    ----------
    name : str
        Suffix of its columns in the catalogue.
    image : SkyImage
    wavelength : float
        Micron; a quantity, wavelength or frequency, is converted.
    calibration_error : float, optional
        Relative calibration uncertainty, which all fluxes of the band share.

    Examples
    --------
    >>> import hyper_py
    >>> from astropy import units as u
    >>> image = hyper_py.simulate_image("faint", seed=1, shape=(60, 80), n_sources=2).image
    >>> band = hyper_py.BandImage(name="alma6", image=image, wavelength=230 * u.GHz, calibration_error=0.05)
    >>> f"{band.wavelength:.0f} micron"
    '1303 micron'
    """

    name: str
    image: SkyImage
    wavelength: float
    calibration_error: float | None = None

    def __post_init__(self) -> None:
        checked_image(self.image, name=self.name)
        object.__setattr__(self, "wavelength", in_micron(self.wavelength, name=self.name))
        if not 0.0 < self.wavelength < np.inf:
            raise InputError(f"{self.name}: wavelength of {self.wavelength} micron: it must be positive")
        error = self.calibration_error
        if error is not None and not 0.0 <= error <= 1.0:
            raise InputError(f"{self.name}: calibration error of {error}: must be from 0 to 1: 0.05 is 5%")


def in_micron(wavelength: Any, *, name: str) -> float:
    """Return a wavelength in micron, from a number in micron or from a quantity.

    Raises
    ------
    InputError
        If it is neither; `name` is that of the band.

    Examples
    --------
    >>> from astropy import units as u
    >>> in_micron(1.2 * u.mm, name="band 6")
    1200.0
    """
    try:
        if isinstance(wavelength, str | bool):
            raise TypeError
        if hasattr(wavelength, "to_value"):
            return float(wavelength.to_value("um", equivalencies=u.spectral()))
        return float(wavelength)
    except (TypeError, ValueError):  # a unit that cannot be converted is a TypeError too
        raise InputError(
            f"{name}: wavelength={wavelength!r}: give micron, or a quantity such as 1.2 * u.mm or 230 * u.GHz"
        ) from None


def reference_band(bands: Sequence[BandImage]) -> int:
    """Return the index of the band of the smallest beam, whose astrometry is the field's."""
    return int(np.argmin([band.image.beam.fwhm for band in bands]))


def check_names(bands: Sequence[BandImage]) -> None:
    """Check that there are bands, each of another name.

    Raises
    ------
    InputError
        If not.
    """
    if not bands:
        raise InputError("no band is given: nothing to measure")
    twice = [name for name, number in Counter(band.name for band in bands).items() if number > 1]
    if twice:
        raise InputError(f"{twice[0]}: several bands have this name: give each a different name")
