"""What the merged catalogue and the tables of overlaps say of maps whose sources are known."""

import re
import time

import numpy as np
import pytest
from astropy import units as u

from helpers.staged_maps import stage_map
from hyper_py.diagnostics import Flag
from hyper_py.writing import overlaps as module
from hyper_py.writing.catalogues import remove_merged, write_merged
from hyper_py.writing.layout import Layout
from hyper_py.writing.overlaps import GivenCatalogue, Overlaps, marked_rows, pairs_of, write_overlaps
from hyper_py.writing.tables import SUFFIXES, read_table

ARCSEC = 1.0 / 3600.0


def staged(layout, *, factor=1.0, shift=0.0, n=12):
    """Two maps: all but three sources of the first are the first ones of the second, which has three more."""
    rng = np.random.default_rng(4)
    ra, dec = 50.0 + np.arange(n) * 30 * ARCSEC, np.full(n, 20.0)
    flux, error = rng.uniform(10, 50, n), np.full(n, 0.5)
    common = {"FLUX_ERR": error, "FLAGS": 0}
    stage_map(
        layout, "one", n, seed=1, beam_fwhm=10.0, RA=ra, DEC=dec, FLUX=flux, SNR=np.full(n, 8.0), **common
    )
    flags = np.zeros(n, dtype=int)
    flags[1] = int(Flag.EDGE)
    stage_map(
        layout, "two", n, seed=2, beam_fwhm=10.0,
        RA=np.append(ra[3:], ra[:3] + 1.0) + shift * ARCSEC / np.cos(np.radians(20)), DEC=dec,
        FLUX=factor * np.append(flux[3:], flux[:3]) + rng.normal(0, 0.5, n), FLUX_ERR=error,
        SNR=np.where(np.arange(n) < 4, 9.0, 7.0), FLAGS=flags,
    )  # fmt: skip
    return Overlaps(layout, ["one", "two"], radius_beams=0.5), flux


def test_marked_and_joined(tmp_path):
    layout = Layout(root=tmp_path, formats=tuple(SUFFIXES))
    overlaps, _ = staged(layout)
    assert (overlaps.n_shared, overlaps.n_sources) == (9, 15)
    written = write_merged(layout, ["one", "two"], meta={}, overlaps=overlaps)
    assert len(written) == len(SUFFIXES)
    for form in SUFFIXES:
        marked = read_table(tmp_path / layout.table("ALL", form))
        assert list(marked["SKY_ID"]) == [*range(1, 13), *range(4, 13), 13, 14, 15]
        assert list(marked["N_MAPS"]) == [1] * 3 + [2] * 18 + [1] * 3
        # The second map is the better one for its first four sources, but an edge cuts one of them.
        best = {name: list(marked["BEST"][marked["MAP_ID"] == name]) for name in ("one", "two")}
        assert best["two"] == [1, 0, 1, 1, *[0] * 5, 1, 1, 1]
        assert best["one"] == [1, 1, 1, 0, 1, 0, 0, *[1] * 5]
    write_merged(layout, ["one", "two"], meta={}, overlaps=overlaps, join=True)
    joined = read_table(tmp_path / layout.table("ALL", "ecsv"))
    assert sorted(joined["SKY_ID"]) == list(range(1, 16))
    assert joined.meta["n_sources"] == 15
    assert "same in its rows" in joined["SKY_ID"].description


def test_pairs_and_differences(tmp_path):
    layout = Layout(root=tmp_path, formats=("ecsv", "fits"))
    overlaps, flux = staged(layout, factor=1.2, shift=2.0)
    names, notes, remarks = write_overlaps(overlaps, flux_unit="mJy", meta={"n_maps": 2})
    assert sorted(names) == [
        f"params/params_{name}{suffix}"
        for name in ("OVERLAPS", "OVERLAP_CHECKS")
        for suffix in (".ecsv", ".fits")
    ]
    assert notes == ("9 of 15 sources are on several maps",)
    pairs = read_table(tmp_path / layout.table("OVERLAPS", "ecsv"))
    assert list(pairs["HYPER_ID_1"]) == list(range(4, 13))
    assert list(pairs["HYPER_ID_2"]) == list(range(1, 10))
    assert list(pairs["SKY_ID"]) == list(range(4, 13))
    np.testing.assert_allclose(pairs["FLUX_1"], flux[3:])
    np.testing.assert_allclose(pairs["SEPARATION"], 2.0, rtol=1e-4)
    np.testing.assert_allclose(pairs["D_RA"], 2.0, rtol=1e-4)
    np.testing.assert_allclose(pairs["D_DEC"], 0.0, atol=1e-9)
    assert pairs["FLUX_1"].unit == u.mJy
    checks = read_table(tmp_path / layout.table("OVERLAP_CHECKS", "ecsv"))
    assert (checks["MAP_ID_1"][0], checks["MAP_ID_2"][0], checks["N"][0]) == ("one", "two", 9)
    assert checks["FLUX_RATIO"][0] == pytest.approx(1.2, abs=0.05)
    assert len(remarks) == 2
    assert re.search(r"fluxes on two are 1\.(19|20|21)\d \+- 0\.0\d+ times those on one", " ".join(remarks))
    assert "positions on two are off those on one by +2" in " ".join(remarks)


def test_equal_maps_give_no_remark(tmp_path):
    overlaps, _ = staged(Layout(root=tmp_path, formats=("csv",)))
    assert write_overlaps(overlaps, flux_unit="mJy", meta={})[2] == ()


