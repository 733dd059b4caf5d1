"""The choices an extraction can be given, with the defaults of a new configuration.

Names are the keys of the configuration file, section by section. What each one means, what it may be and its
default stand on its field, once; the configuration file, its template and its reference are made from that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, TypedDict, Unpack

from hyper_py.checked import (
    AtLeastOne,
    Checked,
    Count,
    Many,
    NonNegative,
    Positive,
    Range,
    document,
    option,
    section,
)
from hyper_py.diagnostics import ConfigurationError
from hyper_py.display import shows_keywords
from hyper_py.policy import Policy

if TYPE_CHECKING:
    from hyper_py.numerics.solvers import SolverOptions

LARGEST_SIZE = 6.0
"""Beams, in a new configuration: fluxes are right to five, and what is measured scatters about that."""
Order: TypeAlias = Annotated[int, Range(at_least=0, at_most=4)]


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(Checked, key_path="detection"):
    """Which peaks are accepted as sources."""

    method: Literal["highpass", "matched"] = option(
        "matched",
        "Filter before the search: subtraction of a running mean, or the optimal filter for a source in "
        "the noise and background of the map.",
    )
    sigma_thres: Positive = option(
        4.5,
        "Detection threshold. With `matched`, as many false peaks are expected above it as in Gaussian "
        "noise; with `highpass`, it is in units of the rms.",
    )
    max_false_rate: Positive | None = option(
        None,
        "Expected number of false detections in a map, which replaces `sigma_thres` (`matched`); null to "
        "use `sigma_thres`.",
    )
    rms_map: Literal["global", "local"] = option(
        "global",
        "One rms for the whole map, or a local rms that follows noise variations. The threshold of "
        "`matched` is always in units of the local noise of the filtered map.",
    )
    rms_mesh_beams: Positive = option(30.0, "Size in beams of the cells in which a local rms is measured.")
    use_manual_rms: bool = option(
        False, "Use `rms_value` as the rms of the map (`matched` measures its own, see `rms_map`)."
    )
    rms_value: NonNegative = option(
        1e-06, "The rms in Jy/pixel (in an original configuration: mJy/pixel if `convert_mJy`)."
    )
    kernel_size_pix: Count = option(
        0, "Side in pixels of the running mean of `highpass`; 0 takes the square of the FWHM of the beam."
    )
    roundlim: tuple[float, float] = option((-4.0, 4.0), "Lowest and highest DAOFIND roundness of a peak.")
    sharplim: tuple[float, float] = option((-2.0, 2.0), "Lowest and highest DAOFIND sharpness of a peak.")
    dist_limit_arcsec: NonNegative = option(
        0.0, "If two peaks are closer than this, in arcsec, only the brighter one is kept; 0 takes one beam."
    )
    snap_radius_pix: NonNegative = option(
        1.0, "How far a peak may move to the maximum of the map, in pixels."
    )
    shoulder_filter: bool = option(False, "Remove peaks that look like shoulders of brighter structure.")
    shoulder_threshold: NonNegative = option(0.5, "Shoulder score above which a peak is a shoulder.")
    shoulder_ring_factor: Positive = option(1.5, "Radius of the ring of the shoulder score, in beams.")
    shoulder_n_angles: Annotated[int, Range(at_least=4)] = option(16, "Number of points on that ring.")
    shoulder_neighbor_mask: NonNegative = option(
        1.0, "Points of the ring closer than this to another peak are ignored, in beams."
    )
    deblend_residual: bool = option(
        True,
        "Search the residual of the fit for blended sources and fit again. Only with correlated noise, "
        "since under white noise a structured background looks like sources.",
    )
    deblend_sigma_thres: Positive = option(
        4.5, "Threshold for sources that this search adds; never less than `sigma_thres`."
    )

    defects: Literal["mend", "keep"] = option(
        "mend",
        "Single pixels, and rows and columns of pixels, that differ from those beside them as nothing seen "
        "through the beam does are blank, and steps of the background between the tiles of a mosaic are "
        "taken off; or all is kept.",
    )
    negative: bool = option(
        False, "Also find negative sources, with the same threshold; their peak, flux and S/N are negative."
    )

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with the values together."""
        for name, (low, high) in (("roundlim", self.roundlim), ("sharplim", self.sharplim)):
            if low >= high:
                yield f"{name} [{low:g}, {high:g}] must rise from the lowest to the highest"
        if self.use_manual_rms and self.rms_value == 0:
            yield "rms_value must be positive when use_manual_rms is true"


