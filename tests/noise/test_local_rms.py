"""The local noise of a filtered map against fields of known level."""

import numpy as np
import pytest
from scipy import ndimage

from hyper_py.noise.local_rms import NoiseMesh
from hyper_py.numerics.tiles import blocks, grown

SHAPE, CELL = (300, 330), 12


def level(data, usable, *, expected=1.0, area=14.0, size=0):
    mesh = NoiseMesh(data.shape, cell=CELL)
    for where in blocks(data.shape, size=size, multiple=CELL):
        outer, _ = grown(where, CELL, data.shape)
        piece = data[outer]
        mesh.add(where, piece, usable=usable[outer], expected=np.full(piece.shape, expected))
    return mesh.level(correlated_area=area, otherwise=expected)[:, :]


def smooth_noise(seed, width=1.5):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), width, mode="wrap")
    return noise * 2.0 * np.sqrt(np.pi) * width


@pytest.mark.parametrize("seed", range(3))
def test_uniform_noise_has_a_uniform_level(seed):
    noise = level(smooth_noise(seed), np.ones(SHAPE, bool), area=4 * np.pi * 1.5**2 / 2)
    assert noise.mean() == pytest.approx(1.0, abs=0.03)
    assert noise.std() < 0.04


@pytest.mark.parametrize("expected", [0.6, 1.0, 2.0])
def test_follows_the_level_whatever_was_expected(expected):
    true = np.exp(np.log(3.0) * np.arange(SHAPE[1]) / SHAPE[1]) * np.ones((SHAPE[0], 1))
    ratio = level(smooth_noise(3) * true, np.ones(SHAPE, bool), expected=1.7 * expected) / true
    assert np.median(ratio) == pytest.approx(1.0, abs=0.06)
    assert ratio.std() < 0.12


def test_sources_and_blanks_take_no_part():
    data, usable = smooth_noise(4), np.ones(SHAPE, bool)
    rng = np.random.default_rng(5)
    y, x = rng.integers(0, SHAPE[0], 60), rng.integers(0, SHAPE[1], 60)
    data[y, x] += 1e3
    data[100:130, 50:120] = np.nan
    usable[100:130, 50:120] = False
    usable[200:230, 200:260] = False
    data[200:230, 200:260] *= 30.0
    noise = level(data, usable)
    assert np.isfinite(noise).all()
    assert np.abs(noise - 1.0).max() < 0.3


@pytest.mark.parametrize("size", [24, 100, 37])
def test_blocks_agree(size):
    data, usable = smooth_noise(6), np.random.default_rng(7).random(SHAPE) < 0.9
    np.testing.assert_allclose(level(data, usable, size=size), level(data, usable), rtol=1e-12)
