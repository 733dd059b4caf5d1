from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hyper_py import extract_cube
from hyper_py.catalog import empty_catalog
from hyper_py.cautions.catalogues import cautions
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import InputError
from hyper_py.geometry import FWHM_PER_SIGMA, Beam, celestial_degrees
from hyper_py.image import SkyImage, mean_image
from hyper_py.numerics import gaussians
from hyper_py.options import BackgroundOptions, FitOptions, Options
from hyper_py.pipeline.cubes import (
    Reference,
    channel_background,
    channel_planes,
    extract_channel,
    reference_from,
    source_boxes,
)
from hyper_py.simulation.simulate import simulate_cube

WHITE = FitOptions(noise_model="white")


@pytest.fixture(scope="module")
def cube():
    return simulate_cube("cube", seed=11, n_channels=4, shape=(110, 120), n_sources=6, line_fwhm=(6.0, 8.0))


@pytest.fixture(scope="module")
def channel(cube):
    return cube.channel(1)


@pytest.fixture(scope="module")
def extractions(channel):
    polynomial = Options(fit_options=WHITE, background=BackgroundOptions(method="polynomial"))
    conditional = Options(fit_options=WHITE)
    found = extract_channel(channel.image, options=polynomial)
    assert len(found.catalog) > 1
    return {"polynomial": found, "conditional": replace(found, options=conditional)}


def whole(options):
    return replace(options, background=replace(options.background, fix_min_box=0.0))


@pytest.mark.parametrize("method", ["polynomial", "conditional"])
def test_every_source_has_its_box_and_nothing_else_is_filled(extractions, method):
    extraction = extractions[method]
    background = channel_background(extraction)
    covered = np.isfinite(background)
    for _, x, y, *_ in extraction.sources:
        assert covered[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4].all()
    assert not covered.all()
    if method == "conditional":
        assert (covered == source_boxes(extraction)).all()


@pytest.mark.parametrize("method", ["polynomial", "conditional"])
@pytest.mark.parametrize("extent", ["boxes", "plane"])
def test_no_seams(extractions, channel, method, extent):
    """No step between neighbouring pixels is far above what the true background does."""
    background = channel_background(extractions[method], extent=extent)
    steps = np.concatenate([np.abs(np.diff(background, axis=k)).ravel() for k in (0, 1)])
    true = np.concatenate([np.abs(np.diff(channel.background, axis=k)).ravel() for k in (0, 1)])
    assert np.nanmax(steps) < 2.0 * true.max()


def test_smooth_field_is_the_better_one(extractions, channel):
    under = gaussians.footprints(extractions["polynomial"].sources, channel.image.shape, n_sigma=1.0)
    error = {
        method: np.sqrt(np.mean((channel_background(e) - channel.background)[under] ** 2))
        for method, e in extractions.items()
    }
    assert error["conditional"] < 0.8 * error["polynomial"]
    assert error["conditional"] < 1.2 * channel.noise_rms.flat[0]


@pytest.mark.parametrize("method", ["polynomial", "conditional"])
def test_plane_is_full(extractions, method):
    extraction = extractions[method]
    for background in (
        channel_background(extraction, extent="plane"),
        channel_background(extract_channel(extraction.image, options=whole(extraction.options))),
    ):
        assert np.isfinite(background).all()


def test_polynomial_boxes_of_a_correlated_fit(channel):
    options = Options(background=BackgroundOptions(method="polynomial"))
    extraction = extract_channel(channel.image, options=options)
    background = channel_background(extraction)
    under = gaussians.footprints(extraction.sources, channel.image.shape, n_sigma=1.0)
    error = (background - channel.background)[under] / channel.noise_rms.flat[0]
    assert np.sqrt(np.mean(error**2)) < 3.0


