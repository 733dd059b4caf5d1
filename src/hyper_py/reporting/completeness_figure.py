"""Pictures of completeness: the curves, the limit on the map, bias and errors, and false rows."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hyper_py.injection.binomial import jeffreys_interval
from hyper_py.injection.completeness import Completeness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BEAM, _OWN, _THIRD, _GREY = "#1b6ca8", "#d1702a", "#3c8d53", "0.45"
_SHAPES = (("beam", "beam-sized", _BEAM, "o"), ("own", "sizes of the map's own", _OWN, "s"))
_NARROW = 5.0
"""Axes that span less than this factor have more labels."""
PANELS = ("curves", "limit", "accuracy", "purity")
"""The four figures."""


def plot_completeness(result: Completeness, *, panels: tuple[str, ...] = PANELS) -> "Figure":
    """Draw completeness against peak flux, its limit on the map, bias and errors, and false rows.

    Parameters
    ----------
    result : Completeness
        From `hyper_py.completeness`.
    panels : tuple of str
        Which of `PANELS`: all four in one figure, or one alone.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any display; save it with `savefig`.
    """
    from hyper_py.reporting.notebook_figures import NotebookFigure

    alone = len(panels) == 1
    figure = NotebookFigure(figsize=(6.4, 4.8) if alone else (12.0, 9.0), layout="constrained")
    cells: list[Any] = [figure] if alone else [*np.ravel(np.asarray(figure.subfigures(2, 2)))]
    for cell, panel in zip(cells, panels, strict=False):
        _DRAW[panel](cell, result)
    if not alone:
        figure.suptitle(
            f"{result.name}: {len(result.records)} sources injected in {result.n_runs} runs", fontsize=12
        )
    return figure


def _draw_curves(figure: Any, result: Completeness) -> None:
    axes = figure.subplots()
    for shape, words, color, marker in _SHAPES:
        curve = result.curve("FLUX_PEAK", shape=shape)
        some = curve.injected > 0
        low, high = jeffreys_interval(curve.recovered[some], curve.injected[some])
        shares = curve.shares[some]
        error = np.abs([low - shares, high - shares])
        axes.errorbar(
            curve.centres[some], shares, yerr=error, color=color, marker=marker, ms=4, lw=0.0,
            elinewidth=1.0, capsize=2,
        )  # fmt: skip
        limit = curve.limit(0.8)
        text = f"{words}: 80% at {limit.value:.3g}" if np.isfinite(limit.value) else f"{words}: 80% never"
        axes.plot(curve.x, curve.curve, color=color, lw=1.5, label=text)
        axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.2, lw=0)
        for one in curve.limits:
            if np.isfinite(one.value):
                axes.plot([one.value] * 2, [-0.03, one.level], color=color, lw=0.7, ls=":")
    axes.set(
        xscale="log", ylim=(-0.03, 1.05), ylabel="completeness",
        xlabel=f"true peak flux ({result.units['FLUX_PEAK']})", title="Completeness",
    )  # fmt: skip
    axes.set_yticks([0.0, 0.2, 0.5, 0.8, 0.95])
    axes.grid(axis="y", color="0.9")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    _plain_ticks(axes)


def _draw_limit(figure: Any, result: Completeness) -> None:
    from matplotlib.colors import LogNorm

    axes, image = figure.subplots(), result.setup.image
    values = result.limit_map() * image.beam_area_pix * result.setup.options.flux_per_jy
    axes.set(title="80% limit of beam-sized sources", xlabel="x (pixel)", ylabel="y (pixel)")
    known = values[np.isfinite(values)]
    if not known.size:
        axes.text(0.5, 0.5, "80% is not reached", transform=axes.transAxes, ha="center", color=_GREY)
        return
    low, high = np.percentile(known, [0.5, 99.0])
    step = max(1, max(values.shape) // 800)
    ny, nx = values.shape
    picture = axes.imshow(
        values[::step, ::step], origin="lower", cmap="viridis", norm=LogNorm(low, max(high, 1.05 * low)),
        interpolation="nearest", extent=(-0.5, nx - 0.5, -0.5, ny - 0.5),
    )  # fmt: skip
    axes.set_facecolor("0.85")
    bar = figure.colorbar(picture, ax=axes, label=f"peak flux ({result.units['FLUX_PEAK']})")
    _plain_ticks(bar.ax, along="y")


def _draw_accuracy(figure: Any, result: Completeness) -> None:
    bins = [one for one in result.accuracy if one.n >= 10]
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.set(ylabel="flux, measured / true - 1", title="Bias, scatter and errors")
    lower.set(ylabel="width of pulls", xlabel="expected signal to noise", xscale="log")
    upper.axhline(0.0, color="0.8", lw=0.8, zorder=0)
    lower.axhspan(0.9, 1.1, color="0.9", zorder=0)
    if bins:
        middle = np.array([np.sqrt(one.low * min(one.high, 2.0 * one.low)) for one in bins])
        bias, scatter = (np.array([getattr(o, f"flux_{n}") for o in bins]) for n in ("bias", "scatter"))
        upper.plot(middle, bias, color=_BEAM, marker="o", ms=4, label="median")
        upper.fill_between(
            middle, bias - scatter, bias + scatter, color=_BEAM, alpha=0.2, lw=0, label="scatter"
        )
        upper.legend(frameon=False, fontsize=8)
        for name, color in (("flux", _BEAM), ("peak", _OWN), ("position", _THIRD)):
            width = np.array([getattr(one, f"{name}_pull_width") for one in bins])
            error = width * [one.pull_width_error for one in bins]
            lower.errorbar(
                middle, width, yerr=error, color=color, marker="o", ms=4, lw=1.2, capsize=2, label=name
            )
        lower.set_ylim(0.0, max(2.0, lower.get_ylim()[1]))
        lower.legend(frameon=False, fontsize=8, ncols=3)
        _plain_ticks(lower)


def _draw_purity(figure: Any, result: Completeness) -> None:
    axes, purity = figure.subplots(), result.purity
    top = max(purity.rows.max(initial=0.0), 2.0 * purity.threshold)
    grid = np.geomspace(purity.threshold, top, 200)
    rows = np.array([np.count_nonzero(purity.rows >= one) for one in grid])
    rows[0] = len(purity.rows)
    expected = np.array([purity.expected_false(float(one)) for one in grid])
    axes.step(grid, rows, color=_BEAM, where="post", label=f"catalogue: {len(purity.rows)} rows")
    low, high = purity.expected_interval()
    text = f"expected false: {purity.expected_false():.2g} ({low:.2g} - {high:.2g})"
    axes.plot(grid, expected, color=_OWN, label=text)
    for values, n, words, marker in (
        (purity.inverted, 1, "inverted map", "v"),
        (np.concatenate([*purity.surrogates, []]), max(len(purity.surrogates), 1), "surrogates", "^"),
    ):
        ordered = np.sort(values)[::-1]
        axes.plot(
            ordered, np.arange(1, ordered.size + 1) / n, marker, ms=4, color=_GREY, mfc="none", label=words
        )
    axes.set(
        xscale="log", yscale="log", ylim=(0.03, 2.0 * max(len(purity.rows), 1)), title="False rows",
        xlabel="threshold in signal to noise", ylabel="rows above it",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    _plain_ticks(axes)


_DRAW = {"curves": _draw_curves, "limit": _draw_limit, "accuracy": _draw_accuracy, "purity": _draw_purity}


def _plain_ticks(axes: Any, *, along: str = "x") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if along == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    steps = (1.0, 2.0, 5.0) if high > _NARROW * low else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
