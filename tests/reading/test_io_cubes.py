"""Reading cubes: channels, spectral axis, beams."""

import gzip
import tracemalloc

import numpy as np
import pytest
import radio_beam
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from helpers.fits_maps import (
    BEAM_PIXELS,
    CUBE_AXIS,
    PIXEL,
    SHAPE,
    cube_plane,
    make_data,
    make_header,
    sky_axes,
    write_map,
)
from hyper_py.diagnostics import InputError
from hyper_py.reading.io import open_cube, read_image


def test_a_cube_is_no_map(path):
    data = make_data((5, *SHAPE))
    with pytest.raises(InputError, match=r"a cube of 5 channels: set control\.datacube"):
        read_image(write_map(path, data, **CUBE_AXIS))
    np.testing.assert_allclose(read_image(path, plane=3).data, data[3] / BEAM_PIXELS, rtol=1e-6)
    with pytest.raises(InputError, match="no plane 5"):
        read_image(path, plane=5)


@pytest.mark.parametrize("packing", ["fits", "gz", "fz"])
def test_channels(tmp_path, packing):
    data = make_data((5, *SHAPE), dtype=np.float32)
    data[4] = np.nan
    path = write_map(tmp_path / "cube.fits", data, BUNIT="K", **CUBE_AXIS)
    if packing == "gz":
        packed = tmp_path / "cube.fits.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    elif packing == "fz":
        header = fits.getheader(path)
        path = tmp_path / "cube.fits.fz"
        hdu = fits.CompImageHDU(data, header, compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    with open_cube(path) as cube:
        assert cube.shape == (5, *SHAPE)
        assert cube.name == "cube"
        np.testing.assert_allclose(cube.spectral_values, 1e11 + 1e9 * np.arange(5))
        assert cube.spectral_unit == "Hz"
        for k in (3, 0, 4, 2):
            image = cube.channel(k)
            hz = 1e11 + 1e9 * k
            brightness = (1 * u.K).to(u.Jy / u.sr, u.brightness_temperature(hz * u.Hz))
            factor = (brightness * (PIXEL * u.arcsec) ** 2).to_value(u.Jy)
            np.testing.assert_allclose(image.data, factor * data[k].astype(float), rtol=2e-6)
            assert image.meta["frequency"] == pytest.approx(hz)
            assert image.meta["channel"] == k
        assert len(list(cube)) == len(cube) == 5
        with pytest.raises(InputError, match="no channel 5"):
            cube.channel(5)
        header = cube.header
    fits.PrimaryHDU(data, header).writeto(tmp_path / "out.fits")
    with open_cube(tmp_path / "out.fits") as again:
        np.testing.assert_allclose(again.spectral_values, cube.spectral_values)
        np.testing.assert_allclose(again.channel(1).data, cube_plane(path, 1), rtol=1e-9)


def test_spectral_axis_first(tmp_path):
    data = make_data((5, *SHAPE))
    axes = {"CTYPE1": "VRAD", "CRVAL1": 1e3, "CRPIX1": 1.0, "CDELT1": 500.0, "CUNIT1": "m/s"} | sky_axes(2, 3)
    path = write_map(tmp_path / "cube.fits", np.moveaxis(data, 0, -1).copy(), **axes)
    with open_cube(path) as cube:
        np.testing.assert_allclose(cube.channel(2).data, data[2] / BEAM_PIXELS, rtol=1e-6)
        np.testing.assert_allclose(cube.spectral_values, 1e3 + 500.0 * np.arange(5))
        assert cube.header["CTYPE3"] == "VRAD"


def casa_table(majors, unit="arcsec", factor=1.0):
    n = len(majors)
    columns = [
        fits.Column("BMAJ", "1E", unit, array=np.array(majors) * factor),
        fits.Column("BMIN", "1E", unit, array=0.8 * np.array(majors) * factor),
        fits.Column("BPA", "1E", "deg", array=np.full(n, -20.0)),
        fits.Column("CHAN", "1J", array=np.arange(n)),
        fits.Column("POL", "1J", array=np.zeros(n, dtype=int)),
    ]
    return fits.BinTableHDU.from_columns(columns, name="BEAMS")


@pytest.mark.parametrize(("unit", "factor"), [("arcsec", 1.0), ("deg", 1 / 3600)])
def test_a_beam_for_each_channel(path, unit, factor):
    majors = [20.0, 22.0, 24.0, 0.0, 28.0]
    data = make_data((5, *SHAPE))
    no_beam = {"BMAJ": None, "BMIN": None, "BPA": None}
    write_map(path, data, [casa_table(majors, unit, factor)], CASAMBM=True, **CUBE_AXIS, **no_beam)
    with fits.open(path) as hdus:
        theirs = radio_beam.Beams.from_fits_bintable(hdus[1]) if unit == "arcsec" else None
    with open_cube(path) as cube:
        for k in (0, 2, 4):
            image = cube.channel(k)
            area = np.pi / (4 * np.log(2)) * 0.8 * majors[k] ** 2
            assert image.beam.major == pytest.approx(majors[k], rel=1e-6)
            assert image.beam.pa == pytest.approx(160.0)
            if theirs is not None:
                assert image.beam.solid_angle == pytest.approx(theirs[k].sr.to_value(u.arcsec**2), rel=1e-6)
            np.testing.assert_allclose(image.data, data[k] * PIXEL**2 / area, rtol=1e-5)
        assert cube.channel(3).beam.major == pytest.approx(24.0, rel=1e-6)
        assert any(
            "channels without a beam in the CASA table" in note and "[4]" in note for note in cube.notes
        )
        assert [k for k in range(5) if "no_beam" in cube.channel(k).meta] == [3]


@pytest.mark.parametrize("casambm", [True, False, None])
def test_casambm_says_whether_the_table_has_the_beams(path, casambm):
    write_map(path, make_data((2, *SHAPE)), [casa_table([22.0, 24.0])], CASAMBM=casambm, **CUBE_AXIS)
    with open_cube(path) as cube:
        majors = [cube.channel(k).beam.major for k in range(2)]
        assert any("CASAMBM" in note for note in cube.notes) == (casambm is True)
    assert majors == pytest.approx([22.0, 24.0] if casambm else [20.0, 20.0], rel=1e-6)


def test_error_cube_and_mask_map(path):
    data = make_data((3, *SHAPE))
    hdus = [fits.ImageHDU(np.stack([np.full(SHAPE, k + 1.0) for k in range(3)]), name="ERROR")]
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5, 5] = True
    with open_cube(write_map(path, data, hdus, **CUBE_AXIS), error_hdu="ERROR", mask=mask) as cube:
        image = cube.channel(2)
    assert np.all(np.isclose(image.error, 3.0 / BEAM_PIXELS, rtol=1e-5))
    assert np.isnan(image.data).sum() == 1


