"""Keys of the configuration, each from its YAML text to what it does to a map."""

import re

import numpy as np
import pytest

from helpers.fields_of_options import small_map
from helpers.report_tasks import small_image, write_map
from helpers.runner_tasks import make_config
from hyper_py.config import Config
from hyper_py.detection.peaks import shoulder_score
from hyper_py.detection.running_mean import high_pass
from hyper_py.diagnostics import ConfigurationError, Flag
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.running import runner

CLASSICAL = {
    "fit_options": {"noise_model": "white"},
    "background": {"method": "polynomial"},
    "detection": {"method": "highpass", "sigma_thres": 3.0},
}


@pytest.fixture(scope="module")
def image():
    return small_image(5, n_sources=40)


def extract(image, *, detection_only=True, version=2, **sections):
    """Extract with keys laid over those of the classical way."""
    mapping = {"version": version, "control": {"detection_only": detection_only}}
    for name in {*CLASSICAL, *sections}:
        mapping[name] = {**CLASSICAL.get(name, {}), **sections.get(name, {})}
    return extract_sources(image, options=Config.from_mapping(mapping).options())


def places(peaks):
    return {(round(float(x), 6), round(float(y), 6)) for x, y in zip(peaks.x, peaks.y, strict=True)}


# ---- detection


@pytest.mark.parametrize("version", [1, 2])
def test_manual_rms_is_the_unit_of_the_threshold(image, version):
    rms, milli = 1.5 * extract(image).rms, 1e3 if version == 1 else 1.0

    def peaks_at(factor):
        keys = {"use_manual_rms": True, "rms_value": milli * factor * rms}
        extraction = extract(image, version=version, detection=keys)
        assert extraction.rms == pytest.approx(factor * rms)
        level = 1e3 * factor * rms * image.beam_area_pix
        np.testing.assert_allclose(extraction.catalog["LOCAL_RMS"].value, level)
        return extraction.peaks

    low, high = peaks_at(1.0), peaks_at(2.0)
    keep = low.peak >= 3.0 * 2.0 * rms
    assert 0 < keep.sum() < len(low)
    assert places(high) == places(low.select(keep))


@pytest.mark.parametrize(
    ("key", "measure"), [("roundlim", ("roundness", "roundness_marginal")), ("sharplim", ("sharpness",))]
)
def test_limits_of_shape_remove_what_is_outside(image, key, measure):
    # Nothing is dropped for being near, so that what is removed makes no room for others.
    near = {"dist_limit_arcsec": 1e-6}
    every = extract(image, detection={**near, "roundlim": [-9, 9], "sharplim": [-9, 9]}).peaks
    values = np.array([getattr(every, name) for name in measure])
    low, high = np.quantile(values, [0.1, 0.8])
    limits = {"roundlim": [-9, 9], "sharplim": [-9, 9], key: [float(low), float(high)]}
    kept = extract(image, detection={**near, **limits}).peaks
    inside = ((values >= low) & (values <= high)).all(axis=0)
    assert 0 < inside.sum() < len(every)
    assert places(kept) == places(every.select(inside))


def test_of_peaks_nearer_than_the_limit_the_brightest_is_kept(image):
    every = extract(image, detection={"dist_limit_arcsec": 1e-6}).peaks
    limit = 4.0 * image.beam_fwhm_pix
    kept = extract(image, detection={"dist_limit_arcsec": limit * image.pixel_scale}).peaks
    distance = np.hypot(kept.x[:, None] - kept.x, kept.y[:, None] - kept.y)
    assert distance[~np.eye(len(kept), dtype=bool)].min() >= limit - 1.5  # refined after they were chosen
    for x, y, peak in zip(every.x, every.y, every.peak, strict=True):
        near = np.hypot(kept.x - x, kept.y - y) < limit + 1.5
        assert near.any()
        assert kept.peak[near].max() >= peak or (round(float(x), 6), round(float(y), 6)) in places(kept)
    assert len(kept) < len(every)


@pytest.mark.parametrize("radius", [1.0, 2.5])
def test_a_peak_snaps_to_the_brightest_pixel_within_its_radius(image, radius):
    keys = {"dist_limit_arcsec": 1e-6, "sigma_thres": 0.5}
    base = image.data - np.nanmean(image.data)
    starts = extract(image, detection={**keys, "snap_radius_pix": 0.0}).peaks
    snapped = extract(image, detection={**keys, "snap_radius_pix": radius}).peaks
    y, x = np.indices(base.shape)
    moved = 0
    for peak in starts.peak:
        row, column = np.argwhere(base == peak)[0]
        brightest = base[np.hypot(y - row, x - column) <= radius].max()
        assert np.isclose(snapped.peak, brightest, rtol=1e-12, atol=0.0).any()
        moved += brightest > peak
    assert 0 < moved < len(starts)


def test_the_running_mean_has_the_side_of_the_key(image):
    def peaks_with(**keys):
        return places(extract(image, detection={"sigma_thres": 0.5, **keys}).peaks)

    side = int(image.beam_fwhm_pix) ** 2
    side += 1 - side % 2
    assert peaks_with() == peaks_with(kernel_size_pix=0) == peaks_with(kernel_size_pix=side)
    expected = high_pass(image.data, kernel_size=31)
    clipped = clipped_statistics(expected[expected > 0.0])
    found = extract(image, detection={"sigma_thres": 0.5, "kernel_size_pix": 31, "snap_radius_pix": 0.0})
    row, column = np.rint(found.peaks.y).astype(int), np.rint(found.peaks.x).astype(int)
    top = [
        expected[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].max() for r, c in zip(row, column, strict=True)
    ]
    assert min(top) > 2.0 * clipped.rms
    assert peaks_with(kernel_size_pix=31) != peaks_with()


