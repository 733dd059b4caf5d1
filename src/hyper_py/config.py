"""The configuration file: its keys, what each one means, and what is allowed.

One class per section holds the keys with type, default and description; the commented template, the reference
table of the documentation and the error messages are all derived from them. Defaults of everything that
decides what is measured come from `hyper_py.options`. This module imports no NumPy, so that a wrong
configuration is reported at once.

A file with `version: 2` is one of ours. A file without it was written for the original Hyper-Py: keys that
it lacks take the meaning that they had there (`ORIGINAL_DEFAULTS`), and nothing new applies silently.
"""

import copy
import difflib
import inspect
import re
import textwrap
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeGuard, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from hyper_py.diagnostics import ConfigurationError
from hyper_py.options import (
    BackgroundOptions,
    CubeOptions,
    DetectionOptions,
    FitOptions,
    Options,
    PhotometryOptions,
    check_options,
)

FILE_NAME = "hyper_config.yaml"
MAP_SECTIONS = ("units", "survey", "io", "detection", "photometry", "fit_options", "background")
"""Sections with keys that `maps` may set for one map."""

# --------------------------------------------------------------------------------------------------------
# Types of values
# --------------------------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------------------------
# Sections
# --------------------------------------------------------------------------------------------------------


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
        "none: apertures are summed on the map as it is (with `fit_options.noise_model: white` only).",
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
        "done too. If neither, no background is subtracted.",
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
    fits_output_dir_fitting: Name = key("fits/fitting", "Directory of the fits.")
    fits_output_dir_deblended: Name = key("fits/deblended", "Directory of the deblended sources.")
    fits_output_dir_bg_separate: Name = key("fits/bg_separate", "Directory of the backgrounds.")


class Visualization(Section):
    """Figures of what was fitted; directories are below `dir_root`."""

    visualize_fitting: bool = key(False, "Draw each fit.")
    visualize_deblended: bool = key(False, "Draw each source of a group without its companions.")
    visualize_bg_separate: bool = key(False, "Draw the background of each source or group.")
    output_dir_fitting: Name = key("plots/fitting", "Directory of the fits.")
    output_dir_deblended: Name = key("plots/deblended", "Directory of the deblended sources.")
    output_dir_bg_separate: Name = key("plots/bg_separate", "Directory of the backgrounds.")


class Outputs(Section):
    """Tables and report."""

    tables: Many[Literal["ipac", "ecsv", "csv", "fits", "votable", "parquet"]] = key(
        ("ipac", "ecsv", "csv"), "Formats in which catalogues are written."
    )
    report: bool = key(True, "Write report/index.html.")


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


