"""The unit of a map changes the numbers of its catalogue by that unit, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import QTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.maps import WHITE, make_image, make_map, sources_of
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options
from hyper_py.pipeline.extraction import extract_sources
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
IN_UNIT = {"FLUX", "FLUX_PEAK", "FLUX_GAUSS", "LOCAL_RMS", "RESIDUALS", "FLUX_ULIM"}
CASES = settings(
    max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def assert_same(one: QTable, other: QTable, *, factor: float) -> None:
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
        tolerance = 1e-6 if name.startswith("DECONV") else 1e-9
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
