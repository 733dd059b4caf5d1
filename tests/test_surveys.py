"""Presets of instruments."""

import math

import pytest

from hyper_py.diagnostics import ConfigurationError
from hyper_py.reading.surveys import CODES, PRESETS, find_survey


def test_codes_keep_the_original_numbers():
    expected = {1: 5.2, 2: 6.8, 3: 12.0, 4: 18.0, 5: 24.0, 6: 34.5, 7: 8.0, 8: 14.5}
    assert {code: survey.major for code, survey in CODES.items()} == expected
    assert {code: survey.area for code, survey in CODES.items() if survey.area} == {
        4: 423.0,
        5: 751.0,
        6: 1587.0,
    }
    assert find_survey() is None
    assert find_survey(code=4).beam.solid_angle == 423.0


def test_names_are_found_in_any_spelling():
    assert find_survey(name="SCUBA2 850") is PRESETS["scuba2-850"]
    assert find_survey(name="scuba-2_850", code=4) is PRESETS["scuba2-850"]
    assert find_survey(name="laboca").beam.major == pytest.approx(19.2)


def test_unknown_survey_names_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean spire250"):
        find_survey(name="spire25")
    with pytest.raises(ConfigurationError, match="survey_code: 9"):
        find_survey(code=9)


@pytest.mark.parametrize("survey", [*CODES.values(), *PRESETS.values()], ids=lambda s: s.name)
def test_every_preset_is_a_beam_with_a_source(survey):
    beam = survey.beam
    assert survey.major >= survey.minor > 0
    assert beam.major == pytest.approx(math.sqrt(survey.major * survey.minor))
    assert survey.source
    assert survey.name in beam.source
    # A measured area holds the error beam as well: more than the Gaussian's, but not much.
    assert 0.99 < beam.solid_angle / (math.pi / (4 * math.log(2)) * survey.major * survey.minor) < 1.6
    assert survey.frequency * survey.wavelength == pytest.approx(299792458.0e6)


def test_names_are_their_own_keys():
    assert all(name == survey.name for name, survey in PRESETS.items())
