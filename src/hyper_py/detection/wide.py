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
from hyper_py.detection.search import LOWEST, Searched, search
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.bins import binned
from hyper_py.numerics.pairs import group_pairs, pairs_within
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
    beam_covariance: FloatArray,
    size: int | None,
    advance: Callable[[int], None],
) -> tuple[Field, Searched] | None:
    """Search a map binned by `step` for sources as much wider than the beam.

    In units of its pixels the wider beam is what the beam is in those of the map. None if the binned map does
    not vary or is too small.
    """
    if min(data.shape) < 8 * step:
        return None
    field = Field.of(binned(data, step), beam_covariance=beam_covariance, size=size)
    if field is None or field.n_beams < FEWEST_BEAMS:
        return None
    fit = partial(fit_gaussians, beam_covariance=beam_covariance)
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
        found, significance = self.candidates, self.candidates.significance
        explained, absorbed = np.zeros(significance.size), np.zeros(significance.size, dtype=bool)
        near, kept = self._near(), []
        coarse = self.octave > 0
        clumpy = coarse.copy()
        clumpy[coarse] = [self._is_clumpy(i, near[i]) for i in map(int, np.flatnonzero(coarse))]
        order = np.lexsort((-significance, -self.octave * clumpy, ~clumpy))
        for i in order:
            if absorbed[i]:
                continue
            share = 1.0 - min(max(explained[i] / self.own[i], 0.0), 1.0) if self.own[i] > 0.0 else 0.0
            if share < UNEXPLAINED or (share < 1.0 and share * significance[i] < LOWEST):
                continue
            if coarse[i] and not clumpy[i] and self._are_several(i, near[i][~absorbed[near[i]]]):
                continue
            significance[i] *= share
            kept.append(i)
            others = near[i]
            away = np.hypot(*(found.points[others] - found.points[i]).T)
            same = away < self._same(i, others)
            absorbed[others] |= same & ~self._stands_out(i, others, away) if coarse[i] else same
            for k, octave in enumerate(self.octaves):
                there = self.octave[others] == k
                if k == self.octave[i] or not there.any():  # one search explains none of its own
                    continue
                sizes = np.full(np.count_nonzero(there), found.size[i])
                explained[others[there]] += self.peak[i] * octave.response(sizes, away[there])
        return np.array(kept, dtype=np.intp)

    def _inside(self, i: int, others: IndexArray) -> IndexArray:
        """Return the clear finer candidates among others that lie within one of a coarse octave."""
        found, own = self.candidates, others[self.octave[others] < self.octave[i]]
        away = np.hypot(*(found.points[own] - found.points[i]).T)
        inside = away < CLUMPS_BEAMS * found.step[i] * self.octaves[0].fwhm
        clear: IndexArray = own[inside & (found.significance[own] >= CLUMPS_SIGNIFICANCE)]
        return clear

    def _is_clumpy(self, i: int, others: IndexArray) -> bool:
        """Return whether finer candidates lie all around one of a coarse octave, about as clear as they."""
        found, inside = self.candidates, self._inside(i, others)
        if inside.size < CLUMPS:
            return False
        dx, dy = (found.points[inside] - found.points[i]).T
        angle = np.sort(np.arctan2(dy, dx))
        gaps = np.diff(np.append(angle, angle[0] + 2.0 * math.pi))
        clearest = float(found.significance[inside].max())
        return bool(gaps.max() < CLUMPS_GAP and found.significance[i] >= CLUMPS_SHARE * clearest)

    def _are_several(self, i: int, others: IndexArray) -> bool:
        """Return whether finer candidates in the place of one say more together than it does: a blend."""
        away = np.hypot(*(self.candidates.points[others] - self.candidates.points[i]).T)
        own = others[(self.octave[others] < self.octave[i]) & (away < self._same(i, others))]
        together = float(np.linalg.norm(self.candidates.significance[own]))
        return bool(own.size > 1 and SEVERAL_FACTOR * together > self.candidates.significance[i])

    def _stands_out(self, i: int, others: IndexArray, away: FloatArray) -> BoolArray:
        """Return which others are compact sources in front of one of a coarse octave, too bright for it."""
        sizes = np.full(others.size, self.candidates.size[i])
        # The Gaussian that describes a ring best may be faint: what was found, and its clumps, tell as well.
        clumps = self.own[self._inside(i, others)]
        typical = CLUMPS_FACTOR * float(np.median(clumps)) if clumps.size >= CLUMPS else 0.0
        peak = max(float(self.peak[i]), float(self.own[i]), typical)
        noise = self.own[others] / self.candidates.significance[others]
        excess = self.own[others] - peak * self.octaves[0].response(sizes, away)
        compact: BoolArray = self.octave[others] == 0
        return compact & (excess > STANDS_OUT * peak + STANDS_OUT_SIGMA * noise)

    def _same(self, i: int, others: IndexArray) -> FloatArray:
        """Return the distances within which others are the same source as i."""
        wider = np.maximum(self.candidates.size[i], self.candidates.size[others])
        beams = np.maximum(OWN_BEAMS, OWN_SHARE * wider)
        apart = np.where(
            self.octave[others] == self.octave[i], OWN_BEAMS * self.candidates.step[others], beams
        )
        return self.octaves[0].fwhm * apart

    def _near(self) -> list[IndexArray]:
        """Return the candidates near each; the search of the map itself has told its own apart."""
        steps = self.candidates.step
        reach = REACH_BEAMS * steps.max(initial=1) * self.octaves[0].fwhm
        place, other = pairs_within(self.candidates.points, self.candidates.points, reach)
        away = np.hypot(*(self.candidates.points[place] - self.candidates.points[other]).T)
        close = away <= REACH_BEAMS * np.maximum(steps[place], steps[other]) * self.octaves[0].fwhm
        close &= (self.octave[place] != self.octave[other]) | (steps[place] > 1)
        close &= place != other
        place, other = place[close], other[close]
        return group_pairs(place, other, steps.size)


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
