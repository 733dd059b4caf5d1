"""Maps with steps between tiles: sources beside the steps are found and measured, and the steps are said."""

import re
from dataclasses import replace

import numpy as np
import pytest

from helpers.maps import make_image, make_map, sources_of
from hyper_py.cautions.catalogues import cautions
from hyper_py.pipeline.defects import mended
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.pipeline.levelled import levelled

PLACES = ((100.0, 40.0), (95.0, 120.0), (60.0, 99.5), (150.0, 103.0), (30.0, 30.0))
SOURCES = sources_of(*[(25.0, x, y) for x, y in PLACES])
FLAT = make_image(make_map(SOURCES, (200, 200), seed=4))


@pytest.mark.parametrize("height", [10.0, 100.0])
def test_sources_beside_steps_are_those_of_the_map_without(height):
    y, x = np.mgrid[:200, :200]
    steps = height * ((x >= 100) + 0.7 * (y >= 100) - 2.0 * ((x >= 100) & (y >= 100)))
    stepped = replace(FLAT, data=FLAT.data + steps)
    found, expected = (extract_sources(image).catalog for image in (stepped, FLAT))
    assert len(found) == len(expected) == len(PLACES)
    found.sort("Y"), expected.sort("Y")
    assert found["X"].value == pytest.approx(expected["X"].value, abs=0.15)
    assert found["FLUX"].value == pytest.approx(expected["FLUX"].value, rel=0.08)


def test_steps_are_said_and_no_others():
    assert levelled(FLAT) is FLAT
    stepped = levelled(replace(FLAT, data=FLAT.data + 30.0 * (np.arange(200) >= 100)))
    height = re.match(r"the background jumps by up to ([\d.]+) times", stepped.meta["levels"])
    assert float(height[1]) == pytest.approx(30.0, rel=0.1)
    assert "times the noise at x = 100, from one pixel to the next" in stepped.meta["levels"]
    extraction = extract_sources(replace(FLAT, data=FLAT.data + 30.0 * (np.arange(200) >= 100)))
    said = cautions(extraction.catalog, extraction.image, extraction.noise)
    assert stepped.meta["levels"] in said


def test_rows_beside_a_step_are_not_bad_and_a_bad_row_is_no_step():
    for seed in range(5):
        flat = make_map(SOURCES, (200, 200), seed=seed)
        stepped = flat + 50.0 * (np.arange(200) >= 100)[:, None]
        assert not np.isnan(mended(replace(FLAT, data=stepped)).data).any()
        stepped[40] += 20.0
        found = mended(replace(FLAT, data=stepped))
        assert np.flatnonzero(np.isnan(found.data).all(axis=1)).tolist() == [40]
        assert "at y = 100," in found.meta["levels"]
