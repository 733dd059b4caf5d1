"""What a simulated sky is made of: `SkyModel`, and the presets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import Beam
from hyper_py.simulation.complexes import Complexes
from hyper_py.simulation.coverage import Coverage
from hyper_py.simulation.interferometer import Interferometer
from hyper_py.simulation.resolved import Resolved

UNITS = ("Jy/pixel", "Jy/beam", "MJy/sr")
FRAMES = ("icrs", "galactic")
BACKGROUNDS = ("none", "smooth", "powerlaw", "lognormal")
PEAK_SCALES = ("noise", "local", "structure", "total")
SIZES = ("observed", "intrinsic")
PROFILES = ("gaussian", "moffat")
PROJECTIONS = ("SIN", "TAN", "ARC", "STG", "ZEA")
PARTS: dict[str, type[Any]] = {
    "interferometer": Interferometer, "complexes": Complexes, "coverage": Coverage, "resolved": Resolved
}  # fmt: skip
"""Parts of a sky that have fields of their own."""


@dataclass(frozen=True, kw_only=True)
class SkyModel:
    """A kind of sky, of which every seed is one realisation.

    "Beams" below are the geometric-mean FWHM of the beam; "noise" is the rms of the noise.

    Attributes
    ----------
    name : str
        Name of the map.
    shape : (int, int)
        (ny, nx).
    pixel_scale : float
        Arcsec.
    beam : (float, float, float)
        FWHM of both axes in arcsec, position angle of the major one in degrees east of north. Of an
        interferometer only the geometric mean counts: axis ratio and angle are those of its coverage.
    unit : str
        `Jy/pixel`, `Jy/beam` or `MJy/sr`: the unit of the file; arrays are in Jy/pixel whatever it is.
    frame : str
        `icrs` or `galactic`.
    centre : (float, float)
        Longitude and latitude of the map's centre in that frame, degrees.
    projection : str
        FITS code of a zenithal projection: `SIN`, `TAN`, `ARC`, `STG` or `ZEA`.
    rotation : float
        Degrees by which the map's +y is turned from north towards east.
    mirrored : bool
        East to the right.
    noise_rms : float
        Jy/beam; root mean square over the map where the noise varies, at full coverage with `coverage`.
    noise_white_fraction : float
        Share of the noise power that is white; the rest has the autocorrelation of the beam.
    noise_kernel : float
        FWHM in beams of the Gaussian that smooths the correlated noise; 1 is the beam itself.
    noise_variation : float
        Largest over smallest noise rms in the map, changing exponentially along a random direction.
    background : str
        `none`; `smooth`: white noise smoothed by a Gaussian of `background_scale` (band-limited, as
        the published maps); `powerlaw`: Gaussian field with power k^-slope; `lognormal`: exponential
        of such a field, of relative rms `lognormal_contrast`.
    background_rms : float
        In units of the noise. It is the rms of the random process, root mean square over the map where
        that varies; that of one map comes near it where the map holds many of the largest structures.
    background_variation : float
        Strongest over weakest random background in the map, changing exponentially along a random direction.
    background_level : float
        Mean, in units of the noise.
    background_scale : float
        FWHM in beams of the kernel of `smooth`.
    background_slope : float
        Positive: 3 is P(k) ~ k^-3.
    background_outer : float
        Scale in units of the longer side beyond which the power stays flat.
    background_in_beam : bool
        Power laws are seen through the beam, as a telescope sees them; false: k^-slope at all k.
    lognormal_contrast : float
        Rms over mean of a log-normal background, whose mean is then background_rms / lognormal_contrast
        times the noise, on top of `background_level`.
    gradient : float
        Rise across the map's diagonal in units of the noise, along a random direction.
    n_filaments : int
        Number of curved filaments across the map.
    filament_peak, filament_width : float
        Crest in units of the noise; FWHM in beams.
    filament_contrast : float
        Rms of crests along the filaments over their mean: knots that are no sources.
    n_sources : int
        Number of sources.
    peak_range : (float, float)
        Amplitudes in units of sigma, where sigma is given by `peak_scale`.
    peak_log : bool
        Log-uniform in that range instead of uniform.
    peak_slope : float
        Otherwise, differential counts fall as this power of the amplitude: 0 is uniform.
    peak_scale : str
        `noise`: the noise; `local`: the noise at the source; `total`: rms of noise and background
        together, of this very map;
        `structure`: noise and the background at wavelengths below three beams, in quadrature.
    size_range : (float, float)
        Geometric-mean FWHM, in beams, uniform.
    axis_ratio_range : (float, float)
        Major over minor FWHM, uniform.
    sizes : str
        `observed`: both are those seen in the map; `intrinsic`: those before the beam.
    profile : str
        `gaussian`, or `moffat`: peak (1 + r^2 / alpha^2)^-beta with the same FWHM.
    moffat_beta : float
        Above 1; 1.5 is the two-dimensional Lorentzian.
    crowded_fraction : float
        Share of sources that are members of pairs.
    crowded_separation : (float, float)
        Separation within pairs, in beams, uniform.
    min_separation : float
        All other separations are at least this, in beams.
    margin : float
        Distance kept from the border (of blank pixels, if any), in beams.
    blank_border : int
        Width in pixels of a border of blanks.
    side_lobes : float
        Largest side lobe of the beam over its peak: a dirty interferometer beam with six spokes, for
        sources and noise. Peak and integral of a source stay what they were.
    interferometer : Interferometer, optional
        Sky and noise are seen through its sampled (u, v) plane, which holds no level and no gradient.
    complexes : Complexes, optional
        Clumpy extended complexes, part of the background; their clumps are in the truth, marked.
    coverage : Coverage, optional
        Noise that rises where the map was observed less, and blanks where it was not.
    resolved : Resolved, optional
        A share of the sources is wider than the beam, of several profiles.
    """

    name: str = "simulated"
    shape: tuple[int, int] = (565, 635)
    pixel_scale: float = 0.013
    beam: tuple[float, float, float] = (0.04808, 0.03849, 22.7)
    unit: str = "Jy/pixel"
    frame: str = "icrs"
    centre: tuple[float, float] = (84.7104, -69.0776)
    projection: str = "SIN"
    rotation: float = 0.0
    mirrored: bool = False
    noise_rms: float = 1.43e-5
    noise_white_fraction: float = 0.1
    noise_kernel: float = 1.0
    noise_variation: float = 1.0
    background: str = "smooth"
    background_rms: float = 2.0
    background_variation: float = 1.0
    background_level: float = 9.0
    background_scale: float = 3.6
    background_slope: float = 3.0
    background_outer: float = 1.0
    background_in_beam: bool = True
    lognormal_contrast: float = 0.5
    gradient: float = 0.0
    n_filaments: int = 0
    filament_peak: float = 5.0
    filament_width: float = 4.0
    filament_contrast: float = 0.0
    n_sources: int = 500
    peak_range: tuple[float, float] = (8.0, 20.0)
    peak_log: bool = False
    peak_slope: float = 0.0
    peak_scale: str = "total"
    size_range: tuple[float, float] = (0.8, 1.5)
    axis_ratio_range: tuple[float, float] = (1.0, 1.6)
    profile: str = "gaussian"
    moffat_beta: float = 1.5
    crowded_fraction: float = 0.2
    crowded_separation: tuple[float, float] = (1.0, 2.0)
    min_separation: float = 2.0
    margin: float = 4.5
    blank_border: int = 0
    sizes: str = "observed"
    side_lobes: float = 0.0
    interferometer: Interferometer | None = None
    complexes: Complexes | None = None
    coverage: Coverage | None = None
    resolved: Resolved | None = None

    def __post_init__(self) -> None:
        for key, allowed in _CHOICES.items():
            _require(getattr(self, key) in allowed, self, key, f"one of {', '.join(allowed)}")
        for key in ("n_sources", "n_filaments", "blank_border"):
            _require(isinstance(getattr(self, key), int | np.integer), self, key, "a whole number")
        whole = [isinstance(n, int | np.integer) for n in self.shape]
        _require(len(whole) == 2 and all(whole), self, "shape", "two whole numbers, rows and columns")
        longitude, latitude = self.centre
        on_sky = math.isfinite(longitude) and abs(latitude) <= 90.0
        _require(on_sky, self, "centre", "a longitude, and a latitude from -90 to 90 degrees")
        major, minor, pa = self.beam
        _require(0 < minor <= major < math.inf and math.isfinite(pa), self, "beam", "major >= minor > 0")
        for key in _POSITIVE:
            _require(_finite(self, key) and getattr(self, key) > 0, self, key, "a positive number")
        for key in _NOT_NEGATIVE:
            _require(_finite(self, key) and getattr(self, key) >= 0, self, key, "zero or positive")
        for key in ("rotation", "background_level"):
            _require(_finite(self, key), self, key, "a number")
        for key in ("noise_white_fraction", "crowded_fraction"):
            _require(0 <= getattr(self, key) <= 1, self, key, "between 0 and 1")
        for key in ("peak_range", "size_range", "axis_ratio_range", "crowded_separation"):
            low, high = getattr(self, key)
            _require(0 < low <= high < math.inf, self, key, "two positive numbers, the smaller first")
        _require(self.axis_ratio_range[0] >= 1, self, "axis_ratio_range", "at least 1")
        for key in ("noise_variation", "background_variation"):
            _require(1 <= getattr(self, key) < math.inf, self, key, "at least 1")
        _require(
            1 < self.moffat_beta < math.inf, self, "moffat_beta", "above 1: the flux is infinite otherwise"
        )
        _require(self.side_lobes < 1, self, "side_lobes", "below 1")
        _require(min(self.shape) >= 8, self, "shape", "at least 8 pixels each way")
        _require(2 * self.blank_border < min(self.shape), self, "blank_border", "less than half the map")
        for key, part in PARTS.items():
            value = getattr(self, key)
            _require(
                value is None or isinstance(value, part), self, key, f"none, or fields of {part.__name__}"
            )
        if self.interferometer:
            _require(self.frame == "icrs", self, "frame", "icrs with an interferometer")
            _require(self.profile == "gaussian", self, "profile", "gaussian with an interferometer")
            for key in ("n_filaments", "side_lobes"):
                _require(not getattr(self, key), self, key, "0 with an interferometer")
            _require(self.complexes is None, self, "complexes", "none with an interferometer")
        if self.resolved:
            _require(self.interferometer is None, self, "interferometer", "none with resolved sources")
            _require(self.complexes is None, self, "complexes", "none with resolved sources")
            _require(self.profile == "gaussian", self, "profile", "gaussian: see resolved.profiles")
            _require(not self.side_lobes, self, "side_lobes", "0 with resolved sources")

    @property
    def beam_fwhm_pix(self) -> float:
        """Geometric-mean FWHM of the beam in pixels: what "beams" are counted in."""
        return math.sqrt(self.beam[0] * self.beam[1]) / self.pixel_scale

    def sky_beam(self) -> Beam:
        """Return the beam as an object."""
        major, minor, pa = self.beam
        return Beam(major=major, minor=minor, pa=pa, source="simulated")


_CHOICES = {
    "unit": UNITS,
    "frame": FRAMES,
    "background": BACKGROUNDS,
    "peak_scale": PEAK_SCALES,
    "profile": PROFILES,
    "projection": PROJECTIONS,
    "sizes": SIZES,
}
_POSITIVE = ("pixel_scale", "noise_rms", "noise_kernel", "background_scale", "background_outer",
             "lognormal_contrast", "filament_width")  # fmt: skip
_NOT_NEGATIVE = ("background_rms", "background_slope", "gradient", "n_filaments", "n_sources", "peak_slope",
                 "margin", "min_separation", "blank_border", "side_lobes", "filament_contrast")  # fmt: skip


def _finite(model: SkyModel, key: str) -> bool:
    return math.isfinite(getattr(model, key))


def _require(condition: bool, model: SkyModel, key: str, expected: str) -> None:
    if not condition:
        raise ConfigurationError(f"simulation: {key} is {getattr(model, key)!r}; it must be {expected}")


_ALMA = SkyModel(name="alma")
_DEEP = replace(_ALMA, name="deep", peak_range=(3.0, 60.0), peak_log=True, peak_scale="structure")

_SNAPSHOT = Interferometer(weighting="uniform", hour_angles=(-0.5, 0.5))
_CLEANED = SkyModel(
    name="interferometer", shape=(512, 512), pixel_scale=3.5, beam=(30.0, 30.0, 0.0), unit="Jy/beam",
    centre=(173.14, 27.7), noise_rms=6.1e-5, noise_white_fraction=0.0, background="lognormal",
    background_rms=0.7, background_level=0.0, n_sources=15, peak_range=(5.0, 20.0), peak_log=True,
    peak_scale="noise", size_range=(0.01, 0.5), sizes="intrinsic", crowded_fraction=0.0,
    min_separation=5.0, interferometer=_SNAPSHOT,
)  # fmt: skip
_EDGES = SkyModel(
    name="edges", unit="Jy/beam", noise_white_fraction=0.6, background="powerlaw", background_rms=2.0,
    background_level=0.0, n_sources=150, peak_range=(4.0, 60.0), peak_log=True, peak_scale="local",
    size_range=(0.95, 1.3), margin=1.0, coverage=Coverage(),
)  # fmt: skip
_EMPTY = replace(
    _ALMA, name="empty", n_sources=0, peak_scale="structure", background="powerlaw", background_rms=40.0,
    noise_white_fraction=0.0,
    background_slope=2.8, background_level=60.0, gradient=20.0, n_filaments=3, filament_peak=60.0,
)  # fmt: skip

PRESETS: dict[str, SkyModel] = {
    "alma": _ALMA,
    "deep": _DEEP,
    "herschel": SkyModel(
        name="herschel",
        shape=(1500, 1500),
        pixel_scale=6.0,
        # FWHM of the nominal SPIRE 250 um beam in maps of 6 arcsec pixels: SPIRE Handbook, section 5.2.9.
        beam=(18.4, 17.4, 0.0),
        unit="MJy/sr",
        frame="galactic",
        centre=(59.0, 0.0),
        projection="TAN",
        rotation=20.0,
        noise_rms=0.010,
        background="lognormal",
        background_rms=50.0,
        background_level=50.0,
        n_sources=1000,
        peak_range=(3.0, 60.0),
        peak_log=True,
        peak_scale="structure",
    ),
    "faint": replace(
        _DEEP, name="faint", peak_range=(3.0, 10.0), background_rms=0.5, background_level=2.0
    ),
    "crowded": replace(
        _DEEP, name="crowded", crowded_fraction=0.4, crowded_separation=(0.6, 1.5), min_separation=1.5
    ),
    "cube": replace(
        _DEEP, name="cube", shape=(200, 240), n_sources=60, peak_range=(6.0, 60.0), unit="Jy/beam"
    ),
    "interferometer": _CLEANED,
    "interferometer_dirty": replace(
        _CLEANED, name="interferometer_dirty", n_sources=10, peak_range=(6.0, 30.0),
        interferometer=replace(_SNAPSHOT, image="dirty"),
    ),
    "dynamic": replace(
        _DEEP, name="dynamic", peak_range=(5.0, 3000.0), peak_scale="noise", n_sources=200,
        background_rms=0.5, background_level=2.0, noise_white_fraction=0.05,
    ),
    "complex": replace(
        _DEEP, name="complex", n_sources=120, peak_range=(15.0, 40.0), peak_scale="noise",
        size_range=(0.95, 1.2), axis_ratio_range=(1.0, 1.2), background="powerlaw", background_rms=3.0,
        crowded_fraction=0.0,
        background_level=5.0, complexes=Complexes(),
    ),
    "edges": _EDGES,
    "edges_error": replace(_EDGES, name="edges_error", coverage=Coverage(error_extension=True)),
    "empty": _EMPTY,
    "empty_lognormal": replace(
        _EMPTY, name="empty_lognormal", background="lognormal", lognormal_contrast=1.1
    ),
    "oversampled": replace(
        _DEEP, name="oversampled", shape=(720, 720), pixel_scale=0.003585, n_sources=100,
        noise_white_fraction=0.0, peak_range=(5.0, 60.0), unit="Jy/beam",
    ),
    # Steep counts and most of the variance in faint sources, as in deep SPIRE maps.
    "confused": SkyModel(
        name="confused", shape=(400, 400), pixel_scale=6.0, beam=(18.4, 17.4, 0.0), unit="Jy/beam",
        centre=(150.1, 2.2), projection="TAN", noise_rms=0.005, noise_white_fraction=0.9, background="none",
        background_rms=0.0, background_level=0.0, n_sources=12000, peak_range=(0.5, 30.0), peak_slope=2.5,
        peak_scale="noise", size_range=(1.0, 1.1), axis_ratio_range=(1.0, 1.1), crowded_fraction=0.0,
        min_separation=0.0, margin=0.0,
    ),
    "clumps": SkyModel(
        name="clumps", shape=(800, 800), pixel_scale=6.0, beam=(18.4, 17.4, 0.0), unit="MJy/sr",
        frame="galactic", centre=(30.0, 0.0), projection="TAN", noise_rms=0.010, background="powerlaw",
        background_rms=30.0, background_level=50.0, n_sources=200, peak_range=(5.0, 100.0), peak_log=True,
        peak_scale="structure", size_range=(0.95, 1.55), crowded_fraction=0.0, margin=6.0,
        resolved=Resolved(share=0.5, profiles=("gaussian", "gaussian", "disc", "core", "ring")),
    ),
    "resolved": replace(
        _ALMA, name="resolved", shape=(800, 900), unit="Jy/beam", noise_white_fraction=0.04,
        background="none", background_rms=0.0, background_level=0.0, n_sources=200, peak_range=(5.0, 100.0),
        peak_log=True, peak_scale="noise", size_range=(1.0, 1.5), crowded_fraction=0.0, margin=6.0,
        resolved=Resolved(
            share=0.75, size=(1.5, 6.0), profiles=("gaussian", "gaussian", "disc", "core", "ring")
        ),
    ),
}  # fmt: skip


def sky_model(preset: str | SkyModel, **overrides: Any) -> SkyModel:
    """Return a preset, or a model of your own, with some of its fields replaced.

    Parameters
    ----------
    preset : str or SkyModel
        A name in `PRESETS`, or a model.
    **overrides
        Fields of `SkyModel`; lists are taken for tuples, mappings for fields of a part of it, such as
        `interferometer={"weighting": "uniform"}`.

    Returns
    -------
    SkyModel

    Raises
    ------
    ConfigurationError
        If the preset or a field does not exist, or a value makes no sense.
    """
    if isinstance(preset, str):
        _known(preset, PRESETS, "preset")
        preset = PRESETS[preset]
    names = {field.name for field in fields(SkyModel)}
    if TYPE_CHECKING:  # for completion: jedi follows `**overrides` to the fields
        SkyModel(**overrides)
    for key in overrides:
        _known(key, names, "option")
    values = {key: _value(preset, key, value) for key, value in overrides.items()}
    try:
        return replace(preset, **values)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(wrong_kind(preset, values, error)) from None


def wrong_kind(preset: Any, values: Mapping[str, Any], error: Exception) -> str:
    """Return the message for values of which one is of the wrong kind: the first that alone is no better."""
    for key, value in values.items():
        try:
            replace(preset, **{key: value})
        except (TypeError, ValueError):
            own = getattr(preset, key)
            return f"simulation: {key} is {value!r}; it must be of the kind of {own!r}, in the same unit"
        except ConfigurationError:
            continue
    return f"simulation: an option has a value of the wrong kind ({error})"


def _value(preset: SkyModel, key: str, value: Any) -> Any:
    """Return a field's value: lists as tuples, a part with those of its fields replaced that are given."""
    if key not in PARTS or not isinstance(value, Mapping):
        return tuple(value) if isinstance(value, list) else value
    names = {field.name for field in fields(PARTS[key])}
    for name in value:
        _known(name, names, f"option of {key}")
    plain = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
    return replace(getattr(preset, key) or PARTS[key](), **plain)


def _known(name: str, names: Any, what: str) -> None:
    if name not in names:
        near = get_close_matches(name, list(names), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(sorted(names))}"
        raise ConfigurationError(f"simulation: no {what} {name!r}; {hint}")
