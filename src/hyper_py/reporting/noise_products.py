"""Products of the noise of a map, on request: autocovariance, radial profile and power spectrum."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from hyper_py import __version__
from hyper_py.arrays import FloatArray
from hyper_py.noise.statistics import NoiseStatistics
from hyper_py.pipeline.extraction import Extraction, noise_statistics
from hyper_py.writing.layout import Layout
from hyper_py.writing.staging import Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyper_py.geometry import Beam

_SHOWN_BEAMS = 4.0
_PROFILE_BEAMS = 8.0


def write_noise(stage: Stage, layout: Layout, extraction: Extraction, *, name: str) -> str:
    """Stage the FITS file and the figure of a map's noise that are wanted; return a line for the log.

    Parameters
    ----------
    stage : Stage
    layout : Layout
        Its directories are None for products that are not wanted.
    extraction : Extraction
    name : str
        MAP in the names of files.
    """
    statistics = noise_statistics(extraction)
    files = layout.noise_files(name)
    if "fits" in files:
        noise_hdus(statistics, beam=extraction.image.beam).writeto(stage.path(files["fits"]), overwrite=True)
    if "png" in files:
        figure = plot_noise(statistics, title=extraction.image.name)
        figure.savefig(stage.path(files["png"]), dpi=130, metadata={"Software": None})
    return f"noise covariance {statistics.origin}: {statistics.use}"


def noise_hdus(statistics: NoiseStatistics, *, beam: "Beam") -> fits.HDUList:
    """Return the autocovariance (primary), SPECTRUM, and the tables PROFILE and RADIAL_SPECTRUM."""
    primary = fits.PrimaryHDU(statistics.covariance.lags)
    header = primary.header
    _centred_axes(header, statistics.covariance.reach, step=float(statistics.step), kind="LAG", unit="pixel")
    header["BUNIT"] = ("Jy2/pixel2", "squared unit of a map in Jy/pixel")
    header["CONTENT"] = "autocovariance of noise and background"
    header["ASSUMED"] = (statistics.covariance.assumed, "True if it could not be measured")
    header["NBIN"] = (statistics.step, "means of NBIN x NBIN pixels were fitted")
    header["BMAJ"] = (beam.major / 3600.0, "[deg] beam FWHM")
    header["BMIN"] = (beam.minor / 3600.0, "[deg] beam FWHM")
    header["BPA"] = (beam.pa, "[deg] east of north")
    header["BEAMPIX"] = (statistics.beam_fwhm, "[pixel] geometric mean of the beam's FWHM")
    header["CREATOR"] = f"Hyper-Py {__version__}"
    text = (
        f"Covariance of two pixels by their separation, {statistics.origin}; {statistics.use}. It holds "
        "where the level of noise and background is its median over the map, is zero beyond the reach, and "
        "small powers are raised, as in the fit."
    )
    for line in textwrap.wrap(text, 72):
        header["COMMENT"] = line
    spectrum = fits.ImageHDU(statistics.spectrum, name="SPECTRUM")
    _centred_axes(
        spectrum.header, statistics.covariance.reach, step=statistics.frequency_step, kind="FREQ",
        unit="pixel-1",
    )  # fmt: skip
    spectrum.header["BUNIT"] = ("Jy2/pixel", "its integral over frequency is the variance")
    spectrum.header["CONTENT"] = "power spectrum: Fourier transform of the autocovariance"
    radius, values, beam_profile = statistics.profile
    frequency, power, beam_power = statistics.radial_spectrum
    profile = _table(
        "PROFILE",
        ("RADIUS", "pixel", radius),
        ("RADIUS_BEAMS", "", radius / statistics.beam_fwhm),
        ("AUTOCOVARIANCE", "Jy2/pixel2", values),
        ("CORRELATION", "", values / statistics.covariance.variance),
        ("BEAM_CORRELATION", "", beam_profile),
    )
    radial_spectrum = _table(
        "RADIAL_SPECTRUM",
        ("FREQUENCY", "pixel-1", frequency),
        ("POWER", "Jy2/pixel", power),
        ("BEAM_POWER", "Jy2/pixel", beam_power),
    )
    return fits.HDUList([primary, spectrum, profile, radial_spectrum])


def _centred_axes(header: fits.Header, reach: int, *, step: float, kind: str, unit: str) -> None:
    """Write axes whose zero is the central pixel."""
    for axis, name in ((1, "X"), (2, "Y")):
        header[f"CTYPE{axis}"] = f"{kind}-{name}"
        header[f"CUNIT{axis}"] = unit
        header[f"CRPIX{axis}"] = reach + 1.0
        header[f"CRVAL{axis}"] = 0.0
        header[f"CDELT{axis}"] = step


def _table(name: str, *columns: tuple[str, str, FloatArray]) -> fits.BinTableHDU:
    return fits.BinTableHDU.from_columns(
        [fits.Column(name=key, format="D", unit=unit or None, array=array) for key, unit, array in columns],
        name=name,
    )


def plot_noise(statistics: NoiseStatistics, *, title: str) -> "Figure":
    """Draw the autocovariance as an image, its profile beside the beam's, and the mean power spectrum."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 4.4), layout="constrained")
    image, profile, spectrum = figure.subplots(1, 3)
    _draw_image(image, statistics)
    radius, values, beam = statistics.profile
    beams, variance = radius / statistics.beam_fwhm, statistics.covariance.variance
    near = beams <= _PROFILE_BEAMS
    profile.axhline(0.0, color="0.7", lw=0.7)
    profile.plot(beams[near], values[near] / variance, "o-", ms=3, color="C0", label="noise of the map")
    profile.plot(beams[near], beam[near], "--", color="C1", label="white noise seen through the beam")
    profile.set_xlabel("separation (beam FWHM)")
    profile.set_ylabel("correlation")
    profile.set_title("mean over rings", fontsize=10)
    profile.legend(fontsize=8)
    frequency, power, beam_power = statistics.radial_spectrum
    spectrum.loglog(frequency[1:], power[1:], "o-", ms=3, color="C0")
    spectrum.loglog(frequency[1:], beam_power[1:], "--", color="C1")
    spectrum.axvline(1.0 / statistics.beam_fwhm, color="0.7", lw=0.7)
    spectrum.set_ylim(0.3 * float(np.nanmin(power[1:])), 3.0 * float(np.nanmax(power)))
    spectrum.set_xlabel("frequency (1/pixel); line: 1 / beam FWHM")
    spectrum.set_ylabel("power (Jy$^2$/pixel)")
    spectrum.set_title("power spectrum, mean over rings", fontsize=10)
    figure.suptitle(
        f"{title}: noise covariance {statistics.origin}; {statistics.use}", fontsize=10, parse_math=False
    )
    return figure


