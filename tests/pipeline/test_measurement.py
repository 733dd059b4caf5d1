"""From peaks to measured sources: problems, flags and corrections."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.maps import FWHM, ORIGINAL, SIGMA, WHITE, make_image, make_map, sources_of
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import Flag
from hyper_py.numerics import gaussians
from hyper_py.options import Options, PhotometryOptions
from hyper_py.pipeline.measurement import fit_problem, linking_length, measure_sources

PAIR = sources_of((30.0, 30.3, 35.6), (20.0, 37.2, 37.8), (25.0, 70.6, 50.2))


def peaks_at(sources):
    n = len(sources)
    nothing = np.full(n, np.nan)
    return Peaks(
        x=sources[:, 1], y=sources[:, 2], peak=sources[:, 0], snr=sources[:, 0], roundness=nothing,
        roundness_marginal=nothing, sharpness=nothing, shoulder_score=np.linspace(0.1, 0.3, n),
    )  # fmt: skip


def problem_of(sources, *, options=WHITE, shapes=None, forced=False, rms=1.0):
    image = make_image(make_map(sources))
    return fit_problem(image, peaks_at(sources), rms=rms, options=options, shapes=shapes, forced=forced)


def measure(sources, *, options=WHITE, data=None, rms=1.0, **changes):
    image = make_image(make_map(sources) if data is None else data)
    return measure_sources(image, peaks_at(sources), rms=rms, options=options, **changes).sources


# ---- problems


def test_fits_start_from_peaks_with_the_shape_of_the_beam():
    problem = problem_of(PAIR)
    np.testing.assert_allclose(problem.start[:, :5], PAIR[:, :5], rtol=1e-4)
    assert not problem.fixed.any()
    assert linking_length(WHITE, FWHM) == pytest.approx(2 * 2.0 * 1.0 * FWHM, rel=1e-4)
    np.testing.assert_allclose(problem.shift, 0.5 * FWHM, rtol=1e-4)
    assert problem.beam_fwhm == pytest.approx(FWHM, rel=1e-4)
    np.testing.assert_allclose(problem.beam_covariance, np.eye(2) * SIGMA**2, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(problem_of(PAIR, options=ORIGINAL).shift, 1.0)


def test_what_is_given_is_fixed():
    shapes = np.array([[3.0, 2.0, 0.3]] * 3)
    free, given, forced, still = (
        problem_of(PAIR, **k).fixed[0].tolist()
        for k in (
            {}, {"shapes": shapes}, {"forced": True},
            {"options": replace(WHITE, fit_options=replace(WHITE.fit_options, vary=False))},
        )
    )  # fmt: skip
    assert free == [False] * 6
    assert given == [False, False, False, True, True, True]
    assert forced == still == [False, True, True, False, False, False]
    np.testing.assert_array_equal(problem_of(PAIR, shapes=shapes).start[:, 3:], shapes)


def test_groups_are_cut_to_size():
    near, far = problem_of(PAIR), problem_of(PAIR, options=Options())
    assert np.hypot(6.9, 2.2) > 1.6 * FWHM
    assert [u.tolist() for u in near.partition] == [[0, 1], [2]]
    assert [u.tolist() for u in far.partition] == [[0], [1], [2]]
    many = sources_of(*[(20.0, 8.0 + 9.0 * (k % 9), 8.0 + 9.0 * (k // 9)) for k in range(81)])
    partition = problem_of(many).partition
    assert max(len(u) for u in partition) <= 6
    np.testing.assert_array_equal(np.sort(np.concatenate(partition)), np.arange(81))


def test_a_peak_on_a_blank_pixel_starts_from_the_noise():
    sources = PAIR.copy()
    sources[1, 0] = np.nan
    problem = problem_of(sources, rms=2.5)
    np.testing.assert_array_equal(problem.start[:, 0], [30.0, 2.5, 25.0])


# ---- measurements


@pytest.mark.parametrize("options", [WHITE, Options()], ids=["white", "correlated"])
def test_fluxes_are_corrected_for_the_aperture_on_request_only(options):
    half = replace(options, photometry=PhotometryOptions(fwhm_radius_ratio=0.5))
    plain = replace(options, photometry=PhotometryOptions(fwhm_radius_ratio=0.5, aperture_correction=False))
    corrected, raw = (measure(PAIR[:1], options=o) for o in (half, plain))
    np.testing.assert_allclose(corrected.aperture_fraction, 0.5, atol=0.03)
    np.testing.assert_allclose(raw.flux, corrected.flux * corrected.aperture_fraction, rtol=1e-6)
    np.testing.assert_allclose(raw.flux_err, corrected.flux_err * corrected.aperture_fraction, rtol=1e-6)
    np.testing.assert_allclose(raw.flux_gauss_err, corrected.flux_gauss_err, rtol=1e-6)
    np.testing.assert_allclose(corrected.flux, gaussians.gaussian_flux(PAIR[:1]), rtol=0.15)


@pytest.mark.parametrize("options", [WHITE, Options()], ids=["white", "correlated"])
def test_groups_and_what_detection_knew_are_kept(options):
    measured = measure(PAIR, options=options)
    assert measured.n_in_group.tolist() == [2, 2, 1]
    assert [bool(f & Flag.BLENDED) for f in measured.flags] == [True, True, False]
    np.testing.assert_array_equal(measured.snr, PAIR[:, 0])
    np.testing.assert_allclose(measured.shoulder_score, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(measured.local_rms, 1.0)
    np.testing.assert_allclose(measured.flux, gaussians.gaussian_flux(PAIR), rtol=0.2)


@pytest.mark.parametrize("options", [WHITE, Options()], ids=["white", "correlated"])
def test_noise_levels_are_those_of_the_nearest_pixel(options):
    rms = 1.0 + np.arange(90)[:, None] / 90.0 + np.arange(96) / 1000.0
    measured = measure(PAIR, options=options, rms=rms)
    np.testing.assert_allclose(measured.local_rms, rms[[36, 38, 50], [30, 37, 71]], rtol=0.03)


@pytest.mark.parametrize(
    ("sources", "flag"),
    [
        (np.array([[30.0, 40.3, 35.6, 5.0, 4.9, 0.0]]), Flag.SIZE_AT_BOUND),
        (np.array([[30.0, 40.3, 35.6, 0.45, 0.4, 0.0]]), Flag.SIZE_AT_BOUND),
    ],
)
def test_sizes_at_their_bounds_are_flagged(sources, flag):
    data = make_map(sources, noise=0.1)
    measured = measure(sources, data=data)
    assert measured.flags[0] & flag


def test_positions_and_amplitudes_at_their_bounds_are_flagged():
    truth = PAIR[:1]
    shifted = np.add(truth, [[0.0, 2.0, 0.0, 0.0, 0.0, 0.0]])
    data = make_map(truth, noise=0.1)
    measured = measure(shifted, options=ORIGINAL, data=data)
    assert measured.flags[0] & Flag.POSITION_AT_BOUND
    assert measured.parameters[0, 1] == pytest.approx(shifted[0, 1] - 1.0)
    assert not measure(truth, data=data).flags[0] & Flag.POSITION_AT_BOUND


def test_forced_sources_are_flagged_and_stay():
    measured = measure(PAIR, forced=True)
    assert all(f & Flag.FORCED for f in measured.flags)
    np.testing.assert_array_equal(measured.parameters[:, 1:3], PAIR[:, 1:3])
    assert not measured.covariance[:, 1:3].any()
