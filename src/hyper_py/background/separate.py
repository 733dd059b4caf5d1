"""Backgrounds that are fitted separately, before the Gaussians: a polynomial in boxes around each group.

Which box, order and estimator is taken is chosen in `hyper_py.background.selection`; here are the boxes that
are tried, and where they lie in the map.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.cutout_polynomial import CutoutPolynomial
from hyper_py.background.model import Painted
from hyper_py.background.over_sources import over_sources
from hyper_py.background.selection import Choice, select_backgrounds
from hyper_py.noise.measure import outside_sources
from hyper_py.numerics import gaussians
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.polynomial import Box, Scaling
from hyper_py.numerics.tiles import Plane, cutouts

FOOTPRINT_SIGMA = 2.0
"""Sources are left out to this."""
_INTERPOLATED_SIGMA = 3.0
"""Sources are replaced by interpolation out to this: 1% of their peak."""
_WIDE = 20_000
"""Pixels of a wide cutout."""
_PART_GROUPS = 64
"""Groups of which the backgrounds are chosen together."""


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
    data: Plane,
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
    data : Plane, shape (ny, nx)
        Sources and blank pixels are NaN.
    sources : ndarray, shape (n, 6)
    partition : sequence of int ndarray
        Sources of each group.
    boxes : Boxes
    choice : Choice
    rms : float or Plane
        Noise per pixel.
    own : ndarray, shape (n, 6), optional
        Sources of which each group leaves out its own, beside what is NaN.
    """
    if boxes.min_box == 0:
        whole = _of_whole_map(data[:, :], own, boxes=boxes, choice=choice, rms=rms)
        return [SeparateBackground(polynomial=whole, y0=0, x0=0)] * len(partition)
    low, high = _extremes(sources[:, [gaussians.Y, gaussians.X]], partition)
    sides = [boxes.sides(extent) for extent in (high - low).max(axis=1).tolist()]
    middles = np.rint(0.5 * (low + high)).astype(np.int64)

    def of_groups(some: list[int]) -> list[SeparateBackground]:
        smallest, largest = sides[some[0]][0], sides[some[0]][-1]
        corners = middles[some] - largest // 2
        masked = None if own is None else [own[partition[k]] for k in some]
        values = _cutouts(data, corners, largest, masked)
        noise = np.atleast_1d(rms) if isinstance(rms, float) else cutouts(rms, corners, values.shape[1:])[0]
        picks = select_backgrounds(
            values, ~np.isfinite(values), choice=choice, rms=noise, beam_area=boxes.beam_area,
            boxes=[_centred(side, largest) for side in range(smallest, largest + 1, 2)],
        )  # fmt: skip
        return [
            SeparateBackground(polynomial=polynomial, y0=y0, x0=x0)
            for (y0, x0), polynomial in zip(corners.tolist(), picks, strict=True)
        ]

    parts = _alike([(own_sides[0], own_sides[-1]) for own_sides in sides])
    chosen = dict(
        pair for some, found in zip(parts, in_order(of_groups, parts), strict=True)
        for pair in zip(some, found, strict=True)
    )  # fmt: skip
    return [chosen[k] for k in range(len(partition))]


def _alike(ends: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the places of groups whose smallest and largest boxes have the same sides, some at a time."""
    alike: dict[tuple[int, int], list[int]] = {}
    for k, own in enumerate(ends):
        alike.setdefault(own, []).append(k)
    return [
        members[first : first + _PART_GROUPS]
        for members in alike.values()
        for first in range(0, len(members), _PART_GROUPS)
    ]


def _of_whole_map(
    data: FloatArray, own: FloatArray | None, *, boxes: Boxes, choice: Choice, rms: float | FloatArray
) -> CutoutPolynomial:
    """Return one polynomial for the whole map."""
    ny, nx = data.shape
    blank = ~np.isfinite(data)
    if own is not None:
        blank |= gaussians.footprints(own, (ny, nx))
    return select_backgrounds(
        data[None], blank[None], boxes=[(0, ny, 0, nx)], choice=choice,
        rms=np.atleast_1d(np.nanmedian(rms)), beam_area=boxes.beam_area,
    )[0]  # fmt: skip


def _cutouts(data: Plane, corners: IntArray, side: int, masked: Sequence[FloatArray] | None) -> FloatArray:
    """Return square cutouts (n, side, side) at corners (n, 2), NaN beyond the map and on sources of each."""
    values, inside = cutouts(data, corners, (side, side))
    values[~inside] = np.nan
    for cutout, sources, corner in zip(values, masked or (), corners, strict=masked is not None):
        own = gaussians.footprints(sources, (side, side), origin=(int(corner[0]), int(corner[1])))
        cutout[own] = np.nan
    return values


def backgrounds_of_groups(
    data: Plane,
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
    data : Plane, shape (ny, nx)
        The map, sources subtracted if they are known; blank pixels are NaN.
    sources, partition, boxes, choice, rms
        See `separate_backgrounds`. The footprints of sources take no part.
    interpolate_neighbours : bool
        Whether the sources of other groups are replaced by a smooth interpolation instead of being masked.
    """
    if interpolate_neighbours:
        # Wider than a mask: the surface would rise to the light at its rim.
        seen, own = over_sources(data, sources, n_sigma=_INTERPOLATED_SIGMA), sources
    else:
        seen, own = outside_sources(data, sources, n_sigma=FOOTPRINT_SIGMA), None
    return separate_backgrounds(seen, sources, partition, boxes=boxes, choice=choice, rms=rms, own=own)


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
