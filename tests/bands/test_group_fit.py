"""The fit of a group in all bands: minimum, derivatives and errors, against scipy and Monte Carlo."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import solve_triangular
from scipy.optimize import least_squares

from helpers.aligned_bands import small_field
from hyper_py.bands.blocks import FieldView
from hyper_py.bands.group_fit import Bounds, ShapePrior, fit_group

PRIOR = ShapePrior(mean=np.array([5.0, 0.0, 5.0]), sigma=np.array([40.0, 30.0, 40.0]))


def group_of(seed, *, members=(0, 1), **changes):
    """Blocks of some true sources in all bands; the first two are a pair."""
    pairs = {"pair_fraction": 1.0, "pair_separation": (12.0, 14.0)}
    _, bands, truth = small_field(seed=seed, **{**pairs, **changes})
    members = np.array(members)
    others = np.setdiff1d(np.arange(len(truth)), members)
    view = FieldView.of(bands, truth)
    theta = np.hstack([truth.position, truth.shape])[members]
    return bands, truth, view.blocks(members), theta, others


def bounds_for(theta, low=-4.0):
    n = len(theta)
    return Bounds(start=theta[:, :2], radius=np.full(n, 10.0), low=np.full(n, low), high=np.full(n, 400.0))


def full_residual(blocks, prior, k):
    """Whitened residual of all bands as a function of every parameter, none eliminated: the referee's."""
    white = [solve_triangular(b.lower, np.eye(b.y.size), lower=True) for b in blocks]

    def residual(p):
        theta, rest, parts = p[: 5 * k].reshape(k, 5), p[5 * k :], []
        for block, matrix in zip(blocks, white, strict=True):
            n = block.members.size
            flux, rest = rest[:n], rest[n:]
            value = matrix @ (block.plain - flux @ block.model(theta[block.members]))
            parts.append(value - block.basis @ (block.basis.T @ value))
        parts.append(((theta[:, 2:] - prior.mean) / prior.sigma).ravel())
        return np.concatenate(parts)

    return residual


def test_the_minimum_and_the_errors_are_those_of_scipy():
    _, truth, blocks, theta, _ = group_of(3)
    result = fit_group(
        blocks, theta, truth.difference[:2], prior=PRIOR, bounds=bounds_for(theta), tolerance=1e-10
    )
    assert result.converged
    start = np.concatenate([theta.ravel(), *(result.flux[b.members, b.band] for b in blocks)])
    scale = np.concatenate([np.ones(theta.size), np.full(start.size - theta.size, 1e-2)])
    referee = least_squares(
        full_residual(blocks, PRIOR, 2), start, x_scale=scale, xtol=1e-13, ftol=1e-13, gtol=1e-10
    )
    assert result.cost == pytest.approx(2.0 * referee.cost, rel=1e-6)
    np.testing.assert_allclose(result.theta, referee.x[:10].reshape(2, 5), atol=2e-3)
    covariance = np.linalg.inv(referee.jac.T @ referee.jac)
    error = np.sqrt(np.diagonal(covariance))
    np.testing.assert_allclose(
        np.sqrt(np.diagonal(result.covariance, axis1=1, axis2=2)), error[:10].reshape(2, 5), rtol=0.02
    )
    place = 10
    for block in blocks:
        own = slice(place, place + block.members.size)
        np.testing.assert_allclose(result.flux[block.members, block.band], referee.x[own], rtol=2e-3)
        found = result.flux_covariance[block.members, block.band][:, block.members, block.band]
        np.testing.assert_allclose(found, covariance[own, own], rtol=0.05, atol=0.02 * error[own].max() ** 2)
        place = own.stop


def test_normal_equations_are_those_of_differences():
    _, _, blocks, theta, _ = group_of(4)
    block = max(blocks, key=lambda b: b.members.size)
    point = theta[block.members] + 0.3
    normal = block.normal(point)
    for k in range(point.size):
        step = np.zeros(point.size)
        step[k] = 1e-3
        ahead, behind = (block.normal(point + sign * step.reshape(point.shape)) for sign in (1.0, -1.0))
        slope = (ahead.cost - behind.cost) / 2e-3
        assert -2.0 * normal.gradient[k] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_fluxes_follow_positions_and_shapes_as_their_derivatives_say():
    """On data without noise: what is left out is proportional to the residual."""
    _, truth, blocks, theta, _ = group_of(4)
    block = max(blocks, key=lambda b: b.members.size)
    point = theta[block.members]
    clean = truth.flux[block.members, block.band] @ block.model(point)
    block = replace(block, plain=clean, whitened=block.whiten(clean[:, None])[:, 0])
    normal = block.normal(point)
    assert normal.cost == pytest.approx(0.0, abs=1e-6)
    for k in range(point.size):
        step = np.zeros(point.size)
        step[k] = 1e-3
        ahead, behind = (block.normal(point + sign * step.reshape(point.shape)) for sign in (1.0, -1.0))
        change = (ahead.flux - behind.flux) / 2e-3
        scale = np.abs(normal.flux_derivatives).max()
        np.testing.assert_allclose(normal.flux_derivatives[:, k], change, atol=1e-4 * scale)


