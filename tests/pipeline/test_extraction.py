"""Whole extractions: what was put in comes out, whatever the place, unit or orientation of the map."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from photutils.aperture import EllipticalAperture
from scipy import ndimage

from helpers.maps import FWHM, ORIGINAL, WHITE, make_image, make_map, make_wcs, noise_of, sources_of
from hyper_py.catalog import COLUMNS
from hyper_py.cautions.catalogues import cautions
from hyper_py.config.original import ORIGINAL_POLICY
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import Flag, InputError
from hyper_py.geometry import FWHM_PER_SIGMA, GAUSSIAN_AREA, Beam
from hyper_py.numerics import gaussians
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options, PhotometryOptions
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image

CORRELATED = Options()
WAYS = pytest.mark.parametrize(
    "options", [CORRELATED, WHITE, ORIGINAL], ids=["correlated", "white", "original"]
)
OURS = pytest.mark.parametrize("options", [CORRELATED, WHITE], ids=["correlated", "white"])


def winged_map(size, *, seed):
    """Sources of known flux, Gaussians of FWHM `size`, through a beam with a fifth of its area in wings."""
    share, wings = 0.2, 4.0 * FWHM
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[30:300:45, 30:300:45].reshape(2, -1) + rng.uniform(-4, 4, (2, 36))
    flux = rng.uniform(0.5, 2.0, 36)
    shape, data = (300, 300), np.zeros((300, 300))
    for part, width in ((1 - share, FWHM), (share, wings)):
        sigma = np.full(36, np.hypot(width, size) / FWHM_PER_SIGMA)
        peak = part * flux / (2 * np.pi * sigma**2)
        data += gaussians.render(np.column_stack([peak, x, y, sigma, sigma, 0 * x]), shape)
    area = GAUSSIAN_AREA / ((1 - share) / FWHM**2 + share / wings**2)
    data += 0.02 / area * noise_of(shape, seed=seed + 1)
    return make_image(data, beam=Beam(major=FWHM, minor=FWHM, area=area, wings=wings)), x, y, flux


def given_at(image, x, y, **shape):
    longitude, latitude = image.wcs.wcs_pix2world(np.column_stack([x, y]), 0).T
    return FixedSources(longitude=longitude, latitude=latitude, **shape)


def matched(table, x, y, *, within=1.5):
    """The rows nearest to places, each of which must have one."""
    distance = np.hypot(
        table["X"].value - np.atleast_1d(x)[:, None], table["Y"].value - np.atleast_1d(y)[:, None]
    )
    assert (distance.min(axis=1) < within).all()
    return table[distance.argmin(axis=1)]


def lattice(jitter):
    """Nine sources in rows and columns, moved by up to `jitter` pixels."""
    move = np.random.default_rng(4).uniform(-jitter, jitter, (3, 3, 2))
    return sources_of(
        *[
            (25 + 4 * i + 3 * j, 20.3 + 27.2 * i + move[i, j, 0], 18.6 + 25.1 * j + move[i, j, 1])
            for i in range(3)
            for j in range(3)
        ]
    )


# ---- what was put in


@WAYS
@pytest.mark.parametrize("method", ["matched", "highpass"])
def test_a_lattice_of_sources_is_recovered(options, method):
    truth = lattice(jitter=5.0 if method == "matched" else 0.0)
    options = replace(options, detection=DetectionOptions(method=method))
    extraction = extract_sources(make_image(make_map(truth)), options=options)
    table = extraction.catalog
    assert len(table) == len(truth)
    rows = matched(table, truth[:, 1], truth[:, 2])
    fraction = 1.0 if options.photometry.aperture_correction else rows["APER_FRAC"]
    flux = 1e3 * gaussians.gaussian_flux(truth) * fraction
    np.testing.assert_allclose(rows["FLUX"].value / flux, 1.0, atol=0.25)
    assert np.median(rows["FLUX"].value / flux) == pytest.approx(1.0, abs=0.08)
    pulls = (rows["FLUX"].value - flux) / rows["FLUX_ERR"].value
    assert np.abs(pulls).max() < 6.0
    np.testing.assert_allclose(rows["FWHM_GEOM"].value, FWHM, rtol=0.2)
    order = extraction.peaks.snr if method == "matched" else extraction.peaks.peak
    assert (np.diff(order) <= 0).all()
    assert (rows["STATUS"] >= 1).all()
    residual = extraction.residual_image()
    np.testing.assert_allclose(residual + extraction.model_image(), extraction.image.data, atol=1e-12)
    assert np.std(residual) < 1.3
    assert len(extraction.regions()) == len(table)
    assert extraction.rms_image().shape == extraction.image.shape
    under = extraction.background_image()
    assert np.isfinite(
        under[np.rint(rows["Y"].value).astype(int), np.rint(rows["X"].value).astype(int)]
    ).all()


def test_metadata_name_the_frame_and_the_noise_model():
    data = make_map(SKY[:1])
    galactic = make_image(data, wcs=make_wcs(data.shape, frame="galactic"))
    table = extract_sources(galactic, options=WHITE).catalog
    assert table.meta["frame_of_pa"] == "galactic"
    assert table.meta["noise_model"] == "white"
    sky = SkyCoord(table["RA"], table["DEC"]).galactic
    own = galactic.wcs.pixel_to_world(table["X"].value, table["Y"].value)
    assert own.separation(sky).arcsec.max() < 1e-6


def test_regions_are_the_apertures():
    data = make_map(SKY[:2])
    extraction = extract_sources(make_image(data), options=WHITE)
    for region, row in zip(extraction.regions(), extraction.catalog, strict=True):
        assert region.height.to_value("arcsec") == pytest.approx(2 * row["FWHM_1"].value)
        assert region.width.to_value("arcsec") == pytest.approx(2 * row["FWHM_2"].value)
        assert region.meta["text"] == str(row["HYPER_ID"])
        # In the frame of pixels: the ellipse's own angle.
        pixel = region.to_pixel(extraction.image.wcs)
        theta = extraction.sources[row["HYPER_ID"] - 1, gaussians.THETA]
        axis = np.radians(pixel.angle.to_value("deg")) + np.pi / 2
        assert np.sin(axis - theta) == pytest.approx(0.0, abs=0.02)


# ---- invariances


def columns_of(table, *names):
    return np.column_stack([table[name].value for name in names])


FLUXES = ("FLUX", "FLUX_ERR", "FLUX_PEAK", "FLUX_GAUSS", "FLUX_GAUSS_ERR", "FLUX_ULIM", "LOCAL_RMS")
SHAPES = ("FWHM_1", "FWHM_2", "X_ERR", "Y_ERR", "FWHM_1_ERR", "DECONV_ULIM")
SKY = np.array(
    [[30, 30.3, 35.6, 2.3, 1.9, 0.4], [20, 60.2, 50.8, 2.6, 2.0, 1.9], [25, 66.6, 52.6, 2.0, 1.9, 0.0]]
)


@OURS
@pytest.mark.parametrize(("dy", "dx"), [(3, 0), (5, 7)])
def test_a_map_shifted_in_its_frame_gives_the_same(options, dy, dx):
    data = make_map(SKY)
    framed = [np.full((110, 115), np.nan) for _ in range(2)]
    framed[0][:90, :96] = data
    framed[1][dy : dy + 90, dx : dx + 96] = data
    here, there = (extract_sources(make_image(d), options=options).catalog for d in framed)
    assert len(here) == len(there) >= 3
    np.testing.assert_allclose(there["X"].value, here["X"].value + dx, atol=5e-3)
    np.testing.assert_allclose(there["Y"].value, here["Y"].value + dy, atol=5e-3)
    np.testing.assert_allclose(columns_of(there, *FLUXES), columns_of(here, *FLUXES), rtol=5e-3)
    np.testing.assert_allclose(columns_of(there, *SHAPES), columns_of(here, *SHAPES), rtol=1e-2)


@WAYS
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
def test_the_scale_of_fluxes_does_not_matter(options, scale):
    data = make_map(SKY)
    one = extract_sources(make_image(data), options=options).catalog
    other = extract_sources(make_image(scale * data), options=options).catalog
    assert len(one) == len(other)
    np.testing.assert_allclose(columns_of(other, *FLUXES), scale * columns_of(one, *FLUXES), rtol=5e-3)
    np.testing.assert_allclose(
        columns_of(other, *SHAPES, "X", "Y"), columns_of(one, *SHAPES, "X", "Y"), rtol=1e-2
    )
    for name in ("STATUS", "FLAGS", "CLUSTER", "POLYN"):
        np.testing.assert_array_equal(other[name], one[name])


@OURS
@pytest.mark.parametrize("level", [-5.0, 1000.0])
def test_a_level_added_to_the_map_does_not_matter(options, level):
    data = make_map(SKY)
    one = extract_sources(make_image(data), options=options).catalog
    other = extract_sources(make_image(data + level), options=options).catalog
    np.testing.assert_allclose(columns_of(other, *FLUXES), columns_of(one, *FLUXES), rtol=2e-3)
    change = (other["RESIDUALS"] - one["RESIDUALS"]).to_value("Jy")
    np.testing.assert_allclose(change, level, rtol=1e-2, atol=2e-2)


@OURS
@pytest.mark.parametrize("turn", ["transposed", "rotated", "mirrored"])
def test_orientation_does_not_matter(options, turn):
    data = make_map(SKY)
    nx = data.shape[1]
    turned, x, y = {
        "transposed": (data.T.copy(), lambda t: t["Y"].value, lambda t: t["X"].value),
        "rotated": (np.rot90(data).copy(), lambda t: nx - 1 - t["Y"].value, lambda t: t["X"].value),
        "mirrored": (data[:, ::-1].copy(), lambda t: nx - 1 - t["X"].value, lambda t: t["Y"].value),
    }[turn]
    one = extract_sources(make_image(data), options=options).catalog
    other = extract_sources(make_image(turned), options=options).catalog
    assert len(one) == len(other)
    np.testing.assert_allclose(x(other), one["X"].value, atol=5e-3)
    np.testing.assert_allclose(y(other), one["Y"].value, atol=5e-3)
    np.testing.assert_allclose(columns_of(other, *FLUXES), columns_of(one, *FLUXES), rtol=1e-2)
    sizes = ("FWHM_1", "FWHM_2", "FWHM_1_ERR", "DECONV_ULIM")
    np.testing.assert_allclose(columns_of(other, *sizes), columns_of(one, *sizes), rtol=1e-2)


def test_rotated_and_mirrored_angles_follow_the_map():
    data = make_map(SKY[:1], noise=0.1)
    one, turned, mirrored = (
        extract_sources(make_image(d.copy()), options=WHITE).catalog["PA"].value[0]
        for d in (data, np.rot90(data), data[:, ::-1])
    )
    assert (turned - one + 180) % 180 == pytest.approx(90, abs=0.3)
    assert (mirrored + one + 90) % 180 == pytest.approx(90, abs=0.3)
    # theta = 0.4 rad from +x towards +y; east is towards -x.
    assert one == pytest.approx((np.degrees(0.4) - 90) % 180, abs=2.0)


@pytest.mark.parametrize("convert", [True, False])
def test_units_of_the_catalogue_on_request(convert):
    table = extract_sources(make_image(make_map(SKY)), options=replace(WHITE, convert_mJy=convert)).catalog
    unit = u.mJy if convert else u.Jy
    assert table["FLUX"].unit == unit
    assert table["FLUX_PEAK"].unit == unit / u.beam
    rows = matched(table, SKY[:1, 1], SKY[:1, 2])
    assert rows["FLUX"].to_value("Jy")[0] == pytest.approx(gaussians.gaussian_flux(SKY[0]), rel=0.2)


# ---- nothing there


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("white", [0.1, 1.0])
def test_noise_alone_gives_an_empty_table_at_five_sigma(seed, white):
    options = Options(detection=DetectionOptions(sigma_thres=5.0))
    table = extract_sources(make_image(noise_of((110, 120), seed=seed, white=white)), options=options).catalog
    assert len(table) == 0
    assert table.colnames == [column.name for column in COLUMNS]
    assert table["FLUX"].unit == u.mJy


def test_without_sources_images_are_empty_too():
    options = Options(detection=DetectionOptions(sigma_thres=50.0))
    extraction = extract_sources(make_image(noise_of((60, 64), seed=1)), options=options)
    assert extraction.measured is None
    assert not extraction.model_image().any()
    assert np.isnan(extraction.background_image()).all()
    assert len(extraction.regions()) == 0
    assert extraction.sources.shape == (0, 6)


@WAYS
@pytest.mark.parametrize("shape", [(60, 60), (280, 290), (1, 1), (1, 50)])
@pytest.mark.parametrize("value", [0.0, 3.3, 1e-7])
def test_a_constant_map_is_told_in_one_line(options, shape, value):
    with pytest.raises(InputError, match="m: the map does not vary"):
        extract_sources(make_image(np.full(shape, value)), options=options)


@WAYS
@pytest.mark.parametrize("shape", [(60, 64), (80, 90)])
def test_a_noiseless_map_is_told_in_one_line(options, shape):
    image = make_image(gaussians.render(SKY[:1], shape))
    with pytest.raises(InputError, match=r"does not vary|has no noise"):
        extract_sources(image, options=options)


def test_a_blank_map_is_told_in_one_line():
    with pytest.raises(InputError, match="m: every pixel is blank"):
        extract_sources(make_image(np.full((30, 30), np.nan)))


def test_a_map_without_noise_is_refused_unless_the_noise_is_given():
    clean = gaussians.render(SKY, (80, 100)) + np.random.default_rng(3).normal(0.0, 1e-9, (80, 100))
    with pytest.raises(InputError, match="the map has no noise, its rms is"):
        extract_sources(make_image(clean))
    given = {"use_manual_rms": True, "rms_value": 0.01}
    assert len(extract_sources(make_image(clean), detection=given).catalog) >= 3


def test_infinite_pixels_are_blank():
    data = make_map(SKY)
    data[5, 5], data[80, 9] = np.inf, -np.inf
    extraction = extract_sources(make_image(data))
    assert np.isnan(extraction.image.data[5, 5])
    assert len(extraction.catalog) >= 3


def test_a_pixel_that_overflowed_does_not_hide_the_sources():
    image = make_image(make_map(sources_of((40.0, 30.0, 25.0), (40.0, 60.0, 70.0)), (100, 90), seed=3))
    data = image.data.copy()
    data[80, 20] = 1e15
    extraction = extract_sources(image.with_data(data))
    assert len(extraction.catalog) == 2
    assert any("taken for blank" in text for text in cautions(extraction.catalog, extraction.image))


# ---- given positions


@pytest.fixture(scope="module")
def blank_sky():
    """A simulated map with sources, and 300 places far from all of them."""
    simulation = simulate_image("alma", seed=11, shape=(330, 330), n_sources=15)
    fwhm = simulation.image.beam_fwhm_pix
    rng = np.random.default_rng(5)
    truth = np.column_stack([simulation.truth["X"].value, simulation.truth["Y"].value])
    places: list = []
    while len(places) < 300:
        place = rng.uniform(2 * fwhm, 330 - 2 * fwhm, 2)
        if np.hypot(*(truth - place).T).min() > 4 * fwhm:
            places.append(place)
    return simulation.image, np.array(places)


@OURS
@pytest.mark.parametrize("shape_given", [True, False])
def test_given_places_on_blank_sky_are_unbiased(blank_sky, options, shape_given):
    image, places = blank_sky
    n = 300 if shape_given else 100
    fwhm = np.array([image.beam.fwhm])
    shape = {"fwhm_1": fwhm, "fwhm_2": fwhm, "pa": np.zeros(1)} if shape_given else {}
    # One at a time as far as the fit goes: close places would be fitted as a group.
    table = extract_sources(image, options=options, fixed=given_at(image, *places[:n].T, **shape)).catalog
    assert len(table) == n
    flux, error = table["FLUX"].value, table["FLUX_ERR"].value
    assert np.isfinite(flux).all()
    if shape_given:
        assert abs(np.median(flux / error)) < 0.2
        assert 1.4826 * np.median(np.abs(flux / error)) < (1.3 if options is CORRELATED else 2.5)
    assert 0.25 < np.mean(flux < 0) < 0.75
    np.testing.assert_allclose(table["FLUX_ULIM"].value, np.maximum(flux, 0) + 3 * error)
    flags = np.array(table["FLAGS"])
    assert (flags & Flag.FORCED).all()
    np.testing.assert_array_equal(flags & Flag.NEGATIVE_FLUX > 0, flux < 0)
    np.testing.assert_allclose(table["X"].value, places[:n, 0], atol=1e-4)


@OURS
def test_given_shapes_and_positions_stay(options):
    image = make_image(make_map(SKY))
    fixed = given_at(
        image,
        SKY[:, 1],
        SKY[:, 2],
        fwhm_1=np.array([6.0]),
        fwhm_2=np.array([5.0, 5.5, 5.2]),
        pa=np.array([30.0]),
    )
    table = extract_sources(image, options=options, fixed=fixed).catalog
    np.testing.assert_allclose(table["FWHM_1"].value, 6.0, rtol=1e-4)
    np.testing.assert_allclose(table["FWHM_2"].value, [5.0, 5.5, 5.2], rtol=1e-4)
    np.testing.assert_allclose(table["PA"].value, 30.0, atol=0.05)
    np.testing.assert_allclose(table["X"].value, SKY[:, 1], atol=1e-6)
    assert list(table["HYPER_ID"]) == [1, 2, 3]
    assert not table["X_ERR"].value.any()
    # The same places in another frame.
    sky = SkyCoord(fixed.longitude, fixed.latitude, unit="deg").galactic
    galactic = replace(fixed, longitude=sky.l.deg, latitude=sky.b.deg, frame="galactic")
    again = extract_sources(image, options=options, fixed=galactic).catalog
    np.testing.assert_allclose(again["FLUX"].value, table["FLUX"].value, rtol=1e-5)


@WAYS
def test_given_places_off_the_map_cost_their_own_rows(options):
    image = make_image(make_map(SKY))
    x, y = np.insert(SKY[:, 1], [0, 2], [200.0, -3.0]), np.insert(SKY[:, 2], [0, 2], [10.0, 20.0])
    ids = np.array(["beside", "a", "b", "below", "c"])
    fixed = replace(given_at(image, x, y), ids=ids)
    # The other side of the sky has no pixel.
    fixed = replace(fixed, longitude=np.where(ids == "below", fixed.longitude + 180.0, fixed.longitude))
    alone = extract_sources(image, options=options, fixed=given_at(image, SKY[:, 1], SKY[:, 2]))
    found = extract_sources(image, options=options, fixed=fixed)
    assert len(found.catalog) == len(found.sources) == len(found.peaks) == 3
    table = found.complete_catalog
    assert table.colnames == [*alone.catalog.colnames, "ID"]
    assert list(table["HYPER_ID"]) == [1, 2, 3, 4, 5]
    assert list(table["ID"]) == list(ids)
    off = np.array([True, False, False, True, False])
    np.testing.assert_array_equal(np.array(table["FLAGS"]) & int(Flag.NOT_ON_MAP) > 0, off)
    np.testing.assert_allclose(table["RA"].value, np.mod(fixed.longitude, 360.0), atol=1e-9)
    np.testing.assert_allclose(table["FLUX"].value[~off], alone.catalog["FLUX"].value, rtol=1e-12)
    for name in ("FLUX", "FLUX_ERR", "FLUX_ULIM", "X", "FWHM_1"):
        assert np.isnan(table[name].value[off]).all(), name
    nowhere = extract_sources(image, options=options, fixed=fixed.only(off))
    assert (len(nowhere.catalog), list(nowhere.complete_catalog["HYPER_ID"])) == (0, [1, 4])
    assert any("2 of 2 (HYPER_ID 1, 4)" in text for text in cautions(nowhere.complete_catalog, image))


def test_sizes_below_the_beam_are_flagged_and_sizes_on_the_sky_have_the_beam_added():
    image = make_image(make_map(SKY))
    beam = image.beam
    size = np.array([0.3, 0.95, 2.0]) * beam.fwhm
    fixed = given_at(image, SKY[:, 1], SKY[:, 2], fwhm_1=size, fwhm_2=size, pa=np.zeros(3))
    table = extract_sources(image, fixed=fixed).complete_catalog
    small = np.array(table["FLAGS"]) & int(Flag.SIZE_BELOW_BEAM) > 0
    assert list(small) == [True, False, False]
    assert [text[:19] for text in cautions(table, image) if "below the beam" in text] == [
        "1 of 3 (HYPER_ID 1)"
    ]
    table = extract_sources(image, fixed=replace(fixed, intrinsic=True)).complete_catalog
    assert not (np.array(table["FLAGS"]) & int(Flag.SIZE_BELOW_BEAM)).any()
    np.testing.assert_allclose(table["FWHM_1"].value, np.hypot(size, beam.major), rtol=1e-3)
    np.testing.assert_allclose(table["FWHM_2"].value, np.hypot(size, beam.minor), rtol=1e-3)


@WAYS
def test_given_places_on_blank_pixels_have_no_flux_and_harm_no_neighbour(options):
    data = make_map(SKY)
    whole = extract_sources(
        make_image(data), options=options, fixed=given_at(make_image(data), SKY[:, 1], SKY[:, 2])
    ).catalog
    data[5:30, 50:90] = np.nan
    data[36, 33] = np.nan
    image = make_image(data)
    x, y = np.append(SKY[:, 1], [70.0, 33.0]), np.append(SKY[:, 2], [17.0, 36.0])
    table = extract_sources(image, options=options, fixed=given_at(image, x, y)).catalog
    assert len(table) == 5
    assert table["STATUS"][3] == 0
    for name in ("FLUX", "FLUX_ERR", "FLUX_PEAK", "FLUX_GAUSS", "FLUX_GAUSS_ERR", "FLUX_ULIM", "X_ERR"):
        assert np.isnan(table[name].value[3]), name
    assert table["FLAGS"][3] & Flag.FIT_FAILED
    assert table["FLAGS"][3] & Flag.NO_ERROR
    # Beside one blank pixel, and with a second source upon it, the first has the same flux in total.
    assert np.isfinite(table["FLUX"].value[[0, 1, 2, 4]]).all()
    np.testing.assert_allclose(table["FLUX"].value[1:3], whole["FLUX"].value[1:3], rtol=0.1)
    assert np.isfinite(
        extract_sources(image, options=options, fixed=given_at(image, x, y)).model_image()
    ).all()


@WAYS
@pytest.mark.parametrize("size", [0.5, 12.0, 18.0, 60.0])
def test_given_apertures_of_any_size_are_measured(options, size):
    """Also larger than the discs of correlated fits, and than the reach of their covariance."""
    truth = np.array(
        [[20.0, 70.2, 68.6, max(size / FWHM_PER_SIGMA, 0.4), max(size / FWHM_PER_SIGMA, 0.4), 0.0]]
    )
    data = make_map(truth, (140, 144), noise=0.2)
    image = make_image(data)
    one = np.array([size])
    table = extract_sources(
        image, options=options, fixed=given_at(image, truth[:, 1], truth[:, 2], fwhm_1=one, fwhm_2=one)
    ).catalog
    assert np.isfinite(table["FLUX"].value).all()
    at_bound = (np.asarray(table["FLAGS"]) & Flag.FLUX_AT_BOUND) != 0
    assert np.array_equal(np.isfinite(table["FLUX_ERR"].value), ~at_bound)
    assert not at_bound.any() or size < 1.0  # sources of a pixel are too narrow for the fit's bounds
    if 5 < size < 20:
        expected = 1e3 * gaussians.gaussian_flux(truth)
        fraction = 1.0 if options.photometry.aperture_correction else table["APER_FRAC"]
        # The background of the original way takes some of what is wider than its boxes expect.
        tolerance = 0.1 if options is CORRELATED else 0.25
        np.testing.assert_allclose(table["FLUX"].value, expected * fraction, rtol=tolerance)


@OURS
def test_two_sources_on_one_pixel_share_the_flux(options):
    image = make_image(make_map(SKY[:1]))
    table = extract_sources(image, options=options, fixed=given_at(image, [30.3, 30.3], [35.6, 35.6])).catalog
    assert len(table) == 2
    assert np.isfinite(table["FLUX"].value).all()
    total = table["FLUX_GAUSS"].to_value("Jy").sum()
    assert total == pytest.approx(gaussians.gaussian_flux(SKY[0]), rel=0.4)


@OURS
def test_negative_sources_are_measured_where_they_are_given(options):
    data = -make_map(SKY[:1])
    image = make_image(data)
    table = extract_sources(image, options=options, fixed=given_at(image, [30.3], [35.6])).catalog
    assert table["FLUX"].to_value("Jy")[0] == pytest.approx(-gaussians.gaussian_flux(SKY[0]), rel=0.15)
    assert table["FLAGS"][0] & Flag.NEGATIVE_FLUX


# ---- awkward maps


@WAYS
@pytest.mark.parametrize("shape", [(20, 20), (12, 14), (5, 5), (2, 3), (1, 60), (60, 1), (16, 100)])
def test_small_and_thin_maps(options, shape):
    ny, nx = shape
    source = sources_of((40.0, (nx - 1) / 2 + 0.2, (ny - 1) / 2 - 0.1))
    image = make_image(make_map(source, shape))
    found = extract_sources(image, options=options).catalog
    assert len(found) <= 1
    given = extract_sources(
        image, options=options, fixed=given_at(image, [source[0, 1]], [source[0, 2]])
    ).catalog
    assert len(given) == 1
    if min(shape) >= 12:
        assert given["FLUX_GAUSS"].to_value("Jy")[0] == pytest.approx(
            gaussians.gaussian_flux(source[0]), rel=0.35
        )
    if min(shape) >= 16:
        assert len(found) >= 1
        assert found["X"].value[0] == pytest.approx(source[0, 1], abs=0.5)


@WAYS
def test_blank_borders_change_little(options):
    data = make_map(SKY)
    framed = np.full((130, 140), np.nan)
    framed[20:110, 22:118] = data
    table = extract_sources(make_image(framed), options=options).catalog
    inner = extract_sources(make_image(data), options=options).catalog
    rows = matched(table, SKY[:, 1] + 22, SKY[:, 2] + 20)
    expected = matched(inner, SKY[:, 1], SKY[:, 2])
    np.testing.assert_allclose(rows["FLUX"].value, expected["FLUX"].value, rtol=0.05)
    assert not np.isfinite(extract_sources(make_image(framed), options=options).residual_image()[:20]).any()


@OURS
def test_sources_over_the_edge_are_measured_with_honest_errors(options):
    places = [(60.0, 1.2, 40.0), (60.0, 40.0, 0.0), (60.0, 95.4, 89.4), (60.0, 60.3, 60.2)]
    truth = sources_of(*places)
    image = make_image(make_map(truth))
    table = extract_sources(image, options=options, fixed=given_at(image, truth[:, 1], truth[:, 2])).catalog
    assert [bool(f & Flag.EDGE) for f in table["FLAGS"]] == [True, True, True, False]
    flux, error = table["FLUX"].to_value("Jy"), table["FLUX_ERR"].to_value("Jy")
    np.testing.assert_allclose(flux, gaussians.gaussian_flux(truth), rtol=0.35)
    # A quarter of a source cannot be measured as well as a whole one.
    assert error[2] > 1.25 * error[3]
    assert np.isfinite(error).all()


@OURS
def test_sources_over_blank_pixels_are_corrected_by_the_model(options):
    truth = sources_of((60.0, 30.2, 40.4), (60.0, 70.3, 40.1))
    data = make_map(truth)
    data[41:50, 26:36] = np.nan
    table = extract_sources(make_image(data), options=options).catalog
    rows = matched(table, truth[:, 1], truth[:, 2])
    assert [bool(f & Flag.BLANK_PIXELS) for f in rows["FLAGS"]] == [True, False]
    assert rows["N_BLANK"][0] > 10
    assert rows["N_BLANK"][1] == 0
    np.testing.assert_allclose(rows["FLUX"].to_value("Jy"), gaussians.gaussian_flux(truth), rtol=0.2)
    assert rows["FLUX_ERR"].value[0] > 1.3 * rows["FLUX_ERR"].value[1]


@OURS
@pytest.mark.parametrize("fwhm", [1.2, 15.0])
def test_beams_of_few_and_many_pixels(options, fwhm):
    sigma = fwhm / FWHM_PER_SIGMA
    shape = (60, 64) if fwhm < 5 else (180, 190)
    truth = sources_of((30.0, 20.3, 41.6), (40.0, 43.2, 25.1), sigma=sigma)
    if fwhm > 5:
        truth[:, 1:3] *= 2.8
    data = gaussians.render(truth, shape) + noise_of(shape, seed=3, sigma=max(sigma, 0.7))
    table = extract_sources(make_image(data, fwhm=fwhm), options=options).catalog
    rows = matched(table, truth[:, 1], truth[:, 2], within=0.3 * fwhm)
    np.testing.assert_allclose(rows["FLUX"].to_value("Jy"), gaussians.gaussian_flux(truth), rtol=0.25)
    pulls = (rows["FLUX"].to_value("Jy") - gaussians.gaussian_flux(truth)) / rows["FLUX_ERR"].to_value("Jy")
    if options is CORRELATED:
        assert np.abs(pulls).max() < 4.5


@OURS
@pytest.mark.parametrize("ratio", [2.0, 5.0])
def test_elliptical_beams_are_used_as_such(options, ratio):
    """Detection, bounds, sizes and deconvolution, of sources of the beam's shape and of one that is wider."""
    beam = Beam(major=6.0 * ratio**0.5, minor=6.0 / ratio**0.5, pa=35.0)
    empty = make_image(np.zeros((240, 240)), beam=beam)
    rng = np.random.default_rng(41)
    y, x = np.mgrid[45:240:50, 45:240:50].reshape(2, -1) + rng.uniform(-3, 3, (2, 16))
    sizes = np.where(np.arange(16) < 12, 0.0, 6.0)
    shapes = gaussians.shape_parameters(
        empty.beam_covariance(120.0, 120.0) + np.eye(2) * (sizes / FWHM_PER_SIGMA)[:, None, None] ** 2
    )
    truth = np.column_stack([rng.uniform(40, 80, 16), x, y, shapes])
    noise = ndimage.gaussian_filter(rng.normal(size=(240, 240)), 2.0) * 5.0 + 0.5 * rng.normal(
        size=(240, 240)
    )
    image = make_image(gaussians.render(truth, (240, 240)) + noise, beam=beam)
    rows = matched(extract_sources(image, options=options).catalog, x, y)
    assert not (rows["FLAGS"] & int(Flag.SIZE_AT_BOUND)).any()
    pull = (rows["FLUX"].to_value("Jy") - gaussians.gaussian_flux(truth)) / rows["FLUX_ERR"].to_value("Jy")
    assert np.abs(np.median(pull)) < 1.0
    assert np.abs(pull).max() < 4.5
    points, wide = rows[sizes == 0], rows[sizes > 0]
    np.testing.assert_allclose(np.median(points["FWHM_1"].value), beam.major, rtol=0.05)
    np.testing.assert_allclose(np.median(points["FWHM_2"].value), beam.minor, rtol=0.05)
    assert np.median(points["PA"].value) == pytest.approx(35.0, abs=4.0)
    assert (points["FLAGS"] & int(Flag.UNRESOLVED) > 0).sum() >= 10
    np.testing.assert_allclose(np.median(wide["DECONV_FWHM_1"].value), 6.0, rtol=0.25)


