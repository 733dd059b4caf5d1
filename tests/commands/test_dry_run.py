"""`run --dry-run`: what would run, and that nothing does."""

import pytest

from helpers.command_line import SMALL
from hyper_py.commands.dry_run import duration


def test_says_what_would_run_and_writes_nothing(hyper, tmp_path):
    assert hyper("simulate", "--seed", "3", "-o", "sky.fits", *SMALL)[0] == 0
    (tmp_path / "broken.fits").write_bytes((tmp_path / "sky.fits").read_bytes()[:3000])
    before = sorted(path.name for path in tmp_path.iterdir())
    status, out, err = hyper("sky.fits", "--dry-run")
    assert (status, err) == (0, "")
    first, last = out.splitlines()
    assert first.split()[:4] == ["sky", "120", "x", "96"]
    assert last.startswith("Would run 1 of 1 maps: about 1 s, 0.2 GB")
    assert last.endswith(str(tmp_path / "output"))
    status, out, err = hyper("sky.fits", "broken.fits", "--dry-run", "--jobs", "2")
    assert status == 1
    assert err.startswith("would fail: broken.fits: the file is cut short")
    assert "Would run 1 of 2 maps by 2 processes" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_cube_has_its_channels(hyper):
    options = ("--set", "shape=[64, 70]", "--set", "n_sources=3", "--set", "n_channels=4")
    assert hyper("simulate", "--preset", "cube", "-o", "cube.fits", *options)[0] == 0
    assert hyper("cube.fits", "--dry-run", "-j", "1")[1].split()[:6] == ["cube", "70", "x", "64", "x", "4"]


def test_wrong_configurations_are_refused_as_in_a_run(hyper):
    assert hyper("none*.fits", "--dry-run")[0] == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (80, "80 s"), (100, "1.7 min"), (7200, "2 h"), (2e5, "2.3 d")]
)
def test_durations_have_two_digits(seconds, text):
    assert duration(seconds) == text