class Config(Section):
    """Configuration of Hyper-Py.

    `version: 2` says that keys which are not given have the defaults shown here. Without it, a file is read
    as one of the original Hyper-Py, whose defaults were others.
    """

    version: Literal[1, 2] = key(
        2, "2 for a file of this version; 1, or no such key, for a file of the original Hyper-Py."
    )
    paths: Paths = Paths()
    files: Files = Files()
    control: Control = Control()
    units: Units = Units()
    survey: Survey = Survey()
    io: Io = Io()
    detection: Detection = Detection()
    photometry: Photometry = Photometry()
    fit_options: Fit = Fit()
    background: Background = Background()
    cube: Cube = Cube()
    fits_output: FitsOutput = FitsOutput()
    visualization: Visualization = Visualization()
    outputs: Outputs = Outputs()

    maps: dict[str, dict[str, Any]] = key(
        {},
        "Keys that hold for one map only, by its name, such as {p160: {units: {bunit: Jy/pixel}, "
        "survey: {name: pacs160}}}: keys of the sections units, survey, io, detection, photometry, "
        "fit_options, background.",
    )

    _base_dir: Path = PrivateAttr(default=Path())

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], *, base_dir: Path | None = None, source: str = "configuration"
    ) -> Self:
        """Return the configuration that a mapping, as read from YAML, stands for.

        Parameters
        ----------
        mapping : mapping
            Sections and keys; without `version: 2`, those of an original file.
        base_dir : Path, optional
            What relative paths are relative to; the working directory if not given.
        source : str
            What error messages call the mapping, usually the file's name.

        Raises
        ------
        ConfigurationError
            One line for each wrong value and unknown key.
        """
        values = _merged(ORIGINAL_DEFAULTS, mapping) if mapping.get("version", 1) == 1 else mapping
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            problems = dict(_problem(detail) for detail in reversed(error.errors(include_url=False)))
            lines = (f"{source}: {path}{problem}" for path, problem in reversed(problems.items()))
            raise ConfigurationError("\n".join(lines)) from None
        config._base_dir = base_dir or Path()
        config._check(source)
        try:
            check_options(config.options())
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}: {error}") from None
        return config

    def _check(self, source: str) -> None:
        """Raise where keys of one map are wrong."""
        for name, sections in self.maps.items():
            where = f"{source}: maps.{name}"
            unknown = sorted(sections.keys() - set(MAP_SECTIONS))
            if unknown or "convert_mJy" in (sections.get("units") or {}):
                key_name = unknown[0] if unknown else "units.convert_mJy"
                raise ConfigurationError(
                    f"{where}: {key_name} is the same for all maps; here may be {', '.join(MAP_SECTIONS)}"
                )
            self.for_map(name, source=where)

    @property
    def original(self) -> bool:
        """Whether this is a configuration of the original Hyper-Py."""
        return self.version == 1

    def options(self) -> Options:
        """Return what decides what is measured on one map, as the pipeline takes it."""
        return Options(
            detection=_picked(DetectionOptions, self.detection),
            photometry=_picked(PhotometryOptions, self.photometry),
            fit_options=_picked(FitOptions, self.fit_options),
            background=_picked(BackgroundOptions, self.background),
            cube=_picked(CubeOptions, self.cube),
            detection_only=self.control.detection_only,
            convert_mJy=self.units.convert_mJy,
            original=self.original,
        )

    def for_map(self, name: str, *, source: str = "configuration") -> Self:
        """Return the configuration of one map: this one with the keys laid over it that `maps` has for it."""
        if not self.maps:
            return self
        values = {**self.model_dump(), "maps": {}}
        return self.from_mapping(
            _merged(values, self.maps.get(name, {})), base_dir=self._base_dir, source=source
        )

    def below_maps(self, name: str = "") -> Path:
        """Return where a map or list file is: below `dir_maps`, unless absolute."""
        return self._base_dir / Path(self.paths.input.dir_maps).expanduser() / name

    def below_config(self, name: str) -> Path:
        """Return where a file is that stands beside the configuration, unless absolute."""
        return self._base_dir / Path(name).expanduser()

    def below_root(self, name: str = "") -> Path:
        """Return where an output, or the fixed source table, is: below `dir_root`, unless absolute."""
        return self._base_dir / Path(self.paths.output.dir_root).expanduser() / name

    def to_yaml(self) -> str:
        """Return the configuration as YAML with every key; reading it gives the same configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _picked(cls: type[T], section: Section) -> T:
    """Fill a class of `hyper_py.options` from the section with the same keys."""
    return cls(**{field.name: getattr(section, field.name) for field in fields(cls)})  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------
# The original's defaults
# --------------------------------------------------------------------------------------------------------

ORIGINAL_DEFAULTS: dict[str, Any] = {
    "version": 1,
    "detection": {
        "method": "highpass",
        "sigma_thres": 5.0,
        "max_false_rate": None,
        "rms_map": "global",
        "rms_mesh_beams": 30.0,
        "use_manual_rms": False,
        "rms_value": 1e-6,
        "kernel_size_pix": 0,
        "roundlim": [-4.0, 4.0],
        "sharplim": [-2.0, 2.0],
        "dist_limit_arcsec": 0.0,
        "snap_radius_pix": 1.0,
        "shoulder_filter": False,
        "shoulder_threshold": 0.5,
        "shoulder_ring_factor": 1.5,
        "shoulder_n_angles": 16,
        "shoulder_neighbor_mask": 1.0,
        "deblend_residual": False,
    },
    "photometry": {
        "aper_inf": 1.0,
        "aper_sup": 2.0,
        "fwhm_radius_ratio": 0.5,
        "aperture_correction": False,
    },
    "fit_options": {
        "noise_model": "white",
        "fit_method": "least_squares",
        "loss": "linear",
        "f_scale": 0.1,
        "max_nfev": 50000,
        "xtol": 1e-8,
        "ftol": 1e-8,
        "gtol": 1e-8,
        "weights": "snr",
        "power_snr": 5.0,
        "spatial_weight_sigma": 1.5,
        "fit_aperture_sigma": 1.0,
        "calc_covar": False,
        "min_method": "nmse",
        "verbose": False,
        "use_l2_regularization": True,
        "lambda_l2": 1e-4,
        "vary": False,
        "bg_fitters": ["least_squares"],
        "huber_epsilons": [1.1, 1.35, 1.7, 2.0],
    },
    "background": {
        "method": "polynomial",
        "fit_gauss_and_bg_separately": True,
        "pol_orders_separate": [0, 1, 2],
        "fix_min_box": 3.0,
        "fix_max_box": 5.0,
        "fit_gauss_and_bg_together": False,
        "polynomial_orders": [0],
        "pol_orders_bkg_no_sources": [0],
        "spectral_smoothing": 0.0,
    },
    "cube": {"positions": "per_channel", "channel": 1, "shapes": "fixed", "extent": "boxes"},
}
"""What keys mean that an original file lacks. Every key that decides what is measured is here, so that a new
default of ours never changes what an original file does."""


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with everything in `above` laid over it, section by section."""
    result = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], Mapping) and isinstance(above[name], Mapping | None):
            result[name] = _merged(below[name], above[name] or {})
    return result


