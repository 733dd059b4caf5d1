"""Models against finite differences, direct sums and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hyper_py.numerics import gaussians

SOURCE = st.tuples(
    st.floats(-5, 5),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(0.5, 4),
    st.floats(0.5, 4),
    st.floats(-1.6, 1.6),
)


def grid(half=6):
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    return y.ravel(), x.ravel()


@given(st.lists(SOURCE, min_size=1, max_size=3))
def test_jacobian_is_the_derivative_of_the_value(sources):
    parameters = np.array([sources])
    y, x = (a[None] for a in grid())
    value, jacobian = gaussians.gaussian_sum_and_jacobian(parameters, y, x)
    np.testing.assert_allclose(value, gaussians.gaussian_sum(parameters, y, x), atol=1e-12)
    step = 1e-5  # central differences: truncation ~ step^2, rounding ~ 1e-16 / step
    for k in range(parameters.size):
        shift = np.zeros(parameters.size)
        shift[k] = step
        shift = shift.reshape(parameters.shape)
        ahead = gaussians.gaussian_sum(parameters + shift, y, x)
        behind = gaussians.gaussian_sum(parameters - shift, y, x)
        np.testing.assert_allclose(jacobian[:, k], (ahead - behind) / (2 * step), atol=2e-7)


def test_batch_is_the_same_as_one_by_one():
    rng = np.random.default_rng(3)
    parameters = rng.uniform(1, 3, (4, 2, 6))
    y, x = (np.tile(a, (4, 1)) for a in grid())
    together = gaussians.gaussian_sum_and_jacobian(parameters, y, x)
    for i in range(4):
        alone = gaussians.gaussian_sum_and_jacobian(parameters[i : i + 1], y[i : i + 1], x[i : i + 1])
        np.testing.assert_array_equal(together[0][i], alone[0][0])
        np.testing.assert_array_equal(together[1][i], alone[1][0])


@given(SOURCE.filter(lambda s: s[0] > 0.1))
def test_flux_and_moments_are_those_of_the_image(source):
    parameters = np.array(source)
    parameters[3:5] = np.maximum(parameters[3:5], 1.0)  # below this the pixel sum is not the integral
    y, x = np.mgrid[-40:41, -40:41].astype(float)
    image = gaussians.gaussian_sum(parameters[None], y.ravel(), x.ravel())
    flux = gaussians.gaussian_flux(parameters)
    assert image.sum() == pytest.approx(flux, rel=1e-6)
    dy, dx = y.ravel() - parameters[2], x.ravel() - parameters[1]
    moments = np.array(
        [
            [(image * dx * dx).sum(), (image * dx * dy).sum()],
            [(image * dx * dy).sum(), (image * dy * dy).sum()],
        ]
    )
    np.testing.assert_allclose(moments / flux, gaussians.source_covariance(parameters), atol=1e-4)


@given(arrays(float, (3,), elements=st.floats(0.5, 5)))
def test_shape_parameters_invert_source_covariance(values):
    parameters = np.array([1.0, 0.0, 0.0, values[0], values[1], values[2]])
    covariance = gaussians.source_covariance(parameters)
    back = np.concatenate([[1.0, 0.0, 0.0], gaussians.shape_parameters(covariance)])
    np.testing.assert_allclose(gaussians.source_covariance(back), covariance, rtol=1e-9, atol=1e-9)
    assert back[3] >= back[4]


def test_render_is_the_sum_and_clips_at_the_border():
    parameters = np.array(
        [[1.0, 2.0, 3.0, 1.5, 1.0, 0.3], [2.0, -1.0, 19.0, 2.0, 1.0, 1.0], [1.0, 90, 9, 1, 1, 0]]
    )
    y, x = np.mgrid[:20, :30].astype(float)
    expected = gaussians.gaussian_sum(parameters, y.ravel(), x.ravel()).reshape(20, 30)
    np.testing.assert_allclose(gaussians.render(parameters, (20, 30)), expected, atol=5e-8)
    twice = gaussians.render(parameters, (20, 30), out=gaussians.render(parameters, (20, 30)))
    np.testing.assert_allclose(twice, 2 * gaussians.render(parameters, (20, 30)))
    assert not gaussians.render(np.empty((0, 6)), (4, 4)).any()


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 40)] * 4), st.floats(0.0, 5.0))
def test_sources_that_reach_into_a_part_are_found(seed, ends, more):
    rng = np.random.default_rng(seed)
    n = rng.integers(0, 12)
    sources = np.column_stack(
        [np.ones(n), rng.uniform(-9, 49, (n, 2)), rng.uniform(0.3, 4, (n, 2)), np.ones(n)]
    )
    rows, columns = slice(*sorted(ends[:2])), slice(*sorted(ends[2:]))
    reach = 3.0 * sources[:, 3:5].max(axis=1, initial=0.0) + more
    near = [
        k for k, (_, x, y, *_) in enumerate(sources)
        if rows.start - reach[k] - 1.0 < y < rows.stop + reach[k]
        and columns.start - reach[k] - 1.0 < x < columns.stop + reach[k]
    ]  # fmt: skip
    found = gaussians.SourcesByPlace(sources, n_sigma=3.0, more=more)
    assert found.indices((rows, columns)).tolist() == near
    np.testing.assert_array_equal(
        found[rows, columns], sources[near] - [0, columns.start, rows.start, 0, 0, 0]
    )


def test_parts_are_drawn_as_in_the_whole_image():
    rng = np.random.default_rng(3)
    sources = np.column_stack(
        [rng.uniform(1, 5, 30), rng.uniform(0, 60, (30, 2)), rng.uniform(1, 3, (30, 3))]
    )
    whole, placed = gaussians.render(sources, (60, 60)), gaussians.SourcesByPlace(sources, n_sigma=6.0)
    for where in (
        (slice(0, 17), slice(5, 60)),
        (slice(30, 31), slice(0, 60)),
        (slice(44, 60), slice(44, 60)),
    ):
        np.testing.assert_array_equal(placed.light(where), whole[where])
        part = gaussians.render(placed[where], whole[where].shape)
        np.testing.assert_allclose(part, whole[where], rtol=1e-9, atol=1e-12)


def test_any_part_has_the_bytes_of_the_whole_image():
    rng = np.random.default_rng(4)
    sources = np.column_stack(
        [
            rng.uniform(1, 5, 60),
            rng.uniform(-9, 99, (60, 2)),
            rng.uniform(1, 4, (60, 2)),
            rng.uniform(0, 3, 60),
        ]
    )
    whole, mask = gaussians.render(sources, (90, 90)), gaussians.footprints(sources, (90, 90), n_sigma=3.0)
    placed = gaussians.SourcesByPlace(sources, n_sigma=3.0)
    for _ in range(200):
        first, last = np.sort(rng.integers(0, 91, (2, 2)), axis=0)
        where = slice(first[0], last[0]), slice(first[1], last[1])
        np.testing.assert_array_equal(gaussians.drawn(sources, (90, 90))[where], whole[where])
        np.testing.assert_array_equal(placed.footprints(where), mask[where])


def test_footprints_are_where_the_model_is_above_a_level():
    parameters = np.array([[1.0, 12.3, 9.1, 3.0, 1.5, 0.7]])
    mask = gaussians.footprints(parameters, (20, 30), n_sigma=2.0)
    np.testing.assert_array_equal(mask, gaussians.render(parameters, (20, 30)) >= np.exp(-2.0))
    assert not gaussians.footprints(np.empty((0, 6)), (4, 4)).any()


@given(SOURCE, SOURCE)
def test_correlation_is_that_of_the_sums_over_a_fine_grid(first, second):
    one, other = (np.array([1.0, *source[1:]]) for source in (first, second))
    y, x = (axis.ravel() for axis in np.mgrid[-20:20.1:0.25, -20:20.1:0.25])
    values = [gaussians.gaussian_sum(own[None], y, x) for own in (one, other)]
    expected = values[0] @ values[1] / np.sqrt((values[0] @ values[0]) * (values[1] @ values[1]))
    assert gaussians.correlation(one, other) == pytest.approx(expected, abs=2e-4)
    assert gaussians.correlation(one, one) == pytest.approx(1.0)
