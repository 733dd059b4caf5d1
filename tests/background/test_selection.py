import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.selection import select_background, select_backgrounds
from hyper_py.background.cutout_polynomial import CutoutPolynomial
from hyper_py.background.selection import background_without_sources, clip_pixels
from hyper_py.diagnostics import Flag
from hyper_py.numerics.candidates import make_plan
from hyper_py.numerics.interpolation import interpolate_masked
from hyper_py.numerics.polynomial import Scaling, n_terms, polynomial_design, solve_leading
from hyper_py.numerics.regression import huber_regression

SIDE = 30
BOXES = [(15 - h, 15 + h, 15 - h, 15 + h) for h in range(8, 16)]
Y, X = np.mgrid[:SIDE, :SIDE]


def cutouts(rng, n=1, slope=0.1):
    data = rng.normal(5.0, 1.0, (n, SIDE, SIDE)) + slope * X
    mask = np.broadcast_to((Y - 15) ** 2 + (X - 14) ** 2 < 25, data.shape).copy()
    for i in range(n):
        y, x = rng.uniform(0, SIDE, 2)
        mask[i] |= (Y - y) ** 2 + (X - x) ** 2 < 9
    return data, mask


def inside(box, mask):
    y0, y1, x0, x1 = box
    return (y0 <= Y) & (y1 > Y) & (x0 <= X) & (x1 > X) & ~mask


def blocks(plan):
    """Yield each block of common pixels, and the same with its guard."""
    rows, columns = (list(itertools.pairwise(edge)) for edge in plan.edges)
    for i, j in itertools.product(range(len(rows)), range(len(columns))):

        def image(g, i=i, j=j):
            y0, y1 = rows[max(i - g, 0)][0], rows[min(i + g, len(rows) - 1)][1]
            x0, x1 = columns[max(j - g, 0)][0], columns[min(j + g, len(columns) - 1)][1]
            return (y0 <= Y) & (y1 > Y) & (x0 <= X) & (x1 > X)

        yield image(0), image(plan.guard)


def plain_scores(data, mask, *, orders, rms, beam_area, criterion, guard, parsimony):
    """Each criterion by its definition, by lstsq on each candidate."""
    plan = make_plan(data.shape, boxes=BOXES, orders=orders, beam_area=beam_area, guard=guard)
    design = polynomial_design(Y, X, order=max(orders), scaling=plan.scaling)
    common = inside(BOXES[0], mask)
    rms = np.broadcast_to(rms, data.shape)
    n, scores = common.sum(), np.empty((1, len(BOXES), len(orders)))
    for (b, box), (o, order) in itertools.product(enumerate(BOXES), enumerate(orders)):
        k, use = n_terms(order), inside(box, mask)

        def residual(fit, shown, k=k):
            coefficients = np.linalg.lstsq(design[fit][:, :k], data[fit])[0]
            return (data - design[..., :k] @ coefficients)[shown]

        res = residual(use, common)
        chi2 = ((res / rms[common]) ** 2).sum()
        if criterion == "nmse":
            scores[0, b, o] = np.mean(res**2) / np.mean(data[common] ** 2)
        elif criterion == "redchi":
            scores[0, b, o] = chi2 / (n - k)
        elif criterion == "bic":
            scores[0, b, o] = chi2 / beam_area + k * np.log(n / beam_area)
        else:
            errors = [
                residual(use & ~(near & common), common & block) / rms[common & block]
                for block, near in blocks(plan)
            ]
            scores[0, b, o] = np.mean(np.concatenate(errors) ** 2) * (1 + parsimony * k * beam_area / n)
    return scores


