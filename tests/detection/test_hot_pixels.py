"""Hot pixels are told from sources: those have the beam around them, wherever their peak is in the pixel."""

import numpy as np
import pytest
from scipy import ndimage

from hyper_py.detection.hot_pixels import are_hot_pixels, find_single_pixels
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import LazyPlane

SHAPE, SIGMA_NOISE = (240, 260), 1.0


def covariance(fwhm, ratio=1.0, angle=0.0):
    """Covariance of an elliptical beam, pixels^2."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sizes = np.array([fwhm * np.sqrt(ratio), fwhm / np.sqrt(ratio)]) / FWHM_PER_SIGMA
    return turn @ np.diag(sizes**2) @ turn.T


def noise(rng, fwhm, *, white):
    """Noise of rms 1: some of its variance white, the rest of the beam's correlation."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), fwhm / FWHM_PER_SIGMA)
    return np.sqrt(1 - white) * smooth / smooth.std() + np.sqrt(white) * rng.standard_normal(SHAPE)


def grid(rng):
    """Places 20 pixels apart, anywhere in their pixels."""
    y, x = np.mgrid[20:220:20, 20:240:20].reshape(2, -1)
    return x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)


@pytest.mark.parametrize("white", [0.05, 1.0])
@pytest.mark.parametrize("fwhm", [1.6, 2.0, 3.3, 6.0])
def test_sources_as_sharp_as_the_beam_are_none(rng, fwhm, white):
    beam = covariance(fwhm, ratio=1.2, angle=0.4)
    x, y = grid(rng)
    for amplitude in (5.0, 30.0, 1e4):
        sources = np.zeros((x.size, 6))
        sources[:, gaussians.AMPLITUDE] = amplitude * rng.uniform(1, 3, x.size)
        sources[:, gaussians.X], sources[:, gaussians.Y] = x, y
        # From 0.85 beams, a beam that is not well known, to 1.5.
        shape = gaussians.shape_parameters(beam)
        size = rng.uniform(0.85, 1.5, x.size)
        sources[:, gaussians.SIGMA_1 :] = shape
        sources[:, [gaussians.SIGMA_1, gaussians.SIGMA_2]] *= size[:, None]
        data = gaussians.render(sources, SHAPE) + noise(rng, fwhm, white=white)
        assert not are_hot_pixels(data, x=x, y=y, beam_covariance=beam).any()


@pytest.mark.parametrize("white", [0.05, 1.0])
@pytest.mark.parametrize("fwhm", [2.0, 3.3, 6.0])
def test_bright_pixels_are_found_on_any_map_also_beside_blanks(rng, fwhm, white):
    x, y = (np.rint(values) for values in grid(rng))
    data = noise(rng, fwhm, white=white)
    data[y.astype(int), x.astype(int)] += 30.0
    blank = rng.random(SHAPE) < 0.1
    blank[y.astype(int), x.astype(int)] = False
    lazy = LazyPlane(SHAPE, lambda rows, columns: data[rows, columns])
    for plane in (data, lazy):
        assert are_hot_pixels(plane, x=x, y=y, beam_covariance=covariance(fwhm)).all()
    # Where both pairs of neighbours have lost one, 4% of the places of the smallest beam, nothing is said.
    found = are_hot_pixels(np.where(blank, np.nan, data), x=x, y=y, beam_covariance=covariance(fwhm))
    assert found.mean() > (0.9 if fwhm == 2.0 else 0.999)


@pytest.mark.parametrize("fwhm", [2.0, 3.3, 6.0])
def test_peaks_of_noise_are_none(rng, fwhm):
    """White noise is the worst case: the highest pixels are those that stand out by themselves."""
    for white in (0.3, 1.0):
        data = noise(rng, fwhm, white=white)
        y, x = np.unravel_index(np.argsort(data, axis=None)[-2000:], SHAPE)
        found = are_hot_pixels(data, x=x.astype(float), y=y.astype(float), beam_covariance=covariance(fwhm))
        assert not found.any()


def test_faint_sources_beside_far_brighter_ones_are_none(rng):
    """The wing of the bright one is no constant."""
    beam = covariance(3.3)
    x, y = grid(rng)
    sources = np.zeros((2 * x.size, 6))
    turn, away = rng.uniform(0.0, 2.0 * np.pi, x.size), 3.3 * rng.uniform(1.0, 2.5, x.size)
    sources[:, gaussians.X] = np.append(x, x + away * np.cos(turn))
    sources[:, gaussians.Y] = np.append(y, y + away * np.sin(turn))
    sources[:, gaussians.AMPLITUDE] = np.repeat([1000.0, 20.0], x.size)
    sources[:, gaussians.SIGMA_1 :] = gaussians.shape_parameters(beam)
    data = gaussians.render(sources, SHAPE) + noise(rng, 3.3, white=0.05)
    for dx, dy in ((0, 0), (1, 0), (0, -1)):
        places = {"x": sources[:, gaussians.X] + dx, "y": sources[:, gaussians.Y] + dy}
        assert not are_hot_pixels(data, **places, beam_covariance=beam).any()


