"""Backgrounds that are fitted separately, before the Gaussians: a polynomial in boxes around each group.

Which box, order and estimator is taken is chosen in `hyper_py.background.selection`; here are the boxes that
are tried, and where they lie in the map.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.cutout_polynomial import CutoutPolynomial
from hyper_py.background.model import Painted
from hyper_py.background.selection import Choice, select_backgrounds
from hyper_py.numerics import gaussians
from hyper_py.numerics.interpolation import interpolate_masked
from hyper_py.numerics.polynomial import Box, Scaling

_INTERPOLATED_SIGMA = 3.0
"""Sources are replaced by interpolation out to this: 1% of their peak."""
_WIDE = 20_000
"""Pixels of a wide cutout."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeparateBackground:
    """A background polynomial and where its cutout lies in the map.

    Attributes
    ----------
    polynomial : CutoutPolynomial
    y0, x0 : int
        Map pixel of the cutout's first pixel.
    """

    polynomial: CutoutPolynomial
    y0: int
    x0: int

    @property
    def is_wide(self) -> bool:
        """Whether so many pixels are behind it that its noise is computed once, not for every group."""
        return self.polynomial.fit_mask.size > _WIDE

    @property
    def order(self) -> int:
        """Order of the polynomial; -1 if there is none."""
        return -1 if self.polynomial.estimator == "none" else self.polynomial.order

    @property
    def box(self) -> Box:
        """Rectangle of map pixels in which it was fitted."""
        y0, y1, x0, x1 = self.polynomial.box
        return self.y0 + y0, self.y0 + y1, self.x0 + x0, self.x0 + x1

    @property
    def pixel_scaling(self) -> Scaling:
        """Coordinates that count pixels from the first one of the box."""
        y0, _, x0, _ = self.box
        return Scaling(float(y0), float(x0), 1.0, 1.0)

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""
        return self.polynomial.evaluate(y - self.y0, x - self.x0)

    def paint(self) -> Painted:
        """Return the background on the box; its weight falls off towards the edges."""
        y0, y1, x0, x1 = self.polynomial.box
        y, x = np.mgrid[y0:y1, x0:x1]
        across = np.sin(np.pi * (y - y0 + 0.5) / (y1 - y0)) * np.sin(np.pi * (x - x0 + 0.5) / (x1 - x0))
        values, weights = self.polynomial.evaluate(y, x), across**2
        return Painted(y.ravel() + self.y0, x.ravel() + self.x0, values.ravel(), weights.ravel())


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The boxes in which backgrounds are tried.

    Attributes
    ----------
    beam_fwhm, beam_area : float
        In pixels.
    min_box, max_box : float
        Half-sizes in beams; `min_box` 0 takes the whole map for all.
    aper_sup : float
        Largest source in beams, added on both sides.
    """

    beam_fwhm: float
    beam_area: float
    min_box: float
    max_box: float
    aper_sup: float

    def sides(self, extent: float) -> list[int]:
        """Return the sides in pixels, odd, in steps of 2, for a group with a largest separation `extent`."""
        fwhm = self.beam_fwhm
        smallest, largest = (
            math.ceil(2 * math.ceil(box * fwhm) + 2 * self.aper_sup * fwhm + extent) // 2 * 2 + 1
            for box in (self.min_box, max(self.min_box, self.max_box))
        )
        return list(range(smallest, largest + 1, 2))


def separate_backgrounds(
    data: FloatArray,
    mask: BoolArray,
    sources: FloatArray,
    partition: Sequence[IntArray],
    *,
    boxes: Boxes,
    choice: Choice,
    rms: float | FloatArray,
    own: FloatArray | None = None,
) -> list[SeparateBackground]:
    """Choose a background polynomial for each group.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    mask : bool ndarray, shape (ny, nx)
        Sources and blank pixels.
    sources : ndarray, shape (n, 6)
    partition : sequence of int ndarray
        Sources of each group.
    boxes : Boxes
    choice : Choice
    rms : float or ndarray
        Noise per pixel.
    own : ndarray, shape (n, 6), optional
        Sources of which each group masks its own only, beside `mask`.
    """
    if boxes.min_box == 0:
        ny, nx = data.shape
        typical = np.atleast_1d(np.nanmedian(rms))
        if own is not None:
            mask = mask | gaussians.footprints(own, data.shape)
        whole = select_backgrounds(
            data[None], mask[None], boxes=[(0, ny, 0, nx)], choice=choice, rms=typical,
            beam_area=boxes.beam_area,
        )[0]  # fmt: skip
        return [SeparateBackground(polynomial=whole, y0=0, x0=0)] * len(partition)
    low, high = _extremes(sources[:, [gaussians.Y, gaussians.X]], partition)
    sides = [boxes.sides(extent) for extent in (high - low).max(axis=1).tolist()]
    middles = np.rint(0.5 * (low + high)).astype(np.int64)
    pad = max((s[-1] for s in sides), default=1) // 2 + 1
    padded = _Padded.of(np.where(mask, np.nan, data), rms, own, pad=pad)
    chosen: dict[int, SeparateBackground] = {}
    alike: dict[tuple[int, ...], list[int]] = {}
    for k, s in enumerate(sides):
        alike.setdefault((s[0], s[-1]), []).append(k)
    for (smallest, largest), members in alike.items():
        corners = middles[members] - largest // 2
        cutouts, noise = padded.cutouts(corners, largest, [partition[k] for k in members])
        picks = select_backgrounds(
            cutouts, ~np.isfinite(cutouts), choice=choice, rms=noise, beam_area=boxes.beam_area,
            boxes=[_centred(side, largest) for side in range(smallest, largest + 1, 2)],
        )  # fmt: skip
        for k, (y0, x0), polynomial in zip(members, corners.tolist(), picks, strict=True):
            chosen[k] = SeparateBackground(polynomial=polynomial, y0=y0, x0=x0)
    return [chosen[k] for k in range(len(partition))]


def backgrounds_of_groups(
    data: FloatArray,
    blank: BoolArray,
    sources: FloatArray,
    partition: Sequence[IntArray],
    *,
    boxes: Boxes,
    choice: Choice,
    rms: float | FloatArray,
    interpolate_neighbours: bool = False,
) -> list[SeparateBackground]:
    """Choose a background polynomial for each group from what is outside all sources.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The map, sources subtracted if they are known.
    blank : bool ndarray, shape (ny, nx)
    sources, partition, boxes, choice, rms
        See `separate_backgrounds`. The footprints of sources take no part.
    interpolate_neighbours : bool
        Whether the sources of other groups are replaced by a smooth interpolation instead of being masked.
    """
    own, mask = None, blank
    if interpolate_neighbours:
        # Wider than a mask: the surface would rise to the light at its rim.
        wide = gaussians.footprints(sources, data.shape, n_sigma=_INTERPOLATED_SIGMA)
        data, own = interpolate_masked(data, wide), sources
    else:
        mask = blank | gaussians.footprints(sources, data.shape)
    return separate_backgrounds(data, mask, sources, partition, boxes=boxes, choice=choice, rms=rms, own=own)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Padded:
    """A map with a blank margin, so that all cutouts are inside it.

    `stamps` are the footprints of sources that only their own group masks.
    """

    data: FloatArray
    rms: float | FloatArray
    pad: int
    stamps: dict[int, tuple[tuple[slice, slice], BoolArray]]

    @classmethod
    def of(cls, data: FloatArray, rms: float | FloatArray, own: FloatArray | None, *, pad: int) -> "_Padded":
        padded = np.pad(data, pad, constant_values=np.nan)
        shift = np.zeros(gaussians.N_PARAMETERS)
        shift[[gaussians.Y, gaussians.X]] = pad
        stamps = {} if own is None else gaussians.footprint_stamps(own + shift, padded.shape)
        noise = np.pad(rms, pad, mode="edge") if isinstance(rms, np.ndarray) else rms
        return cls(data=padded, rms=noise, pad=pad, stamps=stamps)

    def cutouts(
        self, corners: IntArray, side: int, partition: Sequence[IntArray]
    ) -> tuple[FloatArray, FloatArray]:
        """Return square cutouts (n, side, side) at corners (n, 2), groups' own sources blank, and the rms."""
        rows = corners[:, 0, None] + self.pad + np.arange(side)
        columns = corners[:, 1, None] + self.pad + np.arange(side)
        np.clip(rows, 0, self.data.shape[0] - 1, out=rows)
        np.clip(columns, 0, self.data.shape[1] - 1, out=columns)
        where = rows[:, :, None], columns[:, None, :]
        cutouts = self.data[where]
        for cutout, members, (top, left) in zip(cutouts, partition, corners + self.pad, strict=True):
            for place, stamp in (self.stamps[i] for i in members.tolist() if i in self.stamps):
                y, x = np.nonzero(stamp)
                y, x = y + place[0].start - top, x + place[1].start - left
                inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
                cutout[y[inside], x[inside]] = np.nan
        noise = self.rms[where] if isinstance(self.rms, np.ndarray) else np.atleast_1d(self.rms)
        return cutouts, np.asarray(noise)


def _extremes(places: FloatArray, partition: Sequence[IntArray]) -> tuple[FloatArray, FloatArray]:
    """Return the smallest and the largest coordinates, each (n_groups, 2), of places, (n, 2), of groups."""
    if not partition:
        return np.empty((0, 2)), np.empty((0, 2))
    own, sizes = places[np.concatenate(partition)], np.array([len(members) for members in partition])
    starts = np.cumsum(sizes) - sizes
    return np.minimum.reduceat(own, starts), np.maximum.reduceat(own, starts)


def _centred(side: int, largest: int) -> Box:
    start = (largest - side) // 2
    return start, start + side, start, start + side
