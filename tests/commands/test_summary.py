"""The end of a run: what is said of its maps, compared with the tables that it wrote."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable

from helpers.command_line import SMALL
from hyper_py.diagnostics import FLAG_TEXT, Flag
from hyper_py.reporting.report_data import REMARKS


@pytest.fixture
def lines(hyper):
    def run(*arguments):
        status, out, err = hyper(*arguments)
        assert status == 0
        return dict(line.split(None, 1) for line in out.splitlines()), err

    return run


def test_one_map_in_the_words_of_an_astronomer(hyper, lines, tmp_path):
    assert hyper("simulate", "--seed", "3", "-o", "sky.fits", *SMALL)[0] == 0
    said, err = lines("sky.fits", "-o", "out", "--products", "model,rms")
    assert err == ""
    table = QTable.read("out/params/params_sky.ecsv")
    flux = table["FLUX"].to_value("mJy")
    assert said["sky"].startswith(f"{len(table)} sources, ")
    assert said["flux"] == f"{flux.min():.3g} to {flux.max():.3g} mJy, median {np.median(flux):.3g}"
    assert said["noise"] == f"{table.meta['rms']:.4g} mJy/beam"
    limit = 4.5 * np.median(table["FLUX_PEAK"].value / np.asarray(table["SNR"]))
    assert said["limit"] == f"{limit:.3g} mJy/beam: a point source at the threshold of 4.5"
    for flag in FLAG_TEXT:
        n = np.count_nonzero(np.asarray(table["FLAGS"]) & flag)
        name = flag.name.lower().replace("_", " ")
        assert (f"{n} {name}" in said["flags"]) == bool(n)
    calling = np.count_nonzero(np.asarray(table["FLAGS"]) & ~int(REMARKS))
    assert ("look" in said) == bool(calling)
    assert said["report"] == "out/report/index.html"
    assert said["tables"] == "out/params/params_sky.txt (.ecsv, .csv)"
    assert said["images"] == "out/fits/sky_model.fits, sky_rms.fits"
    for name in ("report", "regions", "log"):
        assert (tmp_path / said[name]).is_file()


def test_several_maps_have_a_table_and_a_total(hyper, tmp_path):
    assert hyper("simulate", "--seeds", "3-4", "-o", "skies", *SMALL)[0] == 0
    assert sorted(path.name for path in (tmp_path / "skies").glob("*.fits")) == ["alma_3.fits", "alma_4.fits"]
    status, out, _ = hyper("skies", "-o", "out", "-j", "1")
    assert status == 0
    rows = out.splitlines()
    assert rows[0].split() == ["Map", "Status", "Sources", "To", "check", "Flux", "rms", "Seconds"]
    assert [row.split()[0] for row in rows[1:3]] == ["alma_3", "alma_4"]
    assert rows[3].split() == ["report", "out/report/index.html"]
    assert rows[-1].startswith("Maps: 2. Sources: ")


def test_a_cube_counts_sources_and_rows(hyper, lines):
    fields = ("shape=[64, 70]", "n_sources=3", "n_channels=4", "line_fwhm=[20, 30]", "peak_range=[40, 60]")
    options = [word for field in fields for word in ("--set", field)]
    assert hyper("simulate", "--preset", "cube", "--seed", "2", "-o", "cube.fits", *options)[0] == 0
    said, _ = lines("cube.fits", "-o", "out", "-j", "1")
    table = QTable.read("out/params/params_cube_ALL.ecsv")
    assert f"in 4 channels ({len(table)} rows, " in said["cube"]
    assert int(said["cube"].split()[0]) <= 4 < len(table)
    page = Path("out/report/index.html").read_text()
    assert f"{said['cube'].split()[0]} sources in 4 channels" in page
    assert said["tables"].startswith("out/params/params_cube_ALL.txt")


def test_a_map_without_sources(hyper, lines):
    assert (
        hyper("simulate", "--preset", "empty", "--seed", "1", "-o", "sky.fits", "--set", "shape=[90, 90]")[0]
        == 0
    )
    said, _ = lines("sky.fits", "-o", "out", "--set", "detection.sigma_thres=9")
    assert said["sky"].startswith("0 sources")
    assert said["flags"] == "none"
    assert "flux" not in said
    assert "limit" not in said


def test_flags_are_either_remarks_or_call_for_a_look():
    assert REMARKS & Flag.BLENDED
    assert not REMARKS & Flag.SIZE_AT_BOUND
