"""Reading maps: the map among extensions, errors, masks and the primary beam."""

import numpy as np
import pytest
from astropy.io import fits

from helpers.fits_maps import BEAM_PIXELS, SHAPE, extensions, make_data, make_header, write_map
from hyper_py.diagnostics import InputError
from hyper_py.reading.io import read_image


def test_the_map_is_found_before_its_errors(many):
    image = read_image(many)
    np.testing.assert_allclose(image.data, make_data() / BEAM_PIXELS, rtol=1e-6)
    assert image.meta["hdu"] == 2
    for hdu in (2, "2", "signal", "SIGNAL"):
        assert read_image(many, hdu=hdu).meta["hdu"] == 2


@pytest.mark.parametrize("hdu", [0, 99, -1, "nothing", ""])
def test_hdu_that_is_not_there(many, hdu):
    with pytest.raises(
        InputError, match=r"no image in HDU .*the file has 0 PRIMARY no image, 1 ERR 30x24.*io\.hdu"
    ):
        read_image(many, hdu=hdu)


@pytest.mark.parametrize("name", ["ERR", "VARIANCE", "MILLIVAR", "IVAR", "err", 1])
def test_errors_of_all_kinds(many, name):
    image = read_image(many, error_hdu=name)
    np.testing.assert_allclose(image.error, extensions()["ERR"][0] / BEAM_PIXELS, rtol=1e-6)


@pytest.mark.parametrize("name", ["VARIANCE", "ERROR", "RMS", "NOISE", "STDDEV", "IVAR"])
def test_the_only_errors_of_a_file_are_found(tmp_path, name):
    """Those of the size of the map; an extension of another sky, or of another size, is none."""
    error = 0.1 + np.random.default_rng(1).random(SHAPE)
    value = {"VARIANCE": error**2, "IVAR": 1.0 / error**2}.get(name, error)
    path = write_map(tmp_path / "m.fits", make_data(), [fits.ImageHDU(value, name=name)])
    image = read_image(path, error_hdu="auto")
    np.testing.assert_allclose(image.error, error / BEAM_PIXELS, rtol=1e-6)
    assert f"{name} is used as the error map (io.error_hdu: null" in image.meta["errors"]
    assert read_image(path).error is None
    for k, other in enumerate((value[:5, :5], value)):
        hdu = fits.ImageHDU(other, make_header(CRVAL1=11.0) if k else None, name=name)
        elsewhere = read_image(write_map(tmp_path / f"{k}.fits", make_data(), [hdu]), error_hdu="auto")
        assert elsewhere.error is None
        assert "errors" not in elsewhere.meta


def test_errors_that_cannot_be_chosen_are_named(many, tmp_path):
    image = read_image(many, error_hdu="auto")
    assert image.error is None
    assert "set io.error_hdu to one of them" in image.meta["errors"]
    path = write_map(tmp_path / "w.fits", make_data(), [fits.ImageHDU(np.ones(SHAPE), name="WEIGHT")])
    assert "HDU 1 WEIGHT may say where the map is noisy" in read_image(path, error_hdu="auto").meta["errors"]
    path = write_map(tmp_path / "e.fits", make_data(), [fits.ImageHDU(np.ones(SHAPE), name="ERR")])
    streamed = read_image(path, error_hdu="auto", max_memory=1e6)
    assert not streamed.is_whole
    assert streamed.meta["errors"] == read_image(path, error_hdu="auto").meta["errors"]
    np.testing.assert_allclose(streamed.error[:, :], read_image(path, error_hdu="auto").error, rtol=1e-12)


def test_error_in_another_file(many, tmp_path):
    for where in (f"{many}[VARIANCE]", f"{many}[err]"):
        image = read_image(many, error_hdu=where)
        np.testing.assert_allclose(image.error, extensions()["ERR"][0] / BEAM_PIXELS, rtol=1e-6)
    other = tmp_path / "error.fits"
    fits.PrimaryHDU(extensions()["ERR"][0]).writeto(other)
    np.testing.assert_allclose(read_image(many, error_hdu=other).error, image.error)
    with pytest.raises(InputError, match="no such file"):
        read_image(many, error_hdu="none.fits")


def test_errors_that_are_none(many):
    with pytest.raises(InputError, match=r"HDU WEIGHT has no errors in the map's unit: set io\.error_hdu"):
        read_image(many, error_hdu="WEIGHT")
    with pytest.raises(InputError, match=r"HDU \d is 5 x 5, the map 30 x 24: correct io\.error_hdu"):
        read_image(many, error_hdu="SMALL")
    with pytest.raises(InputError, match=r"set io\.error_hdu"):
        read_image(many, error_hdu="NONE")


