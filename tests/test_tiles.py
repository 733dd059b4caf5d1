"""A map read and worked on in tiles gives the catalogue of a map that is in memory at once."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
