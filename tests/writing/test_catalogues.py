"""The merged catalogue has the rows of all maps, however it is made."""

import numpy as np
import pytest
from astropy import units as u

from helpers.staged_maps import stage_map
from hyper_py.writing import catalogues
from hyper_py.writing.catalogues import remove_merged, write_merged
from hyper_py.writing.layout import Layout


def test_merged_catalogue_is_all_maps_in_order_with_the_finest_digits(tmp_path):
    from hyper_py.writing.tables import SUFFIXES, read_table

    layout = Layout(root=tmp_path, formats=tuple(SUFFIXES))
    parts = [
        stage_map(layout, name, n, seed=n, pixel_scale=scale)
        for name, n, scale in (("zz", 4, 2.0), ("a_longer_name", 0, 0.01), ("b", 5, 2.0))
    ]
    written = write_merged(layout, ["zz", "a_longer_name", "b"], meta={"n_maps": 3})
    assert sorted(written) == sorted(f"params/params_ALL{suffix}" for suffix in SUFFIXES.values())
    for form in SUFFIXES:
        merged = read_table(tmp_path / layout.table("ALL", form))
        assert list(merged["MAP_ID"]) == ["zz"] * 4 + ["b"] * 5
        assert list(merged["HYPER_ID"]) == [1, 2, 3, 4, 1, 2, 3, 4, 5]
        expected = np.concatenate([np.asarray(part["RA"].value) for part in parts])
        np.testing.assert_allclose(merged["RA"], expected, atol=1e-4 / 3600, rtol=0)
        if form != "csv":
            assert merged["FLUX"].unit == u.mJy
    merged = read_table(tmp_path / "params/params_ALL.ecsv")
    assert merged.meta == {"n_maps": 3, "n_sources": 9}
    assert merged["FLUX"].description.startswith("Aperture flux")
    assert write_merged(layout, [], meta={}) == ()
    remove_merged(layout)
    assert not list(tmp_path.glob("params/params_ALL*"))


def test_merged_catalogue_of_empty_maps_has_all_columns(tmp_path):
    from hyper_py.catalog import COLUMNS
    from hyper_py.writing.tables import SUFFIXES, read_table

    layout = Layout(root=tmp_path, formats=tuple(SUFFIXES))
    stage_map(layout, "m", 0)
    write_merged(layout, ["m"], meta={})
    for form in SUFFIXES:
        merged = read_table(tmp_path / layout.table("ALL", form))
        assert (len(merged), merged.colnames) == (0, [column.name for column in COLUMNS])


def test_merged_catalogue_does_not_depend_on_how_many_rows_are_held(tmp_path, monkeypatch):
    layout = Layout(root=tmp_path)
    names = [f"m{k}" for k in range(7)]
    for k, name in enumerate(names):
        stage_map(layout, name, k % 3, seed=k)
    texts = []
    for rows, maps in ((10_000, 1000), (4, 1000), (10_000, 2), (1, 1)):
        monkeypatch.setattr(catalogues, "BATCH_ROWS", rows)
        monkeypatch.setattr(catalogues, "BATCH_MAPS", maps)
        written = write_merged(layout, names, meta={})
        # Parquet keeps rows in groups as they came.
        texts.append({name: (tmp_path / name).read_bytes() for name in written if "parquet" not in name})
    assert texts[0] == texts[1] == texts[2] == texts[3]


@pytest.mark.parametrize("other", ["mm", "a_longer_name"])
def test_rows_of_maps_alike_are_joined_as_they_would_be_written(tmp_path, other):
    layout, names = Layout(root=tmp_path), ["k", other, "n"]
    for k, name in enumerate(names):
        stage_map(layout, name, 3 * k, seed=k)
    joined = [(tmp_path / name).read_bytes() for name in write_merged(layout, names, meta={})]
    for form in layout.formats:
        (tmp_path / layout.table("n", form)).unlink()
    written = [(tmp_path / name).read_bytes() for name in write_merged(layout, names, meta={})]
    assert joined == written
    assert joined[1].count(b"\n") > 9
