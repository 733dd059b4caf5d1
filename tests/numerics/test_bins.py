import numpy as np

from hyper_py.numerics.bins import bin_mean, binned
from hyper_py.numerics.tiles import LazyPlane


def test_a_map_read_in_pieces_is_binned_as_one_in_memory():
    image = np.random.default_rng(4).normal(size=(23, 31))
    image[5:9, 6:12] = np.nan
    lazy = binned(LazyPlane((23, 31), lambda rows, columns: image[rows, columns]), 3)
    assert lazy.shape == (7, 10)
    np.testing.assert_array_equal(lazy[1:6, 2:9], bin_mean(image, 3)[1:6, 2:9])


def test_a_bin_is_the_mean_of_what_is_known_if_that_is_half_of_it():
    image = np.array([[1.0, 3.0, np.nan, 5.0], [np.nan, 5.0, np.nan, np.nan]])
    np.testing.assert_array_equal(bin_mean(image, 2), [[3.0, np.nan]])


def test_no_more_pixels_are_read_at_once_than_there_are_bins():
    image, read = np.random.default_rng(5).normal(size=(80, 60)), []

    def make(rows, columns):
        read.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return image[rows, columns]

    np.testing.assert_array_equal(binned(LazyPlane(image.shape, make), 2)[:, :], bin_mean(image, 2))
    assert max(read) <= 40 * 30
    assert sum(read) == image.size
