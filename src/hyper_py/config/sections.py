"""The sections of the configuration file: their keys, what each one means, and what is allowed.

Keys that decide what is measured are the fields of `hyper_py.options`; here are those of the file.
"""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from typing import Literal, TypeAlias

from hyper_py.checked import (
    AtLeastOne,
    Checked,
    Count,
    Many,
    NonNegative,
    Positive,
    option,
    same_option,
    section,
)
from hyper_py.options import CubeOptions, DetectionOptions, Options, PhotometryOptions

Hdu: TypeAlias = Count | str | None


@dataclass(frozen=True, kw_only=True)
class InputPaths(Checked, key_path="paths.input"):
    """Where the maps are."""

    dir_maps: str = option("Maps", "Directory of the maps and of the list file, relative to this file.")


@dataclass(frozen=True, kw_only=True)
class OutputPaths(Checked, key_path="paths.output"):
    """Where results go; all of it below `dir_root`."""

    dir_root: str = option("output", "Directory of all results, relative to this file.")
    dir_table_out: str = option("params", "Catalogues, below `dir_root`.")
    dir_region_out: str = option("regions", "DS9 region files, below `dir_root`.")
    dir_log_out: str = option("logs", "Logs, below `dir_root`.")


@dataclass(frozen=True, kw_only=True)
class Paths(Checked, key_path="paths"):
    """Directories."""

    input: InputPaths = section(InputPaths)
    output: OutputPaths = section(OutputPaths)


@dataclass(frozen=True, kw_only=True)
class Files(Checked, key_path="files"):
    """File names."""

    file_map_name: str = option("maps_list.txt", "List of maps in `dir_maps`, one file name per line.")
    file_table_base: str = option("params", "Prefix of the names of catalogues.")
    file_region_base: str = option("region_files", "Prefix of the names of region files.")
    file_log_name: str = option("hyper_py.log", "Name of the log of the whole run.")


@dataclass(frozen=True, kw_only=True)
class Control(Checked, key_path="control"):
    """What is run, and on how many cores."""

    parallel_maps: bool = option(True, "Process several maps in parallel.")
    n_cores: AtLeastOne = option(
        2, "Number of processes. They work on different maps, or on parts of a map if there are fewer maps."
    )
    executor: Literal["serial", "processes", "dask"] = option(
        "processes",
        "How maps are distributed when `parallel_maps` is true: one after the other, in local processes, "
        "or by Dask. The results are the same.",
    )
    dask_scheduler: str | None = option(
        None, "Address of a running Dask scheduler, such as tcp://host:8786; null starts a local cluster."
    )
    tile_size_pix: Count | None = same_option(Options, "tile_size_pix")
    max_memory: Positive = option(
        4.0,
        "Memory in GB that one map may take; the pixels of larger maps stay in their file and are read tile "
        "by tile.",
    )
    detection_only: bool = same_option(Options, "detection_only")
    datacube: bool = option(False, "Treat each input as a cube and process it channel by channel.")
    dir_datacube_slices: str = option(
        "maps", "Where channels of a cube are written as maps, below `dir_root`."
    )


@dataclass(frozen=True, kw_only=True)
class Units(Checked, key_path="units"):
    """Units of the input and of the catalogue."""

    convert_mJy: bool = same_option(Options, "convert_mJy")  # noqa: N815 - the original's key
    bunit: str | None = option(
        None,
        "Unit of the maps, such as Jy/beam, MJy/sr or K, if the header has none or a wrong one; null reads "
        "the header.",
    )
    frequency: Positive | None = option(
        None,
        "Frequency of the maps in Hz, needed for maps in K and W/m2/sr; null takes that of the header or "
        "the survey.",
    )