@dataclass(frozen=True, kw_only=True)
class PhotometryOptions(Checked, key_path="photometry"):
    """Apertures, and limits of source sizes."""

    aper_inf: Positive = option(0.5, "Smallest size of a source, in beams.")
    aper_sup: Positive | None = option(
        None,
        "Largest size of a source, in beams; null takes 6, but 2 on a polynomial background, whose boxes "
        "are for compact sources.",
    )
    fwhm_radius_ratio: Positive = option(1.0, "Semi-axes of the aperture in units of the fitted FWHM.")
    aperture_correction: bool = option(True, "Divide the flux by its fraction inside the aperture.")

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with the values together."""
        if self.aper_sup is not None and self.aper_inf > self.aper_sup:
            yield f"aper_inf ({self.aper_inf:g}) must not be larger than aper_sup ({self.aper_sup:g})"


@dataclass(frozen=True, kw_only=True)
class FitOptions(Checked, key_path="fit_options"):
    """How the Gaussians are fitted."""

    noise_model: Literal["white", "correlated"] = option(
        "correlated",
        "Noise in the fit: independent pixels, or the measured covariance of noise and background.",
    )
    fit_method: Literal["least_squares", "leastsq"] = option(
        "least_squares", "Both names of the original mean bounded Levenberg-Marquardt."
    )
    loss: Literal["linear", "soft_l1", "huber", "cauchy", "arctan"] = option(
        "linear", "Loss of the residuals, as in scipy.optimize.least_squares."
    )
    f_scale: Positive = option(
        1.5,
        "Weighted residual at which a loss other than linear sets in, in sigmas of the noise (in an original "
        "configuration: in mJy/pixel or Jy/pixel, times the weight).",
    )
    max_nfev: AtLeastOne = option(50000, "Largest number of evaluations in one fit.")
    xtol: Positive = option(1e-08, "Stop when the parameters change by less than this, relative.")
    ftol: Positive = option(1e-08, "Stop when the cost changes by less than this, relative.")
    gtol: Positive = option(1e-08, "Stop when the gradient is smaller than this.")
    weights: Literal[None, "inverse_rms", "snr", "power_snr", "map", "mask", "spatial"] = option(
        None, "Weights of the residuals, with white noise on a polynomial background; null for equal weights."
    )
    power_snr: Positive = option(5.0, "Exponent of the weights power_snr.")
    spatial_weight_sigma: Positive = option(1.5, "Sigma of the weights spatial, in beam sigmas.")
    fit_aperture_sigma: NonNegative = option(
        1.0,
        "Margin of fitted pixels around the largest source, in beam sigmas; for white noise on a polynomial.",
    )
    calc_covar: bool = option(False, "Write the covariances of the parameters of each fit.")
    min_method: Literal["nmse", "redchi", "bic", "cv"] = option(
        "cv",
        "Criterion that selects box, order and estimator of the background: normalised mean squared error, "
        "reduced chi-square, Bayesian information criterion, or prediction of pixels left out.",
    )
    verbose: bool = option(False, "Write a report of every fit to the log of the map.")
    use_l2_regularization: bool = option(
        True,
        "Ridge penalty on the polynomial of a joint fit: on its coefficients but for the constant, in units "
        "of the rms and coordinates from -1 to 1 (in an original configuration: on all, in mJy/pixel or "
        "Jy/pixel and pixels of the cutout).",
    )
    lambda_l2: NonNegative = option(
        0.0001, "Strength of the ridge penalty: the squares of lambda times coefficients."
    )
    vary: bool = option(
        True, "Let the fit move the centres by up to half a beam (in an original configuration: one pixel)."
    )
    bg_fitters: Many[Literal["least_squares", "huber", "theil_sen"]] = option(
        ("least_squares",),
        "Estimators of the background. All in the list are tried, and `min_method` selects.",
    )
    huber_epsilons: Many[Annotated[float, Range(at_least=1)]] = option(
        (1.1, 1.35, 1.7, 2.0), "Where the Huber estimator changes from squares to absolute values, in sigmas."
    )

    def solver(self, *, residual_unit: float = 1.0) -> "SolverOptions":
        """Return how a fit is iterated and when it stops.

        Parameters
        ----------
        residual_unit : float
            What a weighted residual of 1 in the unit of `f_scale` is in the unit of the fit.
        """
        from hyper_py.numerics.solvers import SolverOptions

        return SolverOptions(
            loss=self.loss,
            f_scale=self.f_scale / residual_unit,
            ftol=self.ftol,
            xtol=self.xtol,
            gtol=self.gtol,
            max_evaluations=self.max_nfev,
        )


@dataclass(frozen=True, kw_only=True)
class BackgroundOptions(Checked, key_path="background"):
    """Background under the sources."""

    method: Literal["polynomial", "conditional", "none"] = option(
        "conditional",
        "A polynomial in a box; the mean predicted from the surroundings and the statistics of the map; or "
        "none: apertures are summed on the map as it is.",
    )
    fit_gauss_and_bg_separately: bool = option(True, "Fit a polynomial background first, then the Gaussians.")
    pol_orders_separate: Many[Order] = option((0, 1, 2), "Orders tried in a separate fit.")
    fix_min_box: NonNegative = option(
        3.0,
        "Half-size of the smallest box in beams, beyond the extent of the source or group; 0: the whole map. "
        "A joint fit uses discs of this radius.",
    )
    fix_max_box: NonNegative = option(5.0, "Half-size of the largest box in beams.")
    fit_gauss_and_bg_together: bool = option(
        False,
        "Fit Gaussians and a polynomial together, after subtraction of the separate fit if that is done "
        "too. With neither, no background is subtracted, as with `method: none`.",
    )
    polynomial_orders: Many[Order] = option((0,), "Orders tried in a joint fit.")
    pol_orders_bkg_no_sources: Many[Order] = option(
        (0,), "Orders of the background of a map or channel without sources; order 0 is its clipped median."
    )
    spectral_smoothing: NonNegative = option(
        0.0,
        "FWHM in channels of the Gaussian with which the background cube is smoothed; 0 for no smoothing.",
    )

    @property
    def is_separate(self) -> bool:
        """Whether a polynomial is fitted before the Gaussians."""
        return self.method == "polynomial" and self.fit_gauss_and_bg_separately

    @property
    def is_subtracted(self) -> bool:
        """Whether there is a background: a polynomial neither separate nor joint is `method: none`."""
        return self.method == "conditional" or self.is_separate or self.fit_gauss_and_bg_together

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with the values together."""
        if 0 < self.fix_max_box < self.fix_min_box:
            yield (
                f"fix_min_box ({self.fix_min_box:g}) must not be larger than "
                f"fix_max_box ({self.fix_max_box:g})"
            )


