"""The simulator's own truth: spectra, fluxes, positions, units and random streams."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from scipy.stats import kstest, skew

from hyper_py.commands.simulate import PRESETS as NAMED
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.simulation.presets import PRESETS, SkyModel, sky_model
from hyper_py.simulation.simulate import simulate_cube, simulate_image
from hyper_py.simulation.truth import draw_profiles, profile_area

SMALL = {"shape": (200, 230), "n_sources": 40}
EMPTY = {"shape": (200, 230), "n_sources": 0}
SEEDS = range(100, 112)


def measured_autocovariance(data: np.ndarray, reach: int) -> np.ndarray:
    """Mean of products at lags (dy, dx), 0 <= dy, dx <= reach, by direct summation."""
    ny, nx = data.shape
    lags = range(reach + 1)
    return np.array([[np.mean(data[: ny - j, : nx - i] * data[j:, i:]) for i in lags] for j in lags])


def windowed_power(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|k| and periodogram (Hann window), scaled as the Fourier transform of the autocovariance."""
    window = np.outer(np.hanning(data.shape[0]), np.hanning(data.shape[1]))
    power = np.abs(np.fft.fft2((data - data.mean()) * window)) ** 2 / np.sum(window**2)
    k = np.hypot(np.fft.fftfreq(data.shape[0])[:, None], np.fft.fftfreq(data.shape[1])[None, :])
    return k, power


@pytest.mark.parametrize("white", [0.0, 0.1, 1.0])
def test_noise_autocorrelation_is_that_of_the_beam_plus_white(white: float) -> None:
    reach = 5
    sims = [simulate_image("alma", seed=seed, noise_white_fraction=white, **EMPTY) for seed in SEEDS]
    mean = np.mean([measured_autocovariance(s.noise, reach) for s in sims], axis=0)
    rms = 1.43e-5 / (math.pi / (4 * math.log(2)) * 0.04808 * 0.03849 / 0.013**2)
    # Referee: the beam correlated with itself, from its FWHM and position angle. At 22.7 degrees east of
    # north, east to the left, the major axis points up and left.
    major, minor = (f / 0.013 / FWHM_PER_SIGMA for f in (0.04808, 0.03849))
    angle = math.radians(22.7)
    dy, dx = np.mgrid[: reach + 1, : reach + 1]
    along = -dx * math.sin(angle) + dy * math.cos(angle)
    across = dx * math.cos(angle) + dy * math.sin(angle)
    beam = np.exp(-(along**2) / (4 * major**2) - across**2 / (4 * minor**2))
    expected = rms**2 * ((1 - white) * beam + white * ((dx == 0) & (dy == 0)))
    assert mean == pytest.approx(expected, abs=0.03 * rms**2)


def test_noise_and_its_autocovariance_agree_with_side_lobes() -> None:
    sims = [simulate_image("faint", seed=seed, side_lobes=0.3, **EMPTY) for seed in SEEDS]
    mean = np.mean([measured_autocovariance(s.noise, 8) for s in sims], axis=0)
    true = sims[0].autocovariance(8, background=False)
    assert mean == pytest.approx(true[8:, 8:], abs=0.03 * true[8, 8])
    assert true == pytest.approx(true[::-1, ::-1])


@pytest.mark.parametrize("slope", [2.5, 3.0, 3.5])
def test_power_law_background_has_the_slope_asked_for(slope: float) -> None:
    logs = []
    edges = np.geomspace(0.03, 0.4, 12)
    for seed in SEEDS:
        model = {"background": "powerlaw", "background_slope": slope, "background_in_beam": False}
        k, power = windowed_power(simulate_image("alma", seed=seed, **model, **EMPTY).background)
        rings = [(k >= low) & (k < high) for low, high in pairwise(edges)]
        logs.append([[np.log(k[ring]).mean(), np.log(power[ring]).mean()] for ring in rings])
    x, y = np.mean(logs, axis=0).T
    assert np.polyfit(x, y, 1)[0] == pytest.approx(-slope, abs=0.05)


