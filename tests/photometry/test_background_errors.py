"""Covariances of sums over the data less a fitted background, against dense algebra."""

import numpy as np
import pytest

from helpers.group_cases import (
    SETTINGS,
    backgrounds_with,
    dense,
    noise_model,
    plane,
    sources_at,
    with_apertures,
)
from hyper_py.background.separate import SeparateBackground
from hyper_py.fitting.groups import GroupFit
from hyper_py.noise.whitening import Whitener
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.photometry.aperture import source_apertures
from hyper_py.photometry.background_errors import Frame, on_background, separate_part

SHAPE = (40, 44)


def case(rng):
    source = sources_at((21.0, 19.0))
    mask = rng.random(SHAPE) < 0.1
    background = backgrounds_with(plane(SHAPE), mask, source, [np.array([0])], **SETTINGS)[0]
    pixels = select_fit_pixels(
        source[:, 1], source[:, 2], radius=np.array([4.0]), usable=np.ones(SHAPE, bool)
    )
    fit = GroupFit(parameters=source, at_bound=source < 0, cost=0.0, status=1, n_evaluations=1)
    apertures = source_apertures(source, radius_in_fwhm=0.7)
    whitener = Whitener(weights=np.ones(pixels.y.size))
    return with_apertures(fit, pixels, whitener, background, apertures, np.ones(1))


@pytest.mark.parametrize("wide", [False, True])
def test_sums_less_the_background_have_the_covariance_of_dense_algebra(wide, monkeypatch, rng):
    own, noise = case(rng), noise_model(reach=6, width=1.2)
    if wide:
        monkeypatch.setattr("hyper_py.background.separate._WIDE", 10)
    background, frame = separate_part(own), Frame.around(own)
    assert isinstance(background, SeparateBackground)
    images = rng.normal(size=(1, 3, *frame.shape))
    found = on_background(images, [own], [frame], noise)[0]

    # All pixels of the frame and of the background, in map coordinates.
    fit_y, fit_x = background.polynomial.fit_pixels
    frame_y, frame_x = (axis.ravel() for axis in frame.grid())
    places = np.unique(
        np.concatenate(
            [
                np.column_stack([fit_y + background.y0, fit_x + background.x0]),
                np.column_stack([frame_y, frame_x]),
            ]
        ),
        axis=0,
    )
    row = {tuple(place): k for k, place in enumerate(places.tolist())}
    weights = np.zeros((3, len(places)))
    weights[:, [row[p] for p in zip(frame_y.tolist(), frame_x.tolist(), strict=True)]] = images[0].reshape(
        3, -1
    )
    seen = weights @ background.polynomial.design(places[:, 0] - background.y0, places[:, 1] - background.x0)
    response = seen @ background.polynomial.normal_inverse @ background.polynomial.design(fit_y, fit_x).T
    at_fit = [
        row[p] for p in zip((fit_y + background.y0).tolist(), (fit_x + background.x0).tolist(), strict=True)
    ]
    weights[:, at_fit] -= response
    expected = weights @ dense(noise, *places.T) @ weights.T
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())


def test_a_frame_holds_all_pixels_and_counts_them_in_order(rng):
    own = case(rng)
    frame = Frame.around(own)
    y, x = frame.grid()
    np.testing.assert_array_equal(frame.index(y, x).ravel(), np.arange(y.size))
    y0, y1, x0, x1 = separate_part(own).box
    assert frame.y0 <= y0
    assert frame.x0 <= x0
    assert frame.y0 + frame.shape[0] >= y1
    assert frame.x0 + frame.shape[1] >= x1
    assert frame.kind(None) is None
