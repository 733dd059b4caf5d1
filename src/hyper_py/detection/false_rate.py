"""How often noise alone makes a peak, and significance in terms of that.

The peaks of a filtered map are more than its beams, since a filter that takes the beam out of the noise
leaves a field that varies faster than the beam. A threshold then means another rate of false detections on
every map. So peaks are counted on the negative side, and the significance of a peak is that of the
one-sided normal deviate which as many *beams* of the map exceed by chance: above 4, a map of 30,000 beams
holds one false peak, whatever the filter.

Where the background is not Gaussian, such as log-normal cirrus, peaks are higher than holes are deep, without
any source. That is seen in the quantiles of the filtered map outside sources, where those leave no trace.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special

from hyper_py.arrays import FloatArray

REFERENCE, FALSE_SHARE = 4.0, 0.005
"""Noise alone may make this share of the detections above the reference."""
TAIL_START = 2.5
"""Peaks are counted above this many sigma."""
GAUSSIAN_SPREAD = 0.96
"""Squared width of the tail of a Gaussian field between 2.5 and 4.5 sigma, in the form used here: .91 to .96
on simulated noise, from white to that of the beam, with beams of 2 to 5 pixels. No map is taken for better
than the worst of these: above a significance of 4.5, noise has 80% of the peaks for which that stands."""
PRIOR_PEAKS = 100.0
"""As many peaks with this spread are added to those counted."""

TAIL_QUANTILE = 0.02
"""The asymmetry is measured at this quantile from either end: at some two sigma."""
GAUSSIAN_ASYMMETRY, MOST_ASYMMETRY, TAIL_FACTOR = 0.03, 0.2, 2.6
"""Gaussian maps may have the first by chance, log-normal cirrus has up to the second. What is between them is
multiplied: high peaks of cirrus come from its bright parts, which are less Gaussian than the whole map."""
CLEARLY_BACKGROUND = 2.0
"""Share of the background (`hyper_py.detection.matched.background_share`) above which that is done: 3 to 6 on
log-normal skies, 2 on a map of faint sources and some diffuse emission."""
LARGEST_CORRECTED = 6.0
"""Higher peaks are corrected by as much as this one, in units of the noise."""


@dataclass(frozen=True)
class FalseRate:
    """Expected number of false peaks of a map above s sigma, number (s / s0) exp(-(s^2 - s0^2) / 2 spread).

    For spread 1 the asymptotic form for a Gaussian field (Bond & Efstathiou 1987, MNRAS 226, 655); s0 is
    `TAIL_START`.

    Attributes
    ----------
    number : float
        Above `TAIL_START`, in the whole map.
    spread : float
    n_beams : float
        Number of beams in the map, or of trials that count as such, see `for_detections`.
    asymmetry : float
        Skewness of the high peaks of the filtered map, see `asymmetry_of_tail`.
    """

    number: float
    spread: float
    n_beams: float
    asymmetry: float = 0.0

    def symmetric(self, sigma: FloatArray) -> FloatArray:
        """Return the heights that peaks would have if the filtered map were as symmetric as noise.

        For the logarithm of a normal deviate, (exp(a z) - 1) / a, whose skewness is 3 a for small a.
        """
        if self.asymmetry == 0.0:
            return sigma
        a = self.asymmetry / 3.0
        height = np.clip(sigma, 0.0, LARGEST_CORRECTED)
        corrected: FloatArray = sigma - height + np.log1p(a * height) / a
        return corrected

    def for_detections(self, sigma: FloatArray) -> "FalseRate":
        """Return the rate for a map with these peaks (n,), in units of the noise.

        Where a map holds many sources, more false ones may be among them: their share is controlled
        (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57, 289) instead of their number. At `REFERENCE`
        at most `FALSE_SHARE` of what is above the threshold is expected to be false, and at other
        significances in proportion to the rate of a normal deviate.
        """
        trials = FALSE_SHARE / float(special.ndtr(-REFERENCE))
        sigma = self.symmetric(sigma)
        heights = np.sort(sigma[sigma >= TAIL_START])[::-1]
        above = np.arange(1, heights.size + 1)
        expected = (
            self.number * heights / TAIL_START * np.exp(-0.5 * (heights**2 - TAIL_START**2) / self.spread)
        )
        held = np.flatnonzero(expected <= FALSE_SHARE * above)
        number = above[held[-1]] if held.size else 0
        return replace(self, n_beams=max(self.n_beams, trials * number))

    def significance(self, sigma: FloatArray) -> FloatArray:
        """Return the significance of peaks of the filtered map, given in units of its noise."""
        sigma = self.symmetric(sigma)
        s = np.maximum(sigma, 0.1)
        log_number = math.log(self.number / self.n_beams) + np.log(s / TAIL_START)
        log_number = log_number - 0.5 * (s * s - TAIL_START**2) / self.spread
        # Below the start of the tail the form is not meant; it must only stay monotonic.
        significance: FloatArray = -special.ndtri_exp(np.minimum(log_number, -1e-3))
        return np.where(sigma >= TAIL_START, significance, significance * s / TAIL_START)

    def sigma(self, significance: float) -> float:
        """Return the height in units of the noise of peaks of a significance."""
        lowest, highest = TAIL_START, 10.0 * max(significance, TAIL_START)
        if self.significance(np.array([lowest]))[0] >= significance:
            return lowest

        def excess(s: float) -> float:
            return float(self.significance(np.array([s]))[0]) - significance

        return float(optimize.brentq(excess, lowest, highest))

    def threshold(self, number: float) -> float:
        """Return the significance above which a map is expected to hold a number of false peaks."""
        return -float(special.ndtri(min(number / self.n_beams, 0.5)))


def measure_asymmetry(values: FloatArray) -> float:
    """Return the skewness of a filtered map (n,) outside sources, at least 0.

    From the quantiles at two sigma, as for a deviate whose expansion about the normal one ends with the
    skewness (Cornish & Fisher 1938, Rev. Inst. Int. Stat. 5, 307). Masks and what the filter makes around
    sources only lower it.
    """
    if not values.size:
        return 0.0
    low, high = (float(np.quantile(values, q)) for q in (TAIL_QUANTILE, 1.0 - TAIL_QUANTILE))
    middle = 0.5 * (high - low)
    if not middle > 0.0:
        return 0.0
    deviate = -float(special.ndtri(TAIL_QUANTILE))
    return max(0.0, 3.0 * deviate / (deviate**2 - 1.0) * (high + low) / middle)


def asymmetry_of_tail(skewness: float, *, share: float) -> float:
    """Return the asymmetry with which the high peaks of a map are corrected, from that of all its pixels.

    On log-normal cirrus without a source twice the skewness leaves two false peaks a map of 30,000 beams, and
    2.5 times one.

    Parameters
    ----------
    skewness : float
        From `measure_asymmetry`.
    share : float
        How far it is that of the background: 0 if faint sources make it, 1 and more if knots of cirrus do.
    """
    beyond = max(0.0, min(skewness, MOST_ASYMMETRY) - GAUSSIAN_ASYMMETRY)
    clear = min(max(share - CLEARLY_BACKGROUND, 0.0), 1.0)
    return skewness * min(max(share, 0.0), 1.0) + (TAIL_FACTOR - 1.0) * beyond * clear


def measure_false_rate(
    minima: FloatArray, *, share: float, n_beams: float, asymmetry: float = 0.0
) -> FalseRate:
    """Measure the rate from the negative side.

    Parameters
    ----------
    minima : ndarray, shape (n,)
        Depths of local minima away from sources in units of the noise.
    share : float
        Share of the map in which they were looked for.
    n_beams : float
        Number of beams in the map.
    asymmetry : float
        From `asymmetry_of_tail`.
    """
    minima = minima[minima >= TAIL_START]
    prior = PRIOR_PEAKS * _mean_excess(GAUSSIAN_SPREAD)
    mean = (float(np.sum(minima**2 - TAIL_START**2)) + prior) / (minima.size + PRIOR_PEAKS)
    spread = (
        optimize.brentq(lambda v: _mean_excess(v) - mean, 0.05, 50.0) if mean < _mean_excess(49.0) else 49.0
    )
    # A map of a few beams has the number of peaks that a field with the noise of its beam has.
    number = (minima.size + PRIOR_PEAKS) / (share * n_beams + PRIOR_PEAKS / USUAL_DENSITY) * n_beams
    return FalseRate(number, max(spread, GAUSSIAN_SPREAD), n_beams, asymmetry)


USUAL_DENSITY = 0.035
"""Peaks above `TAIL_START` per beam: .018 to .053 on simulated noise."""


def _mean_excess(spread: float) -> float:
    """Return the mean of s^2 - s0^2 of peaks above s0: the integral of the tail over s^2."""
    u = 0.5 * TAIL_START**2
    return (
        2.0
        * spread
        * (1.0 + 0.5 * math.sqrt(math.pi * spread / u) * float(special.erfcx(math.sqrt(u / spread))))
    )
