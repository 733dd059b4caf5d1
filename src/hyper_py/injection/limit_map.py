"""Where a source of which flux would be found: the limit as a map, following noise, coverage and crowding."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyper_py.arrays import FloatArray
from hyper_py.injection.curve import CompletenessCurve, completeness_curve, log_likelihood
from hyper_py.injection.setup import InjectionSetup
from hyper_py.numerics import gaussians

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalCompleteness:
    """Completeness by place: that at a signal to noise in which neighbours count as noise.

    Attributes
    ----------
    share : float
        Of the neighbours' light at a place that counts as noise there, in quadrature with the noise of the
        optimal filter; chosen so that signal to noise predicts recovery best.
    curve : CompletenessCurve
        Against signal to noise in that noise.
    """

    share: float
    curve: CompletenessCurve

    def noise(self, sigma: FloatArray, light: FloatArray) -> FloatArray:
        """Return noise and neighbours' light in quadrature, in the unit of both."""
        result: FloatArray = np.hypot(sigma, self.share * light)
        return result

    def limit_map(self, setup: InjectionSetup, *, level: float = 0.8) -> FloatArray:
        """Return the amplitude of a beam-sized source that is found with a probability, shape (ny, nx).

        Jy/pixel; NaN where none can be found, such as along edges.
        """
        light = gaussians.render(setup.known, setup.image.shape)
        limit = self.curve.limit(level).value * self.noise(setup.sensitivity.sigma, light)
        return np.where(setup.usable, limit, np.nan)


def local_completeness(records: NDArray[np.void], *, seed: int = 0) -> LocalCompleteness:
    """Measure completeness against signal to noise in noise and neighbours' light.

    Parameters
    ----------
    records : ndarray of `hyper_py.injection.recovery.RECORD`, shape (n,)
    seed : int
        Of the trials behind the curve's errors.
    """
    signal, found = records["amplitude"] * records["response"], records["recovered"] > 0
    likelihoods = [
        log_likelihood(signal / np.hypot(records["sigma"], share * records["light"]), found)
        for share in SHARES
    ]
    share = SHARES[int(np.argmax(likelihoods))]
    curve = completeness_curve(
        signal / np.hypot(records["sigma"], share * records["light"]), found, seed=seed
    )
    return LocalCompleteness(share=share, curve=curve)
