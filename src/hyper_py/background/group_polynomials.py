"""Backgrounds of units, fitted apart: which boxes are tried, and where they lie in the map."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.polynomial import Background, select_backgrounds
from hyper_py.numerics import models

_WIDE = 20_000
"""Pixels of a wide cutout."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupBackground:
    """A background polynomial and where its cutout lies in the map.

    Attributes
    ----------
    polynomial : Background
    y0, x0 : int
        Map pixel of the cutout's first pixel.
    """

    polynomial: Background
    y0: int
    x0: int

    @property
    def is_wide(self) -> bool:
        """Whether so many pixels are behind it that its noise is computed once, not for every unit."""
        return self.polynomial.fit_mask.size > _WIDE

    @property
    def order(self) -> int:
        """Order of the polynomial; -1 if there is none."""
        return -1 if self.polynomial.estimator == "none" else self.polynomial.order

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""
        return self.polynomial.evaluate(y - self.y0, x - self.x0)

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight on the box, the weight falling off towards its edges."""
        y0, y1, x0, x1 = self.polynomial.box
        y, x = np.mgrid[y0:y1, x0:x1]
        across = np.sin(np.pi * (y - y0 + 0.5) / (y1 - y0)) * np.sin(np.pi * (x - x0 + 0.5) / (x1 - x0))
        values, weights = self.polynomial.evaluate(y, x), across**2
        return y.ravel() + self.y0, x.ravel() + self.x0, values.ravel(), weights.ravel()


def box_sizes(*, fwhm: float, min_box: float, max_box: float, aper_sup: float, extent: float) -> list[int]:
    """Return the sides in pixels, odd, in steps of 2, of the background boxes to try.

    Parameters
    ----------
    fwhm : float
        Of the beam, in pixels.
    min_box, max_box : float
        Half-sizes in beams.
    aper_sup : float
        Largest source in beams, added on both sides.
    extent : float
        Largest separation within the group, in pixels.
    """
    smallest, largest = (
        math.ceil(2 * math.ceil(box * fwhm) + 2 * aper_sup * fwhm + extent) // 2 * 2 + 1
        for box in (min_box, max(min_box, max_box))
    )
    return list(range(smallest, largest + 1, 2))


def group_backgrounds(
    data: FloatArray,
    mask: BoolArray,
    sources: FloatArray,
    units: Sequence[IntArray],
    *,
    fwhm: float,
    beam_area: float,
    rms: float | FloatArray,
    min_box: float,
    max_box: float,
    aper_sup: float,
    orders: Sequence[int],
    estimators: Sequence[str],
    huber_epsilons: Sequence[float],
    criterion: str,
    clip_sigma: float | None = 3.0,
    own: FloatArray | None = None,
) -> list[GroupBackground]:
    """Choose a background polynomial for each unit.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    mask : bool ndarray, shape (ny, nx)
        Sources and blank pixels.
    sources : ndarray, shape (n, 6)
    units : sequence of int ndarray
    fwhm, beam_area : float
        Of the beam, in pixels.
    rms : float or ndarray
        Noise per pixel.
    min_box, max_box, aper_sup
        See `box_sizes`; `min_box` 0 takes the whole map for all.
    orders, estimators, huber_epsilons, criterion, clip_sigma
        See `hyper_py.background.polynomial.select_backgrounds`.
    own : ndarray, shape (n, 6), optional
        Sources of which each unit masks its own only, beside `mask`.
    """
    ny, nx = data.shape

    def select(
        cutouts: FloatArray, masks: BoolArray, levels: FloatArray, boxes: Sequence[tuple[int, int, int, int]]
    ) -> list[Background]:
        return select_backgrounds(
            cutouts,
            masks,
            boxes=boxes,
            orders=orders,
            rms=levels,
            beam_area=beam_area,
            estimators=estimators,
            huber_epsilons=huber_epsilons,
            criterion=criterion,
            clip_sigma=clip_sigma,
        )

    if min_box == 0:
        level = np.atleast_1d(np.nanmedian(rms))
        if own is not None:
            mask = mask | models.footprints(own, data.shape)
        whole = select(data[None], mask[None], level, [(0, ny, 0, nx)])[0]
        return [GroupBackground(polynomial=whole, y0=0, x0=0)] * len(units)
    low, high = _extremes(sources[:, [models.Y, models.X]], units)
    sides = [
        box_sizes(fwhm=fwhm, min_box=min_box, max_box=max_box, aper_sup=aper_sup, extent=extent)
        for extent in (high - low).max(axis=1).tolist()
    ]
    middles = np.rint(0.5 * (low + high)).astype(np.int64)
    pad = max((s[-1] for s in sides), default=1) // 2 + 1
    padded = np.pad(np.where(mask, np.nan, data), pad, constant_values=np.nan)
    levels = np.pad(rms, pad, mode="edge") if isinstance(rms, np.ndarray) else None
    shift = np.zeros(models.N_PARAMETERS)
    shift[[models.Y, models.X]] = pad
    stamps = {} if own is None else models.footprint_stamps(own + shift, padded.shape)
    chosen: list[GroupBackground | None] = [None] * len(units)
    alike: dict[tuple[int, ...], list[int]] = {}
    for k, s in enumerate(sides):
        alike.setdefault((s[0], s[-1]), []).append(k)
    for (smallest, largest), members in alike.items():
        boxes = [_centred(side, largest) for side in range(smallest, largest + 1, 2)]
        corners = middles[members] - largest // 2
        rows = corners[:, 0, None] + pad + np.arange(largest)
        columns = corners[:, 1, None] + pad + np.arange(largest)
        np.clip(rows, 0, padded.shape[0] - 1, out=rows)
        np.clip(columns, 0, padded.shape[1] - 1, out=columns)
        where = rows[:, :, None], columns[:, None, :]
        cutouts = padded[where]
        for cutout, k, (top, left) in zip(cutouts, members, corners + pad, strict=True):
            for place, stamp in (stamps[i] for i in units[k].tolist() if i in stamps):
                y, x = np.nonzero(stamp)
                y, x = y + place[0].start - top, x + place[1].start - left
                inside = (y >= 0) & (y < largest) & (x >= 0) & (x < largest)
                cutout[y[inside], x[inside]] = np.nan
        noise = np.atleast_1d(rms) if levels is None else levels[where]
        picks = select(cutouts, ~np.isfinite(cutouts), np.asarray(noise), boxes)
        for k, (y0, x0), polynomial in zip(members, corners.tolist(), picks, strict=True):
            chosen[k] = GroupBackground(polynomial=polynomial, y0=y0, x0=x0)
    return [background for background in chosen if background is not None]


def _extremes(places: FloatArray, units: Sequence[IntArray]) -> tuple[FloatArray, FloatArray]:
    """Return the smallest and the largest coordinates, each (n_groups, 2), of places, (n, 2), of groups."""
    if not units:
        return np.empty((0, 2)), np.empty((0, 2))
    own, sizes = places[np.concatenate(units)], np.array([len(unit) for unit in units])
    starts = np.cumsum(sizes) - sizes
    return np.minimum.reduceat(own, starts), np.maximum.reduceat(own, starts)


def _centred(side: int, largest: int) -> tuple[int, int, int, int]:
    start = (largest - side) // 2
    return start, start + side, start, start + side
