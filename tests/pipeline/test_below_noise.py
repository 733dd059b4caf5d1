"""Detections of which the fit leaves nothing are left out, are counted, and `why` names them."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.maps import ORIGINAL, WHITE, make_image, make_map, sources_of
from hyper_py.catalog import COLUMNS
from hyper_py.detection.given import FixedSources
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import Flag
from hyper_py.numerics.gaussians import AMPLITUDE, SIGMA_1, SIGMA_2, X, Y
from hyper_py.options import Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.pipeline.measurement import measure_sources
from hyper_py.pipeline.why import explain_place

SHAPE = (120, 130)
TRUE = sources_of((30.0, 30.2, 40.1), (25.0, 80.3, 70.5))
CORRELATED = Options()
OURS = pytest.mark.parametrize("options", [CORRELATED, WHITE], ids=["correlated", "white"])


def peaks_at(*places):
    x, y = np.array(places, dtype=float).T
    nothing = np.full(x.size, np.nan)
    return Peaks(
        x=x, y=y, peak=np.full(x.size, 4.0), snr=np.full(x.size, 4.0), roundness=nothing,
        roundness_marginal=nothing, sharpness=nothing, shoulder_score=nothing,
    )  # fmt: skip


def image_with_holes(*holes, seed=1):
    """The true sources in noise, and negative sources where detections are claimed."""
    hole = sources_of(*[(-12.0, x, y) for x, y in holes])
    return make_image(make_map(np.concatenate([TRUE, hole]), SHAPE, seed=seed))


@OURS
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_the_fit_takes_to_nothing_is_left_out(options, seed):
    image = image_with_holes((60.0, 100.0), (100.0, 20.0), seed=seed)
    peaks = peaks_at((30.0, 40.0), (60.0, 100.0), (80.0, 71.0), (100.0, 20.0))
    measured = measure_sources(image, peaks, rms=1.0, options=options)
    np.testing.assert_array_equal(measured.given, [0, 2])
    np.testing.assert_array_equal(np.sort(measured.vanished), [1, 3])
    assert not measured.sources.is_below_noise.any()
    assert all(0 <= k < len(measured.sources) for group in measured.groups for k in group.members)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_source_in_front_of_a_wide_one_that_is_no_gaussian_keeps_its_row(seed):
    """The wide one has a hollow there: what its Gaussian leaves outweighs the source in the aperture.

    On other draws the noise leaves the aperture more than its error.
    """
    three = sources_of((300.0, 60.0, 60.0), (-60.0, 72.0, 60.0), (40.0, 72.0, 60.0))
    three[:, [SIGMA_1, SIGMA_2]] *= np.array([[5.0], [2.0], [1.0]])
    peaks = replace(
        peaks_at((60.0, 60.0), (72.0, 60.0)), snr=np.array([300.0, 20.0]), size=np.array([5.0, 1.0])
    )
    image = make_image(make_map(three, SHAPE, seed=seed))
    measured = measure_sources(image, peaks, rms=1.0, options=CORRELATED)
    np.testing.assert_array_equal(measured.given, [0, 1])
    table = measured.sources
    assert table.flags[1] & Flag.FLUX_OF_FIT
    assert table.flux[1] == table.flux_gauss[1] > 2.0 * table.flux_err[1]


@pytest.mark.parametrize(
    ("amplitude", "size", "seed"), [(300.0, 1.0, 0), (300.0, 1.74, 3), (3000.0, 1.74, 1)]
)
def test_of_two_detections_of_one_bright_source_one_stays(amplitude, size, seed):
    """One was dropped for its place and the other for its error, which only the first had made large."""
    image = make_image(make_map(sources_of((amplitude, 30.2, 40.1), (70.5, 80.3, 70.5)), SHAPE, seed=seed))
    peaks = replace(
        peaks_at((30.2, 40.1), (30.19, 40.11), (80.0, 71.0)),
        snr=np.array([0.8 * amplitude, 0.1 * amplitude, 60.0]), size=np.array([size, 1.0, 1.0]),
    )  # fmt: skip
    measured = measure_sources(image, peaks, rms=1.0, options=CORRELATED)
    assert measured.given.size == 2
    assert measured.sources.parameters[0, AMPLITUDE] == pytest.approx(amplitude, rel=0.1)


@pytest.mark.parametrize(
    ("amplitude", "other", "away"), [(15.0, 400.0, 10.0), (15.0, 400.0, 12.0), (20.0, 400.0, 12.0)]
)
def test_a_clear_detection_that_spread_is_fitted_again_as_it_was_found(amplitude, other, away):
    """In complexes sources of 20 to 400 sigma were lost: grown, they were taken for pieces of filaments."""
    beside = np.array([[other, 60.0 + away, 60.0 + 0.3 * away, 9.0, 3.0, 0.5]])
    sources = np.concatenate([sources_of((amplitude, 60.2, 60.1)), beside])
    peaks = replace(peaks_at((60.2, 60.1)), snr=np.array([amplitude]))
    image = make_image(make_map(sources, (140, 150), seed=1))
    measured = measure_sources(image, peaks, rms=1.0, options=CORRELATED)
    assert measured.given.tolist() == [0]
    assert measured.sources.parameters[0, [X, Y]] == pytest.approx([60.2, 60.1], abs=2.5)
    assert measured.sources.at_bound[0].any()
    # One that was not clear is background.
    unclear = replace(peaks, snr=np.array([8.0]))
    assert measure_sources(image, unclear, rms=1.0, options=CORRELATED).given.size == 0


def test_an_unclear_detection_on_a_ridge_goes_before_the_fits():
    """On bad rows such ones were fitted to 2800 pixels each, and a map took 140 times longer."""
    beside = np.array([[400.0, 72.0, 63.6, 9.0, 3.0, 0.5]])
    sources = np.concatenate([sources_of((15.0, 60.2, 60.1), (80.0, 25.3, 110.2)), beside])
    image = make_image(make_map(sources, (140, 150), seed=1))
    peaks = replace(peaks_at((60.2, 60.1), (25.3, 110.2)), snr=np.array([8.0, 80.0]))
    measured = measure_sources(image, peaks, rms=1.0, options=CORRELATED)
    alone = measure_sources(image, peaks.select(np.array([1])), rms=1.0, options=CORRELATED)
    assert measured.given.tolist() == [1]
    assert measured.vanished.tolist() == [0]
    np.testing.assert_allclose(measured.sources.flux, alone.sources.flux, rtol=0.01)


@OURS
def test_the_others_are_measured_as_without_it(options):
    image = image_with_holes((35.5, 44.0))
    both = measure_sources(
        image, peaks_at((30.0, 40.0), (35.5, 44.0), (80.0, 71.0)), rms=1.0, options=options
    )
    alone = measure_sources(image, peaks_at((30.0, 40.0), (80.0, 71.0)), rms=1.0, options=options)
    np.testing.assert_array_equal(both.vanished, [1])
    np.testing.assert_allclose(both.sources.flux, alone.sources.flux, atol=0.5 * alone.sources.flux_err.min())
    np.testing.assert_array_equal(both.sources.n_in_group, [1, 1])


@OURS
def test_nothing_left_is_an_empty_catalogue_with_all_its_columns(options, monkeypatch):
    image = make_image(make_map(sources_of((-12.0, 60.0, 60.0)), SHAPE))
    found = peaks_at((60.0, 60.0))
    monkeypatch.setattr("hyper_py.pipeline.extraction.find_peaks", lambda *args, **kwargs: found)
    extraction = extract_sources(image, options=options)
    assert len(extraction.catalog) == 0
    assert set(extraction.catalog.colnames) == {column.name for column in COLUMNS}
    assert len(extraction.vanished) == 1
    assert not extraction.model_image().any()
    told = explain_place(extraction, 60.0, 60.0)
    assert "its fit left no flux above its error" in told.verdict


@OURS
def test_given_sources_stay_whatever_their_flux(options):
    image = image_with_holes((60.0, 100.0))
    longitude, latitude = image.wcs.wcs_pix2world([[60.0, 100.0]], 0).T
    table = extract_sources(
        image, options=options, fixed=FixedSources(longitude=longitude, latitude=latitude)
    ).catalog
    assert len(table) == 1
    assert table["FLUX"][0].value < 0.0


def test_an_original_configuration_keeps_what_the_original_keeps():
    image = image_with_holes((60.0, 100.0))
    measured = measure_sources(image, peaks_at((30.0, 40.0), (60.0, 100.0)), rms=1.0, options=ORIGINAL)
    np.testing.assert_array_equal(measured.given, [0, 1])


def test_faint_true_sources_stay():
    # Beam-sized sources of six times the noise: the fit may leave less, hardly ever less than one error.
    y, x = np.mgrid[15:120:25, 15:130:25].reshape(2, -1)
    faint = sources_of(*[(6.0, u, v) for u, v in zip(x, y, strict=True)])
    kept = sum(
        measure_sources(
            make_image(make_map(faint, SHAPE, seed=seed)), peaks_at(*faint[:, 1:3]), rms=1.0,
            options=CORRELATED,
        ).given.size
        for seed in (1, 2, 3)
    )  # fmt: skip
    assert kept == 3 * x.size
