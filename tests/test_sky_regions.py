"""Regions in memory; that their files lie on the sources is shown in test_products."""

import numpy as np
import pytest
from astropy.table import Table

from hyper_py.sky_regions import source_regions
from runner_tasks import make_wcs


def catalogue(n=3):
    rng = np.random.default_rng(4)
    columns = {name: rng.uniform(10, 50, n) for name in ("X", "Y", "FWHM_1", "FWHM_2", "PA")}
    return Table({"HYPER_ID": np.arange(1, n + 1), **columns})


@pytest.mark.parametrize(
    ("kind", "equinox", "frame"),
    [
        ("RA/DEC", None, "icrs"),
        ("GLON/GLAT", None, "galactic"),
        ("ELON/ELAT", None, "icrs"),
        ("RA/DEC", 2000.0, "fk5"),
        ("RA/DEC", 1975.0, "icrs"),
    ],
)
def test_regions_are_in_a_frame_that_viewers_know(kind, equinox, frame):
    wcs = make_wcs(kind=kind)
    if equinox:
        wcs.wcs.radesys, wcs.wcs.equinox = "FK5", equinox
    centroids, ellipses = source_regions(catalogue(), wcs, fwhm_radius_ratio=1.0)
    assert {region.center.frame.name for region in [*centroids, *ellipses]} == {frame}


def test_apertures_have_the_radius_asked_for():
    table = catalogue()
    _, ellipses = source_regions(table, make_wcs(), fwhm_radius_ratio=0.5)
    np.testing.assert_allclose([region.width.to_value("arcsec") for region in ellipses], table["FWHM_1"])
    np.testing.assert_allclose([region.height.to_value("arcsec") for region in ellipses], table["FWHM_2"])
