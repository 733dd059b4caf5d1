"""Errors that hidden neighbours give: against what neighbours do that are there."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.aligned_bands import small_field
from hyper_py.bands.blocks import FieldView
from hyper_py.bands.confusion import hidden_neighbours, neighbour_density, with_confusion
from hyper_py.bands.joint_fit import FitChoices, fit_jointly, wide_prior
from hyper_py.bands.splitting import places_beside
from hyper_py.numerics import gaussians

FIELD = {
    "size": 320.0, "n_sources": 2, "margin": 120.0, "pair_fraction": 1.0, "flux_range": (0.8, 1.0),
    "temperature_range": (16.0, 20.0), "fwhm_range": (4.0, 6.0), "pair_separation": (7.0, 7.1),
}  # fmt: skip


def fitted_alone(share):
    """The first of a pair, fitted without the second, which has this share of its simulated flux."""
    _, bands, truth = small_field(seed=5, **FIELD)
    second = truth.select(np.array([1]))
    bands = [
        replace(
            band,
            data=band.data - (1.0 - share) * gaussians.render(second.gaussians(band, b), band.image.shape),
        )
        for b, band in enumerate(bands)
    ]
    choices = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    known = replace(truth.select(np.array([0])), scale=np.full(1, bands[0].fwhm))
    return bands, truth, fit_jointly(bands, known, choices=choices, max_iterations=3).estimates


def hidden_beside(bands, fitted, fluxes, *, expected=1e-3):
    theta = np.append(fitted.position[0], fitted.shape[0])
    return hidden_neighbours(
        FieldView.of(bands, fitted).blocks(np.array([0])), theta,
        places_beside(fitted.position, theta, scale=bands[0].fwhm), shape=np.array([4.0, 0.0, 4.0]),
        weight=np.append(np.zeros(2), wide_prior(bands, free=False).sigma ** -2.0), fluxes=fluxes,
        expected=expected,
    )  # fmt: skip


def test_a_neighbour_that_the_data_ask_for_is_probable_and_its_effect_is_in_the_errors():
    share = 0.08
    bands_alone, truth, alone = fitted_alone(0.0)
    bands, _, beside = fitted_alone(share)
    assert hidden_beside(bands_alone, alone, share * truth.flux[1:]).probability < 0.1
    hidden = hidden_beside(bands, beside, share * truth.flux[1:])
    assert hidden.probability > 0.9
    change = np.abs(beside.flux - alone.flux)[0]
    assert change[0] > 3.0 * np.sqrt(alone.flux_covariance[0, 0, 0])
    np.testing.assert_allclose(np.sqrt(np.diagonal(hidden.flux)), change, rtol=0.35)


def test_what_is_added_grows_with_the_number_of_neighbours_and_is_positive():
    bands, truth, alone = fitted_alone(0.0)
    fluxes = 0.005 * truth.flux[1:]
    few, many = (hidden_beside(bands, alone, fluxes, expected=value) for value in (1e-6, 1e-5))
    assert many.probability == pytest.approx(10.0 * few.probability, rel=0.01)
    np.testing.assert_allclose(many.flux, 10.0 * few.flux, rtol=0.01)
    assert np.linalg.eigvalsh(few.flux).min() > -1e-12 * np.trace(few.flux)
    assert np.linalg.eigvalsh(few.theta).min() > -1e-12 * np.trace(few.theta)


def test_the_density_beside_a_source_is_that_of_the_pairs():
    pairs = np.array([[0.0, 0.0], [6.0, 8.0], [500.0, 0.0], [900.0, 0.0]])
    assert neighbour_density(pairs, distance=12.0) == pytest.approx(0.5 / (np.pi * 144.0))
    assert neighbour_density(pairs, distance=9.0) == pytest.approx(0.0)
    assert neighbour_density(np.empty((0, 2)), distance=9.0) == 0.0


def test_where_no_source_has_a_neighbour_errors_stay():
    bands, _, alone = fitted_alone(0.0)
    same = with_confusion(bands, alone, prior=wide_prior(bands, free=False))
    np.testing.assert_array_equal(same.flux_covariance, alone.flux_covariance)
