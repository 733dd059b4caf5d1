"""The command `simulate`: maps as the library makes them, and mistakes in one line."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import hyper_py
from helpers.command_line import SMALL, Hyper
from hyper_py.commands.simulate import BANDS_PRESETS as NAMED_BANDS
from hyper_py.commands.simulate import PRESETS as NAMED
from hyper_py.simulation.band_models import BANDS_PRESETS
from hyper_py.simulation.presets import PRESETS


def test_help_names_the_presets() -> None:
    assert set(NAMED) == set(PRESETS)
    assert set(NAMED_BANDS) == set(BANDS_PRESETS)


def test_simulate_writes_map_and_truth(hyper: Hyper) -> None:
    status, out, err = hyper("simulate", "--preset", "alma", "--seed", "3", "-o", "new/a b.fits", *SMALL)
    assert (status, err) == (0, "")
    assert out == "wrote new/a b.fits (120 x 96 pixels, 6 sources) and new/a b_truth.ecsv\n"
    expected = hyper_py.simulate_image("alma", seed=3, shape=(96, 120), n_sources=6, peak_range=(30.0, 60.0))
    data, header = fits.getdata("new/a b.fits", header=True)
    np.testing.assert_allclose(data, expected.image.data, rtol=1e-6)
    assert header["SIMSEED"] == "3"
    truth = Table.read("new/a b_truth.ecsv")
    np.testing.assert_array_equal(truth["FLUX"], expected.truth["FLUX"].value)
    assert truth["ISOLATED"].dtype == bool
    assert truth.meta["sky"]["noise_white_fraction"] == expected.model.noise_white_fraction


@pytest.mark.parametrize("unit", ["Jy/beam", "MJy/sr"])
def test_simulated_maps_read_back_in_jy_per_pixel(hyper: Hyper, unit: str) -> None:
    assert (
        hyper("simulate", "-o", "a.fits", "--set", f"unit={unit}", "--set", "frame=galactic", *SMALL)[0] == 0
    )
    options = {"unit": unit, "frame": "galactic", "shape": (96, 120), "n_sources": 6}
    expected = hyper_py.simulate_image("alma", seed=1, peak_range=(30.0, 60.0), **options).image
    image = hyper_py.read_image("a.fits")
    np.testing.assert_allclose(image.data, expected.data, rtol=1e-5)
    assert image.unit == unit
    assert image.beam.fwhm == pytest.approx(expected.beam.fwhm)


def test_simulate_is_deterministic(hyper: Hyper) -> None:
    for name in ("a.fits", "b.fits"):
        assert hyper("simulate", "--seed", "5", "-o", name, *SMALL)[0] == 0
    assert Path("a.fits").read_bytes() == Path("b.fits").read_bytes()
    assert Path("a_truth.ecsv").read_bytes() == Path("b_truth.ecsv").read_bytes()


def test_simulate_a_cube(hyper: Hyper) -> None:
    from hyper_py.simulation.simulate import simulate_cube

    assert hyper("simulate", "--preset", "cube", "-o", "c.fits", "--set", "n_channels=3", *SMALL)[0] == 0
    cube = simulate_cube("cube", seed=1, n_channels=3, shape=(96, 120), n_sources=6, peak_range=(30.0, 60.0))
    data, header = fits.getdata("c.fits", header=True)
    assert data.shape == (3, 96, 120)
    factor = cube.channel(0).image.jy_per_pixel
    np.testing.assert_allclose(data * factor, cube.data(), rtol=1e-5, atol=1e-12)
    assert (header["CTYPE3"], header["BUNIT"], header["CRVAL3"]) == ("FREQ", "Jy/beam", 230.5e9)
    assert Path("c.fits").stat().st_size % 2880 == 0
    truth = Table.read("c_truth.ecsv")
    assert set(truth["CHANNEL"]) <= {1, 2, 3}
    one = truth[truth["CHANNEL"] == 2]
    np.testing.assert_allclose(one["FLUX"], cube.channel(1).truth["FLUX"].value)
    assert truth.meta["beam"] == list(cube.model.beam)


def test_limits_go_into_the_truth(hyper: Hyper) -> None:
    assert hyper("simulate", "-o", "a.fits", "--limits", *SMALL)[0] == 0
    truth = Table.read("a_truth.ecsv")
    assert (truth["FLUX_GAUSS_ERR"] > 0).all()
    assert (truth["FLUX_GAUSS_ERR"] < truth["FLUX"]).all()
    assert hyper("simulate", "--preset", "cube", "-o", "c.fits", "--limits")[0] == 2


def test_only_simulated_maps_are_overwritten(hyper: Hyper) -> None:
    Path("mine.fits").write_text("precious")
    status, _, err = hyper("simulate", "-o", "mine.fits", *SMALL)
    assert (status, err) == (
        2,
        "error: mine.fits: exists and is not a simulated map; --force overwrites it\n",
    )
    assert Path("mine.fits").read_text() == "precious"
    assert hyper("simulate", "-o", "mine.fits", "--force", *SMALL)[0] == 0
    assert hyper("simulate", "-o", "mine.fits", *SMALL)[0] == 0


def test_simulate_into_a_directory(hyper: Hyper) -> None:
    assert hyper("simulate", "-o", ".", "--seed", "7", *SMALL)[1].startswith("wrote alma_7.fits ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--preset", "alam"], "no preset 'alam'; did you mean 'alma'?"),
        (["--set", "n_source=3"], "did you mean 'n_sources'?"),
        (["--set", "shape=big"], "shape is 'big'; it must be such as [565, 635]"),
        (["--set", "beam=0.05"], "beam is 0.05; it must be such as [0.04808, 0.03849, 22.7]"),
        (["--set", "name=[]"], "name is []"),
        (["--set", "mirrored=1"], "mirrored is 1"),
        (["--set", "noise_rms=true"], "noise_rms is True"),
        (["--set", "turnover=slow"], "turnover is 'slow'"),
        (["--set", "n_channels=0"], "at least one channel"),
        (["--set", "noise_rms"], "must be of the form"),
        (["--seed", "-1"], "--seed"),
        (["--set", "n_sources=900", "--set", "shape=[64, 64]"], "no room for 900 sources"),
        (["-o", "a.png"], "must end in .fits"),
    ],
)
def test_wrong_simulations_are_one_line(hyper: Hyper, arguments: list[str], text: str) -> None:
    status, out, err = hyper("simulate", *arguments)
    assert (status, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1
    assert not list(Path().iterdir())


def test_files_that_cannot_be_written_have_their_own_name(hyper: Hyper) -> None:
    Path("file").touch()
    status, _, err = hyper("simulate", "-o", "file/a.fits", *SMALL)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("error: file")
    assert "hyper-tmp" not in err


FEW = ("--set", "size=300", "--set", "n_sources=6", "--set", "margin=30")


def test_simulate_a_field_in_several_bands(hyper: Hyper) -> None:
    from hyper_py.simulation.bands import simulate_bands

    change = ("--set", "bands.s500.coverage=0.5", "--set", "bands.s250=null")
    status, out, err = hyper("simulate", "--preset", "bands", "--seed", "3", "-o", "field", *FEW, *change)
    assert (status, err) == (0, "")
    assert out == "wrote p100.fits, p160.fits, s350.fits, s500.fits (6 sources) and truth.ecsv in field\n"
    bands = {"s500": {"coverage": 0.5}, "s250": None}
    expected = simulate_bands("bands", seed=3, size=300.0, n_sources=6, margin=30.0, bands=bands)
    for one in expected.maps:
        image = hyper_py.read_image(f"field/{one.band.name}.fits")
        np.testing.assert_allclose(image.data, one.image.data, rtol=1e-5, atol=1e-9)
        assert image.beam.fwhm == pytest.approx(one.band.beam)
        assert 2.99792458e14 / image.meta["frequency"] == pytest.approx(one.band.wavelength)
    truth = Table.read("field/truth.ecsv")
    np.testing.assert_array_equal(truth["FLUX_s500"], expected.truth["FLUX_s500"].value)
    assert truth.meta["bands"]["s350"]["offset"] == list(expected["s350"].offset)
    assert hyper("simulate", "--preset", "bands", "-o", "field", *FEW)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--limits",), "--limits: only for maps"),
        (("-o", "a.fits"), "--output a.fits: several maps are written; give a directory"),
        (("--set", "bands.s501.coverage=0.5"), "no band 's501'; did you mean 's500'?"),
        (("--set", "bands.s500.cover=0.5"), "no option of bands.s500 'cover'; did you mean 'coverage'?"),
        (("--set", "bands.s500.beam=-1"), "bands.s500.beam is -1; it must be a positive number"),
        (("--set", "flux_range=3"), "flux_range is 3; it must be of the kind of"),
        (("--set", "bands.new.beam=3"), "a new one needs wavelength, pixel_scale, noise"),
    ],
)
def test_wrong_fields_in_several_bands(hyper: Hyper, arguments: tuple[str, ...], message: str) -> None:
    status, out, err = hyper("simulate", "--preset", "bands", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_maps_that_nobody_simulated_are_kept(hyper: Hyper) -> None:
    Path("field").mkdir()
    Path("field/p100.fits").write_text("precious")
    status, _, err = hyper("simulate", "--preset", "bands", "-o", "field", *FEW)
    assert status == 2
    assert "--force overwrites it" in err
    assert Path("field/p100.fits").read_text() == "precious"
    assert hyper("simulate", "--preset", "bands", "-o", "field", "--force", *FEW)[0] == 0