def test_elliptical_beams_and_oblong_pixels():
    wcs = make_wcs((90, 96))
    wcs.wcs.cdelt = [-1 / 3600, 1.4 / 3600]
    truth = sources_of((40.0, 30.3, 35.6), (30.0, 66.2, 50.8))
    truth[:, 3:] = [2.6, 1.6, 0.0]
    beam = Beam(major=2.6 * FWHM_PER_SIGMA, minor=1.6 * 1.4 * FWHM_PER_SIGMA, pa=90.0)
    image = make_image(make_map(truth), wcs=wcs, beam=beam)
    rows = matched(extract_sources(image).catalog, truth[:, 1], truth[:, 2])
    np.testing.assert_allclose(rows["FLUX"].to_value("Jy"), gaussians.gaussian_flux(truth), rtol=0.2)
    np.testing.assert_allclose(rows["FWHM_1"].value, beam.major, rtol=0.15)
    np.testing.assert_allclose(rows["FWHM_2"].value, beam.minor, rtol=0.15)


# ---- options


@WAYS
def test_detection_only_gives_the_detections(options):
    image = make_image(make_map(SKY))
    extraction = extract_sources(image, options=replace(options, detection_only=True))
    table = extraction.catalog
    rows = matched(table, SKY[:, 1], SKY[:, 2])
    assert extraction.measured is None
    assert np.isnan(rows["FLUX"].value).all()
    assert np.isfinite(rows["FLUX_PEAK"].value).all()
    assert (rows["SNR"] > 4).all()
    assert table.colnames == [column.name for column in COLUMNS]
    assert len(extraction.regions()) == 0


