"""Interferometers: the (u, v) plane, the dirty beam, and what maps through it hold."""

import math

import numpy as np
import pytest
from scipy.optimize import least_squares

from hyper_py.diagnostics import ConfigurationError
from hyper_py.simulation.interferometer import (
    Interferometer,
    antenna_positions,
    fit_core,
    grid_visibilities,
    sample,
    uv_tracks,
)
from hyper_py.simulation.presets import sky_model
from hyper_py.simulation.recipe import Recipe
from hyper_py.simulation.simulate import simulate_image

ARCSEC = np.array([[-1.0, 0.0], [0.0, 1.0]])
"""Jacobian of a map with pixels of an arcsec, east to the left."""
SMALL = {"shape": (160, 180), "n_sources": 6, "margin": 3.0}
ONE = {"shape": (160, 160), "n_sources": 1, "background": "none", "margin": 8.0}
POINT = {"size_range": (1e-6, 1e-6)}


def sampling(**options: object):
    return sample(Interferometer(**options), grid=(240, 240), jacobian=ARCSEC, declination=30.0, fwhm=6.0)


def full_plane(weight: np.ndarray) -> np.ndarray:
    """The whole Fourier plane of a real image from its half."""
    return np.fft.fft2(np.fft.irfft2(weight, s=(240, 240))).real


@pytest.mark.parametrize("antennas", [7, 8, 11])
def test_a_line_has_every_spacing_up_to_the_longest(antennas: int) -> None:
    east, north = antenna_positions(Interferometer(layout="line", antennas=antennas))
    assert not north.any()
    unit = np.diff(np.sort(east)).min()
    i, j = np.triu_indices(antennas, 1)
    assert set(np.rint(np.abs(east[i] - east[j]) / unit)) == set(range(1, round(1 / unit) + 1))


