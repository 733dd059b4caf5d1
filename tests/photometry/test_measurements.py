"""How what was measured of groups becomes one table over sources."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.groups import fitted_group
from hyper_py.background.model import NoBackground, Painted
from hyper_py.diagnostics import Flag
from hyper_py.fitting.groups import GroupFit
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.whitening import Whitener
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import FitPixels
from hyper_py.numerics.solvers import FitStatus
from hyper_py.photometry.aperture import GroupApertures, GroupPhotometry, source_apertures
from hyper_py.photometry.measurements import (
    MeasuredMap,
    SourceTable,
    corrected_fluxes,
    measured_group,
    source_table,
    without_errors_at_bounds,
)

SHAPE = (60, 62)
THREE = np.array([[1.0, 20, 20, 2, 2, 0], [1.0, 1, 30, 2, 2, 0], [1.0, 40, 40, 2, 2, 0]])


def photometry_of(n, **changes):
    given = {
        name: np.ones(n) for name in ("flux", "flux_err", "flux_gauss_err", "fraction", "background")
    }  # fmt: skip
    return GroupPhotometry(**{**given, "covariance": np.eye(6 * n), **changes})


def measured(
    sources, members, *, photometry=None, usable=None, residual=None, data=None, n_free=2, chi2=6.0,
    beam_area=2.0, status=FitStatus.COST, cost=3.0, retried=False,
):  # fmt: skip
    """A group as measured; its data and residual are of four pixels."""
    own = sources[members]
    residual = np.array([0.1, -0.2, 0.3, 0.1]) if residual is None else residual
    n = np.arange(residual.size)
    pixels = FitPixels(y=n, x=n, key=b"")
    fit = GroupFit(parameters=own, at_bound=own < -99, cost=cost, status=int(status), n_evaluations=4)
    group = fitted_group(
        fit, pixels, Whitener(weights=np.ones(n.size)), members=members, retried=retried,
        data=np.array([1.0, 2.0, 3.0, 2.0]) if data is None else data,
    )  # fmt: skip
    apertures = source_apertures(own, radius_in_fwhm=1.0)
    return measured_group(
        GroupApertures(group=group, apertures=apertures, fractions=np.ones(len(own))),
        photometry_of(len(own)) if photometry is None else photometry,
        residual, chi2=chi2, n_free=n_free, background=NoBackground(), beam_area=beam_area,
        usable=np.ones(SHAPE, dtype=bool) if usable is None else usable,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "cost", "retried", "expected", "flag"),
    [
        (FitStatus.COST, 3.0, False, 1, 0),
        (FitStatus.STEP, 3.0, True, 2, Flag.RETRIED),
        (FitStatus.MAX_EVALUATIONS, 3.0, False, 0, Flag.NOT_CONVERGED),
        (FitStatus.NOT_FINITE, np.nan, False, 0, Flag.FIT_FAILED),
    ],
)
def test_status_and_flags_say_how_a_fit_ended(status, cost, retried, expected, flag):
    sources = np.add(THREE, [0, 10, 0, 0, 0, 0])
    members = np.array([0, 2])
    group = measured(sources, members, status=status, cost=cost, retried=retried, beam_area=1.6)
    table = source_table(sources, [group])
    assert table.status.tolist() == [expected, 0, expected]
    assert table.flags[members].tolist() == [flag, flag]
    np.testing.assert_allclose(table.nmse[members], 0.15 / 18.0)
    np.testing.assert_allclose(table.chi2_red[members], 6.0 / 2)
    np.testing.assert_allclose(table.bic[members], 6.0 * 2.5 / 4 + 2 * np.log(2.5))
    assert np.isnan(table.nmse[1])


def test_statistics_that_do_not_exist_are_nan():
    nothing = np.zeros(2)
    group = measured(THREE, np.array([0]), residual=nothing, data=nothing, n_free=6, chi2=0.0, beam_area=20.0)
    assert np.isnan(group.nmse)
    assert np.isnan(group.chi2_red)
    assert group.bic == 0.0


def test_photometry_blanks_edges_and_missing_errors():
    usable = np.ones(SHAPE, dtype=bool)
    usable[20, 19:22] = False
    covariance = np.arange(18 * 18, dtype=float).reshape(18, 18)
    photometry = photometry_of(
        3, flux=np.array([1.0, 2.0, 3.0]), flux_err=np.array([0.1, 0.2, np.nan]),
        background=np.array([4.0, 5.0, 6.0]), covariance=covariance,
    )  # fmt: skip
    members = np.array([2, 0, 1])
    table = source_table(THREE, [measured(THREE, members, photometry=photometry, usable=usable)])
    np.testing.assert_array_equal(table.flux, [2, 3, 1])
    np.testing.assert_array_equal(table.background, [5, 6, 4])
    np.testing.assert_array_equal(table.n_blank, [3, 0, 0])
    np.testing.assert_array_equal(table.covariance[0], covariance[6:12, 6:12])
    np.testing.assert_array_equal(table.covariance[2], covariance[:6, :6])
    assert table.flags.tolist() == [Flag.BLANK_PIXELS, Flag.EDGE | Flag.NO_ERROR, 0]


def test_sources_of_groups_that_were_not_measured_have_failed():
    table = source_table(THREE, [])
    assert table.status.tolist() == [0, 0, 0]
    assert np.isnan(table.flux).all()
    assert np.isnan(table.covariance).all()
    assert table.order.tolist() == [-1, -1, -1]
    assert (table.flags == int(Flag.FIT_FAILED | Flag.NO_ERROR | Flag.BLANK_PIXELS)).all()


def test_an_aperture_without_a_pixel_has_no_flux():
    sources = THREE * [1, 1, 1, 1, 1, 1]
    sources[1:, 1:3] = [[40, 40], [-20, 30]]
    usable = np.ones(SHAPE, dtype=bool)
    usable[10:31, 10:31] = False
    table = source_table(sources, [measured(sources, np.arange(3), usable=usable)])
    assert table.status.tolist() == [0, 1, 0]
    for values in (table.flux, table.flux_err, table.flux_gauss_err, table.covariance[:, 0, 0]):
        np.testing.assert_array_equal(np.isnan(values), [True, False, True])
    assert [bool(f & Flag.FIT_FAILED) for f in table.flags] == [True, False, True]


def test_the_background_is_the_weighted_mean_of_pieces_inside_the_map():
    class Piece:
        order = -1

        def __init__(self, y, x, value, weight):
            self.painted = Painted(np.array(y), np.array(x), np.full(len(y), value), np.full(len(y), weight))

        def paint(self):
            return self.painted

    group = measured(THREE, np.array([0]))
    pieces = Piece((1, 1, -1), (1, 2, 0), 2.0, 1.0), Piece((1, 9, 0), (2, 0, -1), 5.0, 2.0)
    groups = [type(group)(**{**vars(group), "background": piece}) for piece in pieces]
    found = MeasuredMap(
        sources=SourceTable.unmeasured(THREE), groups=groups, noise=CovarianceModel(np.ones((1, 1))),
        given=np.arange(3),
    )  # fmt: skip
    expected = np.full((3, 4), np.nan)
    expected[1, 1], expected[1, 2] = 2.0, (2.0 + 2 * 5.0) / 3
    np.testing.assert_allclose(found.background_part((slice(0, 3), slice(0, 4))), expected)


def test_flags_are_added_to_those_that_there_are():
    table = source_table(THREE, [measured(THREE, np.arange(3))])
    found = MeasuredMap(sources=table, groups=[], noise=CovarianceModel(np.ones((1, 1))), given=np.arange(3))
    some = found.with_flags(Flag.FORCED, np.array([True, False, False])).with_flags(Flag.BLENDED)
    before = table.flags
    expected = before | np.array([int(Flag.FORCED), 0, 0]) | int(Flag.BLENDED)
    np.testing.assert_array_equal(some.sources.flags, expected)


def test_what_depends_on_a_parameter_at_its_bound_has_no_error():
    parameters = np.array([[3.0, 10.0, 10.0, 2.0, 2.0, 0.0]] * 4)
    at_bound = np.zeros((4, 6), dtype=bool)
    at_bound[1, gaussians.SIGMA_1] = at_bound[2, gaussians.X] = at_bound[3, gaussians.AMPLITUDE] = True
    table = replace(
        SourceTable.unmeasured(parameters), covariance=np.broadcast_to(np.eye(6), (4, 6, 6)),
        at_bound=at_bound, flux_err=np.ones(4), flux_gauss_err=np.ones(4),
    )  # fmt: skip
    result = without_errors_at_bounds(table)
    known = np.isfinite(np.diagonal(result.covariance, axis1=1, axis2=2))
    expected = [[1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(known, np.array(expected, dtype=bool))
    np.testing.assert_array_equal(np.isfinite(result.flux_err), [True, False, False, False])
    np.testing.assert_array_equal(np.isfinite(result.flux_gauss_err), [True, False, False, False])


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
    table = source_table(sources, groups)
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
    assert found.above_noise(np.full(3, 5.0), wide_sigma=8.0).tolist() == [stays, True, True]


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
    table = source_table(THREE, groups)
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
    assert found.above_noise(np.array([snr, 10.0, 10.0]), found_sigma=sigma).tolist() == [stays, True, True]


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
    table = source_table(sources, groups)
    table = replace(
        table, flux=np.array([changes.get("aperture", -4.0), 9.0, 9.0]), flux_err=np.full(3, 0.1),
        flux_gauss=np.array([changes.get("fit", 0.61), 9.0, 9.0]), flux_gauss_err=np.full(3, 0.1),
        chi2_red=np.full(3, 9.0),
    )  # fmt: skip
    found = MeasuredMap(
        sources=table, groups=groups, noise=CovarianceModel(np.ones((1, 1))), given=np.arange(3)
    )
    result = found.with_fluxes_of_fits(np.array([snr, 50.0, 50.0]), wide_sigma=8.0).sources
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
    table = source_table(sources, groups)
    covariance = np.broadcast_to(0.01 * np.eye(gaussians.N_PARAMETERS), table.covariance.shape)
    table = replace(table, flux=np.full(3, 9.0), flux_err=np.full(3, 0.1), covariance=covariance)
    found = MeasuredMap(
        sources=table, groups=groups, noise=CovarianceModel(np.ones((1, 1))), given=np.arange(3)
    )
    assert found.above_noise(np.full(3, snr), largest_sigma=8.0).tolist() == [stays, True, True]
    assert found.above_noise(np.full(3, snr)).all()


@pytest.mark.parametrize(
    ("beyond", "is_other", "together", "expected", "unknown"),
    [
        (0.5, True, 1, 1.5, 0.2), (0.5, False, 1, 1.2, 0.0), (1.6, True, 1, 1.2, 0.4),
        (-0.2, True, 2, 0.8, 0.08), (-0.4, True, 2, 1.2, 0.16), (-0.4, True, 1, 0.6, 0.16),
        (-0.9, True, 1, 1.2, 0.36), (np.nan, True, 1, 1.2, 0.4),
    ],
)  # fmt: skip
def test_light_beyond_a_gaussian_is_in_the_flux_if_it_can_be_its_own(
    beyond, is_other, together, expected, unknown
):
    """A share of it is in the error either way, but no larger share of the Gaussian's light."""
    one = np.ones(1)
    table = replace(
        SourceTable.unmeasured(THREE[:1]), flux=1.2 * one, flux_err=0.3 * one, flux_gauss=one,
        flux_gauss_err=0.1 * one, aperture_fraction=one, beyond=beyond * one, beyond_err=0.4 * one,
        flags=np.array([int(Flag.OTHER_PROFILE) * is_other]), n_in_group=np.array([together]),
    )  # fmt: skip
    found = corrected_fluxes(table, beam_factor=one, flux_factor=1.0, aperture_correction=True)
    assert found.flux[0] == pytest.approx(expected)
    assert found.flux_err[0] == pytest.approx(np.hypot(0.3 if expected == 1.2 else 0.5, unknown))
    assert found.flux_gauss_err[0] == pytest.approx(0.1)