@pytest.mark.parametrize(
    ("background", "in_beam"),
    [("smooth", True), ("powerlaw", True), ("powerlaw", False), ("lognormal", True)],
)
def test_background_spectrum_is_the_one_given(background: str, in_beam: bool) -> None:
    options = {"background": background, "background_in_beam": in_beam, "background_outer": 0.3, **EMPTY}
    sims = [simulate_image("alma", seed=seed, **options) for seed in range(30)]
    k, _ = windowed_power(sims[0].background)
    measured = np.mean([windowed_power(s.background)[1] for s in sims], axis=0)
    power = sims[0].background_power
    kp = np.hypot(np.fft.fftfreq(sims[0].grid[0])[:, None], np.fft.rfftfreq(sims[0].grid[1])[None, :])
    compared = 0
    # Nearer k = 0 the window (200 pixels) smears a steep spectrum upwards by more than the tolerance.
    for low, high in [(0.03, 0.04), (0.05, 0.06), (0.06, 0.08), (0.08, 0.1), (0.12, 0.15), (0.2, 0.23)]:
        expected = power[(kp >= low) & (kp < high)].mean()
        # Below this the window leaks: the widest structure seen through its side lobes.
        if expected > 1e-4 * power.max():
            assert measured[(k >= low) & (k < high)].mean() == pytest.approx(expected, rel=0.15), low
            compared += 1
    assert compared >= 3


def test_band_limited_background_is_smoothed_white_noise() -> None:
    shape, scale = (512, 512), 3.0
    s = simulate_image("alma", seed=3, shape=shape, n_sources=0, background_scale=scale)
    sigma = scale * s.model.beam_fwhm_pix / FWHM_PER_SIGMA
    referee = gaussian_filter(np.random.default_rng(1).standard_normal(shape), sigma, mode="wrap")
    referee *= s.model.background_rms * s.noise_rms.mean() / referee.std()
    ours = measured_autocovariance(s.background - s.background.mean(), 8)
    assert ours == pytest.approx(measured_autocovariance(referee, 8), abs=0.15 * ours[0, 0])


def test_opposite_borders_have_nothing_in_common() -> None:
    options = {"background": "powerlaw", "background_outer": 0.2, "n_sources": 0, "shape": (80, 80)}
    products = []
    for seed in range(60):
        background = simulate_image("alma", seed=seed, **options).background
        background = background - background.mean()
        products.append(np.mean(background[:, 0] * background[:, -1]) / background.var())
    # On a torus they would be neighbours, correlated by more than 0.9.
    assert abs(np.mean(products)) < 0.3


def test_fields_have_the_rms_asked_for() -> None:
    sims = [simulate_image("alma", seed=k, **EMPTY) for k in SEEDS]
    unit = 1.43e-5 / (0.04808 * 0.03849 * math.pi / (4 * math.log(2)) / 0.013**2)
    assert np.mean([s.noise.std() for s in sims]) == pytest.approx(unit, rel=0.02)
    assert np.mean([s.background.std() for s in sims]) == pytest.approx(2 * unit, rel=0.04)


@pytest.mark.parametrize("preset", ["alma", "deep", "faint", "crowded", "cube"])
def test_components_sum_to_the_map(preset: str) -> None:
    s = simulate_image(preset, seed=5, blank_border=7, **SMALL)
    inner = np.s_[7:-7, 7:-7]
    np.testing.assert_array_equal((s.sources + s.noise + s.background)[inner], s.image.data[inner])
    assert np.isnan(s.image.data).sum() == s.image.data.size - s.image.data[inner].size
    assert len(s.truth) == 40


