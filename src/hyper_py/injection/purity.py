"""How many rows of a catalogue are false: those of maps that have the noise of this one and no sources."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.stats import binom

from hyper_py.arrays import FloatArray
from hyper_py.image import SkyImage
from hyper_py.injection.binomial import poisson_interval
from hyper_py.injection.sensitivity import filled, periodic_part
from hyper_py.injection.setup import InjectionSetup
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import extract_sources

_NEAREST_ROWS = 20
_LEAST_DECAY = 0.1
"""Of the signal to noise of false rows, where too few are there to measure it."""
_STEP = 0.25
_CHANCE = 0.01


def inverted_map(setup: InjectionSetup) -> SkyImage:
    """Return the map without its sources, its deviations from the mean of the other sign."""
    residual = setup.image.data - gaussians.render(setup.known, setup.image.shape)
    return setup.image.with_data(2.0 * setup.sensitivity.mean - residual)


def surrogate_map(setup: InjectionSetup, *, seed: tuple[int, ...]) -> SkyImage:
    """Return a map without sources of the same spectrum, local level and blanks, and random phases.

    Phase randomisation (Theiler et al. 1992, Physica D 58, 77) of the map without sources over its local
    level. What is not Gaussian in the map, such as the tails of cirrus, is lost.
    """
    sensitivity = setup.sensitivity
    field = periodic_part(filled(sensitivity.flattened))
    white = fft.rfft2(np.random.default_rng(seed).standard_normal(field.shape))
    surrogate = fft.irfft2(np.abs(fft.rfft2(field)) * white / np.abs(white), s=field.shape)
    known = sensitivity.valid
    surrogate *= np.std(sensitivity.flattened[known]) / np.std(surrogate[known])
    surrogate -= surrogate[known].mean() - sensitivity.flattened[known].mean()
    return setup.image.with_data(np.where(known, surrogate * sensitivity.rms + sensitivity.mean, np.nan))


def false_rows(image: SkyImage, setup: InjectionSetup) -> FloatArray:
    """Return the signal to noise of what the pipeline finds on a map without sources, shape (n,)."""
    table = extract_sources(image, options=setup.options).catalog
    return np.asarray(table["SNR"], dtype=np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Purity:
    """What was found where there is nothing, beside what was found on the map.

    Attributes
    ----------
    threshold : float
        Signal to noise at which the catalogue begins (`detection.sigma_thres`).
    rows : ndarray, shape (n,)
        Signal to noise of the rows of the catalogue.
    inverted : ndarray, shape (k,)
        Of those on the inverted map.
    surrogates : tuple of ndarray
        Of those on each surrogate.
    """

    threshold: float
    rows: FloatArray
    inverted: FloatArray
    surrogates: tuple[FloatArray, ...]

    @property
    def has_tails(self) -> bool:
        """Whether the inverted map has more false rows than Gaussian surrogates explain.

        It does where as many would be there by chance in one map of a hundred.
        """
        counts = [len(one) for one in (self.inverted, *self.surrogates)]
        return bool(binom.sf(counts[0] - 1, sum(counts), 1.0 / len(counts)) < _CHANCE)

    @property
    def n_maps(self) -> int:
        """Maps without sources that are counted: the inverted one alone where it `has_tails`, else all."""
        return 1 if self.has_tails else 1 + len(self.surrogates)

    @property
    def false(self) -> FloatArray:
        """Signal to noise of all rows found on these maps."""
        return self.inverted if self.has_tails else np.concatenate([self.inverted, *self.surrogates])

    @property
    def _decay(self) -> float:
        false = self.false
        above = false[false >= self.threshold] - self.threshold
        return max(float(above.mean()), _LEAST_DECAY) if above.size else _LEAST_DECAY

    def expected_false(self, threshold: float | None = None) -> float:
        """Return the expected number of false rows above a threshold, that of the catalogue by default.

        Their number above the catalogue's threshold is counted; above that it falls exponentially,
        with the mean excess of the counted ones (the maximum of the likelihood).
        """
        n = self.false.size / self.n_maps
        if threshold is None or threshold <= self.threshold:
            return n
        return n * math.exp(-(threshold - self.threshold) / self._decay)

    def expected_interval(self) -> tuple[float, float]:
        """Return the 1-sigma interval of the expected number at the catalogue's threshold."""
        low, high = poisson_interval(self.false.size)
        return float(low) / self.n_maps, float(high) / self.n_maps

    def purity(self, threshold: float | None = None) -> float:
        """Return the share of true rows above a threshold; NaN if there is no row."""
        cut = -math.inf if threshold is None else threshold
        n = np.count_nonzero(self.rows >= cut)
        return max(0.0, 1.0 - self.expected_false(threshold) / n) if n else math.nan

    def thresholds(self) -> FloatArray:
        """Return thresholds from that of the catalogue up to where less than 0.05 false rows are expected."""
        values, most = [self.threshold], self.threshold + 40 * _STEP
        while self.expected_false(values[-1]) > 0.05 and values[-1] < most:
            values.append(values[-1] + _STEP)
        return np.array(values)

    def threshold_for(self, purity: float) -> float:
        """Return the lowest threshold, in hundredths, from that of the catalogue, of at least a purity.

        NaN if there is none with rows above it.
        """
        for threshold in np.arange(
            self.threshold, max(self.rows.max(initial=0.0), self.threshold) + 0.01, 0.01
        ):
            share = self.purity(None if threshold == self.threshold else float(threshold))
            if share >= purity:
                return float(round(threshold, 2))
        return math.nan

    def probability_true(self, snr: FloatArray) -> FloatArray:
        """Return the probability that rows are true, by their signal to noise, shape (n,).

        One minus the density of expected false rows over that of the catalogue's rows, which is taken from
        the 20 nearest ones; made to rise with signal to noise.
        """
        rows = np.sort(self.rows[np.isfinite(self.rows)])
        result = np.full(snr.shape, np.nan)
        if not rows.size:
            return result
        k, n_false = min(_NEAREST_ROWS, rows.size), self.expected_false()
        order = np.argsort(snr)
        highest = 0.0
        for index in order[np.isfinite(snr[order])]:
            distance = np.sort(np.abs(rows - snr[index]))[k - 1] or _LEAST_DECAY
            low, high = max(snr[index] - distance, self.threshold), snr[index] + distance
            false = n_false * (
                math.exp(-(low - self.threshold) / self._decay)
                - math.exp(-max(high - self.threshold, 0.0) / self._decay)
            )
            highest = max(highest, min(1.0, max(0.0, 1.0 - false / k)))
            result[index] = highest
        return result