def test_noise_can_be_given_and_local():
    data = make_map(SKY)
    manual = replace(WHITE, detection=DetectionOptions(use_manual_rms=True, rms_value=2.0))
    assert extract_sources(make_image(data), options=manual).rms == 2.0
    original = replace(manual, policy=ORIGINAL_POLICY)
    assert extract_sources(make_image(1e-3 * data), options=original).rms == 2e-3
    local = replace(WHITE, detection=DetectionOptions(rms_map="local", rms_mesh_beams=6.0))
    varying = data * np.linspace(1.0, 3.0, 96)
    extraction = extract_sources(make_image(varying), options=local)
    rms = extraction.rms_image()
    assert rms.shape == data.shape
    assert np.median(rms[:, -20:]) > 1.6 * np.median(rms[:, :20])
    rows = extraction.catalog
    area = extraction.image.beam_area_pix
    at = rms[np.rint(rows["Y"].value).astype(int), np.rint(rows["X"].value).astype(int)]
    np.testing.assert_allclose(rows["LOCAL_RMS"].value, 1e3 * at * area, rtol=1e-6)


def test_original_options_bound_the_fit_and_measure_without_correction():
    image = make_image(make_map(SKY[:2]))
    half = replace(ORIGINAL, photometry=replace(ORIGINAL.photometry, fwhm_radius_ratio=0.5))
    rows = matched(extract_sources(image, options=half).catalog, SKY[:2, 1], SKY[:2, 2])
    np.testing.assert_allclose(rows["APER_FRAC"], 0.5, atol=0.03)
    np.testing.assert_allclose(
        rows["FLUX"].to_value("Jy") / rows["APER_FRAC"], gaussians.gaussian_flux(SKY[:2]), rtol=0.2
    )
    still = replace(half, fit_options=replace(half.fit_options, vary=False))
    extraction = extract_sources(image, options=still)
    np.testing.assert_array_equal(extraction.sources[:, 1], extraction.peaks.x)
    assert extraction.sources[:, 1].size == len(extraction.catalog)


