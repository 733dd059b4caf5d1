from dataclasses import replace

import numpy as np
import pytest

from helpers.report_tasks import small_extraction, small_image
from hyper_py.diagnostics import InputError
from hyper_py.options import DetectionOptions, FitOptions, Options
from hyper_py.pipeline.why import detection_stages, explain, explain_place, pixel_of

WHITE = FitOptions(noise_model="white")
HIGH_PASS = Options(fit_options=WHITE, detection=DetectionOptions(method="highpass", deblend_residual=False))
MATCHED = Options(fit_options=WHITE, detection=DetectionOptions(method="matched", deblend_residual=False))


@pytest.fixture(scope="module", params=[HIGH_PASS, MATCHED], ids=["highpass", "matched"])
def extraction(request):
    return small_extraction(seed=11, options=request.param, n_sources=40)


def test_what_was_detected_passes_and_what_passes_was_detected(extraction):
    """The tests told are those that were made: both ways, over all pixels that could be peaks."""
    stages, surface = detection_stages(extraction)
    surface = np.asarray(surface)
    peaks = extraction.peaks
    ny, nx = surface.shape
    passing = []
    for y in range(ny):
        for x in range(nx):
            window = surface[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            if surface[y, x] >= np.nanmax(window) and all(check.passed for check in stages(x, y)):
                passing.append((x, y))
    passing = np.array(passing)
    apart = np.hypot(peaks.x[:, None] - passing[:, 0], peaks.y[:, None] - passing[:, 1])
    found = apart.min(axis=1) <= 1.6
    lonely = apart.min(axis=0) > 1.6
    assert found.mean() > 0.9
    # The matched filter drops peaks that brighter neighbours explain; no check of a single pixel sees that.
    allowed = 0 if extraction.options.detection.method == "highpass" else 0.15 * len(passing)
    assert lonely.sum() <= allowed


def test_a_source_is_said_to_be_there(extraction):
    for row in extraction.catalog[:5]:
        told = explain_place(extraction, float(row["X"].value), float(row["Y"].value))
        assert told.verdict == f"There is a source here: number {row['HYPER_ID']}."
        assert told.nearest.distance < 1e-6
        assert "\n".join(told.lines()).count("\n") > 8


def test_a_place_outside_the_region_is_told_so(extraction):
    searched = np.zeros(extraction.image.shape, dtype=bool)
    elsewhere = replace(extraction, image=replace(extraction.image, searched=searched))
    x, y = extraction.peaks.x[0], extraction.peaks.y[0]
    nothing = replace(elsewhere, catalog=elsewhere.catalog[:0])
    assert "detection.region leaves this place out" in explain_place(nothing, x, y).verdict


def test_the_first_test_that_failed_is_named():
    image = small_image(seed=5, n_sources=3)
    strict = explain(
        image,
        80.0,
        70.0,
        options=Options(fit_options=WHITE, detection=DetectionOptions(method="highpass", sigma_thres=50.0)),
    )
    assert strict.nearest is None
    assert strict.verdict.startswith("There is no source here: ")
    assert any(check.name == "peak over rms" and not check.passed for check in strict.checks)


def test_a_peak_in_the_margin_is_told_so():
    image = small_image(seed=5, n_sources=0)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    spot = 30.0 * np.nanstd(image.data) * np.exp(-0.5 * ((x - 80.0) ** 2 + (y - 0.0) ** 2) / 1.4**2)
    told = explain(image.with_data(image.data + spot), 80.0, 0.0, options=HIGH_PASS)
    assert [check.name for check in told.checks if not check.passed] == ["distance to the border in pixels"]
    assert "distance to the border" in told.verdict


def test_blank_pixels_and_places_off_the_map():
    image = small_image(seed=5, n_sources=3)
    data = image.data.copy()
    data[20:40, 20:40] = np.nan
    told = explain(image.with_data(data), 30.0, 30.0, options=HIGH_PASS)
    assert told.verdict == "There is no source here: the pixel is blank."
    assert not told.checks
    with pytest.raises(InputError, match=r"pixel \(170, 3\) is not on the map of 170 x 150 pixels"):
        explain(image, 170.0, 3.0)


def test_positions_on_the_sky():
    image = small_image(seed=5, n_sources=0)
    lon, lat = image.wcs.wcs_pix2world([[33.0, 44.0]], 0)[0]
    assert pixel_of(image, f"{lon:.9f}", f"{lat:.9f}") == pytest.approx((33.0, 44.0), abs=1e-3)
    from astropy.coordinates import Angle

    text = (
        Angle(lon, "deg").to_string(unit="hour", sep=":", precision=7),
        Angle(lat, "deg").to_string(sep=":", precision=6),
    )
    assert pixel_of(image, *text) == pytest.approx((33.0, 44.0), abs=1e-3)
    with pytest.raises(InputError, match="not a position"):
        pixel_of(image, "north", "1")
