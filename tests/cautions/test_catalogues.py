"""Warnings about a catalogue: given where there is reason, and not where there is none."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import QTable
from scipy import ndimage

from helpers.maps import make_image
from hyper_py.cautions import rows as row_module
from hyper_py.cautions.catalogues import cautions
from hyper_py.diagnostics import Flag
from hyper_py.noise.level import NoiseLevel
from hyper_py.numerics.tiles import LazyPlane

SHAPE = (200, 220)


def table(x, y, flags=0):
    return QTable({"X": x, "Y": y, "FLAGS": np.broadcast_to(flags, np.shape(x)).astype(np.int64)})


def places(n, seed=1, low=0.0, high=1.0):
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, n) * (SHAPE[1] - 1), rng.uniform(low, high, n) * (SHAPE[0] - 1)


def noise():
    return np.random.default_rng(2).standard_normal(SHAPE)


@pytest.mark.parametrize("seed", range(20))
def test_sources_anywhere_give_no_warning(seed):
    flags = np.where(np.arange(60) % 2, int(Flag.BLENDED | Flag.UNRESOLVED), int(Flag.EDGE))
    assert cautions(table(*places(60, seed), flags), make_image(noise())) == ()


def test_most_rows_with_flags_are_said_with_the_commonest():
    flags = np.array([int(Flag.SIZE_AT_BOUND)] * 5 + [int(Flag.NEGATIVE_FLUX)] + [int(Flag.BLENDED)] * 5)
    (said,) = cautions(table(*places(11), flags), make_image(noise()))
    assert said.startswith("6 of 11 rows have flags, 5 of them 'a fitted size is at its bound")
    assert cautions(table(*places(4), 4), make_image(noise())) == ()


@pytest.mark.parametrize("kind", ["border", "blank"])
def test_rows_along_an_edge_are_said(kind):
    data, x, y = noise(), *places(30, low=0.35, high=0.65)
    if kind == "border":
        x[:25] = 5.0
    else:
        data[:, :100] = np.nan
        data[40:160:7, 120:200:5] = np.nan  # single blank pixels are no edge
        x[:25], x[25:] = 106.0, 160.0
    (said,) = cautions(table(x, y), make_image(data))
    assert said.startswith("25 of 30 rows are within 4 beams of an edge")
    assert "io.error_hdu" in said
    data[:, :] = noise()
    inside = cautions(table(np.clip(x, 30, 180), y), make_image(data))
    assert inside == ()


@pytest.mark.parametrize("x", [5.0, 100.0])
def test_of_a_map_in_pieces_the_border_is_known_as_of_one_without_blanks(x):
    image, (_, y) = make_image(noise()), places(30, low=0.35, high=0.65)
    pieces = image.with_data(LazyPlane(image.shape, lambda *where: image.data[where]))
    rows = table(np.where(np.arange(30) < 25, x, 60.0 + np.arange(30)), y)
    near = [row_module._near_edges(rows, one) for one in (image, pieces)]
    np.testing.assert_array_equal(near[1][0], near[0][0])
    assert near[1][0].any() == (x == 5.0)
    assert near[1][1] == pytest.approx(near[0][1])


def test_given_sources_at_one_place_are_said():
    x, y = places(6)
    x[3], y[3], x[4], y[4] = x[0] + 0.2, y[0] + 0.2, x[5], y[5]
    rows = table(x, y, int(Flag.FORCED))
    rows["HYPER_ID"] = np.arange(1, 7)
    (said,) = cautions(rows, make_image(noise()))
    assert said.startswith(
        "4 of 6 (HYPER_ID 1, 4, 5, 6) given sources are within a tenth of a beam of another"
    )
    assert cautions(table(x, y, int(Flag.BLENDED)), make_image(noise())) == ()
    x[3], x[4] = x[0] + 2.0, np.nan
    assert cautions(table(x, y, int(Flag.FORCED)), make_image(noise())) == ()


def test_what_was_read_is_said_too():
    image = make_image(noise(), meta={"fill": ("zeros",), "errors": "errors"})
    assert cautions(table(*places(3)), image) == ("zeros", "errors")
    assert cautions(QTable({"X": [], "Y": [], "FLAGS": []}), make_image(noise())) == ()


def test_a_beam_wider_than_a_quarter_of_the_map_is_said():
    image = make_image(noise())
    side = image.pixel_scale * SHAPE[0]
    for share, n_said in ((0.24, 0), (0.26, 1)):
        wide = replace(image, beam=replace(image.beam, major=share * side, minor=0.1 * side))
        said = cautions(table(*places(3)), wide)
        assert len([text for text in said if "beam" in text]) == n_said


def test_a_beam_smaller_than_a_pixel_is_said():
    (said,) = cautions(table([], []), make_image(noise(), fwhm=0.5))
    assert said.startswith("the beam is 0.5 arcsec and pixels are 1: ")
    assert "survey.beam" in said


def seen_through_the_beam():
    sigma = 4.5 / 2.3548
    data = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(SHAPE), sigma, mode="wrap")
    return data / data.std()


@pytest.mark.parametrize(
    ("pixels", "value", "said"),
    [
        (([7, 90, 150, 151], [30, 60, 90, 91]), -99.0, "4 pixels of -99 mJy/beam, "),
        (tuple(np.mgrid[60:64, 80:90].reshape(2, -1)), -99.0, "40 pixels of -99 mJy/beam, "),
    ],
)
def test_pixels_of_one_dark_value_are_said(pixels, value, said):
    """Too few to be found as fill when the map is read, and not all of them single."""
    unit = 3e-5
    data = seen_through_the_beam()
    data[pixels] = value
    areas = unit * (1.0 + 1e-6 * np.arange(SHAPE[1]))
    image = make_image(data * areas, unit="mJy/beam", jy_per_pixel=np.broadcast_to(areas, SHAPE))
    (line,) = cautions(table([], []), image, NoiseLevel(mean=0.0, rms=unit))
    assert line.startswith(said)
    assert f"io.fill_values=[{value:g}]" in line


def test_loud_noise_at_an_edge_is_not_too_dark():
    data = seen_through_the_beam()
    data[:6] += 30.0 * np.random.default_rng(4).standard_normal((6, SHAPE[1]))
    assert data.min() < -60.0
    lines = cautions(table([], []), make_image(data), NoiseLevel(mean=0.0, rms=1.0))
    assert not any("seen through the beam" in line for line in lines)


@pytest.mark.parametrize("size", [4.0, 4.5, 9.0])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_negative_sources_are_not_too_dark(size, offset):
    y, x = np.indices(SHAPE)
    sigma = size / 2.3548
    data = seen_through_the_beam()
    data -= 300.0 * np.exp(-((x - 90 - offset) ** 2 + (y - 80 - offset) ** 2) / 2 / sigma**2)
    assert cautions(table([], []), make_image(data), NoiseLevel(mean=0.0, rms=1.0)) == ()
    assert cautions(table([], []), make_image(data - 500.0), NoiseLevel(mean=-500.0, rms=1.0)) == ()


def test_sizes_that_differ_between_bands_are_said_with_the_remedy():
    from helpers.bands import measured_field
    from hyper_py.cautions.catalogues import band_cautions

    _, extraction = measured_field(seed=3, n_sources=30)
    table = extraction.catalog.copy()
    images = {band.name: band.image for band in extraction.bands}
    assert band_cautions(table, images) == ()
    table["FLAGS"][:8] |= int(Flag.SHAPE_DIFFERS)
    (line,) = band_cautions(table, images)
    assert line.startswith("8 of 30 (HYPER_ID 1, 2, 3, 4, 5, ...) sources differ in size between bands")
    assert "bands.shape" in line
    table["FLAGS"] = int(Flag.NEGATIVE_FLUX)  # in one of the bands
    assert band_cautions(table, images) == ()
    odd = images["s250"].with_data(images["s250"].data)
    odd.meta["fill"] = ["-999 was taken for blank"]
    table["FLAGS"] = 0
    assert band_cautions(table, {"s250": odd}) == ("s250: -999 was taken for blank",)
    dark = images["s250"].data.copy()
    dark[20:22, 20:22] = -999.0
    _, line = band_cautions(table, {"s250": odd.with_data(dark)})
    assert line.startswith("s250: 4 pixels of ")


@pytest.mark.parametrize(
    ("factor", "said"), [(1.0, False), (0.4, False), (2.5, False), (0.1, True), (9.0, True)]
)
@pytest.mark.parametrize("background", [0.0, 30.0])
def test_noise_that_is_not_what_it_is_said_to_be(factor, said, background):
    """`factor` times the true noise, without and with a structured background much above it."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    data = noise() + background * np.sin(x / 25.0) * np.cos(y / 30.0)
    image = make_image(data)
    expected = said and not (background and factor > 1.0)  # errors may be those of the background too
    for level in (NoiseLevel(mean=0.0, rms=factor), NoiseLevel(mean=0.0, rms=np.full(SHAPE, factor))):
        found = [text for text in cautions(table(*places(3)), image, level) if "same unit" in text]
        assert len(found) == expected
        assert all("times detection.rms_value" in text for text in found)


