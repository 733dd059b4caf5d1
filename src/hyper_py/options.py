"""The choices an extraction can be given, with the defaults of a new configuration.

Names are the keys of the configuration file, section by section; what each key means is written once, in
`hyper_py.config`. These classes are what the pipeline sees: plain, frozen, free of files and of pydantic.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hyper_py.diagnostics import ConfigurationError

if TYPE_CHECKING:
    from hyper_py.numerics.solvers import SolverOptions


@dataclass(frozen=True, kw_only=True)
class AmplitudeBounds:
    """Bounds of fitted amplitudes over the local peak: the smallest ones, and the largest one."""

    isolated: float
    grouped: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How the options are meant, where the original Hyper-Py means them differently.

    The defaults are the meaning in a new configuration; `hyper_py.config.original` has that of the original
    (section 11 of the specification).

    Attributes
    ----------
    options_in_flux_unit : bool
        `rms_value`, `f_scale` and `lambda_l2` are in the catalogue's unit a pixel (mJy/pixel with
        `convert_mJy`, else Jy/pixel), and so are weighted residuals. False: `rms_value` is in Jy/pixel, the
        others in units of the noise.
    background_passes : int
        How often the background is fitted on white noise with a polynomial: a second time when the sources
        are known and subtracted.
    interpolate_neighbours : bool
        Other sources in a cutout are replaced by a smooth interpolation and the group's own are masked before
        a separate polynomial is fitted. False: all are masked.
    cutout_statistics : bool
        Mean and rms in the weights are the clipped ones of the cutout, and the weighted map is the one that
        is fitted. False: they are those of what the background left on its pixels, and the background is
        subtracted from the map that is weighted.
    cutout_ridge : bool
        The ridge penalty is on all coefficients, the constant included, in pixels of the cutout. False: the
        constant is free, and coordinates run from -1 to 1.
    round_beam : bool
        Sizes are bounded by multiples of the mean beam; False: of its minor and major axis.
    moment_size_factor : float or None
        The largest size is at least this times the one of second moments; None: it is the same for all.
    amplitude_bounds_separate, amplitude_bounds_joint : AmplitudeBounds or None
        With a polynomial that was fitted before, and without; None: amplitudes are free.
    start_sigma : float or None
        The amplitude of isolated sources starts at least here, in rms of the cutout; None: at the local peak.
    shift_pix : float or None
        How far a centre may move with `vary`; None: half a beam.
    moment_discs : bool
        A group is fitted on discs of its sources' moment sigmas plus `fit_aperture_sigma`, a joint fit on no
        larger ones. False: on discs of the largest size, at least `fix_min_box` beams in a joint fit.
    residuals_column : {"background", "residual"}
        What RESIDUALS holds: the background under the source; or the clipped median of what is left after
        subtraction, and the mean of the background that was fitted jointly.
    """

    options_in_flux_unit: bool = False
    background_passes: int = 2
    interpolate_neighbours: bool = False
    cutout_statistics: bool = False
    cutout_ridge: bool = False
    round_beam: bool = False
    moment_size_factor: float | None = None
    amplitude_bounds_separate: AmplitudeBounds | None = None
    amplitude_bounds_joint: AmplitudeBounds | None = None
    start_sigma: float | None = None
    shift_pix: float | None = None
    moment_discs: bool = False
    residuals_column: Literal["background", "residual"] = "background"


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """Section `detection`."""

    method: str = "matched"
    sigma_thres: float = 4.5
    max_false_rate: float | None = None
    local_spectrum: bool = True
    rms_map: str = "global"
    rms_mesh_beams: float = 30.0
    use_manual_rms: bool = False
    rms_value: float = 1e-6
    kernel_size_pix: int = 0
    roundlim: tuple[float, float] = (-4.0, 4.0)
    sharplim: tuple[float, float] = (-2.0, 2.0)
    dist_limit_arcsec: float = 0.0
    snap_radius_pix: float = 1.0
    shoulder_filter: bool = False
    shoulder_threshold: float = 0.5
    shoulder_ring_factor: float = 1.5
    shoulder_n_angles: int = 16
    shoulder_neighbor_mask: float = 1.0
    deblend_residual: bool = True