@dataclass(frozen=True, kw_only=True)
class CubeOptions(Checked, key_path="cube"):
    """Datacubes: recognised by their axes, or declared by `control.datacube`; channels count from 1."""

    positions: Literal["per_channel", "fixed", "moment0", "channel"] = option(
        "per_channel",
        "Where sources are measured: detected in each channel; or one list for all channels, which gives "
        "spectra: the fixed peaks or source table of section `detection`, or the sources detected on the "
        "mean of all channels or on `channel`.",
    )
    channel: AtLeastOne = option(1, "Channel, from 1, on which `positions: channel` detects sources.")
    shapes: Literal["fixed", "free"] = option(
        "fixed",
        "With one list of detected sources: keep the sizes, adapted to the beam of each channel, or fit "
        "them in each channel.",
    )
    extent: Literal["boxes", "plane"] = option(
        "plane", "Where the background is written: in the box of each source, or over the whole plane."
    )


@dataclass(frozen=True, kw_only=True)
class BandsOptions(Checked, key_path="bands"):
    """Several bands of one field, fitted together."""

    shape: Literal["shared", "free"] = option(
        "shared",
        "Intrinsic size and shape of a source: the same in all bands, or different in each band. With "
        "`shared`, sources whose shapes differ are flagged.",
    )
    sigma_thres: Positive = option(
        4.5,
        "Detection threshold in the weighted sum of the bands, or in one band alone: as many false peaks "
        "are expected above it as in Gaussian noise.",
    )
    measure_offsets: bool = option(
        True, "Measure the position offset of each map from the sharpest one, and correct for it."
    )
    temperatures: Many[Positive] = option(
        (10.0, 13.0, 17.0, 22.0, 28.0),
        "Temperatures in K of the grey bodies that weight the bands in the search for sources.",
    )
    grey_body: bool = option(False, "Fit a grey body to the fluxes of each source.")
    beta: NonNegative | None = option(
        1.8, "Emissivity index of grey bodies; null leaves it free in the fit to the fluxes."
    )
    common_aperture: str = option(
        "none",
        "Common aperture on the sky for all bands: none; the largest of the fitted ones; or that of the "
        "named band.",
    )


