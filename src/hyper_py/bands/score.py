"""Score test: where a further source beside a known one would lower the cost of the fit most.

The model is linear in the fluxes of the further source, one a band, and nearly so in small changes of what is
fitted already. With c_b its whitened profile in band b, orthogonal to the known flux and the local mean, D_b
the derivatives of the known source's model by position and shape, r_b the residual, g = sum D_b^T r_b and A =
sum D_b^T D_b + V^-1, its fluxes lower the cost by s^T S^-1 s with s_b = c_b^T (r_b - D_b A^-1 g) and S_bc =
c_b^T (delta_bc - D_b A^-1 D_c^T) c_c (Rao 1948, Proc. Cambridge Philos. Soc. 44, 50). No fit is needed.
"""

from collections.abc import Sequence

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.bands.blocks import Block
from hyper_py.bands.estimates import SHAPE_PARAMETERS
from hyper_py.bands.profile import unit_gaussian, unit_gaussian_and_derivatives

_LEAST_LEFT = 1e-6
"""Of a profile, outside what is fitted already: with less it is the known source once more."""


def further_source_gains(
    blocks: Sequence[Block], theta: FloatArray, places: FloatArray, *, shape: FloatArray, weight: FloatArray
) -> FloatArray:
    """Return by how much a further source at each place would lower the cost, (m,).

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

    Returns
    -------
    ndarray, shape (m,)
        Negative fluxes count as 0.
    """
    n_blocks, m = len(blocks), len(places)
    across = np.zeros((n_blocks, SHAPE_PARAMETERS, m))
    norm, score = np.ones((n_blocks, m)), np.zeros((n_blocks, m))
    inner, gradient = np.diag(weight), np.zeros(SHAPE_PARAMETERS)
    for b, block in enumerate(blocks):
        known = unit_gaussian_and_derivatives(block.sky - theta[None, None, :2], theta[None, 2:] + block.beam)
        further = unit_gaussian(block.sky - places[:, None], np.tile(shape + block.beam[0], (m, 1)))
        white = block.whiten(block.factor[0] * np.concatenate([known[0], further]).T)
        own = white[:, 0] / np.linalg.norm(white[:, 0])
        flux = float(own @ block.whitened) / float(own @ white[:, 0])
        rest = white[:, 1:] - own[:, None] * (own @ white[:, 1:])
        derivatives, profiles = flux * rest[:, :SHAPE_PARAMETERS], rest[:, SHAPE_PARAMETERS:]
        residual = block.whitened - own * (own @ block.whitened)
        inner += derivatives.T @ derivatives
        gradient += derivatives.T @ residual
        across[b], norm[b] = derivatives.T @ profiles, np.einsum("nm,nm->m", profiles, profiles)
        score[b] = profiles.T @ residual
    solved = np.linalg.solve(inner, np.concatenate([gradient[:, None], np.hstack(list(across))], axis=1))
    score -= np.einsum("bpm,p->bm", across, solved[:, 0])
    explained = np.einsum("bpm,pcm->mbc", across, solved[:, 1:].reshape(SHAPE_PARAMETERS, n_blocks, m))
    matrix = np.einsum("bc,bm->mbc", np.eye(n_blocks), norm * (1.0 + _LEAST_LEFT)) - explained
    positive = np.maximum(score, 0.0).T
    gains: FloatArray = np.einsum("mb,mb->m", positive, np.linalg.solve(matrix, positive[..., None])[..., 0])
    return gains