@pytest.mark.parametrize("orders", [(0,), (1,)])
def test_channel_without_sources(channel, orders):
    ny, nx = channel.image.shape
    y, x = np.mgrid[:ny, :nx]
    plane = 3e-7 * (x + 2 * y)
    image = channel.image.with_data(channel.noise + plane)
    options = Options(background=BackgroundOptions(pol_orders_bkg_no_sources=orders))
    options = replace(options, detection=replace(options.detection, sigma_thres=30.0))
    extraction = extract_channel(image, options=options)
    assert len(extraction.catalog) == 0
    background = channel_background(extraction)
    if orders == (0,):
        assert np.unique(background).size == 1
        assert background[0, 0] == pytest.approx(np.median(image.data), abs=0.2 * np.std(image.data))
    else:
        np.testing.assert_allclose(background, plane, atol=0.5 * channel.noise_rms.flat[0])


@pytest.mark.parametrize("value", [np.nan, 0.0, 2.5e-6])
def test_channel_in_which_there_is_nothing(channel, value):
    image = channel.image.with_data(np.full(channel.image.shape, value))
    extraction = extract_channel(image, options=Options())
    assert len(extraction.catalog) == 0
    assert len(extraction.catalog.colnames) > 40
    kinds = ("background", "model", "subtracted", "residual")
    planes = channel_planes(extraction, kinds=kinds, extent="plane")
    np.testing.assert_allclose(planes["background"], value)
    np.testing.assert_allclose(planes["residual"], 0.0 * value)


@pytest.mark.parametrize("extent", ["boxes", "plane"])
def test_planes_add_up_to_the_data(extractions, extent):
    extraction = extractions["conditional"]
    data = extraction.image.data.copy()
    data[:, :7] = np.nan
    extraction = replace(extraction, image=extraction.image.with_data(data))
    kinds = ("background", "model", "subtracted", "residual")
    planes = channel_planes(extraction, kinds=kinds, extent=extent)
    known = np.isfinite(planes["background"])
    total = planes["background"] + planes["model"] + planes["residual"]
    np.testing.assert_allclose(total[known], data[known])
    np.testing.assert_allclose((planes["subtracted"] + planes["background"])[known], data[known])
    for plane in planes.values():
        assert np.isnan(plane[:, :7]).all()
    assert set(channel_planes(extraction, kinds=("model",), extent=extent)) == {"model"}


def test_mean_of_channels_skips_blanks(channel):
    image, other = channel.image, channel.image.with_data(channel.image.data + 1.0)
    other.data[3, 4] = np.nan
    blank = image.with_data(np.full(image.shape, np.nan))
    mean = mean_image([blank, image, other])
    assert mean.data[3, 4] == image.data[3, 4]
    np.testing.assert_allclose(np.delete(mean.data.ravel(), 3 * image.shape[1] + 4), np.delete(
        (image.data + 0.5).ravel(), 3 * image.shape[1] + 4))  # fmt: skip
    with pytest.raises(InputError, match="every channel is blank"):
        mean_image([blank])


def test_channels_of_unknown_beam_take_no_part_in_the_mean(channel):
    image = channel.image
    other = replace(image.with_data(image.data + 1e3), meta={"no_beam": "channel 2 has no beam"})
    np.testing.assert_array_equal(mean_image([image, other]).data, image.data)
    assert "channel 2 has no beam" in cautions(empty_catalog(), other)


def test_a_mean_of_different_beams_gives_each_channel_its_flux():
    """Also where no channel has the beam of the mean."""
    rng = np.random.default_rng(8)
    wcs, n, pixel, rms = WCS(naxis=2), 100, 4.0, 1e-3
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [83.0, -5.0], [50.5, 50.5]
    wcs.wcs.cdelt = [-pixel / 3600, pixel / 3600]
    y, x = np.mgrid[:n, :n]
    places = np.array([[28.3, 30.1], [70.2, 28.8], [30.6, 69.7], [69.1, 71.4]])
    images = []
    for fwhm in (14.0, 17.0, 20.0, 23.0):
        sigma = fwhm / pixel / FWHM_PER_SIGMA
        noise = ndimage.gaussian_filter(rng.standard_normal((n + 40, n + 40)), sigma)[20:-20, 20:-20]
        data = rms * (noise / noise.std() + 0.3 * rng.standard_normal((n, n)))
        for x0, y0 in places:
            data += 0.2 * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / sigma**2)
        beam = Beam(major=fwhm, minor=fwhm)
        images.append(SkyImage(data=data / (beam.solid_angle / pixel**2), wcs=wcs, beam=beam))
    reference = reference_from(extract_channel(mean_image(images), options=Options()))
    for extraction in extract_cube(images, reference=reference):
        table = extraction.catalog
        near = [np.hypot(table["X"].value - x0, table["Y"].value - y0).argmin() for x0, y0 in places]
        # 200 sigma: errors of half a percent each.
        np.testing.assert_allclose(table["FLUX"].to_value("mJy")[near], 200.0, rtol=0.03)


