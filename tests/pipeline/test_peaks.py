"""Noise and peaks as the options say: units, given noise, errors, primary beams, maps that stay in files."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.maps import make_image, make_map, sources_of
from hyper_py.diagnostics import ConfigurationError
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options, PhotometryOptions
from hyper_py.pipeline.peaks import (
    check_streamable,
    find_peaks,
    noise_level,
    peak_limits,
)

SHAPE = (120, 130)
PLACES = ((30.0, 25.0), (90.0, 40.0), (60.0, 95.0))
IMAGE = make_image(make_map(sources_of(*[(40.0, x, y) for x, y in PLACES]), SHAPE, seed=1))


@pytest.mark.parametrize("method", ["matched", "highpass"])
def test_sources_are_found_where_they_are_and_in_a_primary_beam_with_the_peaks_of_the_map(method):
    options = Options(detection=DetectionOptions(method=method, sigma_thres=8.0))
    noise = noise_level(IMAGE, options)
    peaks = find_peaks(IMAGE, noise, options)
    order = np.argsort(peaks.y)
    found = np.column_stack([peaks.x, peaks.y])[order]
    assert found == pytest.approx(np.array(sorted(PLACES, key=lambda place: place[1])), abs=0.7)
    x = np.arange(SHAPE[1])
    relative = np.broadcast_to(1.0 + x / 60.0, SHAPE)
    divided = replace(IMAGE, data=IMAGE.data * relative, primary_beam=1.0 / relative)
    again = find_peaks(divided, noise_level(divided, options), options)
    assert again.x == pytest.approx(peaks.x, abs=0.02)
    assert again.peak == pytest.approx(peaks.peak * (1.0 + peaks.x / 60.0), rel=0.02)


def test_noise_is_measured_given_or_that_of_the_errors():
    measured = noise_level(IMAGE, Options())
    assert measured.rms == pytest.approx(1.0, rel=0.05)
    given = Options(detection=DetectionOptions(use_manual_rms=True, rms_value=0.3))
    assert noise_level(IMAGE, given).rms == 0.3
    relative = np.linspace(1.0, 3.0, SHAPE[1]) * np.ones(SHAPE)
    of_errors = replace(IMAGE, error=0.7 * relative)
    assert noise_level(of_errors, Options()).rms == pytest.approx(0.7 * relative)
    risen = IMAGE.data * np.where(np.arange(SHAPE[1]) < 65, 1.0, 3.0)
    local = noise_level(
        replace(IMAGE, data=risen), Options(detection=DetectionOptions(rms_map="local", rms_mesh_beams=6))
    ).rms
    assert np.median(local[:, 100:]) / np.median(local[:, :30]) == pytest.approx(3.0, rel=0.2)


def test_limits_are_in_pixels():
    options = Options(
        detection=DetectionOptions(dist_limit_arcsec=9.0, shoulder_filter=False),
        photometry=PhotometryOptions(aper_inf=1.5),
    )
    limits = peak_limits(IMAGE, options)
    assert limits.min_distance == pytest.approx(9.0 / IMAGE.pixel_scale)
    assert limits.margin == pytest.approx(1.5 * IMAGE.beam_fwhm_pix)
    assert limits.shoulder_threshold is None


@pytest.mark.parametrize("noise_model", ["white", "correlated"])
@pytest.mark.parametrize("method", ["polynomial", "none", "conditional"])
def test_one_polynomial_for_the_whole_map_is_refused_by_name(method, noise_model):
    """Where it would be fitted."""
    options = Options(
        fit_options=FitOptions(noise_model=noise_model),
        background=BackgroundOptions(method=method, fix_min_box=0.0),
    )
    check_streamable(IMAGE, replace(options, detection_only=True))
    check_streamable(IMAGE, replace(options, background=BackgroundOptions(method=method)))
    if method == "conditional" or (method == "none" and noise_model == "correlated"):
        check_streamable(IMAGE, options)
    else:
        with pytest.raises(ConfigurationError, match=r"background.fix_min_box = 0 .* control.max_memory"):
            check_streamable(IMAGE, options)
