"""The catalogues of several bands: what was measured, under the names of its bands."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from helpers.bands import SMALL, extraction_of, measured_field
from hyper_py.bands.catalog import _intrinsic, column_suffixes
from hyper_py.bands.columns import BAND_COLUMNS, SOURCE_COLUMNS, described_columns
from hyper_py.diagnostics import Flag, InputError
from hyper_py.simulation.bands import simulate_bands

NAMES = ("p100", "p160", "s250", "s350", "s500")


@pytest.fixture(scope="module")
def field():
    return measured_field(seed=3, calibration_error=0.05, common=True, bands={"grey_body": True})


def test_wide_table_has_each_column_of_each_band(field):
    table = field[1].catalog
    expected = [column.name for column in SOURCE_COLUMNS]
    assert table.colnames[: len(expected)] == expected
    for name in NAMES:
        assert {f"{column.name}_{name}" for column in BAND_COLUMNS} <= set(table.colnames)
        assert f"FLUX_CAL_ERR_{name}" in table.colnames
        assert f"FLUX_APER_{name}" in table.colnames
    assert [name for name in table.colnames if name.startswith(("ALPHA_p", "ALPHA_s"))] == [
        "ALPHA_p100_p160", "ALPHA_p160_s250", "ALPHA_s250_s350", "ALPHA_s350_s500",
    ]  # fmt: skip
    assert {"TEMPERATURE", "TEMPERATURE_ERR", "BETA"} <= set(table.colnames)
    assert table.meta["wavelength_um_s500"] == 500.0
    assert table.meta["reference_band"] == "p100"
    described = {name for name, _ in described_columns()}
    for name in table.colnames:
        plain = name
        for band in NAMES:
            plain = plain.replace(f"_{band}", "_BAND", 1)
        assert plain in described or plain.startswith("ALPHA")
        assert table[name].info.description


def test_fluxes_errors_limits_and_units(field):
    simulated, extraction = field
    table, sources = extraction.catalog, extraction.sources
    for b, name in enumerate(NAMES):
        flux, error = table[f"FLUX_{name}"], table[f"FLUX_ERR_{name}"]
        assert flux.unit == u.mJy
        np.testing.assert_allclose(flux.to_value(u.Jy), sources.flux[:, b])
        np.testing.assert_allclose(error.to_value(u.Jy) ** 2, sources.flux_covariance[:, b, b])
        pull = (flux - simulated.truth[f"FLUX_{name}"]) / error
        assert np.abs(pull.to_value("")).max() < 4.5
        limit = np.maximum(flux, 0 * u.Jy) + 3 * error
        np.testing.assert_allclose(table[f"FLUX_ULIM_{name}"].to_value(u.Jy), limit.to_value(u.Jy))
        np.testing.assert_allclose(table[f"FLUX_CAL_ERR_{name}"], 0.05 * np.abs(flux))
        bits = (table["DETECTED_IN"] >> b) & 1
        np.testing.assert_array_equal(bits, table[f"DETECTED_{name}"])
        np.testing.assert_array_equal(bits.astype(bool), flux >= 3 * error)
        assert "em." in table[f"FLUX_{name}"].info.meta["ucd"]
    negative = np.any(sources.flux < 0.0, axis=1)
    np.testing.assert_array_equal((table["FLAGS"] & int(Flag.NEGATIVE_FLUX)) != 0, negative)


def test_positions_and_shapes_are_those_of_the_sky(field):
    simulated, extraction = field
    table, truth = extraction.catalog, simulated.truth
    distance = SkyCoord(table["RA"], table["DEC"]).separation(SkyCoord(truth["RA"], truth["DEC"])).arcsec
    assert distance.max() < 0.3 * 5
    np.testing.assert_allclose(table["RA_ERR"].value, 0.3)
    np.testing.assert_allclose(table["DECONV_FWHM_1"], truth["FWHM_1"], rtol=1e-6)
    turn = (table["DECONV_PA"] - truth["PA"]).to_value(u.deg)
    assert np.abs((turn + 90) % 180 - 90).max() < 1e-4
    np.testing.assert_allclose(table["FWHM_1_s500"].value, np.hypot(truth["FWHM_1"].value, 36.0), rtol=1e-6)


@pytest.mark.seeds(5)
def test_errors_of_sizes_are_those_of_a_monte_carlo(random_seed):
    shape, covariance = np.array([[60.0, 15.0, 30.0]]), np.diag([4.0, 1.0, 2.0])[None]
    draws = np.random.default_rng(random_seed).multivariate_normal(shape[0], covariance[0], size=40000)
    sizes = np.sqrt(8 * np.log(2) * np.linalg.eigvalsh(np.stack([draws[:, :2], draws[:, 1:]], axis=1)))
    columns, unresolved = _intrinsic(shape, covariance)
    assert not unresolved[0]
    assert columns["DECONV_FWHM_1_ERR"][0] == pytest.approx(sizes[:, 1].std(), rel=0.05)
    assert columns["DECONV_FWHM_2_ERR"][0] == pytest.approx(sizes[:, 0].std(), rel=0.05)
    point, unresolved = _intrinsic(np.array([[-1.0, 0.0, -2.0]]), covariance)
    assert unresolved[0]
    assert point["DECONV_FWHM_1"][0] == 0.0
    assert np.isnan(point["DECONV_PA"][0])
    assert point["DECONV_ULIM"][0] == pytest.approx(np.sqrt(8 * np.log(2) * 3 * 2.0))


def test_sources_within_two_errors_of_a_point_are_flagged_as_unresolved():
    _, extraction = measured_field(seed=3)
    sources = extraction.sources
    variance = np.linspace(0.5, 3.5, len(sources))[:, None]
    error = np.sqrt(sources.shape_covariance[0, 0, 0])
    shape = error * variance * np.array([1.0, 0.0, 0.2])
    table = replace(extraction, sources=replace(sources, shape=shape)).catalog
    flagged = (table["FLAGS"] & int(Flag.UNRESOLVED)) != 0
    np.testing.assert_array_equal(flagged, variance[:, 0] < 2.0)


def test_long_table_has_the_same_numbers():
    _, extraction = measured_field(seed=2, n_sources=12)
    wide, long = extraction.catalog, extraction.long_catalog
    assert len(long) == 5 * len(wide)
    assert list(long["BAND"][:5]) == list(NAMES)
    np.testing.assert_array_equal(long["WAVELENGTH"][:5].value, [100, 160, 250, 350, 500])
    for b, name in enumerate(NAMES):
        np.testing.assert_array_equal(long["FLUX"][b::5].value, wide[f"FLUX_{name}"].value)
    np.testing.assert_array_equal(long["ALPHA"][1::5], wide["ALPHA_p160_s250"])
    assert np.isnan(long["ALPHA"][4::5]).all()


def test_bands_that_do_not_cover_a_source_have_no_row():
    half = {"s500": {"coverage": 0.5}}
    partial = extraction_of(simulate_bands("bands", seed=2, **SMALL, bands=half))
    beside = ~partial.sources.seen[:, 4]
    assert 0 < beside.sum() < 8
    assert np.isnan(partial.catalog["FLUX_s500"][beside]).all()
    assert not (partial.catalog["COVERED_IN"][beside] & 16).any()
    assert len(partial.long_catalog) == 5 * 8 - beside.sum()


def test_free_shapes_have_columns():
    _, extraction = measured_field(seed=2, bands={"shape": "free"})
    table = extraction.catalog
    np.testing.assert_allclose(
        table["BAND_DECONV_FWHM_1_s350"].value, table["DECONV_FWHM_1"].value, rtol=1e-6
    )


def test_tables_without_sources_have_all_columns(field):
    _, extraction = measured_field(n_sources=0)
    assert len(extraction.catalog) == len(extraction.long_catalog) == 0
    _, other = measured_field(n_sources=2)
    assert extraction.catalog.colnames == other.catalog.colnames
    assert extraction.long_catalog.colnames == other.long_catalog.colnames


def test_names_of_bands_make_names_of_columns():
    assert column_suffixes(["PACS 100", "s-250"]) == ["PACS_100", "s_250"]
    with pytest.raises(InputError, match=r"^s 250: columns of two bands"):
        column_suffixes(["S_250", "s 250"])


@pytest.mark.parametrize(
    "names", [["x", "ERR_x"], ["y", "PEAK_y"], ["in"], ["a", "b_c", "a_b", "c"], ["x", "y", "ERR", "x_y"]]
)
def test_bands_whose_columns_would_be_taken_for_others_are_refused(names):
    """FLUX_ERR_x was the error of one band or the flux of the other, as it came."""
    with pytest.raises(InputError, match="columns of two bands"):
        column_suffixes(names)


def test_bands_as_they_are_called_are_not_refused():
    names = ["70", "160", "250", "350", "500", "S850", "a", "b", "ab", "160_350", "x_err"]
    assert column_suffixes(names) == names
