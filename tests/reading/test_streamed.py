import gzip

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyper_py.reading.fits_files import open_fits
from hyper_py.reading.streamed import streamed_plane

SHAPE = (3, 2, 17, 23)


def written(path, dtype, seed=None):
    """A file of four axes; integers are scaled and have blanks, floats have NaN and infinities."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        data = rng.normal(size=SHAPE).astype(dtype)
        data[:, :, 3, 4], data[:, :, 5, 6] = np.nan, np.inf
        hdu = fits.PrimaryHDU(data)
    else:
        hdu = fits.PrimaryHDU(rng.integers(-100, 100, SHAPE).astype(dtype))
        hdu.data[:, :, 3, 4] = -77
        hdu.header["BLANK"] = -77
        hdu.header["BSCALE"], hdu.header["BZERO"] = 0.25, 11.0
    hdu.writeto(path)
    return path


def expected(path, first, second):
    """The plane as astropy reads it."""
    with fits.open(path, memmap=False) as file:
        data = file[0].data[first, second].astype(np.float64)
    return np.where(np.isfinite(data), data, np.nan)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_pieces_are_those_that_astropy_reads(tmp_path, dtype):
    path = written(tmp_path / "m.fits", dtype)
    whole = expected(path, 2, 1)
    assert np.isnan(whole).any()

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def pieces(data):
        y0, y1 = sorted(data.draw(st.tuples(*[st.integers(0, SHAPE[2])] * 2)))
        x0, x1 = sorted(data.draw(st.tuples(*[st.integers(0, SHAPE[3])] * 2)))
        np.testing.assert_array_equal(plane[y0:y1, x0:x1], whole[y0:y1, x0:x1])

    with open_fits(path) as file:
        plane = streamed_plane(file, 0, x=1, y=2, fixed={3: 1, 4: 2})
        pieces()


def test_files_that_cannot_be_read_in_pieces(tmp_path):
    path = written(tmp_path / "m.fits", "float32")
    packed = tmp_path / "m.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with open_fits(packed) as file:
        assert streamed_plane(file, 0, x=1, y=2, fixed={3: 0, 4: 0}) is None
    with open_fits(path) as file:
        assert streamed_plane(file, 0, x=2, y=1, fixed={3: 0, 4: 0}) is None


def test_a_file_that_shrinks_is_told(tmp_path):
    path = written(tmp_path / "m.fits", "float64")
    with open_fits(path) as file:
        plane = streamed_plane(file, 0, x=1, y=2, fixed={3: 1, 4: 2})
        path.write_bytes(path.read_bytes()[:-8640])
        with pytest.raises(OSError, match="ends within the map"):
            _ = plane[:, :]
