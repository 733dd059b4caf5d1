"""Fluxes and errors of hundreds of sources of 10 to 15 sigma, in white noise and in that of the beam."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from helpers.injections import noise_sky
from helpers.maps import make_image, noise_of, sources_of
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.injection.recovery import inject
from hyper_py.injection.sensitivity import measure_sensitivity
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import extract_sources

SIDE, STEP_BEAMS, N_ROWS = 600, 9.0, 17


@pytest.mark.slow
@pytest.mark.parametrize("white_fraction", [1.0, 0.1], ids=["white noise", "noise of the beam"])
@pytest.mark.parametrize("size", [1.0, 1.3], ids=["beam-sized", "1.3 beams"])
def test_fluxes_are_true_in_the_median_and_their_errors_too(size, white_fraction, random_seed):
    rng = np.random.default_rng(random_seed)
    sky = noise_sky(random_seed, shape=(SIDE, SIDE), noise_white_fraction=white_fraction)
    image, middle = sky.image, 0.5 * (SIDE - 1)
    beam = image.beam_covariance(middle, middle)
    places = image.beam_fwhm_pix * STEP_BEAMS * np.arange(N_ROWS)
    places += middle - places.mean()
    x, y = (axis.ravel() + rng.uniform(-0.5, 0.5, axis.size) for axis in np.meshgrid(places, places))
    shape = gaussians.shape_parameters(size**2 * beam)
    sources = np.column_stack([np.ones(x.size), x, y, np.tile(shape, (x.size, 1))])
    sensitivity = measure_sensitivity(image.data, beam_covariance=beam)
    sources[:, gaussians.AMPLITUDE] = rng.uniform(10.0, 15.0, x.size) / sensitivity.signal_to_noise(sources)
    rows = extract_sources(inject(image, sources)).catalog
    found, index = cKDTree(np.column_stack([rows["X"].value, rows["Y"].value])).query(np.column_stack([x, y]))
    seen = found < 0.5 * image.beam_fwhm_pix
    assert seen.sum() > 0.95 * x.size
    true = gaussians.gaussian_flux(sources)[seen]
    flux, error = (rows[name].to_value("Jy")[index[seen]] for name in ("FLUX", "FLUX_ERR"))
    # The median of 289 has an error of 1%.
    assert np.median(flux / true) == pytest.approx(1.0, abs=0.03)
    pulls = (flux - true) / error
    width = 1.4826 * np.median(np.abs(pulls - np.median(pulls)))
    assert width == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("seed", [1, 2])
def test_hot_pixels_are_not_the_profile_of_the_beam(seed):
    """Sixty of 5 to 60 sigma were taken for it: all fluxes were 67% too large, or all peaks 15%."""
    rng = np.random.default_rng(seed)
    shape, fwhm, sigma = (400, 400), 4.0, 4.0 / FWHM_PER_SIGMA
    y, x = np.mgrid[30:390:65, 30:390:65].reshape(2, -1) + rng.uniform(-9.0, 9.0, (2, 36))
    peak = np.exp(rng.uniform(np.log(8.0), np.log(40.0), x.size))
    data = noise_of(shape, seed=seed, sigma=sigma, white=0.0)
    data += gaussians.render(sources_of(*zip(peak, x, y, strict=True), sigma=sigma), shape)
    rows, columns = rng.integers(0, 400, (2, 60))
    data[rows, columns] += rng.uniform(5.0, 60.0, 60)
    table = extract_sources(make_image(data, fwhm=fwhm)).catalog
    apart = np.hypot(table["X"].value - x[:, None], table["Y"].value - y[:, None])
    found, row = apart.min(axis=1) < 0.5 * fwhm, apart.argmin(axis=1)
    assert found.mean() > 0.9
    flux = table["FLUX"].to_value("Jy")[row][found] / (2.0 * np.pi * sigma**2 * peak[found])
    top = table["FLUX_PEAK"].to_value("Jy/beam")[row][found] / (2.0 * np.pi * sigma**2 * peak[found])
    assert np.median(flux) == pytest.approx(1.0, abs=0.05)
    assert np.median(top) == pytest.approx(1.0, abs=0.05)
