"""Arguments of a wrong kind end in one line that names them; the rest is taken as it is meant."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from numpy.testing import assert_array_equal
from regions import CirclePixelRegion, PixCoord

import hyper_py
from hyper_py.interface.arguments import (
    as_bytes,
    as_fill_values,
    as_mask,
    as_path,
    as_place,
    as_word,
    described,
    regions_in,
    without_regions,
)


@pytest.fixture(scope="module")
def path(sky, tmp_path_factory):
    file = tmp_path_factory.mktemp("maps") / "map.fits"
    fits.writeto(file, sky.image.data, fits.Header(sky.header()))
    return file


PLANE = np.ones((4, 4))
WRONG = {
    "an array for a path": (
        lambda p: hyper_py.read_image(PLANE),
        r"path: an array: give the name of a FITS file",
    ),
    "HDUs for a path": (lambda p: hyper_py.read_image(fits.HDUList()), r"path: a HDUList: .*as_sky_image"),
    "an array for a cube": (lambda p: hyper_py.open_cube(PLANE), r"path: an array: .*plane by plane"),
    "an array of errors": (
        lambda p: hyper_py.read_image(p, error=PLANE),
        r"error=: an array: .*as_sky_image",
    ),
    "an array of the response": (
        lambda p: hyper_py.read_image(p, primary_beam=PLANE),
        r"primary_beam=: an array",
    ),
    "numbers for a mask": (lambda p: hyper_py.read_image(p, mask=PLANE), r"mask=: an array of type float64"),
    "an array for a PSF": (lambda p: hyper_py.read_image(p, psf=PLANE), r"psf=: an array: give the name"),
    "a number for a survey": (
        lambda p: hyper_py.read_image(p, survey=4),
        r"survey=4: give the name of a preset",
    ),
    "a number for Stokes": (lambda p: hyper_py.read_image(p, stokes=1), r"stokes=1: give a letter"),
    "a word for fill": (
        lambda p: hyper_py.read_image(p, fill_values="none"),
        r"fill_values='none': give numbers",
    ),
    "text for memory": (
        lambda p: hyper_py.read_image(p, max_memory="1GB"),
        r"max_memory='1GB': give a number",
    ),
    "no memory": (lambda p: hyper_py.read_image(p, max_memory=0), r"max_memory=0: give a number of bytes"),
    "a number for a unit": (lambda p: hyper_py.read_image(p, unit=[3]), r"unit=: a list: give a unit"),
    "regions of a cube": (
        lambda p: hyper_py.open_cube(p, mask=CirclePixelRegion(PixCoord(1, 1), 2)),
        r"mask=: of a cube, write",
    ),
    "a path for a map": (
        lambda p: hyper_py.completeness(str(p)),
        r"image: a str: read it first: hyper_py.read_image",
    ),
    "an array for a map": (
        lambda p: hyper_py.completeness(PLANE),
        r"image: a ndarray: .*hyper_py.as_sky_image",
    ),
    "an array for channels": (
        lambda p: hyper_py.extract_cube(PLANE),
        r"channels: a ndarray: give hyper_py.open_cube",
    ),
    "a path for channels": (
        lambda p: hyper_py.extract_cube(p),
        r"channels: a PosixPath: give hyper_py.open_cube",
    ),
    "a map for channels": (
        lambda p: hyper_py.extract_cube(hyper_py.read_image(p)),
        r"channels: a SkyImage: give hyper_py.open_cube",
    ),
    "coordinates for a reference": (
        lambda p: hyper_py.extract_cube([], reference=PLANE),
        r"reference=: a ndarray: give hyper_py.reference_from",
    ),
    "a cube for a map": (
        lambda p: hyper_py.extract_sources(hyper_py.open_cube(p)),
        r"data: a cube: give a channel",
    ),
    "text for jobs": (
        lambda p: hyper_py.completeness(hyper_py.read_image(p), jobs="4"),
        r"jobs='4': give the number",
    ),
    "a keyword that is nearly right": (
        lambda p: hyper_py.extract_sources(p, beem=3),
        r"^extract_sources: no argument 'beem'; did you mean 'beam'\?$",
    ),
    "a section that is nearly right": (
        lambda p: hyper_py.extract_bands({}, detecton={"sigma_thres": 5}),
        r"^extract_bands: no argument 'detecton'; did you mean 'detection'\?$",
    ),
    "a key without its section": (
        lambda p: hyper_py.extract_sources(p, sigma_thres=5),
        r"no argument 'sigma_thres'; it is a key of detection: detection=\{\"sigma_thres\": ",
    ),
    "flags of a column": (
        lambda p: hyper_py.describe_flags(np.array([1, 2])),
        r"describe_flags: a ndarray: give one value of FLAGS",
    ),
    "a keyword that is nothing": (
        lambda p: hyper_py.extract_sources(p, zzz=3),
        r"^extract_sources: no argument 'zzz'; it has image, wcs, beam, unit, .*, detection, ",
    ),
    "progress for completeness": (
        lambda p: hyper_py.completeness(hyper_py.read_image(p), progress=True),
        r"progress: unknown key",
    ),
    "arrays for bands": (
        lambda p: hyper_py.extract_bands({"a": PLANE}, wavelengths={"a": 1}),
        r"^a: the data alone do not say what they are: give wcs=",
    ),
    "a list of maps for bands": (lambda p: hyper_py.extract_bands([p]), r"images: give maps by the names"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_line_names_argument_and_remedy(path, case):
    call, message = WRONG[case]
    with pytest.raises(hyper_py.HyperPyError, match=message) as caught:
        call(path)
    assert "\n" not in str(caught.value)


def test_a_frequency_as_text_with_its_unit(path):
    made = hyper_py.read_image(path, frequency="1.3 mm")
    assert made.meta["frequency"] == pytest.approx((1.3 * u.mm).to_value(u.Hz, u.spectral()))


def test_one_fill_value(path, sky):
    value = float(sky.image.data[5, 7])
    assert_array_equal(np.argwhere(np.isnan(hyper_py.read_image(path, fill_values=value).data)), [[5, 7]])


def test_a_mask_of_regions_is_that_of_their_array(path):
    circle = CirclePixelRegion(PixCoord(20.0, 30.0), 5.5)
    y, x = np.indices((90, 110))
    inside = np.hypot(x - 20.0, y - 30.0) < 5.5
    for mask in (circle, inside, inside.tolist(), inside.astype(int)):
        assert_array_equal(np.isnan(hyper_py.read_image(path, mask=mask).data), inside)


def test_what_is_meant_stays_as_it_is():
    assert as_path("a.fits", name="path") == Path("a.fits")
    assert as_place(2, name="error", remedy="") == 2
    assert as_place(None, name="error", remedy="") is None
    assert as_mask("mask.fits") == "mask.fits"
    assert as_fill_values("auto") == "auto"
    assert as_fill_values([]) == ()
    assert as_fill_values(np.array([-1, 0])) == (-1.0, 0.0)
    assert (as_bytes(None), as_bytes(4e9)) == (None, 4e9)
    assert as_word("I", name="stokes", remedy="") == "I"
    assert regions_in([]) == regions_in([1]) == regions_in(PLANE) == regions_in(None) == []
    assert described(PLANE) == "an array"


def test_regions_on_a_map_in_its_file_are_refused(path):
    streamed = hyper_py.read_image(path, max_memory=1000)
    with pytest.raises(hyper_py.HyperPyError, match="regions need the map in memory"):
        without_regions(streamed, CirclePixelRegion(PixCoord(1, 1), 2))