@pytest.mark.parametrize("preset", ["alma", "crowded", "herschel"])
@pytest.mark.parametrize("n_sources", [1, 40])
def test_true_fluxes_are_the_sums_of_pixels(preset: str, n_sources: int) -> None:
    s = simulate_image(preset, seed=8, shape=(200, 230), n_sources=n_sources)
    assert s.sources.sum() == pytest.approx(s.truth["FLUX"].sum().value, rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    x=st.floats(30, 31),
    y=st.floats(30, 31),
    minor=st.floats(2.0, 5.0),
    ratio=st.floats(1.0, 1.7),
    theta=st.floats(0, math.pi),
)
def test_drawn_gaussian_has_its_flux_centre_and_size(
    x: float, y: float, minor: float, ratio: float, theta: float
) -> None:
    major = minor * ratio
    image = draw_profiles(
        (62, 62), x=[x], y=[y], amplitude=[2.0], fwhm_major=[major], fwhm_minor=[minor], theta=[theta]
    )
    yy, xx = np.mgrid[:62, :62]
    total = image.sum()
    assert total == pytest.approx(2.0 * math.pi * major * minor / (4 * math.log(2)), rel=1e-4)
    assert (image * xx).sum() / total == pytest.approx(x, abs=1e-3)
    assert (image * yy).sum() / total == pytest.approx(y, abs=1e-3)
    along = (xx - x) * math.cos(theta) + (yy - y) * math.sin(theta)
    assert (image * along**2).sum() / total == pytest.approx((major / FWHM_PER_SIGMA) ** 2, rel=2e-3)


@pytest.mark.parametrize("beta", [None, 1.5, 2.5, 4.0])
def test_profile_area_is_the_integral_and_fwhm_is_one(beta: float | None) -> None:
    def value(r: float) -> float:
        if beta is None:
            return math.exp(-4 * math.log(2) * r * r)
        return (1 + 4 * (2 ** (1 / beta) - 1) * r * r) ** -beta

    assert value(0.5) == pytest.approx(0.5)
    integral, _ = quad(lambda r: 2 * math.pi * r * value(r), 0, math.inf)
    assert profile_area(beta) == pytest.approx(integral, rel=1e-6)
    one = {"x": [20.0], "y": [20.0], "amplitude": [1.0], "theta": [0.0]}
    image = draw_profiles((41, 41), **one, fwhm_major=[6.0], fwhm_minor=[4.0], beta=beta)
    assert image[20, 20] == 1.0
    assert image[20, 23] == pytest.approx(0.5)
    assert image[22, 20] == pytest.approx(0.5)


def test_moffat_wings_hold_the_flux() -> None:
    options = {"shape": (400, 400), "n_sources": 1, "margin": 40, "peak_scale": "noise"}
    wide = simulate_image("alma", seed=1, profile="moffat", **options)
    gaussian = simulate_image("alma", seed=1, **options)
    assert wide.sources.sum() == pytest.approx(wide.truth["FLUX"][0].value, rel=0.02)
    assert wide.truth["FLUX"][0] > 1.5 * gaussian.truth["FLUX"][0]
    assert wide.truth["AMPLITUDE"][0] == gaussian.truth["AMPLITUDE"][0]


