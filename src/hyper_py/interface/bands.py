"""Several bands for Python: maps as astropy gives them, sources as any list of positions."""

from __future__ import annotations  # short signatures in notebooks

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from astropy import units as u

from hyper_py.bands.images import BandImage
from hyper_py.diagnostics import ConfigurationError
from hyper_py.display import shows_keywords
from hyper_py.interface.arguments import check_names
from hyper_py.interface.extraction import Positions, as_fixed_sources
from hyper_py.interface.images import as_sky_image
from hyper_py.options import OptionChanges, Options
from hyper_py.pipeline import bands
from hyper_py.pipeline.bands import BandsExtraction
from hyper_py.reading.objects import MapLike


@shows_keywords(OptionChanges)
def extract_bands(
    images: Sequence[BandImage] | Mapping[str, MapLike],
    *,
    wavelengths: Mapping[str, float | u.Quantity] | None = None,
    options: Options | None = None,
    fixed: Positions | None = None,
    name: str = "bands",
    progress: Callable[[str], None] | bool | None = None,
    **changes: Unpack[OptionChanges],
) -> BandsExtraction:
    """Find the compact sources of a field in all bands together, and fit each in all of them at once.

    Maps may differ in pixels, projection, frame, extent, unit and beam. A source has one position, one
    intrinsic shape (`bands.shape`) and a flux in each band that has pixels there.

    Parameters
    ----------
    images : mapping of name to map, or sequence of BandImage
        Maps from `hyper_py.read_image`, or what `hyper_py.as_sky_image` takes without further arguments.
    wavelengths : mapping of name to float or Quantity
        Micron, or wavelengths or frequencies as quantities; needed with a mapping of images.
    options : Options, optional
        Default: those of a new configuration. Section `bands`; `photometry.aper_sup` for the largest size (2
        beams if null), `photometry.fwhm_radius_ratio` for a common aperture.
    fixed : FixedSources, Table or SkyCoord, optional
        Measure these instead of searching: positions, and intrinsic shapes if they are given. What
        `hyper_py.extract_sources` takes, but for regions.
    name : str
        Of the field.
    progress : callable or bool, optional
        Called with a line of text at each step; True writes the lines to standard error.
    **changes
        Other values of `options`, by the names of its fields: `bands={"shape": "free"}`.

    Returns
    -------
    BandsExtraction
        Its catalogue has one row a source, brightest first (given sources in the order given).

    Raises
    ------
    InputError
        If there is no band, two have one name, a map is blank, or a wavelength is missing.
    ConfigurationError
        If a value is not allowed, or a name is not known; with `detection.negative`.

    Examples
    --------
    >>> import hyper_py
    >>> from astropy import units as u
    >>> field = hyper_py.simulate_bands(seed=1, size=500.0, n_sources=4, pair_fraction=0.0)
    >>> images = {one.band.name: one.image for one in field.maps if one.band.name in ("s250", "s350")}
    >>> found = hyper_py.extract_bands(images, wavelengths={"s250": 250 * u.um, "s350": 350})
    >>> "FLUX_s350" in found.catalog.colnames
    True
    """
    check_names(changes, function=extract_bands)
    own: Any = images
    if isinstance(images, Mapping):
        own = {band: as_sky_image(image, name=band) for band, image in images.items()}
    return bands.extract_bands(
        own, wavelengths=wavelengths, options=options, fixed=as_fixed_sources(fixed), name=name,
        progress=_listener(progress), **changes,
    )  # fmt: skip


def _write_line(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _listener(progress: Any) -> Callable[[str], None] | None:
    """Return whom to tell of steps: a function of the user's, standard error for True, or nobody."""
    if progress is True:
        return _write_line
    if progress in (None, False):
        return None
    if not callable(progress):
        raise ConfigurationError(f"progress={progress!r}: give True, or a function of a line of text")
    listener: Callable[[str], None] = progress
    return listener