def test_a_factor_of_the_beam_is_named():
    image = make_image(noise())
    level = NoiseLevel(mean=0.0, rms=image.beam_area_pix)
    (said,) = cautions(table(*places(3)), replace(image, error=np.ones(SHAPE)), level)
    assert "times that of its errors (io.error_hdu), the number of pixels in a beam" in said


@pytest.mark.parametrize(
    ("instrument", "unit", "said"),
    [
        ("PACS", "Jy/beam", True),
        ("PACS", "Jy/pixel", False),
        ("HERSCHEL SPIRE", "Jy/pixel", True),
        ("SPIRE", "MJy/sr", False),
        ("SPIRE", "Jy/beam", False),
        ("ALMA", "Jy/pixel", False),
    ],
)
def test_units_that_an_instrument_does_not_have(instrument, unit, said):
    image = replace(make_image(noise(), meta={"instrument": instrument}), unit=unit)
    assert any("are usually in" in text for text in cautions(table(*places(3)), image)) == said


def shaped(image, along, across, snr=20.0):
    """A catalogue of rows of these sizes in beams."""
    rows, beam = table(*places(len(along))), image.beam.fwhm
    rows["HYPER_ID"] = np.arange(1, len(along) + 1)
    rows["SNR"] = np.broadcast_to(snr, len(along))
    rows["FWHM_1"], rows["FWHM_2"] = (np.asarray(size) * beam for size in (along, across))
    return rows


