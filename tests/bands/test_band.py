"""A map on the plane of its field."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.aligned_bands import images_of, small_field, true_sources
from hyper_py.bands.band import Band, common_plane, with_least_axis
from hyper_py.bands.shapes import sky_ellipses
from hyper_py.numerics import gaussians
from hyper_py.simulation.bands import simulate_bands


@pytest.fixture(scope="module")
def turned():
    """Two bands in other frames, projections and turned pixels."""
    return simulate_bands(
        seed=5, size=420.0, n_sources=6, margin=60.0, offset_rms=0.0,
        bands={
            "p100": {"frame": "galactic", "projection": "SIN", "rotation": 30.0}, "p160": None, "s250": None,
            "s350": None, "s500": {"rotation": -20.0, "frame": "fk5"},
        },
    )  # fmt: skip


def test_true_sources_drawn_in_pixels_are_those_of_the_simulation(turned):
    images = images_of(turned)
    plane = common_plane(images)
    truth = true_sources(turned, plane)
    for b, (image, one) in enumerate(zip(images, turned.maps, strict=True)):
        drawn = gaussians.render(truth.gaussians(Band.of(image, plane), b), image.image.shape)
        assert np.abs(drawn - one.sources).max() < 2e-3 * one.sources.max()


@pytest.mark.parametrize("size", [2, 3])
def test_on_bins_a_source_is_the_sum_of_its_pixels(size):
    changes = {"pixel_scale": 3.0, "rotation": 20.0}
    simulated = simulate_bands(
        seed=5, size=420.0, n_sources=6, margin=60.0, offset_rms=0.0,
        bands={"p100": None, "p160": None, "s250": None, "s350": changes, "s500": changes},
    )  # fmt: skip
    images = images_of(simulated)
    plane = common_plane(images)
    truth = true_sources(simulated, plane)
    for b, (image, one) in enumerate(zip(images, simulated.maps, strict=True)):
        whole = Band.of(image, plane)
        band = whole.binned(size)
        n = image.image.shape[0] // size
        cut = one.sources[: n * size, : n * size]
        expected = cut.reshape(n, size, n, size).sum(axis=(1, 3))
        drawn = gaussians.render(truth.gaussians(band, b), band.shape)
        assert np.abs(drawn - expected).max() < 3e-3 * expected.max()
        assert band.data.sum() == pytest.approx(whole.data[: n * size, : n * size].sum())
        sky = np.sqrt(np.linalg.det(band.beam_covariance)) * (size * 3.0) ** 2
        spread = (size**2 - 1) / 12.0 * 9.0
        assert sky == pytest.approx((one.band.beam / 2.3548200450309493) ** 2 + spread, rel=1e-5)
        np.testing.assert_array_equal(band.binned(1).data, whole.data)
        pattern = np.full(whole.shape, 0.5)
        np.testing.assert_allclose(band.less(pattern).data, band.data - 0.5 * size**2)


def test_offsets_move_what_the_map_shows(turned):
    images = images_of(turned)
    band = Band.of(images[0], common_plane(images))
    moved = replace(band, offset=np.array([6.0, 0.0]))
    position = np.array([[10.0, -20.0]])
    np.testing.assert_allclose(
        moved.pixels(position), band.pixels(position + np.array([6.0, 0.0])), atol=1e-6
    )
    np.testing.assert_allclose(moved.positions(moved.pixels(position)), position, atol=1e-5)


def test_a_shape_below_zero_keeps_an_axis():
    beam = np.array([[9.0, 0.0, 9.0]])
    shape = with_least_axis(beam + np.array([-20.0, 0.0, 4.0]), beam=beam)
    np.testing.assert_allclose(sky_ellipses(shape).minor / sky_ellipses(beam).minor, 0.3)


def test_noise_is_measured_beside_sources_that_are_subtracted():
    simulated, bands, _ = small_field(seed=2, cirrus=0.0, n_sources=12)
    for band, one in zip(bands[:3], simulated.maps[:3], strict=True):
        assert np.sqrt(band.noise.covariance.variance) == pytest.approx(one.noise.std(), rel=0.1)
        assert band.sees(np.array([[0.0, 0.0], [900.0, 0.0]])).tolist() == [True, False]
