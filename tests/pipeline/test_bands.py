"""Several maps of one field."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.fields_of_options import small_map
from hyper_py.bands.aperture import CommonApertures
from hyper_py.bands.images import BandImage
from hyper_py.bands.offsets import BandOffsets
from hyper_py.bands.plane import TangentPlane
from hyper_py.bands.sources import JointSources
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import ConfigurationError, Flag, InputError
from hyper_py.geometry import PsfResidual
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.statistics import NoiseStatistics
from hyper_py.numerics import gaussians
from hyper_py.options import Options
from hyper_py.pipeline import bands as bands_pipeline
from hyper_py.pipeline.bands import BandsExtraction, MeasuredBand, extract_bands
from hyper_py.simulation.bands import simulate_bands
from hyper_py.simulation.simulate import simulate_image


def extraction_without_sources():
    image = small_map()
    model = beam_covariance_model(np.eye(2), rms=1.0, max_lag=5)
    noise = NoiseStatistics(covariance=model, step=1, beam=model, beam_fwhm=2.4, use="")
    one = MeasuredBand(
        band=BandImage(name="s250", image=image, wavelength=250.0), noise=noise,
        parameters=np.array([[2.0, 30.0, 20.0, 3.0, 2.0, 0.4]]), shape=np.array([[5.0, 0.0, 5.0]]),
        pattern=np.full(image.shape, 0.5),
    )  # fmt: skip
    plane = TangentPlane(ra=0.0, dec=0.0)
    return BandsExtraction(
        measured=(one,), options=Options(), sources=JointSources.empty(plane, 1),
        offsets=BandOffsets.none(1, reference=0),
        apertures=CommonApertures(
            band="s250", ellipse=np.zeros((0, 3)), radius_in_fwhm=1.0, fraction=np.zeros((0, 1)),
            flux=np.zeros((0, 1)), flux_err=np.zeros((0, 1)),
        ),
    )  # fmt: skip


def test_model_and_residual_add_up_to_the_map():
    extraction = extraction_without_sources()
    image = extraction.bands[0].image
    expected = gaussians.render(extraction.measured[0].parameters, image.shape) + 0.5
    np.testing.assert_array_equal(extraction.model_image("s250"), expected)
    np.testing.assert_allclose(extraction.residual_image("s250") + expected, image.data)
    assert np.isnan(extraction.background_image("s250")).all()


def test_an_unknown_band_is_named_with_those_there_are():
    with pytest.raises(InputError, match=r"^s251: no band of this name; there are s250$"):
        extraction_without_sources().model_image("s251")


def test_offsets_that_were_not_measured_have_no_error():
    offsets = BandOffsets.none(3, reference=1)
    assert not offsets.values.any()
    assert np.isnan(offsets.errors).any(axis=1).tolist() == [True, False, True]


# ---- the extraction


def simulated_field(seed, **changes):
    return simulate_bands(
        seed=seed, **{"size": 480.0, "n_sources": 9, "margin": 50.0, "flux_range": (0.3, 2.0), **changes}
    )


def images_by_name(simulated):
    return {one.band.name: one.image for one in simulated.maps}


WAVELENGTHS = {"p100": 100.0, "p160": 160.0, "s250": 250.0, "s350": 350.0, "s500": 500.0}


@pytest.fixture(scope="module")
def extracted():
    simulated = simulated_field(3)
    return simulated, extract_bands(images_by_name(simulated), wavelengths=WAVELENGTHS)


def matched(simulated, extraction, tolerance=6.0):
    """Rows of the truth and of the catalogue that belong together."""
    truth, sources = simulated.truth, extraction.sources
    place = sources.plane.offsets(truth["RA"].value, truth["DEC"].value)
    distance = np.hypot(*(place[:, None] - sources.position).transpose(2, 0, 1))
    true = np.flatnonzero(distance.min(axis=1) < tolerance)
    return true, distance.argmin(axis=1)[true]


def test_a_field_gives_one_catalogue_with_true_fluxes(extracted):
    simulated, extraction = extracted
    true, row = matched(simulated, extraction)
    assert true.size >= 8
    assert len(extraction.sources) <= true.size + 1
    for b, name in enumerate(WAVELENGTHS):
        flux = simulated.truth[f"FLUX_{name}"].to_value("Jy")[true]
        pulls = (extraction.sources.flux[row, b] - flux) / extraction.sources.flux_err[row, b]
        assert np.abs(np.median(pulls)) < 1.5
    assert len(extraction.catalog) == len(extraction.sources)
    assert len(extraction.long_catalog) == 5 * len(extraction.sources)


def test_negative_sources_are_refused_in_one_line():
    with pytest.raises(
        ConfigurationError, match=r"^detection\.negative: sources of several bands are positive"
    ):
        extract_bands({"s250": small_map()}, wavelengths=WAVELENGTHS, detection={"negative": True})


@pytest.mark.parametrize("power", [-24, 21])
def test_neither_the_unit_of_the_maps_nor_rounding_matters(extracted, power):
    """Errors changed by 1.4%: whether places one step beside a source count was left to rounding."""
    simulated, extraction = extracted
    rng, factor = np.random.default_rng(7), 10.0**power
    images = {
        name: image.with_data(factor * image.data * (1.0 + 1e-14 * rng.standard_normal(image.shape)))
        for name, image in images_by_name(simulated).items()
    }
    one, other = extraction.sources, extract_bands(images, wavelengths=WAVELENGTHS).sources
    for name in ("flux", "flux_err", "peak", "peak_err"):
        np.testing.assert_allclose(getattr(other, name) / factor, getattr(one, name), rtol=1e-6, err_msg=name)
    for name in ("position", "position_covariance", "shape", "shape_covariance", "significance"):
        ours, theirs = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-6 * np.abs(ours).max(), err_msg=name)
    for name in ("flags", "group", "neighbour"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name), err_msg=name)


def test_residuals_are_noise_and_cirrus(extracted):
    simulated, extraction = extracted
    for one in simulated.maps:
        residual = extraction.residual_image(one.band.name)
        left = residual - (one.cirrus + one.noise)
        assert np.std(left) < 0.2 * np.std(one.sources)


def with_wings(image):
    """A map whose beam has a wide pedestal of 2% of its peak, known from an image of the PSF."""
    beam, share, reach = image.beam, 0.02, int(5.0 * image.beam_fwhm_pix)
    y, x = image.pixel_scale * np.mgrid[-reach : reach + 1, -reach : reach + 1]
    values = share * np.exp(-4.0 * np.log(2.0) * (x**2 + y**2) / (2.5 * beam.fwhm) ** 2)
    known = PsfResidual(values=values, centre=(reach, reach), sides=(-image.pixel_scale, image.pixel_scale))
    area = beam.solid_angle * (1.0 + share * 2.5**2)
    wide = replace(beam, area=area, wings=2.5 * beam.fwhm, psf_residual=known)
    return replace(image, beam=wide)


@pytest.mark.parametrize("wings", [False, True])
def test_wide_beams_are_fitted_on_bins_and_their_maps_come_back(monkeypatch, wings):
    # Bins are small against the beam: fluxes are those of a fit of all pixels, by a part of their errors.
    changes = {"s350": {"pixel_scale": 3.0}, "s500": {"pixel_scale": 3.0}}
    simulated = simulated_field(3, bands={"p100": None, "p160": None, **changes}, pair_fraction=0.0)
    images = images_by_name(simulated)
    if wings:
        images = {name: with_wings(image) for name, image in images.items()}
    fixed = FixedSources(
        longitude=simulated.truth["RA"].value, latitude=simulated.truth["DEC"].value, frame="icrs"
    )
    on_bins = extract_bands(images, wavelengths=WAVELENGTHS, fixed=fixed)
    monkeypatch.setattr(bands_pipeline, "bin_size", lambda fwhm: 1)
    on_pixels = extract_bands(images, wavelengths=WAVELENGTHS, fixed=fixed)
    one, other = on_bins.sources, on_pixels.sources
    assert np.abs((one.flux - other.flux) / other.flux_err).max() < 0.5
    np.testing.assert_allclose(one.flux_err, other.flux_err, rtol=0.03)
    np.testing.assert_allclose(one.peak / one.flux, other.peak / other.flux, rtol=0.01)
    for b, name in enumerate(images):
        scale = simulated[name].cirrus.std()
        assert np.abs(one.background[:, b] - other.background[:, b]).max() < 0.5 * scale
        assert on_bins.model_image(name).shape == images[name].shape
        left = on_bins.residual_image(name) - on_pixels.residual_image(name)
        assert left.std() < 0.02 * images[name].data.std()
        assert (on_bins.band(name).pattern is not None) == wings
        assert ("on bins of" in on_bins.band(name).noise.use) == (name != "s250")
        covariance = on_bins.band(name).noise.covariance.variance
        assert covariance == pytest.approx(on_pixels.band(name).noise.covariance.variance, rel=0.01)


def test_given_sources_keep_their_order_and_negative_fluxes(extracted):
    simulated, _ = extracted
    truth = simulated.truth
    longitude = np.append(truth["RA"].value, truth["RA"].value.mean() + 0.04)
    latitude = np.append(truth["DEC"].value, truth["DEC"].value.mean() + 0.04)
    fixed = FixedSources(longitude=longitude, latitude=latitude, frame="icrs")
    forced = extract_bands(images_by_name(simulated), wavelengths=WAVELENGTHS, fixed=fixed)
    sky = forced.sources.sky
    np.testing.assert_allclose(sky[0], longitude, atol=1e-7)
    assert (forced.sources.flags & int(Flag.FORCED)).all()
    assert np.abs(forced.sources.snr[-1]).max() < 4.0


def test_a_band_that_covers_half_leaves_the_others_as_they_are(extracted):
    simulated, whole = extracted
    images = images_by_name(simulated)
    half = images["p160"].data.copy()
    half[:, : half.shape[1] // 2] = np.nan
    part = extract_bands({**images, "p160": images["p160"].with_data(half)}, wavelengths=WAVELENGTHS)
    assert 0 < part.sources.seen[:, 1].sum() < len(part.sources)
    assert part.sources.seen[:, 0].all()
    distance = np.hypot(*(part.sources.position[:, None] - whole.sources.position).transpose(2, 0, 1))
    near, other = np.nonzero(distance < 2.0)
    assert near.size >= len(whole.sources) - 1
    change = (part.sources.flux[near] - whole.sources.flux[other]) / whole.sources.flux_err[other]
    assert np.nanmedian(np.abs(change[:, [0, 2, 3]])) < 0.5
    blind = ~part.sources.seen[:, 1]
    assert np.isnan(part.sources.flux[blind, 1]).all()


def test_what_a_user_can_do_wrong_is_said_in_a_line():
    image = small_map()
    with pytest.raises(InputError, match=r"^a: its wavelength is not known"):
        extract_bands({"a": image})
    blank = image.with_data(np.full(image.shape, np.nan))
    with pytest.raises(InputError, match=r"^a: every pixel is blank"):
        extract_bands({"a": blank}, wavelengths={"a": 100.0})
    with pytest.raises(ConfigurationError, match=r"must be none, largest, or a band: a$"):
        extract_bands({"a": image}, wavelengths={"a": 100.0}, bands={"common_aperture": "b"})


def test_a_hot_pixel_is_no_source_and_moves_no_map():
    """It was fitted with a source of the other band, and the maps were thought to be seven pixels apart."""
    sky = simulate_image("faint", seed=5, shape=(120, 120), n_sources=12).image
    hot = sky.data.copy()
    hot[80, 80] += 100.0 * hot.std()
    wavelengths = {"a": 250.0, "b": 350.0}
    alone = extract_bands({"a": sky, "b": sky}, wavelengths=wavelengths)
    found = extract_bands({"a": sky, "b": sky.with_data(hot)}, wavelengths=wavelengths)
    (line,) = found.band("b").band.image.meta["fill"]
    assert line.startswith("1 pixel, at x = 80, y = 80 of ")
    assert np.isnan(found.band("b").band.image.data[80, 80])
    assert len(found.sources) == len(alone.sources)
    np.testing.assert_allclose(found.offsets.values, 0.0, atol=0.1 * sky.pixel_scale)
    np.testing.assert_allclose(found.sources.flux, alone.sources.flux, rtol=0.02)


@pytest.mark.parametrize(("value", "message"), [(0.0, "does not vary"), (1.0, "has no noise")])
def test_a_band_without_noise_is_refused(value, message):
    sky = simulate_image("faint", seed=5, shape=(80, 80), n_sources=4).image
    empty = value * gaussians.render(np.array([[1.0, 40.0, 40.0, 2.0, 2.0, 0.0]]), sky.shape)
    images = {"a": sky, "b": sky.with_data(empty)}
    with pytest.raises(InputError, match=rf"^b: the map {message}"):
        extract_bands(images, wavelengths={"a": 250.0, "b": 350.0})