# --------------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-8 is a number, 12:30 is none, and no key may stand twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [
            (tag, regexp) for tag, regexp in resolvers if not tag.endswith((":int", ":float", ":timestamp"))
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping, if each key is there only once."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            name = str(key_node.value)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {name!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def parse_yaml(text: str, *, source: str) -> Any:
    """Return the value of a YAML text.

    Raises
    ------
    ConfigurationError
        If the text is no YAML, or has a key twice; the message names `source` and the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{source}{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigurationError(f"{source}: not a YAML text") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the sections and keys of a configuration file, as they stand there.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or holds anything but sections and keys.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file; `hyper-py init` writes a configuration") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not a text file, so no configuration") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    mapping = parse_yaml(text, source=str(path))
    if mapping is None:
        raise ConfigurationError(f"{path}: empty; `hyper-py init` writes a configuration")
    if not isinstance(mapping, dict):
        raise ConfigurationError(f"{path}: must hold sections such as `detection:` with keys below them")
    return mapping


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a mapping with keys set, each given as `section.key=value`.

    Parameters
    ----------
    mapping : mapping
        Sections and keys; not changed.
    overrides : sequence of str
        Values are read as YAML: numbers, true, null, [1, 2], {major: 18.2}. Later ones win.

    Raises
    ------
    ConfigurationError
        If one is not of that form. Whether a key exists is left to `Config.from_mapping`.
    """
    result: dict[str, Any] = copy.deepcopy(dict(mapping))
    for override in overrides:
        path, equals, text = override.partition("=")
        *sections, name = (part.strip() for part in path.split("."))
        if not equals or not all((*sections, name)):
            raise ConfigurationError(f"--set {override!r}: must be of the form section.key=value")
        place = result
        for section in sections:
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
            if not isinstance(place, dict):
                raise ConfigurationError(f"--set {override!r}: {section} = {place!r} is not a section")
        place[name] = parse_yaml(text, source=f"--set {override!r}")
    return result


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a file.

    Parameters
    ----------
    path : str or Path
        YAML file; relative paths in it are relative to its directory.
    overrides : sequence of str
        Keys to set, each as `section.key=value`.

    Raises
    ------
    ConfigurationError
        One line for each problem of the file.
    """
    path = Path(path)
    mapping = apply_overrides(read_mapping(path), overrides)
    return Config.from_mapping(mapping, base_dir=path.parent, source=str(path))


def find_config(user_dir: Path) -> Path | None:
    """Return the configuration file to use when none is named: the working directory's, then the user's."""
    return next((path for path in (Path(FILE_NAME), user_dir / FILE_NAME) if path.is_file()), None)


# --------------------------------------------------------------------------------------------------------
# What is derived from the fields: error messages, the template, the reference
# --------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A section or key: its path, what it means, what is allowed ("" for a section), its default."""

    path: str
    description: str
    allowed: str
    default: Any


@cache
def entries() -> dict[str, Entry]:
    """Return every section and key of the configuration by its path, in the order of the file."""
    schema = Config.model_json_schema()
    schemas = {**schema["$defs"], Config.__name__: schema}
    return {entry.path: entry for entry in _walk(Config, "", schemas)}


