"""Figures for papers: the map with its sources, each fit, each deblended source, each background.

Figures are in mJy/beam (Jy/beam without `convert_mJy`), with coordinates on the axes and one colour scale for
all panels of a figure.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.geometry import FWHM_PER_SIGMA, ellipse_from_covariance
from hyper_py.image import SkyImage
from hyper_py.names import file_stem
from hyper_py.pipeline.extraction import Extraction
from hyper_py.reporting.fits_products import GroupCutout, deblended, group_cutouts
from hyper_py.reporting.images import frame_name
from hyper_py.writing.layout import Layout
from hyper_py.writing.staging import Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = "inferno"
MARK, _OTHER = "#5fe0fb", "#e8e8e8"
_DPI = 130


def write_figures(stage: Stage, layout: Layout, extraction: Extraction, *, name: str) -> None:
    """Stage the figures that the keys `visualization` ask for, as PNG; the map with all sources as PDF too.

    Parameters
    ----------
    stage : Stage
    layout : Layout
        Its directories are None for products that are not wanted.
    extraction : Extraction
    name : str
        MAP in the names of files.
    """
    wanted = [one for one in (layout.plot_fitting, layout.plot_deblended, layout.plot_background) if one]
    if not wanted:
        return
    whole = plot_map(extraction)
    for suffix in ("png", "pdf"):
        _save(whole, stage, f"{wanted[0]}/{file_stem(name)}_map.{suffix}")
    for cutout in group_cutouts(extraction):
        numbers = extraction.catalog["HYPER_ID"][cutout.members]
        first = int(numbers[0])
        if layout.plot_fitting:
            _save(
                plot_group(extraction, cutout, surfaces=layout.surfaces),
                stage,
                f"{layout.plot_fitting}/{file_stem(name)}_group_{first:04d}.png",
            )
        if layout.plot_background:
            figure = plot_background(extraction, cutout, surfaces=layout.surfaces)
            _save(
                figure, stage, f"{layout.plot_background}/{file_stem(name)}_group_{first:04d}_background.png"
            )
        if layout.plot_deblended and len(cutout.members) > 1:
            for row, number in zip(cutout.members, numbers, strict=True):
                figure = plot_deblended(extraction, cutout, int(row), surfaces=layout.surfaces)
                _save(
                    figure, stage, f"{layout.plot_deblended}/{file_stem(name)}_source_{int(number):04d}.png"
                )


def plot_map(extraction: Extraction) -> "Figure":
    """Draw the map with the apertures of all sources, the beam, and coordinates."""
    from matplotlib.figure import Figure

    image = extraction.image
    ny, nx = image.shape
    scale, unit = figure_unit(extraction)
    data = image.data * scale
    width = 8.0
    figure = Figure(figsize=(width, max(3.0, width * 0.86 * ny / nx)), layout="constrained")
    axes = figure.add_subplot(projection=image.wcs)
    low, high = np.nanpercentile(data, [0.5, 99.7])
    shown = axes.imshow(data, origin="lower", cmap=COLOURS, vmin=low, vmax=high, rasterized=True)
    figure.colorbar(shown, ax=axes, label=unit, pad=0.01, fraction=0.04)
    draw_ellipses(axes, extraction, np.arange(len(extraction.sources)), MARK, 0.7)
    draw_beam(axes, image, at=(0.04 * nx, 0.05 * ny))
    axes.set_title(f"{image.name}: {len(extraction.catalog)} sources", fontsize=11, parse_math=False)
    label_axes(axes, image)
    return figure


def plot_group(extraction: Extraction, cutout: GroupCutout, *, surfaces: bool = False) -> "Figure":
    """Draw data, background, model and residual of a group on one scale, and the first three as surfaces."""
    panels = {
        "data": cutout.data,
        "background": cutout.background,
        "model": cutout.model + cutout.others,
        "residual": cutout.residual,
    }
    title = (
        f"{extraction.image.name}, group of source {int(extraction.catalog['HYPER_ID'][cutout.members[0]])}"
    )
    return _panels(extraction, cutout, panels, rows=cutout.members, title=title, surfaces=surfaces)


def plot_background(extraction: Extraction, cutout: GroupCutout, *, surfaces: bool = False) -> "Figure":
    """Draw data, data without other groups, and the background of a group on one scale."""
    panels = {"data": cutout.data, "others masked": cutout.masked, "background": cutout.background}
    first = int(extraction.catalog["HYPER_ID"][cutout.members[0]])
    title = f"{extraction.image.name}, background of source {first}"
    return _panels(extraction, cutout, panels, rows=cutout.members, title=title, surfaces=surfaces)


def plot_deblended(
    extraction: Extraction, cutout: GroupCutout, row: int, *, surfaces: bool = False
) -> "Figure":
    """Draw a source of a group with its companions, and without them and the background."""
    alone = deblended(cutout, extraction, row)
    panels = {"data": cutout.data, "deblended": alone}
    title = f"{extraction.image.name}, source {int(extraction.catalog['HYPER_ID'][row])} deblended"
    return _panels(extraction, cutout, panels, rows=np.array([row]), title=title, surfaces=surfaces)


def _panels(
    extraction: Extraction,
    cutout: GroupCutout,
    panels: dict[str, FloatArray],
    *,
    rows: Any,
    title: str,
    surfaces: bool,
) -> "Figure":
    """Draw images of a cutout on one scale, above the same as surfaces if they are wanted."""
    from matplotlib.figure import Figure

    scale, unit = figure_unit(extraction)
    finite = np.concatenate([values[np.isfinite(values)] for values in panels.values()]) * scale
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    n, wcs = len(panels), extraction.image.wcs[cutout.where]
    n_rows = 1 + surfaces
    figure = Figure(figsize=(3.1 * n + 0.9, 3.2 * n_rows + 0.3), layout="constrained")
    flat: list[Any] = []
    shown: Any = None
    for k, (name, values) in enumerate(panels.items()):
        axes = figure.add_subplot(n_rows, n, k + 1, projection=wcs)
        axes.set_facecolor("0.85")
        shown = axes.imshow(values * scale, origin="lower", cmap=COLOURS, vmin=low, vmax=high)
        draw_ellipses(axes, extraction, np.arange(len(extraction.sources)), _OTHER, 0.6, cutout)
        draw_ellipses(axes, extraction, rows, MARK, 1.3, cutout)
        axes.set_title(name, fontsize=10)
        label_axes(axes, extraction.image, first=k == 0)
        flat.append(axes)
    y, x = np.mgrid[cutout.where]
    for k, values in enumerate(panels.values() if surfaces else ()):
        solid: Any = figure.add_subplot(n_rows, n, n + k + 1, projection="3d")
        surface = np.clip(values * scale, low, high)
        solid.plot_surface(x, y, surface, cmap=COLOURS, vmin=low, vmax=high, rcount=60, ccount=60, lw=0)
        solid.set_zlim(low, high)
        solid.set_xlabel("x (pixel)", size=7, labelpad=-4)
        solid.set_ylabel("y (pixel)", size=7, labelpad=-4)
        solid.tick_params(labelsize=6, pad=-2)
    figure.colorbar(shown, ax=flat, label=unit, fraction=0.03, pad=0.01)
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def figure_unit(extraction: Extraction) -> tuple[float, str]:
    """Return the factor from Jy/pixel to the unit of figures, and that unit."""
    options = extraction.options
    return options.flux_per_jy * extraction.image.beam_area_pix, f"{options.flux_unit}/beam"


def draw_ellipses(
    axes: Any, extraction: Extraction, rows: Any, colour: str, width: float, cutout: GroupCutout | None = None
) -> None:
    """Draw apertures, in the pixels of a cutout if one is given."""
    from matplotlib.collections import EllipseCollection

    sources = extraction.sources[rows]
    if len(sources) == 0:
        return
    y0, x0 = (0, 0) if cutout is None else (cutout.where[0].start, cutout.where[1].start)
    ratio = 2.0 * extraction.options.photometry.fwhm_radius_ratio * FWHM_PER_SIGMA
    axes.add_collection(
        EllipseCollection(
            ratio * sources[:, 3], ratio * sources[:, 4], np.degrees(sources[:, 5]), units="xy",
            offsets=np.column_stack([sources[:, 1] - x0, sources[:, 2] - y0]),
            offset_transform=axes.transData, facecolors="none", edgecolors=colour, linewidths=width,
        ),
        autolim=False,
    )  # fmt: skip


def draw_beam(axes: Any, image: SkyImage, *, at: tuple[float, float]) -> None:
    """Draw the beam at a pixel position (x, y)."""
    from matplotlib.patches import Ellipse

    covariance = image.central_beam_covariance
    major, minor, angle = (float(value) for value in ellipse_from_covariance(covariance))
    patch = Ellipse(at, major, minor, angle=np.degrees(angle), facecolor="white", edgecolor="black", lw=0.5)
    axes.add_patch(patch)


def label_axes(axes: Any, image: SkyImage, *, first: bool = True) -> None:
    """Label the axes with the frame of the map."""
    names = ("l", "b") if image.frame == "galactic" else ("RA", "Dec")
    frame = frame_name(image.frame)
    for k, name in enumerate(names):
        coordinate = axes.coords[k]
        coordinate.set_axislabel(f"{name} ({frame})" if frame and first else " ")
        coordinate.set_ticklabel(size=7, exclude_overlapping=True)
        coordinate.set_ticks(number=4)
    if not first:
        axes.coords[1].set_ticklabel_visible(False)


def _save(figure: "Figure", stage: Stage, relative: str) -> None:
    # No date in the file: the same run gives the same bytes.
    metadata = {"CreationDate": None} if relative.endswith(".pdf") else {"Software": None}
    figure.savefig(stage.path(relative), dpi=_DPI, metadata=metadata)
