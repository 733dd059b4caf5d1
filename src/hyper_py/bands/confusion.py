"""Errors that neighbours which were not found give to those that were.

A neighbour too near or too faint to be told apart is no noise that a map shows away from sources: its light
is in the source that hides it. How many there may be is known from the list itself: how often a source has
another beside it, and how bright sources are. With n the number of sources for each arcsec^2 beside one, and
f_j the fluxes of the N sources of the list, a place of area a hides one like j with the relative probability

    w_pj = n a / N exp(s_p^T f_j - f_j^T S_p f_j / 2)

to that of no neighbour, which is 1 (the likelihood ratio of both; s and S: `score`). What the neighbour would
do to position, shape and fluxes is known to first order, and its mean square is added to their covariance.
The values stay those of the fit: where two models are possible, the errors say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.bands.band import Band
from hyper_py.bands.blocks import Block, FieldView
from hyper_py.bands.estimates import SHAPE_PARAMETERS, Estimates
from hyper_py.bands.group_fit import ShapePrior
from hyper_py.bands.score import further_source
from hyper_py.bands.splitting import PLACE_STEP, places_beside
from hyper_py.numerics.pairs import pairs_within

MOST_IN_POPULATION = 300
"""Sources of the list that stand for all, evenly by brightness."""
_LARGEST_EXPONENT = 50.0


@dataclass(frozen=True, kw_only=True, eq=False)
class HiddenNeighbours:
    """What neighbours that a source may hide do to it.

    Attributes
    ----------
    probability : float
        That it hides one.
    theta : ndarray, shape (5, 5)
        Mean square of what they do to its position and shape.
    flux : ndarray, shape (n_blocks, n_blocks)
        The same for its fluxes.
    """

    probability: float
    theta: FloatArray
    flux: FloatArray


def with_confusion(bands: Sequence[Band], estimates: Estimates, *, prior: ShapePrior) -> Estimates:
    """Return sources with what neighbours that were not found may do to them in their errors.

    Parameters
    ----------
    bands : sequence of Band
        With their noise.
    estimates : Estimates
        As the last fit left them.
    prior : ShapePrior
        Of intrinsic shapes, as in that fit.
    """
    estimates = estimates.copied()
    density = neighbour_density(estimates.position, distance=float(np.median([band.fwhm for band in bands])))
    view, weight = FieldView.of(bands, estimates), np.append(np.zeros(2), prior.sigma**-2)
    population = _population(estimates)
    for i in range(len(estimates) if density > 0.0 else 0):
        blocks = view.blocks(np.array([i]))
        theta, scale = np.append(estimates.position[i], estimates.shape[i]), float(estimates.scale[i])
        places = places_beside(estimates.position, theta, scale=scale)
        own = np.array([block.band for block in blocks], dtype=np.int64)
        like = population[estimates.seen[population][:, own].all(axis=1)]
        if not (len(blocks) and len(places) and like.size):
            continue
        hidden = hidden_neighbours(
            blocks, theta, places, shape=prior.mean, weight=weight,
            fluxes=np.maximum(estimates.flux[like][:, own], 0.0),
            expected=density * (PLACE_STEP * scale) ** 2,
        )  # fmt: skip
        estimates.covariance[i] += hidden.theta
        estimates.flux_covariance[i][np.ix_(own, own)] += hidden.flux
    return estimates


def neighbour_density(position: FloatArray, *, distance: float) -> float:
    """Return how many sources a source has beside it for each unit of area, within a distance."""
    if not len(position):
        return 0.0
    place, _ = pairs_within(position, position, np.full(len(position), distance))
    return (place.size / len(position) - 1.0) / (np.pi * distance**2)


def _population(estimates: Estimates) -> IntArray:
    order = np.argsort(-np.nan_to_num(estimates.flux).sum(axis=1), kind="stable")
    number = min(len(order), MOST_IN_POPULATION)
    return order[np.linspace(0.0, len(order) - 1.0, number).astype(np.int64)]


def hidden_neighbours(
    blocks: Sequence[Block],
    theta: FloatArray,
    places: FloatArray,
    *,
    shape: FloatArray,
    weight: FloatArray,
    fluxes: FloatArray,
    expected: float,
) -> HiddenNeighbours:
    """Return what neighbours that a source may hide do to it.

    Parameters
    ----------
    blocks, theta, places, shape, weight
        See `further_source`.
    fluxes : ndarray, shape (n, n_blocks)
        Of sources like those that may be hidden, all equally likely.
    expected : float
        How many there are at each place, before the data are looked at.
    """
    further = further_source(blocks, theta, places, shape=shape, weight=weight)
    quadratic = np.einsum("jb,mbc,jc->jm", fluxes, further.information, fluxes, optimize=True)
    exponent = np.minimum(fluxes @ further.score.T - 0.5 * quadratic, _LARGEST_EXPONENT)
    odds = expected / len(fluxes) * np.exp(exponent)
    chance = odds / (1.0 + odds.sum())
    moved = np.einsum("mpb,jb->jmp", further.moves, fluxes).reshape(-1, SHAPE_PARAMETERS)
    added = np.einsum("mcb,jb->jmc", further.adds, fluxes).reshape(-1, len(blocks))
    each = chance.reshape(-1, 1)
    return HiddenNeighbours(
        probability=float(chance.sum()), theta=moved.T @ (each * moved), flux=added.T @ (each * added)
    )
