"""Which sources of a map are kept once they are measured, and which have the flux of the fit."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.measured_groups import THREE, measured
from hyper_py.diagnostics import Flag
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import gaussians
from hyper_py.photometry.kept_sources import above_noise, with_fluxes_of_fits
from hyper_py.photometry.measurements import MeasuredMap, table_of_groups


@pytest.mark.parametrize(
    ("sigma", "bound", "ratio", "stays"),
    [
        (8.1, False, 2.9, False), (8.1, False, 3.1, True), (7.9, False, 2.9, True),
        (8.1, True, 9.9, False), (8.1, True, 10.1, True), (7.9, True, 2.9, True),
    ],
)  # fmt: skip
def test_a_wide_source_stays_only_if_its_flux_is_known(sigma, bound, ratio, stays):
    """The shape of those that are not clear is that of background."""
    sources = THREE.copy()
    sources[0, gaussians.SIGMA_1] = sigma
    groups = [measured(sources, np.array([k])) for k in range(3)]
    table = table_of_groups(sources, groups)
    covariance = np.broadcast_to(0.01 * np.eye(gaussians.N_PARAMETERS), table.covariance.shape)
    at_bound = np.zeros(table.at_bound.shape, dtype=bool)
    at_bound[0, gaussians.X] = bound
    table = replace(
        table, at_bound=at_bound, flux=np.array([0.1 * ratio, 1.0, 1.0]), flux_err=np.full(3, 0.1),
        covariance=covariance,
    )  # fmt: skip
    found = MeasuredMap(
        sources=table, groups=groups, noise=CovarianceModel(np.ones((1, 1))), given=np.arange(3)
    )
    assert above_noise(found, np.full(3, 5.0), wide_sigma=8.0).tolist() == [stays, True, True]


@pytest.mark.parametrize(
    ("snr", "ratio", "size", "bound", "together", "stays"),
    [
        (10.1, 2.0, 1.5, False, False, False), (10.1, 2.1, 1.5, False, False, True),
        (9.9, 1.5, 1.5, False, False, True), (500.0, 4.9, 1.5, False, False, False),
        (500.0, 5.1, 1.5, False, False, True), (500.0, 4.9, 1.5, False, True, True),
        (500.0, 4.9, 1.4, False, False, True), (500.0, 4.9, 1.0, True, False, False),
    ],
)  # fmt: skip
def test_a_clear_source_that_stands_alone_keeps_what_was_found(snr, ratio, size, bound, together, stays):
    """Rings of bright sources were rows: found at 10 sigma, their fits had moved away to 1.6.

    In complexes errors of true sources are as large, but the fits are what was found.
    """
    groups = [measured(THREE, np.array(own)) for own in ([[0, 1], [2]] if together else [[0], [1], [2]])]
    table = table_of_groups(THREE, groups)
    covariance = np.broadcast_to(0.01 * np.eye(gaussians.N_PARAMETERS), table.covariance.shape)
    at_bound = np.zeros(table.at_bound.shape, dtype=bool)
    at_bound[0, gaussians.Y] = bound
    table = replace(
        table, flux=np.array([0.1 * ratio, 9.0, 9.0]), flux_err=np.full(3, 0.1), covariance=covariance,
        at_bound=at_bound,
    )  # fmt: skip
    found = MeasuredMap(
        sources=table, groups=groups, noise=CovarianceModel(np.ones((1, 1))), given=np.arange(3)
    )
    sigma = size * np.sqrt(THREE[:, gaussians.SIGMA_1] * THREE[:, gaussians.SIGMA_2])
    assert above_noise(found, np.array([snr, 10.0, 10.0]), found_sigma=sigma).tolist() == [stays, True, True]


@pytest.mark.parametrize(
    ("changes", "snr", "taken"),
    [
        ({}, 10.1, True), ({}, 9.9, False), ({"aperture": 0.3}, 10.1, False), ({"fit": 0.59}, 10.1, False),
        ({"wide": 7.9}, 10.1, False), ({"faint": 0.9}, 10.1, False), ({"apart": True}, 10.1, False),
    ],
)  # fmt: skip
def test_in_front_of_a_bright_wide_source_the_flux_is_that_of_the_fit(changes, snr, taken):
    """What was left of wide ones outweighed sources of 30 sigma in complexes, and these had no row."""
    sources = THREE.copy()
    sources[1] = [changes.get("faint", 1.1), 20, 20, changes.get("wide", 8.1), 8.0, 0]
    together = [[0], [1], [2]] if "apart" in changes else [[0, 1], [2]]
    groups = [measured(sources, np.array(own)) for own in together]
    table = table_of_groups(sources, groups)
    table = replace(
        table, flux=np.array([changes.get("aperture", -4.0), 9.0, 9.0]), flux_err=np.full(3, 0.1),
        flux_gauss=np.array([changes.get("fit", 0.61), 9.0, 9.0]), flux_gauss_err=np.full(3, 0.1),
        chi2_red=np.full(3, 9.0),
    )  # fmt: skip
    found = MeasuredMap(
        sources=table, groups=groups, noise=CovarianceModel(np.ones((1, 1))), given=np.arange(3)
    )
    result = with_fluxes_of_fits(found, np.array([snr, 50.0, 50.0]), wide_sigma=8.0).sources
    expected = (table.flux_gauss[0], 0.3) if taken else (table.flux[0], 0.1)
    np.testing.assert_allclose((result.flux[0], result.flux_err[0]), expected)
    assert [bool(flags & Flag.FLUX_OF_FIT) for flags in result.flags] == [taken, False, False]
    np.testing.assert_array_equal(result.flux[1:], table.flux[1:])


@pytest.mark.parametrize(
    ("major", "minor", "snr", "stays"),
    [
        (8.0, 3.1, 20.0, False), (8.0, 3.3, 20.0, True), (7.9, 3.1, 20.0, True),
        (8.0, 8.0, 9.9, False), (8.0, 8.0, 10.1, True), (7.9, 7.9, 9.9, True),
    ],
)  # fmt: skip
def test_what_is_as_large_as_allowed_is_a_source_if_it_is_clear_and_no_ridge(major, minor, snr, stays):
    sources = THREE.copy()
    sources[0, [gaussians.SIGMA_1, gaussians.SIGMA_2]] = major, minor
    groups = [measured(sources, np.array([k])) for k in range(3)]
    table = table_of_groups(sources, groups)
    covariance = np.broadcast_to(0.01 * np.eye(gaussians.N_PARAMETERS), table.covariance.shape)
    table = replace(table, flux=np.full(3, 9.0), flux_err=np.full(3, 0.1), covariance=covariance)
    found = MeasuredMap(
        sources=table, groups=groups, noise=CovarianceModel(np.ones((1, 1))), given=np.arange(3)
    )
    assert above_noise(found, np.full(3, snr), largest_sigma=8.0).tolist() == [stays, True, True]
    assert above_noise(found, np.full(3, snr)).all()