def test_a_catalogue_of_the_users(tmp_path):
    layout = Layout(root=tmp_path, formats=("ecsv",))
    overlaps, flux = staged(layout)
    given = GivenCatalogue(
        name="mine", ra=50.0 + np.array([0.0, 4.0, 100.0, np.nan]) * 30 * ARCSEC, dec=np.full(4, 20.0),
        ids=np.array(["a", "b", "far", "nowhere"]), flux=np.array([flux[0], np.nan, 1.0, 1.0]),
        flux_err=np.full(4, 0.1), notes=("assumed",),
    )  # fmt: skip
    _, notes, remarks = write_overlaps(overlaps, flux_unit="mJy", meta={}, given=given)
    assert remarks == ("assumed",)
    assert notes[0] == "2 of 4 sources of mine are in the catalogue"
    pairs = read_table(tmp_path / layout.table("OVERLAPS", "ecsv"))
    mine = pairs[pairs["MAP_ID_1"] == "mine"]
    assert list(mine["ID"]) == ["a", "b", "b"]
    assert list(mine["MAP_ID_2"]) == ["one", "one", "two"]
    assert list(mine["HYPER_ID_2"]) == [1, 5, 2]
    assert list(mine["SKY_ID"]) == [1, 5, 5]
    assert mine["FLUX_RATIO"][0] == pytest.approx(1.0)
    assert np.isnan(mine["FLUX_RATIO"][1])


def test_maps_that_do_not_overlap_have_no_tables(tmp_path):
    layout = Layout(root=tmp_path, formats=("csv",))
    for k, name in enumerate("ab"):
        stage_map(layout, name, 2, beam_fwhm=10.0, RA=[10.0 + k, 11.5 + k], DEC=[1.0, 2.0])
    overlaps = Overlaps(layout, ["a", "b"], radius_beams=0.5)
    assert overlaps.n_shared == 0
    assert write_overlaps(overlaps, flux_unit="Jy", meta={}) == ((), (), ())
    stage_map(layout, "unknown_beam", 2, RA=[10.0, 11.5], DEC=[1.0, 2.0])
    assert Overlaps(layout, ["a", "unknown_beam"], radius_beams=0.5).n_shared == 2


def test_a_map_that_takes_no_part_has_numbers_of_its_own(tmp_path):
    layout = Layout(root=tmp_path, formats=("ecsv",))
    overlaps, _ = staged(layout)
    stage_map(layout, "channel_1", 3, beam_fwhm=10.0)
    stage_map(layout, "channel_2", 2, beam_fwhm=10.0)
    names = ["channel_1", "one", "channel_2", "two"]
    for join, expected in ((False, 12 + 12 + 5), (True, 15 + 5)):
        write_merged(layout, names, meta={}, overlaps=overlaps, join=join)
        table = read_table(tmp_path / layout.table("ALL", "ecsv"))
        assert table.meta["n_sources"] == len(table) == expected
        numbers = np.asarray(table["SKY_ID"])
        assert len(set(numbers)) == 20
        alone = np.isin(table["MAP_ID"], ["channel_1", "channel_2"])
        assert list(numbers[alone]) == [16, 17, 18, 19, 20]
    rows = overlaps.rows("one")
    assert len(marked_rows(rows, overlaps, "one", before=0, join=False)) == 12


@pytest.mark.parametrize("most", [3, 20])
def test_a_source_on_many_maps(tmp_path, monkeypatch, most):
    monkeypatch.setattr(module, "_MOST_PARTNERS", most)
    layout = Layout(root=tmp_path, formats=("csv",))
    names = [f"m{k}" for k in range(6)]
    for k, name in enumerate(names):
        stage_map(layout, name, 1, seed=k, beam_fwhm=5.0, RA=[10.0], DEC=[0.1 * k * ARCSEC], FLAGS=0)
    overlaps = Overlaps(layout, names, radius_beams=0.5)
    rows = overlaps.linked_rows()
    first, second = pairs_of(rows["MAP"], rows["NUMBER"])
    steps = rows["MAP"][second] - rows["MAP"][first]
    assert len(steps) == sum(6 - k for k in range(1, min(most, 6)))
    assert steps.max() == min(most - 1, 5)
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(steps)
    assert overlaps.compared()["SKY_ID"].size == len(steps)


def test_many_maps_of_one_place_take_no_long_time(tmp_path):
    layout = Layout(root=tmp_path, formats=("csv",))
    names = [f"m{k}" for k in range(60)]
    rng = np.random.default_rng(5)
    for k, name in enumerate(names):
        stage_map(
            layout, name, 20, seed=k, beam_fwhm=10.0, RA=rng.uniform(10, 10.05, 20),
            DEC=rng.uniform(5, 5.05, 20), FLAGS=0,
        )  # fmt: skip
    start = time.process_time()
    overlaps = Overlaps(layout, names, radius_beams=0.5)
    write_overlaps(overlaps, flux_unit="mJy", meta={})
    assert time.process_time() - start < 5.0
    checks = read_table(tmp_path / layout.table("OVERLAP_CHECKS", "csv"))
    assert np.all(checks["N"] >= 3)


def test_tables_of_an_earlier_run_are_removed(tmp_path):
    layout = Layout(root=tmp_path, formats=("csv",))
    overlaps, _ = staged(layout)
    names, _, _ = write_overlaps(overlaps, flux_unit="mJy", meta={})
    assert set(remove_merged(layout)) == set(names)
