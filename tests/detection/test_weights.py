import numpy as np
import pytest
from scipy import optimize

from hyper_py.detection.kernels import SIZES, KernelFamily
from hyper_py.detection.weights import (
    EDGE_CLASSES,
    MOST_GAIN,
    RIDGES,
    EdgeWeights,
    ProductSums,
    choose_ridge,
    lacking,
    least_variance_weights,
)


def random_covariance(rng: np.random.Generator, k: int = 5) -> np.ndarray:
    root = rng.normal(size=(k, k))
    return root @ root.T + 0.1 * np.eye(k)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_weights_have_less_variance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    covariance, response = random_covariance(rng), rng.normal(size=5)
    weights = least_variance_weights(covariance, response, ridge=0.0)
    found = optimize.minimize(
        lambda w: w @ covariance @ w, np.linalg.pinv(response[None])[:, 0], method="SLSQP",
        constraints={"type": "eq", "fun": lambda w: w @ response - 1.0},
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    assert weights @ response == pytest.approx(1.0)
    assert weights @ covariance @ weights == pytest.approx(found.fun, rel=1e-6)
    assert weights == pytest.approx(found.x, abs=1e-4 * np.abs(found.x).max())


def test_weights_do_not_depend_on_units() -> None:
    rng = np.random.default_rng(5)
    covariance, response = random_covariance(rng), rng.normal(size=5)
    one = least_variance_weights(covariance, response, ridge=1e-3)
    assert least_variance_weights(covariance * 1e-60, response, ridge=1e-3) == pytest.approx(one, rel=1e-9)


def test_ridge_is_small_where_the_covariance_is_known_and_large_where_it_is_not() -> None:
    rng = np.random.default_rng(6)
    response = np.array([1.0, 0.9, 0.7, 0.4, 0.2])
    root = np.linalg.cholesky(
        random_covariance(rng) @ np.diag([1, 1e-2, 1e-3, 1e-3, 1]) @ random_covariance(rng) + 3e2 * np.eye(5)
    )
    ridges = {}
    for n in (6, 20_000):
        samples = (root @ rng.normal(size=(4, 5, n))).reshape(4, 5, n)
        ridges[n] = choose_ridge(samples @ samples.swapaxes(1, 2), response)
    assert set(ridges.values()) <= set(RIDGES)
    assert ridges[20_000] < ridges[6] or ridges[6] == RIDGES[-1]


FAMILY = KernelFamily(4.0 * np.eye(2))


def planes_of(power) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariance of planes in noise of a power spectrum, their responses to the beam, and to what is left of
    it on the scales of the noise."""
    k = np.linspace(0.0, 14.0, 8001)[1:]
    ring = k * (k[1] - k[0])
    kernels = np.exp(-0.5 * np.array([0.0, *SIZES])[:, None] ** 2 * k**2)
    kernels = kernels[:-1] - kernels[-1]
    noise = power(k)
    beam = np.exp(-0.5 * k**2)
    seen = kernels @ (ring * beam * (noise > 0.01 * power(np.ones(1))))
    whole = kernels @ (ring * beam)
    return (kernels * ring * noise) @ kernels.T, whole, seen * whole[0] / seen[0]


def test_a_source_may_lack_the_scales_that_noise_with_the_core_of_the_beam_lacks() -> None:
    """In maps of interferometers that were not cleaned the filter found half of a source, or less."""
    covariance, whole, seen = planes_of(lambda k: np.exp(-0.5 * k**2) * (k > 0.6))
    missing = lacking(FAMILY, covariance, whole)
    assert missing == pytest.approx(seen - whole, abs=0.03)
    sums = ProductSums(len(SIZES))
    sums.folds[:], sums.count = covariance, 4
    lost = [
        1.0 - sums.weights(whole, lacking=vector, beam_area=10.0).values[-1] @ seen
        for vector in (np.zeros(len(SIZES)), missing)
    ]
    assert lost[0] > 0.45
    assert lost[1] < 0.65 * lost[0]


@pytest.mark.parametrize(
    "power",
    [
        np.ones_like, lambda k: np.exp(-(k**2)), lambda k: np.exp(-0.5 * k**2), lambda k: (k + 0.05) ** -2.8,
        lambda k: 0.1 + (k + 0.05) ** -2.8,
    ],
    ids=["white", "smoothed with the beam", "smoothed less", "cirrus", "cirrus and white"],
)  # fmt: skip
def test_sources_lack_nothing_where_noise_lacks_nothing(power) -> None:
    covariance, whole, _ = planes_of(power)
    assert lacking(FAMILY, covariance, whole) == pytest.approx(0.0, abs=0.012)
    assert not lacking(FAMILY, np.zeros((6, 6)), whole).any()


def test_sums_are_those_of_the_pixels_used() -> None:
    rng = np.random.default_rng(7)
    planes, distance = rng.normal(size=(3, 40, 50)), rng.uniform(0, 6, (40, 50))
    usable, fold = rng.random((40, 50)) > 0.3, rng.integers(0, 4, (40, 50))
    sums = ProductSums(3)
    sums.add_tile(planes[:, :25], usable=usable[:25], fold=fold[:25], distance=distance[:25])
    other = ProductSums(3)
    other.add_tile(planes[:, 25:], usable=usable[25:], fold=fold[25:], distance=distance[25:])
    sums.add(other)
    inside = planes[:, usable]
    assert sums.folds.sum(axis=0) == pytest.approx(inside @ inside.T)
    for low, high, own, count in zip(EDGE_CLASSES, EDGE_CLASSES[1:], sums.classes, sums.counts, strict=False):
        chosen = planes[:, usable & (distance > low) & (distance <= high)]
        assert count == chosen.shape[1]
        assert own == pytest.approx(chosen @ chosen.T)


def test_weights_go_over_from_class_to_class() -> None:
    values = np.arange(EDGE_CLASSES.size, dtype=float)[:, None]
    middles = 0.5 * (EDGE_CLASSES[:-1] + EDGE_CLASSES[1:])
    distance = np.array([[0.1, middles[0], middles[2], 0.5 * (middles[2] + middles[3]), 5.0]])
    filtered = EdgeWeights(values).apply(np.ones((1, 1, 5)), distance)
    assert filtered[0] == pytest.approx([0.0, 0.0, 2.0, 2.5, EDGE_CLASSES.size - 1])


def test_weights_that_no_real_source_agrees_with_are_not_taken() -> None:
    """Planes that share all of their noise make a filter of little variance, and of huge weights."""
    rng = np.random.default_rng(9)
    response = np.array([1.0, 0.9, 0.7, 0.4, 0.2])
    shared = np.array([1.0, 0.9, 0.72, 0.4, 0.2])
    covariance = np.outer(shared, shared) + 1e-6 * np.eye(5)
    samples = (np.linalg.cholesky(covariance) @ rng.normal(size=(4, 5, 20_000))).reshape(4, 5, 20_000)
    sums = samples @ samples.swapaxes(1, 2)
    smallest = least_variance_weights(sums.sum(axis=0), response, ridge=RIDGES[0])
    chosen = least_variance_weights(sums.sum(axis=0), response, ridge=choose_ridge(sums, response))
    assert np.abs(smallest).sum() > 2.0 * MOST_GAIN
    assert np.abs(chosen).sum() <= MOST_GAIN