def test_one_list_for_all_channels(cube):
    images = [channel.image for channel in cube]
    found = extract_channel(mean_image(images), options=Options())
    reference = reference_from(found)
    n = len(found.catalog)
    assert n > 1
    for channel, extraction in zip(cube, extract_cube(images, reference=reference), strict=True):
        assert len(extraction.catalog) == n
        np.testing.assert_allclose(extraction.sources[:, 1:3], found.sources[:, 1:3], atol=1e-6)
        np.testing.assert_allclose(extraction.catalog["FWHM_1"].value, found.catalog["FWHM_1"].value)
        truth = channel.truth
        for row in extraction.catalog:
            near = np.hypot(truth["X"].value - row["X"].value, truth["Y"].value - row["Y"].value)
            if near.size and near.min() < 1.0 and row["CLUSTER"] == 1:
                flux = truth["FLUX"].to(row["FLUX"].unit)[near.argmin()]
                assert abs(row["FLUX"] - flux) < 6.0 * row["FLUX_ERR"]
    free = reference_from(found, keep_shapes=False)
    assert free.sources.fwhm_1 is None
    with pytest.raises(InputError, match="no source was found"):
        reference_from(extract_channel(images[0].with_data(np.zeros(images[0].shape)), options=Options()))


def test_list_with_a_source_where_a_channel_is_blank(channel):
    data = channel.image.data.copy()
    data[:60, :60] = np.nan
    image = channel.image.with_data(data)
    longitude, latitude = celestial_degrees(image.wcs, np.array([20.0, 90.0]), np.array([20.0, 80.0]))
    ids = np.array(["near", "far"])
    reference = Reference(sources=FixedSources(longitude=longitude, latitude=latitude, ids=ids))
    for fit in (WHITE, FitOptions()):
        extraction = extract_channel(image, options=Options(fit_options=fit), reference=reference)
        assert list(extraction.catalog["HYPER_ID"]) == [2]
        assert list(extraction.catalog["ID"]) == ["far"]
        assert np.isfinite(extraction.catalog["FLUX"][0])
        empty = image.with_data(np.where(np.arange(image.shape[1]) < 100, np.nan, image.data))
        nothing = extract_channel(empty, options=Options(fit_options=fit), reference=reference).catalog
        assert len(nothing) == 0
        assert nothing.colnames == extraction.catalog.colnames


@given(
    major=st.floats(2.0, 9.0), ratio=st.floats(0.4, 1.0), pa=st.floats(0.0, 179.0), beam_2=st.floats(1.5, 6.0)
)
@settings(max_examples=40, deadline=None)
def test_sizes_follow_the_beam(major, ratio, pa, beam_2):
    beam, other = Beam(major=3.0, minor=2.0, pa=30.0), Beam(major=beam_2 + 0.5, minor=beam_2, pa=100.0)
    sources = FixedSources(
        longitude=np.zeros(1), latitude=np.zeros(1), fwhm_1=np.array([major]),
        fwhm_2=np.array([ratio * major]), pa=np.array([pa]),
    )  # fmt: skip
    reference = Reference(sources=sources, beam=beam)
    assert reference.for_beam(beam) is sources
    seen = reference.for_beam(other)
    assert seen.fwhm_2[0] >= 0.5 * beam_2
    # A source that is the beam itself stays the beam.
    own = replace(sources, fwhm_1=np.array([3.0]), fwhm_2=np.array([2.0]), pa=np.array([30.0]))
    point = Reference(sources=own, beam=beam).for_beam(other)
    assert point.fwhm_1[0] == pytest.approx(other.major)
    assert point.fwhm_2[0] == pytest.approx(other.minor)
    assert point.pa[0] == pytest.approx(100.0)
