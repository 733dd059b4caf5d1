import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from hyper_py.geometry import Beam
from hyper_py.reading.fits_files import casa_beams, open_fits
from hyper_py.writing.plane_files import PlaneFile, cut_header

SHAPE = (3, 7, 5)


def header():
    made = fits.Header()
    made["CTYPE1"], made["CTYPE2"], made["CTYPE3"] = "RA---TAN", "DEC--TAN", "FREQ"
    made["CRPIX1"], made["CRPIX2"], made["CRPIX3"] = 3.0, 4.0, 1.0
    made["CDELT1"], made["CDELT2"], made["CDELT3"] = -1e-3, 1e-3, 1e6
    made["CRVAL1"], made["CRVAL2"], made["CRVAL3"] = 10.0, 20.0, 1e11
    made["BUNIT"], made["BMAJ"], made["BMIN"], made["BPA"] = "Jy/beam", 2e-3, 2e-3, 0.0
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_program_can_read_it_at_every_stage(tmp_path, dtype):
    path = tmp_path / "cube.fits"
    file, reused = PlaneFile.create(path, shape=SHAPE, dtype=dtype, header=header(), content="test")
    assert not reused
    planes = np.random.default_rng(0).normal(size=SHAPE)
    for done, k in enumerate((2, 0, 1)):
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert np.isnan(hdus[0].data).all(axis=(1, 2)).sum() == 3 - done
        file.write(k, planes[k])
    with fits.open(path) as hdus:
        assert hdus[0].data.dtype == np.dtype(dtype).newbyteorder(">")
        np.testing.assert_array_equal(hdus[0].data, planes.astype(dtype))
        assert hdus[0].header["BUNIT"] == "Jy/beam"
        assert WCS(hdus[0].header).wcs.crval[2] == 1e11
    np.testing.assert_array_equal(file.read(1), planes[1].astype(dtype))
    assert path.stat().st_size % 2880 == 0


def test_bytes_depend_on_the_planes_alone(tmp_path):
    planes, made = np.random.default_rng(1).normal(size=SHAPE), []
    for order in ((0, 1, 2), (2, 1, 0, 1)):
        path = tmp_path / f"{len(made)}.fits"
        file, _ = PlaneFile.create(path, shape=SHAPE, dtype="float32", header=header())
        for k in order:
            file.write(k, planes[k])
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_only_a_file_of_this_header_is_taken_over(tmp_path):
    path = tmp_path / "cube.fits"
    options = {"shape": SHAPE, "dtype": "float32", "header": header(), "reuse": True}
    file, reused = PlaneFile.create(path, **options)
    assert not reused
    file.write(1, np.ones(SHAPE[1:]))
    again, reused = PlaneFile.create(path, **options)
    assert reused
    assert (again.read(1) == 1.0).all()
    other = header()
    other["BUNIT"] = "K"
    fresh, reused = PlaneFile.create(path, **{**options, "header": other})
    assert not reused
    assert np.isnan(fresh.read(1)).all()
    path.write_bytes(path.read_bytes()[:-100])
    assert not PlaneFile.create(path, **{**options, "header": other})[1]


def test_a_beam_for_each_channel_as_casa_writes_it(tmp_path):
    path = tmp_path / "cube.fits"
    beams = [Beam(major=3.0 + k, minor=2.0, pa=10.0 * k) for k in range(3)]
    PlaneFile.create(path, shape=SHAPE, dtype="float32", header=header(), beams=beams)
    with open_fits(path) as file:
        assert file.primary["CASAMBM"]
        assert "BMAJ" not in file.primary
        read = casa_beams(file)
    assert [(b.major, b.minor, b.pa) for b in read] == [(b.major, b.minor, b.pa) for b in beams]


def test_a_cut_keeps_the_sky():
    whole, cut = WCS(header()), WCS(cut_header(header(), x0=2, y0=3))
    np.testing.assert_allclose(whole.wcs_pix2world([[4, 5, 1]], 0), cut.wcs_pix2world([[2, 2, 1]], 0))