def test_the_same_input_gives_the_same_output():
    data = make_map(SKY)
    before = data.copy()
    one, other = (extract_sources(make_image(data)).catalog for _ in range(2))
    for name in one.colnames:
        np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_array_equal(data, before)


def test_a_close_pair_is_deblended_unless_asked_not_to():
    truth = sources_of((60.0, 40.2, 40.4), (45.0, 40.2 + 0.95 * FWHM, 41.5))
    image = make_image(make_map(truth))
    table = extract_sources(image).catalog
    rows = matched(table, truth[:, 1], truth[:, 2], within=1.0)
    assert len(set(rows["HYPER_ID"])) == 2
    assert (rows["DEBLEND"] == 1).all()
    assert (np.array(rows["FLAGS"]) & Flag.BLENDED).all()
    np.testing.assert_allclose(rows["FLUX"].to_value("Jy"), gaussians.gaussian_flux(truth), rtol=0.3)


# ---- errors


def pulls_on(simulation, options):
    """Pulls of sources above 8 sigma with no neighbour within two beams."""
    image, truth = simulation.image, simulation.truth
    table = extract_sources(image, options=options).catalog
    x, y = truth["X"].value, truth["Y"].value
    gap = np.hypot(x - x[:, None], y - y[:, None]) + np.where(np.eye(len(x)), np.inf, 0)
    lonely = (gap.min(axis=1) > 2.2 * image.beam_fwhm_pix) & (truth["PEAK_SNR"] > 8)
    pulls = []
    for k in np.flatnonzero(lonely):
        distance = np.hypot(table["X"].value - x[k], table["Y"].value - y[k])
        i = int(np.argmin(distance))
        if distance[i] > 0.5 * image.beam_fwhm_pix or table["FLAGS"][i] & (Flag.EDGE | Flag.BLANK_PIXELS):
            continue
        row, true = table[i], truth[k]
        pulls.append(
            [
                ((row["FLUX"] - true["FLUX"]) / row["FLUX_ERR"]).to_value(""),
                ((row["FLUX_PEAK"] - true["FLUX_PEAK"]) / row["FLUX_PEAK_ERR"]).to_value(""),
                (row["X"].value - x[k]) / row["X_ERR"].value,
                (row["Y"].value - y[k]) / row["Y_ERR"].value,
            ]
        )
    return np.array(pulls)