def test_side_lobes_have_their_level_and_leave_flux_and_peak() -> None:
    options = {"n_sources": 1, "shape": (160, 160), "beam": (0.0481, 0.0481, 0.0), "peak_scale": "noise"}
    point = {"size_range": (1.0, 1.0), "axis_ratio_range": (1.0, 1.0), "background": "none"}
    clean = simulate_image("alma", seed=4, **options, **point)
    dirty = simulate_image("alma", seed=4, side_lobes=0.2, **options, **point)
    truth = dirty.truth
    lobes = (dirty.sources - clean.sources) / truth["AMPLITUDE"][0].value
    assert np.abs(lobes).max() == pytest.approx(0.2, rel=0.1)
    assert lobes.min() < -0.1
    iy, ix = np.rint([truth["Y"][0].value, truth["X"][0].value]).astype(int)
    assert abs(lobes[iy, ix]) < 0.02
    assert dirty.sources.sum() == pytest.approx(truth["FLUX"][0].value, rel=0.02)


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
@pytest.mark.parametrize(("rotation", "mirrored"), [(0.0, False), (35.0, False), (-120.0, True)])
def test_positions_and_ellipses_agree_with_the_header(frame: str, rotation: float, mirrored: bool) -> None:
    s = simulate_image("alma", seed=9, frame=frame, rotation=rotation, mirrored=mirrored, **SMALL)
    wcs, t = WCS(s.header()), s.truth
    for sky in (SkyCoord(t["RA"], t["DEC"]), SkyCoord(t["GLON"], t["GLAT"], frame="galactic")):
        x, y = wcs.world_to_pixel(sky)
        np.testing.assert_allclose(x, t["X"].value, atol=2e-4)
        np.testing.assert_allclose(y, t["Y"].value, atol=2e-4)
    # Half a FWHM along the position angle, on the sky, one comes to half the peak of the image.
    centre = SkyCoord(t["RA"], t["DEC"]).transform_to(frame)
    for i in range(len(t)):
        one = {"x": [t["X"][i].value], "y": [t["Y"][i].value], "amplitude": [1.0]}
        shape = [[values[i]] for values in s.pixel_ellipses]
        image = draw_profiles(s.model.shape, **one, **dict(zip(SHAPE, shape, strict=True)))
        for turn, name in ((0, "FWHM_1"), (90, "FWHM_2")):
            point = centre[i].directional_offset_by(t["PA"][i] + turn * u.deg, t[name][i] / 2)
            px, py = (float(v) for v in wcs.world_to_pixel(point))
            iy, ix = round(py), round(px)
            patch = np.log(image[iy - 1 : iy + 2, ix - 1 : ix + 2])
            assert quadratic_at(patch, py - iy, px - ix) == pytest.approx(math.log(0.5), abs=2e-3)
    # And they are the ellipses that were drawn into the map.
    shapes = dict(zip(SHAPE, s.pixel_ellipses, strict=True))
    places = {name: t[name.upper()].value for name in ("x", "y", "amplitude")}
    redrawn = draw_profiles(s.model.shape, **places, **shapes)
    np.testing.assert_allclose(redrawn, s.sources, atol=1e-6 * s.sources.max())


SHAPE = ("fwhm_major", "fwhm_minor", "theta")


def quadratic_at(patch: np.ndarray, dy: float, dx: float) -> float:
    """Exact value of a quadratic known on 3 x 3 pixels (the logarithm of a Gaussian is one)."""
    y, x = (g.ravel() for g in np.mgrid[-1:2, -1:2])
    terms = np.column_stack([np.ones(9), x, y, x * x, x * y, y * y])
    fit = np.linalg.lstsq(terms, patch.ravel(), rcond=None)[0]
    return float(fit @ [1, dx, dy, dx * dx, dx * dy, dy * dy])


@pytest.mark.parametrize("rotation", [0.0, 90.0, 200.0])
def test_rotation_turns_up_from_north_to_east(rotation: float) -> None:
    wcs = WCS(simulate_image("alma", seed=1, rotation=rotation, **EMPTY).header())
    start, end = wcs.pixel_to_world([100, 100], [100, 160])
    assert (start.position_angle(end).deg - rotation + 180) % 360 == pytest.approx(180, abs=1e-2)


@pytest.mark.parametrize("preset", ["alma", "herschel"])
def test_the_unit_changes_nothing_but_the_file(preset: str) -> None:
    maps = [simulate_image(preset, seed=2, unit=unit, **SMALL) for unit in ("Jy/pixel", "Jy/beam", "MJy/sr")]
    for other in maps[1:]:
        np.testing.assert_array_equal(other.image.data, maps[0].image.data)
        assert other.truth["FLUX"].sum() == maps[0].truth["FLUX"].sum()
    # Referee: astropy's units.
    major, minor, _ = maps[0].model.beam
    beam = math.pi / (4 * math.log(2)) * major * minor * u.arcsec**2
    pixel = (maps[0].model.pixel_scale * u.arcsec) ** 2
    in_jy = (1.0, (pixel / beam).to_value(""), (u.MJy / u.sr * pixel).to_value(u.Jy))
    for simulation, one in zip(maps, in_jy, strict=True):
        np.testing.assert_allclose(simulation.image.jy_per_pixel, one, rtol=1e-4)
        assert simulation.header()["BUNIT"] == simulation.model.unit