@dataclass(frozen=True, kw_only=True)
class SurveyBeam(Checked, key_path="survey.beam"):
    """A Gaussian beam."""

    major: Positive = option(MISSING, "FWHM of the major axis in arcsec.")
    minor: Positive | None = option(None, "FWHM of the minor axis in arcsec; null for a round beam.")
    pa: float = option(0.0, "Position angle of the major axis in degrees east of north.")

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with the values together."""
        if self.minor is not None and self.minor > self.major:
            yield f"minor ({self.minor:g}) must not be larger than major ({self.major:g})"


@dataclass(frozen=True, kw_only=True)
class Survey(Checked, key_path="survey"):
    """The instrument and its beam, if the header has none."""

    survey_code: Literal[1, 2, 3, 4, 5, 6, 7, 8, 15] = option(
        15,
        "Beam of the surveys of the original Hyper-Py: 1, 2, 3 PACS 70, 100, 160; 4, 5, 6 SPIRE 250, 350, "
        "500; "
        "7, 8 JCMT 450, 850; 15 from the header.",
    )
    name: str | None = option(
        None, "Beam of an instrument by name, such as spire250, pacs160 or laboca; null for none."
    )
    wavelength: Positive | None = option(
        None,
        "Wavelength of the map in micron, for `hyper-py bands` and for units that need it; null takes "
        "`units.frequency`, the value of the header (WAVELNTH, RESTFRQ, a spectral axis) or that of the "
        "survey.",
    )
    beam: SurveyBeam | None = option(
        None,
        "The beam, {major: 18.2, minor: 17.5, pa: 0}: FWHM in arcsec, position angle in degrees east of "
        "north; null takes that of the header or the survey.",
    )
    psf: str | None = option(
        None,
        "FITS image of the point spread function, from which beam and beam area are measured; relative to "
        "this file. null for none.",
    )
    psf_pixel: Positive | None = option(None, "Pixel size of `psf` in arcsec; null reads its header.")
    psf_hdu: Hdu = option(None, "Name or number of the extension of `psf`; null looks for it.")
    calibration_error: Positive | None = option(
        None,
        "Relative calibration uncertainty of the band, such as 0.05. It is written to the column "
        "FLUX_CAL_ERR and is not part of any other error. null: no such column.",
    )

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with the values together."""
        if self.calibration_error is not None and self.calibration_error > 1.0:
            yield f"calibration_error = {self.calibration_error:g}: a share of the flux: 0.05 is 5%"
        if self.beam is not None and self.psf is not None:
            yield "give the beam by beam or by psf, not by both"


