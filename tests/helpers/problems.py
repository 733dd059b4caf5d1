"""Fit problems made of sources and a map."""

import numpy as np

from hyper_py.fitting.problem import FitProblem


def make_problem(sources, data, **changes):
    """One group a source, unless told otherwise."""
    problem = {
        "data": data, "usable": np.isfinite(data), "rms": 1.0, "start": sources,
        "snr": np.full(len(sources), np.nan),
        "fixed": np.zeros(sources.shape, dtype=bool), "prior_variance": np.zeros(sources.shape),
        "partition": [np.array([k]) for k in range(len(sources))],
        "beam_fwhm": 4.0, "beam_area": 18.1, "beam_covariance": np.eye(2) * (4 / 2.3548) ** 2,
        "forced": False, "shift": np.full(len(sources), 2.0), "largest_sigma": np.full(len(sources), np.inf),
    }  # fmt: skip
    return FitProblem(**{**problem, **changes})
