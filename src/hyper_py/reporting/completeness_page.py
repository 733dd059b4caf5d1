"""The page of a map's completeness: four figures, the limits, and how they were made. One file."""

import base64
import io
import math
from pathlib import Path

from hyper_py.injection.completeness import QUANTITIES, Completeness
from hyper_py.injection.curve import LEVELS, Limit
from hyper_py.injection.drawing import KINDS
from hyper_py.names import file_stem
from hyper_py.reporting.completeness_figure import PANELS, plot_completeness
from hyper_py.reporting.pages import render_page
from hyper_py.reporting.report import INDEX
from hyper_py.writing.layout import COMPLETENESS_DIR, completeness_page_name
from hyper_py.writing.staging import Stage

_TITLES = {"curves": "Completeness", "limit": "Limit", "accuracy": "Bias and errors", "purity": "False rows"}
_WORDS = {
    "curves": "Share of injected sources that were found, with 68% Jeffreys intervals, and the smooth "
    "curve that never falls with its band. Dotted: where it reaches 50, 80 and 95%.",
    "limit": "Peak flux of a beam-sized source that would be found here with a probability of 80%: it "
    "follows noise, coverage and the light of the map's own sources. Grey: nothing can be found there.",
    "accuracy": "Measured against true flux of the sources that were found, by the signal to noise that "
    "they have in the optimal filter; below, the scatter of (measured - true) / error: 1 for true errors.",
    "purity": "Rows of the catalogue above a threshold, and the number of false ones to expect: those "
    "found on the inverted map and on maps of the same noise without sources.",
}
_SHAPES = {"beam": "beam-sized", "own": "with the map's own sizes"}
_AGAINST = {"FLUX_PEAK": "peak flux", "FLUX": "flux", "SNR": "expected signal to noise"}


def write_page(root: Path, result: Completeness, *, dpi: int = 130) -> tuple[str, ...]:
    """Write the page of a map's completeness, and its figures as one PNG.

    Parameters
    ----------
    root : Path
        The output directory.
    result : Completeness
    dpi : int
        Of the PNG.

    Returns
    -------
    tuple of str
        Files, relative to `root`.
    """
    figures = [
        {"title": _TITLES[panel], "words": _WORDS[panel], "picture": _svg(result, panel)} for panel in PANELS
    ]
    limits = [
        {
            "shape": _SHAPES[shape],
            "quantity": f"{_AGAINST[quantity]} {unit and f'({unit})'}",
            "texts": [_words(result.curve(quantity, shape=shape).limit(level)) for level in LEVELS],
        }
        for shape in KINDS
        for quantity, unit in ((q, result.units[q]) for q in QUANTITIES)
    ]
    page = render_page(
        "completeness.html",
        ("theme",),
        name=result.name,
        lead=_lead(result),
        report=f"../{INDEX}" if (root / INDEX).is_file() else None,
        figures=figures,
        levels=[f"{level:.0%}" for level in LEVELS],
        limits=limits,
        facts=_facts(result),
    )
    with Stage(root) as stage:
        stage.text(completeness_page_name(result.name), page)
        path = stage.path(f"{COMPLETENESS_DIR}/completeness_{file_stem(result.name)}.png")
        plot_completeness(result).savefig(path, dpi=dpi)
    return stage.names


def _svg(result: Completeness, panel: str) -> str:
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": panel}):  # the same result gives the same bytes
        plot_completeness(result, panels=(panel,)).savefig(buffer, format="svg", metadata={"Date": None})
    return base64.b64encode(buffer.getvalue()).decode()


def _words(limit: Limit) -> str:
    if math.isnan(limit.value):
        return "not reached"
    return f"{limit.value:.3g} ({limit.low:.3g} – {limit.high:.3g})"


def _lead(result: Completeness) -> str:
    limit = result.curve("FLUX_PEAK").limit(0.8)
    found = (
        f"80% of beam-sized sources are found at {limit.value:.3g} {result.units['FLUX_PEAK']}"
        if math.isfinite(limit.value)
        else "80% of beam-sized sources are never found"
    )
    n = len(result.purity.rows)
    return f"{found} · {result.purity.expected_false():.2g} of {n} rows expected to be false"


def _facts(result: Completeness) -> list[tuple[str, str]]:
    low, high = result.purity.expected_interval()
    return [
        ("Injected sources", f"{len(result.records)} in {result.n_runs} runs of the pipeline"),
        ("Largest binomial error", f"{result.error:.3f} (asked for: {result.plan.precision:g})"),
        ("Positions", result.plan.positions),
        ("Seed", str(result.plan.seed)),
        ("Threshold", f"{result.purity.threshold:g}"),
        ("Expected false rows", f"{result.purity.expected_false():.2g} ({low:.2g} – {high:.2g})"),
        ("Maps without sources", f"the inverted map and {len(result.purity.surrogates)} surrogates"),
        (
            "Neighbours",
            f"{result.local.share:.0%} of their light counts as noise in the map of the limit",
        ),
    ]
