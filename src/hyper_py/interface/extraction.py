"""Extraction for Python: any map that astropy gives, sources as any list of positions."""

from __future__ import annotations  # short signatures in notebooks

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, Unpack

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS

from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import InputError
from hyper_py.display import shows_keywords
from hyper_py.image import SkyImage
from hyper_py.interface.arguments import check_names, described, regions_in
from hyper_py.interface.images import as_sky_image
from hyper_py.interface.naming import arguments_named
from hyper_py.interface.progress import ProgressLine, as_listener
from hyper_py.options import OptionChanges, Options
from hyper_py.pipeline import extraction
from hyper_py.pipeline.extraction import Extraction
from hyper_py.reading.objects import BeamLike, Header, MapLike
from hyper_py.reading.source_table import sources_of_table
from hyper_py.stages import OnStage
from hyper_py.writing.sky_regions import sources_of_regions

Positions: TypeAlias = FixedSources | Table | SkyCoord | Any
"""What given sources can be; tables of pandas, mappings of columns and regions too."""
_FIXED = (
    "give a table or mapping with RA and DEC, SkyCoord(ra, dec, unit='deg'), regions (ellipses, circles, "
    "points) or FixedSources"
)


@shows_keywords(OptionChanges)
def extract_sources(
    image: MapLike,
    *,
    wcs: WCS | Header | None = None,
    beam: BeamLike | None = None,
    unit: str | u.UnitBase | None = None,
    error: Any = None,
    mask: Any = None,
    frequency: float | u.Quantity | None = None,
    options: Options | None = None,
    fixed: Positions | None = None,
    progress: OnStage | bool | None = None,
    **changes: Unpack[OptionChanges],
) -> Extraction:
    """Find the compact sources of a map and measure them.

    Parameters
    ----------
    image : SkyImage, array_like (ny, nx), Quantity, NDData, CCDData, HDU or HDUList
        From `hyper_py.read_image`, or as astropy gives it, see `hyper_py.as_sky_image`.
    wcs, beam, unit, error, mask, frequency
        Of an array: what it does not say itself, see `hyper_py.as_sky_image`. Units are converted; what
        contradicts the data's own is refused.
    options : Options, optional
        Default: those of a new configuration.
    fixed : FixedSources, Table, SkyCoord or regions, optional
        Measure these instead of detecting. A table (of astropy or pandas, or a mapping of columns) has
        columns RA and DEC, and if wanted FWHM_1, FWHM_2, PA and ID, in any unit of an angle. Of regions of
        the package regions, ellipses and circles are apertures and points are positions.
    progress : callable or bool, optional
        Called as `progress(stage, done, total)`, with the stages of `hyper_py.stages.SHARES`, such as
        `("fits", 120, 400)`; `total` is 0 where nothing is counted. True writes a line to standard error.
    **changes
        Other values of `options`, by the names of its fields: `detection={"sigma_thres": 5}` changes that key
        of the section, a `DetectionOptions` replaces it.

    Returns
    -------
    Extraction
        Its catalogue has one row a source, most significant first (given sources in the order given).

    Raises
    ------
    InputError
        If something about the map is missing or impossible, or the map is blank.
    ConfigurationError
        If a value is not allowed, a name is not known, or choices exclude each other.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    >>> extraction = hyper_py.extract_sources(sky.image, detection={"sigma_thres": 6})
    >>> len(extraction.catalog)
    3

    The same from an array:

    >>> values = sky.image.data.astype(">f4")
    >>> again = hyper_py.extract_sources(values, wcs=sky.image.wcs, beam=sky.image.beam, unit="Jy/pixel")
    >>> len(again.catalog)
    3
    """
    check_names(changes, function=extract_sources)
    chosen = Options.chosen(options, **changes)
    own = as_sky_image(
        image, wcs=wcs, beam=beam, unit=unit, error=error, mask=mask, frequency=frequency
    )  # fmt: skip
    listener = as_listener(progress)
    given = _given(fixed, own, chosen)
    if given is not None and given.notes:
        own = replace(own, meta=own.meta | {"given": given.notes})
    with arguments_named():
        found = extraction.extract_sources(own, options=chosen, fixed=given, progress=listener)
    if isinstance(listener, ProgressLine):
        listener.finish(f"100%  {len(found.catalog)} sources")
    return found


def _given(fixed: Any, image: SkyImage, options: Options) -> FixedSources | None:
    """Return given sources; regions need the map, and the apertures over the FWHM."""
    if not (regions := regions_in(fixed)):
        return as_fixed_sources(fixed)
    ratio = options.photometry.fwhm_radius_ratio
    return sources_of_regions(regions, image, where="fixed=", fwhm_radius_ratio=ratio)


def as_fixed_sources(fixed: Any) -> FixedSources | None:
    """Return given sources from a table, a mapping of columns or coordinates.

    Raises
    ------
    InputError
        If it is none of these, or a table without positions.

    Examples
    --------
    >>> from astropy.table import Table
    >>> as_fixed_sources(Table({"RA": [10.0, 11.0], "DEC": [-5.0, -6.0]})).hyper_ids.tolist()
    [1, 2]
    """
    if fixed is None or isinstance(fixed, FixedSources):
        return fixed
    if isinstance(fixed, Table):
        return sources_of_table(fixed, name="fixed=")
    if isinstance(fixed, list | tuple) and fixed and all(isinstance(one, SkyCoord) for one in fixed):
        fixed = SkyCoord([one.icrs for one in fixed])
    if isinstance(fixed, SkyCoord):
        places = fixed.icrs.ravel()
        return FixedSources(longitude=places.ra.deg, latitude=places.dec.deg, frame="icrs")
    if isinstance(fixed, str | Path):
        raise InputError(f"fixed={str(fixed)!r}: read the table first: fixed=Table.read({str(fixed)!r})")
    if isinstance(fixed, Extraction):
        raise InputError(
            "fixed=: an Extraction: give its .catalog; for another beam, "
            "hyper_py.reference_from(it).for_beam(beam)"
        )
    is_structured = isinstance(fixed, np.ndarray) and fixed.dtype.names is not None
    if not (is_structured or isinstance(fixed, Mapping) or hasattr(fixed, "columns")):
        raise InputError(f"fixed=: {described(fixed)}: {_FIXED}")
    try:
        table = Table.from_pandas(fixed) if hasattr(fixed, "iloc") else Table(fixed)
    except (TypeError, ValueError) as error:
        raise InputError(f"fixed=: {described(fixed)} that is no table ({error}): {_FIXED}") from None
    return sources_of_table(table, name="fixed=")
