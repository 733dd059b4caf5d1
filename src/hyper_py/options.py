"""The choices an extraction can be given, with the defaults of a new configuration.

Names are the keys of the configuration file, section by section; what each key means is written once, in
`hyper_py.config`. These classes are what the pipeline sees: plain, frozen, free of files and of pydantic.
"""

from dataclasses import dataclass, field

from hyper_py.diagnostics import ConfigurationError


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
    loss: str = "linear"
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
    def apart(self) -> bool:
        """Whether a polynomial is fitted before the Gaussians."""
        return self.method == "polynomial" and self.fit_gauss_and_bg_separately

    @property
    def is_subtracted(self) -> bool:
        """Whether there is a background: a polynomial neither apart nor along is `method: none`."""
        return self.method == "conditional" or self.apart or self.fit_gauss_and_bg_together


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

    `original` is true for a configuration file of the original Hyper-Py: bounds, weights and units of
    options then have the original's meaning.
    """

    detection: DetectionOptions = field(default_factory=DetectionOptions)
    photometry: PhotometryOptions = field(default_factory=PhotometryOptions)
    fit_options: FitOptions = field(default_factory=FitOptions)
    background: BackgroundOptions = field(default_factory=BackgroundOptions)
    cube: CubeOptions = field(default_factory=CubeOptions)
    detection_only: bool = False
    tile_size_pix: int | None = None
    convert_mJy: bool = True  # noqa: N815 - the original's key
    original: bool = False


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
