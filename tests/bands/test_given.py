"""Given sources in several bands."""

import numpy as np

from helpers.aligned_bands import images_of, small_field
from hyper_py.bands.band import common_plane
from hyper_py.bands.given import given_sources
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import Flag


def test_given_sources_stand_where_they_are_given_and_those_on_no_map_are_flagged():
    simulated, bands, truth = small_field(seed=9)
    plane = common_plane(images_of(simulated))
    sky = np.column_stack([plane.sky(truth.position), [83.0, -2.0]])
    fixed = FixedSources(longitude=sky[0], latitude=sky[1], frame="icrs")
    found = given_sources(bands, fixed, plane)
    np.testing.assert_allclose(found.position[:-1], truth.position, atol=1e-6)
    assert (found.flags[:-1] == int(Flag.FORCED)).all()
    assert found.flags[-1] == int(Flag.FORCED | Flag.NOT_ON_MAP)
    assert not found.shape.any()


def test_shapes_that_are_not_intrinsic_lose_the_sharpest_beam():
    simulated, bands, truth = small_field(seed=9)
    plane = common_plane(images_of(simulated))
    longitude, latitude = plane.sky(truth.position[:1])
    given = {"longitude": longitude, "latitude": latitude, "frame": "icrs", "pa": np.array([20.0])}
    shown = FixedSources(**given, fwhm_1=np.array([10.0]), fwhm_2=np.array([8.0]))
    intrinsic = FixedSources(**given, fwhm_1=np.array([6.0]), fwhm_2=np.array([5.0]), intrinsic=True)
    beam = bands[0].beams(truth.position[:1])
    first, second = (given_sources(bands, one, plane).shape for one in (shown, intrinsic))
    np.testing.assert_allclose(
        (first + beam)[0, [0, 2]].sum(), (100.0 + 64.0) / 2.3548200450309493**2, rtol=1e-6
    )
    np.testing.assert_allclose(second[0, [0, 2]].sum(), (36.0 + 25.0) / 2.3548200450309493**2, rtol=1e-6)
