"""The completeness curve of a comparison with a truth: what injections into that map should find."""

import math

import numpy as np

from hyper_py.injection.curve import CompletenessCurve, completeness_curve
from hyper_py.validation.validation import TextTable, Validation

FEWEST = 20
"""True sources of known signal to noise that a curve needs."""


def curve_of_validation(validation: Validation) -> CompletenessCurve | None:
    """Return completeness against true signal to noise; None where too few sources have one."""
    found, missed = validation.matched[1], validation.missed
    snr = validation.snr_true[np.concatenate([found, missed])]
    recovered = np.arange(snr.size) < found.size
    known = np.isfinite(snr) & (snr > 0.0)
    if np.count_nonzero(known) < FEWEST:
        return None
    return completeness_curve(snr[known], recovered[known])


def limits_table(curve: CompletenessCurve) -> TextTable:
    """Return the limits of a curve as a table of words."""
    rows = tuple(
        (
            f"{one.level:.0%}",
            "not reached" if math.isnan(one.value) else f"{one.value:.3g}",
            "-" if math.isnan(one.low) else f"{one.low:.3g} - {one.high:.3g}",
        )
        for one in curve.limits
    )
    return TextTable("Limits of the smooth curve", ("completeness", "signal to noise", "68%"), rows)
