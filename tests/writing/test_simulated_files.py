from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS
from photutils.aperture import SkyCircularAperture, aperture_photometry

from hyper_py.diagnostics import ConfigurationError
from hyper_py.reading.io import read_image
from hyper_py.running.scoring import validate_files
from hyper_py.simulation.simulate import simulate_cube, simulate_image
from hyper_py.writing.simulated_files import refuse_to_overwrite, truth_path, write_cube, write_simulation

SKY = {"shape": (64, 80), "n_sources": 3}


def test_both_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulate_image("alma", seed=1, **SKY)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Table, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_simulation(tmp_path / "a.fits", simulation)
    assert not list(tmp_path.iterdir())


def test_files_are_valid_fits(tmp_path: Path) -> None:
    write_simulation(tmp_path / "a.fits", simulate_image("alma", seed=1, blank_border=5, **SKY))
    write_cube(tmp_path / "c.fits", simulate_cube("cube", seed=1, n_channels=2, **SKY))
    for name in ("a.fits", "c.fits"):
        with fits.open(tmp_path / name) as hdus:
            hdus.verify("exception")
            assert hdus[0].data.dtype == np.dtype(">f4")
    with fits.open(tmp_path / "a.fits") as hdus:
        assert np.isnan(hdus[0].data[:5]).all()


FAINT_NOISE = {"background": "none", "background_level": 0.0, "peak_scale": "noise", "peak_range": (1e5, 3e5)}
APART = {"shape": (150, 170), "n_sources": 8, "min_separation": 8.0, "crowded_fraction": 0.0}


@pytest.mark.parametrize("unit", ["Jy/pixel", "Jy/beam", "MJy/sr"])
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_apertures_on_the_file_sum_to_the_truth_beside_it(tmp_path: Path, unit: str, frame: str) -> None:
    """Referee: photutils and astropy, which know only the two files."""
    options = {"unit": unit, "frame": frame, "rotation": 25.0, **FAINT_NOISE, **APART}
    write_simulation(tmp_path / "m.fits", simulate_image("alma", seed=5, **options))
    data, header = fits.getdata(tmp_path / "m.fits", header=True)
    truth = QTable.read(tmp_path / "m_truth.ecsv")
    radius = 2.0 * truth["FWHM_1"].max()
    apertures = SkyCircularAperture(SkyCoord(truth["RA"], truth["DEC"]), r=radius)
    sums = aperture_photometry(data.astype(float), apertures, wcs=WCS(header))["aperture_sum"]
    pixel = abs(header["CDELT1"] * header["CDELT2"]) * u.deg**2
    beam = np.pi / (4 * np.log(2)) * header["BMAJ"] * header["BMIN"] * u.deg**2
    in_jy = {
        "Jy/pixel": 1.0 * u.Jy,
        "Jy/beam": (pixel / beam).to("") * u.Jy,
        "MJy/sr": (1 * u.MJy / u.sr * pixel).to(u.Jy),
    }
    fluxes = np.asarray(sums) * in_jy[unit]
    np.testing.assert_allclose(fluxes.to_value(u.Jy), truth["FLUX"].to_value(u.Jy), rtol=2e-3)


def test_channels_of_a_cube_hold_the_fluxes_of_their_rows(tmp_path: Path) -> None:
    cube = simulate_cube("cube", seed=2, n_channels=5, line_fwhm=(3.0, 5.0), **FAINT_NOISE, **APART)
    write_cube(tmp_path / "c.fits", cube)
    data, header = fits.getdata(tmp_path / "c.fits", header=True)
    truth = QTable.read(tmp_path / "c_truth.ecsv")
    beam = np.pi / (4 * np.log(2)) * header["BMAJ"] * header["BMIN"]
    factor = abs(header["CDELT1"] * header["CDELT2"]) / beam
    number, name = np.array(truth["CHANNEL"]), "AMPLITUDE"
    for channel in range(5):
        rows = truth[number == channel + 1]
        bright = rows[rows[name] > 0.05 * truth[name].max()]
        apertures = SkyCircularAperture(SkyCoord(bright["RA"], bright["DEC"]), r=2.0 * truth["FWHM_1"].max())
        plane = data[channel].astype(float)
        sums = aperture_photometry(plane, apertures, wcs=WCS(header).celestial)["aperture_sum"]
        np.testing.assert_allclose(np.asarray(sums) * factor, bright["FLUX"].to_value(u.Jy), rtol=2e-3)


