"""A beam from an image of the PSF."""

import math

import numpy as np
import pytest
from astropy.io import fits

from hyper_py.diagnostics import InputError
from hyper_py.geometry import GAUSSIAN_AREA
from hyper_py.reading.psf import beam_from_psf


def gaussian(major, minor, pa, *, peak=3.0, centre=(30.3, 29.6), shape=(61, 61)):
    """FWHM in pixels; position angle from +y towards -x."""
    y, x = np.indices(shape)
    east, north = -(x - centre[0]), y - centre[1]
    sin, cos = math.sin(math.radians(pa)), math.cos(math.radians(pa))
    along, across = east * sin + north * cos, east * cos - north * sin
    return peak * np.exp(-4 * math.log(2) * ((along / major) ** 2 + (across / minor) ** 2))


@pytest.mark.parametrize("pa", [0.0, 25.0, 90.0, 140.0])
def test_a_gaussian_is_found_exactly(tmp_path, pa):
    path = tmp_path / "psf.fits"
    fits.PrimaryHDU(gaussian(8.0, 5.0, pa)).writeto(path)
    beam = beam_from_psf(path, pixel=2.0)
    assert (beam.major, beam.minor) == pytest.approx((16.0, 10.0), rel=1e-6)
    assert math.sin(math.radians(beam.pa - pa)) == pytest.approx(0.0, abs=1e-6)
    assert beam.area == pytest.approx(math.pi / (4 * math.log(2)) * 160.0, rel=1e-6)


def test_wings_are_in_the_area_and_not_in_the_core(tmp_path):
    path = tmp_path / "psf.fits"
    data = gaussian(6.0, 6.0, 0.0) + 0.02 * gaussian(25.0, 25.0, 0.0)
    fits.PrimaryHDU(data, fits.Header({"CDELT1": -1 / 3600, "CDELT2": 1 / 3600})).writeto(path)
    beam = beam_from_psf(path)
    assert beam.major == pytest.approx(6.0, rel=0.03)
    assert beam.area == pytest.approx(data.sum() / data.max(), rel=0.03)


@pytest.mark.parametrize(("share", "wide"), [(0.1, 14.0), (0.2, 20.0), (0.3, 30.0)])
def test_flux_of_a_wider_source_is_found_through_its_wings(tmp_path, share, wide):
    """A source as wide as the core, fitted as `beam_from_psf` fits, has its flux by the beam's factor."""
    path, other = tmp_path / "psf.fits", tmp_path / "source.fits"
    shape, centre = (161, 161), (80.2, 79.7)

    def image(size):
        widths = math.hypot(6.0, size), math.hypot(wide, size)
        return sum(
            gaussian(width, width, 0.0, peak=part / width**2, centre=centre, shape=shape)
            for part, width in zip((1 - share, share), widths, strict=True)
        )

    fits.PrimaryHDU(image(0.0)).writeto(path)
    fits.PrimaryHDU(image(6.0)).writeto(other)
    beam, source = beam_from_psf(path, pixel=1.0), beam_from_psf(other, pixel=1.0)
    share_of_gaussian = GAUSSIAN_AREA * source.major * source.minor / source.area
    assert share_of_gaussian < 0.98
    assert beam.flux_factor(source.fwhm) * share_of_gaussian == pytest.approx(1.0, rel=0.01)
    assert beam.wings == pytest.approx(wide, rel=0.5)


def test_pixels_of_the_header(tmp_path):
    path = tmp_path / "psf.fits"
    data = gaussian(8.0, 5.0, 25.0)
    for keys, unit, scale in (
        (("CDELT1", "CDELT2"), None, 2.0 / 3600),
        (("CD1_1", "CD2_2"), "deg", 2.0 / 3600),
        (("CDELT1", "CDELT2"), "arcsec", 2.0),
    ):
        for mirror in (-1, 1):  # east to the left, to the right
            header = fits.Header({keys[0]: mirror * scale, keys[1]: scale})
            if unit is not None:
                header["CUNIT1"] = header["CUNIT2"] = unit
            fits.PrimaryHDU(data, header).writeto(path, overwrite=True)
            beam = beam_from_psf(path)
            assert (beam.major, beam.minor) == pytest.approx((16.0, 10.0), rel=1e-6)
            assert beam.pa == pytest.approx(25.0 if mirror < 0 else 155.0, abs=1e-5)
    for changes in ({"CDELT1": "x"}, {"CDELT1": 0.0}, {"CUNIT1": "pixel"}):
        header = fits.Header({"CDELT1": -1.0, "CDELT2": 1.0, **changes})
        fits.PrimaryHDU(data, header).writeto(path, overwrite=True)
        with pytest.raises(InputError, match=r"set survey\.psf_pixel"):
            beam_from_psf(path)
        assert beam_from_psf(path, pixel=2.0).major == pytest.approx(16.0, rel=1e-6)
    for pixel in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="must be a positive number"):
            beam_from_psf(path, pixel=pixel)


def test_what_is_no_psf(tmp_path):
    path = tmp_path / "psf.fits"
    fits.PrimaryHDU(gaussian(8.0, 5.0, 0.0)).writeto(path)
    with pytest.raises(InputError, match=r"psf: the size of .* set survey\.psf_pixel"):
        beam_from_psf(path)
    for data in (
        np.zeros((9, 9)),
        np.eye(1, 81).reshape(9, 9),
        -np.ones((9, 9)),
        np.full((9, 9), np.nan),
        np.ones((9, 9)),
    ):
        fits.PrimaryHDU(data).writeto(path, overwrite=True)
        with pytest.raises(InputError, match=r"psf: .*not an image of a PSF"):
            beam_from_psf(path, pixel=1.0)
