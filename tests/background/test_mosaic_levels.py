"""Steps between tiles of a mosaic: they are found where they are and nowhere else, and taken off."""

import numpy as np
import pytest
from scipy import ndimage

from helpers.maps import noise_of
from hyper_py.background.mosaic_levels import mosaic_levels

SHAPE = (200, 260)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
FWHM = 4.0


def through_beam(seed: int, *, fwhm: float = FWHM) -> np.ndarray:
    return noise_of(SHAPE, seed=seed, sigma=fwhm / 2.3548, white=0.05)


def tiles(height: float, *, seed: int = 3) -> np.ndarray:
    """2 x 3 tiles with seams at y = 90, x = 100, 190."""
    level = height * np.random.default_rng(seed).normal(size=(2, 3))
    return level[(Y >= 90).astype(int), (X >= 100).astype(int) + (X >= 190)]


@pytest.mark.parametrize("height", [3.0, 30.0, 3000.0])
@pytest.mark.parametrize("unit", [1.0, 1e-12])
def test_tiles_are_made_level(height, unit):
    background = 200.0 * np.exp(-Y / 60.0) + 0.3 * X
    data = through_beam(1) + tiles(height) + background
    data[30:60, 90:130] = np.nan
    found = mosaic_levels(unit * data, fwhm=FWHM)
    assert (found.rows.tolist(), found.columns.tolist()) == ([90], [100, 190])
    rest = tiles(height) - found.image(SHAPE) / unit
    assert np.ptp(rest) < 0.6  # of the noise
    levels = tiles(height)[np.ix_([0, -1], [0, 150, -1])]
    highest = max(np.abs(np.diff(levels, axis=axis)).max() for axis in (0, 1))
    assert found.highest == pytest.approx(highest, rel=0.2)
    assert mosaic_levels(data - found.image(SHAPE) / unit, fwhm=FWHM) is None


def test_tiles_in_rows_that_are_shifted_and_a_strip_where_two_overlap_are_made_level():
    level = np.where(Y < 100, np.where(X < 80, 0.0, 20.0), np.where(X < 150, -15.0, 5.0))
    level[100:, 142:150] += 10.0
    found = mosaic_levels(through_beam(2) + level, fwhm=FWHM)
    assert (found.rows.tolist(), found.columns.tolist()) == ([100], [80, 142, 150])
    assert np.ptp(level - found.image(SHAPE)) < 1.5


def test_sources_on_a_seam_do_not_move_the_levels():
    sources = 500.0 * np.exp(-0.5 * ((X - 100.0) ** 2 + (Y[::-1] % 40.0 - 20.0) ** 2) / 1.7**2)
    found = mosaic_levels(through_beam(1) + tiles(20.0) + sources, fwhm=FWHM)
    assert np.ptp(tiles(20.0) - found.image(SHAPE)) < 1.0


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("fwhm", [1.5, 2.5, 4.0, 9.0])
def test_nothing_seen_through_a_beam_is_a_step(seed, fwhm):
    rng, sigma = np.random.default_rng(seed), fwhm / 2.3548
    noise = through_beam(seed, fwhm=fwhm)
    filaments = 50.0 * np.exp(-0.5 * ((Y - 75.3) / sigma) ** 2) + 9.0 * np.exp(-0.5 * ((X - 30) / sigma) ** 2)
    edges = ndimage.gaussian_filter(30.0 * ((np.abs(Y - 120.5) < 30) & (np.abs(X - 150.5) < 50)), sigma)
    stripes = 5.0 * ndimage.gaussian_filter1d(rng.standard_normal(SHAPE[0]), sigma)[:, None]
    source = 3000.0 * np.exp(-0.5 * ((Y - 30.0) ** 2 + (X - 50.0) ** 2) / sigma**2)
    for field in (filaments, edges, stripes, source, 3000.0 * np.exp(-Y / 50.0)):
        assert mosaic_levels(noise + field, fwhm=fwhm) is None


@pytest.mark.parametrize("seed", range(10))
def test_other_defects_are_no_steps(seed):
    rng = np.random.default_rng(seed)
    noise = through_beam(seed)
    bad = np.zeros(SHAPE)
    bad[rng.integers(0, SHAPE[0], 6)] += rng.uniform(1.0, 30.0, (6, 1))
    frame = np.where((np.abs(Y - 100) < 70) & (np.abs(X - 130) < 100), noise + 20.0, 0.0)
    louder = noise * np.where(X < 130, 1.0, 8.0)
    jitter = noise + 5.0 * rng.standard_normal(SHAPE[0])[:, None]
    for data in (noise + bad, frame, louder, jitter, np.round(noise), rng.standard_normal(SHAPE)):
        assert mosaic_levels(data, fwhm=FWHM) is None


def test_maps_that_are_small_blank_or_do_not_vary_have_no_steps():
    step = np.where(X < 100, 0.0, 50.0) + through_beam(1)
    assert mosaic_levels(step[:40], fwhm=FWHM) is None
    assert mosaic_levels(step[:, 96:104], fwhm=FWHM) is None
    assert mosaic_levels(np.where(X < 100, 0.0, 50.0), fwhm=FWHM) is None
    assert mosaic_levels(np.full(SHAPE, np.nan), fwhm=FWHM) is None
    assert mosaic_levels(step, fwhm=300.0) is None
