"""The sections of the configuration file: their keys, what each one means, and what is allowed.

One class per section holds the keys with type, default and description. Defaults of everything that decides
what is measured come from `hyper_py.options`.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from hyper_py.options import (
    BackgroundOptions,
    CubeOptions,
    DetectionOptions,
    FitOptions,
    Options,
    PhotometryOptions,
)


def _whole(value: Any) -> Any:
    """Take 5e4 for a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _listed(value: Any) -> Any:
    """Take one value for a list of one value."""
    if isinstance(value, list):
        return tuple(value)
    return value if isinstance(value, (tuple, dict)) or value is None else (value,)


T = TypeVar("T")
Count = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
AtLeastOne = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
AtLeastFour = Annotated[int, Field(ge=4), BeforeValidator(_whole)]
Order = Annotated[int, Field(ge=0, le=4), BeforeValidator(_whole)]
Name = Annotated[str, Field(min_length=1)]
Pair = Annotated[tuple[float, float], BeforeValidator(_listed)]
Many = Annotated[tuple[T, ...], Field(min_length=1), BeforeValidator(_listed)]
SurveyCode = Literal[1, 2, 3, 4, 5, 6, 7, 8, 15]
Weights = Literal[None, "inverse_rms", "snr", "power_snr", "map", "mask", "spatial"]
Hdu = Annotated[int, Field(ge=0)] | Name | None


def key(default: Any, description: str) -> Any:
    """Return a field with its default and its description, the default being validated as well."""
    return Field(default, description=description, validate_default=True)


