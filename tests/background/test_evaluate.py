"""Backgrounds of many groups at once, against each alone."""

import numpy as np
import pytest

from helpers.group_cases import SETTINGS, backgrounds_with, plane, sources_at
from hyper_py.background.evaluate import backgrounds_at, backgrounds_on
from hyper_py.background.joint import JointBackground, JointPolynomial
from hyper_py.background.model import NoBackground
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.numerics.polynomial import scaling_of_pixels

SHAPE = (60, 70)


def make_backgrounds(kind):
    rng = np.random.default_rng(8)
    sources = sources_at((20, 15), (45.3, 40.2), (2, 30))
    partition, data = [np.array([k]) for k in range(3)], plane(SHAPE) + rng.normal(size=SHAPE)
    mask = gaussians.footprints(sources, SHAPE)
    backgrounds = [
        backgrounds_with(data, mask, sources, [own], **{**SETTINGS, "orders": (order,)})[0]
        for order, own in enumerate(partition)
    ]
    pixels = [
        select_fit_pixels(s[1:2], s[2:3], radius=np.array([r]), usable=np.ones(SHAPE, bool))
        for s, r in zip(sources, (3.0, 5.0, 4.0), strict=True)
    ]
    if kind == "mixed":
        scaling = scaling_of_pixels(pixels[1].y, pixels[1].x)
        backgrounds[1] = JointBackground(
            polynomial=JointPolynomial(1, scaling), coefficients=np.array([1.0, 2, 3]), pixels=pixels[1],
            below=backgrounds[1],
        )  # fmt: skip
        backgrounds[2] = NoBackground()
    return backgrounds, pixels


@pytest.mark.parametrize("kind", ["separate", "mixed"])
def test_many_backgrounds_are_each_alone(kind):
    backgrounds, pixels = make_backgrounds(kind)
    y, x = np.random.default_rng(1).integers(-3, 70, size=(2, 3, 17))
    expected = [background.at(a, b) for background, a, b in zip(backgrounds, y, x, strict=True)]
    np.testing.assert_allclose(backgrounds_at(backgrounds, y, x), expected, rtol=1e-12, atol=1e-12)
    for background, own, values in zip(backgrounds, pixels, backgrounds_on(backgrounds, pixels), strict=True):
        np.testing.assert_allclose(values, background.at(own.y, own.x), rtol=1e-12, atol=1e-12)


def test_no_backgrounds():
    assert backgrounds_on([], []) == []
