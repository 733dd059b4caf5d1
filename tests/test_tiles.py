"""A map read and worked on in tiles gives the catalogue of a map that is in memory at once."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hyper_py.cli import app
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.evidence.simulate import simulate_image
from hyper_py.options import BackgroundOptions, DetectionOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from hyper_py.writing.simulated_files import write_simulation

SHAPE = (260, 330)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    simulation = simulate_image(
        "deep", seed=int(np.random.SeedSequence().generate_state(1)[0]), shape=SHAPE, n_sources=60,
        noise_variation=3.0,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tiles") / "map.fits"
    write_simulation(path, simulation)
    with fits.open(path, mode="update") as file:
        file[0].data[40:70, 90:150] = np.nan
    return path


@pytest.fixture(scope="module")
def whole(path):
    return extract_sources(read_image(path), options=Options(tile_size_pix=0)).catalog


def assert_same(catalog, expected):
    assert len(catalog) == len(expected) > 10
    for name in expected.colnames:
        one, other = (getattr(table[name], "value", table[name]) for table in (catalog, expected))
        if np.asarray(other).dtype.kind in "fc":
            scale = np.nanmax(np.abs(other), initial=0.0)
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9 * scale, err_msg=name)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(size=st.one_of(st.none(), st.integers(32, 400)), streamed=st.booleans())
def test_the_catalogue_does_not_depend_on_tiles(path, whole, size, streamed):
    image = read_image(path, max_memory=1e6 if streamed else None)
    assert image.is_whole is not streamed
    assert_same(extract_sources(image, options=Options(tile_size_pix=size)).catalog, whole)


@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_pixels_are_those_of_a_map_read_at_once(path, tmp_path, dtype):
    with fits.open(path) as file:
        header, data = file[0].header, file[0].data
    if dtype == "int16":
        scale = np.nanmax(np.abs(data)) / 30000
        raw = np.where(np.isfinite(data), data / scale, -32768).astype(np.int16)
        header.update({"BSCALE": scale, "BZERO": 0.5 * scale, "BLANK": -32768})
        fits.PrimaryHDU(raw, header, do_not_scale_image_data=True).writeto(tmp_path / "m.fits")
    else:
        fits.PrimaryHDU(data.astype(dtype)[None], header).writeto(tmp_path / "m.fits")
    whole, streamed = (read_image(tmp_path / "m.fits", max_memory=m).data for m in (None, 1e6))
    np.testing.assert_allclose(streamed[:, :], whole, rtol=1e-12)
    np.testing.assert_allclose(streamed[17:60, 200:], whole[17:60, 200:], rtol=1e-12)
    y, x = np.array([3, 250, 3]), np.array([1, 329, 0])
    np.testing.assert_allclose(streamed.at(y, x), whole[y, x], rtol=1e-12)


def test_what_needs_the_whole_map_says_so(path, tmp_path):
    image = read_image(path, max_memory=1e6)
    for key, options in {
        "detection.method": Options(detection=DetectionOptions(method="highpass")),
        "detection.rms_map": Options(detection=DetectionOptions(rms_map="local")),
        "background.method": Options(background=BackgroundOptions(method="polynomial")),
    }.items():
        with pytest.raises(ConfigurationError, match=rf"{key} = .*control\.max_memory"):
            extract_sources(image, options=options)
    with pytest.raises(InputError, match=r"control\.max_memory.*io\.mask"):
        read_image(path, max_memory=1e6, mask=np.zeros(SHAPE, dtype=bool))
    fits.CompImageHDU(fits.getdata(path), fits.getheader(path)).writeto(tmp_path / "packed.fits")
    with pytest.raises(InputError, match="unpack"):
        read_image(tmp_path / "packed.fits", max_memory=1e6)


def test_outputs_of_a_map_in_pieces_are_those_of_a_map_at_once(path, tmp_path):
    """The command line, with FITS images and the figure of the map; what is left out is said in one line."""
    common = ["run", str(path), "--jobs", "1", "--set", "fits_output.fits_fitting=true",
              "--set", "fits_output.fits_bg_separate=true"]  # fmt: skip
    runner = CliRunner()
    for name, limit in (("whole", "4"), ("pieces", "0.01")):
        options = ["-o", str(tmp_path / name), "--set", f"control.max_memory={limit}"]
        result = runner.invoke(app, [*common, *options])
        assert result.exit_code == 0, result.output
    assert "read in pieces (control.max_memory)" in " ".join(result.output.split())
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert (pieces / "plots/map_map.svg").stat().st_size > 1000
    images = ("fitting/map_model", "fitting/map_residual", "fitting/map_rms", "bg_separate/map_background")
    for what in images:
        files = [root / f"fits/{what}.fits" for root in (pieces, whole)]
        one, other = (fits.getdata(file) for file in files)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * np.nanmax(np.abs(other)))
        cards = [{k: v for k, v in fits.getheader(file).items() if k != "EXTEND"} for file in files]
        assert cards[0] == cards[1]
    tables = [Table.read(root / "params/params_map.ecsv") for root in (pieces, whole)]
    assert_same(*tables)
