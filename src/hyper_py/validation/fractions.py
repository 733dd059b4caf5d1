"""Shares of a number of trials, with their confidence intervals."""

import math
from dataclasses import dataclass
from statistics import NormalDist

ONE_SIGMA = 0.6827


@dataclass(frozen=True, kw_only=True)
class Fraction:
    """A share `part` of `whole` with its Wilson interval (Wilson 1927, JASA 22, 209)."""

    part: int
    whole: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself; NaN when nothing was counted."""
        return self.part / self.whole if self.whole else math.nan


def binomial_fraction(part: int, whole: int, *, level: float = ONE_SIGMA) -> Fraction:
    """Return part/whole with the Wilson interval of the given confidence level; (0, 1) for 0 of 0."""
    if not whole:
        return Fraction(part=0, whole=0, low=0.0, high=1.0)
    z = NormalDist().inv_cdf(0.5 * (1.0 + level))
    p, weight = part / whole, 1.0 / (1.0 + z * z / whole)
    centre = weight * (p + z * z / (2 * whole))
    half = weight * z * math.sqrt(p * (1 - p) / whole + (z / (2 * whole)) ** 2)
    low = 0.0 if part == 0 else centre - half
    return Fraction(part=part, whole=whole, low=low, high=1.0 if part == whole else centre + half)