@pytest.mark.parametrize("criterion", ["nmse", "redchi", "bic", "cv"])
@pytest.mark.parametrize("rms", ["number", "map"])
@pytest.mark.parametrize(("orders", "guard"), [((0, 1, 2), 0), ((3,), 1), ((4, 1), 0), ((2, 1), 2)])
def test_scores_are_those_of_plain_fits(criterion, rms, orders, guard, rng):
    (data,), (mask,) = cutouts(rng)
    data[3, 20], data[14, 22] = np.nan, np.nan
    noise = 1.3 if rms == "number" else rng.uniform(0.5, 2.0, data.shape)
    options = {"orders": orders, "rms": noise, "beam_area": 6.0, "criterion": criterion, "guard": guard}
    options["parsimony"] = rng.choice([0.0, 1.0])
    background = select_background(data, mask, boxes=BOXES, **options)
    assert isinstance(background, CutoutPolynomial)
    expected = plain_scores(np.nan_to_num(data), mask | np.isnan(data), **options)
    np.testing.assert_allclose(background.scores[criterion], expected, rtol=1e-10)
    _, box, order = np.unravel_index(np.argmin(expected), expected.shape)
    assert (background.box, background.order) == (BOXES[box], orders[order])
    use = inside(background.box, mask | np.isnan(data))
    y, x = np.nonzero(use)
    np.testing.assert_array_equal(background.fit_pixels, (y, x))
    fit = background.design(y, x) @ np.linalg.lstsq(background.design(y, x), data[use])[0]
    np.testing.assert_allclose(background.evaluate(y, x), fit, rtol=1e-9)


def test_scores_keep_their_digits_on_a_high_level(rng):
    (data,), (mask,) = cutouts(rng)
    options = {"boxes": BOXES, "orders": (0, 1, 2), "rms": 1.0, "beam_area": 16.0}
    low = select_background(data, mask, **options)
    high = select_background(data + 1e7, mask, **options)
    np.testing.assert_allclose(high.scores["cv"], low.scores["cv"], rtol=1e-6)


def test_batches_are_the_same_as_single_cutouts(rng):
    data, mask = cutouts(rng, 37)
    rms = rng.uniform(0.5, 2.0, 37)
    options = {"boxes": BOXES, "orders": (0, 1, 2), "beam_area": 16.0}
    for together, d, m, r in zip(
        select_backgrounds(data, mask, rms=rms, **options), data, mask, rms, strict=True
    ):
        alone = select_background(d, m, rms=r, **options)
        assert (alone.order, alone.box) == (together.order, together.box)
        np.testing.assert_allclose(alone.coefficients, together.coefficients, rtol=1e-10)


def test_response_propagates_noise(rng):
    (data,), (mask,) = cutouts(rng)
    background = select_background(data, mask, boxes=BOXES, orders=(2,), rms=1.0, beam_area=16.0)
    y, x = np.array([15, 3]), np.array([14, 28])
    response = background.response(y, x)
    np.testing.assert_allclose(response @ data[background.fit_pixels], background.evaluate(y, x), rtol=1e-10)
    design = background.design(*background.fit_pixels)
    np.testing.assert_allclose(background.normal_inverse @ (design.T @ design), np.eye(6), atol=1e-10)
    noise = rng.normal(size=(4000, *data.shape))
    scatter = noise[:, *background.fit_pixels] @ response.T
    np.testing.assert_allclose(np.cov(scatter.T), response @ response.T, atol=0.02)


def test_polynomials_are_recovered_by_every_estimator():
    plan = make_plan((SIDE, SIDE), boxes=BOXES, orders=(2,), beam_area=16.0)
    truth = polynomial_design(Y, X, order=2, scaling=plan.scaling) @ np.arange(1.0, 7.0)
    mask = np.zeros(truth.shape, bool)
    for estimator in ("least_squares", "huber", "theil_sen"):
        background = select_background(
            truth, mask, boxes=BOXES, orders=(2,), rms=1.0, beam_area=16.0, estimators=(estimator,)
        )
        assert background.estimator == estimator
        np.testing.assert_allclose(background.evaluate(Y - 3.5, X + 2), evaluate(truth, plan), atol=1e-7)


def evaluate(_, plan):
    return polynomial_design(Y - 3.5, X + 2, order=2, scaling=plan.scaling) @ np.arange(1.0, 7.0)


