"""Several bands against the truth: numbers that are known beforehand come out."""

import json

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from helpers.bands import extraction_of
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.simulation.bands import simulate_bands
from hyper_py.validation.bands import bands_of_truth, merge_near, validate_bands

FIELD = {
    "size": 1500.0, "n_sources": 300, "flux_range": (0.3, 2.0),
    "pair_fraction": 0.3, "pair_separation": (10.0, 30.0),
}  # fmt: skip
NAMES = ("p100", "p160", "s250", "s350", "s500")


@pytest.fixture(scope="module")
def field():
    simulated = simulate_bands("bands", seed=2, **FIELD, bands={"s500": {"coverage": 0.5}})
    return simulated.truth, extraction_of(simulated, seed=3).catalog


def test_right_errors_have_pulls_of_width_one(field):
    truth, catalog = field
    result = validate_bands(catalog, truth, merge_within=1e-3)
    assert result.purity.value > 0.99
    assert result.completeness.value > 0.99
    assert [band.name for band in result.bands] == list(NAMES)
    for band in result.bands:
        everything = band.statistics["all"]
        assert everything.pull_width == pytest.approx(1.0, abs=0.2)
        assert abs(everything.bias) < 0.02
        assert everything.n == band.statistics["isolated"].n + band.statistics["blended"].n
        assert band.outliers.value < 0.02
    assert result.bands[4].n_true == np.count_nonzero(truth["COVERS_s500"])
    assert result.bands[4].n_matched < result.bands[3].n_matched
    for index in result.indices:
        assert index.pull_width == pytest.approx(1.0, abs=0.2)
    for position in result.positions:
        assert position.pull_width == pytest.approx(1.0, abs=0.15)
        assert position.scatter == pytest.approx(0.3, abs=0.05)


def test_a_bias_a_shift_and_wrong_errors_are_seen(field):
    truth, catalog = field
    wrong = catalog.copy()
    wrong["FLUX_s250"] = 1.1 * wrong["FLUX_s250"]
    wrong["FLUX_ERR_s350"] = 0.5 * wrong["FLUX_ERR_s350"]
    wrong["DEC"] = wrong["DEC"] + 1.0 * u.arcsec
    result = validate_bands(wrong, truth, merge_within=1e-3)
    scores = {band.name: band.statistics["all"] for band in result.bands}
    assert scores["s250"].bias == pytest.approx(0.1, abs=0.02)
    assert scores["s350"].pull_width == pytest.approx(2.0, abs=0.35)
    assert result.positions[1].bias == pytest.approx(1.0, abs=0.05)
    # alpha = ln(F1 / F2) / ln(l2 / l1)
    assert result.indices[1].bias == pytest.approx(0.0, abs=0.05)
    moved = validate_bands(catalog[:200], truth, merge_within=1e-3)
    assert moved.completeness.part == 200
    assert moved.missed.size == 100


def test_selection_is_by_true_flux():
    truth = QTable({"RA": [10.0, 10.1] * u.deg, "DEC": [0.0, 0.0] * u.deg, "FLUX_a": [1.0, 1.0] * u.Jy})
    truth.meta["bands"] = {"a": {"wavelength": 100.0, "beam": 10.0}}
    catalog = QTable(
        {
            "RA": truth["RA"], "DEC": truth["DEC"], "FLUX_a": [100.0, 2000.0] * u.mJy,
            "FLUX_ERR_a": [100.0, 500.0] * u.mJy,
        }
    )  # fmt: skip
    (band,) = validate_bands(catalog, truth).bands
    assert band.statistics["all"].n == 1
    assert band.statistics["all"].bias == pytest.approx(-0.9)
    assert band.outliers.part == 1
    assert band.above_3 == 1


def test_true_sources_nearer_than_a_beam_count_as_one():
    ra = np.array([10.0, 10.0 + 2.0 / 3600, 10.1]) * u.deg
    truth = QTable({"RA": ra, "DEC": np.zeros(3) * u.deg, "FLUX_a": [1.0, 3.0, 1.0] * u.Jy})
    merged = merge_near(truth, ["a"], within=4.9)
    np.testing.assert_allclose(merged["FLUX_a"].value, [4.0, 1.0])
    assert 3600 * (merged["RA"][0].value - 10.0) == pytest.approx(1.5, abs=1e-4)
    assert len(merge_near(truth, ["a"], within=1.0)) == 3


def test_blends_of_which_a_neighbour_is_missing_are_told_apart(field):
    truth, catalog = field
    whole = validate_bands(catalog, truth, merge_within=1e-3).bands[3].statistics
    assert whole["blended, parted"].n == whole["blended"].n > 20
    half = validate_bands(catalog[::2], truth, merge_within=1e-3).bands[3].statistics
    assert 0 < half["blended, parted"].n < half["blended"].n


def test_tables_and_json(field):
    truth, catalog = field
    result = validate_bands(catalog, truth)
    counts, fluxes, others = result.tables()
    assert list(dict.fromkeys(row[0] for row in fluxes.rows)) == list(NAMES)
    assert all(len(row) == len(table.header) for table in (counts, fluxes, others) for row in table.rows)
    numbers = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert numbers["bands"]["s250"]["statistics"]["all"]["n"] == result.bands[2].statistics["all"].n
    assert numbers["n_matched"] + numbers["n_missed"] == result.completeness.whole


def test_what_is_missing_is_named(field):
    truth, catalog = field
    plain = truth.copy()
    plain.meta.clear()
    assert bands_of_truth(plain) == ()
    with pytest.raises(InputError, match="no bands in its metadata"):
        validate_bands(catalog, plain)
    with pytest.raises(InputError, match="none of the columns FLUX_p100"):
        validate_bands(catalog["RA", "DEC"], truth)
    with pytest.raises(ConfigurationError, match="must be a positive number"):
        validate_bands(catalog, truth, tolerance=-1.0)
    one = validate_bands(catalog["RA", "DEC", "FLUX_s250", "FLUX_ERR_s250"], truth)
    assert [band.name for band in one.bands] == ["s250"]
