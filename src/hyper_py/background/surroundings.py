"""Mean and scatter of the surroundings of groups: of the boxes that their backgrounds were fitted in."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.background.evaluate import backgrounds_at
from hyper_py.background.model import BackgroundModel
from hyper_py.background.separate import SeparateBackground
from hyper_py.noise.covariance import clipped_rows
from hyper_py.numerics.medians import medians
from hyper_py.numerics.tiles import Plane, at, cutouts

_CHUNK_NUMBERS = 50_000
"""Pixels of cutouts looked at at once: they stay in the cache."""


class Surroundings(NamedTuple):
    """What is known of the surroundings of a group: their background, mean and rms."""

    background: SeparateBackground
    mean: float
    rms: float


def residual_statistics(
    data: Plane, backgrounds: Sequence[SeparateBackground]
) -> tuple[FloatArray, FloatArray]:
    """Return mean and rms, (n,), of what backgrounds leave of a map on the pixels they were fitted to."""
    known: dict[SeparateBackground, tuple[float, float]] = {}
    for own in backgrounds:
        if own not in known:
            y, x = own.polynomial.fit_pixels
            residual = at(data, y + own.y0, x + own.x0) - own.polynomial.evaluate(y, x)
            known[own] = (float(residual.mean()), float(residual.std())) if residual.size else (0.0, 1.0)
    mean, std = np.array([known[own] for own in backgrounds]).reshape(-1, 2).T
    return mean, std


def box_statistics(
    data: Plane,
    boxes: Sequence[SeparateBackground],
    backgrounds: Sequence[BackgroundModel],
    *,
    median: bool = False,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return clipped mean, rms and, if wanted, median of a map less its backgrounds in boxes, each (n,).

    Parameters
    ----------
    data : Plane, shape (ny, nx)
    boxes : sequence of SeparateBackground
        Which were fitted in these boxes.
    backgrounds : sequence of BackgroundModel
        What is subtracted in each box.
    median : bool
        Whether the median is wanted; else it is 0.
    """
    statistics = np.tile([0.0, 1.0, 0.0], (len(boxes), 1))
    alike: dict[tuple[int, int], list[int]] = {}
    first: dict[SeparateBackground, int] = {}
    for k, own in enumerate(boxes):
        if first.setdefault(own, k) == k:
            y0, y1, x0, x1 = own.box
            alike.setdefault((y1 - y0, x1 - x0), []).append(k)
    for (height, width), members in alike.items():
        step = max(1, _CHUNK_NUMBERS // (height * width))
        for chunk in (members[i : i + step] for i in range(0, len(members), step)):
            corners = np.array([boxes[k].box[::2] for k in chunk])
            y = corners[:, 0, None, None] + np.arange(height)[:, None]
            x = corners[:, 1, None, None] + np.arange(width)
            values, inside = cutouts(data, corners, (height, width))
            values = np.where(inside, values, np.nan) - backgrounds_at([backgrounds[k] for k in chunk], y, x)
            values = values.reshape(len(chunk), -1)
            mean, rms = clipped_rows(values)
            varies, own_rows = rms > 0.0, np.array(chunk)
            statistics[own_rows[varies], :2] = np.column_stack([mean, rms])[varies]
            if median:
                near = np.abs(values - mean[:, None]) <= 3.0 * rms[:, None]
                statistics[own_rows[varies], 2] = medians(
                    np.where(near, values, np.nan)[varies], near.sum(axis=1)[varies]
                )
    mean, rms, middle = statistics[[first[own] for own in boxes]].T
    return mean, rms, middle
