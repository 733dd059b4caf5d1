"""Weights of least variance, from the covariance of the smoothed maps.

With C the covariance of the planes outside sources and r their values at the centre of a source of peak 1,
w = C^-1 r / r^T C^-1 r has the least variance w^T C w of all filters with w^T r = 1 (minimum variance
unbiased, e.g. Haehnelt & Tegmark 1996, MNRAS 279, 545, for a filter in Fourier space).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.detection.kernels import KernelFamily

RIDGES = 10.0 ** np.arange(-4.5, 0.0, 0.5)
"""Shares of each plane's variance that may be added to it. Below the first one, planes without noise beyond
the beam give filters that no real source agrees with."""
RIDGE_LOSS = 0.03
"""Of the ridges that lose no more than this share of the variance, the largest is taken: 1.5% of S/N."""
MOST_GAIN = 40.0
"""Largest sum of the moduli of the weights. Where a source differs from the template by a percent of its peak
in each plane, so many percent of its amplitude may be lost. Maps of interferometers, without noise between
the planes, else get sums of 200; simulated maps of single dishes have at most 35."""
LIKE_NOISE = 2.0
"""Sources that lack the scales that noise lacks count as this many of its sigma, see `lacking`."""
UNLIKE, ALIKE = 0.85, 0.93
"""Noise looks like a source where its second plane has the second share of that of a source, and not below
the first: 0.66 for white noise, 0.93 to 0.97 on maps of interferometers."""
CORES = np.linspace(0.3, 3.0, 271)
"""Sigma of the core of the noise in units of the beam's."""
EDGE_CLASSES = np.array([0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5])
"""Limits in beams of the classes of distance from a blank region; beyond the last one there is no edge."""
EDGE_PRIOR = 20.0
"""The covariance far from edges counts as this many beams' area of pixels of each class."""
N_FOLDS = 4
NOTHING = 1e-20
"""Variances below this share of the largest one are none."""


def least_variance_weights(covariance: FloatArray, response: FloatArray, *, ridge: ArrayLike) -> FloatArray:
    """Return the weights of least variance with a response of 1.

    Parameters
    ----------
    covariance : ndarray, shape (..., k, k)
    response : ndarray, shape (k,)
    ridge : array_like, broadcast to (...)
        Share of each variance that is added to it.

    Returns
    -------
    ndarray, shape (..., k)
    """
    variance = np.einsum("...kk->...k", covariance)
    largest = variance.max(axis=-1, keepdims=True)
    # A plane without variance must not be divided by it; where nothing is known, all count alike.
    scale = np.sqrt(np.maximum(variance, np.where(largest > 0.0, NOTHING * largest, 1.0)))
    scaled = covariance / (scale[..., :, None] * scale[..., None, :])
    scaled = scaled + np.asarray(ridge, dtype=np.float64)[..., None, None] * np.eye(response.size)
    solved = np.linalg.solve(scaled, (response / scale)[..., None])[..., 0] / scale
    weights: FloatArray = solved / np.sum(solved * response, axis=-1, keepdims=True)
    return weights


def choose_ridge(sums: FloatArray, response: FloatArray) -> float:
    """Return the largest ridge whose weights lose little on parts of the map that did not make them.

    Ridges whose weights are larger than `MOST_GAIN` are left out.

    Parameters
    ----------
    sums : ndarray, shape (n_folds, k, k)
        Sums of products of the planes over each part of the map.
    response : ndarray, shape (k,)
    """
    cost, everything = np.zeros(RIDGES.size), sums.sum(axis=0)
    gain = np.abs(_weights_by_ridge(everything, response)).sum(axis=1)
    for held_out in sums:
        rest = everything - held_out
        weights = _weights_by_ridge(rest if np.trace(rest) > 0.0 else everything, response)
        cost += np.einsum("ik,kl,il->i", weights, held_out, weights)
    cost[:-1][gain[:-1] > MOST_GAIN] = np.inf
    return float(RIDGES[np.flatnonzero(cost <= (1.0 + RIDGE_LOSS) * cost.min())[-1]])


def _weights_by_ridge(covariance: FloatArray, response: FloatArray) -> FloatArray:
    """Return the weights with each of `RIDGES`, shape (n, k)."""
    stacked = np.broadcast_to(covariance, (RIDGES.size, *covariance.shape))
    return least_variance_weights(stacked, response, ridge=RIDGES)


