"""Reading maps: pixels, packings, damaged files."""

import gzip

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from helpers.fits_maps import (
    BEAM_PIXELS,
    BMAJ,
    BMIN,
    PIXEL,
    SHAPE,
    make_data,
    make_header,
    write_map,
)
from hyper_py.diagnostics import InputError
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import open_cube, read_image


def test_plain_map(path):
    image = read_image(write_map(path, OBJECT="M 42", RESTFRQ=345e9))
    np.testing.assert_allclose(image.data, make_data() / BEAM_PIXELS, rtol=1e-6)
    assert image.name == "map"
    assert image.unit == "Jy/beam"
    assert image.data.dtype == np.float64
    assert (image.beam.major, image.beam.minor, image.beam.pa) == pytest.approx((BMAJ, BMIN, 30.0))
    assert image.meta["frequency"] == 345e9
    assert image.meta["object"] == "M 42"
    assert image.meta["notes"] == ()
    assert image.meta["unit_source"] == "BUNIT"


@pytest.mark.parametrize(
    "name", ["map.fits", "map.fit", "map.FITS", "map.fits.gz", "map.fits.fz", "map.fit.gz"]
)
def test_name_and_packing(tmp_path, name):
    plain = write_map(tmp_path / "x.fits", BUNIT="MJy/sr")
    data, header = fits.getdata(plain), fits.getheader(plain)
    path = tmp_path / name
    if name.endswith("fz"):
        packed = fits.CompImageHDU(data, header, compression_type="GZIP_2", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        path.write_bytes(plain.read_bytes())
    image = read_image(path)
    assert image.name == "map"
    np.testing.assert_allclose(image.data, data * 1e6 * (PIXEL * u.arcsec).to_value(u.rad) ** 2, rtol=1e-6)


def test_scaled_integers_with_blank(path):
    stored = np.arange(24 * 30, dtype=np.int16).reshape(SHAPE)
    hdu = fits.PrimaryHDU(stored, make_header(BUNIT="Jy/pixel", BLANK=7))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.25, -3.0
    hdu.writeto(path)
    raw = bytearray(path.read_bytes())  # astropy would have scaled the array while writing
    at = len(hdu.header.tostring())
    raw[at : at + stored.nbytes] = stored.astype(">i2").tobytes()
    path.write_bytes(bytes(raw))
    header = fits.getheader(path)
    if "BSCALE" not in header:
        pytest.fail("the test's file lost its BSCALE")
    image = read_image(path)
    expected = np.where(stored == 7, np.nan, 0.25 * stored - 3.0)
    np.testing.assert_allclose(image.data, expected)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f4", ">i4", ">i2", "u1"])
def test_kinds_of_numbers(path, dtype):
    data = np.arange(24 * 30).reshape(SHAPE).astype(dtype)
    np.testing.assert_allclose(read_image(write_map(path, data, BUNIT="Jy")).data, data.astype(float))


@pytest.mark.parametrize("scale", [1e300, 1e120])
def test_values_that_no_map_has(path, scale):
    with pytest.raises(InputError, match=r"map.*: HDU 0 has values above 1e\+100: correct BSCALE"):
        read_image(write_map(path, make_data() * scale))
    whole = fits.PrimaryHDU(np.ones(SHAPE, dtype=np.int16), make_header())
    whole.writeto(path, overwrite=True)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as file:
        file[0].header["BSCALE"] = scale
    with pytest.raises(InputError):  # in the precision that astropy gives short integers it is infinite
        read_image(path)


def test_scattered_blank_pixels(path):
    """Sources keep their fluxes: what is blank in an aperture is taken from the model, and counted."""
    rng = np.random.default_rng(17)
    sources = np.array([[40.0, 20.0, 18.0, 2.0, 2.0, 0.0], [30.0, 44.0, 40.0, 2.0, 2.0, 0.0]])
    whole = gaussians.render(sources, (64, 64)) + rng.normal(size=(64, 64))
    blank = np.where(rng.random(whole.shape) < 0.03, np.nan, whole)
    beam = {"BMAJ": 4.71 * PIXEL / 3600, "BMIN": 4.71 * PIXEL / 3600, "CRPIX1": 32.0, "CRPIX2": 32.0}
    full, partly = (
        extract_sources(read_image(write_map(path.with_name(name), data, **beam))).catalog
        for name, data in (("whole.fits", whole), ("blank.fits", blank))
    )
    assert len(full) == len(partly) == 2
    difference = (partly["FLUX"] - full["FLUX"]) / full["FLUX_ERR"]
    assert (np.abs(difference) < 3.0).all()
    assert partly["N_BLANK"].sum() > 0


def test_infinite_pixels_are_blank(path):
    data = make_data()
    data[2, 3], data[4, 5], data[6, 7] = np.inf, -np.inf, np.nan
    image = read_image(write_map(path, data))
    assert list(zip(*np.nonzero(np.isnan(image.data)), strict=True)) == [(2, 3), (4, 5), (6, 7)]


def test_missing_file_and_directory(tmp_path):
    for where in (tmp_path / "none.fits", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            read_image(where)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"SIMPLE  =                    T", b"\x1f\x8b\x08rubbish", b"\0" * 5000]
)
def test_not_fits(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^map\.fits: "):
        read_image(path)


@pytest.mark.parametrize("keep", [3000, 4000, 5760])
def test_truncated(path, keep):
    path.write_bytes(write_map(path, make_data((60, 60))).read_bytes()[:keep])
    with pytest.raises(InputError, match=r"map\.fits: .*(cut short|cannot be read)"):
        read_image(path)


def test_truncated_gzip(tmp_path):
    packed = gzip.compress(write_map(tmp_path / "x.fits", make_data((60, 60))).read_bytes())
    path = tmp_path / "map.fits.gz"
    path.write_bytes(packed[: len(packed) // 2])
    for read in (read_image, open_cube):
        with pytest.raises(InputError, match=r"map\.fits\.gz: "):
            read(path)


@pytest.mark.parametrize("tail", [b"x", b"\0" * 20000, b" " * 2880, b"\n" * 5])
def test_stray_bytes_do_no_harm(path, tail):
    path.write_bytes(write_map(path).read_bytes() + tail)
    assert read_image(path).shape == SHAPE


def test_more_data_than_the_header_says_is_refused(path):
    write_map(path, make_data((60, 60)))
    raw = path.read_bytes().replace(b"BITPIX  =                  -64", b"BITPIX  =                  -32")
    path.write_bytes(raw)
    with pytest.raises(InputError, match="a header is wrong"):
        read_image(path)


def test_blank_map(path):
    with pytest.raises(InputError, match=r"^map: every pixel is blank"):
        read_image(write_map(path, np.full(SHAPE, np.nan)))


def test_table_only(path):
    Table({"x": [1, 2]}).write(path)
    with pytest.raises(InputError, match="no image of two axes or more"):
        read_image(path)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-9])
def test_a_constant_map_is_refused_whatever_its_pixel_areas(tmp_path, value):
    path = write_map(tmp_path / "m.fits", np.full(SHAPE, value), CDELT1=-0.1, CDELT2=0.1, BMAJ=0.4, BMIN=0.4)
    with pytest.raises(InputError, match=f"m: every pixel is {value:g}: nothing to measure"):
        read_image(path, fill_values=[])
