"""Sources wider than the beam: the same search on coarser maps, octave by octave.

On a map binned by a factor, with a beam as much wider, the search for compact sources finds those that are
as much wider; its noise is that of the background on their scale. A source is seen in several octaves: the
most significant one counts, and what its Gaussian explains of the others is no source of its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.detection.bright import fit_gaussians
from hyper_py.detection.candidates import Candidates
from hyper_py.detection.field import Field
from hyper_py.detection.kernels import KernelFamily
from hyper_py.detection.search import LOWEST, Searched, search
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.bins import binned
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.tiles import Plane

OCTAVES = (2, 4)
"""Factors by which maps are binned: sources of up to some six beams have a filter of nearly their size."""
FEWEST_BEAMS = 60.0
"""An octave with fewer beams of its own says nothing of its noise."""
WIDE_FACTOR = 1.3
"""Where the noise of an octave exceeds that of the map itself, there is background structure on its scale,
which looks like wide sources: their significance is divided by the ratio, at most by this per octave."""
WIDE_MARGIN = 2.0
"""Least distance of a wide source from edges and blanks, in beams of its octave."""
SIZES = np.geomspace(0.8, 10.0, 40)
"""FWHM in beams that are tried for a source."""
LARGEST = 1.5
"""Largest size of a source in beams of the coarse octave that found it."""
OWN_BEAMS, OWN_SHARE = 1.2, 0.5
"""Candidates of two octaves within so many beams, or this share of the wider one's FWHM, are one source; so
are those of one coarse octave within so many of its beams."""
CLUMPS, CLUMPS_BEAMS, CLUMPS_GAP = 3, 0.6, math.radians(170.0)
"""So many finer candidates within so many beams of a coarse octave around its candidate, with no larger gap
between their directions, are clumps or the rim of one source,"""
CLUMPS_SIGNIFICANCE, CLUMPS_SHARE = 4.0, 0.3
"""if each has this significance, and the coarse one at least this share of theirs."""
BRIDGE = 0.4
"""Between most of those that are next to each other around it the map has at least this share of the fainter
one's amplitude, as along a rim: .5 or more on simulated rings and clumps, mostly below 0 in complexes."""
CLUMPS_FACTOR = 2.0
"""Where there are so many, one that is no part of the wide candidate is brighter than most by this factor."""
SEVERAL_FACTOR = 1.1
"""Two finer candidates in one place are preferred to a wider one that is not clearer by more than this: where
the background is faint, two sources 1.4 beams apart look as clear as one."""
STANDS_OUT, STANDS_OUT_SIGMA = 0.6, 2.0
"""A candidate of the map itself that exceeds what a wider Gaussian explains of it by more than this share of
that one's peak, and so many sigma, is no part of it. Pieces of simulated rings exceed it by up to .57,
compact sources in complexes by .5 to 2."""
REACH_BEAMS = 3.0
"""How far a candidate looks for those that may explain it, in beams of the coarser octave."""
UNEXPLAINED = 0.5
"""Least share of a candidate that others must leave."""
_PAIRS_AT_ONCE = 100_000


