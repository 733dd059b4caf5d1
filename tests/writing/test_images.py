"""Images keep the unit and the coordinates of their map."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from helpers.runner_tasks import make_wcs
from hyper_py.geometry import (
    Beam,
)
from hyper_py.image import SkyImage
from hyper_py.writing.images import write_image


def test_images_are_in_the_unit_and_coordinates_of_the_map(tmp_path):
    image = SkyImage(
        data=np.zeros((60, 64)),
        wcs=make_wcs(angle=20.0),
        beam=Beam(major=12.0, minor=11.0, pa=40.0),
        unit="MJy/sr",
        jy_per_pixel=9.4e-5,
    )
    data = np.random.default_rng(1).normal(size=(60, 64))
    data[3, 4] = np.nan
    write_image(tmp_path / "i.fits", data, image, what="sum of the fitted Gaussians")
    with fits.open(tmp_path / "i.fits") as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        np.testing.assert_allclose(hdus[0].data * 9.4e-5, data, rtol=1e-6)
    assert (header["BUNIT"], header["BPA"], header["BITPIX"]) == ("MJy/sr", 40.0, -32)
    assert header["BMAJ"] == pytest.approx(12.0 / 3600.0)
    np.testing.assert_allclose(WCS(header).wcs_pix2world([[3, 50]], 0), image.wcs.wcs_pix2world([[3, 50]], 0))
