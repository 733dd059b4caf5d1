import numpy as np

from hyper_py.detection.candidates import Candidates


def test_compact_candidates_have_the_size_of_the_beam_and_are_chosen_row_by_row():
    found = Candidates.compact(np.array([[3.4, 7.6], [1.0, 2.0], [9.2, 0.4]]), np.array([5.0, 9.0, 7.0]))
    np.testing.assert_array_equal(found.size, [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(found.step, [1, 1, 1])
    some = found.select(np.array([2, 0]))
    np.testing.assert_array_equal(some.significance, [7.0, 5.0])
    x, y = some.pixels
    np.testing.assert_array_equal([x, y], [[9, 3], [0, 8]])
