"""The command `why`: a position in pixels and on the sky, and what is no position."""

import pytest
from astropy.table import Table

from helpers.command_line import SMALL, Hyper
from hyper_py.commands.why import why


@pytest.fixture
def brightest(hyper: Hyper):
    """The brightest source of a map, as its truth has it."""
    hyper("simulate", "-o", "a.fits", *SMALL)
    truth = Table.read("a_truth.ecsv")
    return truth[truth["PEAK_SNR"].argmax()]


def test_pixels_and_sky_say_the_same_of_a_source(hyper: Hyper, brightest) -> None:
    status, pixels, err = hyper("why", "a.fits", f"{brightest['X']:.6f}", f"{brightest['Y']:.6f}")
    assert (status, err) == (0, "")
    sky = hyper("why", "a.fits", "--sky", f"{brightest['RA']:.10f}", f"{brightest['DEC']:.10f}")
    assert brightest["DEC"] < 0.0  # a declination that begins like an option
    assert sky == (0, pixels, "")
    assert "There is a source here" in pixels


def test_options_of_the_run_in_question_count(hyper: Hyper, brightest, tmp_path) -> None:
    place = (f"{brightest['X']:.1f}", f"{brightest['Y']:.1f}")
    (tmp_path / "high.yaml").write_text("version: 2\ndetection: {sigma_thres: 1000}")
    usual = hyper("why", "a.fits", *place)[1]
    high = hyper("why", "a.fits", *place, "--config", "high.yaml")
    assert high[0] == 0
    assert high[1] == hyper("why", "a.fits", *place, "--set", "detection.sigma_thres=1000")[1]
    assert "There is a source here" in usual
    assert "There is a source here" not in high[1]


def test_the_command_is_a_function_too(brightest, tmp_path, capsys) -> None:
    capsys.readouterr()
    why(tmp_path / "a.fits", f"{brightest['X']:.6f}", f"{brightest['Y']:.6f}")
    assert "There is a source here" in capsys.readouterr().out


def test_what_is_no_position(hyper: Hyper, brightest) -> None:
    status, out, err = hyper("why", "a.fits", "05:38:00", "-69:05:00")
    assert (status, out) == (2, "")
    assert err == "error: 05:38:00 -69:05:00: not pixel coordinates; --sky for RA and Dec\n"
