"""The beam of a mean of maps that have different beams."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import FloatArray
from hyper_py.geometry import GAUSSIAN_AREA, Beam, PsfResidual, ellipse_from_covariance

_MEAN_STEPS = 60
"""Each halves the distance to the solution."""
_RESIDUAL_SIGMAS = 8.0
"""Of the widest beam: half side of the image of the residual."""


def beam_of_mean(beams: Sequence[Beam], weights: ArrayLike) -> Beam:
    """Return the beam of the weighted mean of maps in Jy/pixel that have different beams.

    A point source there is the mean of Gaussians of unit flux, w_k G_k / (2 pi sqrt(det C_k)). The Gaussian
    of covariance C that is nearest to it in the sense of least squares has

        C^-1 = 2 sum_k v_k (C + C_k)^-1 / sum_k v_k,  v_k = w_k / sqrt(det(C + C_k)),

    which is solved by iteration; the area is such that the flux of a point source is right. (All integrals
    of products of Gaussians are known in closed form.)

    Parameters
    ----------
    beams : sequence of Beam
    weights : array_like, shape (n,)
    """
    if all(beam == beams[0] for beam in beams):
        return beams[0]
    w = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    own = np.array([beam.covariance for beam in beams])
    mean = np.einsum("k,kij->ij", w, own)
    for _ in range(_MEAN_STEPS):
        both = mean + own
        v = w / np.sqrt(np.linalg.det(both))
        mean = 0.5 * np.linalg.inv(np.einsum("k,kij->ij", v / v.sum(), np.linalg.inv(both)))
    peak = float(np.sum(w / (math.pi * np.sqrt(np.linalg.det(mean + own)))))
    # What a measured area has beyond the Gaussian stays the same share.
    share = float(np.sum(w * [b.solid_angle / (GAUSSIAN_AREA * b.major * b.minor) for b in beams]))
    major, minor, angle = (float(value) for value in ellipse_from_covariance(mean))
    pa = (90.0 - math.degrees(angle)) % 180.0
    return Beam(
        major=major, minor=minor, pa=pa, area=share / peak, source=f"mean of {len(beams)} beams",
        psf_residual=_residual_of_mean(own, w, mean, peak=peak),
    )  # fmt: skip


def _residual_of_mean(own: FloatArray, w: FloatArray, mean: FloatArray, *, peak: float) -> PsfResidual:
    """Return what the mean of Gaussians of unit flux has beyond that of covariance `mean`."""
    widest = math.sqrt(float(np.linalg.eigvalsh(own).max()))
    step = math.sqrt(float(np.linalg.eigvalsh(own).min())) / 3.0
    reach = int(_RESIDUAL_SIGMAS * widest / step)
    offsets = step * np.mgrid[-reach : reach + 1, -reach : reach + 1][::-1]

    def gaussian(covariance: FloatArray) -> FloatArray:
        inverse = np.linalg.inv(covariance)
        values: FloatArray = np.exp(-0.5 * np.einsum("iyx,ij,jyx->yx", offsets, inverse, offsets))
        return values

    values = -gaussian(mean)
    for weight, covariance in zip(w, own, strict=True):
        flux = 2.0 * math.pi * math.sqrt(float(np.linalg.det(covariance)))
        values += weight / (flux * peak) * gaussian(covariance)
    return PsfResidual(values=values, centre=(float(reach), float(reach)), sides=(step, step))
