"""What is fitted on a map: the map, the sources to start from, and how they are divided into groups."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import Plane, combined, kept_like, size_of

MOST_GROWTH = 2.5
"""Detections in groups, and those that are lost as they fill the largest size, are fitted with at most this
multiple of the size that they were found with: what may be of any size takes the light of all others."""
AT_LARGEST = 0.999
"""Share of the largest size that fills it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FitProblem:
    """What is to be measured, in pixels and Jy/pixel.

    Attributes
    ----------
    data : ndarray or Plane, shape (ny, nx)
    usable : bool ndarray or Plane, shape (ny, nx)
        False, or 0, where blank.
    rms : float or ndarray, shape (ny, nx)
        Noise of the map; a Plane if `data` is one.
    start : ndarray, shape (n, 6)
        Starting values: peak, position and the shape of the beam, or what was given.
    snr : ndarray, shape (n_given,)
        Significance of the detections, which come first; NaN of given positions.
    fixed : bool ndarray, shape (n, 6)
        Parameters that keep their start.
    prior_variance : ndarray, shape (n, 6)
        How uncertain the fixed ones are; 0 where they are given.
    shift : ndarray, shape (n,)
        Largest move of a centre along x or y, in pixels.
    largest_sigma : ndarray, shape (n,)
        Of each source by itself, in pixels; infinite where only the limit of all holds.
    partition : sequence of int ndarray
        Sources to be fitted together, group by group.
    beam_fwhm, beam_area : float
        Geometric mean FWHM and area of the beam, in pixels.
    beam_covariance : ndarray, shape (2, 2)
        At the middle of the map.
    forced : bool
        Whether positions were given, so that negative fluxes are allowed.
    relative_rms : Plane, shape (ny, nx), optional
        What is known beforehand of how the noise varies, of median 1.
    tile_size : int, optional
        Side of the tiles in which the map is worked on, see `hyper_py.numerics.tiles.tiles`.
    psf_residual : ndarray, shape (2 reach + 1, 2 reach + 1), optional
        The known PSF less the Gaussian of peak 1 that fits it, which is at the central pixel.
    psf_is_dirty : bool
        Whether that is the dirty beam of an interferometer.
    beside : ndarray, shape (k, 6)
        Sources of the other sign that were subtracted from the map.
    """

    data: Plane
    usable: Plane | BoolArray
    rms: float | FloatArray
    start: FloatArray
    snr: FloatArray
    fixed: BoolArray
    prior_variance: FloatArray
    shift: FloatArray
    largest_sigma: FloatArray
    partition: Sequence[IntArray]
    beam_fwhm: float
    beam_area: float
    beam_covariance: FloatArray
    forced: bool
    relative_rms: Plane | None = None
    tile_size: int | None = None
    psf_residual: FloatArray | None = None
    psf_is_dirty: bool = False
    beside: FloatArray = field(default_factory=lambda: np.empty((0, gaussians.N_PARAMETERS)))

    def without(self, sources: FloatArray) -> Plane:
        """Return the map less sources (n, 6); an array if the map is one."""
        light = gaussians.drawn(sources, size_of(self.data))
        return kept_like(combined(np.subtract, self.data, light), self.data)

    def size_limits(self, smallest: float, largest: float, *, round_beam: bool) -> tuple[float, float]:
        """Return the smallest and largest sigma in pixels of sources, given in beams.

        They are counted by the minor and the major axis of the beam, or both by the mean of a round one.
        """
        sigmas = (self.beam_fwhm / FWHM_PER_SIGMA,) * 2
        if not round_beam:
            minor, major = np.sqrt(np.linalg.eigvalsh(self.beam_covariance))
            sigmas = float(minor), float(major)
        return smallest * sigmas[0], largest * sigmas[1]

    def with_shapes(self, sources: FloatArray) -> "FitProblem":
        """Return the problem that starts at the shapes of sources (n, 6), where these are not fixed."""
        start, free = self.start.copy(), ~self.fixed[:, gaussians.SIGMA_1]
        start[free, gaussians.SIGMA_1 :] = sources[free, gaussians.SIGMA_1 :]
        return replace(self, start=start)

    def only(self, kept: BoolArray) -> "FitProblem":
        """Return the problem of some of the sources; groups without any are left out."""
        new = np.cumsum(kept) - 1
        return replace(
            self,
            start=self.start[kept],
            snr=self.snr[kept[: self.snr.size]],  # those that were added come after
            fixed=self.fixed[kept],
            prior_variance=self.prior_variance[kept],
            shift=self.shift[kept],
            largest_sigma=self.largest_sigma[kept],
            partition=[new[own[kept[own]]] for own in self.partition if kept[own].any()],
        )
