"""The completeness curve of a comparison with a truth: what injections into that map should find."""

import math

import numpy as np

from hyper_py.injection.curve import CompletenessCurve, Limit, completeness_curve
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
            _limit_text(one, curve),
            "-" if math.isnan(one.low) else f"{one.low:.3g} - {one.high:.3g}",
        )
        for one in curve.limits
    )
    return TextTable("Limits of the smooth curve", ("completeness", "signal to noise", "68%"), rows)


def _limit_text(limit: Limit, curve: CompletenessCurve) -> str:
    """Return a limit in words; one below all sources is not known."""
    if math.isfinite(limit.value):
        return f"{limit.value:.3g}"
    return f"below {curve.x[0]:.3g}" if curve.curve.min() > limit.level else "not reached"
