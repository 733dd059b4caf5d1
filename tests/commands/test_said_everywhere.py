"""What is odd about a map is said by inspect before a run, and after it in log, run.json, report, output."""

import json
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from helpers.command_line import SMALL, Hyper


def odd_map() -> None:
    """Write a map without BPA whose noise rises outwards, and the same with far too small errors."""
    with fits.open("a.fits") as hdus:
        data, header = hdus[0].data.astype(float), hdus[0].header
    y, x = np.mgrid[: data.shape[0], : data.shape[1]]
    rise = np.exp(3.0 * ((x - 60) ** 2 + (y - 48) ** 2) / 60.0**2)
    data += np.random.default_rng(1).normal(size=data.shape) * 0.3 * np.nanstd(data) * rise
    header["BMIN"] = 0.9 * header["BMAJ"]
    header.remove("BPA", ignore_missing=True)
    fits.writeto("odd.fits", data, header)
    error = fits.ImageHDU(np.full(data.shape, 1e-3 * np.nanstd(data)), name="ERROR")
    error.header["BUNIT"] = header["BUNIT"]
    fits.HDUList([fits.PrimaryHDU(data, header), error]).writeto("errors.fits")


def test_warnings_notes_and_flags(hyper: Hyper) -> None:
    hyper("simulate", "-o", "a.fits", *SMALL)
    odd_map()
    expected = {
        "odd": ["the noise rises outwards", "no BPA in the header"],
        "errors": ["ERROR is used as the error map", "do both have the same unit?", "no BPA in the header"],
    }
    for name, texts in expected.items():
        _, before, _ = hyper("inspect", f"{name}.fits")
        before = " ".join(before.split())
        status, out, err = hyper("run", f"{name}.fits", "-o", name)
        assert status == 0
        root = Path(name)
        (entry,) = json.loads((root / "run.json").read_text())["maps"]
        page = " ".join((root / "report/index.html").read_text().split())
        log = (root / f"logs/Hyper_log_{name}.log").read_text()
        for text in texts:
            assert text in before
            assert text in log
            assert any(text in one for one in (*entry["warnings"], *entry["notes"]))
            assert text in page
            assert text in err or text in out
        table = Table.read(root / f"params/params_{name}.ecsv")
        counted = sum(entry["flags"].values())
        assert counted == sum(int(flag).bit_count() for flag in table["FLAGS"])
        assert f"flags: {', '.join(f'{n} {words}' for words, n in entry['flags'].items())}" in log


def test_given_sources_before_the_run(hyper: Hyper) -> None:
    hyper("simulate", "-o", "a.fits", *SMALL)
    truth = Table.read("a_truth.ecsv")
    table = Table({"RA": [*truth["RA"][:2], 0.0], "DEC": [*truth["DEC"][:2], 0.0], "FWHM_1": [1e-4] * 3})
    table.write("given.csv")
    keys = ("detection.use_fixed_source_table=true", "detection.fixed_source_table_path=given.csv")
    status, out, _ = hyper("inspect", "a.fits", *(part for key in keys for part in ("--set", key)))
    out = " ".join(out.split())
    assert status == 0
    assert "given 3 sources, 1 of them not on the map, 3 with sizes below the beam" in out
    assert "given.csv says no unit of some columns: RA and DEC taken to be in deg" in out


def test_what_overlaps_say_is_in_the_manifest(hyper: Hyper) -> None:
    hyper("simulate", "-o", "a.fits", *SMALL)
    with fits.open("a.fits") as hdus:
        hdus[0].data = 1.3 * hdus[0].data
        hdus.writeto("b.fits")
    status, _, err = hyper("run", "a.fits", "b.fits", "-o", "out", "--set", "outputs.report=false")
    assert status == 0
    manifest = json.loads(Path("out/run.json").read_text())
    assert "sources are on several maps" in manifest["notes"][0]
    (text,) = manifest["warnings"]
    assert text.startswith("fluxes on b are 1.300")
    assert text in err
    assert text in Path("out/logs/hyper_py.log").read_text()
    assert "params/params_OVERLAPS.ecsv" in manifest["merged"]
