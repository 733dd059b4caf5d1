"""Blocks of pixels."""

from dataclasses import replace

import numpy as np

from helpers.aligned_bands import small_field
from hyper_py.bands.blocks import FieldView


def view_of(**changes):
    _, bands, truth = small_field(seed=3, **changes)
    return bands, truth, FieldView.of(bands, truth)


def test_sources_apart_in_a_sharp_band_have_blocks_of_their_own_there_and_one_in_a_coarse_band():
    _, truth, view = view_of(pair_fraction=1.0, pair_separation=(40.0, 44.0), fwhm_range=(0.0, 4.0))
    pairs = [
        (i, j)
        for i in range(len(truth))
        for j in range(i)
        if np.hypot(*(truth.position[i] - truth.position[j])) < 45.0
    ]
    blocks = view.blocks(np.array(pairs[0]))
    per_band = [sum(block.band == b for block in blocks) for b in range(5)]
    assert (per_band[0], per_band[4]) == (2, 1)


def test_whitened_noise_is_white(rng):
    _, _, view = view_of()
    block = view.blocks(np.array([0]))[0]
    noise = block.lower @ rng.normal(size=(block.y.size, 400))
    white = block.whiten(noise)
    n_free = block.y.size - block.basis.shape[1]
    assert abs((white**2).sum() / (400 * n_free) - 1.0) < 0.02
    np.testing.assert_allclose(block.basis.T @ white, 0.0, atol=1e-9)


def test_a_constant_makes_no_difference():
    bands, truth, view = view_of()
    other = FieldView.of([replace(band, data=band.data + 3.0) for band in bands], truth)
    for one, shifted in zip(view.blocks(np.array([0])), other.blocks(np.array([0])), strict=True):
        np.testing.assert_allclose(
            one.whitened, shifted.whitened, atol=1e-6 * np.abs(shifted.plain).max() * 1e6
        )


def test_a_band_without_pixels_there_has_no_block():
    bands, truth, _ = view_of()
    blank = bands[1].data.copy()
    x, y = np.rint(bands[1].pixels(truth.position[:1])[0]).astype(int)
    blank[max(y - 12, 0) : y + 13, max(x - 12, 0) : x + 13] = np.nan
    bands[1] = replace(bands[1], data=blank)
    assert {block.band for block in FieldView.of(bands, truth).blocks(np.array([0]))} == {0, 2, 3, 4}


def test_light_of_other_sources_is_subtracted_or_free():
    _, truth, view = view_of(pair_fraction=1.0, pair_separation=(25.0, 27.0))
    distance = np.hypot(*(truth.position - truth.position[0]).T)
    near = int(np.argsort(distance)[1])
    block = next(one for one in view.blocks(np.array([0])) if one.band == 4)
    profile = view.parts[4].drawn(np.array([near]), block.sky)[0]
    assert np.abs(block.whiten(profile[:, None])).max() < 1e-6 * np.abs(profile).max() * 1e6
    assert block.basis.shape[1] >= 2
