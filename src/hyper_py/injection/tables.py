"""What is known of completeness, accuracy and purity, as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import QTable

from hyper_py.injection.accuracy import Accuracy
from hyper_py.injection.bands import BandsCompleteness
from hyper_py.injection.binomial import jeffreys_interval
from hyper_py.injection.completeness import QUANTITIES, Completeness
from hyper_py.injection.curve import CompletenessCurve
from hyper_py.injection.drawing import KINDS

_DESCRIPTIONS = {
    "SHAPE": "beam: beam-sized injected sources; own: with the sizes of the map's own",
    "QUANTITY": "What completeness is against: true peak flux, true flux, or expected signal to noise",
    "BAND": "Band; of injected sources with a joint signal to noise of 8 and more",
    "UNIT": "Unit of LOW, HIGH or LIMIT",
    "LOW": "Lower edge of the bin",
    "HIGH": "Upper edge of the bin",
    "N_INJECTED": "Injected sources",
    "N_FOUND": "Injected sources that were found",
    "COMPLETENESS": "N_FOUND over N_INJECTED",
    "COMPLETENESS_LOW": "Lower end of its 68% Jeffreys interval",
    "COMPLETENESS_HIGH": "Upper end of its 68% Jeffreys interval",
    "CURVE": "Smooth curve at the centre of the bin",
    "CURVE_LOW": "Lower end of its 68% band",
    "CURVE_HIGH": "Upper end of its 68% band",
    "LEVEL": "Completeness",
    "LIMIT": "Where the smooth curve reaches it",
    "LIMIT_LOW": "Lower end of its 68% interval",
    "LIMIT_HIGH": "Upper end of its 68% interval",
    "BY": "SNR: by expected signal to noise; NEIGHBOUR: by beams to the nearest source of the catalogue",
    "FLUX_BIAS": "Median of measured / true flux - 1",
    "FLUX_SCATTER": "1.4826 MAD of measured / true flux",
    "FLUX_PULL": "Median of (measured - true) / error of the flux",
    "FLUX_PULL_WIDTH": "1.4826 MAD of (measured - true) / error of the flux: 1 for true errors",
    "PEAK_BIAS": "Median of measured / true peak flux - 1",
    "PEAK_SCATTER": "1.4826 MAD of measured / true peak flux",
    "PEAK_PULL": "Median of (measured - true) / error of the peak flux",
    "PEAK_PULL_WIDTH": "1.4826 MAD of (measured - true) / error of the peak flux: 1 for true errors",
    "POSITION_SCATTER": "1.4826 MAD of measured - true x and y, pixels",
    "POSITION_PULL_WIDTH": "1.4826 MAD of (measured - true) / error of x and y: 1 for true errors",
    "PULL_WIDTH_ERR": "Standard error of the widths of pulls, over the width",
    "THRESHOLD": "Signal to noise from which rows are counted",
    "N_ROWS": "Rows of the catalogue",
    "N_INVERTED": "Rows found on the inverted map",
    "N_SURROGATES": "Mean number of rows found on maps of the same noise without sources",
    "EXPECTED_FALSE": "Expected number of false rows",
    "PURITY": "1 - EXPECTED_FALSE / N_ROWS",
}


def completeness_tables(result: Completeness) -> dict[str, QTable]:
    """Return all tables by name: completeness, limits, accuracy, purity."""
    return {
        "completeness": _table(_completeness_rows(result)),
        "limits": _table(_limit_rows(result)),
        "accuracy": _table(
            [*_accuracy_rows("SNR", result.accuracy), *_accuracy_rows("NEIGHBOUR", result.surroundings)]
        ),
        "purity": _table(_purity_rows(result)),
    }


def _table(rows: Sequence[dict[str, Any]]) -> QTable:
    table = QTable()
    for name in rows[0]:
        table[name] = np.array([row[name] for row in rows])
        table[name].info.description = _DESCRIPTIONS[name]
    return table


def bands_tables(result: BandsCompleteness) -> dict[str, QTable]:
    """Return the tables of several bands by name: completeness, limits, accuracy."""
    curves = [
        ({"QUANTITY": name, "UNIT": result.units[name]}, curve) for name, curve in result.curves.items()
    ]
    accuracy = [
        {
            "BAND": one.band, "N_FOUND": one.n, "FLUX_BIAS": one.bias, "FLUX_SCATTER": one.scatter,
            "FLUX_PULL_WIDTH": one.pull_width,
        }
        for one in result.accuracy
    ]  # fmt: skip
    return {
        "completeness": _table([row for about, curve in curves for row in _bin_rows(about, curve)]),
        "limits": _table([row for about, curve in curves for row in _limits_of(about, curve)]),
        "accuracy": _table(accuracy),
    }


def _curves(result: Completeness) -> list[tuple[dict[str, Any], CompletenessCurve]]:
    return [
        (
            {"SHAPE": shape, "QUANTITY": quantity, "UNIT": result.units[quantity]},
            result.curve(quantity, shape=shape),
        )
        for shape in KINDS
        for quantity in QUANTITIES
    ]


def _completeness_rows(result: Completeness) -> list[dict[str, Any]]:
    return [row for about, curve in _curves(result) for row in _bin_rows(about, curve)]


def _limit_rows(result: Completeness) -> list[dict[str, Any]]:
    return [row for about, curve in _curves(result) for row in _limits_of(about, curve)]


def _bin_rows(about: Mapping[str, Any], curve: CompletenessCurve) -> list[dict[str, Any]]:
    """Return a curve bin by bin; `about` says what curve it is."""
    low, high = jeffreys_interval(curve.recovered, curve.injected)
    band = curve.band(curve.centres)
    smooth, shares = curve(curve.centres), curve.shares
    return [
        {
            **about, "LOW": curve.edges[k], "HIGH": curve.edges[k + 1],
            "N_INJECTED": int(curve.injected[k]), "N_FOUND": int(curve.recovered[k]),
            "COMPLETENESS": shares[k], "COMPLETENESS_LOW": low[k], "COMPLETENESS_HIGH": high[k],
            "CURVE": smooth[k], "CURVE_LOW": band[0][k], "CURVE_HIGH": band[1][k],
        }
        for k in range(curve.injected.size)
    ]  # fmt: skip


def _limits_of(about: Mapping[str, Any], curve: CompletenessCurve) -> list[dict[str, Any]]:
    return [
        {
            **about, "LEVEL": limit.level, "LIMIT": limit.value, "LIMIT_LOW": limit.low,
            "LIMIT_HIGH": limit.high,
        }
        for limit in curve.limits
    ]  # fmt: skip


def _accuracy_rows(by: str, bins: Sequence[Accuracy]) -> list[dict[str, Any]]:
    return [
        {
            "BY": by, "LOW": one.low, "HIGH": one.high, "N_INJECTED": one.n_injected, "N_FOUND": one.n,
            "FLUX_BIAS": one.flux_bias, "FLUX_SCATTER": one.flux_scatter,
            "FLUX_PULL": one.flux_pull, "FLUX_PULL_WIDTH": one.flux_pull_width,
            "PEAK_BIAS": one.peak_bias, "PEAK_SCATTER": one.peak_scatter,
            "PEAK_PULL": one.peak_pull, "PEAK_PULL_WIDTH": one.peak_pull_width,
            "POSITION_SCATTER": one.position_scatter, "POSITION_PULL_WIDTH": one.position_pull_width,
            "PULL_WIDTH_ERR": one.pull_width_error,
        }
        for one in bins
    ]  # fmt: skip


def _purity_rows(result: Completeness) -> list[dict[str, Any]]:
    purity = result.purity
    rows = []
    for threshold in purity.thresholds():
        # At the catalogue's own threshold all its rows count: deblended ones may be fainter.
        cut = None if threshold == purity.threshold else float(threshold)
        least = -np.inf if cut is None else cut
        counts = [np.count_nonzero(one >= least) for one in purity.surrogates]
        rows.append(
            {
                "THRESHOLD": float(threshold),
                "N_ROWS": int(np.count_nonzero(purity.rows >= least)),
                "N_INVERTED": int(np.count_nonzero(purity.inverted >= least)),
                "N_SURROGATES": float(np.mean(counts)) if counts else float("nan"),
                "EXPECTED_FALSE": purity.expected_false(cut),
                "PURITY": purity.purity(cut),
            }
        )
    return rows