@dataclass(frozen=True, kw_only=True)
class PhotometryOptions:
    """Section `photometry`."""

    aper_inf: float = 0.5
    aper_sup: float = 2.0
    fwhm_radius_ratio: float = 1.0
    aperture_correction: bool = True


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Section `fit_options`."""

    noise_model: str = "correlated"
    fit_method: str = "least_squares"
    loss: Literal["linear", "soft_l1", "huber", "cauchy", "arctan"] = "linear"
    f_scale: float = 1.5
    max_nfev: int = 50000
    xtol: float = 1e-8
    ftol: float = 1e-8
    gtol: float = 1e-8
    weights: str | None = None
    power_snr: float = 5.0
    spatial_weight_sigma: float = 1.5
    fit_aperture_sigma: float = 1.0
    calc_covar: bool = False
    min_method: str = "cv"
    verbose: bool = False
    use_l2_regularization: bool = True
    lambda_l2: float = 1e-4
    vary: bool = True
    bg_fitters: tuple[str, ...] = ("least_squares",)
    huber_epsilons: tuple[float, ...] = (1.1, 1.35, 1.7, 2.0)

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
class BackgroundOptions:
    """Section `background`."""

    method: str = "conditional"
    fit_gauss_and_bg_separately: bool = True
    pol_orders_separate: tuple[int, ...] = (0, 1, 2)
    fix_min_box: float = 3.0
    fix_max_box: float = 5.0
    fit_gauss_and_bg_together: bool = False
    polynomial_orders: tuple[int, ...] = (0,)
    pol_orders_bkg_no_sources: tuple[int, ...] = (0,)
    spectral_smoothing: float = 0.0

    @property
    def is_separate(self) -> bool:
        """Whether a polynomial is fitted before the Gaussians."""
        return self.method == "polynomial" and self.fit_gauss_and_bg_separately

    @property
    def is_subtracted(self) -> bool:
        """Whether there is a background: a polynomial neither separate nor joint is `method: none`."""
        return self.method == "conditional" or self.is_separate or self.fit_gauss_and_bg_together


@dataclass(frozen=True, kw_only=True)
class CubeOptions:
    """Section `cube`: what is measured in channels."""

    positions: str = "per_channel"
    channel: int = 1
    shapes: str = "fixed"
    extent: str = "boxes"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything that decides what is measured on one map.

    `tile_size_pix` is the side of the blocks in which it is worked on, which decides nothing: 0 is the whole
    map at once, None what suits a processor.

    `policy` says how they are meant: as in a new configuration, or as in one of the original Hyper-Py.
    """

    detection: DetectionOptions = field(default_factory=DetectionOptions)
    photometry: PhotometryOptions = field(default_factory=PhotometryOptions)
    fit_options: FitOptions = field(default_factory=FitOptions)
    background: BackgroundOptions = field(default_factory=BackgroundOptions)
    cube: CubeOptions = field(default_factory=CubeOptions)
    detection_only: bool = False
    tile_size_pix: int | None = None
    convert_mJy: bool = True  # noqa: N815 - the original's key
    policy: Policy = field(default_factory=Policy)

    @property
    def original(self) -> bool:
        """Whether the options are meant as those of the original Hyper-Py."""
        return self.policy != Policy()

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


def check_options(options: Options) -> None:
    """Refuse choices that exclude each other.

    Raises
    ------
    ConfigurationError
        Says what is needed.
    """
    fit, background = options.fit_options, options.background
    if fit.weights is not None and fit.noise_model == "correlated":
        raise ConfigurationError(
            f"fit_options.weights = {fit.weights}: the covariance of correlated noise weights the pixels; "
            "set fit_options.noise_model: white, or fit_options.weights: null"
        )
    if fit.weights is not None and background.method == "conditional":
        raise ConfigurationError(
            f"fit_options.weights = {fit.weights}: needs background.method: polynomial; "
            "set it, or fit_options.weights: null"
        )
    if background.fit_gauss_and_bg_together and background.method != "polynomial":
        raise ConfigurationError(
            "background.fit_gauss_and_bg_together: needs background.method: polynomial; set it, or set "
            "fit_gauss_and_bg_together: false"
        )
