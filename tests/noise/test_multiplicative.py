"""Errors in shares of a source's own light, against maps made with a known one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from hyper_py.noise.multiplicative import multiplicative_noise
from hyper_py.options import DetectionOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.validation import validate


def bright_map(seed, share):
    """A map of 25 sources of some hundred sigma, each pixel with an error of a share of its light."""
    simulation = simulate_image(
        "alma", seed=seed, shape=(160, 170), n_sources=25, background_rms=0.5, peak_range=(250.0, 400.0),
        peak_scale="noise", crowded_fraction=0.16, crowded_separation=(1.2, 2.0),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    grain = share * simulation.sources * rng.standard_normal(simulation.sources.shape)
    return replace(simulation.image, data=simulation.image.data + grain), simulation


@pytest.mark.parametrize("share", [0.02, 0.06])
def test_the_share_that_was_put_in_is_measured(share, rng):
    y, x = np.mgrid[:120, :130]
    light = sum(
        a * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 1.6**2)
        for a, x0, y0 in zip(rng.uniform(50, 400, 12), *rng.uniform(8, 112, (2, 12)), strict=True)
    )
    noise = ndimage.gaussian_filter(rng.standard_normal(light.shape), 1.5) * 5.0
    level = 1.0 + x / 130.0
    residual = level * (noise + share * (light / level) * rng.standard_normal(light.shape))
    usable = np.ones(light.shape, dtype=bool)
    usable[:, 60] = False
    residual[~usable] = np.nan
    measured = multiplicative_noise(residual + light, light, relative_rms=level, size=50)
    assert measured == pytest.approx(share, rel=0.3)
    clean = multiplicative_noise(level * noise + light, light, relative_rms=level)
    assert clean < 0.1 * share


def test_without_light_there_is_no_share(rng):
    nothing = np.zeros((20, 20))
    residual = rng.standard_normal((20, 20))
    assert multiplicative_noise(residual, nothing, relative_rms=nothing + 1.0) == 0.0
    assert multiplicative_noise(residual + np.nan, nothing + 1.0, relative_rms=nothing + 1.0) == 0.0


def test_noise_of_bright_sources_is_no_companion_and_widens_errors(random_seed):
    """Six per cent of several hundred sigma: none is split, pairs are kept, and errors hold.

    The pulls of 25 sources tell their width to a quarter: three maps are judged together.
    """
    widths = []
    for seed in np.random.SeedSequence(random_seed).generate_state(3):
        image, simulation = bright_map(int(seed), 0.06)
        options = Options(detection=DetectionOptions(sigma_thres=5.0))
        catalog = extract_sources(image, options=options).catalog
        result = validate(catalog, simulation.truth, beam_fwhm=image.beam_fwhm_pix)
        assert result.completeness.value == 1.0
        assert result.false.size <= 1
        widths.append(result.samples["all"]["flux (Gaussian)"].pull_width)
    assert 0.7 < np.mean(widths) < 1.3
