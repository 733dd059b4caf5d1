import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, optimize, special, stats

from hyper_py.detection import filter_noise
from hyper_py.detection.filter_noise import (
    BrightnessCurves,
    Curve,
    FilterNoise,
    LoudRegions,
    brightness_curves,
    edge_curve,
)
from hyper_py.detection.noise_mesh import MeshGatherer
from hyper_py.numerics.mesh import MeshMap

FWHM, SHAPE = 3.0, (300, 330)
EVERYWHERE, DARK = np.ones(SHAPE, dtype=bool), np.zeros(SHAPE)


def smooth_noise(seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.2, mode="wrap")
    return noise / noise.std()


def test_a_loud_rim_is_followed_and_sources_are_not() -> None:
    data = smooth_noise(7)
    data[:, :12] *= 30.0
    for y in range(30, 300, 40):
        for x in range(60, 330, 40):
            data[y - 1 : y + 2, x - 1 : x + 2] += 50.0
    regions = LoudRegions(SHAPE, fwhm=FWHM)
    regions.add((slice(0, SHAPE[0]), slice(0, SHAPE[1])), data, DARK, EVERYWHERE)
    factor = regions.factor()[:, :]
    assert np.median(factor[:, :9]) == pytest.approx(30.0, rel=0.25)
    assert (factor[:, 24:] == 1.0).all()


@pytest.mark.parametrize(("crowded", "tells"), [(False, True), (True, True), (True, False)])
def test_a_loud_region_is_carried_to_its_rims_unless_it_is_told_to_be_a_crowd(
    crowded: bool, tells: bool
) -> None:
    data = smooth_noise(8)
    data[60:180, 60:180] *= 2.4
    if crowded:  # as in a complex: the rest of what is loud has peaks, and no holes as deep
        data[60:180, 180:240] = 8.0 * np.abs(data[60:180, 180:240]) - 1.0
    regions = LoudRegions(SHAPE, fwhm=FWHM, tells_crowds=tells)
    regions.add((slice(0, SHAPE[0]), slice(0, SHAPE[1])), data, DARK, EVERYWHERE)
    factor = regions.factor()[75:165, 75:165]
    if crowded and tells:
        assert np.mean(factor == 1.0) > 0.9
    else:
        assert np.median(factor) == pytest.approx(2.4, rel=0.1)


@pytest.mark.parametrize("tells", [True, False])
def test_a_bright_place_is_a_crowd_even_if_its_holes_are_as_deep_as_its_peaks_are_high(tells: bool) -> None:
    data, light = smooth_noise(8), 0.1 * smooth_noise(10)
    data[60:180, 60:180] *= 8.0
    light[60:180, 60:180] = np.linspace(0.0, 6.0, 120)
    whole = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    regions = LoudRegions(SHAPE, fwhm=FWHM, tells_crowds=tells)
    regions.add(whole, data, light, EVERYWHERE)
    dark, bright = regions.factor()[75:165, 75:100], regions.factor()[75:165, 140:165]
    assert np.median(dark) == pytest.approx(8.0, rel=0.1)
    assert np.median(bright) == pytest.approx(1.0 if tells else 8.0, rel=0.1)
    # Where the mesh itself is loud, more brightness is typical.
    mesh = np.ones((6, 7))
    mesh[1:4, 1:4] = 4.0
    regions = LoudRegions(SHAPE, fwhm=FWHM, tells_crowds=tells, mesh=MeshMap(mesh, 60, SHAPE))
    regions.add(whole, data, light, EVERYWHERE)
    assert np.median(regions.factor()[75:165, 140:165]) == pytest.approx(8.0, rel=0.1)


def test_edge_curve_is_the_ratio_in_each_class() -> None:
    rng = np.random.default_rng(9)
    distance = rng.uniform(0.5, 6.0, 200_000)
    ratio = rng.normal(size=distance.size) * np.where(distance < 1.0, 1.5, 1.0)
    curve = edge_curve(ratio, distance, beams=20_000.0)
    assert curve(np.array([0.7, 4.9])) == pytest.approx([1.5, 1.0], abs=0.04)


def test_edges_count_with_their_tail_of_holes_where_noise_differs_from_pixel_to_pixel() -> None:
    rng = np.random.default_rng(11)
    n, distance = 200_000, np.full(200_000, 0.6)
    ratio = rng.normal(size=n) * np.where(rng.random(n) < 0.1, 3.0, 0.9)
    ratio[:4000] = 30.0  # sources
    curve = edge_curve(ratio, distance, beams=20_000.0)

    def share_below(depth: float) -> float:
        return 0.98 * (0.1 * stats.norm.cdf(depth / 3.0) + 0.9 * stats.norm.cdf(depth / 0.9)) - 0.02

    expected = optimize.brentq(share_below, -9.0, 0.0) / stats.norm.ppf(0.02)
    assert curve(np.array([0.6])) == pytest.approx(expected, rel=0.02)
    assert expected > 1.2 > 1.4826 * np.median(np.abs(ratio))


