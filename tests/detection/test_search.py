"""The search as a whole, and the detector made of it."""

import gc
import math
import weakref
from functools import partial

import numpy as np
import pytest
from scipy import ndimage, stats

from hyper_py.detection.bright import fit_gaussians
from hyper_py.detection.checks import PeakLimits
from hyper_py.detection.field import Field, PartCache
from hyper_py.detection.filtering import Planes, first_mask, measure_filter
from hyper_py.detection.masks import Masks, PixelMask, SourceMask
from hyper_py.detection.matched import detect_matched
from hyper_py.detection.maxima import between_pixels, find_maxima, refined
from hyper_py.detection.peaks import Peaks
from hyper_py.detection.search import Searched, search
from hyper_py.numerics.gaussians import render
from hyper_py.numerics.tiles import LazyPlane

FWHM = 3.5
SIGMA = FWHM / 2.3548
BEAM = np.eye(2) * SIGMA**2


def detect(data, *, sigma_threshold: float = 4.0, **options) -> Peaks:
    limits = PeakLimits(sigma_threshold=sigma_threshold)
    return detect_matched(data, beam_covariance=BEAM, limits=limits, **options)


def noise(shape: tuple[int, int], seed: int, white: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    view = ndimage.gaussian_filter(rng.normal(size=shape), SIGMA, mode="wrap")
    return view / view.std() + white * rng.normal(size=shape)


def points(x: np.ndarray, y: np.ndarray, peak: float, sigma: float = SIGMA) -> np.ndarray:
    n = x.size
    return np.column_stack([np.full(n, peak), x, y, np.full(n, sigma), np.full(n, sigma), np.zeros(n)])


def grid(shape: tuple[int, int], step: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[step // 2 : shape[0] - 5 : step, step // 2 : shape[1] - 5 : step]
    return x.ravel() + 0.3, y.ravel() - 0.2


def matched(peaks, x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """Return how many true places have a detection within half a beam, and how many detections have none."""
    distance = np.hypot(peaks.x[:, None] - x, peaks.y[:, None] - y)
    near = distance < 0.5 * FWHM
    return int(near.any(axis=0).sum()), int((~near.any(axis=1)).sum())


def test_false_detections_are_as_many_as_beams_of_noise_exceed_the_threshold() -> None:
    shape, n_maps, false = (400, 400), 12, 0
    for seed in range(n_maps):
        false += len(detect(noise(shape, seed), sigma_threshold=3.5))
    expected = n_maps * 400**2 / (1.1331 * FWHM**2) * stats.norm.sf(3.5)
    # Poisson, three sigma, and a tenth for the tail's form.
    assert abs(false - expected) < 3 * np.sqrt(expected) + 0.1 * expected


def test_number_of_false_detections_sets_the_threshold() -> None:
    false = [len(detect(noise((300, 300), seed), max_false_rate=8.0)) for seed in range(8)]
    assert sum(false) == pytest.approx(64.0, abs=3 * 8 + 6.4)


@pytest.mark.parametrize("peak", [15.0, 300.0, 30_000.0])
def test_sources_of_any_brightness_are_found_without_rings(peak: float) -> None:
    shape = (260, 260)
    x, y = grid(shape, 50)
    data = noise(shape, 1) + render(points(x, y, peak, 1.3 * SIGMA), shape)
    found, false = matched(detect(data), x, y)
    assert (found, false <= 1) == (x.size, True)


@pytest.mark.parametrize("depth", [30.0, 100.0, 1000.0, 10_000.0])
def test_holes_make_no_sources(depth: float) -> None:
    shape = (200, 200)
    x, y = grid(shape, 50)
    hole = points(np.array([100.2]), np.array([99.7]), -depth)
    data = noise(shape, 2) + render(points(x, y, 25.0), shape) + render(hole, shape)
    found, false = matched(detect(data), x, y)
    assert (found, false <= 1) == (x.size, True)


def test_companion_of_a_bright_source_is_found_where_it_is() -> None:
    shape = (240, 240)
    x, y = grid(shape, 40)
    pairs = np.concatenate([points(x, y, 80.0), points(x + 1.0 * FWHM, y, 30.0)])
    peaks = detect(noise(shape, 3) + render(pairs, shape))
    found, false = matched(peaks, pairs[:, 1], pairs[:, 2])
    assert found >= 0.95 * len(pairs)
    assert false <= 2


@pytest.mark.parametrize(("rim", "times"), [(12, 30.0), (30, 5.0)])
def test_a_loud_rim_makes_no_rows(rim: int, times: float) -> None:
    level = np.full((200, 200), times)
    level[rim:-rim, rim:-rim] = 1.0
    data = level * np.random.default_rng(4).normal(size=level.shape)
    # A noise that does not follow the rim gives about 50 rows.
    assert len(detect(data)) <= 2


def test_source_beside_a_complex_is_found() -> None:
    shape, rng = (260, 260), np.random.default_rng(5)
    blobs = points(130 + rng.uniform(-15, 15, 20), 130 + rng.uniform(-15, 15, 20), 1.0, 1.0)
    blobs[:, 0], blobs[:, 3:5] = 10 ** rng.uniform(1.3, 2.4, 20), rng.uniform(1.5, 4, 20)[:, None]
    angle = np.arange(8) * np.pi / 4
    x, y = 130 + 38 * np.cos(angle), 130 + 38 * np.sin(angle)
    data = noise(shape, 6) + render(blobs, shape) + render(points(x, y, 20.0), shape)
    assert matched(detect(data), x, y)[0] == 8


def search_of(data: np.ndarray) -> Searched:
    field = Field.of(data, beam_covariance=BEAM, size=None)
    return search(field, fit=partial(fit_gaussians, beam_covariance=BEAM))


def test_a_crowd_of_sources_is_no_noise() -> None:
    louder, n_found = [], 0
    for seed in range(1, 7):
        rng = np.random.default_rng(seed)
        clumps = points(*(100.0 + 9.0 * rng.normal(size=(2, 40))), 1.0)
        clumps[:, 0], size = 20.0 * 15.0 ** rng.random(40), SIGMA * rng.uniform(1.3, 3.5, 40)
        clumps[:, 3] = clumps[:, 4] = size
        compact = points(np.array([100.0, 88.0, 112.0]), np.array([118.0, 84.0, 88.0]), 150.0)
        data = noise((200, 200), seed) + render(np.concatenate([clumps, compact]), (200, 200))
        rms = search_of(data).view.rms
        louder.append(np.median(rms[80:120, 80:120]) / np.median(rms))
        n_found += matched(detect(data), compact[:, 1], compact[:, 2])[0]
    # Those without a peak that stands out stayed 7 to 12 times as loud when holes alone told noise.
    assert np.max(louder) < 1.6
    assert n_found >= 16


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loud_noise_is_no_crowd_of_sources(seed: int) -> None:
    y, x = np.mgrid[:200, :200]
    loud = np.where(np.hypot(x - 100, y - 100) < 30, 12.0, 1.0)
    found = search_of(noise((200, 200), seed) * loud)
    assert len(found.bright.sources) == 0
    rms = found.view.rms
    assert np.median(rms[90:110, 90:110]) > 7.0 * np.median(rms)


def test_a_seam_is_as_loud_as_its_louder_side_and_makes_few_rows() -> None:
    gain, n_rows = np.where(np.arange(260) >= 130, 3.0, 1.0), 0
    for seed in range(1, 7):
        data = noise((260, 260), seed) * gain
        n_rows += len(detect(data))
        rms = search_of(data).view.rms
        # A mean of both sides is .6 of the louder one.
        assert np.median(rms[:, 130:133]) > 0.8 * np.median(rms[:, 170:230])
    assert n_rows <= 6  # 13 with that mean


def test_blanks() -> None:
    shape = (240, 240)
    x, y = grid(shape, 40)
    data = noise(shape, 7) + render(points(x, y, 40.0), shape)
    rows, columns = np.indices(shape)
    checkerboard = np.where((rows + columns) % 2 == 0, np.nan, data)
    assert matched(detect(checkerboard), x, y)[0] == x.size
    half = np.where(np.hypot(rows - 120, columns - 120) > 90, np.nan, data)
    inside, peaks = np.hypot(y - 120, x - 120) < 84, detect(half)
    assert matched(peaks, x[inside], y[inside])[0] == inside.sum()
    assert matched(peaks, x, y)[1] <= 1  # those that the edge cuts may be found


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("peak", [30.0, 3000.0])
def test_a_blank_core_hides_no_source_and_its_peak_is_what_the_wings_say(half: int, peak: float) -> None:
    shape = (240, 240)
    x, y = grid(shape, 40)
    data = noise(shape, 9) + render(points(x, y, peak), shape)
    for row, column in zip(np.rint(y).astype(int), np.rint(x).astype(int), strict=True):
        data[row - half : row + half + 1, column - half : column + half + 1] = np.nan
    peaks = detect(data)
    assert matched(peaks, x, y)[0] == x.size
    brightest = peaks.peak[np.argsort(-peaks.snr)][: x.size]
    assert brightest.min() > 0.3 * peak  # a start for fits
    if peak > 100.0:  # it was fitted
        assert np.median(brightest) == pytest.approx(peak, rel=0.2)


@pytest.mark.parametrize("shape", [(12, 12), (40, 30), (8, 200)])
def test_small_maps(shape: tuple[int, int]) -> None:
    data = noise(shape, 8) + render(points(np.array([5.0]), np.array([6.0]), 50.0), shape)
    detect(data)
    assert len(detect(np.zeros(shape))) == 0
    assert len(detect(np.full(shape, np.nan))) == 0


def crowded() -> np.ndarray:
    shape, rng = (260, 300), np.random.default_rng(9)
    sources = points(rng.uniform(0, 300, 90), rng.uniform(0, 260, 90), 1.0)
    sources[:, 0] = 10 ** rng.uniform(0.7, 3, 90)
    data = noise(shape, 10) + render(sources, shape)
    data[60:90, 100:170] = np.nan
    return data


def test_unit_of_the_map_does_not_matter() -> None:
    one = detect(crowded())
    for factor in (1e-30, 1e30):
        other = detect(crowded() * factor)
        assert other.snr == pytest.approx(one.snr, rel=1e-9)
        assert other.peak / factor == pytest.approx(one.peak, rel=1e-9)


def test_tiles_and_the_way_a_map_is_kept_do_not_matter() -> None:
    data = crowded()
    one = detect(data, size=0)
    lazy = LazyPlane(data.shape, lambda rows, columns: data[rows, columns].copy())
    for other in (
        detect(data, size=90),
        detect(lazy, size=150),
    ):
        assert other.x == pytest.approx(one.x, abs=1e-6)
        assert other.snr == pytest.approx(one.snr, rel=1e-6)


def test_noise_and_amplitude_of_the_filter() -> None:
    shape = (300, 300)
    x, y = grid(shape, 60)
    field = Field.of(noise(shape, 11), beam_covariance=BEAM, size=None)
    assert field is not None
    smoothed = field.smoothed(field.data)
    nothing = SourceMask(np.empty((0, 2)), np.empty(0))
    planes = Planes(smoothed, field.smoothed(np.zeros(shape)))
    view = measure_filter(field, planes, Masks(nothing, nothing), before=None, template=1.1)
    where = slice(20, 280), slice(20, 280)
    ratio = view.amplitude[where] / view.rms[where]
    assert ratio.std() == pytest.approx(1.0, abs=0.03)
    # The filter is linear, and its answer to a source of its size is the amplitude.
    model = render(points(np.rint(x), np.rint(y), 7.0, 1.1 * SIGMA), shape)
    answer = view.weights.apply(field.smoothed(model)[slice(0, 300), slice(0, 300)], field.distance[:, :])
    assert answer[np.rint(y).astype(int), np.rint(x).astype(int)] == pytest.approx(7.0, rel=1e-3)
    assert isinstance(first_mask(field, smoothed), PixelMask)


def test_maxima_and_their_positions() -> None:
    shape = (100, 110)
    x, y = np.array([20.3, 60.8, 90.1]), np.array([30.4, 55.2, 80.0])
    field = Field.of(noise(shape, 12), beam_covariance=BEAM, size=40)
    assert field is not None
    plane = render(points(x, y, 5.0, 2.0), shape)
    peaks = find_maxima(field, plane, threshold=1.0)
    assert refined(field, plane, peaks) == pytest.approx(np.column_stack([x, y]), abs=0.1)


@pytest.mark.parametrize("size", [None, 40])
def test_heights_between_pixels_do_not_depend_on_tiles_and_stay_at_edges(size: int | None) -> None:
    shape = (100, 110)
    x, y = np.array([20.4, 40.4, 79.4]), np.array([30.4, 39.4, 70.0])  # the second beside a seam of tiles
    data = noise(shape, 12)
    data[:, 95:] = np.nan
    field = Field.of(data, beam_covariance=BEAM, size=size)
    assert field is not None
    plane = np.asarray(render(points(x, y, 5.0, 2.0), shape))
    edge = int(np.flatnonzero(field.inner((slice(50, 51), slice(0, 110)))[0])[-1])
    plane[50, edge] = 3.0
    plane[50, edge + 1] = 2.9  # beyond what is looked at: it must not count
    peaks = between_pixels(field, plane, find_maxima(field, plane, threshold=2.0))
    assert peaks.value == pytest.approx([5.0, 5.0, 3.0, 5.0], rel=0.01)
    assert plane[peaks.y, peaks.x] == pytest.approx([4.804, 4.804, 3.0, 4.901], abs=0.001)


def test_significance_depends_little_on_the_place_between_pixels() -> None:
    sigma, shape = 2.5 / 2.3548, (300, 300)
    x, y = (part.ravel().astype(float) for part in np.mgrid[12:290:23, 12:290:23])
    beam, limits = np.eye(2) * sigma**2, PeakLimits(sigma_threshold=4.0)
    medians = []
    for step in (0.0, 0.5):
        data = np.random.default_rng(5).normal(size=shape) + render(
            points(x + step, y + step, 5.0, sigma), shape
        )
        peaks = detect_matched(data, beam_covariance=beam, limits=limits)
        assert len(peaks.x) == pytest.approx(x.size, abs=3)
        medians.append(float(np.median(peaks.snr)))
    assert medians[1] > 0.98 * medians[0], medians  # .956 for the values of pixels


def test_clear_peaks_in_loud_noise_are_fitted() -> None:
    """What is left of a complex looks like loud noise; its sources are clear, but not bright in that."""
    shape = (240, 240)
    rows, columns = np.mgrid[:240, :240]
    loud = np.where(np.hypot(rows - 120, columns - 120) < 60, 20.0, 1.0)
    source = points(np.array([120.0]), np.array([118.0]), 9.0 * 20.0)
    field = Field.of(noise(shape, 4) * loud + render(source, shape), beam_covariance=BEAM, size=None)
    assert field is not None
    found = search(field, fit=partial(fit_gaussians, beam_covariance=BEAM))
    x, y = found.bright.sources[:, 1], found.bright.sources[:, 2]
    near = np.hypot(x - 120.0, y - 118.0) < 1.0
    assert near.sum() == 1
    assert 5.0 < float(found.bright_snr[near][0]) < 20.0


def test_search_takes_off_what_another_fit_gives() -> None:
    shape = (200, 200)
    x, y = grid(shape, 50)
    field = Field.of(noise(shape, 13) + render(points(x, y, 100.0), shape), beam_covariance=BEAM, size=None)
    assert field is not None
    calls = []

    def fit(data, sources, which):
        calls.append(int(which.sum()))
        return fit_gaussians(data, sources, which, beam_covariance=BEAM)

    found = search(field, fit=fit)
    assert calls[0] == x.size
    assert len(found.bright.sources) == x.size
    assert found.bright_snr.min() > 20.0
    failing = search(field, fit=lambda data, sources, which: np.full(sources.shape, np.nan))
    assert len(failing.bright.sources) == 0
    assert np.count_nonzero(failing.peaks.value > 20.0) == x.size


def test_parts_of_planes_that_are_gone_are_forgotten() -> None:
    cache = PartCache(math.inf)
    where = slice(0, 10), slice(0, 10)
    kept, replaced = (cache.remembered(lambda rows, columns: np.ones((10, 10))) for _ in range(2))
    assert kept(*where) is kept(*where)
    replaced(*where)
    assert cache.n_bytes == 2 * 800
    del replaced
    assert cache.n_bytes == 800
    small = PartCache(1000)
    one = small.remembered(lambda rows, columns: np.ones((10, 10)))
    one(slice(0, 10), slice(0, 10))
    one(slice(10, 20), slice(0, 10))
    assert small.n_bytes == 800


def test_what_was_made_of_a_field_goes_with_it():
    field = Field.of(noise((120, 130), seed=4), beam_covariance=BEAM, size=64)
    assert field is not None
    planes = [field.smoothed(field.data), field.smoothed(field.data, alone=True)]
    for where in field.tiles:
        first, second = (plane[where] for plane in planes)
        np.testing.assert_array_equal(first, second)
    alive = weakref.ref(field)
    gc.disable()
    try:
        del field, planes
        assert alive() is None
    finally:
        gc.enable()
