"""What is shown at the end of a run: what was found, how deep, what to look at, and the files to open."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyper_py.commands.terminal import complain, say

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.running.digest import Digest
    from hyper_py.running.runner import MapResult, RunResult

ROWS_SHOWN = 40


def show_summary(result: "RunResult", config: "Config") -> None:
    """Show the results of the maps, of a single one in detail, and the totals."""
    from hyper_py.running.digest import digest
    from hyper_py.running.events import removed_line

    if line := removed_line(result):
        complain(line)
    shown = result.maps if len(result.maps) <= ROWS_SHOWN else result.failures[:ROWS_SHOWN]
    digests = {one.name: digest(result.root, one.name, config=config) for one in shown if one.ok}
    if len(result.maps) == 1 and (one := result.maps[0]).ok and (of_it := digests[one.name]):
        _show_facts([*describe(one, of_it), *files_to_open(result, config)])
        return
    if len(result.maps) == 1 and result.failures:
        _show_facts([(result.maps[0].name, "failed"), *files_to_open(result, config)])
        return
    _show_table([_row(one, digests.get(one.name)) for one in shown])
    if any(one.ok for one in result.maps):
        _show_facts(list(files_to_open(result, config)))
    say(totals(result))


def describe(one: "MapResult", of_it: "Digest") -> Iterator[tuple[str, str]]:
    """Yield what an astronomer wants to know of one map, as pairs of a word and a line."""
    yield one.name, f"{found(of_it)}, {one.seconds:.3g} s"
    if of_it.flux is not None:
        low, middle, high = of_it.flux
        yield "flux", f"{low:.3g} to {high:.3g} {of_it.flux_unit}, median {middle:.3g}"
    yield "noise", f"{one.rms:.4g} {one.unit}{' (median)' if of_it.n_channels else ''}"
    if of_it.limit is not None:
        yield "limit", f"{of_it.limit:.3g} {one.unit}: a point source at the threshold of {of_it.threshold:g}"
    flags = ", ".join(f"{n} {name}" for name, n in of_it.flags.items())
    yield "flags", flags or "none"
    for text in one.notes:
        yield "note", text
    if of_it.n_calling:
        yield "to check", f"{of_it.n_calling} of {of_it.n_rows} rows, marked in the report"


def found(of_it: "Digest") -> str:
    """Say how many sources a map or cube has."""
    if of_it.n_channels:
        rows = f" ({_plural(of_it.n_rows, 'row')}, one for each channel with a measurement)"
        places = f"{_plural(of_it.n_places, 'source')} in {of_it.n_channels} channels"
        return f"{places}{rows}" if of_it.n_rows else places
    return _plural(of_it.n_rows, "source")


def files_to_open(result: "RunResult", config: "Config") -> Iterator[tuple[str, str]]:
    """Yield the files to open next, by paths from here where those are shorter."""
    from hyper_py.writing.layout import REPORT_DIR, Layout

    layout, root = Layout.from_config(config), result.root
    single = result.maps[0].name if len(result.maps) == 1 else ""
    names = [f"{single}_ALL", single] if single else ["ALL"]
    tables = [layout.table(name, form) for form in layout.formats for name in names[:1]]
    tables = [one for one in tables if (root / one).is_file()] or [
        layout.table(names[-1], form) for form in layout.formats
    ]
    places = {
        "report": [f"{REPORT_DIR}/index.html"],
        "tables": tables,
        "regions": [layout.region(single, "ellipses")] if single else [layout.regions],
        "figure": [layout.map_figure(single)] if single else [],
        "images": [*layout.images(single).values()] if single and layout.products else [],
        "log": [layout.map_log(single)] if single else [f"{layout.logs}/{layout.log_name}"],
    }
    for what, relative in places.items():
        there = [one for one in relative if (root / one).exists()]
        if there:
            first = _from_here(root / there[0])
            more = ", ".join(Path(one).suffix for one in there[1:]) if what == "tables" else ""
            beside = ", ".join(Path(one).name for one in there[1:]) if what == "images" else ""
            yield what, first + (f" ({more})" if more else "") + (f", {beside}" if beside else "")


def totals(result: "RunResult") -> str:
    """Return the last line of a run of several maps."""
    failed = f" ({len(result.failures)} failed)" if result.failures else ""
    reached = f"{sum(one.status != 'pending' for one in result.maps)} of " if result.interrupted else ""
    return (
        f"Maps: {reached}{len(result.maps)}{failed}. Sources: {result.n_sources}. "
        f"Seconds: {result.seconds:.1f}. Results: {result.root}"
    )


def _row(one: "MapResult", of_it: "Digest | None") -> tuple[str, ...]:
    if not one.ok:
        return one.name, one.status, "", "", "", "", "", ""
    measured = (str(one.n_sources), f"{one.rms:.4g} {one.unit}", f"{one.seconds:.2f}")
    sources, rms, seconds = measured
    flux, calling = "", ""
    if of_it is not None:
        calling = str(of_it.n_calling)
        if of_it.flux is not None:
            flux = f"{of_it.flux[0]:.3g} – {of_it.flux[2]:.3g} {of_it.flux_unit}"
    warned = str(len(one.warnings)) if one.warnings else ""
    return one.name, one.status, sources, calling, flux, rms, seconds, warned


def _show_table(rows: Sequence[tuple[str, ...]]) -> None:
    if not rows:
        return
    rows = [("Map", "Status", "Sources", "To check", "Flux", "rms", "Seconds", "Warnings"), *rows]
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for name, status, *numbers in zip(*columns, strict=True):
        texts = [name.ljust(widths[0]), status.ljust(widths[1]), *map(str.rjust, numbers, widths[2:])]
        say("  ".join(texts).rstrip())


def _show_facts(facts: Sequence[tuple[str, str]]) -> None:
    width = max(8, *(len(name) for name, _ in facts[1:])) if len(facts) > 1 else 8
    for k, (name, text) in enumerate(facts):
        say(f"{name}: {text}" if k == 0 and len(name) > width else f"{name:<{width}}  {text}")


def _from_here(path: Path) -> str:
    """Return a path relative to the working directory if it is below it."""
    whole, here = str(path.absolute()), os.path.join(os.getcwd(), "")
    return whole[len(here) :] if whole.startswith(here) else whole


def _plural(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
