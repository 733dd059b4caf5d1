import numpy as np
import pytest
from photutils.detection import DAOStarFinder
from scipy import ndimage

from hyper_py.detection.daofind import convolve_kernel, daofind_kernel, daofind_statistics
from hyper_py.detection.peaks import local_maxima
from hyper_py.geometry import covariance_from_ellipse, ellipse_from_covariance

BEAM = covariance_from_ellipse(5.0, 3.5, 0.6)


def gaussian(shape, x, y, peak, covariance):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dx, dy = columns - x, rows - y
    c = np.linalg.inv(covariance)
    return peak * np.exp(-0.5 * (c[0, 0] * dx * dx + 2 * c[0, 1] * dx * dy + c[1, 1] * dy * dy))


class TestDaofind:
    @pytest.mark.parametrize("ellipse", [(4.0, 3.0, 0.7), (7.0, 4.0, 2.0), (3.0, 3.0, 0.0), (2.0, 1.6, 1.0)])
    def test_agrees_with_photutils(self, ellipse):
        data = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(120, 140)), 1.6)
        covariance = covariance_from_ellipse(*ellipse)
        kernel = daofind_kernel(covariance)
        convolved = convolve_kernel(data, kernel.weights)
        y, x = local_maxima(convolved, footprint=kernel.inside, threshold=0.1 * kernel.relative_error)
        ours = daofind_statistics(data, convolved, kernel=kernel, x=x, y=y)
        finder = DAOStarFinder(
            0.1, ellipse[0], ratio=ellipse[1] / ellipse[0], theta=np.degrees(ellipse[2]), min_separation=0,
            sharpness_range=None, roundness_range=None,
        )  # fmt: skip
        table = finder(data)
        # photutils drops fits without a height; each of its rows is one of ours, to the last digits.
        key = {round(s, 9): i for i, s in enumerate(ours.sharpness)}
        index = np.array([key[round(s, 9)] for s in table["sharpness"]])
        assert len(index) > 0.7 * len(x)
        np.testing.assert_allclose(ours.roundness[index], table["roundness1"], atol=1e-9)
        np.testing.assert_allclose(ours.roundness_marginal[index], table["roundness2"], atol=1e-9)
        assert np.abs(table["x_centroid"] - x[index]).max() <= kernel.inside.shape[1]

    def test_kernel_gives_the_peak(self):
        kernel = daofind_kernel(BEAM)
        data = 3.0 + gaussian((41, 41), 20, 20, 7.0, BEAM)
        assert convolve_kernel(data, kernel.weights)[20, 20] == pytest.approx(7.0)

    def test_roundness_tells_elongation(self):
        data = gaussian((41, 41), 20, 20, 1.0, covariance_from_ellipse(9.0, 3.0, 0.0))
        kernel = daofind_kernel(covariance_from_ellipse(4.0, 4.0, 0.0))
        at = np.array([20])
        shape = daofind_statistics(data, convolve_kernel(data, kernel.weights), kernel=kernel, x=at, y=at)
        assert abs(shape.roundness_marginal[0]) > 0.5
        assert shape.within((-4, 4), (-2, 2)).all()
        assert not shape.within((-0.2, 0.2), (-2, 2)).any()


def test_elliptical_beam_is_used():
    ellipse = ellipse_from_covariance(BEAM)
    kernel = daofind_kernel(BEAM)
    moments = np.einsum(
        "ij,ij", kernel.gaussian, np.mgrid[: kernel.gaussian.shape[0], : kernel.gaussian.shape[1]][0]
    )
    assert moments / kernel.gaussian.sum() == pytest.approx(kernel.gaussian.shape[0] // 2)
    assert ellipse.major == pytest.approx(5.0)
