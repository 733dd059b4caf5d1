"""Whole maps in correlated noise."""

import numpy as np
import pytest

from helpers.problems import make_problem
from hyper_py.diagnostics import Flag
from hyper_py.numerics import gaussians
from hyper_py.options import Options
from hyper_py.photometry.aperture import aperture_fraction, source_apertures
from hyper_py.pipeline.correlated import measure_correlated


def test_no_source_is_added_in_noise_that_is_assumed(monkeypatch):
    asked = []

    def deblended(*args, **kwargs):
        asked.append(True)

    monkeypatch.setattr("hyper_py.pipeline.correlated.add_sources", deblended)
    rng = np.random.default_rng(1)
    for shape, expected in (((24, 25), False), ((70, 75), True)):
        source = np.array([[30.0, 12.3, 11.8, 1.7, 1.7, 0.0]])
        measured = measure_correlated(
            make_problem(source, gaussians.render(source, shape) + rng.normal(size=shape)), Options()
        )
        assert bool(measured.sources.flags[0] & Flag.NOISE_ASSUMED) is not expected
        assert bool(asked) is expected


def test_small_maps_assume_the_noise_and_say_so():
    rng = np.random.default_rng(1)
    source = np.array([[30.0, 12.3, 11.8, 1.7, 1.7, 0.0]])
    data = gaussians.render(source, (24, 25)) + rng.normal(size=(24, 25))
    measured = measure_correlated(make_problem(source, data), Options())
    assert measured.sources.flags[0] & Flag.NOISE_ASSUMED
    assert measured.sources.flux[0] == pytest.approx(gaussians.gaussian_flux(source)[0], rel=0.25)
    assert measured.sources.flux_err[0] > 0


def test_aperture_of_an_elongated_given_shape_counts_its_own_fraction():
    rng = np.random.default_rng(2)
    truth = np.array([[30.0, 40.3, 41.8, 2.2, 1.7, 0.4]])
    data = gaussians.render(truth, (80, 82)) + rng.normal(size=(80, 82))
    fixed = np.array([[False, True, True, True, True, True]])
    measured = measure_correlated(make_problem(truth, data, fixed=fixed, forced=True), Options())
    expected = aperture_fraction(truth[0], source_apertures(truth[:1], radius_in_fwhm=1.0)[0])
    assert measured.sources.aperture_fraction[0] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(measured.sources.parameters[0, 1:], truth[0, 1:])
    pull = (measured.sources.flux - gaussians.gaussian_flux(truth)) / measured.sources.flux_err
    assert abs(pull[0]) < 4
