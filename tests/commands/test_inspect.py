"""The command `inspect`: what is there, what is missing."""

from pathlib import Path

import pytest
from astropy.io import fits
from astropy.table import Table

from helpers.command_line import SMALL, Hyper
from hyper_py.commands.inspect import describe
from hyper_py.reading.inspection import inspect_image


def test_inspect(hyper: Hyper) -> None:
    hyper("simulate", "-o", "a.fits", "--set", "unit=Jy/beam", *SMALL)
    status, out, err = hyper("inspect", "a.fits")
    assert (status, err) == (0, "")
    facts = {line[:11].strip(): line[11:] for line in out.splitlines()[1:]}
    assert facts["map"] == "extension 0, 120 x 96 pixels (x, y)"
    assert facts["pixel"] == "0.013 x 0.013 arcsec"
    assert facts["unit"].startswith("Jy/beam; from BUNIT; 1 Jy/beam is ")
    assert facts["result"] == "can be run as it is"
    assert max(map(len, out.splitlines())) <= 100
    described = dict(describe(inspect_image(Path("a.fits"))))
    assert {name: described[name] for name in ("map", "pixel", "result")} == {
        name: facts[name] for name in ("map", "pixel", "result")
    }


def test_inspect_says_what_is_missing_and_tries_it(hyper: Hyper) -> None:
    hyper("simulate", "-o", "a.fits", *SMALL)
    with fits.open("a.fits", mode="update") as hdus:
        for key in ("BUNIT", "BMAJ", "BMIN", "BPA"):
            del hdus[0].header[key]
    status, out, _ = hyper("inspect", "a.fits")
    assert status == 1
    missing = [line for line in out.splitlines() if line.startswith("missing")]
    assert len(missing) == 2
    given = ["--set", "units.bunit=Jy/pixel", "--set", "survey.beam={major: 0.05}"]
    status, out, _ = hyper("inspect", "a.fits", *given)
    assert status == 0
    assert "survey.beam" in out
    assert "missing" not in out


def test_inspect_says_that_a_map_does_not_vary(hyper: Hyper) -> None:
    hyper("simulate", "-o", "a.fits", *SMALL)
    with fits.open("a.fits", mode="update") as hdus:
        hdus[0].data[:] = 1.0
    status, out, _ = hyper("inspect", "a.fits")
    assert status == 1
    assert "note       the map does not vary" in out
    assert "every pixel is 1: nothing to measure" in out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.fits", "no such file"),
        (".", "a directory"),
        ("text.fits", "not a FITS file"),
        ("table.fits", "no image"),
    ],
)
def test_what_cannot_be_inspected(hyper: Hyper, name: str, text: str) -> None:
    Path("text.fits").write_text("hello")
    Table({"a": [1]}).write("table.fits")
    status, out, err = hyper("inspect", name)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert text in err