class Section(BaseModel):
    """Base of all sections: frozen, strict in types, no key without a meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        """Take a section whose keys are all commented out for one that says nothing."""
        return {} if value is None else value


class InputPaths(Section):
    """Where the maps are."""

    dir_maps: Name = key("Maps", "Directory of the maps and of the list file, relative to this file.")


class OutputPaths(Section):
    """Where results go; all of it below `dir_root`."""

    dir_root: Name = key("output", "Directory of all results, relative to this file.")
    dir_table_out: Name = key("params", "Catalogues, below `dir_root`.")
    dir_region_out: Name = key("regions", "DS9 region files, below `dir_root`.")
    dir_log_out: Name = key("logs", "Logs, below `dir_root`.")


class Paths(Section):
    """Directories."""

    input: InputPaths = InputPaths()
    output: OutputPaths = OutputPaths()


class Files(Section):
    """File names."""

    file_map_name: Name = key("maps_list.txt", "List of maps, one file name a line, in `dir_maps`.")
    file_table_base: Name = key("params", "First part of the names of catalogues.")
    file_region_base: Name = key("region_files", "First part of the names of region files.")
    file_log_name: Name = key("hyper_py.log", "Name of the log of the whole run.")


class Control(Section):
    """What is run, and on how many cores."""

    parallel_maps: bool = key(True, "Work on several maps at a time.")
    n_cores: AtLeastOne = key(2, "Number of maps worked on at a time.")
    executor: Literal["serial", "processes", "dask"] = key(
        "processes",
        "How maps are distributed when `parallel_maps` is true: one after the other, in local processes, "
        "or by Dask. The results are the same.",
    )
    dask_scheduler: Name | None = key(
        None, "Address of a running Dask scheduler, such as tcp://host:8786; null starts a local cluster."
    )
    tile_size_pix: Count | None = key(
        Options.tile_size_pix,
        "Side in pixels of the tiles in which a map is worked on; null takes what suits a processor, 0 the "
        "whole map at once. The catalogue is the same.",
    )
    max_memory: Annotated[float, Field(gt=0)] = key(
        4.0,
        "Memory in GB that one map may take; the pixels of larger maps stay in their file and are read tile "
        "by tile.",
    )
    detection_only: bool = key(Options.detection_only, "Stop after the detection and write what was found.")
    datacube: bool = key(False, "Take each input for a cube and work on it channel by channel.")
    dir_datacube_slices: Name = key("maps", "Where channels of a cube are written as maps, below `dir_root`.")


class Units(Section):
    """Units of the input and of the catalogue."""

    convert_mJy: bool = key(  # noqa: N815 - the original's key
        Options.convert_mJy, "Write fluxes in mJy; otherwise in Jy."
    )
    bunit: Name | None = key(
        None,
        "Unit of the maps, such as Jy/beam, MJy/sr or K, where the header has none or a wrong one; "
        "null takes the header's.",
    )
    frequency: PositiveFloat | None = key(
        None, "Frequency of the maps in Hz, needed by K and W/m2/sr; null takes the header's or the survey's."
    )


class SurveyBeam(Section):
    """A Gaussian beam."""

    major: PositiveFloat = Field(description="FWHM of the major axis in arcsec.")
    minor: PositiveFloat | None = key(None, "FWHM of the minor axis in arcsec; null for a round beam.")
    pa: float = key(0.0, "Position angle of the major axis in degrees east of north.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minor is not None and self.minor > self.major:
            raise ValueError(f"minor ({self.minor:g}) must not be larger than major ({self.major:g})")
        return self


class Survey(Section):
    """The instrument: its beam, where the file does not say."""

    survey_code: SurveyCode = key(
        15,
        "Beam of the original's surveys: 1, 2, 3 PACS 70, 100, 160; 4, 5, 6 SPIRE 250, 350, 500; "
        "7, 8 JCMT 450, 850; 15 from the header.",
    )
    name: Name | None = key(
        None, "Beam of an instrument by name, such as spire250, pacs160 or laboca; null for none."
    )
    beam: SurveyBeam | None = key(
        None,
        "The beam itself, {major: 18.2, minor: 17.5, pa: 0}: FWHM in arcsec, degrees east of north; "
        "null takes the header's or the survey's.",
    )
    psf: Name | None = key(
        None,
        "FITS image of the point spread function, from which beam and beam area are measured; relative to "
        "this file. null for none.",
    )
    psf_pixel: PositiveFloat | None = key(
        None, "Side of a pixel of `psf` in arcsec; null takes its header's."
    )
    psf_hdu: Hdu = key(None, "Name or number of the extension of `psf`; null looks for it.")

    @model_validator(mode="after")
    def _one_beam(self) -> Self:
        if self.beam is not None and self.psf is not None:
            raise ValueError("give the beam by beam or by psf, not by both")
        return self


class Detection(Section):
    """Which peaks are sources."""

    method: Literal["highpass", "matched"] = key(
        DetectionOptions.method,
        "Filter before the search: subtraction of a running mean, or the filter that is optimal for a beam "
        "in the noise and background of the map.",
    )
    sigma_thres: PositiveFloat = key(
        DetectionOptions.sigma_thres, "Threshold for the peak, in units of the rms."
    )
    max_false_rate: PositiveFloat | None = key(
        DetectionOptions.max_false_rate,
        "Expected number of false detections in a map, in place of `sigma_thres` (`matched`); null for none.",
    )
    local_spectrum: bool = key(
        DetectionOptions.local_spectrum,
        "Let the filter of `matched` follow a noise and background spectrum that varies over the map, where "
        "that is significant and worth it; false takes one spectrum for the whole map.",
    )
    rms_map: Literal["global", "local"] = key(
        DetectionOptions.rms_map,
        "One rms for the map, or one that follows noise that varies across it. The threshold of `matched` is "
        "in units of the noise of its own filtered map, always local.",
    )
    rms_mesh_beams: PositiveFloat = key(
        DetectionOptions.rms_mesh_beams, "Side in beams of the cells in which a local rms is measured."
    )
    use_manual_rms: bool = key(
        DetectionOptions.use_manual_rms,
        "Take `rms_value` for the rms of the map (`matched` measures its own, see `rms_map`).",
    )
    rms_value: NonNegativeFloat = key(
        DetectionOptions.rms_value,
        "The rms in Jy/pixel (in an original configuration: mJy/pixel if `convert_mJy`).",
    )
    kernel_size_pix: Count = key(
        DetectionOptions.kernel_size_pix,
        "Side in pixels of the running mean of `highpass`; 0 takes the square of the beam's FWHM.",
    )
    roundlim: Pair = key(DetectionOptions.roundlim, "Lowest and highest DAOFIND roundness of a peak.")
    sharplim: Pair = key(DetectionOptions.sharplim, "Lowest and highest DAOFIND sharpness of a peak.")
    dist_limit_arcsec: NonNegativeFloat = key(
        DetectionOptions.dist_limit_arcsec,
        "Of two peaks closer than this the brighter is kept, in arcsec; 0 takes one beam.",
    )
    snap_radius_pix: NonNegativeFloat = key(
        DetectionOptions.snap_radius_pix, "How far a peak may move to the maximum of the map, in pixels."
    )
    shoulder_filter: bool = key(
        DetectionOptions.shoulder_filter, "Remove peaks that look like shoulders of brighter structure."
    )
    shoulder_threshold: NonNegativeFloat = key(
        DetectionOptions.shoulder_threshold, "Shoulder score above which a peak is a shoulder."
    )
    shoulder_ring_factor: PositiveFloat = key(
        DetectionOptions.shoulder_ring_factor, "Radius of the ring of the shoulder score, in beams."
    )
    shoulder_n_angles: AtLeastFour = key(DetectionOptions.shoulder_n_angles, "Number of points on that ring.")
    shoulder_neighbor_mask: NonNegativeFloat = key(
        DetectionOptions.shoulder_neighbor_mask,
        "Points of the ring this near to another peak are left out, in beams.",
    )
    deblend_residual: bool = key(
        DetectionOptions.deblend_residual,
        "Search the residual of the fit for blended sources and fit again; with correlated noise only, since "
        "to white noise a structured background looks like sources.",
    )
    use_fixed_source_table: bool = key(
        False, "Measure the sources of `fixed_source_table_path`, positions and apertures; detect none."
    )
    fixed_source_table_path: Name = key(
        "source_table.txt",
        "IPAC table with ID, RA, DEC (degrees), FWHM_1, FWHM_2 (arcsec), PA (degrees east of north), "
        "below `dir_root`.",
    )
    fixed_source_beam: PositiveFloat | None = key(
        None,
        "FWHM in arcsec of the beam with which the sizes in that table were measured: they are then adapted "
        "to the beam of each map; null takes them as they are.",
    )
    regions: Name | None = key(
        None,
        "Measure the ellipses, circles and points of this DS9 or CRTF region file; detect none. "
        "Relative to this file.",
    )
    fixed_peaks: bool = key(False, "Measure at `xcen_fix`, `ycen_fix`; detect none.")
    xcen_fix: Many[float] = key((0.0,), "Longitudes of fixed peaks in degrees, in the frame of the map.")
    ycen_fix: Many[float] = key((0.0,), "Latitudes of fixed peaks in degrees, in the frame of the map.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, (low, high) in (("roundlim", self.roundlim), ("sharplim", self.sharplim)):
            if low >= high:
                raise ValueError(f"{name} [{low:g}, {high:g}] must rise from the lowest to the highest")
        if self.use_manual_rms and self.rms_value == 0:
            raise ValueError("rms_value must be positive when use_manual_rms is true")
        if self.fixed_peaks and len(self.xcen_fix) != len(self.ycen_fix):
            raise ValueError(
                f"xcen_fix ({len(self.xcen_fix)} values) and ycen_fix ({len(self.ycen_fix)} values) "
                "must have the same length"
            )
        return self


class Photometry(Section):
    """Apertures, and the sizes that sources may have."""

    aper_inf: PositiveFloat = key(PhotometryOptions.aper_inf, "Smallest size of a source, in beams.")
    aper_sup: PositiveFloat = key(PhotometryOptions.aper_sup, "Largest size of a source, in beams.")
    fwhm_radius_ratio: PositiveFloat = key(
        PhotometryOptions.fwhm_radius_ratio, "Semi-axes of the aperture in units of the fitted FWHM."
    )
    aperture_correction: bool = key(
        PhotometryOptions.aperture_correction, "Divide the flux by the fraction that the aperture holds."
    )
    fixed_radius: bool = key(False, "Measure in the apertures `fwhm_1`, `fwhm_2`, `PA_val`; fit no sizes.")
    fwhm_1: Many[NonNegativeFloat] = key(
        (0.0,), "First FWHM of fixed apertures in arcsec; one value for all."
    )
    fwhm_2: Many[NonNegativeFloat] = key(
        (0.0,), "Second FWHM of fixed apertures in arcsec; one value for all."
    )
    PA_val: Many[float] = key(
        (0.0,), "Position angles of `fwhm_1`, degrees east of north; one value for all."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.aper_inf > self.aper_sup:
            raise ValueError(
                f"aper_inf ({self.aper_inf:g}) must not be larger than aper_sup ({self.aper_sup:g})"
            )
        lengths = {len(values) for values in (self.fwhm_1, self.fwhm_2, self.PA_val)} - {1}
        if len(lengths) > 1:
            raise ValueError("fwhm_1, fwhm_2 and PA_val must have the same length, or one value for all")
        if self.fixed_radius and min(self.fwhm_1 + self.fwhm_2) == 0:
            raise ValueError("fwhm_1 and fwhm_2 must be positive when fixed_radius is true")
        return self


class Fit(Section):
    """How the Gaussians are fitted."""

    noise_model: Literal["white", "correlated"] = key(
        FitOptions.noise_model,
        "Noise in the fit: independent pixels, or the covariance of noise and background that the map has.",
    )
    fit_method: Literal["least_squares", "leastsq"] = key(
        FitOptions.fit_method, "Both of the original's names mean bounded Levenberg-Marquardt."
    )
    loss: Literal["linear", "soft_l1", "huber", "cauchy", "arctan"] = key(
        FitOptions.loss, "Loss of the residuals, as in scipy.optimize.least_squares."
    )
    f_scale: PositiveFloat = key(
        FitOptions.f_scale,
        "Weighted residual at which a loss other than linear sets in, in sigmas of the noise (in an original "
        "configuration: in mJy/pixel or Jy/pixel, times the weight).",
    )
    max_nfev: AtLeastOne = key(FitOptions.max_nfev, "Largest number of evaluations in one fit.")
    xtol: PositiveFloat = key(FitOptions.xtol, "Stop when the parameters change by less than this, relative.")
    ftol: PositiveFloat = key(FitOptions.ftol, "Stop when the cost changes by less than this, relative.")
    gtol: PositiveFloat = key(FitOptions.gtol, "Stop when the gradient is smaller than this.")
    weights: Weights = key(
        FitOptions.weights,
        "What residuals are multiplied by, with white noise on a polynomial; null for equal weights.",
    )
    power_snr: PositiveFloat = key(FitOptions.power_snr, "Exponent of the weights power_snr.")
    spatial_weight_sigma: PositiveFloat = key(
        FitOptions.spatial_weight_sigma, "Sigma of the weights spatial, in beam sigmas."
    )
    fit_aperture_sigma: NonNegativeFloat = key(
        FitOptions.fit_aperture_sigma,
        "Margin of fitted pixels around the largest source, in beam sigmas; for white noise on a polynomial.",
    )
    calc_covar: bool = key(FitOptions.calc_covar, "Write the covariances of the parameters of each fit.")
    min_method: Literal["nmse", "redchi", "bic", "cv"] = key(
        FitOptions.min_method,
        "Criterion that selects box, order and estimator of the background: normalised mean squared error, "
        "reduced chi-square, Bayesian information criterion, or prediction of pixels left out.",
    )
    verbose: bool = key(FitOptions.verbose, "Write a report of every fit to the log of the map.")
    use_l2_regularization: bool = key(
        FitOptions.use_l2_regularization,
        "Ridge penalty on the polynomial of a joint fit: on its coefficients but for the constant, in units "
        "of the rms and coordinates from -1 to 1 (in an original configuration: on all, in mJy/pixel or "
        "Jy/pixel and pixels of the cutout).",
    )
    lambda_l2: NonNegativeFloat = key(
        FitOptions.lambda_l2, "Strength of the ridge penalty: the squares of lambda times coefficients."
    )
    vary: bool = key(
        FitOptions.vary,
        "Let the fit move the centres by up to half a beam (in an original configuration: one pixel).",
    )
    bg_fitters: Many[Literal["least_squares", "huber", "theil_sen"]] = key(
        FitOptions.bg_fitters, "Estimators of the background; all named are tried, `min_method` selects."
    )
    huber_epsilons: Many[Annotated[float, Field(ge=1)]] = key(
        FitOptions.huber_epsilons,
        "Where the huber estimator turns from squares to absolute values, in sigmas.",
    )


class Background(Section):
    """The background under the sources."""

    method: Literal["polynomial", "conditional", "none"] = key(
        BackgroundOptions.method,
        "A polynomial in a box; the mean expected from the surroundings and the statistics of the map; or "
        "none: apertures are summed on the map as it is.",
    )
    fit_gauss_and_bg_separately: bool = key(
        BackgroundOptions.fit_gauss_and_bg_separately,
        "Fit a polynomial background first, then the Gaussians.",
    )
    pol_orders_separate: Many[Order] = key(
        BackgroundOptions.pol_orders_separate, "Orders tried when the background is fitted first."
    )
    fix_min_box: NonNegativeFloat = key(
        BackgroundOptions.fix_min_box,
        "Half-size of the smallest box in beams, beyond the extent of the source or group; 0: the whole map. "
        "A joint fit takes discs of this radius.",
    )
    fix_max_box: NonNegativeFloat = key(
        BackgroundOptions.fix_max_box, "Half-size of the largest box in beams."
    )
    fit_gauss_and_bg_together: bool = key(
        BackgroundOptions.fit_gauss_and_bg_together,
        "Fit Gaussians and a polynomial in one fit: on what the first fit of the background left, if that is "
        "done too. If neither, no background is subtracted, as with `method: none`.",
    )
    polynomial_orders: Many[Order] = key(
        BackgroundOptions.polynomial_orders, "Orders tried when both are fitted together."
    )
    pol_orders_bkg_no_sources: Many[Order] = key(
        BackgroundOptions.pol_orders_bkg_no_sources,
        "Orders of the background of a map or channel without sources; order 0 is its clipped median.",
    )
    spectral_smoothing: NonNegativeFloat = key(
        BackgroundOptions.spectral_smoothing,
        "FWHM in channels of a Gaussian over which the background cube is averaged; 0 leaves each channel "
        "by itself.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 0 < self.fix_max_box < self.fix_min_box:
            raise ValueError(
                f"fix_min_box ({self.fix_min_box:g}) must not be larger than "
                f"fix_max_box ({self.fix_max_box:g})"
            )
        return self


class Cube(Section):
    """Datacubes: recognised by their axes, or declared by `control.datacube`; channels count from 1."""

    positions: Literal["per_channel", "fixed", "moment0", "channel"] = key(
        CubeOptions.positions,
        "Where sources are measured: found in each channel anew; or one list for all channels, which gives "
        "spectra: the fixed peaks or source table of section `detection`, or what is found on the mean of "
        "all channels or on `channel`.",
    )
    channel: AtLeastOne = key(CubeOptions.channel, "Channel, from 1, on which `positions: channel` finds.")
    shapes: Literal["fixed", "free"] = key(
        CubeOptions.shapes,
        "With one list that was found: keep the sizes found, adapted to the beam of each channel, or fit "
        "them in each channel.",
    )
    extent: Literal["boxes", "plane"] = key(
        CubeOptions.extent,
        "Where the background is given: in the box of every source, or over the whole plane.",
    )
    region: Annotated[tuple[float, float, float, float], BeforeValidator(_listed)] | Name | None = key(
        None,
        "Region of interest, to which the background is cut as a second cube: [x0, y0, x1, y1] in pixels "
        "from 0, DS9 text such as 'icrs; circle(10.5, 41.2, 30\")', or a .reg file; null for none.",
    )
    outputs: Annotated[
        tuple[Literal["background", "model", "residual", "subtracted"], ...], BeforeValidator(_listed)
    ] = key(
        ("background",),
        "Cubes to write, below `control.dir_datacube_slices`: background; model: the fitted Gaussians; "
        "subtracted: data minus background; residual: what is left without both.",
    )
    slices: bool = key(False, "Write every channel as a map, in `control.dir_datacube_slices`.")


class FitsOutput(Section):
    """FITS files of what was fitted; directories are below `dir_root`."""

    fits_fitting: bool = key(False, "Write data, model and residual of each fit.")
    fits_deblended: bool = key(False, "Write each source of a group without its companions.")
    fits_bg_separate: bool = key(False, "Write the background of each source or group.")
    fits_noise: bool = key(
        False, "Write the autocovariance of the noise of each map, its radial profile and its power spectrum."
    )
    fits_output_dir_fitting: Name = key("fits/fitting", "Directory of the fits.")
    fits_output_dir_deblended: Name = key("fits/deblended", "Directory of the deblended sources.")
    fits_output_dir_bg_separate: Name = key("fits/bg_separate", "Directory of the backgrounds.")
    fits_output_dir_noise: Name = key("fits/noise", "Directory of the noise.")


class Visualization(Section):
    """Figures of what was fitted; directories are below `dir_root`."""

    visualize_fitting: bool = key(False, "Draw each fit.")
    visualize_deblended: bool = key(False, "Draw each source of a group without its companions.")
    visualize_bg_separate: bool = key(False, "Draw the background of each source or group.")
    visualize_noise: bool = key(
        False, "Draw the autocovariance of the noise of each map, its radial profile and its power spectrum."
    )
    output_dir_fitting: Name = key("plots/fitting", "Directory of the fits.")
    output_dir_deblended: Name = key("plots/deblended", "Directory of the deblended sources.")
    output_dir_bg_separate: Name = key("plots/bg_separate", "Directory of the backgrounds.")
    output_dir_noise: Name = key("plots/noise", "Directory of the noise.")


class Outputs(Section):
    """Tables and report."""

    tables: Many[Literal["ipac", "ecsv", "csv", "fits", "votable", "parquet"]] = key(
        ("ipac", "ecsv", "csv"), "Formats in which catalogues are written."
    )
    report: bool = key(True, "Write report/index.html, and plots/MAP_map.svg: the map with its sources.")


class Io(Section):
    """What to read of a FITS file."""

    hdu: Hdu = key(None, "Name or number of the extension that holds the map; null looks for it.")
    error_hdu: Hdu = key(
        None,
        "Extension that holds 1-sigma errors, variances or inverse variances: its name or number, or another "
        "file, such as error.fits or error.fits[ERR], relative to this file; null for none.",
    )
    mask: Hdu = key(
        None, "Extension or other file with a mask: pixels that are not zero are not used; null for none."
    )
    primary_beam: Hdu = key(
        None,
        "Extension or other file with the response of the primary beam, from 0 to 1: sources are found on "
        "the map of even noise and measured on the map divided by it; null for none.",
    )
    primary_beam_corrected: bool | None = key(
        None,
        "Whether the map is divided by the primary beam already; null takes it from names in the header.",
    )