def test_cube_streams(tmp_path: Path) -> None:
    """Peak memory of a cube of many channels is that of a few planes."""
    import tracemalloc

    cube = simulate_cube("cube", seed=1, n_channels=60, shape=(100, 120), n_sources=3)
    cube.channel(0)  # what all channels share
    tracemalloc.start()
    write_cube(tmp_path / "c.fits", cube)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * 60 * 100 * 120 * 8


def test_a_channel_without_sources(tmp_path: Path) -> None:
    cube = simulate_cube("cube", seed=4, n_channels=30, line_fwhm=(0.5, 0.6), shape=(64, 80), n_sources=1)
    n = write_cube(tmp_path / "c.fits", cube)
    truth = Table.read(truth_path(tmp_path / "c.fits"))
    assert 0 < n == len(truth) <= 3
    assert set(truth["ID"]) == {1}
    nothing = simulate_image("alma", seed=1, shape=(64, 80), n_sources=0)
    assert write_simulation(tmp_path / "n.fits", nothing) == 0
    assert len(Table.read(truth_path(tmp_path / "n.fits"))) == 0


def test_names(tmp_path: Path) -> None:
    assert truth_path(Path("a/b.c.fits")) == Path("a/b.c_truth.ecsv")
    with pytest.raises(ConfigurationError, match=r"must end in \.fits"):
        write_simulation(tmp_path / "a.fits.gz", simulate_image("alma", seed=1, **SKY))
    (tmp_path / "a.fits").touch()
    with pytest.raises(ConfigurationError, match="not a simulated map"):
        refuse_to_overwrite(tmp_path / "a.fits")
    refuse_to_overwrite(tmp_path / "b.fits")


def test_a_dirty_map_has_its_beam_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "map.fits"
    simulation = simulate_image("interferometer_dirty", seed=1, shape=(160, 160), n_sources=3)
    write_simulation(path, simulation)
    with fits.open(tmp_path / "map_psf.fits") as file:
        beam, header = file[0].data, file[0].header
    ny, nx = beam.shape
    assert beam[ny // 2, nx // 2] == beam.max() == 1.0
    assert (header["CRPIX1"], header["CRPIX2"]) == (nx // 2 + 1, ny // 2 + 1)
    assert abs(beam.sum(dtype=float)) < 1e-4
    np.testing.assert_allclose(header["CDELT2"] * 3600, simulation.image.pixel_scale, rtol=1e-6)
    write_simulation(path, simulate_image("interferometer", seed=1, shape=(160, 160), n_sources=3))
    assert sorted(one.name for one in tmp_path.glob(".*")) == []


def test_errors_are_an_extension_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "map.fits"
    simulation = simulate_image("edges_error", seed=1, shape=(340, 360), n_sources=3)
    write_simulation(path, simulation)
    image = read_image(path, error_hdu="ERROR")
    assert image.error is not None
    np.testing.assert_allclose(image.error, simulation.image.error, rtol=1e-5)
    np.testing.assert_allclose(image.data, simulation.image.data, rtol=1e-5, atol=1e-12)
    read_image(path)


def test_clumps_are_counted_neither_way_by_the_files_too(tmp_path: Path) -> None:
    path = tmp_path / "map.fits"
    sky = {"shape": (260, 280), "n_sources": 20, "complexes": {"number": 2, "clumps": 12}}
    assert write_simulation(path, simulate_image("complex", seed=1, **sky)) == 20
    truth = Table.read(truth_path(path))
    assert truth.meta["sky"]["complexes"]["clumps"] == 12
    Table({"X": truth["X"], "Y": truth["Y"]}).write(tmp_path / "rows.ecsv")
    result = validate_files(tmp_path / "rows.ecsv", truth_path(path))
    assert (result.completeness.whole, result.purity.whole) == (20, 20)
    assert result.completeness.part == result.purity.part == 20