@pytest.mark.parametrize(
    ("size", "unit", "said"),
    [
        (1.41, "Jy/beam", "1.41 times as wide as the beam; if they are points"),
        (1.41, "Jy/beam", "fluxes are too large by a factor of 1.99"),
        (0.77, "MJy/sr", "peaks are too small by a factor of 1.69"),
        (1.05, "Jy/beam", None),
    ],
)
def test_sources_of_one_size_that_is_not_the_beams_are_said(size, unit, said):
    image = make_image(noise(), unit=unit)
    scatter = 1.0 + 0.02 * np.random.default_rng(3).normal(size=12)
    found = cautions(shaped(image, size * scatter, size / scatter), image)
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
    sizes = np.linspace(1.0, 1.8, 12)  # of sources of their own sizes nothing is said, nor of faint or few
    assert cautions(shaped(image, sizes, sizes), image) == ()
    alike = np.full(12, size)
    assert cautions(shaped(image, alike, alike, snr=5.0), image) == ()
    assert cautions(shaped(image, alike[:7], alike[:7]), image) == ()


def test_rows_that_are_pieces_of_lines_are_said():
    image = make_image(noise())
    along, across = np.full(9, 1.0), np.full(9, 1.0)
    along[:3], across[:3] = 4.0, 1.1
    (said,) = cautions(shaped(image, along, across), image)
    assert said.startswith("3 of 9 (HYPER_ID 1, 2, 3) rows are 2.5 beams long and more")
    across[2] = 2.0  # wide as well as long
    assert cautions(shaped(image, along, across), image) == ()


def test_a_map_of_islands_is_said():
    data = np.full(SHAPE, np.nan)
    data[20:180:40, 20:200:40] = 1.0
    grown = ndimage.binary_dilation(np.isfinite(data), iterations=6)
    (said,) = cautions(table([], []), make_image(np.where(grown, noise(), np.nan)))
    assert "islands around sources" in said
    half = noise()
    half[:150] = np.nan  # three quarters blank, in one piece
    assert cautions(table([], []), make_image(half)) == ()