@pytest.mark.parametrize("criterion", ["nmse", "cv"])
def test_all_estimators_together(criterion, rng):
    (data,), (mask,) = cutouts(rng)
    data[rng.random(data.shape) < 0.05] += 30.0
    background = select_background(
        data,
        mask,
        boxes=BOXES,
        orders=(0, 1),
        rms=1.0,
        beam_area=16.0,
        estimators=("least_squares", "huber", "theil_sen"),
        huber_epsilons=(1.1, 1.7),
        criterion=criterion,
        n_subsets=200,
    )
    assert background.estimators == (
        ("least_squares", None),
        ("huber", 1.1),
        ("huber", 1.7),
        ("theil_sen", None),
    )
    scores = background.scores[criterion]
    assert scores.shape == (4, len(BOXES), 2)
    assert np.isfinite(scores).all()
    if criterion == "nmse":
        # Least squares is best where it was fitted, by definition.
        assert background.estimator == "least_squares"
        assert background.box == BOXES[0]


def test_huber_candidates_and_their_influence(rng):
    (data,), (mask,) = cutouts(rng)
    hit = (rng.random(data.shape) < 0.05) & ~mask
    data[hit] += 30.0
    options = {"boxes": BOXES[-1:], "orders": (2,), "rms": 1.0, "beam_area": 16.0}
    background = select_background(data, mask, **options, estimators=("huber",), huber_epsilons=(1.5,))
    y, x = np.nonzero(~mask)
    fit = huber_regression(background.design(y, x), data[y, x], epsilon=1.5)
    np.testing.assert_allclose(background.coefficients, fit.coefficients, rtol=1e-6)
    assert background.fit_mask[hit].all()
    changed = data.copy()
    step = 1e-3 * rng.normal(size=data.shape) * ~background.fit_mask
    changed[...] += step
    again = select_background(changed, mask, **options, estimators=("huber",), huber_epsilons=(1.5,))
    expected = background.response(Y, X) @ step[background.fit_pixels]
    np.testing.assert_allclose(again.evaluate(Y, X) - background.evaluate(Y, X), expected, atol=2e-4)


@pytest.mark.parametrize("guard", [0, 1])
def test_leaving_out_agrees_with_refitting_for_huber(guard, rng):
    (data,), (mask,) = cutouts(rng)
    data[rng.random(data.shape) < 0.03] += 20.0
    options = {"boxes": BOXES[-1:], "orders": (1,), "rms": 1.0, "beam_area": 16.0, "guard": guard}
    options["parsimony"] = 0.0
    plan = make_plan(data.shape, boxes=BOXES[-1:], orders=(1,), beam_area=16.0, guard=guard)
    design = polynomial_design(Y, X, order=1, scaling=plan.scaling)
    whole = huber_regression(design[~mask], data[~mask])
    refitted = np.zeros(data.shape)
    for block, near in blocks(plan):
        fit = huber_regression(design[~mask & ~near], data[~mask & ~near])
        refitted[block] = (design @ fit.coefficients)[block]
    plain = np.mean((data - design @ whole.coefficients)[~mask] ** 2)
    excess = np.mean((data - refitted)[~mask] ** 2) - plain
    score = select_background(data, mask, **options, estimators=("huber",)).scores["cv"].item()
    scatter = np.abs(data - design @ whole.coefficients)[~mask].max() * np.std(refitted) / 100
    assert score - plain == pytest.approx(excess, rel=0.3, abs=scatter)


@pytest.mark.parametrize("guard", [0, 1])
def test_leaving_out_agrees_with_refitting_for_theil_sen(guard, rng):
    (data,), (mask,) = cutouts(rng)
    options = {"boxes": BOXES[-1:], "orders": (1,), "rms": 1.0, "beam_area": 16.0, "guard": guard}
    options["parsimony"] = 0.0
    squares = select_background(data, mask, **options).scores["cv"].item()
    theil_sen = select_background(data, mask, **options, estimators=("theil_sen",)).scores["cv"].item()
    assert theil_sen == pytest.approx(squares, rel=0.05)


def test_theil_sen_repeats_with_its_seed(rng):
    data, mask = cutouts(rng, 3)
    options = {"boxes": BOXES[:3], "orders": (1,), "rms": 1.0, "beam_area": 16.0, "n_subsets": 100}
    together = select_backgrounds(data, mask, estimators=("theil_sen",), seed=7, **options)
    alone = select_background(data[2], mask[2], estimators=("theil_sen",), seed=7, **options)
    np.testing.assert_array_equal(alone.coefficients, together[2].coefficients)


