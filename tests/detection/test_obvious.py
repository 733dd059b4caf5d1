"""Bright sources that fill small maps: found, and nothing made of noise."""

import numpy as np
import pytest

from helpers.maps import FWHM, SIGMA, make_image, make_map, noise_of, sources_of
from hyper_py.detection.bright import fit_gaussians
from hyper_py.detection.field import Field
from hyper_py.detection.obvious import obvious_sources
from hyper_py.numerics.gaussians import AMPLITUDE, X, Y
from hyper_py.pipeline.extraction import extract_sources

COVARIANCE = SIGMA**2 * np.eye(2)


def obvious(data):
    field = Field.of(data, beam_covariance=COVARIANCE, size=None)
    assert field is not None
    return obvious_sources(
        field, fit=lambda *given: fit_gaussians(*given, beam_covariance=COVARIANCE), size=1.1
    )


@pytest.mark.parametrize("seed", range(6))
def test_of_noise_in_a_few_beams_nothing_is_obvious(seed):
    side = round((2.5, 4.0, 7.0)[seed % 3] * FWHM)
    large = noise_of((80, 80), seed=seed, white=0.1 * (seed % 2))
    assert len(obvious(large[:side, :side])) == 0


@pytest.mark.parametrize("beams", [2.5, 3.3, 6.0])
def test_a_source_that_fills_the_map_is_obvious_and_becomes_a_row(beams):
    side = round(beams * FWHM)
    place = 0.5 * side - 0.3, 0.5 * side + 0.2
    data = make_map(sources_of((100.0, *place)), (side, side), seed=4)
    (source,) = obvious(data)
    assert source[[X, Y]] == pytest.approx(place, abs=0.1)
    assert source[AMPLITUDE] > 0.0
    (row,) = extract_sources(make_image(data)).catalog
    assert [row["X"].value, row["Y"].value] == pytest.approx(place, abs=0.1)
    assert row["FLUX_PEAK"].to_value("Jy / beam") == pytest.approx(
        100.0 * make_image(data).beam_area_pix, rel=0.1
    )


@pytest.mark.parametrize("shape", [(5, 7), (2, 40), (12, 12)])
def test_maps_without_a_maximum_have_nothing_obvious(shape):
    data = np.zeros(shape)
    data[0], data[-1] = 1.0, -1.0
    assert len(obvious(data)) == 0


def test_on_maps_of_many_beams_the_search_begins_without_sources():
    data = make_map(sources_of((100.0, 60.0, 50.0)), (120, 120), seed=4)
    assert len(obvious(data)) == 0