@pytest.mark.slow
def test_pulls_in_correlated_noise_have_width_one():
    options = Options()
    pulls = np.concatenate([pulls_on(simulate_image("alma", seed=seed), options) for seed in (21, 22, 23)])
    assert len(pulls) > 100
    width = 1.4826 * np.median(np.abs(pulls - np.median(pulls, axis=0)), axis=0)
    assert ((width > 0.85) & (width < 1.15)).all(), width
    assert (np.abs(np.median(pulls, axis=0)) < 0.3).all()


def uneven_map(*, seed):
    """Noise that rises tenfold from left to right, and sources of ten times the noise where they are."""
    shape = (120, 220)
    rise = np.broadcast_to(np.geomspace(1.0, 10.0, shape[1]), shape).copy()
    places = [(10.0 * rise[0, x], x, y) for x in (25, 75, 125, 175) for y in (30, 75)]
    data = gaussians.render(sources_of(*places), shape) + rise * noise_of(shape, seed=seed)
    return data, rise, np.array(places)


@OURS
@pytest.mark.parametrize("kind", ["error", "primary beam"])
def test_uneven_noise_that_is_known_is_followed(options, kind):
    data, rise, places = uneven_map(seed=8)
    known = {"error": 1.0 * rise} if kind == "error" else {"primary_beam": 1.0 / rise}
    image = make_image(data, **known)
    result = extract_sources(image, options=options)
    catalog = result.catalog
    distance = np.hypot(
        catalog["X"].value[:, None] - places[:, 1], catalog["Y"].value[:, None] - places[:, 2]
    )
    assert len(catalog) == len(places)
    assert (distance.min(axis=0) < 1.5).all()
    row = distance.argmin(axis=0)
    level = rise[places[:, 2].astype(int), places[:, 1].astype(int)]
    beam = catalog["FLUX_PEAK"][row].value / 1e3 / result.sources[row, 0]
    np.testing.assert_allclose(catalog["LOCAL_RMS"][row].value / 1e3 / beam, level, rtol=0.1)
    error = catalog["FLUX_PEAK_ERR"][row].value / level
    assert error.max() / error.min() < 3.0
    pull = (catalog["FLUX_PEAK"].value[row] / 1e3 / beam - places[:, 0]) / (
        catalog["FLUX_PEAK_ERR"].value[row] / 1e3 / beam
    )
    assert np.abs(pull).max() < 4.5


