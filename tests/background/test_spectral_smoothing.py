import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hyper_py.background.spectral_smoothing import smooth_spectrally


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 12), fwhm=st.floats(0.5, 5.0), seed=st.integers(0, 999))
def test_spectral_smoothing_is_a_normalised_mean(n, fwhm, seed):
    rng = np.random.default_rng(seed)
    cube = rng.normal(size=(n, 3, 4))
    cube[rng.random(cube.shape) < 0.2] = np.nan
    held, largest = set(), 0

    def read(k):
        nonlocal largest
        held.add(k)
        return cube[k]

    planes = np.stack(list(smooth_spectrally(read, n, fwhm=fwhm)))
    sigma = fwhm / np.sqrt(8.0 * np.log(2.0))
    half = max(1, int(np.ceil(2.5 * sigma)))
    for k in range(n):
        near = np.arange(max(k - half, 0), min(k + half + 1, n))
        weights = np.exp(-0.5 * ((near - k) / sigma) ** 2)[:, None, None] * np.isfinite(cube[near])
        expected = np.nansum(weights * np.nan_to_num(cube[near]), axis=0) / np.maximum(
            weights.sum(axis=0), 1e-300
        )
        expected[np.isnan(cube[k])] = np.nan
        np.testing.assert_allclose(planes[k], expected)
    assert held == set(range(n))


def test_spectral_smoothing_keeps_straight_lines_and_few_planes():
    slope = np.arange(30.0)[:, None, None] * np.ones((2, 2))
    read: list[int] = []

    def get(k):
        read.append(k)
        return slope[k]

    for k, plane in enumerate(smooth_spectrally(get, 30, fwhm=3.0)):
        assert len(read) <= k + 5
        if 4 <= k < 26:
            np.testing.assert_allclose(plane, k)
    assert read == list(range(30))
