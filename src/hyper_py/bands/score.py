"""Score test: where a further source beside a known one would lower the cost of the fit most.

The model is linear in the fluxes of the further source, one a band, and nearly so in small changes of what is
fitted already. With c_b its whitened profile in band b, orthogonal to the known flux and the local mean, D_b
the derivatives of the known source's model by position and shape, r_b the residual, g = sum D_b^T r_b and A =
sum D_b^T D_b + V^-1, its fluxes lower the cost by s^T S^-1 s with s_b = c_b^T (r_b - D_b A^-1 g) and S_bc =
c_b^T (delta_bc - D_b A^-1 D_c^T) c_c (Rao 1948, Proc. Cambridge Philos. Soc. 44, 50). No fit is needed.

A fit that does not have the further source takes up part of its light. With fluxes f it moves position and
shape by A^-1 sum D_b^T c_b f_b, and the known flux in band b by what that does to it and by f_b k_b^T c_b /
k_b^T k_b, k_b and c_b here the whitened profiles of both, orthogonal to the local mean only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.bands.blocks import Block
from hyper_py.bands.estimates import SHAPE_PARAMETERS
from hyper_py.bands.profile import unit_gaussian, unit_gaussian_and_derivatives

_LEAST_LEFT = 1e-6
"""Of a profile, outside what is fitted already: with less it is the known source once more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FurtherSource:
    """What a further source at each of m places would do, fluxes in the order of the blocks.

    Attributes
    ----------
    score : ndarray, shape (m, n_blocks)
        Half the derivative of the cost by its fluxes, with the sign of fluxes that lower it.
    information : ndarray, shape (m, n_blocks, n_blocks)
        Inverse covariance of its fluxes, everything else fitted.
    moves : ndarray, shape (m, 5, n_blocks)
        By how much position and shape of the known source are wrong for each Jy of it, if it is left out.
    adds : ndarray, shape (m, n_blocks, n_blocks)
        The same for the known fluxes (first axis after m).
    """

    score: FloatArray
    information: FloatArray
    moves: FloatArray
    adds: FloatArray

    @property
    def gains(self) -> FloatArray:
        """By how much it would lower the cost at each place, (m,); negative fluxes count as 0."""
        positive = np.maximum(self.score, 0.0)
        solved = np.linalg.solve(self.information, positive[..., None])[..., 0]
        gains: FloatArray = np.einsum("mb,mb->m", positive, solved)
        return gains


def further_source(
    blocks: Sequence[Block], theta: FloatArray, places: FloatArray, *, shape: FloatArray, weight: FloatArray
) -> FurtherSource:
    """Return what a further source would do to the fit of a known one, to first order.

    Parameters
    ----------
    blocks : sequence of Block
        Of one source, at most one a band.
    theta : ndarray, shape (5,)
        Its position and intrinsic shape, as fitted.
    places : ndarray, shape (m, 2)
        Arcsec.
    shape : ndarray, shape (3,)
        Intrinsic shape of the further source.
    weight : ndarray, shape (5,)
        Diagonal of the prior's inverse covariance V^-1.
    """
    n_blocks, m = len(blocks), len(places)
    across = np.zeros((n_blocks, SHAPE_PARAMETERS, m))
    norm, score = np.ones((n_blocks, m)), np.zeros((n_blocks, m))
    inner, gradient = np.diag(weight), np.zeros(SHAPE_PARAMETERS)
    taken, lost = np.zeros((n_blocks, m)), np.zeros((n_blocks, SHAPE_PARAMETERS))
    for b, block in enumerate(blocks):
        known = unit_gaussian_and_derivatives(block.sky - theta[None, None, :2], theta[None, 2:] + block.beam)
        further = unit_gaussian(block.sky - places[:, None], np.tile(shape + block.beam[0], (m, 1)))
        white = block.whiten(block.factor[0] * np.concatenate([known[0], further]).T)
        length = float(np.linalg.norm(white[:, 0]))
        own = white[:, 0] / length
        flux, along = float(own @ block.whitened) / length, own @ white[:, 1:]
        rest = white[:, 1:] - own[:, None] * along
        derivatives, profiles = flux * rest[:, :SHAPE_PARAMETERS], rest[:, SHAPE_PARAMETERS:]
        lost[b], taken[b] = flux * along[:SHAPE_PARAMETERS] / length, along[SHAPE_PARAMETERS:] / length
        residual = block.whitened - own * (own @ block.whitened)
        inner += derivatives.T @ derivatives
        gradient += derivatives.T @ residual
        across[b], norm[b] = derivatives.T @ profiles, np.einsum("nm,nm->m", profiles, profiles)
        score[b] = profiles.T @ residual
    solved = np.linalg.solve(inner, np.concatenate([gradient[:, None], np.hstack(list(across))], axis=1))
    score -= np.einsum("bpm,p->bm", across, solved[:, 0])
    moves = solved[:, 1:].reshape(SHAPE_PARAMETERS, n_blocks, m).transpose(2, 0, 1)
    explained = np.einsum("bpm,mpc->mbc", across, moves)
    each = np.eye(n_blocks)
    return FurtherSource(
        score=score.T, information=np.einsum("bc,bm->mbc", each, norm * (1.0 + _LEAST_LEFT)) - explained,
        moves=moves, adds=np.einsum("bc,bm->mbc", each, taken) - np.einsum("bp,mpc->mbc", lost, moves),
    )  # fmt: skip
