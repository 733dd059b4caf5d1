import gzip

import numpy as np
import pytest
from astropy.io import fits

from hyper_py.reading.recognise import is_cube


def write(path, shape, *, ctypes=(), compressed=False, extension=False):
    header = fits.Header()
    for axis, kind in enumerate(ctypes, start=1):
        header[f"CTYPE{axis}"] = kind
    data = np.zeros(shape, dtype=np.float32)
    if compressed:
        hdus = [fits.PrimaryHDU(), fits.CompImageHDU(data, header=header)]
    elif extension:
        table = fits.BinTableHDU.from_columns([fits.Column("A", "1E", array=np.zeros(700))])
        hdus = [fits.PrimaryHDU(), table, fits.ImageHDU(data, header=header)]
    else:
        hdus = [fits.PrimaryHDU(data, header=header)]
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize("kind", ["plain", "compressed", "extension", "gzipped"])
@pytest.mark.parametrize(
    ("shape", "ctypes", "cube"),
    [
        ((6, 5), ("RA---TAN", "DEC--TAN"), False),
        ((3, 6, 5), ("RA---TAN", "DEC--TAN", "FREQ"), True),
        ((1, 6, 5), ("RA---TAN", "DEC--TAN", "FREQ"), False),
        ((1, 3, 6, 5), ("RA---TAN", "DEC--TAN", "VRAD", "STOKES"), True),
        ((4, 1, 6, 5), ("RA---TAN", "DEC--TAN", "VRAD", "STOKES"), False),
    ],
)
def test_by_its_axes(tmp_path, kind, shape, ctypes, cube):
    path = write(
        tmp_path / "map.fits",
        shape,
        ctypes=ctypes,
        compressed=kind == "compressed",
        extension=kind == "extension",
    )
    if kind == "gzipped":
        (tmp_path / "map.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "map.fits.gz"
    assert is_cube(path) is cube


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"SIMPLE  = T" + b" " * 5000, b"\x1f\x8bnot gzip", b"\0" * 9000]
)
def test_what_cannot_be_read_is_no_cube(tmp_path, content):
    path = tmp_path / "map.fits"
    path.write_bytes(content)
    assert not is_cube(path)
    assert not is_cube(tmp_path / "missing.fits")