def test_errors_are_those_of_many_realisations(rng):
    _, truth, blocks, theta, _ = group_of(6)
    flux, pulls = truth.flux[:2], []
    for _ in range(60):
        noisy = []
        for block in blocks:
            clean = flux[block.members, block.band] @ block.model(theta[block.members])
            data = solve_triangular(block.lower, clean, lower=True) + rng.normal(size=clean.size)
            data -= block.basis @ (block.basis.T @ data)
            noisy.append(replace(block, whitened=data, plain=block.lower @ data))
        result = fit_group(
            noisy, theta, truth.difference[:2], prior=ShapePrior(mean=np.zeros(3), sigma=np.full(3, 1e3)),
            bounds=bounds_for(theta, low=-20.0), tolerance=1e-4,
        )  # fmt: skip
        error = np.sqrt(np.einsum("ibib->ib", result.flux_covariance))
        place = np.sqrt(np.diagonal(result.covariance, axis1=1, axis2=2))
        pulls.append(
            np.concatenate([((result.flux - flux) / error).ravel(), ((result.theta - theta) / place).ravel()])
        )
    width = np.std(pulls, axis=0)
    assert np.mean(width) == pytest.approx(1.0, abs=0.07)
    assert (np.abs(width - 1.0) < 0.35).all()
    assert np.abs(np.mean(pulls)) < 0.1


def test_fixed_positions_and_shapes_stay():
    _, truth, blocks, theta, _ = group_of(7)
    start = theta + 0.5
    bounds = replace(bounds_for(start), fixed_position=True, fixed_shape=True)
    result = fit_group(blocks, start, truth.difference[:2], prior=PRIOR, bounds=bounds, tolerance=1e-3)
    np.testing.assert_allclose(result.theta, start, rtol=1e-12)
    assert not result.covariance.any()
    assert (np.einsum("ibib->ib", result.flux_covariance) > 0.0).all()


@pytest.mark.parametrize(("low", "high", "flagged"), [(9.0, 400.0, False), (-4.0, 1.0, True)])
def test_a_fit_at_a_bound_of_the_shape_converges_and_only_the_largest_is_flagged(low, high, flagged):
    _, truth, blocks, theta, _ = group_of(7, fwhm_range=(4.0, 5.0), flux_range=(0.5, 1.0))
    bounds = replace(bounds_for(theta), low=np.full(2, low), high=np.full(2, high))
    result = fit_group(blocks, theta, truth.difference[:2], prior=PRIOR, bounds=bounds, tolerance=1e-3)
    eigenvalues = np.linalg.eigvalsh(result.theta[:, [[2, 3], [3, 4]]])
    assert np.isclose(eigenvalues, high if flagged else low).any(axis=1).all()
    assert result.converged
    assert result.shape_at_bound.tolist() == [flagged, flagged]


def test_free_shapes_follow_sizes_that_grow_with_wavelength_and_the_score_test_sees_them():
    changes = {
        "size_exponent": 0.5, "fwhm_range": (11.0, 12.0), "axis_ratio_range": (1.0, 1.0), "flux_range": (2.0,
        2.5), "temperature_range": (18.0, 20.0), "n_sources": 4, "cirrus": 0.0, "pair_fraction": 0.0,
    }  # fmt: skip
    _, truth, blocks, theta, _ = group_of(8, members=(0,), **changes)
    difference = truth.difference[:1]
    shared = fit_group(blocks, theta, difference, prior=PRIOR, bounds=bounds_for(theta), tolerance=1e-4)
    free = fit_group(
        blocks, theta, difference, prior=replace(PRIOR, band_sigma=np.full(5, 100.0)),
        bounds=bounds_for(theta),
        tolerance=1e-4,
    )  # fmt: skip
    assert shared.misfit.max() > 5.0
    assert shared.misfit.min() < -5.0
    bias = np.abs(np.stack([shared.flux, free.flux])[:, 0] / truth.flux[0] - 1.0)
    assert bias[1, :4].max() < 0.02 < bias[0, :4].max()  # of S/N above 100
    error = np.sqrt(np.einsum("ibib->ib", free.flux_covariance))
    assert np.abs((free.flux - truth.flux[:1]) / error).max() < 3.0
    size = free.theta[0, 2] + free.difference[0, :, 0]
    assert size[2] > 1.5 * size[0]
