"""A map comes as astropy gives it: its pixels in Jy/pixel do not depend on the way."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    Cutout2D,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from regions import CirclePixelRegion, PixCoord, Regions

import hyper_py
from hyper_py.interface.images import as_sky_image, open_cube, read_image

TOLERANCE = 3e-7
"""float32 has 24 bits; a wrong unit or byte order is off by far more."""


@pytest.fixture(scope="module")
def image(sky):
    return sky.image


@pytest.fixture(scope="module")
def header(sky):
    return fits.Header(sky.header())


def beside(image, unit="Jy/pixel"):
    return {"wcs": image.wcs, "beam": image.beam, "unit": unit}


def per_beam(image):
    """Jy/beam of one Jy/pixel, from the areas of beam and pixel alone."""
    beam, side = image.beam, image.pixel_scale
    return np.pi / (4 * np.log(2)) * beam.major * beam.minor / side**2


@pytest.mark.parametrize("kind", [">f8", "<f8", ">f4", "<f4", "=f8"])
def test_any_byte_order_and_precision(image, kind):
    made = as_sky_image(image.data.astype(kind), **beside(image))
    assert_allclose(made.data, image.data, rtol=TOLERANCE, atol=1e-12)
    assert made.data.dtype == np.float64
    assert made.data.dtype.isnative


@pytest.mark.parametrize("kind", [">i2", "<i4", "u1", ">i8"])
def test_whole_numbers(image, kind):
    counts = (np.arange(image.data.size).reshape(image.shape) % 97).astype(kind)
    made = as_sky_image(counts, **beside(image))
    assert_array_equal(made.data, np.arange(image.data.size).reshape(image.shape) % 97)


def test_a_memory_map_a_list_and_a_masked_array(image, tmp_path):
    np.save(tmp_path / "map.npy", image.data)
    of_file = as_sky_image(np.load(tmp_path / "map.npy", mmap_mode="r"), **beside(image))
    assert_array_equal(of_file.data, image.data)
    assert_array_equal(as_sky_image(image.data.tolist(), **beside(image)).data, image.data)
    masked = np.ma.masked_where(image.data > np.percentile(image.data, 99), image.data)
    made = as_sky_image(masked, **beside(image))
    assert_array_equal(np.isnan(made.data), masked.mask)


@pytest.mark.parametrize("unit", ["mJy/beam", "MJy/sr", "Jy/arcsec2", "K"])
def test_units_are_converted(image, unit):
    """The referee is astropy, with beam and pixel areas of this map."""
    area = (image.pixel_scale * u.arcsec) ** 2
    brightness = image.data * u.Jy / area
    beam = per_beam(image) * area
    frequency = 230 * u.GHz
    values = {
        "mJy/beam": (brightness * beam).to_value(u.mJy),
        "MJy/sr": brightness.to_value(u.MJy / u.sr),
        "Jy/arcsec2": brightness.to_value(u.Jy / u.arcsec**2),
        "K": brightness.to_value(u.K, u.brightness_temperature(frequency)),
    }[unit]
    made = as_sky_image(values, **beside(image, unit), frequency=frequency)
    assert_allclose(made.data, image.data, rtol=1e-6)
    assert made.unit == unit
    quantity = as_sky_image(u.Quantity(values, unit.replace("arcsec2", "arcsec**2")), wcs=image.wcs,
                            beam=image.beam, frequency=1.3034455 * u.mm)  # fmt: skip
    assert_allclose(quantity.data, image.data, rtol=1e-6)


def test_hdus_are_read_as_their_file_is(image, header, tmp_path):
    hdu = fits.PrimaryHDU(image.data.astype(">f4"), header)
    hdu.writeto(tmp_path / "map.fits")
    expected = read_image(tmp_path / "map.fits")
    for given in (
        hdu,
        fits.ImageHDU(hdu.data, header),
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(hdu.data, header)]),
    ):
        made = as_sky_image(given)
        assert_array_equal(made.data, expected.data)
        assert (made.beam.major, made.unit) == (expected.beam.major, expected.unit)
    with fits.open(tmp_path / "map.fits") as file:
        assert_array_equal(as_sky_image(file).data, expected.data)
        assert_array_equal(as_sky_image(file[0]).data, expected.data)
    assert_array_equal(as_sky_image(fits.getdata(tmp_path / "map.fits"), wcs=header).data, expected.data)


def test_the_error_extension_of_an_hdu_list_is_used(image, header):
    error = fits.ImageHDU(np.full(image.shape, 2e-5), name="ERROR")
    error.header["BUNIT"] = header["BUNIT"]
    made = as_sky_image(fits.HDUList([fits.PrimaryHDU(image.data, header), error]))
    assert_allclose(made.error, 2e-5)


def test_nddata_brings_all_that_it_has(image, header):
    data = CCDData(
        image.data * per_beam(image), unit="Jy/beam", wcs=image.wcs, meta=header, mask=image.data > 1e3,
        uncertainty=StdDevUncertainty(np.full(image.shape, 1e-3)),
    )  # fmt: skip
    made = as_sky_image(data)
    assert_allclose(made.data, image.data, rtol=1e-6)
    assert_allclose(made.error, 1e-3 / per_beam(image), rtol=1e-6)
    assert made.beam.major == pytest.approx(image.beam.major)
    bare = as_sky_image(NDData(image.data), **beside(image))
    assert_array_equal(bare.data, image.data)


def test_a_map_comes_back_from_its_nddata(image):
    again = as_sky_image(image.to_nddata())
    assert_array_equal(again.data, image.data)
    assert again.name == image.name
    assert again.beam.pa == pytest.approx(image.beam.pa)


@pytest.mark.parametrize(
    ("kind", "power"), [(StdDevUncertainty, 1), (VarianceUncertainty, 2), (InverseVariance, -2)]
)
def test_uncertainties_are_errors(image, kind, power):
    sigma = 3e-5
    data = NDData(
        image.data, unit="Jy/pix", wcs=image.wcs, uncertainty=kind(np.full(image.shape, sigma**power))
    )
    assert_allclose(as_sky_image(data, beam=image.beam).error, sigma, rtol=1e-9)


def test_errors_have_the_unit_of_the_data_or_their_own(image):
    values = np.full(image.shape, 1.0)
    plain = as_sky_image(image.data * per_beam(image), **beside(image, "Jy/beam"), error=values)
    own = as_sky_image(
        image.data * per_beam(image), **beside(image, "Jy/beam"), error=1e3 * values * u.mJy / u.beam
    )
    assert_allclose(plain.error, 1.0 / per_beam(image), rtol=1e-6)
    assert_allclose(own.error, plain.error, rtol=1e-12)
    zero = values.copy()
    zero[3, 4] = 0.0
    assert np.isnan(as_sky_image(image.data, **beside(image), error=zero).data[3, 4])


def test_a_mask_is_true_where_data_are_not_used(image):
    mask = np.zeros(image.shape, dtype=bool)
    mask[10:20, 5] = True
    assert_array_equal(np.isnan(as_sky_image(image.data, **beside(image), mask=mask).data), mask)


@pytest.mark.parametrize(
    "beam",
    [0.06 * u.arcsec, 0.001 * u.arcmin, (0.06 * u.arcsec,) * 2, (0.06 * u.arcsec, 0.06 * u.arcsec, 0 * u.deg),
     hyper_py.Beam(major=0.06, minor=0.06)],
    ids=["angle", "arcmin", "axes", "all", "Beam"],
)  # fmt: skip
def test_beams_in_any_form(image, beam):
    made = as_sky_image(image.data, wcs=image.wcs, beam=beam, unit="Jy/pixel")
    assert (made.beam.major, made.beam.minor) == (pytest.approx(0.06), pytest.approx(0.06))


def test_a_beam_of_radio_beam(image):
    radio_beam = pytest.importorskip("radio_beam")
    beam = radio_beam.Beam(major=0.08 * u.arcsec, minor=0.06 * u.arcsec, pa=30 * u.deg)
    made = as_sky_image(image.data, wcs=image.wcs, beam=beam, unit="Jy/pixel")
    assert (made.beam.major, made.beam.minor, made.beam.pa) == (0.08, 0.06, 30.0)


def test_a_cut_map_with_its_cut_coordinates(image):
    cut = Cutout2D(image.data, (40, 40), (30, 30), wcs=image.wcs)
    made = as_sky_image(cut.data, wcs=cut.wcs, beam=image.beam, unit="Jy/pixel")
    assert_array_equal(as_sky_image(cut, beam=image.beam, unit="Jy/pixel").data, made.data)
    x, y = made.wcs.world_to_pixel(image.wcs.pixel_to_world(40, 40))
    assert (float(x), float(y)) == (pytest.approx(15.0), pytest.approx(15.0))


def test_a_mapping_is_a_header_and_objects_are_numbers(image, header):
    made = as_sky_image(image.data.astype(object), wcs=dict(header))
    assert_allclose(made.data, as_sky_image(image.data, wcs=header).data)


def test_the_inside_of_regions_is_not_used(image):
    """Pixels whose centres are in the circle, and no others, are blank."""
    circle = CirclePixelRegion(PixCoord(30.0, 40.0), 6.5)
    y, x = np.indices(image.shape)
    for mask in (circle, circle.to_sky(image.wcs), [circle], Regions([circle])):
        made = as_sky_image(image.data, **beside(image), mask=mask)
        assert_array_equal(np.isnan(made.data), np.hypot(x - 30.0, y - 40.0) < 6.5)


def test_a_sky_image_stays_itself(image):
    assert as_sky_image(image) is image


WRONG = {
    "nothing": (lambda i: (i.data, {}), r"give wcs= .* and unit= .* and beam="),
    "wcs only": (lambda i: (i.data, {"wcs": i.wcs}), r"give unit= .* and beam="),
    "beam of a number": (lambda i: (i.data, {**beside(i), "beam": 18}), r"beam=18: give .*18 \* u.arcsec"),
    "a beam in degrees": (
        lambda i: (i.data, {**beside(i), "beam": 0.06 * u.deg}), r"beam of 216 x 216 arcsec .*cannot be right"
    ),
    "counts": (lambda i: (i.data, beside(i, "adu")), r"unit='adu'.*accepted are"),
    "an ambiguous unit": (lambda i: (i.data, beside(i, "MJY/BEAM")), r"milli or mega: set unit="),
    "a contradiction": (lambda i: (i.data * u.Jy, beside(i, "MJy/sr")), r"unit='MJy/sr': the quantity is in Jy"),
    "CCDData of counts": (lambda i: (CCDData(i.data, unit="adu"), {"wcs": i.wcs, "beam": i.beam}), r"unit='adu'"),
    "two masks": (
        lambda i: (NDData(i.data, mask=i.data > 0), {**beside(i), "mask": i.data > 0}),
        r"mask=: the NDData has its own",
    ),
    "kelvin": (lambda i: (i.data, beside(i, "K")), r"needs a frequency: give frequency="),
    "no frequency": (lambda i: (i.data, {**beside(i), "frequency": "high"}), r"frequency='high': give Hz"),
    "a cube": (lambda i: (np.ones((3, 90, 110)), beside(i)), r"a cube\? give one plane, data\[k\]"),
    "complex": (lambda i: (i.data + 0j, beside(i)), r"complex128: give an array of real numbers"),
    "nothing at all": (lambda i: (None, beside(i)), r"data: a NoneType: give an array"),
    "errors of no unit": (
        lambda i: (i.data, {**beside(i), "error": np.ones(i.shape) * u.m}), r"error='m': unit 'm' is neither"
    ),
    "errors of an unknown kind": (
        lambda i: (NDData(i.data, uncertainty=UnknownUncertainty(i.data)), beside(i)),
        r"error=: a UnknownUncertainty: give a StdDevUncertainty",
    ),
    "regions over all of it": (
        lambda i: (i.data, {**beside(i), "mask": CirclePixelRegion(PixCoord(50, 50), 500)}),
        r"every pixel is blank: the regions of mask=",
    ),
    "a mapping that is no header": (lambda i: (i.data, {**beside(i), "wcs": {"CTYPE1": [1]}}), r"wcs=: no FITS header"),
    "text": (lambda i: ("map.fits", {}), r"read_image\(path\)"),
    "other wcs": (lambda i: (i.data, {**beside(i), "wcs": "header"}), r"wcs=: a str: give an astropy.wcs.WCS"),
    "no sky": (lambda i: (i.data, {**beside(i), "wcs": WCS(naxis=2)}), r"wcs: no celestial coordinates"),
    "mask of another shape": (lambda i: (i.data, {**beside(i), "mask": np.ones((2, 2), bool)}), r"mask= of shape \(2, 2\)"),
    "error of another shape": (lambda i: (i.data, {**beside(i), "error": np.ones((2, 2))}), r"error= of shape \(2, 2\)"),
    "all masked": (lambda i: (i.data, {**beside(i), "mask": np.ones(i.shape, bool)}), r"every pixel is blank.*mask="),
    "constant": (lambda i: (np.full(i.shape, 3.0), beside(i)), r"every pixel is 3: nothing to measure"),
    "an HDU without a header": (lambda i: (fits.ImageHDU(i.data), {}), r"set unit= .*set beam="),
    "an HDU and coordinates": (lambda i: (fits.ImageHDU(i.data), {"wcs": i.wcs}), r"wcs=: the HDU has coordinates"),
    "a table HDU": (lambda i: (fits.HDUList([fits.PrimaryHDU()]), {}), r"holds no image"),
    "a SkyImage with a unit": (lambda i: (i, {"unit": "Jy/beam"}), r"unit=: a SkyImage has its own"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_the_argument_and_the_remedy(image, case):
    make, message = WRONG[case]
    data, given = make(image)
    with pytest.raises(hyper_py.HyperPyError, match=message) as caught:
        as_sky_image(data, **given)
    assert "\n" not in str(caught.value)


def test_coordinates_of_an_uncut_map_are_refused(image, header):
    with pytest.raises(hyper_py.HyperPyError, match=r"made for an array of shape .*cut both alike"):
        as_sky_image(
            image.data[:50], wcs=WCS(fits.PrimaryHDU(image.data, header).header), beam=image.beam, unit="Jy"
        )


def test_errors_of_a_file_name_arguments(image, tmp_path):
    fits.PrimaryHDU(image.data, image.wcs.to_header()).writeto(tmp_path / "bare.fits")
    with pytest.raises(hyper_py.HyperPyError, match=r"set unit= to .*set beam= .*psf= or survey="):
        read_image(tmp_path / "bare.fits")
    with pytest.raises(hyper_py.HyperPyError, match="beam= and psf= both"):
        read_image(tmp_path / "bare.fits", beam=18 * u.arcsec, psf="psf.fits")
    made = read_image(tmp_path / "bare.fits", unit=u.Jy / u.pix, beam=image.beam)
    assert_array_equal(made.data, image.data)


def test_psf_error_mask_and_primary_beam_of_files(image, header, tmp_path):
    fits.PrimaryHDU(image.data, header).writeto(tmp_path / "map.fits")
    y, x = np.mgrid[-30:31, -30:31] * 0.2 * image.beam.fwhm
    psf = np.exp(-4 * np.log(2) * (x**2 + y**2) / image.beam.fwhm**2)
    fits.PrimaryHDU(psf).writeto(tmp_path / "psf.fits")
    fits.PrimaryHDU(np.full(image.shape, 2e-5), header).writeto(tmp_path / "error.fits")
    response = np.full(image.shape, 0.5)
    fits.PrimaryHDU(response, header).writeto(tmp_path / "pb.fits")
    made = read_image(
        tmp_path / "map.fits", psf=tmp_path / "psf.fits", psf_pixel=0.2 * image.beam.fwhm,
        error=tmp_path / "error.fits", mask=image.data > np.percentile(image.data, 99.5),
        primary_beam=tmp_path / "pb.fits", primary_beam_corrected=False,
    )  # fmt: skip
    assert made.beam.major == pytest.approx(image.beam.fwhm, rel=1e-4)
    assert_allclose(made.error[np.isfinite(made.error)], 2e-5 / 0.5)
    known = np.isfinite(made.data)
    assert_allclose(made.data[known], image.data[known] / 0.5)
    assert np.count_nonzero(~known) == np.count_nonzero(image.data > np.percentile(image.data, 99.5))


def test_a_cube_takes_the_same_words(tmp_path):
    from hyper_py.simulation.simulate import simulate_cube

    cube = simulate_cube(seed=1, n_channels=2, shape=(50, 60), n_sources=2)
    header = fits.Header(cube.header())
    fits.PrimaryHDU(cube.data(), header).writeto(tmp_path / "cube.fits")
    with open_cube(tmp_path / "cube.fits", beam=0.06 * u.arcsec, unit="mJy/pixel") as opened:
        assert opened.beams[0].major == pytest.approx(0.06)
        assert_allclose(opened.channel(0).data, 1e-3 * cube.data()[0], rtol=1e-12)
        assert "2 channels of 60 x 50 pixels" in repr(opened)
    with pytest.raises(hyper_py.HyperPyError, match=r"open it with hyper_py.open_cube"):
        read_image(tmp_path / "cube.fits")
