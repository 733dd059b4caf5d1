"""All sources of a field, fitted in all bands."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.aligned_bands import small_field
from hyper_py.bands.joint_fit import FitChoices, fit_jointly, partition, population_prior, wide_prior


@pytest.mark.seeds(1, 2)
def test_fluxes_are_true_within_their_errors(random_seed):
    _, bands, truth = small_field(seed=random_seed, n_sources=14, size=500.0)
    choices = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    result = fit_jointly(bands, truth, choices=choices, max_iterations=4)
    found = result.estimates
    error = np.sqrt(np.diagonal(found.flux_covariance, axis1=1, axis2=2))
    pulls = ((found.flux - truth.flux) / error)[found.seen]
    assert found.seen.mean() > 0.95
    assert 0.75 < np.sqrt(np.mean(np.clip(pulls, -4, 4) ** 2)) < 1.35
    assert np.abs(np.median((found.flux / truth.flux)[:, :3]) - 1.0) < 0.02
    place = np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2))[:, :2]
    assert np.std((found.position - truth.position) / place) < 1.6


def test_only_what_changed_and_what_is_beside_is_fitted_again():
    _, bands, truth = small_field(seed=3, n_sources=12, size=900.0, pair_fraction=0.0, margin=60.0)
    choices = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    first = fit_jointly(bands, truth, choices=choices, max_iterations=1)
    changed = np.zeros(len(truth), dtype=bool)
    changed[0] = True
    again = fit_jointly(bands, first.estimates, choices=choices, changed=changed, max_iterations=1)
    assert 1 <= again.n_fits < first.n_fits
    only = fit_jointly(
        bands, first.estimates, choices=choices, changed=changed, beside=False, max_iterations=1
    )
    assert only.n_fits == 1
    far = np.hypot(*(truth.position - truth.position[0]).T) > 250.0
    np.testing.assert_array_equal(again.estimates.flux[far], first.estimates.flux[far])


def test_groups_are_chains_and_no_group_is_too_large(rng):
    _, bands, _ = small_field(seed=3)
    position = rng.uniform(-200.0, 200.0, (60, 2))
    groups = partition(bands, position)
    assert sorted(np.concatenate(groups).tolist()) == list(range(60))
    assert 4 < max(map(len, groups)) <= 8


def test_the_prior_is_that_of_the_bright_sources_if_there_are_enough():
    _, bands, truth = small_field(seed=3, n_sources=14, size=500.0, flux_range=(1.0, 2.0))
    choices = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    found = fit_jointly(bands, truth, choices=choices, max_iterations=2).estimates
    prior = population_prior(bands, found, free=False)
    assert prior.mean[0] == pytest.approx(truth.shape[:, [0, 2]].mean(), rel=0.25)
    assert prior.sigma[0] < choices.prior.sigma[0]
    few = population_prior(bands, found.select(np.arange(4)), free=True)
    assert few.mean[0] == 0.0
    beams = np.array([(band.fwhm / 2.3548200450309493) ** 2 for band in bands])
    np.testing.assert_allclose(few.band_sigma, [*0.5 * beams[:4], beams[2]])


def test_the_prior_is_not_that_of_the_small_sources_only():
    """Half are wide, with larger errors: with a cut on S/N the prior was that of the other half."""
    _, bands, truth = small_field(seed=3, n_sources=40, size=900.0)
    n = len(truth)
    wide = np.arange(n) % 2 == 0
    error = np.where(wide, 4.0, 1.0)[:, None] * np.ones(len(bands))
    found = replace(
        truth, shape=np.where(wide[:, None], [50.0, 0.0, 50.0], [10.0, 0.0, 10.0]),
        flux=np.repeat(np.geomspace(20.0, 200.0, n // 2), 2)[:, None] * np.ones(len(bands)),
        flux_covariance=error[:, :, None] ** 2 * np.eye(len(bands)),
    )  # fmt: skip
    prior = population_prior(bands, found, free=False)
    np.testing.assert_allclose(prior.mean, [30.0, 0.0, 30.0])
    np.testing.assert_allclose(prior.sigma[[0, 2]], 20.0)
    # The unit of fluxes does not matter, nor do bands that do not see a source.
    blind = np.array([False, True])[np.arange(n) % 2, None] & (np.arange(len(bands)) == 0)
    covariance = np.where(blind[:, :, None] | blind[:, None, :], np.nan, 1e6 * found.flux_covariance)
    scaled = replace(found, flux=np.where(blind, np.nan, 1e3 * found.flux), flux_covariance=covariance)
    np.testing.assert_allclose(population_prior(bands, scaled, free=False).mean, prior.mean)
