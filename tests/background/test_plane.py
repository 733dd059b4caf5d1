import numpy as np
import pytest

from hyper_py.background.conditional import ConditionalBackground
from hyper_py.background.plane import OnPlane, plane_through
from hyper_py.numerics import gaussians
from hyper_py.numerics.trend import Trend
from hyper_py.options import BackgroundOptions, FitOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image

WHITE = Options(
    fit_options=FitOptions(noise_model="white"), background=BackgroundOptions(method="polynomial")
)
POLYNOMIAL = Options(background=BackgroundOptions(method="polynomial"))


@pytest.mark.parametrize("options", [Options(), WHITE, POLYNOMIAL], ids=["default", "white", "polynomial"])
def test_a_plane_through_the_map_changes_neither_fluxes_nor_errors(options, random_seed):
    """Of two rms a beam: errors were 8 and 50 times too large when it was taken for noise."""
    simulation = simulate_image("alma", seed=random_seed, shape=(220, 230), n_sources=50)
    image = simulation.image
    noise = np.std(image.data)
    y, x = np.indices(image.shape)
    slope = noise / image.beam_fwhm_pix
    plane = Trend(constant=noise, slope_y=slope, slope_x=2.0 * slope)
    plain = extract_sources(image, options=options)
    tilted = extract_sources(image.with_data(image.data + plane.at(y, x)), options=options)
    one, other = plain.catalog, tilted.catalog
    apart = np.hypot(one["X"].value[:, None] - other["X"].value, one["Y"].value[:, None] - other["Y"].value)
    pair = apart.argmin(axis=1)
    same = apart.min(axis=1) < 0.3
    assert same.mean() > 0.9
    error = one["FLUX_ERR"].value[same]
    np.testing.assert_allclose(np.median(other["FLUX_ERR"].value[pair[same]] / error), 1.0, atol=0.1)
    change = (other["FLUX"].value[pair[same]] - one["FLUX"].value[same]) / error
    assert np.median(np.abs(change)) < 0.2
    # The background is that of the map itself.
    here = tilted.background_image() - plain.background_image()
    difference = here - plane.at(y, x)
    assert np.nanmedian(np.abs(difference)) < 0.3 * noise


def test_a_background_on_a_plane_is_their_sum():
    plane = Trend(constant=1.0, slope_y=2.0, slope_x=3.0)
    own = ConditionalBackground(y=np.array([4, 5]), x=np.array([7, 9]), values=np.array([0.5, -0.5]))
    raised = OnPlane(background=own, trend=plane)
    y, x, values, weights = raised.paint()
    np.testing.assert_allclose(values, [0.5 + 1 + 8 + 21, -0.5 + 1 + 10 + 27])
    np.testing.assert_array_equal(weights, own.paint().weights)
    np.testing.assert_allclose(raised.at(y, x), values)
    assert np.isnan(raised.at(np.array([4]), np.array([9]))).all()
    assert raised.order == own.order


def test_the_plane_is_measured_outside_the_sources():
    source = np.array([[50.0, 40.0, 30.0, 2.0, 2.0, 0.0]])
    y, x = np.indices((90, 100))
    truth = Trend(constant=1.0, slope_y=0.02, slope_x=-0.03)
    data = truth.at(y, x) + gaussians.render(source, y.shape)
    data += 0.1 * np.random.default_rng(1).normal(size=y.shape)
    found = plane_through(data, source, beam_fwhm=4.7)
    np.testing.assert_allclose(found.at(y, x), truth.at(y, x), atol=0.02)


@pytest.mark.parametrize("options", [Options(), POLYNOMIAL], ids=["default", "polynomial"])
@pytest.mark.parametrize("level", [300.0, 1000.0])
def test_a_bright_smooth_background_hides_no_source(options, level, random_seed):
    """It leaked into the scales of sources: nearly all were dropped as fainter than their errors."""
    simulation = simulate_image("alma", seed=random_seed, shape=(400, 420), n_sources=60)
    image = simulation.image
    noise = np.std(image.data)
    y, x = np.indices(image.shape)
    bump = np.exp(-((y - 180.0) ** 2 + (x - 230.0) ** 2) / (2.0 * 60.0**2)) + np.exp(-y / 80.0)
    plain = extract_sources(image, options=options)
    raised = extract_sources(image.with_data(image.data + level * noise * bump), options=options)
    one, other = plain.catalog, raised.catalog
    apart = np.hypot(one["X"].value[:, None] - other["X"].value, one["Y"].value[:, None] - other["Y"].value)
    same = apart.min(axis=1) < 0.3 * image.beam_fwhm_pix
    assert same.mean() > 0.9
    assert len(other) < 1.1 * len(one)
    pair, error = apart.argmin(axis=1)[same], one["FLUX_ERR"].value[same]
    np.testing.assert_allclose(np.median(other["FLUX_ERR"].value[pair] / error), 1.0, atol=0.2)
    change = (other["FLUX"].value[pair] - one["FLUX"].value[same]) / error
    assert np.median(np.abs(change)) < 0.4
    here = raised.background_image() - plain.background_image()
    assert np.nanmedian(np.abs(here - level * noise * bump)) < 0.5 * noise
