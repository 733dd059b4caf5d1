import numpy as np
import pytest

from hyper_py.background.plane import with_trend
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


def test_backgrounds_get_the_plane_back(random_seed):
    image = simulate_image("alma", seed=random_seed, shape=(120, 120), n_sources=8).image
    extraction = extract_sources(image)
    measured, plane = extraction.field.measured, Trend(constant=1.0, slope_y=2.0, slope_x=3.0)
    raised = with_trend(measured, plane)
    y, x, values, weights = measured.patches[0].paint()
    np.testing.assert_allclose(raised.patches[0].paint()[2], values + 1.0 + 2.0 * y + 3.0 * x)
    np.testing.assert_array_equal(raised.patches[0].paint()[3], weights)
    row = measured.parameters[0]
    assert raised.background[0] == pytest.approx(measured.background[0] + 1.0 + 2.0 * row[2] + 3.0 * row[1])
