"""Which errors are unknown at a bound, and what light is added to the flux of a source."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.measured_groups import THREE
from hyper_py.diagnostics import Flag
from hyper_py.numerics import gaussians
from hyper_py.photometry.source_table import SourceTable, corrected_fluxes, without_errors_at_bounds


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
