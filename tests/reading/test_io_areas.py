"""Masks and regions of a map from FITS files, region files and MOCs, in memory and in pieces."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from mocpy import MOC

from helpers.fits_maps import SHAPE, extensions, make_data, make_header, write_map
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.reading.io import open_cube, read_image

TEXT = "image; polygon(5, 5, 20, 6, 12, 19) \n image; -box(10, 10, 4, 4, 0)"


def inside():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    corners = [(4.0, 4.0), (19.0, 5.0), (11.0, 18.0)]
    sides = [
        (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    hole = (np.abs(x - 9) < 2) & (np.abs(y - 9) < 2)
    return np.all(np.array(sides) > 0, axis=0) & ~hole


def area_files(tmp_path):
    (tmp_path / "a.reg").write_text(TEXT)
    fits.PrimaryHDU(inside().astype(np.int16)).writeto(tmp_path / "a.fits")
    return {"text": TEXT, "file": tmp_path / "a.reg", "fits": tmp_path / "a.fits", "array": inside()}


@pytest.mark.parametrize("form", ["text", "file", "fits", "array"])
@pytest.mark.parametrize("max_memory", [None, 1e6])
def test_masks_and_regions_of_any_form(tmp_path, form, max_memory):
    path, where = write_map(tmp_path / "m.fits"), area_files(tmp_path)[form]
    assert 20 < inside().sum() < 200
    # The corner of a polygon, and pixels on its sides, belong to either side.
    image = read_image(path, mask=where, max_memory=max_memory)
    np.testing.assert_array_equal(np.isnan(np.asarray(image.data)), inside())
    for keep in ("inside", "outside"):
        image = read_image(path, region=where, region_keep=keep, max_memory=max_memory)
        assert image.is_whole == (max_memory is None)
        assert np.isfinite(np.asarray(image.data)).all()
        expected = inside() if keep == "inside" else ~inside()
        np.testing.assert_array_equal(np.asarray(image.searched) != 0.0, expected)


def test_moc_in_fits_is_told_from_an_image(tmp_path):
    path = write_map(tmp_path / "m.fits")
    image = read_image(path)
    centre = image.wcs.pixel_to_world(14, 11)
    moc = MOC.from_cone(centre.ra, centre.dec, radius=25 * u.arcsec, max_depth=18)
    moc.save(tmp_path / "moc.fits", format="fits")
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = image.wcs.pixel_to_world(x, y).separation(centre).to_value(u.arcsec)
    masked = np.isnan(read_image(path, mask=tmp_path / "moc.fits").data)
    # Cells have sides of 0.8".
    assert masked[distance < 25.0].all()
    assert not masked[distance > 26.5].any()


def test_not_a_number_is_masked_but_not_searched(tmp_path):
    values = inside().astype(np.float64)
    values[0, 0] = np.nan
    path = write_map(tmp_path / "m.fits", hdus=[fits.ImageHDU(values, name="AREA")], EXTEND=True)
    assert np.isnan(read_image(path, hdu=0, mask="AREA").data[0, 0])
    assert not read_image(path, hdu=0, region="AREA").searched[0, 0]


def test_channels_share_a_region(tmp_path):
    header = make_header(CTYPE3="FREQ", CRVAL3=1e11, CRPIX3=1.0, CDELT3=1e9, CUNIT3="Hz")
    fits.PrimaryHDU(make_data((3, *SHAPE)), header).writeto(tmp_path / "c.fits")
    with open_cube(tmp_path / "c.fits", region=TEXT, mask="image; circle(25, 20, 2)") as cube:
        for image in cube:
            np.testing.assert_array_equal(image.searched, inside())
            assert np.isnan(image.data).sum() == 9


def test_faults_are_one_line(tmp_path):
    path = write_map(tmp_path / "m.fits")
    with pytest.raises(ConfigurationError, match=r"^io\.mask: [^\n]*No such file[^\n]*$"):
        read_image(path, mask=tmp_path / "none.reg")
    with pytest.raises(InputError, match=r"detection\.region"):
        read_image(path, region=np.zeros((3, 3), dtype=bool))
    with pytest.raises(InputError, match=r"set detection\.region$"):
        read_image(path, region="NOWHERE")
    assert "SMALL" in extensions()
