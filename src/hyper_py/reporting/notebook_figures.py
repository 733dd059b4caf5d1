"""Figures that an extraction draws of itself: one of its images, and one of its sources."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hyper_py.arrays import FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.pipeline.bands import BandsExtraction
from hyper_py.pipeline.extraction import Extraction
from hyper_py.pipeline.results import Plane
from hyper_py.reporting.figures import (
    COLOURS,
    MARK,
    draw_beam,
    draw_ellipses,
    figure_unit,
    label_axes,
)
from hyper_py.reporting.fits_products import GroupCutout, group_cutouts

_WIDTH = 7.0
_PANEL = 3.6
"""Inches: width of a figure, and of one of several maps."""
_DPI = 110
_RADIUS_BEAMS = 2.5
DIVERGING, SIGMAS = "RdBu_r", 5.0
"""Colours and range of residuals in units of the noise."""


class NotebookFigure(Figure):
    """A figure that a notebook shows although pyplot does not know of it."""

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        stream = BytesIO()
        self.savefig(stream, format="png", dpi=_DPI)
        return stream.getvalue()


def draw_image(image: SkyImage, *, ax: Any = None) -> Figure:
    """Draw a map in the unit of its file, see `SkyImage.plot`."""
    if not image.is_whole:
        raise InputError(f"plot: {image.name} was read in pieces: draw a part of `image.data[rows, columns]`")
    values = image.data / image.jy_per_pixel
    ax = _drawn(image, values, values, image.unit, ax)
    ax.set_title(image.name, fontsize=10, parse_math=False)
    return ax.figure  # type: ignore[no-any-return]


def _drawn(image: SkyImage, values: FloatArray, reference: FloatArray, unit: str, ax: Any) -> Any:
    """Draw values on the colour scale of others, with the beam; return the axes, new if none are given."""
    ny, nx = image.shape
    known = reference[np.isfinite(reference)]
    low, high = np.percentile(known, [0.5, 99.7]) if known.size else (0.0, 1.0)
    if ax is None:
        size = _WIDTH, max(2.5, 0.86 * _WIDTH * ny / nx)
        ax = NotebookFigure(figsize=size, layout="constrained").add_subplot(projection=image.wcs)
    shown = ax.imshow(values, origin="lower", cmap=COLOURS, vmin=low, vmax=high, rasterized=True)
    ax.figure.colorbar(shown, ax=ax, label=unit, pad=0.02, fraction=0.045)
    draw_beam(ax, image, at=(0.04 * nx, 0.05 * ny))
    if hasattr(ax, "coords"):
        label_axes(ax, image)
    return ax


def draw_map(extraction: Extraction, name: Plane, *, sources: bool, ax: Any = None) -> Figure:
    """Draw an image of an extraction, see `Extraction.plot`."""
    image = extraction.image
    if not image.is_whole:
        raise InputError(f"plot: {image.name} was read in pieces: draw a part of `extraction.planes()`")
    scale, unit = figure_unit(extraction)
    values = np.where(np.isfinite(image.data), extraction.plane(name), np.nan) * scale
    ax = _drawn(image, values, values if name == "rms" else image.data * scale, unit, ax)
    if sources:
        draw_ellipses(ax, extraction, np.arange(len(extraction.sources)), MARK, 0.8)
    if len(extraction.sources) == 0 and len(extraction.catalog) and sources:
        ax.plot(extraction.peaks.x, extraction.peaks.y, "o", mfc="none", mec=MARK, ms=6)
    what = "" if name == "data" else f", {name}"
    ax.set_title(f"{image.name}{what}: {len(extraction.catalog)} sources", fontsize=10, parse_math=False)
    return ax.figure  # type: ignore[no-any-return]


def draw_bands(extraction: BandsExtraction, names: Sequence[str], *, plane: str, sources: bool) -> Figure:
    """Draw maps of a field side by side, see `BandsExtraction.plot`."""
    chosen = [extraction.band(name) for name in names] if names else list(extraction.measured)
    width = min(_WIDTH, _PANEL if len(chosen) > 1 else _WIDTH)
    figure = NotebookFigure(figsize=(width * len(chosen), 0.95 * width), layout="constrained")
    for k, one in enumerate(chosen):
        image, name = one.band.image, one.band.name
        unit = 1e3 * image.beam_area_pix
        planes = {"model": extraction.model_image, "residual": extraction.residual_image,
                  "background": extraction.background_image}  # fmt: skip
        values = image.data[:, :] if plane == "data" else planes[plane](name)
        ax: Any = figure.add_subplot(1, len(chosen), k + 1, projection=image.wcs)
        _drawn(image, values * unit, image.data[:, :] * unit, "mJy/beam", ax)
        if sources:
            for region in extraction.regions(name):
                ax.add_patch(region.to_pixel(image.wcs).as_artist(edgecolor=MARK, facecolor="none", lw=0.8))
        what = "" if plane == "data" else f", {plane}"
        ax.set_title(f"{name}, {one.band.wavelength:g} um{what}", fontsize=10, parse_math=False)
    return figure


def draw_source(extraction: Extraction, hyper_id: int) -> Figure:
    """Draw one source, see `Extraction.plot_source`."""
    numbers = np.asarray(extraction.catalog["HYPER_ID"])
    rows = np.flatnonzero(numbers == hyper_id)
    if rows.size == 0:
        known = f"{numbers.min()} to {numbers.max()}" if numbers.size else "none"
        raise InputError(f"plot_source: no source with HYPER_ID {hyper_id!r}: the catalogue has {known}")
    row = int(rows[0])
    cutout = next((one for one in group_cutouts(extraction) if row in one.members), None)
    if cutout is None:
        raise InputError("plot_source: nothing was fitted (detection_only): there is no model to draw")
    scale, unit = figure_unit(extraction)
    panels = {"data": cutout.data, "model": cutout.model + cutout.others, "residual": cutout.residual}
    model_level = float(np.nanmedian(cutout.data - cutout.residual - panels["model"]))
    panels["model"] = panels["model"] + model_level
    values = cutout.data[np.isfinite(cutout.data)] * scale
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    figure = NotebookFigure(figsize=(11.5, 3.3), layout="constrained")
    axes: list[Any] = []
    shown: Any = None
    residual: Any = None
    noise = float(extraction.catalog["LOCAL_RMS"][row].value)
    for k, (name, values) in enumerate(panels.items()):
        ax = figure.add_subplot(1, 4, k + 1, projection=extraction.image.wcs[cutout.where])
        if name == "residual":
            residual = ax.imshow(
                values * scale / noise, origin="lower", cmap=DIVERGING, vmin=-SIGMAS, vmax=SIGMAS
            )
            others, mark = "0.45", "black"
        else:
            shown = ax.imshow(values * scale, origin="lower", cmap=COLOURS, vmin=low, vmax=high)
            others, mark = "#e8e8e8", MARK
        draw_ellipses(ax, extraction, np.arange(len(extraction.sources)), others, 0.7, cutout)
        draw_ellipses(ax, extraction, np.array([row]), mark, 1.4, cutout)
        ax.set_title("residual / noise" if name == "residual" else name, fontsize=9)
        label_axes(ax, extraction.image, first=k == 0)
        axes.append(ax)
    figure.colorbar(shown, ax=axes[:2], label=unit, fraction=0.03, pad=0.01)
    figure.colorbar(residual, ax=axes[2], label="σ", fraction=0.05, pad=0.02)
    _profile(figure.add_subplot(1, 4, 4), extraction, cutout, row, scale=scale, unit=unit)
    entry = extraction.catalog[row]
    flux, error = entry["FLUX"], entry["FLUX_ERR"]
    measured = f"{flux.value:.4g} ± {error:.2g} ({float(flux / error):.1f} σ)"
    figure.suptitle(f"{extraction.image.name}, source {hyper_id}: {measured}", fontsize=10, parse_math=False)
    return figure


def _profile(
    ax: Any, extraction: Extraction, cutout: GroupCutout, row: int, *, scale: float, unit: str
) -> None:
    """Draw the means over rings of data without neighbours, of the fit, and of the beam."""
    image, source = extraction.image, extraction.sources[row]
    y, x = np.mgrid[cutout.where]
    radius = np.hypot(x - source[gaussians.X], y - source[gaussians.Y]) * image.pixel_scale
    own = gaussians.drawn(source[None, :], image.shape)[cutout.where]
    alone = cutout.residual + own
    width = image.beam.fwhm
    edges = np.arange(0.0, _RADIUS_BEAMS * width, max(width / 4.0, image.pixel_scale))
    middle = 0.5 * (edges[1:] + edges[:-1])

    def rings(values: FloatArray) -> FloatArray:
        known = np.isfinite(values)
        inside = [values[known & (radius >= a) & (radius < b)] for a, b in pairwise(edges)]
        return np.array([part.mean() if part.size else np.nan for part in inside])

    fine = np.linspace(0.0, edges[-1], 100)
    peak = float(source[gaussians.AMPLITUDE]) * scale
    ax.plot(middle, rings(alone) * scale, "o", ms=4, color="#1f77b4", label="data, alone")
    ax.plot(middle, rings(own) * scale, "-", color="#d62728", label="fit")
    ax.plot(fine, peak * np.exp(-4.0 * np.log(2.0) * (fine / width) ** 2), "--", color="0.5", label="beam")
    ax.axhline(0.0, color="0.8", lw=0.8, zorder=0)
    ax.set_xlabel("radius (arcsec)", fontsize=8)
    ax.set_ylabel(unit, fontsize=8)
    ax.tick_params(labelsize=7)
    ax.legend(fontsize=7, frameon=False)
    ax.set_title("mean over rings", fontsize=9)