class OptionChanges(TypedDict, total=False):
    """What `Options` is made from; sections may be mappings of their keys."""

    detection: DetectionOptions | Mapping[str, Any]
    photometry: PhotometryOptions | Mapping[str, Any]
    fit_options: FitOptions | Mapping[str, Any]
    background: BackgroundOptions | Mapping[str, Any]
    cube: CubeOptions | Mapping[str, Any]
    bands: BandsOptions | Mapping[str, Any]
    detection_only: bool
    tile_size_pix: int | None
    convert_mJy: bool
    policy: Policy | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """Everything that decides what is measured on one map.

    Examples
    --------
    >>> import hyper_py
    >>> options = hyper_py.Options(detection={"sigma_thres": 6}, convert_mJy=False)
    >>> options
    Options(detection={'sigma_thres': 6.0}, convert_mJy=False)
    >>> options.updated(detection={"rms_map": "local"}).detection
    DetectionOptions(sigma_thres=6.0, rms_map='local')
    """

    detection: DetectionOptions = section(DetectionOptions)
    photometry: PhotometryOptions = section(PhotometryOptions)
    fit_options: FitOptions = section(FitOptions)
    background: BackgroundOptions = section(BackgroundOptions)
    cube: CubeOptions = section(CubeOptions)
    bands: BandsOptions = section(BandsOptions)
    detection_only: bool = option(False, "Stop after the detection and write what was found.")
    tile_size_pix: Count | None = option(
        None,
        "Side in pixels of the tiles in which a map is processed; null chooses a suitable size, 0 takes "
        "the whole map at once. The catalogue is the same.",
    )
    convert_mJy: bool = option(  # noqa: N815 - the original's key
        True, "Write fluxes in mJy; otherwise in Jy."
    )
    policy: Policy = section(Policy)

    if TYPE_CHECKING:

        def __init__(self, **values: Unpack[OptionChanges]) -> None: ...

    @staticmethod
    def chosen(options: "Options | None", /, **changes: Unpack[OptionChanges]) -> "Options":
        """Return the options of a call: those given, or those of a new configuration, with changes.

        Raises
        ------
        ConfigurationError
            If `options` is something else, such as a mapping; and as `updated`.
        """
        if options is not None and not isinstance(options, Options):
            raise ConfigurationError(
                f"options=: a {type(options).__name__}: give hyper_py.Options(...), or the sections "
                'themselves as keywords, such as detection={"sigma_thres": 5}'
            )
        if TYPE_CHECKING:  # jedi does not know `Unpack`: it follows `**changes` to where keywords are fields
            Options(**changes)
        return (options or Options()).updated(**changes)

    @shows_keywords(OptionChanges)
    def updated(self, /, **changes: Unpack[OptionChanges]) -> Self:
        """Return options with other values; keys of a mapping are laid over the section that it is for.

        Raises
        ------
        ConfigurationError
            One line for each value that is not allowed, and each unknown name.
        """
        values: dict[str, Any] = dict(vars(self))
        for name, value in changes.items():
            before = values.get(name)
            if isinstance(value, Mapping) and isinstance(before, Checked):
                value = {**vars(before), **value}
            values[name] = value
        return self.from_values(values)

    def conflicts(self) -> Iterator[str]:
        """Yield choices that exclude each other, and what is needed."""
        fit, background = self.fit_options, self.background
        if fit.weights is not None and fit.noise_model == "correlated":
            yield (
                f"fit_options.weights = {fit.weights}: the covariance of correlated noise weights the "
                "pixels; set fit_options.noise_model: white, or fit_options.weights: null"
            )
        elif fit.weights is not None and background.method == "conditional":
            yield (
                f"fit_options.weights = {fit.weights}: needs background.method: polynomial; "
                "set it, or fit_options.weights: null"
            )
        if background.fit_gauss_and_bg_together and background.method != "polynomial":
            yield (
                "background.fit_gauss_and_bg_together: needs background.method: polynomial; set it, or set "
                "fit_gauss_and_bg_together: false"
            )
        if self.photometry.aper_sup is None and self.photometry.aper_inf > self.largest_size:
            yield (
                f"photometry.aper_inf = {self.photometry.aper_inf:g}: sources are at most "
                f"{self.largest_size:g} beams wide with background.method: {background.method}; "
                "set photometry.aper_sup"
            )

    @property
    def original(self) -> bool:
        """Whether the options are meant as those of the original Hyper-Py."""
        return self.policy != Policy()

    @property
    def largest_size(self) -> float:
        """Largest size of a source, in beams."""
        if self.photometry.aper_sup is not None:
            return self.photometry.aper_sup
        return 2.0 if self.background.method == "polynomial" else LARGEST_SIZE

    @property
    def has_detected_sizes(self) -> bool:
        """Whether detections say how wide sources are."""
        return self.detection.method == "matched" and not self.original

    @property
    def flux_unit(self) -> str:
        """Unit of fluxes: mJy or Jy."""
        return "mJy" if self.convert_mJy else "Jy"

    @property
    def flux_per_jy(self) -> float:
        """What turns Jy into `flux_unit`."""
        return 1e3 if self.convert_mJy else 1.0

    @property
    def working_unit(self) -> float:
        """Unit of `rms_value`, and of `f_scale` and `lambda_l2` where they are in that of the map, in Jy."""
        return 1e-3 if self.policy.options_in_flux_unit and self.convert_mJy else 1.0


document(
    DetectionOptions,
    PhotometryOptions,
    FitOptions,
    BackgroundOptions,
    CubeOptions,
    BandsOptions,
    Options,
)
_CHANGED: dict[type[Checked], tuple[str, Any]] = {
    DetectionOptions: ("sigma_thres", 6.0),
    PhotometryOptions: ("aper_sup", 3.0),
    FitOptions: ("noise_model", "white"),
    BackgroundOptions: ("method", "polynomial"),
    CubeOptions: ("positions", "moment0"),
    BandsOptions: ("grey_body", True),
}
"""A key of each section, for the example in its docstring."""
for _section, (_key, _value) in _CHANGED.items():
    _call = f"{_section.__name__}({_key}={_value!r})"
    _shown = f">>> import hyper_py\n>>> hyper_py.{_call}\n{_call}"
    _section.__doc__ = f"{_section.__doc__}\nExamples\n--------\n{_shown}\n"
