"""Masks against distances of all pixels, whole and in parts."""

import numpy as np

from hyper_py.detection.masks import PixelMask, SourceMask


def test_masks_of_sources_reach_as_far_as_they_say() -> None:
    mask = SourceMask(np.array([[10.3, 12.6], [30.0, -2.0]]), np.array([4.0, 6.5]))
    y, x = np.mgrid[:40, :50]
    expected = (np.hypot(x - 10.3, y - 12.6) <= 5.0) | (np.hypot(x - 30.0, y + 2.0) <= 7.5)
    assert np.array_equal(mask((slice(0, 40), slice(0, 50)), more=1.0), expected)
    assert np.array_equal(mask((slice(5, 20), slice(7, 41)), more=1.0), expected[5:20, 7:41])


def test_masks_of_bright_pixels_reach_as_far_as_they_say_across_parts() -> None:
    plane = np.zeros((40, 50))
    plane[12, 10], plane[30, 49], plane[20, 20] = 7.0, -8.0, 5.0  # the last is within the limit
    mask = PixelMask(plane, 6.0, 3.0)
    y, x = np.mgrid[:40, :50]
    expected = (np.hypot(x - 10, y - 12) <= 4.0) | (np.hypot(x - 49, y - 30) <= 4.0)
    assert np.array_equal(mask((slice(0, 40), slice(0, 50)), more=1.0), expected)
    assert np.array_equal(mask((slice(14, 29), slice(11, 47)), more=1.0), expected[14:29, 11:47])
    assert not mask((slice(18, 24), slice(18, 24))).any()
