"""CASA images, written by casacore from FITS files, are read as these files are."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from helpers.fits_maps import CUBE_AXIS, SHAPE, make_data, make_header, write_map
from hyper_py.diagnostics import InputError
from hyper_py.reading.casa import n_long_axes
from hyper_py.reading.io import open_cube, read_image
from hyper_py.reading.recognise import casa_checksum, casa_files, is_casa_image, is_cube
from hyper_py.running.inputs import resolve_inputs
from hyper_py.running.tasks import input_checksum

casacore = pytest.importorskip("casacore.images")
pytest.importorskip("casa_formats_io")

STOKES = {"CTYPE3": "STOKES", "CRVAL3": 1.0, "CRPIX3": 1.0, "CDELT3": 1.0}
FREQUENCY = {key.replace("3", "4"): value for key, value in CUBE_AXIS.items()}


def as_casa(path):
    """Write a CASA image beside a FITS file; return its path."""
    target = path.with_suffix(".image")
    casacore.image(str(path)).saveas(str(target))
    return target


def assert_same(image, other):
    np.testing.assert_allclose(image.data, other.data, rtol=2e-7)
    for place in ((0.0, 0.0), (29.0, 3.0), (10.0, 20.0)):
        one, two = (one.wcs.pixel_to_world(*place) for one in (image, other))
        assert one.separation(two.transform_to(one)).to_value("arcsec") < 1e-6
    assert image.beam.major == pytest.approx(other.beam.major, rel=1e-6)
    assert image.beam.minor == pytest.approx(other.beam.minor, rel=1e-6)
    assert image.beam.pa == pytest.approx(other.beam.pa)
    assert image.unit == other.unit
    assert image.name == other.name
    assert image.meta.get("object") == other.meta.get("object")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL2": 0.0},
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "PV2_1": 0.0, "PV2_2": -0.7},
        {"PC1_1": 0.8, "PC1_2": 0.6, "PC2_1": -0.6, "PC2_2": 0.8, "RADESYS": "FK5", "EQUINOX": 2000.0},
    ],
)
def test_maps_are_those_of_fits(tmp_path, changes):
    data = make_data(dtype=np.float32)
    data[3:6, 7:9] = np.nan
    path = write_map(tmp_path / "m.fits", data, OBJECT="W3", **changes)
    assert_same(read_image(as_casa(path)), read_image(path))


def test_many_tiles(tmp_path):
    data = make_data((301, 467), dtype=np.float32)
    path = write_map(tmp_path / "m.fits", data)
    assert_same(read_image(as_casa(path)), read_image(path))


def test_cubes_with_stokes(tmp_path):
    data = make_data((5, 1, *SHAPE), dtype=np.float32)
    fits.PrimaryHDU(data, make_header(**STOKES, **FREQUENCY)).writeto(tmp_path / "c.fits")
    path = as_casa(tmp_path / "c.fits")
    assert is_cube(path)
    assert n_long_axes(path) == 3
    with open_cube(path) as cube, open_cube(tmp_path / "c.fits") as other:
        assert len(cube) == 5
        np.testing.assert_allclose(cube.spectral_values, other.spectral_values, rtol=1e-12)
        for one, two in zip(cube, other, strict=True):
            assert_same(one, two)
            assert one.meta["stokes"] == "I"


def test_a_beam_for_each_channel(tmp_path):
    data = make_data((4, 1, *SHAPE), dtype=np.float32)
    header = make_header(**STOKES, **FREQUENCY, BMAJ=None, BMIN=None, BPA=None, CASAMBM=True)
    major = np.array([20.0, 19.0, 18.5, 17.0])
    columns = [
        fits.Column("BMAJ", "1E", unit="arcsec", array=major),
        fits.Column("BMIN", "1E", unit="arcsec", array=major - 4.0),
        fits.Column("BPA", "1E", unit="deg", array=[10.0, 20.0, 30.0, 40.0]),
        fits.Column("CHAN", "1J", array=np.arange(4)),
        fits.Column("POL", "1J", array=np.zeros(4)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    table.header["NCHAN"], table.header["NPOL"] = 4, 1
    fits.HDUList([fits.PrimaryHDU(data, header), table]).writeto(tmp_path / "c.fits")
    with open_cube(as_casa(tmp_path / "c.fits")) as cube:
        np.testing.assert_allclose([beam.major for beam in cube.beams], major, rtol=1e-6)
        np.testing.assert_allclose([beam.pa for beam in cube.beams], [10, 20, 30, 40], rtol=1e-6)


def test_inputs_and_checksums(tmp_path):
    path = as_casa(write_map(tmp_path / "m.fits", make_data(dtype=np.float32)))
    (tmp_path / "m.fits").unlink()
    (tmp_path / "other").mkdir()
    for given in (path, tmp_path, f"{path}/"):
        (found,) = resolve_inputs([given], list_file=tmp_path / "none", maps_dir=tmp_path)
        assert (found.name, found.path) == ("m", path)
    before = input_checksum(path)
    assert before == casa_checksum(path)
    (path / "table.lock").write_bytes(b"locked")
    assert casa_checksum(path) == before
    with (path / "table.f0_TSM0").open("r+b") as stream:
        stream.write(b"x")
    assert casa_checksum(path) != before


def test_other_directories_are_none(tmp_path):
    assert not is_casa_image(tmp_path)
    assert not is_casa_image(tmp_path / "none")
    (tmp_path / "table.info").write_text("Type = Measurement Set\n")
    assert not is_casa_image(tmp_path)
    os.remove(tmp_path / "table.info")
    os.mkfifo(tmp_path / "table.info")
    assert not is_casa_image(tmp_path)
    assert n_long_axes(tmp_path) == 0


def broken(path: Path, how: str) -> None:
    if how == "no pixels":
        (path / "table.f0_TSM0").unlink()
    elif how == "short":
        os.truncate(path / "table.f0_TSM0", 100)
    elif how == "fifo":
        (path / "table.f0_TSM0").unlink()
        os.mkfifo(path / "table.f0_TSM0")
    elif how == "zeros":
        size = (path / "table.dat").stat().st_size
        (path / "table.dat").write_bytes(b"\0" * size)
    else:
        shutil.rmtree(path / "mask0")


@pytest.mark.parametrize("how", ["no pixels", "short", "fifo", "zeros", "no mask"])
def test_broken_images_are_one_line(tmp_path, how):
    data = make_data(dtype=np.float32)
    data[0, 0] = np.nan
    path = as_casa(write_map(tmp_path / "m.fits", data))
    broken(path, how)
    with pytest.raises(InputError, match=r"^[^\n]*m\.image: [^\n]+$"):
        read_image(path)
    if how == "fifo":
        with pytest.raises(InputError, match="no regular file"):
            casa_files(path)


def test_without_the_package(tmp_path, monkeypatch):
    path = as_casa(write_map(tmp_path / "m.fits", make_data(dtype=np.float32)))
    monkeypatch.setitem(__import__("sys").modules, "casa_formats_io", None)
    with pytest.raises(InputError, match=r"hyper-py\[casa\]"):
        read_image(path)
