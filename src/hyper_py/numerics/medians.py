"""Medians, and scatters that are made from them."""

import numpy as np

from hyper_py.arrays import FloatArray, IndexArray

MAD_TO_RMS = 1.4826
"""Rms of a normal deviate over its median absolute deviation."""


def scatter(values: FloatArray) -> float:
    """Return 1.4826 times the median absolute deviation of values: the rms of a normal deviate."""
    deviations = values - np.median(values)
    return MAD_TO_RMS * float(np.median(np.abs(deviations, out=deviations), overwrite_input=True))


def medians(values: FloatArray, count: IndexArray) -> FloatArray:
    """Return the medians along the last axis of `count` values that are no NaN; 0 of none."""
    ordered = np.sort(values, axis=-1)  # NaN last
    low, high = (np.clip(k, 0, values.shape[-1] - 1)[..., None] for k in ((count - 1) // 2, count // 2))
    middle = 0.5 * (np.take_along_axis(ordered, low, -1) + np.take_along_axis(ordered, high, -1))[..., 0]
    return np.where(count > 0, middle, 0.0)