def test_tracks_are_projections_of_the_baselines() -> None:
    array = Interferometer(antennas=9, hour_angles=(-3.0, 2.0), latitude=40.0)
    tracks = uv_tracks(array, declination=25.0)
    hours = np.linspace(-3.0, 2.0, len(tracks) // 36) * math.pi / 12
    # Referee: vectors. East, north and up of the array and the source's direction in the equatorial frame
    # whose x axis points to the meridian on the equator.
    latitude, dec = math.radians(40.0), math.radians(25.0)
    east, north = np.array([0.0, 1.0, 0.0]), np.array([-math.sin(latitude), 0.0, math.cos(latitude)])
    positions = antenna_positions(array).T @ np.array([east, north])
    i, j = np.triu_indices(9, 1)
    for k in (0, 100, len(hours) - 1):
        # An hour angle west of the meridian is a negative angle in this right-handed frame.
        along = np.array(
            [math.cos(dec) * math.cos(hours[k]), -math.cos(dec) * math.sin(hours[k]), math.sin(dec)]
        )
        to_east = np.cross([0.0, 0.0, 1.0], along) / math.cos(dec)
        to_north = np.cross(along, to_east)
        expected = (positions[i] - positions[j]) @ np.array([to_east, to_north]).T
        np.testing.assert_allclose(tracks.reshape(36, -1, 2)[:, k], expected, atol=1e-12)


def test_a_source_that_never_rises_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigurationError, match="below the horizon") as error:
        uv_tracks(Interferometer(), declination=-70.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("weighting", ["natural", "uniform"])
def test_the_dirty_beam_is_the_sum_of_the_fringes_of_all_visibilities(weighting: str) -> None:
    s = sampling(weighting=weighting)
    tracks = uv_tracks(Interferometer(weighting=weighting), declination=30.0) @ ARCSEC
    waves = tracks * (s.longest / np.hypot(*tracks.T).max())
    cells = np.rint(waves * 240).astype(int)
    kept = np.any(cells != 0, axis=1)
    weight = np.ones(len(cells))
    if weighting == "uniform":
        # Each pair of conjugate cells counts alike.
        sign = np.where((cells[:, 0] < 0) | ((cells[:, 0] == 0) & (cells[:, 1] < 0)), -1, 1)
        _, inverse, number = np.unique(cells * sign[:, None], axis=0, return_inverse=True, return_counts=True)
        weight = 1.0 / number[inverse.ravel()]
    weight = np.where(kept, weight, 0.0)
    for dy, dx in ((0, 0), (0, 3), (5, -2), (-9, 14), (40, 33)):
        phase = 2 * math.pi * (cells[:, 0] * dx + cells[:, 1] * dy) / 240
        expected = np.sum(weight * np.cos(phase)) / weight.sum()
        assert s.dirty_beam[120 + dy, 120 + dx] == pytest.approx(expected, abs=1e-12)


def test_the_dirty_beam_has_peak_one_and_no_integral_and_no_short_or_long_waves() -> None:
    s = sampling(weighting="uniform")
    assert s.dirty_beam.max() == s.dirty_beam[120, 120] == pytest.approx(1.0)
    assert abs(s.dirty_beam.sum()) < 1e-10
    ky, kx = np.fft.fftfreq(240)[:, None], np.fft.fftfreq(240)[None, :]
    power = np.abs(np.fft.fft2(s.dirty_beam)) ** 2
    beyond = np.hypot(kx, ky) > s.longest + 1 / 240
    assert power[beyond].max() < 1e-20 * power.max()
    assert power[~beyond].max() == power.max()
    assert s.dirty_beam.min() < -0.02


@pytest.mark.parametrize("options", [{}, {"weighting": "uniform"}, {"layout": "line", "antennas": 9}])
def test_the_beam_has_the_size_asked_for(options: dict[str, object]) -> None:
    s = sampling(hour_angles=(-5.0, 5.0), **options)
    # Referee: scipy's fit of a Gaussian of peak 1 to the core.
    y, x = np.mgrid[-9:10, -9:10]
    core = s.dirty_beam[111:130, 111:130]
    ok = (core > 0.5) & (np.hypot(y, x) < 9)

    def difference(p: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (p[0] * x**2 + 2 * p[1] * x * y + p[2] * y**2))[ok] - core[ok]

    a, b, c = least_squares(difference, [0.15, 0.0, 0.15]).x
    fwhm = 2 * math.sqrt(2 * math.log(2)) * np.linalg.det([[a, b], [b, c]]) ** -0.25
    assert fwhm == pytest.approx(6.0, rel=0.02)
    assert np.linalg.det(s.beam_covariance) ** 0.25 == pytest.approx(6.0 / 2.3548, rel=0.01)


def test_natural_noise_has_the_power_of_the_dirty_beam_and_uniform_noise_the_inverse() -> None:
    natural, uniform = sampling(), sampling(weighting="uniform")
    ratio = natural.noise_power[natural.weight > 0] / natural.weight[natural.weight > 0]
    assert np.ptp(ratio) < 1e-12 * ratio.max()
    assert set(np.unique(uniform.weight)) == {0.0, 1.0}
    assert full_plane(natural.noise_power).mean() == pytest.approx(1.0)
    assert full_plane(uniform.noise_power).mean() == pytest.approx(1.0)


def test_noise_is_that_of_white_visibilities() -> None:
    """Noise of each visibility drawn, gridded and transformed: its spectrum is the one used."""
    array = Interferometer(weighting="uniform", antennas=9)
    s = sample(array, grid=(60, 60), jacobian=ARCSEC, declination=30.0, fwhm=6.0)
    tracks = uv_tracks(array, declination=30.0) @ ARCSEC
    cells = np.rint(tracks * (s.longest / np.hypot(*tracks.T).max()) * 60).astype(int)
    cells = cells[np.any(cells != 0, axis=1)]
    rng, total = np.random.default_rng(5), np.zeros((60, 60))
    count = np.zeros((60, 60))
    for sign in (1, -1):
        np.add.at(count, (sign * cells[:, 1], sign * cells[:, 0]), 1)
    trials = 400
    for _ in range(trials):
        plane = np.zeros((60, 60), dtype=complex)
        visibility = rng.standard_normal(len(cells)) + 1j * rng.standard_normal(len(cells))
        np.add.at(plane, (cells[:, 1], cells[:, 0]), visibility)
        np.add.at(plane, (-cells[:, 1], -cells[:, 0]), visibility.conj())
        total += np.abs(np.divide(plane, count, out=np.zeros_like(plane), where=count > 0)) ** 2
    measured = (total / total.mean())[:, :31]
    seen = s.noise_power > 0
    assert not measured[~seen].any()
    # Each value is the mean of 400 exponential deviates: 5% each, 0.3% for the mean of some 300.
    ratio = measured[seen] / s.noise_power[seen]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert np.std(ratio) == pytest.approx(trials**-0.5, rel=0.2)


def test_visibilities_are_counted_with_their_conjugates() -> None:
    count = grid_visibilities(
        np.array([[0.1, 0.2], [0.1, 0.2], [-0.1, -0.2], [0.0, 0.3], [0.0, 0.0]]), (20, 20)
    )
    assert count[4, 2] == 3
    assert count[6, 0] == count[-6, 0] == 1
    assert count.sum() == 5


@pytest.mark.parametrize("preset", ["interferometer", "interferometer_dirty"])
def test_no_power_beyond_the_longest_baseline_in_noise_and_background(preset: str) -> None:
    recipe = Recipe.of(sky_model(preset, **SMALL), 3)
    s = simulate_image(preset, seed=3, **SMALL)
    assert recipe.sampling is not None
    longest = recipe.sampling.longest
    ky, kx = np.fft.fftfreq(s.grid[0])[:, None], np.fft.rfftfreq(s.grid[1])[None, :]
    beyond = np.hypot(ky, kx) > longest + 1 / min(s.grid)
    assert not s.noise_power[beyond].any()
    assert not s.background_power[beyond].any()
    assert s.noise_power[0, 0] == s.background_power[0, 0] == 0.0
    # And in the map itself, through a window whose own side lobes are below 1e-13 of its peak.
    window = np.outer(np.kaiser(160, 30), np.kaiser(180, 30))
    k = np.hypot(np.fft.fftfreq(160)[:, None], np.fft.fftfreq(180)[None, :])
    for plane in (s.noise, s.background, *([s.sources] if preset.endswith("dirty") else [])):
        power = np.abs(np.fft.fft2(plane * window)) ** 2
        assert power[k > longest + 0.12].max() < 1e-9 * power.max()
        assert power[(k > 0.5 * longest) & (k < longest)].max() > 1e-6 * power.max()


def test_a_dirty_map_has_no_integral_and_shows_the_dirty_beam() -> None:
    s = simulate_image("interferometer_dirty", seed=2, **ONE, **POINT)
    x, y, peak = (s.truth[name].value[0] for name in ("X", "Y", "AMPLITUDE"))
    recipe = Recipe.of(sky_model("interferometer_dirty", **ONE, **POINT), 2)
    area = s.image.beam_area_pix
    # Referee: the transform of the weights, evaluated at the true place, pixel by pixel.
    weight, (gy, gx) = recipe.sampling.weight, s.grid
    ky, kx = np.nonzero(weight)
    twice = np.where(kx > 0, 2.0, 1.0) * weight[ky, kx]
    for iy, ix in ((80, 80), (round(y), round(x)), (20, 130)):
        phase = 2 * math.pi * (np.where(ky > gy // 2, ky - gy, ky) / gy * (iy - y) + kx / gx * (ix - x))
        expected = s.truth["FLUX"].value[0] / area * np.sum(twice * np.cos(phase)) / twice.sum()
        assert s.sources[iy, ix] == pytest.approx(expected, abs=2e-4 * peak)
    assert peak == pytest.approx(s.truth["FLUX"].value[0] / area, rel=1e-6)
    whole = np.fft.irfft2(np.fft.rfft2(s.sources, s=s.grid), s=s.grid)
    assert abs(whole.sum()) < 0.3 * s.truth["FLUX"].value[0]  # what is cut off is in the far side lobes
    assert s.sources.min() < -0.02 * peak  # the bowl
    assert s.psf is not None
    assert abs(s.psf.sum()) < 1e-9


def test_a_resolved_source_peaks_where_the_truth_says() -> None:
    """No noise: what the map shows at the true place, between its pixels, is the true peak."""
    ratios = []
    for seed in range(4):
        s = simulate_image("interferometer_dirty", seed=seed, **ONE, size_range=(0.8, 1.2))
        x, y, peak = (s.truth[name].value[0] for name in ("X", "Y", "AMPLITUDE"))
        iy, ix = round(y), round(x)
        yy, xx = np.mgrid[-2:3, -2:3]
        patch = s.sources[iy - 2 : iy + 3, ix - 2 : ix + 3].ravel()
        yy, xx = yy.ravel() - (y - iy), xx.ravel() - (x - ix)
        terms = np.column_stack([xx**i * yy**j for i in range(5) for j in range(5 - i)])
        at_place = np.linalg.lstsq(terms, patch, rcond=None)[0][0]
        assert at_place == pytest.approx(peak, rel=1e-3)
        gaussian = s.truth["FLUX"].value[0] / (
            1.1331 * np.prod([s.truth[n].value[0] for n in ("FWHM_1", "FWHM_2")]) / s.image.pixel_scale**2
        )
        ratios.append(peak / gaussian)
    assert max(abs(ratio - 1) for ratio in ratios) > 5e-3  # it is not the peak of the Gaussian


def test_a_cleaned_source_is_a_gaussian_with_its_flux_and_what_was_left_is_dirty() -> None:
    clean = simulate_image("interferometer", seed=2, **ONE, peak_range=(20.0, 20.0))
    assert clean.sources.sum() == pytest.approx(clean.truth["FLUX"].value[0], rel=1e-3)
    assert clean.sources.min() >= 0.0
    part = simulate_image(
        "interferometer", seed=2, **ONE, peak_range=(20.0, 20.0), interferometer={"clean_depth": 5.0}
    )
    dirty = simulate_image(
        "interferometer", seed=2, **ONE, peak_range=(20.0, 20.0), interferometer={"image": "dirty"}
    )
    np.testing.assert_allclose(part.sources, 0.75 * clean.sources + 0.25 * dirty.sources, atol=1e-12)
    np.testing.assert_allclose(
        part.truth["AMPLITUDE"], 0.75 * clean.truth["AMPLITUDE"] + 0.25 * dirty.truth["AMPLITUDE"]
    )
    np.testing.assert_array_equal(clean.noise, dirty.noise)


def test_the_map_scales_with_the_noise_and_turns_with_the_sky() -> None:
    a = simulate_image("interferometer_dirty", seed=4, **SMALL)
    b = simulate_image("interferometer_dirty", seed=4, noise_rms=6.1e-2, **SMALL)
    np.testing.assert_allclose(b.image.data, 1e3 * a.image.data, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(b.truth["FLUX"].value, 1e3 * a.truth["FLUX"].value)
    # Seen from behind, the beam's image is mirrored: its angle on the sky is not.
    mirror = simulate_image("interferometer_dirty", seed=4, mirrored=True, **SMALL)
    np.testing.assert_allclose(mirror.model.beam, a.model.beam, rtol=1e-6)
    np.testing.assert_allclose(mirror.psf[1:, 1:], a.psf[1:, :0:-1], atol=1e-9)
    assert abs(a.psf[1:, 1:] - a.psf[1:, :0:-1]).max() > 0.02


def test_background_has_the_rms_asked_for() -> None:
    skies = [
        simulate_image(
            "interferometer", seed=k, shape=(160, 180), n_sources=0, background=kind, background_rms=3.0
        )
        for k in range(8)
        for kind in ("powerlaw", "lognormal")
    ]
    rms = np.sqrt(np.mean([np.mean(s.background**2) for s in skies]))
    assert rms == pytest.approx(3.0 * skies[0].noise_rms[0, 0], rel=0.15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"interferometer": {"image": "grey"}}, "interferometer.image"),
        ({"interferometer": {"antennas": 10}}, "interferometer.antennas"),
        ({"interferometer": {"hour_angles": [3, 1]}}, "interferometer.hour_angles"),
        ({"interferometer": {"weigting": "natural"}}, "did you mean 'weighting'"),
        ({"interferometer": 3}, "interferometer is 3"),
        ({"frame": "galactic"}, "icrs with an interferometer"),
        ({"n_filaments": 2}, "n_filaments"),
        ({"pixel_scale": 20.0}, "too small for its map"),
        ({"centre": (10.0, -80.0)}, "below the horizon"),
    ],
)
def test_wrong_options_are_told_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as error:
        simulate_image("interferometer", seed=1, **options)
    assert "\n" not in str(error.value)


def test_a_core_of_too_few_pixels_is_refused() -> None:
    beam = np.zeros((32, 32))
    beam[0, 0] = 1.0
    with pytest.raises(ConfigurationError, match="too few pixels"):
        fit_core(beam)
