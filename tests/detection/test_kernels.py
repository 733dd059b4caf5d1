import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from hyper_py.detection.kernels import SIZES, KernelFamily, gaussian_kernel
from hyper_py.detection.weights import EdgeWeights
from hyper_py.numerics.tiles import Where

COVARIANCE = np.array([[6.0, 1.5], [1.5, 4.0]])


def differences(family: KernelFamily, data: np.ndarray, valid: np.ndarray, part: Where) -> np.ndarray:
    """Return the planes of the family together."""
    shares = (share[part] for share in family.each_share(valid.astype(float)))
    return np.array([*family.each_difference(data, shares, part)])


def test_response_is_that_of_convolved_gaussians() -> None:
    # A Gaussian of template^2 C smoothed with size^2 C has its peak lowered by 1 / (1 + size^2 / template^2).
    template = 1.1
    means = np.array([1.0, *(1.0 / (1.0 + (size / template) ** 2) for size in SIZES)])
    assert KernelFamily(COVARIANCE).response(template) == pytest.approx(means[:-1] - means[-1], abs=2e-4)


def test_differences_are_those_of_direct_convolution() -> None:
    rng = np.random.default_rng(1)
    data, family = rng.normal(size=(70, 90)), KernelFamily(np.diag([1.5, 1.0]))
    valid = rng.random(data.shape) > 0.2
    known = np.where(valid, data, 0.0)
    part = slice(5, 60), slice(0, 80)
    planes = differences(family, known, valid, part)
    means = [
        ndimage.correlate(known, kernel, mode="constant")
        / ndimage.correlate(valid.astype(float), kernel, mode="constant")
        for kernel in family.kernels
    ]
    assert planes[0] == pytest.approx((known - means[-1])[part], abs=1e-10)
    for plane, mean in zip(planes[1:], means, strict=False):
        assert plane == pytest.approx((mean - means[-1])[part], abs=1e-10)


def test_constant_is_not_seen() -> None:
    family, valid = KernelFamily(np.eye(2)), np.ones((40, 50))
    valid[10:20, 5:30] = 0.0
    planes = differences(family, 7.0 * valid, valid, (slice(None), slice(None)))
    assert np.abs(planes[:, valid > 0]).max() < 1e-12


def test_kernel_has_the_covariance_asked_for() -> None:
    kernel = gaussian_kernel(COVARIANCE)
    half = [side // 2 for side in kernel.shape]
    y, x = np.mgrid[-half[0] : half[0] + 1, -half[1] : half[1] + 1]
    measured = [[np.sum(kernel * a * b) for b in (x, y)] for a in (x, y)]
    assert kernel.sum() == pytest.approx(1.0)
    assert np.array(measured) == pytest.approx(COVARIANCE, rel=2e-3)


def test_planes_one_after_another_are_those_together_and_take_little_memory() -> None:
    family, side = KernelFamily(4.5 * np.eye(2)), 500
    outer, inner = side + family.radius, (slice(0, side), slice(0, side))
    values = np.random.default_rng(2).normal(size=(outer, outer))
    valid, distance = np.ones(values.shape), np.full((side, side), 5.0)
    weights = EdgeWeights(np.arange(1.0, 43.0).reshape(7, 6))
    together = differences(family, values, valid, inner)
    tracemalloc.start()
    shares = (share[inner] for share in family.each_share(valid))
    filtered = weights.apply(family.each_difference(values, shares, inner), distance)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(filtered, weights.apply(together, distance))
    assert peak < 100.0 * side**2
