"""Injection adds what it says; recovery counts only what was not there before."""

import numpy as np
import pytest

from helpers.injections import noise_sky, sky_setup
from hyper_py.injection.drawing import FluxRange
from hyper_py.injection.recovery import inject, match_new_rows, realise
from hyper_py.numerics import gaussians


def test_injection_adds_the_flux_and_leaves_blanks():
    image = noise_sky(blank_border=10).image
    source = np.array([[3.0, 60.3, 55.8, 2.0, 1.5, 0.4]])
    injected = inject(image, source)
    added = injected.data - image.data
    assert np.nansum(added) == pytest.approx(2.0 * np.pi * 3.0 * 2.0 * 1.5, rel=1e-6)
    np.testing.assert_array_equal(np.isnan(injected.data), np.isnan(image.data))
    assert np.isnan(image.data).any()


def matched(rows, known, injected, amplitudes=((1.0,), (1.0,))):
    known_amplitudes, injected_amplitudes = map(np.array, amplitudes)
    row, source, n_extra = match_new_rows(
        np.array(rows, dtype=float).reshape(-1, 2),
        known=np.array(known, dtype=float).reshape(-1, 2),
        injected=np.array(injected, dtype=float).reshape(-1, 2),
        brightness=(known_amplitudes, injected_amplitudes),
        tolerance=2.0,
    )
    return list(zip(row.tolist(), source.tolist(), strict=True)), n_extra


def test_a_row_at_the_injected_place_is_a_recovery():
    assert matched([(10, 10), (30, 31)], [(10, 10)], [(30, 30)]) == ([(1, 0)], 0)


def test_a_row_that_was_there_before_is_none():
    assert matched([(10, 10)], [(10, 10)], [(11, 10)]) == ([], 0)


def test_a_row_too_far_away_is_extra():
    assert matched([(10, 10), (30, 33)], [(10, 10)], [(30, 30)]) == ([], 1)


def test_two_rows_at_a_blend_recover_the_injected_source():
    assert matched([(10, 10), (12, 10)], [(10.5, 10)], [(11.6, 10)]) == ([(1, 0)], 0)


@pytest.mark.parametrize(("brightness", "recovered"), [(5.0, [(0, 0)]), (0.5, [])])
def test_the_only_row_of_a_blend_belongs_to_the_brighter_source(brightness, recovered):
    # The row has moved to the injected source; if that is fainter, it is still the old row.
    assert matched([(11.9, 10)], [(10.5, 10)], [(12, 10)], ((1.0,), (brightness,))) == (recovered, 0)


@pytest.fixture(scope="module")
def setup(random_seed):
    return sky_setup(random_seed)


def test_bright_sources_come_back_with_their_fluxes_and_faint_ones_do_not(setup):
    sigma = setup.typical_sigma
    bright = FluxRange(low=25.0 * sigma, high=30.0 * sigma, bright=40.0 * sigma)
    faint = FluxRange(low=0.1 * sigma, high=0.2 * sigma, bright=0.3 * sigma)
    found = np.concatenate([realise(setup, seed=(1, k), ranges=(bright, bright)) for k in range(3)])
    lost = np.concatenate([realise(setup, seed=(1, k), ranges=(faint, faint)) for k in range(3)])
    alone = found["neighbour"] > 2.0
    assert found["recovered"][alone].mean() > 0.9
    assert lost["recovered"].sum() <= 1
    flux = (found["flux_found"] / found["flux"])[alone & (found["recovered"] > 0)]
    assert np.median(flux) == pytest.approx(1.0, abs=0.08)
    assert np.isnan(lost["flux_found"][lost["recovered"] == 0]).all()


def test_a_realisation_depends_on_its_seed_alone(setup):
    sigma = setup.typical_sigma
    one = FluxRange(low=3.0 * sigma, high=9.0 * sigma, bright=20.0 * sigma)
    first, again, other = (realise(setup, seed=(2, k), ranges=(one, one)) for k in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_the_truth_is_in_the_units_of_the_catalogue(setup):
    sigma = setup.typical_sigma
    one = FluxRange(low=3.0 * sigma, high=9.0 * sigma, bright=20.0 * sigma)
    records = realise(setup, seed=(3, 0), ranges=(one, one))
    beams = records["kind"] == 0
    # A beam-sized source has as much Jy as Jy/beam.
    np.testing.assert_allclose(records["flux"][beams], records["peak"][beams], rtol=1e-4)
    parameters = np.column_stack([records[n] for n in ("amplitude", "x", "y", "sigma_1", "sigma_2", "theta")])
    np.testing.assert_allclose(records["flux"], gaussians.gaussian_flux(parameters), rtol=1e-12)