def lacking(family: KernelFamily, covariance: FloatArray, response: FloatArray) -> FloatArray:
    """Return what a source lacks in each plane if it has no other scales than the noise has, shape (k,).

    On maps of interferometers noise and sources have seen the same baselines. Noise has the core of the beam
    there, but less around it than a Gaussian with that core, and so has a source that was not cleaned. A
    filter that looks for it where there is no noise finds half of it.
    """
    if not covariance[0, 0] > 0.0:
        return np.zeros(response.size)
    noise = covariance[0] / covariance[0, 0] * response[0]
    alike = np.clip((noise[1] / response[1] - UNLIKE) / (ALIKE - UNLIKE), 0.0, 1.0)
    gaussians = family.response_at(CORES, np.zeros(CORES.size))
    core = np.interp(noise[1] / noise[0], gaussians[:, 1] / gaussians[:, 0], CORES)
    gaussian = family.response_at(np.array([core]), np.zeros(1))[0]
    gaussian *= response[0] / gaussian[0]
    result: FloatArray = alike * np.minimum(noise - np.minimum(gaussian, response), 0.0)
    return result


class ProductSums:
    """Sums of products of the planes over parts of the map and over classes of distance, tile by tile."""

    def __init__(self, n_planes: int) -> None:
        self.folds = np.zeros((N_FOLDS, n_planes, n_planes))
        self.classes = np.zeros((EDGE_CLASSES.size - 1, n_planes, n_planes))
        self.counts = np.zeros(EDGE_CLASSES.size - 1)
        self.count = 0

    def add(self, other: "ProductSums") -> None:
        """Add the sums of another part of the map."""
        self.count += other.count
        self.folds += other.folds
        self.classes += other.classes
        self.counts += other.counts

    def add_tile(
        self, planes: FloatArray, *, usable: BoolArray, fold: IndexArray, distance: FloatArray
    ) -> None:
        """Add a tile.

        Parameters
        ----------
        planes : ndarray, shape (k, ny, nx)
        usable : bool ndarray, shape (ny, nx)
        fold : int ndarray, shape (ny, nx)
            Which part of the map a pixel belongs to.
        distance : ndarray, shape (ny, nx)
            From blank regions in beams.
        """
        self.count += int(np.count_nonzero(usable))
        for part in range(N_FOLDS):
            self.folds[part] += _products(planes, usable & (fold == part))
        near = usable & (distance <= EDGE_CLASSES[-1])
        if near.any():
            number = np.digitize(distance, EDGE_CLASSES, right=True) - 1
            for k in range(self.counts.size):
                own = near & (number == k)
                self.classes[k] += _products(planes, own)
                self.counts[k] += np.count_nonzero(own)

    @property
    def covariance(self) -> FloatArray:
        """Of the planes at all distances, (k, k)."""
        result: FloatArray = self.folds.sum(axis=0) / max(self.count, 1)
        return result

    def weights(self, response: FloatArray, *, lacking: FloatArray, beam_area: float) -> "EdgeWeights":
        """Return the weights of each class of distance.

        Parameters
        ----------
        response : ndarray, shape (k,)
            Of the planes to a source of peak 1.
        lacking : ndarray, shape (k,)
            What sources may have less.
        beam_area : float
            FWHM^2 in pixels.
        """
        ridge = choose_ridge(self.folds, response)
        total = self.covariance
        prior = EDGE_PRIOR * beam_area
        stacked, wider = [total], total
        for own, count in zip(self.classes[::-1], self.counts[::-1], strict=True):
            wider = (own + prior * wider) / (count + prior)
            stacked.append(wider)
        first = least_variance_weights(total, response, ridge=ridge)
        variance = LIKE_NOISE**2 * (first @ total @ first)
        covariance = np.array(stacked[::-1]) + variance * np.outer(lacking, lacking)
        return EdgeWeights(
            least_variance_weights(covariance, response, ridge=np.full(len(covariance), ridge))
        )


def _products(planes: FloatArray, chosen: BoolArray) -> FloatArray:
    sample = planes[:, chosen]
    result: FloatArray = sample @ sample.T
    return result


@dataclass(frozen=True, eq=False)
class EdgeWeights:
    """Weights of the planes by distance from a blank region, linear between the middles of the classes.

    Attributes
    ----------
    values : ndarray, shape (n_classes + 1, k)
        The last row is that far from edges.
    """

    values: FloatArray

    def apply(self, planes: Iterable[FloatArray], distance: FloatArray) -> FloatArray:
        """Return the filtered map (ny, nx): the amplitude of a source at each pixel.

        The k planes come one after another, so that no more than one need be in memory.
        """
        middles = np.append(0.5 * (EDGE_CLASSES[:-1] + EDGE_CLASSES[1:]), EDGE_CLASSES[-1] + 0.5)
        near = distance < middles[-1]
        at_edge, filtered = distance[near], np.zeros(distance.shape)
        beside = np.zeros(at_edge.shape)
        planes = iter(planes)
        for weights in self.values.T:
            plane = next(planes)
            filtered += weights[-1] * plane
            beside += np.interp(at_edge, middles, weights) * plane[near]
            del plane  # before the next one is made
        filtered[near] = beside
        return filtered
