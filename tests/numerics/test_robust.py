import numpy as np
import pytest

from hyper_py.numerics.candidates import make_frames, make_plan
from hyper_py.numerics.polynomial import polynomial_design
from hyper_py.numerics.regression import huber_regression, random_subsets, spatial_median, subset_solutions
from hyper_py.numerics.robust import huber_fits, theil_sen_fits

SIDE = 24
BOXES = [(12 - h, 12 + h, 12 - h, 12 + h) for h in (8, 10, 12)]
Y, X = np.mgrid[:SIDE, :SIDE]


def frames_of(plan, rng, n=3):
    data = rng.normal(size=(n, SIDE, SIDE)) + 0.2 * X
    data[rng.random(data.shape) < 0.05] += 20.0
    used = np.broadcast_to((Y - 12) ** 2 + (X - 12) ** 2 >= 16, data.shape)
    return make_frames(data, used, plan=plan)


@pytest.mark.parametrize("epsilon", [1.1, 1.7])
def test_each_huber_candidate_is_the_regression_on_its_box(epsilon, rng):
    plan = make_plan((SIDE, SIDE), boxes=BOXES, orders=(0, 2), beam_area=9.0)
    frames = frames_of(plan, rng)
    fits, left, outliers = huber_fits(frames, 1, plan=plan, epsilon=epsilon, leave_out=False)
    assert left is None
    for b, (y0, y1, x0, x1) in enumerate(BOXES):
        use = frames.used[1] & (y0 <= Y) & (y1 > Y) & (x0 <= X) & (x1 > X)
        for o, order in enumerate(plan.orders):
            design = polynomial_design(Y[use], X[use], order=order, scaling=plan.scaling)
            alone = huber_regression(design, frames.values[1][use], epsilon=epsilon)
            np.testing.assert_allclose(
                fits.coefficients[: plan.sizes[o], 0, b, o], alone.coefficients, rtol=1e-7, atol=1e-9
            )
            assert not fits.coefficients[plan.sizes[o] :, 0, b, o].any()
            np.testing.assert_array_equal(outliers[b, o][use], alone.outliers)
            assert not outliers[b, o][~use].any()


@pytest.mark.parametrize("guard", [0, 1])
def test_theil_sen_without_a_block_uses_the_subsets_that_miss_it(guard, rng):
    plan = make_plan((SIDE, SIDE), boxes=BOXES[1:2], orders=(1,), beam_area=9.0, guard=guard)
    frames = frames_of(plan, rng)
    fits, left = theil_sen_fits(frames, 0, plan=plan, n_subsets=2000, seed=5, leave_out=True)
    y0, y1, x0, x1 = BOXES[1]
    y, x = np.nonzero(frames.used[0])
    inside = np.flatnonzero((y >= y0) & (y < y1) & (x >= x0) & (x < x1))
    design = polynomial_design(y, x, order=1, scaling=plan.scaling)
    subsets = inside[random_subsets(inside.size, 3, n_subsets=2000, seed=np.random.default_rng(5))]
    points = subset_solutions(design, frames.values[0][y, x], subsets=subsets)
    median = spatial_median(points)[0]
    np.testing.assert_allclose(fits.coefficients[:, 0, 0, 0], median, rtol=1e-10, atol=1e-12)
    rows, columns = plan.edges
    n_rows, n_columns = rows.size - 1, columns.size - 1
    worst = 0.0
    for i in range(n_rows):
        for j in range(n_columns):
            top, bottom = rows[max(i - guard, 0)], rows[min(i + guard + 1, n_rows)]
            start, stop = columns[max(j - guard, 0)], columns[min(j + guard + 1, n_columns)]
            gone = (y >= top) & (y < bottom) & (x >= start) & (x < stop)
            exact = spatial_median(points[~gone[subsets].any(axis=1)])[0]
            quick = left.coefficients[:, 0, i * n_columns + j, 0, 0]
            worst = max(worst, np.linalg.norm(quick - exact))
            assert np.linalg.norm(quick - exact) <= 0.2 * np.linalg.norm(exact - median) + 1e-3
    assert worst > 0.0


def test_order_zero_of_theil_sen_is_the_median(rng):
    plan = make_plan((SIDE, SIDE), boxes=BOXES[2:], orders=(0,), beam_area=9.0)
    frames = frames_of(plan, rng)
    fits, _ = theil_sen_fits(frames, 2, plan=plan, n_subsets=10, seed=0, leave_out=True)
    assert fits.coefficients.item() == np.median(frames.values[2][frames.used[2]])
