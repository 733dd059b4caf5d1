"""What follows from a model and a seed."""

import numpy as np
import pytest

from hyper_py.simulation.presets import sky_model
from hyper_py.simulation.recipe import Recipe


def test_streams_share_no_numbers():
    recipe = Recipe(sky_model("alma"), 3)
    drawn = {
        (stream, key): tuple(recipe.rng(stream, *key).integers(0, 2**62, 4))
        for stream in ("noise", "background", "sources")
        for key in ((), (0,), (1,))
    }
    assert len(set(drawn.values())) == len(drawn)
    again = Recipe(sky_model("alma"), 3).rng("noise", 1).integers(0, 2**62, 4)
    assert tuple(again) == drawn["noise", (1,)]
    assert tuple(Recipe(sky_model("alma"), 4).rng("noise", 1).integers(0, 2**62, 4)) != tuple(again)


def test_noise_level_is_the_model_s_per_beam():
    recipe = Recipe(sky_model("alma"), 1)
    assert recipe.rms * recipe.canvas.beam_area_pix == pytest.approx(recipe.model.noise_rms)
    assert recipe.grid[0] > recipe.model.shape[0]
    assert np.linalg.eigvalsh(recipe.beam_covariance).min() > 0


def test_lobes_are_flat_unless_asked_for():
    assert np.ptp(Recipe(sky_model("alma"), 1).lobes) == 0.0
    assert np.ptp(Recipe(sky_model("alma", side_lobes=0.1), 1).lobes) > 0.0
