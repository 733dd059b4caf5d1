"""A field in several bands: spectra, shapes, positions, cirrus and noise against formulas of their own."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs.utils import skycoord_to_pixel

from hyper_py.bands.spectra import grey_body
from hyper_py.diagnostics import ConfigurationError
from hyper_py.simulation.band_models import BANDS_PRESETS, bands_model
from hyper_py.simulation.bands import simulate_bands

ONE = {"n_sources": 1, "pair_fraction": 0.0, "size": 600.0, "flux_range": (1.0, 1.0)}


def moments(image):
    """Sum, centroid and covariance of an image, by pixels."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    total = image.sum()
    centre = np.array([(image * x).sum(), (image * y).sum()]) / total
    d = np.stack([x - centre[0], y - centre[1]])
    return total, centre, np.einsum("iyx,jyx,yx->ij", d, d, image) / total


@pytest.mark.seeds(1, 2)
def test_one_source_in_all_bands(random_seed):
    field = simulate_bands("bands", seed=random_seed, **ONE)
    truth = field.truth[0]
    place = SkyCoord(truth["RA"], truth["DEC"])
    intrinsic = truth["FWHM_1"].value, truth["FWHM_2"].value
    for one in field.maps:
        total, centre, covariance = moments(one.sources)
        assert total == pytest.approx(truth[f"FLUX_{one.band.name}"].value, rel=1e-3)
        east, north = (value * u.arcsec for value in one.offset)
        displaced = place.spherical_offsets_by(east, north)
        np.testing.assert_allclose(centre, skycoord_to_pixel(displaced, one.image.wcs), atol=1e-3)
        axes = np.sqrt(8 * np.log(2) * np.linalg.eigvalsh(covariance)) * one.band.pixel_scale
        expected = np.hypot(np.array(intrinsic)[::-1], one.band.beam)
        np.testing.assert_allclose(axes, expected, rtol=2e-3)
    ratio = truth["FLUX_s350"] / truth["FLUX_p160"]
    spectrum = grey_body(np.array([350.0, 160.0]), truth["TEMPERATURE"].value, 1.8)
    assert float(ratio) == pytest.approx(spectrum[0] / spectrum[1])


def test_position_angles_survive_another_frame_and_projection():
    bands = {"s350": {"frame": "galactic", "projection": "SIN", "rotation": 40.0, "pixel_scale": 3.0}}
    long = {"fwhm_range": (30.0, 30.0), "axis_ratio_range": (2.0, 2.0)}
    field = simulate_bands("bands", seed=5, bands=bands, **ONE, **long)
    one, truth = field["s350"], field.truth[0]
    _, centre, covariance = moments(one.sources)
    major = np.linalg.eigh(covariance)[1][:, 1]
    ahead = one.image.wcs.pixel_to_world(*(centre + 0.5 * major)).icrs
    behind = one.image.wcs.pixel_to_world(*(centre - 0.5 * major)).icrs
    angle = behind.position_angle(ahead).deg % 180.0
    assert abs((angle - truth["PA"].value + 90.0) % 180.0 - 90.0) < 0.3
    assert one.image.frame == "galactic"


def test_noise_and_cirrus_are_as_strong_as_asked():
    field = simulate_bands("bands_simple", seed=3, n_sources=0)
    for one in field.maps:
        assert np.std(one.noise) / one.image.jy_per_pixel == pytest.approx(one.band.noise, rel=0.05)
        neighbour = np.corrcoef(one.noise[:, :-1].ravel(), one.noise[:, 1:].ravel())[0, 1]
        assert 0.3 < neighbour < 0.9
    # 3.5 MJy/sr in an 18" beam are 30 mJy/beam; the beam takes little from so steep a spectrum.
    s250 = field["s250"]
    assert np.std(s250.cirrus) / s250.image.jy_per_pixel == pytest.approx(0.0305, rel=0.1)
    spectrum = grey_body(np.array([350.0, 250.0]), 16.0, 1.8)
    per_area = [np.std(field[name].cirrus) / field[name].band.pixel_scale ** 2 for name in ("s350", "s250")]
    assert per_area[0] / per_area[1] == pytest.approx(spectrum[0] / spectrum[1], rel=0.05)


def test_cirrus_has_one_pattern_unless_asked():
    def correlation(**options):
        bands = {"s250": {"pixel_scale": 6.0}, "p160": {"pixel_scale": 6.0}}
        field = simulate_bands("bands_simple", seed=3, n_sources=0, bands=bands, **options)
        return np.corrcoef(field["s250"].cirrus.ravel(), field["p160"].cirrus.ravel())[0, 1]

    assert correlation() > 0.99
    assert correlation(cirrus_own=1.0) < 0.9


def test_bands_do_not_depend_on_each_other():
    whole = simulate_bands("bands", seed=4, size=400.0, n_sources=5)
    bands = {"p160": None, "s500": {"coverage": 0.5}}
    fewer = simulate_bands("bands", seed=4, size=400.0, n_sources=3, bands=bands)
    assert [one.band.name for one in fewer.maps] == ["p100", "s250", "s350", "s500"]
    for name in ("p100", "s250", "s350"):
        np.testing.assert_array_equal(whole[name].noise, fewer[name].noise)
        assert whole[name].offset == fewer[name].offset
    assert fewer["s500"].image.shape[1] == round(0.5 * fewer["s500"].image.shape[0])
    covers = fewer.truth["COVERS_s500"]
    x, _ = skycoord_to_pixel(SkyCoord(fewer.truth["RA"], fewer.truth["DEC"]), whole["p100"].image.wcs)
    np.testing.assert_array_equal(covers, x < 100.0)
    assert whole["p100"].offset == (0.0, 0.0)
    assert whole["s500"].offset != (0.0, 0.0)


def test_sizes_grow_with_wavelength_on_request():
    shape = {"fwhm_range": (20.0, 20.0), "axis_ratio_range": (1.0, 1.0), "size_exponent": 0.5}
    field = simulate_bands("bands", seed=1, **ONE, **shape)
    one = field["s500"]
    _, _, covariance = moments(one.sources)
    size = np.sqrt(8 * np.log(2)) * np.linalg.det(covariance) ** 0.25 * one.band.pixel_scale
    assert size == pytest.approx(np.hypot(20.0 * 2**0.5, 36.0), rel=2e-3)


@pytest.mark.seeds(7)
def test_pairs_stand_as_near_as_asked(random_seed):
    model = BANDS_PRESETS["bands"]
    bands = dict.fromkeys(["p100", "p160", "s250", "s350"])
    truth = simulate_bands("bands", seed=random_seed, n_sources=60, bands=bands).truth
    nearest = truth["NEAREST"].value
    low, high = model.pair_separation
    assert np.count_nonzero(nearest < high + 0.1) >= 40
    assert np.count_nonzero(nearest < low - 0.1) <= 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "band"}, "did you mean 'bands'?"),
        ({"n_source": 3}, "did you mean 'n_sources'?"),
        ({"size": -1.0}, "size is -1.0"),
        ({"bands": {"s500": {"frame": "fk6"}}}, "bands.s500.frame is 'fk6'"),
        ({"bands": {"s500": 3}}, "must be fields of a band"),
        ({"bands": dict.fromkeys(["p100", "p160", "s250", "s350", "s500"])}, "at least one"),
        ({"fwhm_range": (3.0, 1.0)}, "fwhm_range"),
    ],
)
def test_wrong_models_are_refused(change, message):
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        bands_model(change.pop("preset", "bands"), **change)
