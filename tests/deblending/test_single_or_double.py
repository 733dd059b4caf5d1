"""Elongated single sources and unresolved doubles on whole maps, beside what the evidence can tell apart.

The referee fits the wrong model to the right one without noise, with the covariance that the noise is made
with. Its misfit L is the expected gain in chi-square of the right model; in noise the gain of one of two
models with equally many parameters has the mean L and the standard deviation 2 sqrt(L), so that the right
one is preferred by more than the evidence asked for, G, with probability Phi((L - G) / (2 sqrt(L))).
"""

import numpy as np
import pytest
from scipy.linalg import solve_triangular
from scipy.optimize import least_squares
from scipy.stats import norm

from helpers.maps import make_image, noise_of
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import extract_sources

FWHM = 5.0
SIGMA = FWHM / FWHM_PER_SIGMA
SNR = 30.0
WHITE_PART = 0.1
STRONG = 6.0
"""Strong evidence, in chi-square (Kass & Raftery 1995)."""
SIDE, SPACING = 8, 42
SEEDS = (1, 2, 3)


def whitened_window():
    """Coordinates of a disc of 2.5 beams, and the inverse root of the covariance of the noise on it."""
    y, x = (v.astype(float) for v in np.mgrid[-12:13, -12:13])
    inside = np.hypot(x, y) <= 2.5 * FWHM
    y, x = y[inside], x[inside]
    squares = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    covariance = (1.0 - WHITE_PART) * np.exp(-squares / (4.0 * SIGMA**2)) + WHITE_PART * np.eye(x.size)
    return x, y, np.linalg.cholesky(covariance)


def ellipse(x, y, peak, x0, y0, wide, narrow, angle):
    along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
    return peak * np.exp(-0.5 * ((along / wide) ** 2 + (across / narrow) ** 2))


def single(x, y, p):
    return ellipse(x, y, p[0], p[1], p[2], p[3], p[4], p[5]) + p[6]


def double(x, y, p):
    return ellipse(x, y, *p[:3], SIGMA, SIGMA, 0.0) + ellipse(x, y, *p[3:6], SIGMA, SIGMA, 0.0) + p[6]


def misfit(truth, wrong, start):
    """Return the chi-square of the best wrong model of a truth without noise, the mean being free."""
    x, y, root = whitened_window()

    def residual(p):
        return solve_triangular(root, wrong(x, y, p) - truth(x, y), lower=True)

    return 2.0 * least_squares(residual, start, x_scale=np.maximum(np.abs(start), 0.1)).cost


def gain_of_double(separation):
    """Expected gain of the double over the best single one; separation in beams."""
    half = 0.5 * separation * FWHM
    truth = np.array([SNR, -half, 0.1, SNR, half, 0.1, 0.0])
    wide = np.hypot(SIGMA, half)
    return misfit(
        lambda x, y: double(x, y, truth), single, np.array([1.5 * SNR, 0.0, 0.1, wide, SIGMA, 0.0, 0.0])
    )


def gain_of_single(ratio):
    """Expected gain of the elongated single one over the best double."""
    truth = np.array([SNR, 0.0, 0.1, ratio * SIGMA, SIGMA, 0.0, 0.0])
    half = SIGMA * np.sqrt(ratio**2 - 1.0)
    start = np.array([0.6 * SNR, -half, 0.1, 0.6 * SNR, half, 0.1, 0.0])
    return misfit(lambda x, y: single(x, y, truth), double, start)


def share_preferred(gains):
    """Return the share of sources in which a model of these expected gains is clearly preferred."""
    return norm.cdf((gains - STRONG) / (2.0 * np.sqrt(np.abs(gains)))).mean()


def allowance(share, n):
    """Return three errors of a share of n; for what the noise as measured costs, of at least a percent."""
    return 3.0 * np.sqrt(max(share * (1.0 - share), 0.01) / n)


def objects(rng, kind):
    """Sources on a grid, shape (64, 1 or 2, 6), and separation in beams or axis ratio of each."""
    n = SIDE**2
    y, x = (np.mgrid[:SIDE, :SIDE].reshape(2, -1) + 0.5) * SPACING + rng.uniform(-0.5, 0.5, (2, n))
    angle = rng.uniform(0.0, np.pi, n)
    if kind == "single":
        ratio = rng.uniform(1.5, 2.0, n)
        rows = np.column_stack([np.full(n, SNR), x, y, ratio * SIGMA, np.full(n, SIGMA), angle])
        return rows[:, None], ratio
    separation = rng.uniform(0.7, 1.0, n)
    dx, dy = 0.5 * FWHM * separation * np.array([np.cos(angle), np.sin(angle)])
    shape = (np.full(n, SIGMA), np.full(n, SIGMA), np.zeros(n))
    sides = [np.column_stack([np.full(n, SNR), x + s * dx, y + s * dy, *shape]) for s in (-1.0, 1.0)]
    return np.stack(sides, axis=1), separation


def counts(kind, seed):
    """Return how many catalogue sources are within a beam of each object, and what each object is like."""
    rng = np.random.default_rng([seed, kind == "single"])
    sources, parameter = objects(rng, kind)
    shape = (SIDE * SPACING, SIDE * SPACING)
    noise = noise_of(shape, seed=rng, sigma=SIGMA, white=WHITE_PART)
    image = make_image(gaussians.render(sources.reshape(-1, 6), shape) + noise, fwhm=FWHM)
    catalog = extract_sources(image).catalog
    centres = sources[:, :, 1:3].mean(axis=1)
    found = np.column_stack([catalog["X"].value, catalog["Y"].value])
    distance = np.hypot(*(found[None] - centres[:, None]).transpose(2, 0, 1))
    return (distance < FWHM).sum(axis=1), parameter


def of_all_seeds(kind):
    found, parameter = zip(*(counts(kind, seed) for seed in SEEDS), strict=True)
    return np.concatenate(found), np.concatenate(parameter)


def gains_at(parameter, gain):
    """Return the expected gains of all sources from those of a few; they rise about exponentially."""
    few = np.linspace(parameter.min(), parameter.max(), 4)
    return np.exp(np.interp(parameter, few, np.log([gain(value) for value in few])))


@pytest.mark.slow
def test_doubles_are_found_where_the_evidence_is_there():
    found, separation = of_all_seeds("double")
    expected = share_preferred(gains_at(separation, gain_of_double))
    assert (found == 2).mean() >= expected - allowance(expected, found.size)


@pytest.mark.slow
def test_singles_stay_single_where_the_evidence_is_against_two():
    found, ratio = of_all_seeds("single")
    expected = share_preferred(-gains_at(ratio, gain_of_single))
    assert (found == 0).sum() == 0
    assert (found > 1).mean() <= expected + allowance(expected, found.size)