def test_pixels_without_error_are_blank(path):
    error = np.ones(SHAPE)
    error[1, 1], error[2, 2], error[3, 3] = 0.0, np.nan, -1.0
    image = read_image(write_map(path, hdus=[fits.ImageHDU(error, name="ERROR")]), error_hdu="ERROR")
    assert list(zip(*np.nonzero(np.isnan(image.data)), strict=True)) == [(1, 1), (2, 2), (3, 3)]


def test_errors_and_masks_that_leave_nothing(path):
    write_map(path)
    for given, text in (
        ({"mask": np.ones(SHAPE, dtype=bool)}, "every pixel is blank, with io.mask"),
        ({"error_hdu": path.with_name("e.fits")}, "every pixel is blank, with io.error_hdu"),
    ):
        fits.PrimaryHDU(-np.ones(SHAPE)).writeto(path.with_name("e.fits"), overwrite=True)
        with pytest.raises(InputError, match=text):
            read_image(path, **given)
    fits.PrimaryHDU(np.ones(SHAPE), fits.Header({"BUNIT": "K"})).writeto(path.with_name("k.fits"))
    with pytest.raises(InputError, match=r"map: the errors' unit 'K' needs .*set units\.frequency"):
        read_image(path, error_hdu=path.with_name("k.fits"))


def test_a_mask_without_effect_is_noted(path):
    said = "io.mask holds no pixel of this map"
    write_map(path, make_data())
    assert said in read_image(path, mask=np.zeros(SHAPE, dtype=bool)).meta["notes"]
    one = np.zeros(SHAPE, dtype=bool)
    one[3, 4] = True
    assert said not in read_image(path, mask=one).meta["notes"]


def test_pixels_without_an_error_are_counted(path):
    errors = np.full(SHAPE, 0.1, dtype=np.float32)
    errors[:4] = 0.0
    errors[4:8] = -1.0
    write_map(path, make_data(), [fits.ImageHDU(errors, name="ERROR")])
    said = f"{8 / SHAPE[0]:.1%} of the pixels are blank because they have no error above zero"
    assert said in read_image(path, error_hdu="ERROR").meta["notes"]


def test_masks(many):
    masked = extensions()["MASK"][0] > 0
    for mask in ("MASK", f"{many}[MASK]", masked):
        np.testing.assert_array_equal(np.isnan(read_image(many, mask=mask).data), masked)
    with pytest.raises(InputError, match="mask of shape"):
        read_image(many, mask=masked[1:])


def test_primary_beam(path):
    response = np.linspace(0.0, 1.0, 24 * 30).reshape(SHAPE)
    hdus = [fits.ImageHDU(response, name="PB"), fits.ImageHDU(np.ones(SHAPE), name="ERROR")]
    write_map(path, hdus=hdus)
    flat, fixed = make_data() / BEAM_PIXELS, read_image(path)
    with pytest.raises(InputError, match=r"set io\.primary_beam_corrected"):
        read_image(path, primary_beam="PB")
    image = read_image(path, primary_beam="PB", primary_beam_corrected=False, error_hdu="ERROR")
    good = np.isfinite(image.data)
    assert (~good).sum() == 1
    np.testing.assert_allclose(image.flat_noise[good], flat[good], rtol=1e-6)
    np.testing.assert_allclose(image.data[good], (flat / np.where(good, response, 1))[good], rtol=1e-6)
    np.testing.assert_allclose((image.error * response)[good], 1 / BEAM_PIXELS, rtol=1e-6)
    image = read_image(path, primary_beam="PB", primary_beam_corrected=True)
    np.testing.assert_array_equal(image.data[good], fixed.data[good])
    np.testing.assert_allclose(image.flat_noise[good], (fixed.data * response)[good])
    named = path.with_name("map.pbcor.fits")
    named.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read_image(named, primary_beam="PB").data[good], fixed.data[good])


@pytest.mark.parametrize("key", ["mask", "region", "error_hdu", "primary_beam"])
@pytest.mark.parametrize("shift", [0.0, 0.3, 3.0])
def test_images_of_another_place_are_refused(tmp_path, key, shift):
    """Of the same size, `shift` pixels beside the map."""
    path = write_map(tmp_path / "m.fits")
    values = np.eye(*SHAPE) if key == "mask" else np.ones(SHAPE)
    other = write_map(tmp_path / "other.fits", values, CRPIX1=15.0 + shift)
    more = {"primary_beam_corrected": True} if key == "primary_beam" else {}
    more |= {"region_keep": "inside"} if key == "region" else {}
    if shift < 1.0:
        assert np.isfinite(read_image(path, **{key: other}, **more).data).any()
    else:
        with pytest.raises(
            InputError, match=r"its pixels are elsewhere on the sky: correct (io|detection)\."
        ):
            read_image(path, **{key: other}, **more)
