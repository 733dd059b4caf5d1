"""Groups of sources made of data, fit pixels and whiteners, and fits of them."""

import numpy as np

from hyper_py.fitting.group_fit import fit_groups
from hyper_py.fitting.groups import Bounds, Group
from hyper_py.fitting.linear_response import linear_response
from hyper_py.noise.whitening import TriangularMatrix, Whitener
from hyper_py.numerics.solvers import SolverOptions


def whitener_of(weights, *, matrix=None, terms=None):
    """A whitener with a matrix that is given as an array."""
    return Whitener(weights=weights, matrix=None if matrix is None else TriangularMatrix(matrix), terms=terms)


def bounds_around(start, **limits):
    """Lower and upper bounds."""
    bounds = Bounds.around(start, **limits)
    return bounds.lower, bounds.upper


def make_group(data, pixels, whitener, sources, *, limits=None, fixed=None, prior_variance=None, **more):
    """A group of the first sources of a table, free unless told otherwise."""
    lower, upper = (sources - np.inf, sources + np.inf) if limits is None else limits
    given = {
        "members": np.arange(len(sources)), "pixels": pixels, "data": data, "noise": whitener,
        "bounds": Bounds(lower=lower, upper=upper),
        "fixed": np.zeros(sources.shape, dtype=bool) if fixed is None else fixed,
        "prior_variance": np.zeros(sources.shape) if prior_variance is None else prior_variance,
    }  # fmt: skip
    return Group(**{**given, **more})


def fitted_group(fit, pixels, whitener, *, data=None, **more):
    """A group with its fit."""
    data = np.zeros(0 if pixels is None else pixels.y.size) if data is None else data
    return make_group(data, pixels, whitener, fit.parameters, fit=fit, **more)


def fit_all(values, pixels, whiteners, start, *, lower, upper, **solver):
    """Fits of many groups, each to its own values."""
    groups = [
        make_group(v, p, w, s, limits=(low, high))
        for v, p, w, s, low, high in zip(values, pixels, whiteners, start, lower, upper, strict=True)
    ]
    return fit_groups(groups, start, solver=SolverOptions(**solver))


def response_of(fit, pixels, whitener, *, fixed=None):
    """How the parameters of one group move, the inverse of the normal matrix, and the Jacobian."""
    return tuple(part[0] for part in linear_response([fitted_group(fit, pixels, whitener, fixed=fixed)]))
