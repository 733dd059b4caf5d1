"""Completeness on disk, in every format, and back."""

import numpy as np
import pytest
from astropy.io import fits

from helpers.injections import made_result
from hyper_py.writing.completeness_files import limit_name, results_directory, table_name, write_completeness
from hyper_py.writing.tables import SUFFIXES, read_table


@pytest.fixture(scope="module")
def written(random_seed, tmp_path_factory):
    root = tmp_path_factory.mktemp("written")
    result = made_result(random_seed, unit="Jy/beam")
    names = write_completeness(root, result, forms=tuple(SUFFIXES), columns=True)
    return root, result, names


@pytest.mark.parametrize("form", SUFFIXES)
def test_every_format_holds_the_same_limits(written, form):
    root, result, names = written
    name = table_name(result.name, "limits", form)
    assert name in names
    table = read_table(root / name)
    limit = result.curve("FLUX_PEAK").limit(0.5)
    assert float(table["LIMIT"][0]) == pytest.approx(limit.value, rel=1e-6)
    assert str(table["SHAPE"][0]).strip() == "beam"
    assert str(table["UNIT"][0]).strip() == "mJy/beam"


def test_the_map_of_the_limit_is_in_the_unit_of_the_map(written):
    root, result, _ = written
    values = fits.getdata(root / limit_name(result.name))
    expected = result.limit_map() / result.setup.image.jy_per_pixel
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert fits.getheader(root / limit_name(result.name))["BUNIT"] == "Jy/beam"


def test_the_catalogue_is_written_on_request_only(written, tmp_path):
    root, result, names = written
    assert table_name(result.name, "catalog", "ecsv") in names
    without = write_completeness(tmp_path, result, forms=("ecsv",))
    assert not any("catalog" in name for name in without)
    table = read_table(root / table_name(result.name, "catalog", "ecsv"))
    np.testing.assert_allclose(table["P_TRUE"], result.catalog()["P_TRUE"])


def test_results_of_runs_are_kept_apart_by_map(tmp_path):
    assert results_directory(tmp_path, "a") != results_directory(tmp_path, "b")
    assert results_directory(tmp_path, "a").is_relative_to(tmp_path)
