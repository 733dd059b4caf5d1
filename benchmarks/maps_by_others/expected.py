"""What a map's catalogue should be, and how near one is to it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from maps_by_others.common import Array


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source that must have a row: zero-based pixels; peak in Jy/beam, flux in Jy, where they are known."""

    x: float
    y: float
    peak: float | None = None
    peak_tolerance: float = np.inf
    flux: float | None = None
    flux_tolerance: float = np.inf


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The right answer of one map.

    Attributes
    ----------
    name, path, options : str, Path, tuple of str
        The map, and what `hyper-py run --set` needs beyond its file.
    basis : str
        Where the answer comes from.
    sources : tuple of Source
        What must be found; none if that is not known.
    allowed : tuple of (x, y, radius)
        Where a row counts neither way.
    match_radius : float
        Pixels.
    max_extra : int, optional
        How many other rows there may be; None where nobody knows.
    may_be_refused : bool
        Whether an error of one line is right, too.
    """

    name: str
    path: Path
    options: tuple[str, ...] = ()
    basis: str = "not stated"
    sources: tuple[Source, ...] = ()
    allowed: tuple[tuple[float, float, float], ...] = ()
    match_radius: float = 2.0
    max_extra: int | None = None
    may_be_refused: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How near a catalogue is to the right answer.

    `wrong` says in words what is not right; `refused` why there is no catalogue, where that is right too.
    """

    rows: int = 0
    found: int = 0
    extra: int = 0
    no_measurement: int = 0
    wrong: tuple[str, ...] = ()
    refused: str = ""


def read_expected(folder: Path) -> list[Answer]:
    """Return the answers of the observed maps, from `expected.json` in their folder."""
    answers = []
    for one in json.loads((folder / "expected.json").read_text())["maps"]:
        fluxes = {(x, y): (flux, tolerance) for x, y, flux, tolerance in one.get("fluxes", [])}
        sources = []
        for x, y, peak, tolerance in one["sources"]:
            flux, flux_tolerance = fluxes.get((x, y), (None, np.inf))
            sources.append(
                Source(
                    x=x, y=y, peak=peak, peak_tolerance=tolerance, flux=flux, flux_tolerance=flux_tolerance
                )
            )
        answers.append(
            Answer(
                name=f"real/{one['name']}", path=folder / one["file"], options=tuple(one["options"]),
                basis="fits by others, other finders, literature", sources=tuple(sources),
                allowed=tuple(tuple(place) for place in one["allowed"]),
                match_radius=one["match_radius_px"], max_extra=one["max_extra_rows"],
            )
        )  # fmt: skip
    return answers


def judge(catalog: Table, answer: Answer) -> Verdict:
    """Compare a catalogue with the right answer.

    A source is found where the nearest row lies within the radius and has its peak and flux. A row at no
    source and at no allowed place is extra. No row may be without a measurement: FLUX_PEAK <= 0, or FLUX
    below twice its error.
    """
    x, y = (np.asarray(catalog[name], dtype=np.float64) for name in ("X", "Y"))
    peak = catalog["FLUX_PEAK"].quantity.to_value("Jy / beam")
    flux, error = (catalog[name].quantity.to_value("Jy") for name in ("FLUX", "FLUX_ERR"))
    known, found, wrong = np.zeros(len(catalog), dtype=bool), 0, []
    for source in answer.sources:
        distance = np.hypot(x - source.x, y - source.y)
        at_source = distance <= answer.match_radius
        known |= at_source
        place = f"({source.x:.0f}, {source.y:.0f})"
        if not at_source.any():
            wrong.append(f"{place} missed")
            continue
        row, complaints = int(np.argmin(distance)), []
        for what, value, true, tolerance in (
            ("peak", peak[row], source.peak, source.peak_tolerance),
            ("flux", flux[row], source.flux, source.flux_tolerance),
        ):
            if true is not None and not abs(value / true - 1.0) <= tolerance:
                complaints.append(f"{place} {what} x {value / true:.2f} (1 ± {tolerance:g})")
        wrong += complaints
        found += not complaints
    extra = int(np.count_nonzero(~known & ~near(x, y, answer.allowed)))
    if answer.max_extra is not None and extra > answer.max_extra:
        wrong.append(f"{extra} extra rows (at most {answer.max_extra})")
    no_measurement = int(np.count_nonzero((peak <= 0) | (flux < 2 * error)))
    if no_measurement:
        wrong.append(f"{no_measurement} rows that are no measurement")
    return Verdict(
        rows=len(catalog), found=found, extra=extra, no_measurement=no_measurement, wrong=tuple(wrong)
    )


def near(x: Array, y: Array, places: tuple[tuple[float, float, float], ...]) -> Any:
    """Return which points are within the radius of a place."""
    inside = np.zeros(len(x), dtype=bool)
    for x0, y0, radius in places:
        inside |= np.hypot(x - x0, y - y0) <= radius
    return inside


def run(answer: Answer, out: Path, *, timeout: float) -> Verdict:
    """Run `hyper-py run` on a map with defaults, unless `out` has its catalogue; judge what comes out."""
    catalogue = out / "params" / "params_ALL.ecsv"
    if catalogue.exists():
        return judge(Table.read(catalogue), answer)
    sets = [part for option in ("outputs.report=false", *answer.options) for part in ("--set", option)]
    command = [sys.executable, "-m", "hyper_py", "run", str(answer.path), "-o", str(out), "--quiet", *sets]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Verdict(wrong=(f"no end within {timeout:g} s",))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing printed"])[-1][:160]
        if answer.may_be_refused and "Traceback" not in done.stderr:
            return Verdict(refused=last)
        return Verdict(wrong=(f"status {done.returncode}: {last}",))
    return judge(Table.read(catalogue), answer)


def lines(answer: Answer, verdict: Verdict) -> list[str]:
    """Return a row of the table of all maps."""
    asked = f"{verdict.found} of {len(answer.sources)}" if answer.sources else "-"
    limit = "" if answer.max_extra is None else f" (at most {answer.max_extra})"
    judged = answer.sources or answer.max_extra is not None
    good = "refused" if verdict.refused else "right" if judged else "runs"
    shown = [verdict.refused, *verdict.wrong[:6], *(["..."] if len(verdict.wrong) > 6 else [])]
    return [
        answer.name, ", ".join(f"`{option}`" for option in answer.options), answer.basis, str(verdict.rows),
        asked, f"{verdict.extra}{limit}", str(verdict.no_measurement),
        "**wrong**" if verdict.wrong else good,
        "; ".join(filter(None, shown)).replace("|", "/"),
    ]  # fmt: skip


HEAD = ["map", "options", "answer from", "rows", "found", "extra", "no measurement", "", "what is wrong"]