@dataclass(frozen=True, eq=False)
class Octave:
    """A search of the map, or of a binned map.

    Attributes
    ----------
    step : int
        Side of the bins.
    field : Field
    found : Searched
    candidates : Candidates
        On the map itself.
    """

    step: int
    field: Field
    found: Searched
    candidates: Candidates

    @property
    def fwhm(self) -> float:
        """Of the beam of the octave, in pixels of the map."""
        return self.step * self.field.fwhm

    def measured(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the filter's amplitude at places of the map, and its noise, in the map's unit: (n,) each."""
        x, y = binned_pixels(points, self.step, self.field.shape)
        place, view = (y, x), self.found.view
        values, noise = self.field.at(view.whole.filtered, *place), self.field.at(view.rms, *place)
        return self.field.scale * values, self.field.scale * noise

    def response(self, size: FloatArray, away: FloatArray) -> FloatArray:
        """Return the filter's amplitude at distances in pixels from sources of peak 1, sizes in beams."""
        family, weights = self.field.family, self.found.view.weights.values[-1]
        response: FloatArray = (
            family.response_at(size / self.step, away * FWHM_PER_SIGMA / self.fwhm) @ weights
        )
        return response


def search_octave(
    data: Plane,
    step: int,
    *,
    family: KernelFamily,
    size: int | None,
    advance: Callable[[int], None],
) -> tuple[Field, Searched] | None:
    """Search a map binned by `step` for sources as much wider than the beam.

    In units of its pixels the wider beam is what the beam is in those of the map. None if the binned map does
    not vary or is too small.
    """
    if min(data.shape) < 8 * step:
        return None
    beam = family.beam_covariance
    field = Field.of(binned(data, step), beam_covariance=beam, size=size, step=step, family=family)
    if field is None or field.n_beams < FEWEST_BEAMS:
        return None
    fit = partial(fit_gaussians, beam_covariance=beam)
    return field, search(field, fit=fit, advance=advance)


def binned_pixels(points: FloatArray, step: int, shape: tuple[int, int]) -> tuple[IndexArray, IndexArray]:
    """Return the pixels x, y of a map of this shape, binned by `step`, at places (n, 2) of the map."""
    x, y = np.rint((points - 0.5 * (step - 1)) / step).astype(np.intp).T
    return np.clip(x, 0, shape[1] - 1), np.clip(y, 0, shape[0] - 1)


def away_from_edges(candidates: Candidates, field: Field) -> Candidates:
    """Return the candidates of a binned map that are not at an edge: loud noise there looks like them."""
    x, y = binned_pixels(candidates.points, 1, field.shape)  # places may be refined to beyond the map
    return candidates.select(np.flatnonzero(field.at(field.distance, y, x) >= WIDE_MARGIN))


def on_map(candidates: Candidates, step: int) -> Candidates:
    """Return the candidates of a binned map on the map itself."""
    return Candidates(
        candidates.points * step + 0.5 * (step - 1),
        candidates.significance,
        candidates.size * step,
        candidates.step * step,
    )


def joined(octaves: Sequence[Octave]) -> Candidates:
    """Return the candidates of all octaves, each source once, the most significant first.

    Parameters
    ----------
    octaves : sequence of Octave
        The map itself first.

    Returns
    -------
    Candidates
        The size of those of the map itself is 1.
    """
    together = _Together.of(octaves)
    kept = together.chosen()
    result = together.candidates.select(kept)
    return result.select(np.argsort(-result.significance, kind="stable"))


@dataclass(frozen=True, eq=False)
class _Together:
    """The candidates of all octaves in one list, with their octaves, peaks of Gaussians, and amplitudes."""

    octaves: Sequence[Octave]
    candidates: Candidates
    octave: IndexArray
    peak: FloatArray
    own: FloatArray

    @classmethod
    def of(cls, octaves: Sequence[Octave]) -> "_Together":
        parts = [one.candidates for one in octaves]
        points, significance, size, step = (np.concatenate(part) for part in zip(*parts, strict=True))
        octave = np.repeat(np.arange(len(octaves)), [len(part.points) for part in parts])
        values, noise = (np.stack(part) for part in zip(*(o.measured(points) for o in octaves), strict=True))
        estimate, peak = sizes_from_octaves(octaves, values, noise)
        # What has a hole in its middle looks larger than any Gaussian.
        size = np.where(octave > 0, np.clip(estimate, 1.0, LARGEST * step), size)
        rows = np.arange(octave.size)
        structure = noise[octave, rows] / noise[0]
        significance = significance / np.clip(structure, 1.0, WIDE_FACTOR ** np.log2(step))
        together = Candidates(points, significance, size, step)
        # In the rings of a bright source the filtered map is below what was found once it was taken off.
        own = np.maximum(values[octave, rows], significance * noise[octave, rows])
        return cls(octaves, together, octave, np.where(octave > 0, peak, own), own)

    def chosen(self) -> IndexArray:
        """Return which candidates are sources of their own; the significance of the others' rest is set."""
        significance, pairs = self.candidates.significance, self._pairs()
        explained, absorbed = np.zeros(significance.size), np.zeros(significance.size, dtype=bool)
        coarse, kept = self.octave > 0, []
        clumpy = self._are_clumpy(pairs)
        order = np.lexsort((-significance, -self.octave * clumpy, ~clumpy))
        for i in order.tolist():
            if absorbed[i]:
                continue
            share = 1.0 - min(max(explained[i] / self.own[i], 0.0), 1.0) if self.own[i] > 0.0 else 0.0
            if share < UNEXPLAINED or (share < 1.0 and share * significance[i] < LOWEST):
                continue
            if pairs.begins[i] == pairs.begins[i + 1]:  # it is alone
                significance[i] *= share
                kept.append(i)
                continue
            near = pairs.of(i)
            if coarse[i] and not clumpy[i] and self._are_several(i, near, absorbed):
                continue
            significance[i] *= share
            kept.append(i)
            absorbed[near.other] |= near.same & ~self._stands_out(i, near) if coarse[i] else near.same
            # One search explains none of its own: there the light of a pair is 0.
            explained[near.other] += near.light
        return np.array(kept, dtype=np.intp)

    def _are_clumpy(self, pairs: "_Pairs") -> BoolArray:
        """Return around which coarse candidates finer ones lie on all sides, about as clear as they."""
        significance = self.candidates.significance
        clear = pairs.inside & (significance[pairs.other] >= CLUMPS_SIGNIFICANCE)
        count = np.bincount(pairs.place[clear], minlength=significance.size)
        clumpy = np.zeros(significance.size, dtype=bool)
        for i in np.flatnonzero(count >= CLUMPS).tolist():
            inside = self._clear_inside(pairs.of(i))
            _, angle = self._around(i, inside)
            clearest = float(significance[inside].max())
            clumpy[i] = (
                _gaps(angle).max() < CLUMPS_GAP
                and significance[i] >= CLUMPS_SHARE * clearest
                and self._are_bridged(i, inside[self.octave[inside] == 0])
            )
        return clumpy

    def _around(self, i: int, others: IndexArray) -> tuple[IndexArray, FloatArray]:
        """Return others in the order of their directions from one, and these directions."""
        dx, dy = (self.candidates.points[others] - self.candidates.points[i]).T
        angle = np.arctan2(dy, dx)
        order = np.argsort(angle)
        return others[order], angle[order]

    def _are_bridged(self, i: int, pieces: IndexArray) -> bool:
        """Return whether the map stays bright from one compact piece around a candidate to the next."""
        if pieces.size < CLUMPS:
            return True
        middle = self.candidates.points[i]
        pieces, angle = self._around(i, pieces)
        radius = np.hypot(*(self.candidates.points[pieces] - middle).T)
        half_way, radius = angle + 0.5 * _gaps(angle), 0.5 * (radius + np.roll(radius, -1))
        places = middle + radius[:, None] * np.stack([np.cos(half_way), np.sin(half_way)], axis=1)
        between, _ = self.octaves[0].measured(places)
        fainter = np.minimum(self.own[pieces], np.roll(self.own[pieces], -1))
        return bool(np.median(between / fainter) >= BRIDGE)

    def _clear_inside(self, near: "_Pairs") -> IndexArray:
        """Return the clear finer candidates that lie within a coarse one."""
        own = near.other[near.inside]
        clear: IndexArray = own[self.candidates.significance[own] >= CLUMPS_SIGNIFICANCE]
        return clear

    def _are_several(self, i: int, near: "_Pairs", absorbed: BoolArray) -> bool:
        """Return whether finer candidates in the place of one say more together than it does: a blend."""
        own = near.other[near.same & ~absorbed[near.other] & (self.octave[near.other] < self.octave[i])]
        together = float(np.linalg.norm(self.candidates.significance[own]))
        return bool(own.size > 1 and SEVERAL_FACTOR * together > self.candidates.significance[i])

    def _stands_out(self, i: int, near: "_Pairs") -> BoolArray:
        """Return which others are compact sources in front of one of a coarse octave, too bright for it."""
        others, sizes = near.other, np.full(near.other.size, self.candidates.size[i])
        # The Gaussian that describes a ring best may be faint: what was found, and its clumps, tell as well.
        clumps = self.own[self._clear_inside(near)]
        typical = CLUMPS_FACTOR * float(np.median(clumps)) if clumps.size >= CLUMPS else 0.0
        peak = max(float(self.peak[i]), float(self.own[i]), typical)
        noise = self.own[others] / self.candidates.significance[others]
        excess = self.own[others] - peak * self.octaves[0].response(sizes, near.away)
        compact: BoolArray = self.octave[others] == 0
        return compact & (excess > STANDS_OUT * peak + STANDS_OUT_SIGMA * noise)

    def _pairs(self) -> "_Pairs":
        """Return the pairs of near candidates; the search of the map itself has told its own apart."""
        found, fwhm, octave = self.candidates, self.octaves[0].fwhm, self.octave
        step, size = found.step, found.size
        place, other = pairs_within(found.points, found.points, REACH_BEAMS * step.max(initial=1) * fwhm)
        away = np.hypot(*(found.points[place] - found.points[other]).T)
        close = away <= REACH_BEAMS * np.maximum(step[place], step[other]) * fwhm
        close &= (octave[place] != octave[other]) | (step[place] > 1)
        close &= place != other
        place, other, away = place[close], other[close], away[close]
        beams = np.maximum(OWN_BEAMS, OWN_SHARE * np.maximum(size[place], size[other]))
        apart = np.where(octave[place] == octave[other], OWN_BEAMS * step[other], beams)
        light = np.zeros(place.size)
        for k, one in enumerate(self.octaves):
            seen = np.flatnonzero((octave[other] == k) & (octave[place] != k))
            for some in np.array_split(seen, max(1, math.ceil(seen.size / _PAIRS_AT_ONCE))):
                own = place[some]
                light[some] = self.peak[own] * one.response(size[own], away[some])
        return _Pairs(
            np.searchsorted(place, np.arange(octave.size + 1)), place, other, away,
            same=away < fwhm * apart, light=light,
            inside=(octave[other] < octave[place]) & (away < CLUMPS_BEAMS * step[place] * fwhm),
        )  # fmt: skip


def _gaps(angle: FloatArray) -> FloatArray:
    """Return the angle from each of some directions, ascending, to the next one."""
    return np.diff(np.append(angle, angle[0] + 2.0 * math.pi))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of candidates near each other, sorted by the first.

    Attributes
    ----------
    begins : ndarray of int, shape (n_candidates + 1,)
        Where the pairs of each candidate begin in the list of all.
    place, other : ndarray of int, shape (n,)
    away : ndarray, shape (n,)
        Distance in pixels.
    same : bool ndarray, shape (n,)
        Whether they are too close to be two sources.
    light : ndarray, shape (n,)
        What the octave of `other` sees there of `place`, if that is of another one; else 0.
    inside : bool ndarray, shape (n,)
        Whether `other` is finer and within `place`.
    """

    begins: IndexArray
    place: IndexArray
    other: IndexArray
    away: FloatArray
    same: BoolArray
    light: FloatArray
    inside: BoolArray

    def of(self, i: int) -> "_Pairs":
        """Return the pairs of one candidate."""
        own = slice(*self.begins[i : i + 2].tolist())
        return _Pairs(
            self.begins[i : i + 2], self.place[own], self.other[own], self.away[own], same=self.same[own],
            light=self.light[own], inside=self.inside[own],
        )  # fmt: skip


def sizes_from_octaves(
    octaves: Sequence[Octave], values: FloatArray, noise: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return FWHM in beams and peaks of round Gaussians that octaves see with amplitudes, (n,) each.

    Parameters
    ----------
    octaves : sequence of Octave
    values, noise : ndarray, shape (n_octaves, n)
    """
    response = np.stack([octave.response(SIZES, np.zeros(SIZES.size)) for octave in octaves])
    weight = 1.0 / noise**2
    cross, power = (values * weight).T @ response, weight.T @ response**2
    peak = np.maximum(cross, 0.0) / power
    best = np.argmax(peak * cross, axis=1)  # the least chi-square, A = cross / power
    rows = np.arange(best.size)
    return SIZES[best], peak[rows, best]