def test_prediction_finds_the_order_and_in_sample_error_does_not(rng):
    data, mask = cutouts(rng, 200, slope=0.15)
    options = {"boxes": BOXES, "orders": (0, 1, 2), "rms": 1.0, "beam_area": 4.0}
    predicted = [b.order for b in select_backgrounds(data, mask, **options)]
    assert np.mean(np.array(predicted) == 1) > 0.75
    assert predicted.count(0) == 0
    in_sample = select_backgrounds(data, mask, criterion="nmse", **options)
    assert all((b.order, b.box) == (2, BOXES[0]) for b in in_sample)


@given(n_known=st.integers(0, 40), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_few_pixels_are_a_status(n_known, seed):
    rng = np.random.default_rng(seed)
    (data,), _ = cutouts(rng)
    mask = np.ones(data.shape, bool)
    mask.ravel()[rng.choice(mask.size, n_known, replace=False)] = False
    for estimator in ("least_squares", "huber", "theil_sen"):
        background = select_background(
            data,
            mask,
            boxes=BOXES,
            orders=(2,),
            rms=1.0,
            beam_area=16.0,
            estimators=(estimator,),
            n_subsets=50,
        )
        assert np.isfinite(background.evaluate(Y, X)).all()
        assert np.isfinite(background.normal_inverse).all()
        assert (background.status == "ok") == (background.flag == Flag(0))
        if n_known == 0:
            assert background.status == "no_pixels"
            assert not background.evaluate(Y, X).any()
        elif n_known < 12:
            assert background.status == "lower_order"


def test_a_single_row_of_pixels_gets_a_lower_order(rng):
    (data,), _ = cutouts(rng)
    mask = np.ones(data.shape, bool)
    mask[15] = False
    background = select_background(data, mask, boxes=BOXES, orders=(1, 2), rms=1.0, beam_area=16.0)
    assert background.status == "lower_order"
    assert background.order == 0


def test_clipping_is_that_of_a_loop(rng):
    data = rng.normal(size=(5, 20, 20))
    data[:, :3, :3] += 20.0
    used = rng.random(data.shape) < 0.9
    for image, mask, kept in zip(data, used, clip_pixels(data, used, clip_sigma=3.0), strict=True):
        left = mask
        for _ in range(10):
            values = image[left]
            left = left & (np.abs(image - values.mean()) <= 3.0 * values.std())
        np.testing.assert_array_equal(kept, left)
        assert not kept[:3, :3].any()


@pytest.mark.parametrize("shape", [(60, 90), (90, 60)])
def test_maps_without_sources(shape, rng):
    y, x = np.mgrid[: shape[0], : shape[1]]
    data = 2.0 + rng.normal(scale=0.1, size=shape)
    data[rng.random(shape) < 0.01] += 50.0
    data[:10] = np.nan
    options = {"rms": 0.1, "beam_area": 10.0}
    flat = background_without_sources(data, orders=(0,), **options)
    assert (flat.order, flat.estimator) == (0, "median")
    values = data[np.isfinite(data)]
    assert flat.evaluate(y, x) == pytest.approx(np.median(values[np.abs(values - 2) < 1]), abs=1e-3)
    tilted = background_without_sources(data + 0.01 * x - 0.02 * y, orders=(0, 1), **options)
    assert tilted.order == 1
    np.testing.assert_allclose(tilted.evaluate(y, x), 2.0 + 0.01 * x - 0.02 * y, atol=0.05)
    empty = background_without_sources(np.full(shape, np.nan), orders=(0,), **options)
    assert empty.status == "no_pixels"


@given(order=st.integers(0, 4), y0=st.integers(-50, 50), half=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_designs_span_the_polynomials_and_nest(order, y0, half):
    scaling = Scaling(y0, -y0, half, half + 1)
    y, x = np.mgrid[y0 - half : y0 + half + 1, -y0 - half - 1 : -y0 + half + 2]
    design = polynomial_design(y, x, order=order, scaling=scaling)
    assert design.shape == (*y.shape, n_terms(order))
    assert np.abs(design).max() <= 1.0 + 1e-12
    lower = polynomial_design(y, x, order=max(order - 1, 0), scaling=scaling)
    np.testing.assert_array_equal(design[..., : lower.shape[-1]], lower)
    v, u = (y - y0) / half, (x + y0) / (half + 1)
    terms = [u**i * v ** (total - i) for total in range(order + 1) for i in range(total, -1, -1)]
    np.testing.assert_allclose(design, np.stack(terms, axis=-1), atol=1e-12)


@given(k=st.integers(1, 15), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_leading_systems_are_solved(k, seed):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(7, k + 5, k)) * 10.0 ** rng.uniform(-3, 3, k)
    matrix, vector = factor.transpose(0, 2, 1) @ factor, rng.normal(size=(7, k))
    sizes = sorted({1, (k + 1) // 2, k})
    moved = matrix.transpose(1, 2, 0), vector.T
    for m, (solution, sound) in zip(sizes, solve_leading(*moved, sizes=sizes), strict=True):
        assert sound.all()
        product = np.einsum("nij,jn->ni", matrix[:, :m, :m], solution)
        np.testing.assert_allclose(product, vector[:, :m], rtol=1e-5, atol=1e-6)


def test_singular_systems_are_known():
    matrix = np.array([[1.0, 2.0], [2.0, 4.0]])[..., None]
    (_, first), (_, second) = solve_leading(matrix, np.ones((2, 1)), sizes=(1, 2))
    assert first.all()
    assert not second.any()


def test_interpolation_continues_a_plane_and_exceeds_nothing(rng):
    plane = 0.3 * Y - 0.2 * X
    mask = (Y - 14) ** 2 + (X - 12) ** 2 < 30
    filled = interpolate_masked(np.where(mask, 1e3, plane), mask)
    np.testing.assert_allclose(filled, plane, atol=1e-10)
    noise = rng.normal(size=plane.shape)
    noise[2, 2] = np.nan
    mask = rng.random(plane.shape) < 0.5
    filled = interpolate_masked(noise, mask)
    np.testing.assert_array_equal(filled[~mask], noise[~mask])
    assert np.nanmax(filled) <= np.nanmax(noise[~mask])
    assert np.isfinite(filled[mask]).all()


def test_interpolation_is_that_of_a_dense_matrix_however_it_is_cut(monkeypatch):
    rng = np.random.default_rng(5)
    data, mask = rng.normal(size=(17, 13)), rng.random((17, 13)) < 0.45
    data[4:6, 7] = np.nan
    known, flat = np.isfinite(data) & ~mask, np.arange(data.size).reshape(data.shape)
    matrix, right = np.eye(data.size), np.where(known, data, 0.0).ravel()
    for y, x in np.argwhere(mask):
        near = [(y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)]
        near = [flat[p] for p in near if min(p) >= 0 and p[0] < 17 and p[1] < 13 and (known | mask)[p]]
        matrix[flat[y, x], near] = -1.0 / max(len(near), 1)
    expected = np.linalg.lstsq(matrix, right)[0].reshape(data.shape)
    for limits in ({}, {"_PIXELS_AT_ONCE": 4}, {"_BAND_NUMBERS": 0}):
        for name, value in limits.items():
            monkeypatch.setattr(f"hyper_py.numerics.interpolation.{name}", value)
        np.testing.assert_allclose(interpolate_masked(data, mask)[mask], expected[mask], atol=1e-10)


def test_interpolation_without_neighbours():
    data = np.ones((6, 6))
    data[:, 3] = np.nan
    mask = np.zeros(data.shape, bool)
    mask[:, 4:] = True
    filled = interpolate_masked(data, mask)
    assert (filled[:, 4:] == 1.0).all()
    assert np.isnan(filled[:, 3]).all()
    assert np.isnan(interpolate_masked(data, np.ones(data.shape, bool))).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"estimators": ("lasso",)}, "lasso"),
        ({"criterion": "aic"}, "aic"),
        ({"boxes": [(5, 20, 5, 20), (6, 22, 5, 20)]}, "box"),
        ({"boxes": [(0, 31, 0, 30)]}, "box"),
    ],
)
def test_wrong_arguments_are_named(change, text, rng):
    (data,), (mask,) = cutouts(rng)
    options = {"boxes": BOXES, "orders": (1,), "rms": 1.0, "beam_area": 16.0} | change
    with pytest.raises(ValueError, match=text):
        select_background(data, mask, **options)
