"""Polynomials on whole boxes of pixels, and Theil-Sen as the package composes it."""

import numpy as np

from hyper_py.numerics.polynomial import Scaling, polynomial_design
from hyper_py.numerics.regression import random_subsets, spatial_median, subset_solutions


def square_scaling(side):
    """Return the scaling that takes the pixel centres of a square box to [-1, 1]."""
    return Scaling(0.5 * (side - 1), 0.5 * (side - 1), 0.5 * (side - 1), 0.5 * (side - 1))


def square_design(side, *, order):
    """Return the design matrix of all pixels of a square box, shape (side**2, n_terms)."""
    y, x = np.mgrid[:side, :side]
    return polynomial_design(y.ravel(), x.ravel(), order=order, scaling=square_scaling(side))


def theil_sen(design, values, *, n_subsets, seed=0):
    """Return the spatial median of the exact solutions on random minimal subsets."""
    subsets = random_subsets(values.size, design.shape[1], n_subsets=n_subsets, seed=seed)
    return spatial_median(subset_solutions(design, values, subsets=subsets))[0]
