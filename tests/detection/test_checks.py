import numpy as np
import pytest

from hyper_py.detection.checks import (
    Check,
    PeakLimits,
    all_passed,
    apart_check,
    border_check,
    brightest_checked,
    shape_checks,
    shoulder_check,
)
from hyper_py.detection.daofind import DaofindStatistics
from hyper_py.detection.matched import MatchedSearch


def test_limits_are_included_and_what_is_unknown_fails_unless_it_may() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan])
    assert Check("value", values, 1.0, 2.0).passed.tolist() == [True, True, False, False]
    assert Check("value", values, high=2.0, unknown_passes=True).passed.tolist() == [True, True, False, True]
    assert all_passed([Check("a", values, 2.0), Check("b", values, high=2.0)]).tolist() == [
        False,
        True,
        False,
        False,
    ]


def test_shapes_and_border() -> None:
    statistics = DaofindStatistics(
        np.array([0.0, 5.0, 0.0]), np.zeros(3), np.array([0.5, 0.5, 3.0]), np.ones(3)
    )
    limits = PeakLimits(roundlim=(-1.0, 1.0), sharplim=(0.2, 1.0))
    checks = shape_checks(statistics, limits)
    assert [check.passed.tolist() for check in checks] == [
        [True, False, True],
        [True] * 3,
        [True, True, False],
    ]
    assert all_passed(checks).tolist() == statistics.within(limits.roundlim, limits.sharplim).tolist()
    # The hollow middle of a ring, and as much too sharp: only the first may pass, where rings are looked for.
    cold = DaofindStatistics(np.zeros(3), np.zeros(3), np.array([-5.0, -5.0, 5.0]), np.ones(3))
    wide = shape_checks(cold, limits, may_be_hollow=np.array([True, False, True]))
    assert all_passed(wide).tolist() == [True, False, False]
    border = border_check((20, 30), x=np.array([4.0, 15.0, 26.0]), y=np.array([10.0, 3.9, 10.0]), margin=4.0)
    assert border.values == pytest.approx([4.0, 3.9, 3.0])
    assert border.passed.tolist() == [True, False, False]


def test_what_stays_is_what_passes_the_check_of_distance() -> None:
    rng = np.random.default_rng(1)
    points, brightness = rng.uniform(0, 40, (200, 2)), rng.uniform(1, 2, 200)
    passed = rng.uniform(size=200) > 0.2
    kept = brightest_checked(points, brightness, passed, distance=5.0)
    assert (np.diff(brightness[kept]) <= 0).all()
    assert set(kept) <= set(np.flatnonzero(passed))
    check = apart_check(points, brightness, kept=(points[kept], brightness[kept]), distance=5.0)
    assert set(np.flatnonzero(check.passed & passed)) == set(kept)
    lost = np.flatnonzero(~check.passed)
    away = np.hypot(*(points[kept] - points[lost[0]]).T)
    assert check.values[lost[0]] == away[brightness[kept] >= brightness[lost[0]]].min()


def test_shoulder_is_a_check_only_with_a_limit() -> None:
    data = np.add.outer(np.zeros(40), np.arange(40.0))
    points, peak = np.array([[20.0, 20.0]]), np.array([1.0])
    free = shoulder_check(data, points=points, peak=peak, limits=PeakLimits(), fwhm=4.0)
    assert free.passed.all()
    assert free.values[0] > 1.0
    bound = shoulder_check(
        data, points=points, peak=peak, limits=PeakLimits(shoulder_threshold=0.5), fwhm=4.0
    )
    assert not bound.passed.any()


def test_sources_in_noisy_pixels_are_not_too_sharp() -> None:
    """Where a beam is many noisy pixels, one source in eighteen of eight sigma was rejected as too sharp."""
    rng = np.random.default_rng(5)
    sigma, peak, n = 2.65, 1.7, 320
    data = rng.normal(size=(n, n))
    y, x = np.mgrid[:n, :n]
    places = [(a, b) for a in range(30, n - 20, 50) for b in range(30, n - 20, 50)]
    for a, b in places:
        data += peak * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / sigma**2)
    search = MatchedSearch.of(data, beam_covariance=sigma**2 * np.eye(2), limits=PeakLimits())
    assert search is not None
    found = search.candidates
    near = np.array([np.hypot(*(found.points - place).T).argmin() for place in places])
    sources = found.select(near)
    statistics, checks = search.check(sources)
    assert (np.hypot(*(sources.points - places).T) < 3.0).all()
    assert np.count_nonzero(np.abs(statistics.sharpness) > 2.0) >= 2
    assert all(check.passed.all() for check in checks if check.name != "significance")
