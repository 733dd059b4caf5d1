"""Holes are left out where the noise is measured: with them it is what it would be without."""

import numpy as np
import pytest

from helpers.injections import noise_sky
from hyper_py.injection.recovery import inject
from hyper_py.noise.holes import without_holes
from hyper_py.noise.measure import measure_noise
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.validation import validate

SIDE = 160


@pytest.fixture(scope="module")
def image(random_seed):
    return noise_sky(random_seed, shape=(SIDE, SIDE), noise_white_fraction=0.3).image


def hole_in(image, *, depth, size=1.0):
    """A negative source in the middle, of so many sigma and beams."""
    middle = 0.5 * (SIDE - 1)
    shape = gaussians.shape_parameters(size**2 * image.beam_covariance(middle, middle))
    return np.concatenate([[-depth * np.std(image.data), middle + 0.3, middle - 0.2], shape])[None]


def noise_of(image):
    beam = image.beam_covariance(0.5 * SIDE, 0.5 * SIDE)
    return measure_noise(image.data, beam_covariance=beam, beam_fwhm=image.beam_fwhm_pix)


@pytest.mark.parametrize(("depth", "size"), [(30, 1.0), (1000, 1.0), (10_000, 1.0), (50, 3.0), (-0.1, 1.0)])
def test_a_hole_does_not_change_the_noise(image, depth, size):
    alone, _ = noise_of(image)
    beside, relative = noise_of(inject(image, hole_in(image, depth=depth, size=size)))
    # Less of the map is left: its variance is known to 4%.
    assert beside.variance == pytest.approx(alone.variance, rel=0.1)
    assert not beside.assumed
    assert np.asarray(relative).max() < 1.3


@pytest.mark.parametrize("depth", [-100, -1000])
def test_a_hidden_source_does_not_change_the_noise(image, depth):
    """Beside one of 10^4 sigma others of 1000 are found by a late fit: all errors were 5 times too large."""
    alone, _ = noise_of(image)
    beside, _ = noise_of(inject(image, hole_in(image, depth=depth)))
    assert beside.variance == pytest.approx(alone.variance, rel=0.1)


def test_errors_are_right_on_a_map_of_very_bright_sources():
    sky = simulate_image("dynamic", seed=62, peak_range=(5.0, 10_000.0))
    rows = extract_sources(sky.image).catalog
    result = validate(rows, sky)
    assert (rows["FLUX"] > 2.0 * rows["FLUX_ERR"]).mean() > 0.98
    assert result.false.size <= 1
    assert result.completeness.value > 0.96


def test_noise_that_is_loud_somewhere_has_no_holes(rng):
    loud = rng.normal(size=(SIDE, SIDE))
    loud[:, : SIDE // 10] *= 40.0
    relative = np.where(np.arange(SIDE) < SIDE // 10, 40.0, 1.0) * np.ones((SIDE, 1))
    assert without_holes(loud, loud / relative, beam_fwhm=3.0) is None
    assert without_holes(loud, loud, beam_fwhm=3.0) is not None


@pytest.mark.parametrize("depth", [100, 1000])
def test_faint_sources_beside_a_hole_stay(image, depth, rng):
    x, y = np.array([(x, y) for x in (25, 60, 100, 135) for y in (25, 80, 135)], dtype=float).T
    middle = 0.5 * (SIDE - 1)
    shape = gaussians.shape_parameters(image.beam_covariance(middle, middle))
    peak = rng.uniform(15.0, 60.0, x.size) * np.std(image.data)
    points = np.column_stack([peak, x, y, np.tile(shape, (x.size, 1))])
    rows = extract_sources(inject(image, np.concatenate([points, hole_in(image, depth=depth)]))).catalog
    assert len(rows) == x.size
    away = np.hypot(rows["X"].value[:, None] - x, rows["Y"].value[:, None] - y).min(axis=0)
    assert (away < 0.5 * image.beam_fwhm_pix).all()