def test_shoulders_are_scored_by_their_keys_and_removed_on_request(image):
    keys = {"shoulder_ring_factor": 1.2, "shoulder_n_angles": 24, "shoulder_neighbor_mask": 0.7}
    for more in ({}, keys):
        every = extract(image, detection=more).peaks
        settings = {
            "shoulder_ring_factor": 1.5, "shoulder_n_angles": 16, "shoulder_neighbor_mask": 1.0, **more,
        }  # fmt: skip
        expected = shoulder_score(
            image.data - np.nanmean(image.data), x=every.x, y=every.y, peak=every.peak,
            radius=settings["shoulder_ring_factor"] * image.beam_fwhm_pix,
            n_angles=settings["shoulder_n_angles"],
            neighbor_radius=settings["shoulder_neighbor_mask"] * image.beam_fwhm_pix,
        )  # fmt: skip
        np.testing.assert_allclose(every.shoulder_score, expected, rtol=1e-6)
        threshold = float(np.nanmedian(expected))
        cut = {**more, "shoulder_filter": True, "shoulder_threshold": threshold}
        kept = extract(image, detection=cut).peaks
        assert places(kept) == places(every.select(~(expected > threshold)))
        assert 0 < len(kept) < len(every)


# ---- fit


def fits_of(extraction):
    return [group.fit for group in extraction.measured.groups]


def test_fits_stop_after_max_nfev_and_say_so():
    few, many = (
        extract(small_map(), detection_only=False, fit_options={"max_nfev": number}) for number in (2, 5000)
    )
    assert (many.catalog["STATUS"] == 1).all()
    assert (few.catalog["STATUS"] != 1).sum() > 0.8 * len(few.catalog)
    assert len(few.catalog) == len(many.catalog)
    unfinished = few.catalog["STATUS"] == 0
    flags = np.asarray(few.catalog["FLAGS"][unfinished])
    assert ((flags & int(Flag.NOT_CONVERGED | Flag.FIT_FAILED)) != 0).all()
    assert max(fit.n_evaluations for fit in fits_of(few)) <= 2


TIGHT = {"xtol": 1e-13, "ftol": 1e-13, "gtol": 1e-13}


@pytest.mark.parametrize(("key", "loose"), [("xtol", 0.05), ("ftol", 1e-2), ("gtol", 0.3)])
def test_each_tolerance_ends_fits_earlier(key, loose):
    tight, early = (
        extract(small_map(), detection_only=False, fit_options=options)
        for options in (TIGHT, {**TIGHT, key: loose})
    )
    counts = [sum(fit.n_evaluations for fit in fits_of(one)) for one in (tight, early)]
    assert counts[1] < counts[0]
    np.testing.assert_allclose(early.catalog["FLUX"].value, tight.catalog["FLUX"].value, rtol=0.2)


def test_centres_move_only_if_they_may():
    still, free = (
        extract(small_map(), detection_only=False, fit_options={"vary": vary}) for vary in (False, True)
    )
    np.testing.assert_array_equal(still.sources[:, 1], still.peaks.x)
    np.testing.assert_array_equal(still.sources[:, 2], still.peaks.y)
    moved = np.hypot(free.sources[:, 1] - free.peaks.x, free.sources[:, 2] - free.peaks.y)
    assert (moved > 0.0).all()
    limit = 0.5 * free.image.beam_fwhm_pix
    assert np.abs(free.sources[:, 1] - free.peaks.x).max() <= limit * (1 + 1e-9)


def test_both_names_of_the_method_are_one_fit_and_others_are_refused():
    first, second = (
        extract(small_map(), detection_only=False, fit_options={"fit_method": name})
        for name in ("least_squares", "leastsq")
    )
    np.testing.assert_array_equal(first.sources, second.sources)
    with pytest.raises(ConfigurationError, match=r"fit_method = 'nelder': must be one of") as caught:
        extract(small_map(), fit_options={"fit_method": "nelder"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(60, 110), (110, 60)])
def test_box_zero_fits_one_polynomial_to_the_whole_map(shape):
    image = small_image(2, n_sources=5, shape=shape, crowded_fraction=0.0)
    y, x = np.indices(shape)
    slope = image.data.std() * (0.05 * x - 0.03 * y)

    def background_of(data):
        extraction = extract(
            image.with_data(data), detection_only=False,
            detection={"use_manual_rms": True, "rms_value": float(image.data.std())},
            background={"fix_min_box": 0, "fix_max_box": 0, "pol_orders_separate": [1]},
        )  # fmt: skip
        assert len(extraction.catalog) >= 3
        return extraction.background_image()

    flat, tilted = background_of(image.data), background_of(image.data + slope)
    assert np.isfinite(tilted).all()
    gradient_y, gradient_x = np.gradient(tilted)
    assert np.ptp(gradient_y) + np.ptp(gradient_x) < 1e-6 * image.data.std()
    np.testing.assert_allclose(tilted - flat, slope, atol=0.02 * np.ptp(slope))


@pytest.mark.parametrize("asked", [False, True])
def test_reports_and_covariances_of_fits_are_written_on_request(tmp_path, asked):
    path = write_map(tmp_path / "m.fits", small_map())
    config = make_config(
        tmp_path / "out", fit_options={"verbose": asked, "calc_covar": asked}, outputs={"tables": ["ecsv"]}
    )
    assert runner.run(config, [path]).exit_code == 0
    log = (tmp_path / "out/logs/Hyper_log_m.log").read_text()
    assert bool(re.search(r"^.*fit .*converged", log, re.MULTILINE)) is asked
    assert (tmp_path / "out/params/covariances_m.ecsv").is_file() is asked
