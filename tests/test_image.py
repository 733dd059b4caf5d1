"""`SkyImage`: what it checks and what it derives."""

import numpy as np
import pytest
from astropy.wcs import WCS

from hyper_py.diagnostics import InputError
from hyper_py.geometry import Beam
from hyper_py.image import SkyImage


def make_wcs(ctype=("RA---TAN", "DEC--TAN"), crpix=(10.0, 8.0), cdelt=(-2.0, 2.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = list(ctype), [50.0, 20.0], list(crpix)
    wcs.wcs.cdelt = np.array(cdelt) / 3600.0
    wcs.wcs.set()
    return wcs


def make_image(**changes):
    given = {"data": np.zeros((16, 20)), "wcs": make_wcs(), "beam": Beam(major=8.0, minor=6.0, pa=30.0)}
    return SkyImage(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": np.zeros((16, 20), dtype=np.float32)}, "float64"),
        ({"data": np.zeros((2, 16, 20))}, "2D"),
        ({"error": np.zeros((3, 3))}, "error map of shape"),
        ({"primary_beam": np.zeros((20, 16))}, "primary beam of shape"),
        ({"wcs": WCS(naxis=2)}, "celestial"),
    ],
)
def test_what_is_not_a_map_is_refused(changes, text):
    with pytest.raises(InputError, match=text):
        make_image(**changes)


def test_the_central_beam_has_the_size_of_the_map_s():
    image = make_image()
    axes = np.sqrt(8.0 * np.log(2.0) * np.linalg.eigvalsh(image.central_beam_covariance)) * image.pixel_scale
    assert axes == pytest.approx([image.beam.minor, image.beam.major], rel=1e-6)
    np.testing.assert_array_equal(image.central_beam_covariance, image.beam_covariance(9.5, 7.5))


def test_scales_follow_the_pixel():
    image = make_image(wcs=make_wcs(cdelt=(-2.0, 3.0)))
    assert image.pixel_scale == pytest.approx(np.sqrt(6.0), rel=1e-6)
    assert image.beam_area_pix == pytest.approx(np.pi / (4 * np.log(2)) * 48.0 / 6.0, rel=1e-6)
    assert np.linalg.det(image.beam_covariance(3.0, 4.0)) * 36.0 == pytest.approx(
        np.linalg.det(image.beam.covariance), rel=1e-5
    )


def test_reference_off_the_map_is_the_centre():
    image = make_image(wcs=make_wcs(crpix=(-4000.0, 8.0)))
    np.testing.assert_allclose(image.reference_jacobian, image.jacobian(9.5, 7.5), rtol=1e-12)


def test_flat_noise_undoes_the_primary_beam():
    data, response = np.full((16, 20), 3.0), np.full((16, 20), 0.5)
    assert np.all(make_image(data=data, primary_beam=response).flat_noise == 1.5)
    assert make_image(data=data).flat_noise is data


def test_noise_is_even_after_error_or_primary_beam():
    rng = np.random.default_rng(3)
    error, response = rng.uniform(1.0, 5.0, (16, 20)), rng.uniform(0.2, 1.0, (16, 20))
    data = np.ones((16, 20))
    data[3, 4] = error[5, 6] = np.nan
    assert make_image(data=data).relative_rms is None
    assert make_image(data=data).flattened is data
    image = make_image(data=data, error=error, primary_beam=response)
    known = np.isfinite(data) & np.isfinite(error)
    assert np.median(image.relative_rms[known]) == pytest.approx(1.0)
    np.testing.assert_allclose((image.flattened * error)[known], np.median(error[known]))
    assert image.relative_rms[3, 4] == image.relative_rms[5, 6] == 1.0
    image = make_image(data=data, primary_beam=response)
    ratio = (image.flattened / image.flat_noise)[np.isfinite(data)]
    np.testing.assert_allclose(ratio, ratio[0])


@pytest.mark.parametrize(
    ("ctype", "equinox", "radesys", "frame"),
    [
        (("RA---TAN", "DEC--TAN"), 2000.0, "FK5", "fk5"),
        (("RA---TAN", "DEC--TAN"), 1950.0, "FK4", "fk4"),
        (("RA---SIN", "DEC--SIN"), np.nan, "ICRS", "icrs"),
        (("GLON-CAR", "GLAT-CAR"), np.nan, "", "galactic"),
        (("GLON-CAR", "GLAT-CAR"), 2000.0, "FK5", "galactic"),
        (("ELON-CAR", "ELAT-CAR"), 2000.0, "ICRS", "barycentricmeanecliptic"),
    ],
)
def test_frames(ctype, equinox, radesys, frame):
    wcs = make_wcs(ctype)
    wcs.wcs.equinox, wcs.wcs.radesys = equinox, radesys
    assert make_image(wcs=wcs).frame == frame


def test_frame_of_no_sky():
    with pytest.raises(InputError, match="XLON-CAR, XLAT-CAR cannot be turned into ICRS"):
        make_image(wcs=make_wcs(("XLON-CAR", "XLAT-CAR")))
