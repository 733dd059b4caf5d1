"""Injections into several bands: what is injected is what was asked for, and comes back with its fluxes."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from hyper_py import completeness_bands, extract_bands, simulate_bands
from hyper_py.diagnostics import InputError
from hyper_py.injection.bands import draw_in_bands, make_bands_setup, realise_in_bands
from hyper_py.injection.drawing import FluxRange
from hyper_py.injection.tables import bands_tables
from hyper_py.numerics import gaussians
from hyper_py.writing.completeness_files import write_bands_completeness

WAVELENGTHS = {"s250": 250.0, "s350": 350.0}
BRIGHT = FluxRange(low=40.0, high=80.0, bright=100.0)


@pytest.fixture(scope="module")
def extraction(random_seed):
    field = simulate_bands(seed=random_seed, size=500.0, n_sources=8, pair_fraction=0.0)
    images = {one.band.name: one.image for one in field.maps if one.band.name in WAVELENGTHS}
    return extract_bands(images, wavelengths=WAVELENGTHS)


@pytest.fixture(scope="module")
def setup(extraction):
    return make_bands_setup(extraction, n_sources=4)


def test_the_joint_signal_to_noise_is_that_of_the_bands_in_quadrature(setup, rng):
    position, shape, flux = draw_in_bands(setup, rng, BRIGHT)
    squares = np.zeros(len(position))
    for b, (band, one) in enumerate(zip(setup.placed, setup.sensitivities, strict=True)):
        model = band.gaussians(position, shape, flux[:, b])
        x, y = np.rint(model[:, [gaussians.X, gaussians.Y]]).astype(int).T
        squares += (model[:, gaussians.AMPLITUDE] * one.response(model) / one.sigma[y, x]) ** 2
    np.testing.assert_allclose(setup.signal_to_noise(position, shape, flux), np.sqrt(squares), rtol=1e-12)


def test_sources_have_the_catalogues_spectra_and_the_signal_to_noise_asked_for(setup, rng):
    drawn = [draw_in_bands(setup, rng, FluxRange(low=5.0, high=20.0, bright=50.0)) for _ in range(60)]
    snr = np.concatenate([setup.signal_to_noise(*one) for one in drawn])
    assert np.all((snr > 5.0 * (1 - 1e-9)) & (snr < 50.0 * (1 + 1e-9)))
    # Four in five below 20, the logarithm uniform there: its median is 10.
    assert np.mean(snr < 20.0) == pytest.approx(0.8, abs=4.0 * np.sqrt(0.16 / snr.size))
    steep = snr[snr < 20.0]
    assert np.mean(steep < 10.0) == pytest.approx(0.5, abs=4.0 * np.sqrt(0.25 / steep.size))
    ratios = setup.spectra[:, 1] / setup.spectra[:, 0]
    for position, _, flux in drawn:
        assert np.all(np.min(np.abs(flux[:, 1] / flux[:, 0] / ratios[:, None] - 1.0), axis=0) < 1e-9)
        assert pdist(position).min() >= setup.separation


def test_bright_sources_come_back_with_their_fluxes(setup):
    records = np.concatenate([realise_in_bands(setup, seed=(1, k), snr_range=BRIGHT) for k in range(3)])
    alone = records["neighbour"] > 40.0
    assert alone.sum() >= 3
    assert np.all(records["recovered"][alone] == 1.0)
    pulls = (records["flux_found"] - records["flux"])[alone] / records["flux_err"][alone]
    assert np.all(np.abs(pulls) < 6.0)


def test_what_is_below_the_noise_is_not_found(setup):
    faint = FluxRange(low=0.1, high=0.2, bright=0.3)
    records = np.concatenate([realise_in_bands(setup, seed=(2, k), snr_range=faint) for k in range(2)])
    assert records["recovered"].mean() < 0.3
    assert np.isnan(records["flux_found"][records["recovered"] == 0]).all()


def test_the_result_does_not_depend_on_workers_and_is_written(extraction, tmp_path):
    one, two = (completeness_bands(extraction, precision=0.3, max_runs=4, jobs=jobs) for jobs in (1, 2))
    assert one.records.tobytes() == two.records.tobytes()
    assert one.n_runs == 4
    assert set(one.curves) == {"SNR", "FLUX_s250", "FLUX_s350"}
    tables = bands_tables(one)
    for name, curve in one.curves.items():
        rows = tables["completeness"][tables["completeness"]["QUANTITY"] == name]
        assert rows["N_INJECTED"].sum() == curve.injected.sum()
    names = write_bands_completeness(tmp_path, one, forms=("ecsv",))
    assert {name.split("/")[-1] for name in names} == {
        f"completeness{what}_bands.{form}"
        for what, form in (("", "ecsv"), ("_limits", "ecsv"), ("_accuracy", "ecsv"), ("", "json"))
    }


def test_a_field_without_sources_is_done_with_points(random_seed):
    field = simulate_bands(
        seed=random_seed, size=500.0, n_sources=1, pair_fraction=0.0, flux_range=(1e-6, 2e-6)
    )
    images = {one.band.name: one.image for one in field.maps if one.band.name in WAVELENGTHS}
    found = extract_bands(images, wavelengths=WAVELENGTHS)
    assert len(found.sources) <= 2
    setup = make_bands_setup(found)
    position, shape, flux = draw_in_bands(setup, np.random.default_rng(1), BRIGHT)
    assert len(position) >= 2
    assert not shape.any()
    assert np.all(flux > 0.0)


def test_a_field_without_room_is_refused(random_seed):
    field = simulate_bands(seed=random_seed, size=150.0, n_sources=1, pair_fraction=0.0, margin=40.0)
    images = {one.band.name: one.image for one in field.maps if one.band.name in WAVELENGTHS}
    with pytest.raises(InputError, match="too small: no room for 2 injected sources"):
        make_bands_setup(extract_bands(images, wavelengths=WAVELENGTHS))