@pytest.mark.parametrize("packing", ["fits", "gz", "fz"])
def test_memory_does_not_grow_with_channels(tmp_path, packing):
    n, side = 24, 96
    data = make_data((n, side, side), dtype=np.float32)
    header = make_header(**CUBE_AXIS)
    path = tmp_path / "cube.fits"
    fits.PrimaryHDU(data, header).writeto(path)
    if packing == "gz":
        path = tmp_path / "cube.fits.gz"
        path.write_bytes(gzip.compress((tmp_path / "cube.fits").read_bytes(), 1))
    elif packing == "fz":
        path = tmp_path / "cube.fits.fz"
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header)]).writeto(path)
    with open_cube(path) as cube:
        cube.channel(0)
        tracemalloc.start()
        for image in cube:
            assert image.shape == (side, side)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * side * side * 8


def tabular_cube(path, values, *, kind="WAVE-TAB", unit="um"):
    """A cube whose third axis is in a table."""
    axis = {"CTYPE3": kind, "CRVAL3": 1.0, "CRPIX3": 1.0, "CDELT3": 1.0, "CUNIT3": unit}
    header = make_header(**axis, PS3_0="WCS-TABLE", PS3_1="coordinate", PV3_1=1, PV3_3=1)
    n = len(values)
    column = fits.Column(
        "coordinate", format=f"{n}D", dim=f"(1,{n})", array=np.reshape(values, (1, n, 1)), unit=unit
    )
    table = fits.BinTableHDU.from_columns([column], name="WCS-TABLE")
    fits.HDUList([fits.PrimaryHDU(make_data((n, *SHAPE)), header), table]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("kind", "unit", "scale"), [("WAVE-TAB", "um", 1e-6), ("WAVE-TAB", "m", 1.0), ("FREQ-TAB", "GHz", 1e9)]
)
def test_tabulated_channels_have_their_frequencies(tmp_path, kind, unit, scale):
    values = np.array([100.0, 110.0, 125.0, 145.0]) / (1.0 if unit != "m" else 1e6)
    with open_cube(tabular_cube(tmp_path / "c.fits", values, kind=kind, unit=unit)) as cube:
        np.testing.assert_allclose(cube.spectral_values, values)
        assert (cube.spectral_unit, cube.spectral_type) == (unit, kind[:4])
        si = values * scale
        expected = si if kind.startswith("FREQ") else 299792458.0 / si
        np.testing.assert_allclose([image.meta["frequency"] for image in cube], expected, rtol=1e-12)
        # Products have no table: a linear axis says what is not so.
        assert cube.header["CTYPE3"] == "CHANNEL"
        assert not any(key.startswith(("PS3", "PV3")) for key in cube.header)
        place = WCS(cube.header).celestial.pixel_to_world(3, 4)
        assert place.separation(cube.wcs.pixel_to_world(3, 4)).deg < 1e-9


def test_a_table_of_equal_steps_is_a_linear_axis(tmp_path):
    with open_cube(tabular_cube(tmp_path / "c.fits", np.linspace(100.0, 130.0, 4))) as cube:
        plain = WCS(cube.header)
        assert cube.header["CTYPE3"] == "WAVE"
        world = plain.wcs_pix2world([[0, 0, k] for k in range(4)], 0)[:, 2]
        np.testing.assert_allclose(world, np.linspace(100e-6, 130e-6, 4), rtol=1e-9)


def test_a_table_of_the_sky_is_refused(tmp_path):
    path = write_map(tmp_path / "m.fits", CTYPE1="RA---TAB", CTYPE2="DEC--TAB", PS1_0="T", PS2_0="T")
    with pytest.raises(InputError, match=r"sky coordinates are in a table \(RA---TAB, DEC--TAB\)"):
        read_image(path)


def test_a_table_that_is_not_there_is_one_line(tmp_path):
    axis = {"CTYPE3": "WAVE-TAB", "CRVAL3": 1.0, "CRPIX3": 1.0, "CDELT3": 1.0, "CUNIT3": "um"}
    fits.PrimaryHDU(make_data((3, *SHAPE)), make_header(**axis, PS3_0="NONE", PS3_1="c")).writeto(
        tmp_path / "c.fits"
    )
    with pytest.raises(InputError, match=r"^c: coordinates cannot be used: [^\n]*$"):
        open_cube(tmp_path / "c.fits")
