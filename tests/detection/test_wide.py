from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from hyper_py.detection.candidates import Candidates
from hyper_py.detection.checks import PeakLimits
from hyper_py.detection.matched import MatchedSearch, candidates, detect_matched
from hyper_py.detection.wide import (
    OCTAVES,
    WIDE_FACTOR,
    Octave,
    binned_pixels,
    joined,
    on_map,
    sizes_from_octaves,
)
from hyper_py.numerics.gaussians import render

FWHM = 3.5
SIGMA = FWHM / 2.3548
BEAM = np.eye(2) * SIGMA**2
SHAPE = (300, 300)


def noise(seed: int = 3, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Return noise seen through the beam, and some that was not."""
    rng = np.random.default_rng(seed)
    seen = ndimage.gaussian_filter(rng.normal(size=shape), SIGMA, mode="wrap")
    return seen / seen.std() + 0.3 * rng.normal(size=shape)


def sky(size: float, peak: float, *, step: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of round sources of a size in beams, and their positions (n, 2)."""
    y, x = (axis.ravel() + 35.3 for axis in np.mgrid[0:240:step, 0:240:step])
    sigma = np.full(x.size, size * SIGMA)
    sources = np.column_stack([np.full(x.size, peak), x, y, sigma, sigma, 0.0 * x])
    return noise() + render(sources, SHAPE), sources[:, 1:3]


def searched(data: np.ndarray) -> MatchedSearch:
    search = MatchedSearch.of(data, beam_covariance=BEAM, limits=PeakLimits())
    assert search is not None
    return search


@pytest.mark.parametrize(("size", "peak"), [(2.2, 12.0), (3.5, 10.0), (5.0, 10.0), (5.0, 40.0)])
def test_each_wide_source_is_one_detection_of_nearly_its_size(size: float, peak: float) -> None:
    data, truth = sky(size, peak)
    peaks = detect_matched(data, beam_covariance=BEAM, limits=PeakLimits(sigma_threshold=4.5))
    away = np.hypot(peaks.x - truth[:, :1], peaks.y - truth[:, 1:])
    assert np.all(away.min(axis=1) < 0.3 * size * FWHM)
    assert len(peaks) == len(truth)
    assert np.median(peaks.size[away.argmin(axis=1)]) == pytest.approx(size, rel=0.25)


def test_wide_sources_are_found_that_the_compact_filter_does_not_see() -> None:
    data, truth = sky(4.0, 7.0)
    search = searched(data)
    compact = candidates(search.field, search.found, search.rate)
    for found, least, most in ((compact, 0, 3), (search.candidates, 12, 16)):
        points = found.points[found.significance >= 4.0]
        near = np.hypot(*(points[:, None] - truth).T) < 1.5 * FWHM
        assert least <= near.any(axis=1).sum() <= most


@pytest.mark.parametrize("peak", [8.0, 300.0])
def test_compact_sources_are_found_once_and_stay_compact(peak: float) -> None:
    data, truth = sky(1.1, peak)
    peaks = detect_matched(data, beam_covariance=BEAM, limits=PeakLimits(sigma_threshold=4.5))
    assert len(peaks) == len(truth)
    np.testing.assert_array_equal(peaks.size, 1.0)


def test_two_long_sources_in_a_row_are_no_wide_one() -> None:
    """The coarser filter sees such a pair better than either of the two; both together say more."""
    y, x = (axis.ravel() + 35.3 for axis in np.mgrid[0:240:60, 0:240:60])
    peak, sigma_1, sigma_2 = (np.full(x.size, value) for value in (40.0, 1.7 * SIGMA, SIGMA))
    truth = np.concatenate(
        [np.column_stack([peak, x + side * 0.8 * FWHM, y, sigma_1, sigma_2, 0.0 * x]) for side in (-1.0, 1.0)]
    )
    peaks = detect_matched(
        noise() + render(truth, SHAPE), beam_covariance=BEAM, limits=PeakLimits(sigma_threshold=4.5)
    )
    away = np.hypot(peaks.x - truth[:, 1:2], peaks.y - truth[:, 2:3])
    assert len(peaks) == len(truth)
    assert np.all(away.min(axis=1) < 0.3 * FWHM)


def test_a_compact_source_beside_a_wide_one_is_another() -> None:
    source = np.array(
        [[10.0, 150.0, 150.0, 4 * SIGMA, 4 * SIGMA, 0.0], [12.0, 175.0, 150.0, SIGMA, SIGMA, 0.0]]
    )
    peaks = detect_matched(
        noise() + render(source, SHAPE), beam_covariance=BEAM, limits=PeakLimits(sigma_threshold=4.5)
    )
    assert len(peaks) == 2
    order = np.argsort(peaks.x)
    np.testing.assert_allclose(peaks.x[order], [150.0, 175.0], atol=3.0)
    assert peaks.size[order][0] > 2.5
    assert peaks.size[order][1] == 1.0


def test_noise_alone_has_no_wide_sources() -> None:
    found = [searched(noise(seed)).candidates for seed in (5, 6, 7)]
    assert sum(int(np.count_nonzero((one.step > 1) & (one.significance > 4.5))) for one in found) <= 1


def test_octaves_tell_the_size_and_peak_of_a_source() -> None:
    data, truth = sky(3.0, 50.0)
    search = searched(data)
    octaves = [
        Octave(1, search.field, search.found, candidates(search.field, search.found, search.rate)),
        *search.wide,
    ]
    assert [octave.step for octave in octaves] == [1, *OCTAVES]
    values, errors = (np.stack(part) for part in zip(*(o.measured(truth) for o in octaves), strict=True))
    size, peak = sizes_from_octaves(octaves, values, errors)
    assert np.median(size) == pytest.approx(3.0, rel=0.15)
    assert np.median(peak) == pytest.approx(50.0, rel=0.1)
    alone = joined(octaves[:1])
    np.testing.assert_array_equal(np.sort(alone.significance), np.sort(octaves[0].candidates.significance))


@pytest.mark.parametrize(("clearer", "steps"), [(0.95, [1, 1]), (1.05, [1, 1]), (1.15, [2])])
def test_a_wide_candidate_over_two_compact_ones_must_be_clearer_than_both(
    clearer: float, steps: list[int]
) -> None:
    search, middle = searched(noise()), np.array([150.0, 150.0])
    beside = np.array([[-0.6 * FWHM, 0.0], [0.6 * FWHM, 0.0]])
    compact = Candidates.compact(middle + beside, np.array([16.0, 12.0]))
    finest = Octave(1, search.field, search.found, compact)
    coarse = search.wide[0]
    # The wide one loses as much significance as the noise of its octave exceeds that of the map.
    loud = coarse.measured(middle[None])[1][0] / finest.measured(middle[None])[1][0]
    significance = 20.0 * clearer * np.clip(loud, 1.0, WIDE_FACTOR)
    wide = Candidates(middle[None], np.array([significance]), np.array([2.0]), np.array([2]))
    kept = joined([finest, replace(coarse, candidates=wide)])
    assert kept.step.tolist() == steps


def test_a_small_map_has_no_coarse_octaves() -> None:
    assert searched(noise(2, (40, 40))).wide == ()


def test_places_of_a_binned_map_are_those_of_the_map() -> None:
    own = Candidates.compact(np.array([[3.0, 5.0], [10.0, 0.0]]), np.array([4.0, 6.0]))
    moved = on_map(own, 4)
    np.testing.assert_array_equal(moved.points, [[13.5, 21.5], [41.5, 1.5]])
    np.testing.assert_array_equal(moved.step, [4, 4])
    x, y = binned_pixels(moved.points, 4, (30, 30))
    np.testing.assert_array_equal([x, y], [[3, 10], [5, 0]])


def around(centre: tuple[float, float], angles: np.ndarray) -> np.ndarray:
    """Return compact sources a beam and a half from a place, in some directions."""
    x, y = centre[0] + 1.5 * FWHM * np.cos(angles), centre[1] + 1.5 * FWHM * np.sin(angles)
    width = np.full(x.size, 1.2 * SIGMA)
    return np.column_stack([0.0 * x, x, y, width, width, 0.0 * x])


ALL_AROUND = np.arange(25) * 0.08 * np.pi


@pytest.mark.parametrize(
    ("angles", "peaks", "rows"),
    [
        (ALL_AROUND, 4.0 + 1.5 * np.cos(5.0 * ALL_AROUND), 1),
        (np.array([0.0, np.pi]), 15.0, 2),
        (np.arange(3) * 0.9, 15.0, 3),
    ],
    ids=["clumpy ring", "pair", "on one side"],
)
def test_the_clumps_of_a_ring_are_one_source_and_others_are_not(
    angles: np.ndarray, peaks: float | np.ndarray, rows: int
) -> None:
    source = around((150.0, 150.0), angles)
    source[:, 0] = peaks
    if rows == 3:
        source[:, 1:3] = 150.0 + (source[:, 1:3] - 150.0) * 2.0
    search = searched(noise() + render(source, SHAPE))
    found = search.candidates
    near = np.hypot(*(found.points - 150.0).T) < 4.0 * FWHM
    assert np.count_nonzero(near & (found.significance > 5.0)) == rows


@pytest.mark.parametrize(("n", "peak"), [(3, 100.0), (4, 150.0)])
def test_bright_sources_all_around_a_wide_one_are_not_its_rim(n: int, peak: float) -> None:
    """As in clumpy complexes, where a clump of six beams took in two of 280 sigma; all were lost here."""
    width = 5.0 * SIGMA
    compact = around((150.0, 150.0), 0.3 + np.arange(n) * 2.0 * np.pi / n)
    compact[:, 1:3] = 150.0 + (compact[:, 1:3] - 150.0) * 2.2 * FWHM / np.hypot(*(compact[0, 1:3] - 150.0))
    compact[:, 0] = peak
    data = noise() + render(np.array([[100.0, 150.0, 150.0, width, width, 0.0], *compact]), SHAPE)
    found = searched(data).candidates
    clear = found.points[found.significance > 10.0]
    away = np.hypot(*(clear[:, None] - compact[:, 1:3]).T)
    assert np.all(away.min(axis=1) < 0.5 * FWHM)


def test_a_peak_is_what_the_map_shows_where_a_fit_took_hardly_any_of_it() -> None:
    """A source of 20 sigma on the flank of a complex was as faint as its failed fit."""
    data, truth = sky(1.1, 12.0)
    search = searched(data)
    found = search.found
    failed = np.array([[0.3, *(truth[5] + 0.5), 0.4 * SIGMA, 0.4 * SIGMA, 0.0]])
    bright = replace(found.bright, sources=failed, change=np.ones(1))
    result = candidates(search.field, replace(found, bright=bright, bright_snr=np.array([0.8])), search.rate)
    away = np.hypot(*(result.points - truth[5]).T)
    assert result.significance[away < FWHM] > 8.0
    assert np.count_nonzero(result.significance > 8.0) == len(truth)


def test_a_compact_source_in_front_of_a_wide_one_is_a_source_of_its_own() -> None:
    """As in clumpy complexes, where sources of 300 sigma were part of the clump around them."""
    width = 5.0 * SIGMA
    wide = [60.0, 150.0, 150.0, width, width, 0.0]
    compact = [120.0, 150.0 + 1.6 * FWHM, 150.0, SIGMA, SIGMA, 0.0]
    found = searched(noise() + render(np.array([wide, compact]), SHAPE)).candidates
    clear = found.select(np.flatnonzero(found.significance > 10.0))
    away = np.hypot(*(clear.points - compact[1:3]).T)
    assert away[clear.step == 1].min() < 0.3 * FWHM
    assert np.count_nonzero(clear.step > 1) == 1