NO_BACKGROUND = [
    {"method": "none"},
    {"method": "polynomial", "fit_gauss_and_bg_separately": False, "fit_gauss_and_bg_together": False},
]


@pytest.mark.parametrize("noise_model", ["white", "correlated"])
@pytest.mark.parametrize("background", NO_BACKGROUND)
def test_apertures_without_background_are_plain_sums(noise_model, background):
    data = make_map(sources_of((30.0, 40.0, 41.0)), seed=4) + 7.0
    data[38:40, 50] = np.nan
    options = Options(
        fit_options=FitOptions(noise_model=noise_model),
        background=BackgroundOptions(**background),
        photometry=PhotometryOptions(aperture_correction=False),
    )
    image = make_image(data)
    fixed = given_at(
        image, [41.3], [40.7], fwhm_1=np.array([8.0]), fwhm_2=np.array([5.0]), pa=np.array([0.0])
    )
    catalog = extract_sources(image, options=options, fixed=fixed).catalog
    aperture = EllipticalAperture((41.3, 40.7), 8.0, 5.0, theta=0.5 * np.pi)
    exact = aperture.do_photometry(data, method="exact")[0][0]
    assert catalog["FLUX"][0].to_value("Jy") == pytest.approx(exact, rel=1e-6)
    assert (catalog["POLYN"][0], catalog["N_BLANK"][0]) == (-1, 0)
    assert np.isfinite(catalog["FLUX_ERR"][0].value)


