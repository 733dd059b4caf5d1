"""What all sources have in common beyond Gaussians, against maps made with a known pattern."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.linalg import sqrtm

from hyper_py.diagnostics import Flag
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.measure import measure_noise
from hyper_py.numerics import gaussians
from hyper_py.options import BackgroundOptions, FitOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.pipeline.why import explain_place
from hyper_py.psf.residual import BeamPattern, ProfilePattern, measure_residual_pattern
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.validation import validate


def shared_pattern(sources, shape, *, level, stretched=False):
    """Six lobes around each source, as sharp as it is: at one distance, or as far as the source is wide."""
    image = np.zeros(shape)
    for k in range(6):
        lobes = sources.copy()
        offset = 5.0 * np.array([np.cos(k * np.pi / 3.0), np.sin(k * np.pi / 3.0)])
        if stretched:
            offset = np.array(
                [sqrtm(matrix) @ offset / 1.6 for matrix in gaussians.source_covariance(sources)]
            )
        lobes[:, gaussians.X : gaussians.Y + 1] += offset
        lobes[:, gaussians.AMPLITUDE] *= level * (-1.0) ** k
        image += gaussians.render(lobes, shape)
    return image


def find_pattern(rng, *, level, stretched):
    """Return what is found on one map, the sources of the map, and the pattern that was put around them."""
    shape, n = (260, 250), 60
    places = rng.uniform(14, 236, (4 * n, 2))
    apart = [i for i, p in enumerate(places) if (np.hypot(*(places[:i] - p).T) > 12.0).all()][:n]
    sigma = rng.uniform(1.3, 1.9, len(apart))
    sources = np.column_stack(
        [rng.uniform(8.0, 40.0, len(apart)), places[apart], 1.1 * sigma, sigma, rng.uniform(0, 3, len(apart))]
    )
    noise = beam_covariance_model(np.diag([2.0, 2.0]), rms=1.0, max_lag=40, white_fraction=0.2)
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), np.sqrt(2.0))
    field = np.sqrt(0.8) * smooth / smooth.std() + np.sqrt(0.2) * rng.standard_normal(shape)
    truth = shared_pattern(sources, shape, level=level, stretched=stretched)
    pattern = measure_residual_pattern(
        truth + field + gaussians.render(sources, shape), sources, noise=noise, relative_rms=np.ones(shape),
        beam_fwhm=3.5,
    )  # fmt: skip
    return pattern, sources, truth


@pytest.mark.parametrize(
    ("stretched", "kind"), [(False, BeamPattern), (True, ProfilePattern)], ids=["beam", "profile"]
)
def test_a_pattern_that_all_sources_share_is_found(stretched, kind, rng):
    """Lobes that are in the same places are the beam's, and those that are farther from wider sources not.

    The noise of 60 sources leaves 0.07 to 0.18 of the pattern's power on one map, 0.10 on average.
    """
    missed = []
    for one in rng.spawn(4):
        pattern, sources, truth = find_pattern(one, level=0.08, stretched=stretched)
        assert isinstance(pattern, kind)
        found = pattern.drawn(sources, truth.shape)
        whole = found[:, :]
        missed.append(np.sum((whole - truth) ** 2) / np.sum(truth**2))
        np.testing.assert_allclose(found[40:97, 11:200], whole[40:97, 11:200], atol=1e-12)
    assert np.mean(missed) < 0.15


def test_no_pattern_is_found_where_sources_share_none(rng):
    assert find_pattern(rng, level=0.0, stretched=False)[0] is None


def log_normal_cirrus(rng, shape):
    """Power k^-2.8, exponentiated, through a beam of sigma 1.3; most of its structure is in a few places."""
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    k[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * k**-1.4, shape)
    return ndimage.gaussian_filter(np.exp(1.5 * field / field.std()), 1.3, mode="wrap")


@pytest.mark.parametrize("draw", range(8))
def test_gaussians_on_cirrus_have_nothing_in_common(draw):
    """Its structure is far from that of a stationary noise, which must not decide what is significant."""
    rng = np.random.default_rng([118, draw])
    shape, n = (300, 300), 144
    cirrus = 3.0 * log_normal_cirrus(rng, shape)
    data = cirrus + ndimage.gaussian_filter(rng.standard_normal(shape), 1.3, mode="wrap") * 4.6
    y, x = np.mgrid[20:280:12j, 20:280:12j].reshape(2, n) + rng.uniform(-5, 5, (2, n))
    local = np.sqrt(1.0 + ndimage.gaussian_filter((cirrus - ndimage.gaussian_filter(cirrus, 4)) ** 2, 10))
    peak = rng.uniform(5.0, 60.0, n) * local[np.rint(y).astype(int), np.rint(x).astype(int)]
    sigma = 1.3 * rng.uniform(1.0, 1.4, n)
    sources = np.column_stack([peak, x, y, sigma, sigma / 1.1, rng.uniform(0, 3, n)])
    noise, level = measure_noise(data, beam_covariance=1.69 * np.eye(2), beam_fwhm=3.06)
    assert (
        measure_residual_pattern(
            data + gaussians.render(sources, shape), sources, noise=noise, relative_rms=level, beam_fwhm=3.06
        )
        is None
    )


def test_the_pattern_of_a_profile_is_stretched_as_the_source_is():
    """Around Gaussians of sigma 2 a Gaussian of sigma 3, against one that is drawn as much wider."""
    mean = np.array([[0.2, 15.0, 15.0, 3.0, 3.0, 0.0]])
    misfit = ProfilePattern(
        pattern=gaussians.render(mean, (31, 31)), covariance=4.0 * np.eye(2), reach=15
    )  # fmt: skip
    assert misfit.flux_share == pytest.approx(0.2 * 9.0 / 4.0, rel=1e-4)
    source = np.array([7.0, 40.3, 39.8, 2.6, 1.8, 0.7])
    wings = np.array([[0.2 * 7.0, 15.3, 14.8, 3.9, 2.7, 0.7]])
    np.testing.assert_allclose(misfit.around(source), gaussians.render(wings, (31, 31)), atol=0.004)
    beam = BeamPattern.of(misfit.pattern, np.array([[1.0, 0.0, 0.0, 2.0, 2.0, 0.0]]), np.ones(1))
    assert beam.flux_share == 0.0


def test_a_lobe_is_explained_by_its_source_and_a_source_is_not():
    """What the pattern of brighter sources has at a place, against that pattern drawn there."""
    sources = np.array([[10.0, 40.3, 40.1, 1.6, 1.4, 0.3], [1.5, 45.3, 40.1, 1.5, 1.5, 0.0]])
    pattern = shared_pattern(np.array([[1.0, 12.0, 12.0, 1.5, 1.5, 0.0]]), (25, 25), level=0.1)
    misfit = BeamPattern.of(pattern, np.array([[1.0, 0.0, 0.0, 1.5, 1.5, 0.0]]), np.ones(1))
    share = misfit.share(sources)
    alone = misfit.drawn(sources[:1], (80, 80))[:, :]
    assert share[0] == 0.0
    np.testing.assert_allclose(share[1], alone[40, 45] / 1.5)
    np.testing.assert_allclose(share[1], 0.1 * 10.0 / 1.5, rtol=0.1)


def both_ways(simulation):
    """What is found in the noise as measured and in white noise, and how good it is."""
    ways = {
        "ours": Options(),
        "white": Options(
            fit_options=FitOptions(noise_model="white"), background=BackgroundOptions(method="polynomial")
        ),
    }
    found = {name: extract_sources(simulation.image, options=options) for name, options in ways.items()}
    results = {
        name: validate(one.catalog, simulation.truth, beam_fwhm=simulation.image.beam_fwhm_pix)
        for name, one in found.items()
    }
    return found, results


@pytest.mark.slow
def test_lobes_of_the_beam_are_no_companions_and_cost_no_accuracy(random_seed):
    """Hardly any is taken for a source, and fluxes are nearer the truth than those of an unweighted fit.

    On six seeds 0 to 4 were, and 30 where no pattern is looked for; 4 to 13 detections were left out.
    """
    simulation = simulate_image("alma", seed=random_seed, shape=(340, 360), n_sources=150, side_lobes=0.1)
    found, results = both_ways(simulation)
    assert results["ours"].false.size <= 4
    flux = {name: result.samples["isolated"]["flux (Gaussian)"] for name, result in results.items()}
    error = {name: np.hypot(one.bias, one.scatter) for name, one in flux.items()}
    assert error["ours"] < 0.5 * error["white"]
    ours = found["ours"]
    catalog = ours.catalog
    added = np.count_nonzero(catalog["FLAGS"] & int(Flag.ADDED_IN_RESIDUAL))
    assert len(ours.peaks) + added == len(catalog)
    place = ours.explained.x[0], ours.explained.y[0]
    assert "side lobes of brighter sources" in explain_place(ours, *place).verdict


@pytest.mark.slow
def test_wings_of_the_sources_own_profile_count_in_flux_and_errors(random_seed):
    """Two-dimensional Lorentzians: nearer the truth than an unweighted fit, in bias, scatter and pulls.

    On six seeds the bias was 0.87 to 0.98 of the other, the scatter 0.38 to 0.58, the width 0.29 to 0.45.
    """
    simulation = simulate_image("alma", seed=random_seed, shape=(340, 360), n_sources=150, profile="moffat")
    found, results = both_ways(simulation)
    ours, white = (results[name].samples["isolated"]["flux (Gaussian)"] for name in ("ours", "white"))
    assert abs(ours.bias) < abs(white.bias)
    assert ours.scatter < 0.65 * white.scatter
    assert ours.pull_width < 0.5 * white.pull_width
    factor, table = found["ours"].measured.flux_factor, found["ours"].catalog
    assert factor > 1.05
    measured = table[np.isfinite(table["FLUX_ERR"])]  # at a bound there is no error
    assert len(measured) > 0.9 * len(table)
    assert (measured["FLUX_ERR"] > (1.0 - 1.0 / factor) * measured["FLUX"]).all()
