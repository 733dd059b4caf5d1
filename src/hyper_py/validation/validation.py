"""Comparison of a catalogue with the truth: completeness, purity, bias, scatter and pulls."""

from __future__ import annotations  # short signatures in notebooks

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.display import Summarised, Summary
from hyper_py.pipeline.extraction import Extraction
from hyper_py.validation.comparison import (
    Comparison,
    SourceTable,
    Statistic,
    compare,
    match_in_pixels,
    separation,
)
from hyper_py.validation.fractions import Fraction, binomial_fraction
from hyper_py.validation.matching import inside_margin, is_isolated, match_positions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGIN_BEAMS = 0.5
"""Half of a source nearer to an edge is beyond it."""
SNR_EDGES = (0.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Completeness in a range of true, and purity in the same range of measured, signal to noise."""

    low: float
    high: float
    completeness: Fraction
    purity: Fraction


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Completeness and statistics of all, the isolated or the blended true sources."""

    completeness: Fraction
    statistics: tuple[Statistic, ...]

    def __getitem__(self, name: str) -> Statistic:
        """Return the statistic of one quantity by its name."""
        for statistic in self.statistics:
            if statistic.name == name:
                return statistic
        raise KeyError(name)


class TextTable(NamedTuple):
    """A table of texts, ready to be printed."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Validation(Summarised):
    """Result of `validate`.

    Attributes
    ----------
    tolerance : float
        Largest distance of a match, in `unit`.
    unit : str
        "pix" or "arcsec".
    completeness, purity : Fraction
        Matched true sources; detections that are true.
    bins : tuple of Bin
        By signal to noise; empty where that is not known.
    samples : dict
        `Sample` by "all", "isolated", "blended".
    comparisons : tuple of Comparison
        Value by value, for figures.
    matched : tuple of two ndarrays of int, shape (k,)
        Rows of catalogue and truth of the counted pairs, in the order of the comparisons.
    false, missed : ndarray of int
        Rows of the catalogue without truth, rows of the truth without detection.
    isolated : ndarray of bool, shape (k,)
        Of the counted pairs.
    snr_true, snr_measured : ndarray
        By row of truth and catalogue; NaN where not known.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    >>> result = hyper_py.validate(hyper_py.extract_sources(sky.image), sky)
    >>> result.completeness.part, result.completeness.whole
    (3, 3)
    >>> abs(result.samples["all"]["flux"].bias) < 0.2
    True
    """

    tolerance: float
    unit: str
    completeness: Fraction
    purity: Fraction
    bins: tuple[Bin, ...]
    samples: dict[str, Sample]
    comparisons: tuple[Comparison, ...]
    matched: tuple[IndexArray, IndexArray]
    false: IndexArray
    missed: IndexArray
    isolated: BoolArray
    snr_true: FloatArray
    snr_measured: FloatArray

    def _summary(self) -> Summary:
        tables = self.tables()
        wanted = "Measured against true, all sources"
        statistics = next((table for table in tables if table.title == wanted), None)
        return Summary(
            title=f"Validation: matches within {self.tolerance:.3g} {self.unit}",
            facts=tuple((row[0], row[1]) for row in tables[0].rows),
            header=statistics.header if statistics else (),
            rows=statistics.rows if statistics else (),
        )

    def plot(self, *, title: str = "") -> Figure:
        """Draw completeness and purity, fluxes, offsets and pulls in four panels.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.
        """
        from hyper_py.reporting.validation_figure import plot_validation  # only when it is called

        return plot_validation(self, title=title)

    def comparison(self, name: str) -> Comparison | None:
        """Return the comparison of one quantity, None if it could not be made."""
        return next((c for c in self.comparisons if c.name == name), None)

    def tables(self) -> tuple[TextTable, ...]:
        """Return what a terminal shows: counts, bins of signal to noise, quantities by sample.

        `over limit` is the scatter in units of the smallest possible error, where that is known.
        """
        counts = [("completeness", _percent(self.completeness)), ("purity", _percent(self.purity))]
        counts += [
            (f"completeness, {name}", _percent(sample.completeness))
            for name, sample in self.samples.items()
            if name != "all"
        ]
        bins = [(f"{b.low:g} - {b.high:g}", _percent(b.completeness), _percent(b.purity)) for b in self.bins]
        result = [TextTable(f"Matches within {self.tolerance:.3g} {self.unit}", ("", "share"), tuple(counts))]
        if bins:
            header = ("signal to noise", "completeness", "purity")
            result.append(TextTable("By signal to noise", header, tuple(bins)))
        columns = ("quantity", "n", "bias", "scatter", "rms", "pull", "width", "within 1", "over limit")
        shown = {name: [s for s in sample.statistics if s.n] for name, sample in self.samples.items()}
        n_columns = len(columns)
        if not any(math.isfinite(s.excess) for statistics in shown.values() for s in statistics):
            n_columns -= 1  # no smallest possible errors
        for name, statistics in shown.items():
            rows = tuple(_statistic_row(s)[:n_columns] for s in statistics)
            result.append(TextTable(f"Measured against true, {name} sources", columns[:n_columns], rows))
        return tuple(result)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, without the arrays, ready for JSON: what is not known is None."""
        return {
            "tolerance": self.tolerance,
            "unit": self.unit,
            "n_matched": self.completeness.part,
            "n_false": int(self.false.size),
            "n_missed": int(self.missed.size),
            "completeness": _plain(self.completeness),
            "purity": _plain(self.purity),
            "bins": [_plain(b) for b in self.bins],
            "samples": {
                name: {
                    "completeness": _plain(sample.completeness),
                    "statistics": {s.name: _plain(s) for s in sample.statistics},
                }
                for name, sample in self.samples.items()
            },
        }


def validate(
    catalog: Any,
    truth: Any,
    *,
    beam_fwhm: float | None = None,
    tolerance: float | None = None,
    coordinates: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    truth_columns: Mapping[str, str | None] | None = None,
    column_units: Mapping[str, str] | None = None,
    truth_units: Mapping[str, str] | None = None,
    limits: Any = None,
    counted: ArrayLike | None = None,
    neutral: ArrayLike | None = None,
    rms: float | None = None,
    snr_edges: Sequence[float] = SNR_EDGES,
    isolation: float = 2.0,
    min_elongation: float = 1.1,
) -> Validation:
    """Compare any catalogue with the truth.

    Parameters
    ----------
    catalog : Extraction, Table or mapping of columns
        With Hyper-Py's column names or those that `columns` and `truth_columns` give. Positions are
        needed; every other quantity is compared where both tables have it.
    truth : Simulation, Table or mapping of columns
        The same for what is true.
    beam_fwhm : float, optional
        Geometric mean FWHM of the beam: pixels when matching by X and Y, arcsec by RA and DEC. An extraction
        and a simulation know it; of tables it must be given.
    tolerance : float, optional
        Largest distance of a match, in the unit of `beam_fwhm`; half of it by default.
    coordinates : {"pixel", "sky"}, optional
        Match by X and Y or by RA and DEC; by default pixels if both tables have them.
    columns, truth_columns : mapping, optional
        From Hyper-Py's column name to the table's; None hides a column.
    column_units, truth_units : mapping, optional
        Units by Hyper-Py's column name, in place of the table's own. A column without a unit has that
        of its counterpart.
    limits : Table or mapping of columns, optional
        Smallest possible errors of each row of the truth (as `Simulation.limits` gives them). Its columns are
        named like the catalogue's error columns. By default the truth's own error columns, if it has any.
    counted : array_like of bool, shape (n_truth,), optional
        False for true sources that no finder is expected to find, such as those inside the border margin
        (`hyper_py.validation.matching.inside_margin`). They and the detections that match them count neither
        for nor against the catalogue. For an extraction and a simulation these are the sources within half
        a beam of the border or of blank pixels.
    neutral : array_like of bool, shape (n_catalog,), optional
        True for detections that are not false where they match nothing, such as those on the clumps of a
        complex (`hyper_py.simulation.complexes.on_clumps`).
    rms : float, optional
        Noise in the truth's unit of FLUX_PEAK. With it the signal to noise is FLUX_PEAK / rms in both tables,
        without it the column SNR.
    snr_edges : sequence of float
        Edges of the bins of signal to noise.
    isolation : float
        A true source is isolated when no other is within this many beams.
    min_elongation : float
        Position angles are compared where the true axis ratio is at least this.

    Returns
    -------
    Validation

    Raises
    ------
    ConfigurationError
        For an unknown column name or option.
    InputError
        For a table without positions, a column that is not there, or units that cannot be converted.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    >>> result = hyper_py.validate(hyper_py.extract_sources(sky.image), sky)
    >>> result.completeness.value, result.purity.value
    (1.0, 1.0)
    """
    image = None
    if isinstance(catalog, Extraction):
        image, catalog = catalog.image, catalog.catalog
    of_beam = image or getattr(truth, "image", None)
    truth = getattr(truth, "truth", truth)
    if of_beam is not None and beam_fwhm is None:
        is_pixel = match_in_pixels(
            coordinates,
            SourceTable("catalogue", catalog, columns, column_units),
            SourceTable("truth", truth, truth_columns, truth_units),
        )
        beam_fwhm = of_beam.beam_fwhm_pix if is_pixel else of_beam.beam.fwhm
    if beam_fwhm is None:
        raise ConfigurationError(
            "beam_fwhm=: give the FWHM of the beam, in pixels to match by X and Y, in arcsec by RA and DEC"
        )
    if image is not None and counted is None and truth_columns is None and {"X", "Y"} <= set(truth.colnames):
        counted = inside_margin(
            truth["X"], truth["Y"], valid=np.isfinite(image.data), margin=_MARGIN_BEAMS * image.beam_fwhm_pix
        )
    for name, value in (("beam_fwhm", beam_fwhm), ("tolerance", tolerance)):
        if value is not None and not (isinstance(value, int | float | np.number) and value > 0):
            raise ConfigurationError(f"{name}={value}: must be positive, a number of pixels or arcsec")
    found = SourceTable("catalogue", catalog, columns, column_units)
    true = SourceTable("truth", truth, truth_columns, truth_units)
    best = true if limits is None else SourceTable("limits", limits, None, None)
    if len(best.table) != len(true.table):
        raise ConfigurationError(f"limits has {len(best.table)} rows for {len(true.table)} true sources")
    in_pixels = match_in_pixels(coordinates, found, true)
    points, true_points = found.points(in_pixels), true.points(in_pixels)
    if not np.isfinite(true_points).all():
        raise InputError("truth: every source needs a finite position; remove the rows without one")
    tolerance = 0.5 * beam_fwhm if tolerance is None else tolerance
    matches = _Matches.make(points, true_points, tolerance=tolerance, counted=counted, neutral=neutral)
    i, j = matches.rows
    is_found, count = matches.is_found, matches.counted
    alone = is_isolated(true_points, distance=isolation * beam_fwhm)
    snr_true, snr_measured = true.snr(rms, true), found.snr(rms, true)
    comparisons = tuple(compare(found, true, best, rows=(i, j), min_elongation=min_elongation))
    comparisons += (separation(points[i], true_points[j], "pix" if in_pixels else "arcsec"),)
    return Validation(
        tolerance=tolerance,
        unit="pix" if in_pixels else "arcsec",
        completeness=_share(is_found, count),
        purity=_share(matches.is_true, matches.judged),
        bins=_bins(snr_edges, matches, snr_true=snr_true, snr_measured=snr_measured),
        samples={
            name: Sample(
                completeness=_share(is_found, count & of),
                statistics=tuple(c.statistic(of[j]) for c in comparisons),
            )
            for name, of in (("all", np.ones_like(alone)), ("isolated", alone), ("blended", ~alone))
        },
        comparisons=comparisons,
        matched=(i, j),
        false=np.flatnonzero(matches.judged & ~matches.is_true),
        missed=np.flatnonzero(count & ~is_found),
        isolated=alone[j],
        snr_true=snr_true,
        snr_measured=snr_measured,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Matches:
    """Which rows of catalogue and truth belong together.

    Attributes
    ----------
    rows : tuple of two ndarrays of int, shape (k,)
        Rows of the catalogue and of the truth, of the counted pairs.
    is_true, judged : ndarray of bool, shape (n_found,)
        Detections that match a counted true source; detections that count for or against the catalogue.
    is_found, counted : ndarray of bool, shape (n_truth,)
        True sources that are found; true sources that count.
    """

    rows: tuple[IndexArray, IndexArray]
    is_true: BoolArray
    judged: BoolArray
    is_found: BoolArray
    counted: BoolArray

    @classmethod
    def make(
        cls,
        points: FloatArray,
        true_points: FloatArray,
        *,
        tolerance: float,
        counted: ArrayLike | None,
        neutral: ArrayLike | None,
    ) -> _Matches:
        """Match one to one; neutral detections, and those of truth that does not count, are not judged."""
        i, j = match_positions(points, true_points, tolerance=tolerance)
        count = np.ones(len(true_points), bool) if counted is None else np.asarray(counted, dtype=bool)
        if count.shape != (len(true_points),):
            raise ConfigurationError(f"counted has shape {count.shape} for {len(true_points)} true sources")
        judged = np.ones(len(points), dtype=bool)
        judged[i[~count[j]]] = False
        i, j = i[count[j]], j[count[j]]
        is_true, is_found = np.zeros(len(points), dtype=bool), np.zeros(len(true_points), dtype=bool)
        is_true[i], is_found[j] = True, True
        if neutral is not None:
            judged &= is_true | ~np.asarray(neutral, dtype=bool)
        return cls(rows=(i, j), is_true=is_true, judged=judged, is_found=is_found, counted=count)


def _share(part: BoolArray, of: BoolArray) -> Fraction:
    return binomial_fraction(int(np.count_nonzero(part & of)), int(np.count_nonzero(of)))


def _bins(
    edges: Sequence[float], matches: _Matches, *, snr_true: FloatArray, snr_measured: FloatArray
) -> tuple[Bin, ...]:
    """Return completeness and purity by signal to noise; bins without a source are left out."""
    bins = (
        Bin(
            low=low,
            high=high,
            completeness=_share(matches.is_found, matches.counted & (snr_true >= low) & (snr_true < high)),
            purity=_share(matches.is_true, matches.judged & (snr_measured >= low) & (snr_measured < high)),
        )
        for low, high in pairwise(edges)
    )
    return tuple(b for b in bins if b.completeness.whole or b.purity.whole)


def _percent(share: Fraction) -> str:
    if not share.whole:
        return "-"
    low, high = 100 * share.low, 100 * share.high
    return f"{100 * share.value:.1f}% ({low:.1f} - {high:.1f})  {share.part}/{share.whole}"


def _statistic_row(s: Statistic) -> tuple[str, ...]:
    def number(value: float, form: str) -> str:
        return format(value, form) if math.isfinite(value) else "-"

    form, end = ("+.1%", "") if not s.unit else ("+.3g", f" {s.unit}")
    spread = form.replace("+", "")
    values = [number(s.bias, form) + end, number(s.scatter, spread) + end, number(s.rms, spread) + end]
    pulls = [number(s.pull_median, "+.2f"), number(s.pull_width, ".2f"), number(s.pull_within, ".0%")]
    return (s.name, str(s.n), *values, *pulls, number(s.excess, ".2f"))


def _plain(record: Fraction | Bin | Statistic) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in vars(record).items():
        if isinstance(value, Fraction):
            result[name] = _plain(value)
        elif isinstance(value, float):
            result[name] = value if math.isfinite(value) else None
        else:
            result[name] = value
    if isinstance(record, Fraction):
        result["value"] = record.value if record.whole else None
    return result