def test_pixel_areas_across_a_wide_map_follow_the_projection() -> None:
    wide = {"shape": (301, 301), "pixel_scale": 60.0, "beam": (184.0, 174.0, 0.0), "n_sources": 5}
    areas = simulate_image("herschel", seed=2, **wide).image.jy_per_pixel
    assert areas.shape == (301, 301)
    # Gnomonic: the area falls as the cube of the cosine of the distance from the centre.
    distance = math.atan(math.radians(100 / 60.0))
    assert areas[150, 250] / areas[150, 150] == pytest.approx(math.cos(distance) ** 3, rel=1e-6)


def test_the_same_seed_gives_the_same_map_and_others_do_not() -> None:
    a, b = (simulate_image("deep", seed=7, **SMALL) for _ in range(2))
    np.testing.assert_array_equal(a.image.data, b.image.data)
    assert all(np.array_equal(a.truth[name], b.truth[name]) for name in a.truth.colnames)
    c = simulate_image("deep", seed=8, **SMALL)
    assert abs(np.corrcoef(a.noise.ravel(), c.noise.ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef(a.noise.ravel(), a.background.ravel())[0, 1]) < 0.2
    d, e = (simulate_image("deep", seed=np.random.default_rng(3), **SMALL) for _ in range(2))
    np.testing.assert_array_equal(d.image.data, e.image.data)


@pytest.mark.parametrize(
    "change", [{"n_sources": 11}, {"crowded_fraction": 0.5}, {"profile": "moffat"}, {"n_filaments": 3}]
)
def test_noise_does_not_change_with_anything_else(change: dict[str, object]) -> None:
    a, b = simulate_image("deep", seed=7, **SMALL), simulate_image("deep", seed=7, **{**SMALL, **change})
    np.testing.assert_array_equal(a.noise, b.noise)
    if "n_filaments" not in change:
        np.testing.assert_array_equal(a.background, b.background)


def test_noise_level_does_not_move_the_sources() -> None:
    a = simulate_image("deep", seed=7, **SMALL)
    b = simulate_image("deep", seed=7, noise_rms=3e-5, **SMALL)
    np.testing.assert_array_equal(a.truth["X"], b.truth["X"])
    np.testing.assert_allclose((b.truth["FLUX"] / a.truth["FLUX"]).value, 3 / 1.43)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_alma_peaks_are_8_to_20_times_the_rms_of_noise_and_background(seed: int) -> None:
    s = simulate_image("alma", seed=seed)
    ratio = s.truth["AMPLITUDE"].value / (s.noise + s.background).std()
    assert 8.0 <= ratio.min() < 8.4
    assert 19.6 < ratio.max() <= 20.0
    np.testing.assert_allclose(ratio, s.truth["PEAK_SNR"])
    beams = np.sqrt(s.truth["FWHM_1"] * s.truth["FWHM_2"]).value / math.sqrt(0.04808 * 0.03849)
    assert 0.8 <= beams.min() < 0.82
    assert 1.48 < beams.max() <= 1.5


def test_deep_peaks_are_log_uniform_in_noise_and_small_structure() -> None:
    s = simulate_image("deep", seed=3, background="powerlaw", background_rms=40.0)
    noise = s.noise_rms.mean()
    # Referee: the background itself without wavelengths above three beams.
    wavelength, window = 3 * s.model.beam_fwhm_pix, np.outer(np.hanning(565), np.hanning(635))
    field = np.fft.fft2((s.background - s.background.mean()) * window)
    k = np.hypot(np.fft.fftfreq(565)[:, None], np.fft.fftfreq(635)[None, :])
    small = np.fft.ifft2(np.where(k > 1 / wavelength, field, 0)).real
    structure = np.sqrt(np.sum(small**2) / np.sum(window**2))
    assert structure > 0.5 * noise
    assert s.sigma == pytest.approx(math.hypot(noise, structure), rel=0.05)
    logs = np.log(s.truth["PEAK_SNR"] / 3) / math.log(20)
    assert np.quantile(logs, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.08)


def test_a_smooth_background_has_no_structure_below_three_beams() -> None:
    s = simulate_image("deep", seed=3, **SMALL)
    assert s.sigma == pytest.approx(s.noise_rms.mean(), rel=1e-3)


@pytest.mark.parametrize("preset", ["alma", "crowded"])
def test_crowding_is_as_asked(preset: str) -> None:
    s = simulate_image(preset, seed=12)
    low, high = s.model.crowded_separation
    points = np.column_stack([s.truth["X"].value, s.truth["Y"].value]) / s.model.beam_fwhm_pix
    distance = cdist(points, points) + np.diag(np.full(len(points), np.inf))
    nearest = distance.min(axis=1)
    paired = nearest < s.model.min_separation
    assert paired.mean() == pytest.approx(s.model.crowded_fraction)
    assert nearest.min() >= low
    assert nearest[paired].max() <= high
    assert (distance < s.model.min_separation).sum(axis=1).max() == 1
    np.testing.assert_allclose(nearest, s.truth["NEAREST"])
    np.testing.assert_array_equal(s.truth["ISOLATED"], nearest > 2)
    edge = np.minimum(points, np.array([634, 564]) / s.model.beam_fwhm_pix - points)
    assert edge.min() >= s.model.margin - 1e-9


def test_noise_varies_by_the_factor_and_keeps_its_mean_power() -> None:
    sims = [simulate_image("faint", seed=k, noise_variation=6.0, **EMPTY) for k in SEEDS]
    for s in sims:
        assert s.noise_rms.max() / s.noise_rms.min() == pytest.approx(6.0)
        assert np.sqrt(np.mean(s.noise_rms**2)) == pytest.approx(1.43e-5 / s.image.beam_area_pix)
    pulls = np.concatenate([(s.noise / s.noise_rms).ravel() for s in sims])
    quiet = np.concatenate([(s.noise_rms < np.median(s.noise_rms)).ravel() for s in sims])
    assert pulls[quiet].std() == pytest.approx(1.0, abs=0.03)
    assert pulls[~quiet].std() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("background", ["smooth", "lognormal"])
def test_background_varies_by_the_factor_and_keeps_its_mean_power(background: str) -> None:
    options = {"background": background, "background_level": 0.0, "seed": 2, **EMPTY}
    even, varied = (simulate_image("alma", background_variation=factor, **options) for factor in (1.0, 6.0))
    np.testing.assert_array_equal(varied.noise, even.noise)
    strength = varied.background / even.background
    assert strength.max() / strength.min() == pytest.approx(6.0)
    assert np.sqrt(np.mean(strength**2)) == pytest.approx(1.0)
    with pytest.raises(ConfigurationError, match="background_variation"):
        varied.limits()


def test_gradient_and_filaments_have_their_height() -> None:
    flat = {"background": "none", "background_level": 0.0, **EMPTY}
    s = simulate_image("alma", seed=6, gradient=10.0, **flat)
    rms = s.noise_rms.mean()
    assert np.ptp(s.background) == pytest.approx(10 * rms)
    assert np.abs(np.diff(s.background, 2, axis=0)).max() < 1e-9 * rms
    one = {"n_filaments": 1, "filament_peak": 7.0, **flat}
    heights = [simulate_image("alma", seed=k, **one).background.max() / rms for k in range(12)]
    crossing = [height for height in heights if height > 4]
    assert len(crossing) >= 10
    assert np.median(crossing) == pytest.approx(7.0, rel=0.07)
    one["filament_contrast"] = 0.5
    uneven = [simulate_image("alma", seed=k, **one).background.sum() / rms for k in range(12)]
    even = [
        simulate_image("alma", seed=k, **{**one, "filament_contrast": 0.0}).background.sum()
        for k in range(12)
    ]
    assert np.std(np.array(uneven) * rms / even) > 0.02
    assert np.sum(uneven) * rms == pytest.approx(np.sum(even), rel=0.15)
    np.testing.assert_array_equal(simulate_image("alma", seed=1, **flat).background, 0.0)


def test_an_empty_sky_has_an_empty_truth_with_all_columns() -> None:
    empty, full = simulate_image("alma", seed=1, **EMPTY), simulate_image("alma", seed=1, **SMALL)
    assert len(empty.truth) == 0
    assert empty.truth.colnames == full.truth.colnames
    for name in ("RA", "FLUX", "FLUX_PEAK", "FWHM_1", "PA"):
        assert empty.truth[name].unit == full.truth[name].unit
    single = simulate_image("alma", seed=1, shape=(60, 60), n_sources=1).truth
    assert single["ISOLATED"].all()


def test_flux_peak_is_amplitude_times_beam_area() -> None:
    t = simulate_image("alma", seed=1, **SMALL).truth
    area = math.pi / (4 * math.log(2)) * 0.04808 * 0.03849 / 0.013**2
    np.testing.assert_allclose(t["FLUX_PEAK"].to_value(u.Jy / u.beam), t["AMPLITUDE"].value * area, rtol=1e-4)
    in_beams = (t["FWHM_1"] * t["FWHM_2"]).to_value(u.arcsec**2) / (0.04808 * 0.03849)
    np.testing.assert_allclose(t["FLUX"].value, t["FLUX_PEAK"].value * in_beams, rtol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_sky(preset: str) -> None:
    room = {"shape": (340, 360), "n_sources": 10}
    s = simulate_image(preset, seed=1, **room)
    assert s.image.name == preset
    assert np.isfinite(s.image.data).all() == (s.model.coverage is None)
    assert s.truth.meta["seed"] == 1
    assert np.count_nonzero(~s.truth["CLUMP"]) == 10
    np.testing.assert_array_equal(
        (s.sources + s.noise + s.background)[np.isfinite(s.image.data)],
        s.image.data[np.isfinite(s.image.data)],
    )


def test_the_command_names_every_preset() -> None:
    assert tuple(PRESETS) == NAMED


def test_dynamic_peaks_are_log_uniform_to_what_is_asked_for() -> None:
    for highest in (3000.0, 10000.0):
        peaks = simulate_image("dynamic", seed=2, peak_range=(5.0, highest)).truth["PEAK_TO_NOISE"]
        assert kstest(np.log(peaks), "uniform", (math.log(5), math.log(highest / 5))).pvalue > 0.01
        assert peaks.max() > 0.8 * highest


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.5])
def test_counts_have_the_slope_asked_for(slope: float) -> None:
    sky = {"n_sources": 1500, "peak_range": (1.0, 30.0), "peak_log": False, "peak_slope": slope}
    peaks = simulate_image("confused", seed=3, **sky).truth["PEAK_TO_NOISE"]
    power = 1.0 - slope
    if power:
        share = (np.asarray(peaks) ** power - 1.0) / (30.0**power - 1.0)
    else:
        share = np.log(peaks) / np.log(30.0)
    assert kstest(share, "uniform").pvalue > 0.01


