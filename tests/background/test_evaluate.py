"""Backgrounds of many units at once, against each alone."""

import numpy as np
import pytest

from helpers.unit_cases import SETTINGS, plane, sources_at
from hyper_py.background.evaluate import backgrounds_at, on_windows
from hyper_py.background.group_polynomials import group_backgrounds
from hyper_py.background.joint import JointBackground, NoBackground, window_scaling
from hyper_py.fitting.group_fit import select_fit_pixels
from hyper_py.numerics import models

SHAPE = (60, 70)


def make_skies(kind):
    rng = np.random.default_rng(8)
    sources = sources_at((20, 15), (45.3, 40.2), (2, 30))
    units, data = [np.array([k]) for k in range(3)], plane(SHAPE) + rng.normal(size=SHAPE)
    mask = models.footprints(sources, SHAPE)
    skies = [
        group_backgrounds(data, mask, sources, [unit], **{**SETTINGS, "orders": (order,)})[0]
        for order, unit in enumerate(units)
    ]
    windows = [
        select_fit_pixels(s[1:2], s[2:3], radius=np.array([r]), usable=np.ones(SHAPE, bool))
        for s, r in zip(sources, (3.0, 5.0, 4.0), strict=True)
    ]
    if kind == "mixed":
        scaling = window_scaling(windows[1])
        skies[1] = JointBackground(
            order=1, scaling=scaling, coefficients=np.array([1.0, 2, 3]), window=windows[1],
            below=skies[1],
        )  # fmt: skip
        skies[2] = NoBackground()
    return skies, windows


@pytest.mark.parametrize("kind", ["apart", "mixed"])
def test_many_skies_are_each_alone(kind):
    skies, windows = make_skies(kind)
    y, x = np.random.default_rng(1).integers(-3, 70, size=(2, 3, 17))
    expected = [sky.at(a, b) for sky, a, b in zip(skies, y, x, strict=True)]
    np.testing.assert_allclose(backgrounds_at(skies, y, x), expected, rtol=1e-12, atol=1e-12)
    for sky, window, values in zip(skies, windows, on_windows(skies, windows), strict=True):
        np.testing.assert_allclose(values, sky.at(window.y, window.x), rtol=1e-12, atol=1e-12)


def test_no_skies():
    assert on_windows([], []) == []
