"""The log of a map: why it failed in one line, and each warning once."""

import warnings

import pytest
from astropy.utils.exceptions import AstropyUserWarning

from hyper_py.diagnostics import HyperPyWarning, InputError
from hyper_py.running.map_log import MapLog, explain, log_warnings, user_warnings


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("a.fits: no beam\n  give one"), "a.fits: no beam give one"),
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device", "out/a.txt"), "out/a.txt: No space left on device"),
    ],
)
def test_a_failure_is_one_line(error, reason):
    assert explain(raised(error)) == reason


def test_a_fault_of_the_code_says_where_it_is():
    assert explain(raised(ValueError("odd"))).startswith("unexpected ValueError: odd (test_map_log.py, line ")


def test_warnings_are_told_once_and_users_get_theirs():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            warnings.warn("no beam\nin the header", HyperPyWarning, stacklevel=1)
            warnings.warn("odd header", AstropyUserWarning, stacklevel=1)
            warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    log = MapLog()
    log_warnings(log, caught)
    assert user_warnings(caught) == ("no beam in the header", "odd header")
    assert [line.split(" ", 2)[2] for line in log.lines] == [
        "warning: HyperPyWarning: no beam in the header",
        "warning: AstropyUserWarning: odd header",
        "warning: RuntimeWarning: overflow",
    ]