def test_scaling_and_constants_change_nothing(rng):
    x, y = grid(rng)
    data = noise(rng, 3.3, white=0.1)
    data[np.rint(y[::2]).astype(int), np.rint(x[::2]).astype(int)] += 8.0
    places = {"x": x, "y": y, "beam_covariance": covariance(3.3)}
    found = are_hot_pixels(data, **places)
    assert found.any()
    for scale, level in ((1e-12, 0.0), (1e9, 0.0), (1.0, 300.0), (1.0, -300.0)):
        np.testing.assert_array_equal(are_hot_pixels(data * scale + level, **places), found)


def test_places_off_the_map_or_unknown_are_not_judged():
    data = np.zeros((30, 30))
    data[10, 10] = 1.0
    x, y = np.array([np.nan, -3.0, 40.0, 10.0, 0.0]), np.array([5.0, 5.0, 5.0, 10.0, 0.0])
    found = are_hot_pixels(data, x=x, y=y, beam_covariance=covariance(4.0))
    np.testing.assert_array_equal(found, [False, False, False, True, False])
    assert not are_hot_pixels(data, x=x[:0], y=y[:0], beam_covariance=covariance(4.0)).size


def sky(rng, fwhm, *, size=1.0):
    """Sources in correlated noise, which is louder on one side."""
    x, y = grid(rng)
    sources = np.zeros((x.size, 6))
    sources[:, gaussians.AMPLITUDE] = 10.0 ** rng.uniform(0.5, 3.0, x.size)
    sources[:, gaussians.X], sources[:, gaussians.Y] = x, y
    sources[:, gaussians.SIGMA_1 :] = gaussians.shape_parameters(covariance(size * fwhm))
    loud = np.where(np.arange(SHAPE[1]) > 200, 20.0, 1.0)
    return gaussians.render(sources, SHAPE) + loud * noise(rng, fwhm, white=0.3)


def single(data, fwhm, **how):
    return set(map(tuple, find_single_pixels(data, beam_covariance=covariance(fwhm), **how).tolist()))


def spots(rng, n=6):
    """Pixels between the sources of `sky`."""
    return [*zip(rng.permutation(24)[:n] * 10 + 5, rng.permutation(19)[:n] * 10 + 5, strict=True)]


@pytest.mark.parametrize("fwhm", [2.0, 3.3, 6.0, 12.0])
def test_all_bright_and_dark_pixels_of_a_map_are_found_and_no_sources(rng, fwhm):
    data = sky(rng, fwhm)
    assert not single(data, fwhm)
    places = spots(rng)
    for k, (y, x) in enumerate(places):
        data[y, x] += (-1) ** k * 3000.0
    data[rng.random(SHAPE) < 0.02] = np.nan
    assert single(data, fwhm) == {place for place in places if np.isfinite(data[place])}


def test_pixels_of_six_sigma_are_found_in_noise_seen_through_the_beam(rng):
    data = noise(rng, 4.0, white=0.0)
    places = spots(rng)
    for k, place in enumerate(places):
        data[place] += (-1) ** k * 6.0
    assert single(data, 4.0) == set(places)


def test_what_is_found_depends_on_neither_tiles_nor_unit(rng):
    data = sky(rng, 3.3)
    for place in spots(rng):
        data[place] += 300.0
    found = single(data, 3.3)
    assert len(found) == 6
    lazy = LazyPlane(SHAPE, lambda rows, columns: data[rows, columns])
    assert single(lazy, 3.3, size=17) == single(data, 3.3, size=64) == found
    for scale, level in ((1e-12, 0.0), (1e9, 0.0), (1.0, 300.0), (-1.0, -300.0)):
        assert single(data * scale + level, 3.3) == found


@pytest.mark.parametrize("size", [1.3, 1.5, 2.0, 3.0])
def test_a_map_whose_beam_is_smaller_than_what_is_said_keeps_its_sources(rng, size):
    data = sky(rng, size)
    x, y = np.nonzero(data > 100.0)[::-1]
    beam = covariance(6.0)
    assert are_hot_pixels(data, x=x.astype(float), y=y.astype(float), beam_covariance=beam).any() == (
        size < 3
    )
    assert not single(data, 6.0)


@pytest.mark.parametrize("digits", [None, 0.5, 2.0])
def test_loud_and_coarse_noise_of_pixels_has_none(rng, digits):
    """Pixels of independent noise, ten times as loud on one side, in steps of some sigma."""
    for _ in range(3):
        data = rng.standard_normal(SHAPE) * np.geomspace(1.0, 10.0, SHAPE[1])
        assert not single(data if digits is None else digits * np.rint(data / digits), 3.3)


def test_pixels_at_the_border_and_beside_blanks_are_found(rng):
    data = noise(rng, 3.3, white=0.1)
    data[100:140, 100:140] = np.nan
    places = {(0, 130), (239, 50), (99, 120), (120, 140)}
    for place in places:
        data[place] = 100.0
    assert single(data, 3.3) == places


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_nothing_is_single_where_nothing_is_nor_with_the_beam_of_a_pixel(value):
    data = np.full((20, 30), value)
    assert not single(data, 3.0)
    data[10, 10] = 1.0
    assert single(data, 3.0) == ({(10, 10)} if value == 0.0 else set())
    assert not single(data, 1.5)
