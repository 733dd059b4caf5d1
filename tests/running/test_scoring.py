from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable, Table

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.running.scoring import validate_files
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.validation import validate
from hyper_py.writing.simulated_files import truth_path, write_simulation
from hyper_py.writing.table_columns import prepare_table, template_of
from hyper_py.writing.tables import SUFFIXES, write_table


@pytest.fixture
def truth(tmp_path: Path) -> QTable:
    simulation = simulate_image("alma", seed=11, shape=(96, 120), n_sources=8)
    write_simulation(tmp_path / "a.fits", simulation)
    return simulation.truth


@pytest.mark.parametrize("form", SUFFIXES)
def test_every_format_of_ours_is_the_same(tmp_path: Path, truth: QTable, form: str) -> None:
    rng = np.random.default_rng(3)
    found = Table(truth["X", "Y", "FLUX", "FWHM_1", "FWHM_2", "PA"])
    found["X"] += rng.normal(0, 0.1, len(found))
    found["MAP_ID"] = ["a"] * len(found)
    prepared = prepare_table(found, pixel_scale=0.013)
    path = tmp_path / f"found{SUFFIXES[form]}"
    write_table(path, [prepared], form=form, template=template_of(prepared, text_widths={}, meta={}))
    if form == "csv":
        with pytest.warns(UserWarning, match="FLUX in Jy, FWHM_1 in arcsec, FWHM_2 in arcsec"):
            got = validate_files(path, truth_path(tmp_path / "a.fits"))
    else:
        got = validate_files(path, truth_path(tmp_path / "a.fits"))
    direct = validate(found, truth, beam_fwhm=truth.meta["beam_pixels"])
    assert got.completeness == direct.completeness
    x, y = got.samples["all"]["x"], direct.samples["all"]["x"]
    np.testing.assert_allclose((x.bias, x.scatter), (y.bias, y.scatter), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", ["ipac", "ecsv", "fits", "parquet"])
def test_the_beam_of_our_catalogue_serves_a_bare_truth(tmp_path: Path, truth: QTable, form: str) -> None:
    bare = Table(truth["X", "Y", "RA", "DEC"], meta={})
    bare.write(tmp_path / "bare.ecsv")
    meta = {"beam_major_arcsec": 0.08, "beam_minor_arcsec": 0.05, "pixel_arcsec": 0.02}
    prepared = prepare_table(bare, pixel_scale=0.02, meta=meta)
    path = tmp_path / f"found{SUFFIXES[form]}"
    write_table(path, [prepared], form=form, template=template_of(prepared, text_widths={}, meta=meta))
    beam = (0.08 * 0.05) ** 0.5
    assert validate_files(path, tmp_path / "bare.ecsv").tolerance == pytest.approx(0.5 * beam / 0.02)
    on_sky = validate_files(path, tmp_path / "bare.ecsv", coordinates="sky")
    assert on_sky.tolerance == pytest.approx(0.5 * beam)
    assert validate_files(path, tmp_path / "bare.ecsv", beam=4.0).tolerance == 2.0


def test_plain_text_tables(tmp_path: Path, truth: QTable) -> None:
    Table(truth["X", "Y"]).write(tmp_path / "found.txt", format="ascii.commented_header")
    assert validate_files(tmp_path / "found.txt", truth_path(tmp_path / "a.fits")).completeness.value == 1.0
    (tmp_path / "other.txt").write_text("\x00\x01 nothing\n 1")
    with pytest.raises(InputError, match=r"other.txt"):
        validate_files(tmp_path / "other.txt", truth_path(tmp_path / "a.fits"))


@pytest.mark.parametrize("form", ["ecsv", "csv", "votable", "ipac"])
def test_clumps_are_known_in_any_format(tmp_path: Path, form: str) -> None:
    """In CSV they are texts, of which any is true that is not empty."""
    places = np.arange(10.0, 200.0, 20.0)
    path = tmp_path / f"t{SUFFIXES[form]}"
    table = Table({"X": places, "Y": places, "CLUMP": places < 80.0})
    table.write(path, format={"ipac": "ascii.ipac", "votable": "votable"}.get(form))
    assert validate_files(path, path, beam=4.0).completeness.whole == 6


def test_unknown_beam(tmp_path: Path, truth: QTable) -> None:
    Table(truth["X", "Y"], meta={}).write(tmp_path / "bare.ecsv")
    with pytest.raises(ConfigurationError, match="FWHM in pixels: --beam"):
        validate_files(tmp_path / "bare.ecsv", tmp_path / "bare.ecsv")


def test_blank_borders_do_not_count(tmp_path: Path) -> None:
    simulation = simulate_image("alma", seed=2, shape=(96, 120), n_sources=8, blank_border=10)
    write_simulation(tmp_path / "a.fits", simulation)
    table = Table.read(truth_path(tmp_path / "a.fits"))
    table["X"][0] = 10.0  # less than half a beam of 3.3 pixels from the blanks
    table.write(tmp_path / "near.ecsv")
    assert validate_files(tmp_path / "near.ecsv", tmp_path / "near.ecsv").completeness.whole == 7
