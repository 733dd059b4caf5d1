"""Pixels and the plane of the field, against the whole chain of astropy."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS

from hyper_py.bands.mapping import PixelMapping, icrs_degrees
from hyper_py.bands.plane import TangentPlane
from hyper_py.diagnostics import InputError
from hyper_py.geometry import Beam
from hyper_py.image import SkyImage

CASES = {
    "tan": (("RA---TAN", "DEC--TAN"), (84.0, -2.0), 0.0),
    "rotated sin": (("RA---SIN", "DEC--SIN"), (84.1, -2.1), 37.0),
    "galactic": (("GLON-CAR", "GLAT-CAR"), (206.5, -17.3), 0.0),
}


def image_of(ctype, crval, angle, *, side=200, pixel=6.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ctype, crval, [0.4 * side, 0.6 * side]
    wcs.wcs.cdelt = [-pixel / 3600.0, pixel / 3600.0]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.pc = [[cos, -sin], [sin, cos]]
    return SkyImage(data=np.zeros((side, side + 30)), wcs=wcs, beam=Beam(major=18.0, minor=18.0))


@pytest.mark.parametrize("case", CASES)
def test_positions_are_those_of_the_whole_transformation_and_back(case, rng):
    image, plane = image_of(*CASES[case]), TangentPlane(ra=84.0, dec=-2.0)
    mapping = PixelMapping.of(image, plane)
    pixels = rng.uniform(-20.0, 220.0, (60, 2))
    expected = plane.offsets(*icrs_degrees(image.wcs, *pixels.T))
    np.testing.assert_allclose(mapping.position(pixels), expected, atol=1e-4)
    np.testing.assert_allclose(mapping.pixels(expected), pixels, atol=1e-4)
    step = 0.01 * np.eye(2)
    differences = np.stack(
        [mapping.position(pixels + s) - mapping.position(pixels - s) for s in step], axis=-1
    )
    np.testing.assert_allclose(mapping.jacobian(pixels), differences / 0.02, atol=1e-6)


def test_bins_of_pixels_are_at_their_middle(rng):
    whole = PixelMapping.of(image_of(*CASES["rotated sin"]), TangentPlane(ra=84.0, dec=-2.0))
    bins = replace(whole, size=3)
    pixels = rng.integers(2, 60, (20, 2)).astype(np.float64)
    own = 3.0 * pixels[:, None] + np.stack(np.mgrid[:3, :3], axis=-1).reshape(-1, 2)
    middle = whole.position(own.reshape(-1, 2)).reshape(20, 9, 2).mean(axis=1)
    np.testing.assert_allclose(bins.position(pixels), middle, atol=1e-5)
    np.testing.assert_allclose(bins.pixels(middle), pixels, atol=1e-5)
    np.testing.assert_allclose(bins.jacobian(pixels), 3.0 * whole.jacobian(own[:, 4]), rtol=1e-12)


def test_places_far_off_the_map_are_off_it():
    mapping = PixelMapping.of(image_of(*CASES["tan"]), TangentPlane(ra=84.0, dec=-2.0))
    far = mapping.pixels(np.array([[9000.0, 0.0], [0.0, -9000.0]]))
    assert (np.abs(far) > 500.0).any(axis=1).all()


def test_a_map_on_the_far_half_of_the_sky_is_refused():
    with pytest.raises(InputError, match="more than 90 degrees"):
        PixelMapping.of(image_of(*CASES["tan"]), TangentPlane(ra=264.0, dec=2.0))
