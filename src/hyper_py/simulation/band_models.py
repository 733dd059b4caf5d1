"""What a simulated field in several bands is made of: `BandsModel`, and its presets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from hyper_py.diagnostics import ConfigurationError
from hyper_py.simulation.presets import wrong_kind

PROJECTIONS = ("SIN", "TAN", "ARC", "STG", "ZEA")
FRAMES = ("icrs", "fk5", "galactic")


@dataclass(frozen=True, kw_only=True)
class BandModel:
    """One band of a simulated field.

    Attributes
    ----------
    name : str
        Name of the band and of its file.
    wavelength : float
        Micrometres.
    beam : float
        FWHM of the round beam, arcsec.
    pixel_scale : float
        Arcsec.
    noise : float
        Rms, Jy/beam.
    offset : (float, float), optional
        Arcsec by which the map's coordinates are wrong: sources stand this far east and north of where they
        are. None draws it: see `BandsModel.offset_rms`.
    coverage : float
        Share of the width that the map covers, from its left edge (east, where the map is not rotated).
    frame : str
        Of the map's coordinates: `icrs`, `fk5` or `galactic`.
    projection : str
        FITS code of a zenithal projection.
    rotation : float
        Degrees by which the map's +y is turned from the frame's north towards east.
    """

    name: str
    wavelength: float
    beam: float
    pixel_scale: float
    noise: float
    offset: tuple[float, float] | None = None
    coverage: float = 1.0
    frame: str = "icrs"
    projection: str = "TAN"
    rotation: float = 0.0

    def __post_init__(self) -> None:
        for key in ("wavelength", "beam", "pixel_scale", "noise"):
            _require(_positive(getattr(self, key)), self.name, self, key, "a positive number")
        _require(0 < self.coverage <= 1, self.name, self, "coverage", "above 0 and at most 1")
        for key, allowed in (("frame", FRAMES), ("projection", PROJECTIONS)):
            _require(getattr(self, key) in allowed, self.name, self, key, f"one of {', '.join(allowed)}")
        _require(_finite(self.rotation), self.name, self, "rotation", "a number")
        pair = self.offset is None or (len(self.offset) == 2 and all(map(_finite, self.offset)))
        _require(pair, self.name, self, "offset", "two numbers, arcsec east and north")


@dataclass(frozen=True, kw_only=True)
class BandsModel:
    """A kind of field seen in several bands, of which every seed is one realisation.

    Attributes
    ----------
    name : str
        Name of the field.
    bands : tuple of BandModel
        The maps, from the shortest wavelength to the longest.
    size : float
        Side of the field, arcsec.
    centre : (float, float)
        Right ascension and declination of the field's centre, degrees.
    n_sources : int
        Number of sources.
    flux_range : (float, float)
        Jy at `reference_wavelength`, log-uniform.
    reference_wavelength : float
        Micrometres.
    temperature_range : (float, float)
        Kelvin, uniform.
    beta : float
        Emissivity index of the sources' grey bodies.
    fwhm_range : (float, float)
        Intrinsic FWHM (geometric mean), arcsec, uniform.
    axis_ratio_range : (float, float)
        Major over minor intrinsic FWHM, uniform.
    size_exponent : float
        Intrinsic FWHM are those at `reference_wavelength` times (wavelength / that)^size_exponent.
    pair_fraction : float
        Share of the sources that stand in pairs.
    pair_separation : (float, float)
        Distance within pairs, arcsec, uniform.
    margin : float
        Distance of single sources from the field's edge, arcsec.
    cirrus : float
        Rms of the cirrus at `reference_wavelength` in MJy/sr before any beam.
    cirrus_temperature, cirrus_beta : float
        Grey body of the cirrus.
    cirrus_slope : float
        Its power is k^-slope, the same pattern in all bands.
    cirrus_own : float
        Share of its variance that each band has in a pattern of its own: a cirrus whose spectrum varies.
    noise_kernel, noise_white_fraction : float
        FWHM in beams of the Gaussian that smooths the noise, and the share of its power that is white.
    offset_rms : float
        Arcsec, each axis: rms of the astrometric offsets of the bands that have none given. The band of the
        sharpest beam has none.
    """

    name: str
    bands: tuple[BandModel, ...]
    size: float = 1500.0
    centre: tuple[float, float] = (84.0, -2.0)
    n_sources: int = 200
    flux_range: tuple[float, float] = (0.02, 1.5)
    reference_wavelength: float = 250.0
    temperature_range: tuple[float, float] = (8.0, 40.0)
    beta: float = 1.8
    fwhm_range: tuple[float, float] = (0.0, 18.0)
    axis_ratio_range: tuple[float, float] = (1.0, 2.0)
    size_exponent: float = 0.0
    pair_fraction: float = 2.0 / 3.0
    pair_separation: tuple[float, float] = (8.0, 20.0)
    margin: float = 60.0
    cirrus: float = 3.5
    cirrus_temperature: float = 16.0
    cirrus_beta: float = 1.8
    cirrus_slope: float = 2.8
    cirrus_own: float = 0.0
    noise_kernel: float = 0.57
    noise_white_fraction: float = 0.19
    offset_rms: float = 0.5

    def __post_init__(self) -> None:
        where = "simulation"
        names = [band.name for band in self.bands]
        if not names or len(set(names)) < len(names):
            raise ConfigurationError(f"simulation: bands {names}: at least one is needed, no name twice")
        for key in ("size", "reference_wavelength", "beta", "cirrus_temperature", "noise_kernel"):
            _require(_positive(getattr(self, key)), where, self, key, "a positive number")
        for key in ("flux_range", "temperature_range", "pair_separation"):
            low, high = getattr(self, key)
            _require(0 < low <= high < math.inf, where, self, key, "two positive numbers, the smaller first")
        low, high = self.fwhm_range
        _require(0 <= low <= high < math.inf, where, self, "fwhm_range", "from 0, the smaller first")
        low, high = self.axis_ratio_range
        _require(1 <= low <= high < math.inf, where, self, "axis_ratio_range", "two numbers from 1")
        for key in ("pair_fraction", "cirrus_own", "noise_white_fraction"):
            _require(0 <= getattr(self, key) <= 1, where, self, key, "between 0 and 1")
        for key in ("n_sources", "margin", "cirrus", "cirrus_slope", "offset_rms"):
            value = getattr(self, key)
            _require(_finite(value) and value >= 0, where, self, key, "zero or positive")
        for key in ("size_exponent", "cirrus_beta"):
            _require(_finite(getattr(self, key)), where, self, key, "a number")
        _require(2 * self.margin < self.size, where, self, "margin", "less than half of size")
        on_sky = all(map(_finite, self.centre)) and abs(self.centre[1]) < 89.0
        _require(on_sky, where, self, "centre", "a right ascension, and a declination from -89 to 89 degrees")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _finite(value) and value > 0


def _require(condition: bool, where: str, model: Any, key: str, expected: str) -> None:
    if not condition:
        path = key if where == "simulation" else f"bands.{where}.{key}"
        raise ConfigurationError(f"simulation: {path} is {getattr(model, key)!r}; it must be {expected}")


_HERSCHEL = (
    BandModel(name="p100", wavelength=100.0, beam=7.0, pixel_scale=2.0, noise=3e-3),
    BandModel(name="p160", wavelength=160.0, beam=12.0, pixel_scale=3.0, noise=6e-3),
    BandModel(name="s250", wavelength=250.0, beam=18.0, pixel_scale=6.0, noise=8e-3),
    BandModel(name="s350", wavelength=350.0, beam=24.5, pixel_scale=8.0, noise=8e-3),
    BandModel(name="s500", wavelength=500.0, beam=36.0, pixel_scale=12.0, noise=9e-3),
)
_BANDS = BandsModel(name="bands", bands=_HERSCHEL)

BANDS_PRESETS: dict[str, BandsModel] = {
    "bands": _BANDS,
    # Fewer, brighter, rounder and smaller sources in wider pairs; maps without offsets.
    "bands_simple": replace(
        _BANDS, name="bands_simple", n_sources=160, flux_range=(0.03, 1.5), temperature_range=(10.0, 28.0),
        fwhm_range=(0.0, 14.0), axis_ratio_range=(1.0, 1.0), pair_separation=(10.0, 30.0), offset_rms=0.0,
    ),
}  # fmt: skip


def bands_model(preset: str | BandsModel, **overrides: Any) -> BandsModel:
    """Return a preset, or a model of your own, with some of its fields replaced.

    Parameters
    ----------
    preset : str or BandsModel
        A name in `BANDS_PRESETS`, or a model.
    **overrides
        Fields of `BandsModel`; lists are taken for tuples. `bands` may be a mapping from names of bands to
        fields of `BandModel` that are replaced, or to None for a band that is absent:
        `bands={"s500": {"coverage": 0.5}, "s250": None}`. A band that the preset lacks needs all fields.

    Returns
    -------
    BandsModel

    Raises
    ------
    ConfigurationError
        If the preset or a field does not exist, or a value makes no sense.
    """
    if isinstance(preset, str):
        _known(preset, BANDS_PRESETS, "preset")
        preset = BANDS_PRESETS[preset]
    if TYPE_CHECKING:  # for completion: jedi follows `**overrides` to the fields
        BandsModel(**overrides)
    for key in overrides:
        _known(key, [field.name for field in fields(BandsModel)], "option")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in overrides.items()
    }
    try:
        if isinstance(changed := values.get("bands"), Mapping):
            values["bands"] = _changed_bands(preset.bands, changed)
        return replace(preset, **values)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(wrong_kind(preset, values, error)) from None


def _changed_bands(bands: tuple[BandModel, ...], changed: Mapping[str, Any]) -> tuple[BandModel, ...]:
    """Return bands with fields replaced; without those that are None; with new ones."""
    by_name = {band.name: band for band in bands}
    known = [field.name for field in fields(BandModel)]
    for name, given in changed.items():
        if given is None:
            _known(name, by_name, "band")
            del by_name[name]
            continue
        if not isinstance(given, Mapping):
            raise ConfigurationError(
                f"simulation: bands.{name} is {given!r}; it must be fields of a band, or null"
            )
        for key in given:
            _known(key, known, f"option of bands.{name}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
        }
        if name in by_name:
            by_name[name] = replace(by_name[name], **values)
            continue
        missing = [key for key in ("wavelength", "beam", "pixel_scale", "noise") if key not in values]
        if missing:
            near = get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"a new one needs {', '.join(missing)}"
            raise ConfigurationError(f"simulation: no band {name!r}; {hint}")
        by_name[name] = BandModel(name=name, **values)
    return tuple(sorted(by_name.values(), key=lambda band: band.wavelength))


def _known(name: str, names: Any, what: str) -> None:
    if name not in names:
        near = get_close_matches(name, list(names), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(sorted(names))}"
        raise ConfigurationError(f"simulation: no {what} {name!r}; {hint}")
