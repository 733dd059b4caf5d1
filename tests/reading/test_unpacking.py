"""Packed files, unpacked as far as their headers go; astropy and the modules of Python say what is right."""

import bz2
import gzip
import io
import tempfile

import numpy as np
import pytest
from astropy.io import fits

from hyper_py.diagnostics import InputError
from hyper_py.reading.unpacking import BLOCK, end_of_hdus, is_packed, unpack


@pytest.fixture
def whole():
    """A FITS file of three HDUs, as bytes."""
    stream = io.BytesIO()
    table = fits.BinTableHDU.from_columns([fits.Column("a", "PJ()", array=[[1, 2], [3]])])
    image = fits.ImageHDU(np.arange(5000, dtype=np.float32).reshape(50, 100))
    fits.HDUList([fits.PrimaryHDU(), image, table]).writeto(stream)
    return stream.getvalue()


def unpacked(path):
    with tempfile.NamedTemporaryFile() as target:
        unpack(path, target)
        target.seek(0)
        return target.read()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_unpacked_files_are_the_same_bytes(tmp_path, whole, pack):
    path = tmp_path / "a.fits"
    path.write_bytes(pack(whole))
    assert is_packed(path)
    assert unpacked(path) == whole
    path.write_bytes(whole)
    assert not is_packed(path)


def test_what_follows_the_hdus_is_not_unpacked(tmp_path, whole):
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(whole + bytes(50_000_000)))
    assert unpacked(path) == whole + bytes(2 * BLOCK)


def test_the_end_is_that_of_the_last_hdu(whole):
    stream = io.BytesIO(whole + b"anything")
    assert end_of_hdus(stream, "a", skip=lambda size: stream.seek(size, 1)) == len(whole)
    text = io.BytesIO(b"no FITS file" * BLOCK)
    assert end_of_hdus(text, "a", skip=text.read) == 0


def header(**cards):
    lines = [f"{name:<8}= {value:>20}" for name, value in cards.items()]
    text = "".join(line.ljust(80) for line in [*lines, "END"])
    return text.ljust(BLOCK).encode()


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"BITPIX": -64, "NAXIS": 2, "NAXIS1": 10**6, "NAXIS2": 10**6}, "the file is cut short"),
        ({"BITPIX": -64, "NAXIS": 2, "NAXIS1": -3, "NAXIS2": 5}, "a size of an axis is negative"),
        ({"BITPIX": -64, "NAXIS": 2, "NAXIS1": 3}, "a size of an axis is missing"),
        ({"BITPIX": -64, "NAXIS": 10**9}, "NAXIS = 1000000000 is not possible"),
        ({"NAXIS": 0}, "BITPIX"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_unpacked(tmp_path, cards, words):
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(header(SIMPLE="T", **cards)))
    with pytest.raises(InputError, match=f"a.fits.gz: .*{words}"):
        unpacked(path)


def test_a_packed_file_that_ends_too_early_says_so(tmp_path, whole):
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(whole)[:-200])
    with pytest.raises(InputError, match="cannot be unpacked: "):
        unpacked(path)


def test_what_the_disk_cannot_hold_is_not_unpacked(tmp_path, whole, monkeypatch):
    from hyper_py.reading import unpacking

    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(whole))
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10_000}))
    with pytest.raises(InputError, match="unpack it elsewhere, or set TMPDIR"):
        unpacked(path)
