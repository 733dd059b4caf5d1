"""The list of sources: what is found, what is not, and how often noise makes a source."""

import numpy as np
import pytest

from helpers.aligned_bands import images_of, small_field, true_sources
from hyper_py.bands.band import Band, common_plane
from hyper_py.bands.band_filter import filtered_band
from hyper_py.bands.joint_fit import FitChoices, wide_prior
from hyper_py.bands.offsets import OffsetChoices
from hyper_py.bands.search import SearchChoices, find_sources, scales
from hyper_py.bands.significance import Grid, find_candidates
from hyper_py.simulation.bands import simulate_bands

TEMPERATURES = (10.0, 13.0, 17.0, 22.0, 28.0)


def choices_for(bands, *, offsets=None):
    fit = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    return SearchChoices(threshold=4.5, temperatures=TEMPERATURES, beta=1.8, fit=fit, offsets=offsets)


def placed(simulated):
    images = images_of(simulated)
    plane = common_plane(images)
    return [Band.of(image, plane) for image in images], true_sources(simulated, plane)


def test_sources_are_found_where_they_are_and_nothing_else():
    simulated = simulate_bands(
        seed=7, size=560.0, n_sources=14, margin=50.0, flux_range=(0.2, 2.0), pair_separation=(16.0, 22.0),
        temperature_range=(12.0, 25.0), offset_rms=1.0,
    )  # fmt: skip
    bands, truth = placed(simulated)
    said = []
    found, _ = find_sources(
        bands, choices=choices_for(bands, offsets=OffsetChoices(reference=0)), progress=said.append
    )
    distance = np.hypot(*(found.position[:, None] - truth.position).transpose(2, 0, 1))
    assert (distance.min(axis=0) < 6.0).sum() >= 13
    assert (distance.min(axis=1) > 6.0).sum() <= 1
    assert "new above 25" in said[0]


@pytest.mark.parametrize("temperature", [(8.0, 8.1), (38.0, 40.0)])
def test_a_source_that_one_band_shows_is_found(temperature):
    simulated = simulate_bands(
        seed=3, size=420.0, n_sources=1, margin=120.0, flux_range=(0.06, 0.061),
        temperature_range=temperature,
        cirrus=0.0, offset_rms=0.0, fwhm_range=(0.0, 3.0),
    )  # fmt: skip
    bands, truth = placed(simulated)
    found, _ = find_sources(bands, choices=choices_for(bands))
    assert len(found) == 1
    assert np.hypot(*(found.position - truth.position).T).max() < 5.0


@pytest.mark.seeds(1, 2, 3)
def test_noise_makes_few_sources(random_seed):
    simulated = simulate_bands(
        seed=random_seed, size=600.0, n_sources=1, margin=50.0, flux_range=(1e-6, 2e-6), offset_rms=0.0
    )
    bands, _ = placed(simulated)
    found, _ = find_sources(bands, choices=choices_for(bands))
    assert len(found) <= 2


def test_the_sum_of_bands_is_more_significant_than_any_alone_and_noise_has_unit_width():
    _, bands, truth = small_field(seed=5, cirrus=0.0, flux_range=(0.05, 0.05), n_sources=6, pair_fraction=0.0)
    nothing = np.zeros((0, 6))
    filtered = [filtered_band(band, nothing, intrinsic=6.7) for band in bands]
    for seen in filtered:
        quiet = seen.ratio[np.isfinite(seen.ratio)]
        assert 1.4826 * np.median(np.abs(quiet)) == pytest.approx(1.0, abs=0.2)
    found = find_candidates(bands, filtered, Grid.over(bands), temperatures=TEMPERATURES, beta=1.8)
    distance = np.hypot(*(found.position[:, None] - truth.position).transpose(2, 0, 1))
    best = [found.significance[distance[:, i] < 6.0].max(initial=0.0) for i in range(len(truth))]
    single = [found.ratio[distance[:, i] < 6.0].max(initial=0.0) for i in range(len(truth))]
    assert np.median(np.array(best) / np.maximum(single, 1.0)) > 1.05


def test_the_scale_is_the_sharpest_beam_that_shows_a_source_well():
    fwhm = np.array([7.0, 18.0, 36.0])
    assert scales(fwhm, np.array([[9.0, 10.0, 3.0], [1.0, 10.0, 6.0], [0.0, 1.0, 5.0]])).tolist() == [
        7,
        18,
        36,
    ]
