"""Blends found as one source."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.aligned_bands import small_field
from hyper_py.bands.joint_fit import FitChoices, fit_jointly, wide_prior
from hyper_py.bands.spectra import grey_body
from hyper_py.bands.splitting import (
    AGAIN,
    LEAST_GAIN,
    LEAST_SPECTRAL_GAIN,
    PLACE_STEP,
    places_beside,
    split_blends,
)
from hyper_py.numerics import gaussians

TEMPERATURES = np.array([10.0, 13.0, 17.0, 22.0, 28.0])
FIELD = {
    "size": 320.0, "n_sources": 2, "margin": 120.0, "pair_fraction": 1.0, "flux_range": (0.8, 1.0),
    "temperature_range": (16.0, 20.0), "fwhm_range": (0.0, 6.0),
}  # fmt: skip


def spectra_of(bands):
    return grey_body(np.array([band.wavelength for band in bands]), TEMPERATURES[:, None], 1.8)


def fitted_as_one(separation):
    """A pair, of which the brighter member is known only, fitted; and the truth."""
    _, bands, truth = small_field(seed=2, pair_separation=(separation, separation + 0.1), **FIELD)
    choices = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    middle = truth.position.mean(axis=0, keepdims=True)
    scale = np.full(1, bands[0].fwhm)
    one = replace(truth.select(np.array([0])), position=middle, start=middle.copy(), scale=scale)
    return bands, truth, choices, fit_jointly(bands, one, choices=choices, max_iterations=2).estimates


@pytest.mark.parametrize("separation", [6.0, 9.0])
def test_a_pair_found_as_one_becomes_two_with_true_fluxes(separation):
    bands, truth, choices, one = fitted_as_one(separation)
    split = split_blends(bands, one, spectra=spectra_of(bands), choices=choices, first=7)
    assert split.changed.tolist() == [True, True]
    assert split.estimates.identity.tolist() == [one.identity[0], 7]
    found = fit_jointly(bands, split.estimates, choices=choices, max_iterations=3).estimates
    distance = np.hypot(*(found.position[:, None] - truth.position).transpose(2, 0, 1))
    order = distance.argmin(axis=0)
    assert sorted(order.tolist()) == [0, 1]
    assert distance.min(axis=0).max() < 1.0
    error = np.sqrt(np.diagonal(found.flux_covariance, axis1=1, axis2=2))[order]
    assert np.abs((found.flux[order] - truth.flux) / error).max() < 4.5


@pytest.mark.seeds(3)
def test_places_beside_a_source_do_not_depend_on_where_it_is(random_seed):
    """Four of them are one step away exactly, and rounding decided whether they counted."""
    at_origin = places_beside(np.zeros((1, 2)), np.zeros(5), scale=7.0)
    step = PLACE_STEP * 7.0
    # Points of a grid within 1.1 FWHM of a point source, 2.75 steps, and not on it.
    assert len(at_origin) == sum(0 < i * i + j * j <= 2.75**2 for i in range(-3, 4) for j in range(-3, 4))
    for centre in np.random.default_rng(random_seed).uniform(-700.0, 700.0, (200, 2)):
        theta = np.append(centre, np.zeros(3))
        places = places_beside(centre[None], theta, scale=7.0) - centre
        np.testing.assert_allclose(places, at_origin, atol=1e-9 * step)


def test_a_faint_companion_beside_a_wide_source_is_found_whatever_its_direction():
    _, bands, truth = small_field(
        seed=1, **{**FIELD, "pair_separation": (11.0, 11.1), "fwhm_range": (8.0, 10.0),
        "flux_range": (0.08, 1.2), "axis_ratio_range": (1.5, 1.5)},
    )  # fmt: skip
    bright, faint = np.argsort(-truth.flux[:, 2])
    assert truth.flux[faint, 2] < 0.25 * truth.flux[bright, 2]
    choices = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    known = replace(truth.select(np.array([bright])), scale=np.full(1, bands[0].fwhm))
    one = fit_jointly(bands, known, choices=choices, max_iterations=2).estimates
    split = split_blends(bands, one, spectra=spectra_of(bands), choices=choices, first=7)
    distance = np.hypot(*(split.estimates.position[:, None] - truth.position).transpose(2, 0, 1))
    assert sorted(distance.argmin(axis=0).tolist()) == [0, 1]
    assert distance.min(axis=0).max() < 1.5


def test_one_elongated_source_stays_one():
    _, bands, truth = small_field(
        seed=2, **{**FIELD, "pair_fraction": 0.0, "fwhm_range": (10.0, 12.0), "axis_ratio_range": (2.0, 2.0)}
    )
    choices = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    fitted = fit_jointly(bands, truth, choices=choices, max_iterations=2).estimates
    assert fitted.snr.max(axis=1).min() > 50.0
    split = split_blends(bands, fitted, spectra=spectra_of(bands), choices=choices, first=2)
    assert not split.changed.any()


def test_a_companion_too_faint_for_any_spectrum_is_found_if_it_has_that_of_a_grey_body():
    _, bands, truth = small_field(seed=2, pair_separation=(9.0, 9.1), **FIELD)
    light = [
        gaussians.render(truth.select([1]).gaussians(band, b), band.image.shape)
        for b, band in enumerate(bands)
    ]
    bands = [replace(band, data=band.data - 0.975 * one) for band, one in zip(bands, light, strict=True)]
    choices = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    bright = replace(truth.select(np.array([0])), scale=np.full(1, bands[0].fwhm))
    one = fit_jointly(bands, bright, choices=choices, max_iterations=2).estimates
    split = split_blends(bands, one, spectra=spectra_of(bands), choices=choices, first=7)
    assert split.changed.tolist() == [True, True]
    assert LEAST_SPECTRAL_GAIN < split.estimates.significance[1] ** 2 < LEAST_GAIN
    assert np.hypot(*(split.estimates.position[1] - truth.position[1])) < 3.0
    other = split_blends(bands, one, spectra=np.eye(len(bands))[:1], choices=choices, first=7)
    assert not other.changed.any()


def test_what_was_tried_in_louder_noise_is_tried_again():
    bands, _, choices, one = fitted_as_one(9.0)
    one.tried[:] = one.snr.max() / (1.01 * AGAIN)
    split = split_blends(bands, one, spectra=spectra_of(bands), choices=choices, first=7)
    assert split.changed.tolist() == [True, True]
    assert split.estimates.tried.tolist() == [0.0, 0.0]


def test_what_was_tried_with_the_same_noise_is_left_alone():
    bands, _, choices, one = fitted_as_one(9.0)
    one.tried[:] = one.snr.max()
    split = split_blends(bands, one, spectra=spectra_of(bands), choices=choices, first=7)
    assert len(split.estimates) == 1
