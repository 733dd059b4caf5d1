"""The beam of a mean of maps, refereed by a least-squares fit of pixels and by the mean itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from hyper_py.beams import beam_of_mean
from hyper_py.geometry import Beam

MAJOR = st.floats(10.0, 25.0)
BEAM = st.builds(
    lambda a, q, pa: Beam(major=a, minor=q * a, pa=pa), MAJOR, st.floats(0.5, 1.0), st.floats(0, 179)
)
STEP = 1.0
EAST, NORTH = STEP * np.mgrid[-60:61, -60:61][::-1]


def drawn(covariance):
    """A Gaussian of peak 1 on the grid."""
    (a, b), (_, c) = np.linalg.inv(covariance)
    return np.exp(-0.5 * (a * EAST**2 + 2 * b * EAST * NORTH + c * NORTH**2))


def mean_of(beams, weights):
    """The mean of point sources of unit flux, per arcsec2."""
    parts = [
        w * drawn(b.covariance) / (2 * np.pi * np.sqrt(np.linalg.det(b.covariance)))
        for b, w in zip(beams, weights, strict=True)
    ]
    return sum(parts) / sum(weights)


@given(st.lists(st.tuples(BEAM, st.floats(0.2, 5.0)), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None)
def test_it_is_the_gaussian_nearest_to_the_mean(pairs):
    beams, weights = zip(*pairs, strict=True)
    mean, beam = mean_of(beams, weights), beam_of_mean(beams, weights)
    (a, b), (_, c) = beam.covariance
    start = np.array([1.0 / beam.solid_angle, a, b, c])

    def residual(p):
        return (
            (p[0] * start[0] * drawn([[p[1] * a, b + p[2] * a], [b + p[2] * a, p[3] * c]]) - mean) / start[0]
        ).ravel()

    fitted = least_squares(residual, [1.05, 1.03, 0.01, 0.98], xtol=1e-12, ftol=1e-12, gtol=1e-12).x
    np.testing.assert_allclose(fitted, [1.0, 1.0, 0.0, 1.0], atol=2e-4)


@given(st.lists(st.tuples(BEAM, st.floats(0.2, 5.0)), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None)
def test_gaussian_and_residual_are_the_mean(pairs):
    beams, weights = zip(*pairs, strict=True)
    beam = beam_of_mean(beams, weights)
    residual = 0.0 if beam.psf_residual is None else beam.psf_residual.on_grid(STEP * np.eye(2), reach=60)
    whole = (drawn(beam.covariance) + residual) / beam.solid_angle
    mean = mean_of(beams, weights)
    np.testing.assert_allclose(whole, mean, atol=1e-3 * mean.max())
    assert beam.flux_factor(beam.fwhm) * drawn(beam.covariance).sum() / beam.solid_angle == pytest.approx(
        1, abs=1e-3
    )


def test_equal_beams_are_that_beam():
    beam = Beam(major=20.0, minor=12.0, pa=30.0, area=300.0)
    assert beam_of_mean([beam, beam, beam], [1, 2, 3]) is beam