def test_brightness_counts_where_it_makes_noise_and_only_there() -> None:
    rng = np.random.default_rng(10)
    light, noise = rng.lognormal(size=400_000), rng.normal(size=400_000)
    limit = np.quantile(light, 0.95)
    louder = brightness_curves(noise * np.where(light > limit, 1.4, 1.0), light, beams=40_000.0)
    even = brightness_curves(noise, light, beams=40_000.0)
    for curve in (louder.peaks, louder.holes):
        assert curve(np.array([0.1, 3.0 * limit])) == pytest.approx([1.0, 1.4], abs=0.1)
    for curve in (even.peaks, even.holes):
        assert curve.factor == pytest.approx(1.0, abs=0.06)


def test_bright_cirrus_is_louder_than_the_limit_only_if_its_holes_say_so() -> None:
    rng = np.random.default_rng(12)
    light, noise = rng.lognormal(size=400_000), rng.normal(size=400_000)
    loud = np.where(light > np.quantile(light, 0.95), 2.2, 1.0) * noise
    brightest = np.array([light.max()])
    both = brightness_curves(loud, light, beams=40_000.0)
    assert both.peaks(brightest) == pytest.approx(2.2, rel=0.08)
    assert both.holes(brightest) == pytest.approx(2.2, rel=0.08)
    sources = np.where(loud > 0.0, loud, noise)  # peaks as high, and holes as noise has them
    both = brightness_curves(sources, light, beams=40_000.0)
    assert both.peaks(brightest) == pytest.approx(1.5, abs=0.01)
    assert both.holes(brightest) == pytest.approx(1.0 + filter_noise.UNSURE, abs=0.06)


def test_peaks_of_bright_cirrus_are_higher_than_its_holes_are_deep() -> None:
    rng = np.random.default_rng(14)
    light, noise = rng.lognormal(size=400_000), rng.normal(size=400_000)
    is_bright = light > np.quantile(light, 0.95)
    skew = noise * np.where(is_bright, np.where(noise > 0.0, 1.5, 1.4), 1.0)
    both = brightness_curves(skew, light, beams=40_000.0)
    assert both.holes(np.array([light.max()])) == pytest.approx(1.5, abs=0.06)


def test_a_map_that_hardly_varies_has_no_curve_of_brightness() -> None:
    rng = np.random.default_rng(13)
    light, ratio = rng.normal(size=40_000), np.zeros(40_000)
    ratio[::5] = rng.normal(size=8_000)
    curves = brightness_curves(ratio, light, beams=4_000.0)
    assert curves.peaks is curves.holes is filter_noise.NO_CURVE


def test_holes_count_when_they_are_asked_for_but_near_edges() -> None:
    curves = BrightnessCurves(
        *(Curve(np.array([0.0, 1.0]), np.array([1.0, factor])) for factor in (1.4, 1.1))
    )
    ones = MeshMap(np.ones((1, 1)), 8, (8, 8))
    noise = FilterNoise(ones, ones, brightness=curves)
    light = np.array([[0.0, 1.0]])
    where = slice(0, 1), slice(0, 2)
    for by_holes, far, factor in ((False, 9.0, 1.4), (True, 9.0, 1.1), (True, 3.0, 1.4)):
        rms = replace(noise, by_holes=by_holes).at(where, distance=np.full((1, 2), far), brightness=light)
        np.testing.assert_allclose(rms, [[1.0, factor]])


def test_loud_windows_are_those_that_counting_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_noise.LoudRegions, "_up_to_rims", lambda self, factor, crowd, mesh: factor)
    rng, shape, fwhm = np.random.default_rng(3), (90, 110), 4.0
    data = rng.normal(size=shape)
    data[20:55, 30:50] *= 8.0
    usable = rng.random(shape) > 0.1
    regions = filter_noise.LoudRegions(shape, fwhm=fwhm)
    regions.add((slice(0, 90), slice(0, 110)), data, np.zeros(shape), usable)
    found = regions.factor()
    step = round(0.5 * fwhm)
    half = round(filter_noise.LOUD_BEAMS * fwhm / step)
    combed = np.where(usable, data, np.nan)[::step, ::step].astype(np.float32)
    padded, quartile = np.pad(combed, half, mode="symmetric"), special.ndtri(0.875)
    expected = np.ones(found.values.shape)
    for k, m in np.ndindex(*expected.shape):
        y, x = (min(2 * i + 1, n - 1) for i, n in zip((k, m), combed.shape, strict=True))
        window = padded[y : y + 2 * half + 1, x : x + 2 * half + 1]
        known = np.sort(window[np.isfinite(window)])
        n = known.size
        upper = np.sort(np.abs(known))[int(0.75 * n)] / quartile
        tail = filter_noise.TAIL
        deep, high = -known[int(tail * n)], known[int((1.0 - tail) * n)]
        enough = n >= filter_noise.LOUD_SHARE * window.size
        if upper > filter_noise.LOUD_LARGE and high <= filter_noise.CROWD * deep and enough:
            expected[k, m] = upper
    assert 5 < np.count_nonzero(expected > 1.0) < 0.5 * expected.size
    np.testing.assert_allclose(found.values, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", [MeshGatherer, LoudRegions])
def test_what_looks_at_tiles_is_sent_without_what_was_gathered(kind) -> None:
    assert len(pickle.dumps(kind((5000, 5000), fwhm=4.0))) < 500