@dataclass(frozen=True, kw_only=True)
class Detection(DetectionOptions):
    """Detection, and sources that are given."""

    use_fixed_source_table: bool = option(
        False, "Measure the sources of `fixed_source_table_path` instead of detecting."
    )
    fixed_source_table_path: str = option(
        "source_table.txt",
        "Table with RA, DEC and, if given, FWHM_1, FWHM_2, PA (east of north), ID: IPAC, ECSV, CSV, TSV, "
        "FITS, VOTable, parquet or plain columns. Units are those of the table, else degrees and arcsec. "
        "Relative to the working directory; in a file of the original, below `dir_root`.",
    )
    fixed_source_beam: Positive | None = option(
        None,
        "FWHM in arcsec of the beam with which the sizes in that table were measured; they are then "
        "adapted to the beam of each map. null uses the sizes as they are.",
    )
    fixed_source_sizes: Literal["observed", "intrinsic"] = option(
        "observed",
        "Whether the sizes in that table are as observed, or intrinsic; intrinsic sizes are convolved with "
        "the beam of each map.",
    )
    region: Hdu = option(
        None,
        "Region to search for sources, specified like `io.mask`; noise and background are measured on the "
        "whole map. Excluded regions (-circle(...)) are subtracted from the others, or from the map. null "
        "for the whole map.",
    )
    region_keep: Literal["inside", "outside"] = option("inside", "Search inside or outside `region`.")
    regions: str | None = option(
        None,
        "Measure the ellipses, circles and points of this DS9 or CRTF region file, except those in "
        "excluded regions (-circle(...)), instead of detecting. Relative to this file.",
    )
    fixed_peaks: bool = option(False, "Measure at `xcen_fix`, `ycen_fix` instead of detecting.")
    xcen_fix: Many[float] = option((0.0,), "Longitudes of fixed peaks in degrees, in the frame of the map.")
    ycen_fix: Many[float] = option((0.0,), "Latitudes of fixed peaks in degrees, in the frame of the map.")

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with the values together."""
        yield from super().conflicts()
        if self.fixed_source_sizes == "intrinsic" and self.fixed_source_beam is not None:
            yield "fixed_source_beam is for observed sizes: leave it out, as fixed_source_sizes is intrinsic"
        if self.fixed_peaks and len(self.xcen_fix) != len(self.ycen_fix):
            yield (
                f"xcen_fix ({len(self.xcen_fix)} values) and ycen_fix ({len(self.ycen_fix)} values) "
                "must have the same length"
            )


@dataclass(frozen=True, kw_only=True)
class Photometry(PhotometryOptions):
    """Photometry, and apertures that are given."""

    fixed_radius: bool = option(
        False, "Use the apertures `fwhm_1`, `fwhm_2`, `PA_val` instead of fitting sizes."
    )
    fwhm_1: Many[NonNegative] = option((0.0,), "First FWHM of fixed apertures in arcsec; one value for all.")
    fwhm_2: Many[NonNegative] = option((0.0,), "Second FWHM of fixed apertures in arcsec; one value for all.")
    PA_val: Many[float] = option(
        (0.0,), "Position angles of `fwhm_1`, degrees east of north; one value for all."
    )

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with the values together."""
        yield from super().conflicts()
        lengths = {len(values) for values in (self.fwhm_1, self.fwhm_2, self.PA_val)} - {1}
        if len(lengths) > 1:
            yield "fwhm_1, fwhm_2 and PA_val must have the same length, or one value for all"
        if self.fixed_radius and min(self.fwhm_1 + self.fwhm_2) == 0:
            yield "fwhm_1 and fwhm_2 must be positive when fixed_radius is true"


@dataclass(frozen=True, kw_only=True)
class Cube(CubeOptions):
    """Cubes: what is measured in channels, and what is written."""

    region: tuple[float, float, float, float] | str | None = option(
        None,
        "Region of interest, to which the background is cut as a second cube: [x0, y0, x1, y1] in pixels "
        "from 0, DS9 text such as 'icrs; circle(10.5, 41.2, 30\")', or a .reg file; null for none.",
    )
    outputs: tuple[Literal["background", "model", "residual", "subtracted"], ...] = option(
        ("background",),
        "Cubes to write, below `control.dir_datacube_slices`: background; model: the fitted Gaussians; "
        "subtracted: data minus background; residual: data minus both.",
    )
    slices: bool = option(False, "Write every channel as a map, in `control.dir_datacube_slices`.")


@dataclass(frozen=True, kw_only=True)
class FitsOutput(Checked, key_path="fits_output"):
    """FITS files of the fits; directories are below `dir_root`."""

    fits_fitting: bool = option(False, "Write data, model and residual of each fit.")
    fits_deblended: bool = option(False, "Write each source of a group without its companions.")
    fits_bg_separate: bool = option(False, "Write the background of each source or group.")
    fits_noise: bool = option(
        False, "Write the autocovariance of the noise of each map, its radial profile and its power spectrum."
    )
    fits_output_dir_fitting: str = option("fits/fitting", "Directory of the fits.")
    fits_output_dir_deblended: str = option("fits/deblended", "Directory of the deblended sources.")
    fits_output_dir_bg_separate: str = option("fits/bg_separate", "Directory of the backgrounds.")
    fits_output_dir_noise: str = option("fits/noise", "Directory of the noise.")