# ---- beams that are no Gaussians


@pytest.mark.parametrize("size", [0.0, FWHM], ids=["points", "extended"])
@pytest.mark.parametrize(("options", "worst"), [(CORRELATED, 0.03), (WHITE, 0.07)], ids=["ours", "white"])
def test_fluxes_through_a_beam_with_wings(options, worst, size):
    """By the white whitener, sizes are of the core and a little of the wings."""
    image, x, y, flux = winged_map(size, seed=12)
    table = matched(extract_sources(image, options=options).catalog, x, y)
    for name in ("FLUX", "FLUX_GAUSS"):
        assert np.median(table[name].to_value("Jy") / flux) == pytest.approx(1.0, abs=worst)
    # By the Gaussian alone it would be a fifth too low.
    gaussian = replace(image, beam=replace(image.beam, area=None))
    plain = matched(extract_sources(gaussian, options=options).catalog, x, y)
    assert np.median(plain["FLUX"].to_value("Jy") / flux) < 0.9


def test_share_of_the_aperture_counts_the_wings():
    image, x, y, _ = winged_map(0.0, seed=31)
    bare = replace(WHITE, photometry=replace(WHITE.photometry, aperture_correction=False))
    whole, part = (matched(extract_sources(image, options=o).catalog, x, y) for o in (WHITE, bare))
    np.testing.assert_allclose(part["FLUX"] / whole["FLUX"], whole["APER_FRAC"], rtol=1e-9)
    np.testing.assert_allclose(part["FLUX_GAUSS"], whole["FLUX_GAUSS"])
    assert np.median(whole["APER_FRAC"]) < 0.8


