"""One result: its curves, its columns, its numbers; and the tables made of it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri

from helpers.injections import made_result
from hyper_py.injection.completeness import COLUMNS, QUANTITIES
from hyper_py.injection.drawing import KINDS
from hyper_py.injection.tables import completeness_tables


@pytest.fixture(scope="module")
def result(random_seed):
    return made_result(random_seed)


@pytest.mark.parametrize("shape", KINDS)
def test_limits_are_those_behind_the_records_in_each_unit(result, shape):
    for quantity in QUANTITIES:
        unit = 1e3 if quantity != "SNR" else 1.0  # mJy; the records have unit noise
        for limit in result.curve(quantity, shape=shape).limits[:2]:
            assert limit.value == pytest.approx(unit * (5.0 + ndtri(limit.level)), rel=0.06)


def test_summary_has_the_numbers_of_the_curves(result):
    summary = result.summary()
    limit = result.curve("FLUX", shape="own").limit(0.8)
    assert summary["limits"]["own"]["FLUX"]["80%"] == [limit.value, limit.low, limit.high]
    assert summary["expected_false"][0] == pytest.approx(1.0)
    assert summary["n_runs"] == 250


def test_columns_rise_with_signal_to_noise_and_lie_in_their_ranges(result):
    table = result.catalog()
    assert table.colnames[-3:] == list(COLUMNS)
    snr = np.asarray(table["SNR"])
    order = np.argsort(snr)
    assert (np.diff(np.asarray(table["P_TRUE"])[order]) >= 0.0).all()
    completeness = np.asarray(table["COMPLETENESS"])
    assert ((completeness >= 0.0) & (completeness <= 1.0)).all()
    # The brightest source is complete, and unbiased.
    assert completeness[order[-1]] > 0.9
    assert abs(np.asarray(table["FLUX_BIAS"])[order[-1]]) < 0.05


def test_the_catalogues_signal_to_noise_is_compared_with_the_expected_one(result):
    """`made_result` measures the expected one, with an error of 1."""
    assert result.catalogue_snr_share == pytest.approx(1.0, abs=0.02)
    records = result.records.copy()
    records["snr_found"] *= 0.25
    less = replace(result, records=records)
    assert less.catalogue_snr_share == pytest.approx(0.25, abs=0.005)
    assert less.summary()["catalogue_snr_share"] == less.catalogue_snr_share


def test_surroundings_are_of_sources_found_if_alone(result):
    shares = [one.n / one.n_injected for one in result.surroundings]
    assert min(shares) > 0.9  # nothing depends on neighbours in these records
    assert len(result.surroundings) == 7


def test_tables_describe_every_column(result):
    for table in completeness_tables(result).values():
        assert all(table[name].info.description for name in table.colnames)
        assert len(table)


def test_purity_table_begins_with_all_rows_and_falls(result):
    purity = completeness_tables(result)["purity"]
    assert purity["N_ROWS"][0] == len(result.extraction.catalog)
    assert purity["N_INVERTED"][0] == 1
    assert purity["N_SURROGATES"][0] == 1.0
    assert (np.diff(purity["EXPECTED_FALSE"]) < 0.0).all()
