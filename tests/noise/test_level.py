import numpy as np

from hyper_py.noise.level import NoiseLevel


def test_one_number_is_the_same_everywhere():
    noise = NoiseLevel(mean=1.0, rms=2.0)
    assert noise.typical == 2.0
    np.testing.assert_array_equal(noise.at(np.array([0.0, 9.0]), np.array([3.0, -5.0])), [2.0, 2.0])


def test_a_map_of_the_rms_is_read_at_the_nearest_pixel():
    rms = np.arange(12.0).reshape(3, 4)
    rms[0, 0] = np.nan
    noise = NoiseLevel(mean=0.0, rms=rms)
    assert noise.typical == 6.0
    x, y = np.array([1.4, 2.6, 99.0]), np.array([0.4, 1.6, -4.0])
    np.testing.assert_array_equal(noise.at(x, y), [rms[0, 1], rms[2, 3], rms[0, 3]])