@pytest.mark.parametrize("preset", ["alma", "faint"])
def test_hot_pixels_that_are_kept_are_flagged_and_sources_are_not(preset, rng):
    image = simulate_image(preset, seed=3, shape=(160, 160), n_sources=12).image
    before = extract_sources(image).catalog
    assert len(before) > 3
    assert not (np.array(before["FLAGS"]) & int(Flag.HOT_PIXEL)).any()
    data = np.array(image.data)
    pixels = np.array([[30, 130], [75, 20], [140, 90]])
    for x, y in pixels:
        data[y, x] += 40.0 * image.data.std() * rng.uniform(1.0, 10.0)
    spoilt = image.with_data(data)
    assert len(extract_sources(spoilt).catalog) == len(before)
    extraction = extract_sources(spoilt, detection={"defects": "keep"})
    table = extraction.catalog
    hot = np.array(table["FLAGS"]) & int(Flag.HOT_PIXEL) > 0
    places = np.column_stack([table["X"].value, table["Y"].value])
    near = np.hypot(*(places[:, None] - pixels).transpose(2, 0, 1)).min(axis=1) < 1.0
    np.testing.assert_array_equal(hot, near)
    # A fit may leave nothing of one: then it has no row at all.
    gone = extraction.vanished
    left = 0 if gone is None else (np.hypot(gone.x - pixels[:, :1], gone.y - pixels[:, 1:]) < 1.0).sum()
    assert hot.sum() + left == len(pixels)
    said = [text for text in cautions(table, spoilt) if "bright pixels" in text]
    heads = [text.partition(" (HYPER_ID ")[0] for text in said]
    assert heads == [f"{hot.sum()} of {len(table)}"] * int(hot.any())


def test_sources_with_blank_cores_are_measured_and_flagged():
    """Of five sources of 30 to 3000 sigma with 3 x 3 blank pixels in their middle none had a row."""
    places = [
        (30.0, 30.2, 40.4),
        (3000.0, 90.3, 40.1),
        (300.0, 150.4, 39.8),
        (100.0, 60.1, 110.3),
        (1000.0, 130.2, 99.7),
    ]
    data = make_map(sources_of(*places), (150, 190), seed=4)
    for _, x, y in places:
        data[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2] = np.nan
    table = extract_sources(make_image(data)).catalog
    x, y, peak = np.array([(x, y, peak) for peak, x, y in places]).T
    rows = matched(table, x, y, within=1.0)
    assert len(table) == len(places)
    assert (rows["FLAGS"] & int(Flag.BLANK_PIXELS) > 0).all()
    error = rows["FLUX_GAUSS_ERR"].to_value("Jy")
    flux = 2.0 * np.pi * (FWHM / FWHM_PER_SIGMA) ** 2 * peak
    assert np.abs((rows["FLUX_GAUSS"].to_value("Jy") - flux) / error).max() < 4.0
