"""Cholesky factors of the covariance of sets of pixels, kept: it depends on separations only."""

from collections import OrderedDict

import numpy as np
from scipy.linalg import LinAlgError, cholesky

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.whitener_cache import largest_step

CACHE_BYTES = 12_000_000
"""Of the factors of one band: what was not used for longest is dropped first."""
LARGEST_KEPT = CACHE_BYTES // 4
"""Of one factor: larger ones belong to groups, of which hardly two have one shape."""
_FEWEST_PER_BEAM = 3.5
_WAVELENGTH_BEAMS = 1.5
_LOSS = 1.03
"""Noise power that fewer pixels may add at that wavelength, where a source has most of its own."""


class FactorCache:
    """Cholesky factors by the shape of a set of pixels.

    Parameters
    ----------
    covariance : CovarianceModel
    """

    def __init__(self, covariance: CovarianceModel) -> None:
        self._covariance = covariance
        self._known: OrderedDict[bytes, FloatArray | None] = OrderedDict()
        self._bytes = 0

    def factor(self, y: IntArray, x: IntArray) -> FloatArray | None:
        """Return the factor of the covariance of pixels (n,), (n, n); None if it is not positive definite."""
        key = np.concatenate([y - y[0], x - x[0]]).astype(np.int32).tobytes()
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        matrix = self._covariance.matrix(y, x).T  # symmetric: in LAPACK's order it needs no copy
        try:
            made: FloatArray | None = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            made = None
        if made is not None and made.nbytes > LARGEST_KEPT:
            return made
        self._known[key] = made
        self._bytes += 0 if made is None else made.nbytes
        while self._bytes > CACHE_BYTES and len(self._known) > 1:
            dropped = self._known.popitem(last=False)[1]
            self._bytes -= 0 if dropped is None else dropped.nbytes
        return made


def step_between_pixels(covariance: CovarianceModel, *, beam_fwhm: float) -> int:
    """Return the largest step between pixels at which sources lose nothing; the beam in pixels."""
    return largest_step(
        covariance, most=beam_fwhm / _FEWEST_PER_BEAM, wavelength=_WAVELENGTH_BEAMS * beam_fwhm, loss=_LOSS
    )