def _walk(model: type[Section], prefix: str, schemas: Mapping[str, Any]) -> Iterator[Entry]:
    for name, field in model.model_fields.items():
        path, annotation = prefix + name, field.annotation
        section = next((cls for cls in (annotation, *get_args(annotation)) if _is_section(cls)), None)
        if section is not None and section is annotation:
            yield Entry(path, section.__doc__ or "", "", None)
        else:
            default = None if field.is_required() else field.default
            allowed = _allowed(schemas[model.__name__]["properties"][name], schemas)
            yield Entry(path, field.description or "", allowed, default)
        if section is not None:
            yield from _walk(section, f"{path}.", schemas)


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _allowed(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema allows."""
    if "$ref" in schema:
        return _allowed(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return " or ".join(_allowed(part, schemas) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join("null" if value is None else str(value) for value in schema["enum"])
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])} numbers"
    if schema["type"] == "array":
        return f"a list of one or more, each {_allowed(schema['items'], schemas)}"
    if schema["type"] == "object" and "properties" not in schema:
        return "names of maps, each with sections and keys below it"
    if schema["type"] == "object":
        return "{" + ", ".join(schema["properties"]) + "}"
    if "minLength" in schema:
        return "a non-empty text"
    words = {
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
    }
    limits = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = " and ".join(f"{sign} {schema[name]:g}" for name, sign in limits.items() if name in schema)
    return f"{words.get(schema['type'], 'null')} {bounds}".strip()


def _problem(detail: Mapping[str, Any]) -> tuple[str, str]:
    """Return the key that a value is wrong for, and the rest of the line: what is wrong, what is allowed."""
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        path = ".".join(str(part) for part in detail["loc"] if part != "[key]")
        return path, f": unknown key; {_nearest(path)}"
    path = ".".join(part for part in detail["loc"] if isinstance(part, str))
    while path not in entries():
        path = path.rpartition(".")[0]  # without the branch of a union
    if detail["type"] == "value_error":
        return path, f": {detail['ctx']['error']}"
    allowed = entries()[path].allowed or "a section, with keys below it"
    if detail["type"] == "missing":
        return path, f": missing; must be {allowed}"
    index = "".join(f"[{part}]" for part in detail["loc"] if isinstance(part, int))
    value = list(detail["input"]) if isinstance(detail["input"], tuple) else detail["input"]
    return path, f"{index} = {textwrap.shorten(repr(value), 60)}: must be {allowed}"


def _nearest(path: str) -> str:
    """Say which known key is nearest to an unknown one: of its very name, near in its section, anywhere."""
    section, _, name = path.rpartition(".")
    siblings = {other.rpartition(".")[2]: other for other in entries() if other.rpartition(".")[0] == section}
    everywhere = {other.rpartition(".")[2]: other for other in entries()}
    if name in everywhere:
        return f"the nearest known key is {everywhere[name]}"
    for candidates in (siblings, everywhere):
        for close in difflib.get_close_matches(name, candidates, n=1, cutoff=0.7):
            return f"the nearest known key is {candidates[close]}"
    return "known here are " + ", ".join(siblings)


def _as_yaml(value: Any) -> str:
    """Return a default as it stands in a YAML file, on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def template() -> str:
    """Return a configuration file with every key at its default, and comments that explain them."""
    lines = [f"# {line}".rstrip() for line in [*inspect.cleandoc(Config.__doc__ or "").splitlines(), ""]]
    for entry in entries().values():
        section, _, name = entry.path.rpartition(".")
        indent = "  " * entry.path.count(".")
        if entry.allowed == "":
            lines += ["", f"{indent}# {entry.description}", f"{indent}{name}:"]
        elif not section or entries()[section].allowed == "":
            obvious = entry.allowed in ("a non-empty text", "true or false")
            comment = entry.description if obvious else f"{entry.description} ({entry.allowed})"
            lines += [f"{indent}# {line}" for line in textwrap.wrap(comment, 98)]
            lines.append(f"{indent}{name}: {_as_yaml(entry.default)}")
    return "\n".join(lines) + "\n"


def reference_table() -> str:
    """Return Markdown for the documentation: a heading and a table for each section, a row for each key."""
    lines: list[str] = []
    table = None
    for entry in entries().values():
        section, _, name = entry.path.rpartition(".")
        if entry.allowed == "":
            continue
        if section != table:
            title, text = (f"`{section}`", entries()[section].description) if section else ("Top level", "")
            lines += ["", f"## {title}", "", text, ""]
            lines += ["| Key | Default | Original | Allowed | Meaning |", "|---|---|---|---|---|"]
            table = section
        originals = ORIGINAL_DEFAULTS.get(section, {}) if section else ORIGINAL_DEFAULTS
        codes = (name, _as_yaml(entry.default), _as_yaml(originals.get(name, entry.default)))
        cells = [*(f"`{code}`" for code in codes), entry.allowed, entry.description]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines).strip() + "\n"