def test_most_of_the_variance_of_a_confused_map_is_faint_sources() -> None:
    s = simulate_image("confused", seed=2)
    noise = s.noise.std()
    assert s.image.data.std() > 1.5 * noise
    skewness = skew(s.image.data, axis=None)
    assert skewness > 1.0


def test_oversampled_maps_have_twelve_pixels_in_a_beam_and_nothing_finer() -> None:
    s = simulate_image("oversampled", seed=2)
    assert s.model.beam_fwhm_pix == pytest.approx(12.0, rel=1e-3)
    k, power = windowed_power(s.noise)
    # The transform of the beam at 1 / 4 of a cycle per pixel: exp(-2 (pi sigma k)^2) squared, about 1e-28.
    assert power[k > 0.25].max() < 1e-6 * power.max()


def test_a_cube_is_a_stream_of_maps_with_the_truth_of_each() -> None:
    cube = simulate_cube(seed=4, n_channels=9, shape=(90, 100), n_sources=8, turnover=4.0)
    assert cube.shape == (9, 90, 100)
    assert len(cube) == 9
    channels = list(cube)
    np.testing.assert_array_equal(cube.data()[5], channels[5].image.data)
    for i, c in enumerate(channels):
        line = np.exp(-4 * math.log(2) * ((i - cube.line_centre) / cube.line_fwhm) ** 2)
        lit = np.abs(i - cube.line_centre) < 1.5 * cube.line_fwhm
        assert c.sources.sum() == pytest.approx(c.truth["FLUX"].sum().value, rel=2e-3)
        assert c.sigma == channels[0].sigma
        assert c.image.meta["frequency"] == 230.5e9 + i * 1e6
        np.testing.assert_array_equal(c.truth["ID"], np.flatnonzero(lit) + 1)
        assert np.all(c.truth["PEAK_SNR"] <= 60 * line[lit] * (1 + 1e-12))
        assert np.all(c.truth["PEAK_SNR"] >= 6 * line[lit] * (1 - 1e-12))
    assert abs(np.corrcoef(channels[0].noise.ravel(), channels[1].noise.ravel())[0, 1]) < 0.2
    first = channels[0].background.ravel()
    correlation = [np.corrcoef(first, c.background.ravel())[0, 1] for c in channels]
    assert correlation[1] > 0.7
    assert abs(correlation[4]) < 0.5
    assert WCS(cube.header()).sub([3]).wcs_pix2world([4], 0)[0][0] == pytest.approx(230.504e9)
    with pytest.raises(IndexError, match="channel 9"):
        cube.channel(9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "almo"}, "did you mean 'alma'"),
        ({"peek_range": (1, 2)}, "did you mean 'peak_range'"),
        ({"unit": "K"}, "unit is 'K'"),
        ({"noise_rms": -1.0}, "noise_rms is -1.0"),
        ({"noise_white_fraction": 1.5}, "between 0 and 1"),
        ({"peak_range": (5.0, 2.0)}, "peak_range"),
        ({"peak_range": 5.0}, "peak_range is 5.0; it must be of the kind of"),
        ({"moffat_beta": 1.0}, "moffat_beta"),
        ({"shape": (100, 100), "n_sources": 500}, "no room for 500 sources"),
        ({"shape": (20, 20)}, "no room"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"noise_variation": 0.5}, "noise_variation"),
        ({"blank_border": 300}, "blank_border"),
        ({"pixel_scale": math.nan}, "pixel_scale"),
        ({"noise_rms": "loud"}, "noise_rms is 'loud'; it must be of the kind of"),
        ({"n_sources": 2.5}, "n_sources"),
        ({"beam": (1.0, 2.0, 0.0)}, "beam"),
        ({"projection": "XYZ"}, "projection"),
        ({"shape": (100,)}, "shape"),
        ({"centre": (10.0, 95.0)}, "centre"),
        ({"centre": (math.nan, 5.0)}, "centre"),
        ({"rotation": math.inf}, "rotation"),
        ({"noise_variation": math.inf}, "noise_variation"),
        ({"background_variation": 0.5}, "background_variation"),
        ({"moffat_beta": math.inf}, "moffat_beta"),
    ],
)
def test_wrong_options_are_told_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as error:
        simulate_image(**{"preset": "alma", "seed": 1, **options})
    assert "\n" not in str(error.value)


def test_lists_from_a_configuration_are_taken_for_tuples() -> None:
    assert sky_model("alma", peak_range=[5, 9]).peak_range == (5, 9)
    assert sky_model(SkyModel(name="mine"), n_sources=3).n_sources == 3


def test_wrong_cubes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="cube needs"):
        simulate_cube(seed=1, n_channels=0)


def test_truth_survives_being_written(tmp_path: Path) -> None:
    truth = simulate_image("crowded", seed=1, **SMALL).truth
    truth.write(tmp_path / "map_truth.ecsv")
    back = QTable.read(tmp_path / "map_truth.ecsv")
    assert back.meta == truth.meta
    for name in truth.colnames:
        assert back[name].dtype == truth[name].dtype
        np.testing.assert_array_equal(back[name], truth[name])