@dataclass(frozen=True, kw_only=True)
class Visualization(Checked, key_path="visualization"):
    """Figures of the fits; directories are below `dir_root`."""

    visualize_fitting: bool = option(False, "Draw each fit.")
    visualize_deblended: bool = option(False, "Draw each source of a group without its companions.")
    visualize_bg_separate: bool = option(False, "Draw the background of each source or group.")
    visualize_noise: bool = option(
        False, "Draw the autocovariance of the noise of each map, its radial profile and its power spectrum."
    )
    visualize_surfaces: bool = option(
        False, "Also draw fits, deblended sources and backgrounds as surfaces in three dimensions."
    )
    output_dir_fitting: str = option("plots/fitting", "Directory of the fits.")
    output_dir_deblended: str = option("plots/deblended", "Directory of the deblended sources.")
    output_dir_bg_separate: str = option("plots/bg_separate", "Directory of the backgrounds.")
    output_dir_noise: str = option("plots/noise", "Directory of the noise.")


@dataclass(frozen=True, kw_only=True)
class Outputs(Checked, key_path="outputs"):
    """Tables and report."""

    tables: Many[Literal["ipac", "ecsv", "csv", "fits", "votable", "parquet"]] = option(
        ("ipac", "ecsv", "csv"), "Formats of catalogues."
    )
    products: tuple[Literal["model", "residual", "background", "rms"], ...] = option(
        (), "Images of each map to write as FITS files below `fits`."
    )
    report: bool = option(True, "Write report/index.html, and plots/MAP_map.svg: the map with its sources.")


@dataclass(frozen=True, kw_only=True)
class Io(Checked, key_path="io"):
    """What to read from a FITS file."""

    hdu: Hdu = option(None, "Name or number of the extension that holds the map; null looks for it.")
    error_hdu: Hdu = option(
        "auto",
        "Extension with 1-sigma errors, variances or inverse variances: its name or number, or another "
        "file, such as error.fits or error.fits[ERR], relative to this file; null for none; auto finds an "
        "extension with such a name and the pixels of the map.",
    )
    stokes: Literal["I", "Q", "U", "V", "XX", "YY", "XY", "YX", "RR", "LL", "RL", "LR"] = option(
        "I",
        "Stokes plane to measure; a file without it is refused. Q, U and V have negative sources too "
        "(`detection.negative`). Polarised intensity, which has a noise bias, must be computed beforehand.",
    )
    mask: Hdu = option(
        None,
        "Pixels that are not used: an extension or another FITS file with a mask (non-zero pixels), a DS9 or "
        "CRTF region file (.reg, .ds9, .crtf), DS9 text, or a MOC (.moc, .json, .fits; needs the extra moc). "
        "Relative to this file; null for none.",
    )
    primary_beam: Hdu = option(
        None,
        "Extension or other file with the response of the primary beam, from 0 to 1: sources are detected "
        "on the map of uniform noise and measured on the corrected map; null for none.",
    )
    primary_beam_corrected: bool | None = option(
        None,
        "Whether the map is already corrected for the primary beam; null decides from names in the header.",
    )
    fill_values: Literal["auto"] | tuple[float, ...] = option(
        "auto",
        "Numbers in the map that mean blank, such as [-999]; [] for none. auto recognises them: a value "
        "that many pixels have exactly, ten times more than any other, unless the map is merely clipped at "
        "it.",
    )


@dataclass(frozen=True, kw_only=True)
class OverlapOptions(Checked, key_path="overlaps"):
    """Sources that are on several maps of a run, and comparison with a catalogue of your own."""

    merged: Literal["mark", "join", "none"] = option(
        "mark",
        "What the merged catalogue does with several rows of the same source: mark them (columns SKY_ID, "
        "N_MAPS, BEST), join them into the row of the best S/N, or nothing. mark and join also write "
        "tables of all linked rows and of the differences of fluxes and positions between maps.",
    )
    radius_beams: Positive = option(0.5, "Largest distance between rows of the same source, in beams (FWHM).")
    catalogue: str | None = option(
        None,
        "Table of your own, with RA, DEC and optionally ID, FLUX, FLUX_ERR, to compare with the maps in "
        "the same way. Relative to the working directory; null for none.",
    )
