import numpy as np

from hyper_py.background.binned import BinnedBackground
from hyper_py.background.conditional import ConditionalBackground


def test_all_pixels_of_a_bin_have_its_background():
    own = ConditionalBackground(y=np.array([4, 5]), x=np.array([7, 9]), values=np.array([0.5, -0.5]))
    fine = BinnedBackground(background=own, size=3)
    y, x, values, weights = fine.paint()
    assert y.size == 18
    np.testing.assert_array_equal(values, np.where(y // 3 == 4, 0.5, -0.5))
    np.testing.assert_array_equal(x // 3, np.where(y // 3 == 4, 7, 9))
    assert len(set(zip(y.tolist(), x.tolist(), strict=True))) == 18
    np.testing.assert_array_equal(fine.at(y, x), values)
    assert (weights == 1.0).all()
    assert fine.order == -1
