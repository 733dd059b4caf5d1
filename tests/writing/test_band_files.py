"""Regions and images of single bands."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from helpers.bands import SMALL, extraction_of, measured_field
from hyper_py.simulation.bands import simulate_bands
from hyper_py.writing.band_files import band_table, rms_image, write_band_files
from hyper_py.writing.layout import Layout
from hyper_py.writing.staging import Stage


def test_places_and_angles_are_those_of_the_band_s_own_map():
    bands = {"s350": {"frame": "galactic", "rotation": 25.0, "offset": [2.0, -1.0]}}
    simulated = simulate_bands("bands", seed=3, **SMALL, bands=bands)
    extraction = extraction_of(simulated)
    one, truth = extraction.band("s350"), simulated.truth
    table = band_table(one, extraction.sources.seen[:, 3])
    shown = one.band.image.wcs.pixel_to_world(table["X"], table["Y"]).icrs
    places = SkyCoord(truth["RA"], truth["DEC"])
    expected = places.spherical_offsets_by(2.0 * u.arcsec, -1.0 * u.arcsec)
    assert shown.separation(expected).arcsec.max() < 1e-3
    np.testing.assert_allclose(table["FWHM_1"], np.hypot(truth["FWHM_1"].value, 24.5), rtol=1e-4)


def test_sources_beside_a_map_have_no_region(tmp_path):
    bands = {"s500": {"coverage": 0.5}}
    extraction = extraction_of(simulate_bands("bands", seed=2, **SMALL, bands=bands))
    seen = extraction.sources.seen[:, 4]
    assert 0 < seen.sum() < len(seen)
    layout = Layout(root=tmp_path)
    with Stage(tmp_path) as stage:
        write_band_files(stage, layout, extraction, name="f", fwhm_radius_ratio=1.0)
    text = (tmp_path / "regions/region_files_f_s500_centroids.reg").read_text()
    labels = [int(line.partition("{")[2].partition("}")[0]) for line in text.splitlines() if "{" in line]
    assert labels == (np.flatnonzero(seen) + 1).tolist()
    assert not (tmp_path / "fits").exists()


def test_images_only_where_they_are_asked_for(tmp_path):
    _, extraction = measured_field(seed=2)
    layout = Layout(root=tmp_path, products=("model", "residual"))
    with Stage(tmp_path) as stage:
        write_band_files(stage, layout, extraction, name="f", fwhm_radius_ratio=1.0)
    names = {path.name for path in (tmp_path / "fits").iterdir()}
    bands = ("p100", "p160", "s250", "s350", "s500")
    assert names == {f"f_{band}_{kind}.fits" for band in bands for kind in ("model", "residual")}


def test_noise_level_follows_the_error_map():
    simulated, extraction = measured_field(seed=2, n_sources=2)
    one = extraction.band("s250")
    plain = rms_image(one)
    assert np.ptp(plain) == 0.0
    assert plain[0, 0] == pytest.approx(simulated["s250"].band.noise * one.band.image.jy_per_pixel)
    error = np.where(np.arange(plain.shape[1]) < plain.shape[1] // 2, 1.0, 3.0) * np.ones(plain.shape)
    image = replace(one.band.image, error=error)
    varying = rms_image(replace(one, band=replace(one.band, image=image)))
    assert varying[0, -1] / varying[0, 0] == pytest.approx(3.0)
