"""The common tangent plane against astropy's projection."""

import numpy as np
import pytest
from astropy.wcs import WCS

from hyper_py.bands.plane import TangentPlane


def projection(ra, dec):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], [1.0, 1.0]
    wcs.wcs.cdelt = [1.0 / 3600.0, 1.0 / 3600.0]
    return wcs


@pytest.mark.parametrize(("ra", "dec"), [(84.0, -2.0), (359.9, 61.0), (12.0, -89.9)])
def test_offsets_are_those_of_a_gnomonic_projection(ra, dec, rng):
    plane, wcs = TangentPlane(ra=ra, dec=dec), projection(ra, dec)
    offsets = rng.uniform(-4000.0, 4000.0, (50, 2))
    longitude, latitude = wcs.all_pix2world(offsets, 0).T
    np.testing.assert_allclose(plane.offsets(longitude, latitude), offsets, atol=1e-6)
    sky = plane.sky(offsets)
    np.testing.assert_allclose(np.mod(sky[0] - longitude + 180.0, 360.0), 180.0, atol=1e-6)
    np.testing.assert_allclose(sky[1], latitude, atol=1e-9)


def test_the_far_half_of_the_sky_is_not_on_it():
    plane = TangentPlane(ra=10.0, dec=20.0)
    assert np.isnan(plane.offsets([190.0, 100.5], [-20.0, 0.0])[0]).all()


def test_its_centre_is_the_mean_direction_also_across_the_meridian():
    plane = TangentPlane.around([359.0, 1.0], [5.0, 5.0])
    assert min(plane.ra, 360.0 - plane.ra) < 1e-9
    assert plane.dec == pytest.approx(5.0, abs=1e-3)