def _draw_image(axes: Any, statistics: NoiseStatistics) -> None:
    """Draw the middle of the autocovariance, in units of the variance."""
    reach, step = statistics.covariance.reach, statistics.step
    shown = min(reach, int(np.ceil(_SHOWN_BEAMS * statistics.beam_fwhm / step)))
    part = slice(reach - shown, reach + shown + 1)
    values = statistics.covariance.lags[part, part] / statistics.covariance.variance
    edge = (shown + 0.5) * step
    drawn = axes.imshow(
        values, origin="lower", cmap="RdBu_r", vmin=-1.0, vmax=1.0, extent=(-edge, edge, -edge, edge)
    )
    lags = np.arange(-shown, shown + 1) * step
    axes.contour(lags, lags, values, levels=[0.5], colors="black", linewidths=0.8)
    beam = statistics.beam.lags[part, part]
    axes.contour(lags, lags, beam, levels=[0.5], colors="C1", linewidths=1.2, linestyles="--")
    axes.set_xlabel("lag in x (pixel)")
    axes.set_ylabel("lag in y (pixel)")
    rms = np.sqrt(statistics.covariance.variance)
    axes.set_title(f"correlation, rms {rms:.3g} Jy/pixel; dashed: beam's half", fontsize=10)
    axes.figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02)
