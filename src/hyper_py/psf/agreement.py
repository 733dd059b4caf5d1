"""Whether many residuals have something in common."""

from typing import NamedTuple

import numpy as np

from hyper_py.arrays import FloatArray


class Agreement(NamedTuple):
    """How far residuals agree.

    Attributes
    ----------
    sigmas : float
        Sum of the products of all pairs over its standard deviation if the residuals had random signs.
    share : float
        Mean product of a pair of residuals of norm 1: the share of their power that is common.
    """

    sigmas: float
    share: float


def agreement(residuals: FloatArray) -> Agreement:
    """Compare residuals pair by pair, each with a norm of 1.

    Where nothing is common, products are as often negative as positive, whatever the power and correlation of
    the residuals: their sum of squares is the variance of their sum, and no model of the noise is needed.
    With norms of 1 no few residuals decide (spatial signs: Oja 2010, Multivariate Nonparametric Methods
    with R).

    Parameters
    ----------
    residuals : ndarray, shape (n, m)
        Of n sources; those that are zero have no say.

    Returns
    -------
    Agreement
        Zero for fewer than two residuals.
    """
    norms = np.linalg.norm(residuals, axis=1)
    signs = residuals[norms > 0.0] / norms[norms > 0.0, None]
    products = signs @ signs.T
    np.fill_diagonal(products, 0.0)
    n, total, variance = len(signs), float(products.sum()), 2.0 * float(np.sum(products**2))
    return Agreement(total / variance**0.5, total / (n * (n - 1))) if variance > 0.0 else Agreement(0.0, 0.0)
