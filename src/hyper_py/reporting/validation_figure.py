"""Figure of a validation: completeness, and the accuracy of fluxes, positions and errors."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hyper_py.injection.truth import curve_of_validation
from hyper_py.validation.comparison import Comparison
from hyper_py.validation.validation import Validation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FOUND, _TRUE, _SINGLE, _BLEND = "#1b6ca8", "#d1702a", "#1b6ca8", "#d1702a"
_MANY = 500
"""Matches beyond which points are drawn faint, with quantiles above them."""
_PULLS = ("flux", "peak", "size", "x", "y", "right ascension", "declination")
_PULL_COLORS = ("#1b6ca8", "#d1702a", "#3c8d53", "#7d5ba6", "#a44a62")


def plot_validation(validation: Validation, *, title: str = "") -> "Figure":
    """Draw a validation in four panels.

    Completeness and purity by signal to noise with their intervals, and the smooth curve of completeness
    that `hyper_py.completeness` would have predicted; measured over true flux by true
    signal to noise (by order of flux where that is not known); offsets in position with the tolerance;
    histograms of the pulls with the unit Gaussian that correct errors follow.

    Parameters
    ----------
    validation : Validation
        From `hyper_py.validate`.
    title : str
        Written above the panels.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any display; save it with `savefig`.
    """
    from hyper_py.reporting.notebook_figures import NotebookFigure

    figure = NotebookFigure(figsize=(10.5, 8.0), layout="constrained")
    ((shares, fluxes), (offsets, pulls)) = figure.subplots(2, 2)
    _draw_shares(shares, validation)
    _draw_fluxes(fluxes, validation)
    _draw_offsets(offsets, validation)
    _draw_pulls(pulls, validation)
    if title:
        figure.suptitle(title, parse_math=False)
    return figure


def _nothing(axes: Any, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color="0.4")


def _draw_shares(axes: Any, validation: Validation) -> None:
    for name, color in (("completeness", _FOUND), ("purity", _TRUE)):
        overall = getattr(validation, name)
        label = f"{name} {100 * overall.value:.1f}% ({overall.part} of {overall.whole})"
        bins = [(b, getattr(b, name)) for b in validation.bins if getattr(b, name).whole]
        if not bins:
            axes.plot([], [], color=color, marker="o", label=label)
            continue
        # On a log axis the open last bin, and a first one from 0, are drawn an octave wide.
        low = np.array([b.low or 0.5 * b.high for b, _ in bins])
        high = np.array([b.high if np.isfinite(b.high) else 2.0 * b.low for b, _ in bins])
        value = np.array([share.value for _, share in bins])
        middle = np.sqrt(low * high) * (1.03 if name == "purity" else 1.0)
        error = np.abs([[share.low, share.high] for _, share in bins] - value[:, None]).T
        axes.errorbar(
            middle, value, yerr=error, color=color, marker="o", ms=4, lw=1.2, capsize=2, label=label
        )
    curve = curve_of_validation(validation)
    if curve is not None:
        axes.plot(curve.x, curve.curve, color=_FOUND, lw=1.0, alpha=0.7)
        axes.fill_between(curve.x, curve.low, curve.high, color=_FOUND, alpha=0.15, lw=0)
    if validation.bins:
        axes.set_xscale("log")
        _plain_ticks(axes)
    else:
        _nothing(axes, "signal to noise not known")
    axes.set(ylim=(-0.03, 1.06), xlabel="signal to noise (true; measured for purity)", ylabel="fraction")
    axes.axhline(1.0, color="0.8", lw=0.8, zorder=0)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set_title("Completeness and purity", fontsize=10)


def _draw_fluxes(axes: Any, validation: Validation) -> None:
    flux = validation.comparison("flux") or validation.comparison("peak")
    axes.set_title("Flux", fontsize=10)
    if flux is None or not np.isfinite(flux.values).any():
        _nothing(axes, "no flux in both tables")
        return
    snr = validation.snr_true[validation.matched[1]]
    known = bool(np.isfinite(snr).any())
    x = snr if known else np.arange(1.0, snr.size + 1.0)
    for name, select, color in (
        ("isolated", validation.isolated, _SINGLE),
        ("blended", ~validation.isolated, _BLEND),
    ):
        statistic = validation.samples[name][flux.name]
        if statistic.n:
            label = f"{name}: bias {100 * statistic.bias:+.1f}%, scatter {100 * statistic.scatter:.1f}%"
            axes.plot(
                x[select],
                flux.values[select],
                ".",
                color=color,
                label=label,
                **_point(x.size),
                rasterized=True,
            )
    if known and x.size > _MANY:
        _draw_quantiles(axes, x, flux.values)
    spread = np.nanpercentile(np.abs(flux.values - 1.0), 98)
    reach = float(np.clip(1.4 * spread, 0.1, 3.0))
    axes.set(ylim=(max(1.0 - reach, -0.1), 1.0 + reach), ylabel=f"{flux.name}, measured / true")
    axes.axhline(1.0, color="0.5", lw=0.8, zorder=0)
    outside = int(np.count_nonzero(np.abs(flux.values - 1.0) > reach))
    if outside:
        axes.text(0.02, 0.02, f"{outside} beyond the axis", transform=axes.transAxes, fontsize=8, color="0.4")
    if known:
        axes.set_xscale("log")
        _plain_ticks(axes)
    axes.set_xlabel("true signal to noise" if known else "source number")
    for handle in axes.legend(frameon=False, fontsize=8, loc="upper right").legend_handles:
        handle.set_alpha(1.0)


def _point(n: int) -> dict[str, float]:
    """Return size and opacity of points: of thousands each is a trace, and their density can be seen."""
    return (
        {"ms": 4.0, "alpha": 0.6} if n <= _MANY else {"ms": 2.5, "alpha": max(0.04, 0.6 * (_MANY / n) ** 0.8)}
    )


def _draw_quantiles(axes: Any, x: Any, values: Any) -> None:
    """Draw the median, and the range of the middle 68%, in bins of equal numbers along x."""
    good = np.isfinite(x) & np.isfinite(values) & (x > 0.0)
    order = np.argsort(x[good], kind="stable")
    parts = np.array_split(order, min(16, max(4, order.size // 60)))
    middle = [float(np.median(x[good][part])) for part in parts]
    low, median, high = (
        [float(np.percentile(values[good][part], share)) for part in parts] for share in (16, 50, 84)
    )
    axes.plot(middle, median, color="0.1", lw=1.6, label="median and central 68%")
    for edge in (low, high):
        axes.plot(middle, edge, color="0.1", lw=1.0, ls=":")


def _draw_offsets(axes: Any, validation: Validation) -> None:
    axes.set_title("Position", fontsize=10)
    names = ("x", "y") if validation.unit == "pix" else ("right ascension", "declination")
    dx, dy = (validation.comparison(name) for name in names)
    if dx is None or dy is None or not np.isfinite(dx.values + dy.values).any():
        _nothing(axes, "no matches")
        return
    for select, color in ((~validation.isolated, _BLEND), (validation.isolated, _SINGLE)):
        point = _point(dx.values.size)
        axes.plot(dx.values[select], dy.values[select], ".", color=color, **point, rasterized=True)
    distances = np.hypot(dx.values, dy.values)
    for share, style in ((68, "-"), (95, ":")):
        r, around = float(np.nanpercentile(distances, share)), np.linspace(0.0, 2.0 * np.pi, 200)
        label = f"{share}% within {r:.3g} {validation.unit}"
        axes.plot(r * np.cos(around), r * np.sin(around), color="0.15", lw=1.1, ls=style, label=label)
    turn = np.linspace(0.0, 2.0 * np.pi, 200)
    radius = validation.tolerance
    axes.plot(radius * np.cos(turn), radius * np.sin(turn), color="0.5", lw=0.8, ls="--", label="tolerance")
    sample = validation.samples["all"]
    per_axis = ", ".join(f"{name} {sample[name].scatter:.3g}" for name in names)
    words = (
        f"scatter {per_axis} {validation.unit}\nrms distance {sample['separation'].rms:.3g} {validation.unit}"
    )
    axes.text(0.02, 0.98, words, transform=axes.transAxes, va="top", fontsize=8)
    axes.axhline(0.0, color="0.8", lw=0.8, zorder=0)
    axes.axvline(0.0, color="0.8", lw=0.8, zorder=0)
    distance = np.hypot(dx.values, dy.values)
    reach = min(1.25 * radius, 1.6 * float(np.nanpercentile(distance, 99)) or radius)
    limits = (-reach, reach)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set(xlabel=f"{names[0]}, measured - true ({dx.unit})", ylabel=f"{names[1]} ({dy.unit})")


def _draw_pulls(axes: Any, validation: Validation) -> None:
    axes.set_title("Pulls", fontsize=10)
    axes.set(xlabel="(measured - true) / error", ylabel="density", xlim=(-5, 5))
    chosen: list[Comparison] = [
        c for c in map(validation.comparison, _PULLS) if c is not None and np.isfinite(c.pulls).any()
    ]
    if not chosen:
        _nothing(axes, "no errors in the catalogue")
        return
    grid = np.linspace(-5.0, 5.0, 201)
    axes.fill_between(grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), color="0.88", label="unit Gaussian")
    for comparison, color in zip(chosen, _PULL_COLORS, strict=False):
        pulls = comparison.pulls[np.isfinite(comparison.pulls)]
        width = validation.samples["all"][comparison.name].pull_width
        label = f"{comparison.name}: width {width:.2f}"
        edges = np.linspace(-5.0, 5.0, 31)
        weights = np.full(pulls.size, 1.0 / (pulls.size * (edges[1] - edges[0])))
        axes.hist(pulls, bins=edges, weights=weights, histtype="step", lw=1.3, color=color, label=label)
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def _plain_ticks(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
