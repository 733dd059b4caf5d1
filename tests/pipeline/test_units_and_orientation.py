"""The unit of a map changes the numbers of its catalogue by that unit, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.maps import FWHM, WHITE, make_image, make_map, make_wcs, sources_of
from hyper_py.geometry import GAUSSIAN_AREA
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from hyper_py.simulation.simulate import simulate_image

WAYS = {
    "default": Options(),
    "white": WHITE,
    "joint": replace(
        WHITE, background=BackgroundOptions(method="polynomial", fit_gauss_and_bg_together=True)
    ),
    "robust": Options(fit_options=FitOptions(loss="soft_l1")),
    "highpass": Options(detection=DetectionOptions(method="highpass", rms_map="local")),
}
BLEND = sources_of((25.0, 20.3, 30.1), (40.0, 60.2, 24.7), (22.0, 66.1, 27.0), (60.0, 45.4, 66.3))
IN_UNIT = {"FLUX", "FLUX_PEAK", "FLUX_GAUSS", "LOCAL_RMS", "RESIDUALS", "FLUX_ULIM", "FLUX_BEYOND"}
CASES = settings(
    max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def assert_same(one: QTable, other: QTable, *, factor: float, least: float = 1e-9) -> None:
    """Every number of two catalogues, those in the unit of the map for a factor."""
    assert len(one) == len(other) >= 3
    assert one.colnames == other.colnames
    for name in one.colnames:
        if one[name].dtype.kind != "f":
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
            continue
        ours, theirs = (np.asarray(getattr(table[name], "value", table[name])) for table in (one, other))
        scale = factor if name.removesuffix("_ERR") in IN_UNIT else 1.0
        # Of a source hardly wider than the beam the deconvolved size is a small difference of large squares.
        tolerance = 1e-6 if name.startswith("DECONV") else least
        # Angles and levels may be near zero by chance: their tolerance is that of the largest.
        np.testing.assert_allclose(
            theirs / scale, ours, rtol=tolerance, atol=tolerance * np.nanmax(np.abs(ours), initial=0.0),
            err_msg=name,
        )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@CASES
@given(power=st.integers(-30, 30))
def test_a_power_of_ten_on_the_data_is_one_on_the_fluxes_and_on_nothing_else(way, power):
    data, factor = make_map(BLEND), 10.0**power
    one = extract_sources(make_image(data), options=WAYS[way]).catalog
    other = extract_sources(make_image(factor * data), options=WAYS[way]).catalog
    assert_same(one, other, factor=factor)


@pytest.mark.parametrize("power", [-30, 30])
def test_a_whole_sky_does_not_depend_on_its_unit(power):
    """Cirrus, blends and faint sources, with errors of the map given."""
    image = simulate_image("crowded", seed=5, shape=(130, 140), n_sources=24).image
    error = np.full(image.shape, 1e-6)
    one, other = (
        extract_sources(replace(image, data=f * image.data, error=f * error)).catalog
        for f in (1.0, 10.0**power)
    )
    assert_same(one, other, factor=10.0**power)


UNITS = {"Jy/beam": 1.0, "mJy/beam": 1e3, "uJy/beam": 1e6, "nJy beam-1": 1e9, "Jy/pixel": 0.0, "MJy/sr": 0.0}


@settings(CASES, max_examples=5)
@given(unit=st.sampled_from(sorted(UNITS)), power=st.integers(-15, 15))
def test_the_unit_in_which_a_file_is_written_does_not_matter(tmp_path_factory, unit, power):
    """Areas from the closed form; the map itself may be any power of ten brighter."""
    path = tmp_path_factory.mktemp("map") / "map.fits"
    beam_pixels, beam_sr = GAUSSIAN_AREA * FWHM**2, GAUSSIAN_AREA * np.radians(FWHM / 3600.0) ** 2
    per_jy_beam = UNITS[unit] or {"Jy/pixel": 1.0 / beam_pixels, "MJy/sr": 1e-6 / beam_sr}[unit]
    catalogs = []
    for text, factor in (("Jy/beam", 1.0), (unit, per_jy_beam * 10.0**power)):
        header = make_wcs((90, 96)).to_header()
        header.update({"BUNIT": text, "BMAJ": FWHM / 3600.0, "BMIN": FWHM / 3600.0, "BPA": 0.0})
        fits.PrimaryHDU(factor * make_map(BLEND), header).writeto(path, overwrite=True)
        catalogs.append(extract_sources(read_image(path)).catalog)
    # Areas of pixels that differ by less than 1e-6 over the map are taken for one.
    assert_same(*catalogs, factor=10.0**power, least=1e-9 if "beam" in unit else 1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("turn", ["transposed", "mirrored"])
def test_a_whole_sky_turned_over_gives_the_same_sources(turn, seed):
    """Within half their errors: cells of the noise level begin at the first pixel, whichever that is."""
    image = simulate_image(
        "alma", seed=seed, shape=(110, 120), n_sources=14, min_separation=2.0, beam=(0.043, 0.043, 0.0)
    ).image
    nx, data = image.shape[1], image.data
    turned = data.T.copy() if turn == "transposed" else data[:, ::-1].copy()
    one, other = (extract_sources(replace(image, data=values)).catalog for values in (data, turned))
    x, y = (other[name].value for name in ("X", "Y"))
    x, y = (y, x) if turn == "transposed" else (nx - 1 - x, y)
    distance = np.hypot(x - one["X"].value[:, None], y - one["Y"].value[:, None])
    rows = other[distance.argmin(axis=1)]
    assert len(one) == len(other) == np.unique(distance.argmin(axis=1)).size >= 8
    assert distance.min(axis=1).max() < 0.05
    assert (np.abs(rows["FLUX"] - one["FLUX"]) < 0.5 * one["FLUX_ERR"]).all()
    np.testing.assert_allclose(rows["FLUX_ERR"].value, one["FLUX_ERR"].value, rtol=0.15)
