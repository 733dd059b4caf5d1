"""What is recorded of each band of a field."""

import numpy as np
import pytest

from helpers.bands import measured_field
from hyper_py.running.field_outputs import band_facts, offset_text


def test_facts_are_those_of_the_bands():
    simulated, extraction = measured_field(seed=4)
    facts = band_facts(extraction)
    assert [one["name"] for one in facts] == [one.band.name for one in simulated.maps]
    for b, (fact, one) in enumerate(zip(facts, simulated.maps, strict=True)):
        assert fact["wavelength_um"] == one.band.wavelength
        assert fact["beam_arcsec"] == one.band.beam
        assert fact["unit"] == "mJy/beam"
        assert fact["rms"] == pytest.approx(1e3 * one.band.noise, rel=0.01)
        assert fact["n_detected"] == np.count_nonzero(extraction.sources.detected[:, b])
        assert fact["offset_arcsec"] == pytest.approx(one.offset, abs=1e-4)
    assert [fact["reference"] for fact in facts] == [True, False, False, False, False]


def test_offsets_in_words():
    facts = {"reference": False, "offset_arcsec": [1.5, -2.0], "offset_error_arcsec": [0.04, 0.05]}
    assert offset_text(facts) == "+1.50 -2.00 +- 0.05 arcsec"
    assert offset_text(facts | {"reference": True}) == "reference"
    assert offset_text(facts | {"offset_error_arcsec": [None, None]}) == "not measured"
