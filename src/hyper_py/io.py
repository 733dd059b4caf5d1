"""Maps and cubes from FITS files: `read_image`, `open_cube`."""

from pathlib import Path
from typing import Any

import numpy as np

from hyper_py.diagnostics import InputError
from hyper_py.fits_files import FitsFile, open_fits, read_plane, warnings_into
from hyper_py.geometry import Beam, FloatArray, pixel_areas
from hyper_py.headers import header_frequency
from hyper_py.image import SkyImage
from hyper_py.mapfacts import Given, MapFacts, understand
from hyper_py.surveys import HEADER_CODE, find_survey
from hyper_py.units import jy_per_pixel

_FACT_KEYS = {"object": "OBJECT", "telescope": "TELESCOP", "instrument": "INSTRUME", "observed": "DATE-OBS"}


def read_image(
    path: str | Path,
    *,
    hdu: int | str | None = None,
    bunit: str | None = None,
    beam: Beam | None = None,
    survey_name: str | None = None,
    survey_code: int = HEADER_CODE,
    frequency: float | None = None,
    plane: int | None = None,
) -> SkyImage:
    """Read a map from a FITS file into Jy/pixel.

    Parameters
    ----------
    path : str or Path
        Plain, gzipped or tile-compressed FITS.
    hdu : int or str, optional
        Number or name of the HDU of the map; found if not given.
    bunit : str, optional
        Unit of the map, in place of BUNIT.
    beam : Beam, optional
        Beam of the map, in place of the header's.
    survey_name : str, optional
        Preset with the beam, see `hyper_py.surveys`; before the header's.
    survey_code : int
        The original's code of a preset; 15 takes the beam from the header.
    frequency : float, optional
        Hz, in place of the header's; needed by K and W/m2/sr.
    plane : int, optional
        Channel of a cube, from 0.

    Returns
    -------
    SkyImage
        `meta` holds `notes` (what was assumed or odd), `unit_source`, `frequency` in Hz and its source,
        `hdu`, and `object`, `telescope`, `instrument`, `observed` where the header has them.

    Raises
    ------
    InputError
        If something is missing or impossible: one line with the file, all that is missing, and the options.
    ConfigurationError
        If there is no such survey.
    """
    survey = find_survey(code=survey_code, name=survey_name)
    given = Given(hdu=hdu, bunit=bunit, beam=beam, survey=survey, frequency=frequency)
    with open_fits(path) as file, warnings_into(file.notes):
        facts = understand(file, given)
        if plane is None and facts.n_channels > 1:
            raise InputError(
                f"{facts.name}: a cube of {facts.n_channels} channels: set control.datacube to true"
            )
        facts.demand()
        channel = 0 if plane is None else plane
        if not 0 <= channel < facts.n_channels:
            raise InputError(
                f"{facts.name}: no plane {channel}: there are {facts.n_channels}, counted from 0"
            )
        areas = pixel_areas(facts.wcs, facts.shape)
        image = _make_image(file, facts, given, areas=areas, channel=channel)
    image.meta["notes"] = list(file.notes)
    if not np.isfinite(image.data).any():
        raise InputError(f"{image.name}: every pixel is blank")
    return image


def _make_image(
    file: FitsFile,
    facts: MapFacts,
    given: Given,
    *,
    areas: float | FloatArray,
    channel: int,
) -> SkyImage:
    """Read one plane and turn it into Jy/pixel."""
    beam, frequency = facts.beam(channel), facts.frequency
    if channel and given.frequency is None:
        frequency = header_frequency(facts.full, facts.header, facts.primary, channel) or frequency
    unit = facts.unit
    assert unit is not None and facts.axes is not None
    hz = None if frequency is None else frequency[0]
    factor = jy_per_pixel(unit, pixel_area=areas, beam_area=beam.solid_angle, frequency=hz)
    axes = dict(facts.fixed)
    if facts.channel_axis is not None:
        axes[facts.channel_axis] = channel
    data = read_plane(file, facts.index, x=facts.axes.x, y=facts.axes.y, fixed=axes) * factor
    data[np.isnan(np.broadcast_to(areas, data.shape))] = np.nan
    meta: dict[str, Any] = {"hdu": facts.index, "unit_source": facts.unit_source}
    if frequency is not None:
        meta |= {"frequency": frequency[0], "frequency_source": frequency[1]}
    for name, key in _FACT_KEYS.items():
        value = facts.header.get(key, facts.primary.get(key))
        if isinstance(value, str) and value.strip():
            meta[name] = value.strip()
    return SkyImage(
        data=data, wcs=facts.wcs, beam=beam, name=facts.name, unit=unit.text, jy_per_pixel=factor, meta=meta
    )
