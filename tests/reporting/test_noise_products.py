"""Files and figures of the noise, read back."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from helpers.maps import noisy_image
from helpers.report_tasks import small_image, write_map
from helpers.runner_tasks import make_config
from hyper_py.pipeline.extraction import extract_sources, noise_statistics
from hyper_py.reporting.noise_products import noise_hdus, plot_noise
from hyper_py.running import runner


@pytest.fixture(scope="module")
def extraction():
    return extract_sources(noisy_image(9.0, seed=3))


def test_axes_and_units_say_where_and_what_each_value_is(extraction):
    statistics = noise_statistics(extraction)
    hdus = noise_hdus(statistics, beam=extraction.image.beam)
    lags, spectrum = hdus[0], hdus["SPECTRUM"]
    for hdu, power in ((lags, "Jy2/pixel2"), (spectrum, "Jy2/pixel")):
        assert hdu.header["CRPIX1"] == hdu.header["CRPIX2"] == (hdu.header["NAXIS1"] + 1) / 2
        np.testing.assert_allclose(hdu.data, hdu.data[::-1, ::-1], rtol=1e-6, atol=1e-9 * hdu.data.max())
        assert hdu.header["CRVAL1"] == hdu.header["CRVAL2"] == 0.0
        assert hdu.header["BUNIT"] == power
    assert lags.data[lags.data.shape[0] // 2, lags.data.shape[1] // 2] == lags.data.max()
    assert lags.header["CDELT1"] == lags.header["NBIN"] == statistics.step == 2
    # The transform by its definition, on the axes of the files.
    reach, step = lags.data.shape[0] // 2, lags.header["CDELT1"]
    y, x = step * np.mgrid[-reach : reach + 1, -reach : reach + 1]
    fx, fy = 3 * spectrum.header["CDELT1"], -2 * spectrum.header["CDELT2"]
    power = step**2 * np.sum(lags.data * np.cos(2 * np.pi * (fx * x + fy * y)))
    row, column = (round(spectrum.header[k]) - 1 + n for k, n in (("CRPIX2", -2), ("CRPIX1", 3)))
    assert spectrum.data[row, column] == pytest.approx(power)
    profile = Table.read(hdus["PROFILE"])
    near = np.hypot(x, y)[np.rint(np.hypot(x, y) / step) == 4]
    assert profile["RADIUS"][4] == pytest.approx(near.mean())
    assert profile["RADIUS_BEAMS"][4] == pytest.approx(near.mean() / 9.0)
    assert profile["CORRELATION"][0] == profile["BEAM_CORRELATION"][0] == 1.0
    assert Table.read(hdus["RADIAL_SPECTRUM"])["POWER"].unit == "Jy2/pixel"


def test_the_figure_shows_noise_and_beam(extraction):
    statistics = noise_statistics(extraction)
    figure = plot_noise(statistics, title="m")
    figure.canvas.draw()
    image, profile, spectrum = figure.axes[:3]
    assert np.asarray(image.images[0].get_array()).max() == pytest.approx(1.0)
    lines = [line for line in profile.lines if line.get_label()[0] != "_"]
    beams = np.asarray(lines[0].get_xdata())
    np.testing.assert_allclose(beams, (statistics.profile[0] / 9.0)[: beams.size])
    assert spectrum.get_xscale() == spectrum.get_yscale() == "log"
    assert "measured" in figure.get_suptitle()


def test_noise_is_written_on_request_and_removed_with_its_map(tmp_path):
    path = write_map(tmp_path / "m.fits", small_image(n_sources=4))
    keys = {"fits_output": {"fits_noise": True}, "visualization": {"visualize_noise": True}}
    config = make_config(tmp_path / "out", outputs={"tables": ["ecsv"]}, **keys)
    assert runner.run(config, [path]).exit_code == 0
    with fits.open(tmp_path / "out/fits/noise/m_noise.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SPECTRUM", "PROFILE", "RADIAL_SPECTRUM"]
        assert " ".join(hdus[0].header["COMMENT"]).startswith("Covariance of two pixels")
    figure = tmp_path / "out/plots/noise/m_noise.png"
    assert figure.stat().st_size > 10_000
    assert "noise covariance measured" in (tmp_path / "out/logs/Hyper_log_m.log").read_text()
    path.write_text("no map")
    assert runner.run(config, [path]).exit_code != 0
    assert not figure.exists()
