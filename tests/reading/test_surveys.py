"""Presets of instruments."""

import math

import pytest

from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import GAUSSIAN_AREA
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


@pytest.mark.parametrize(
    ("name", "core", "error_beam"),
    [("scuba2-450", (0.94, 7.9), (0.06, 25.0)), ("scuba2-850", (0.98, 13.0), (0.02, 48.0))],
)
def test_scuba2_is_dempseys_two_gaussians(name, core, error_beam):
    """Peaks and FWHM of both parts in Dempsey et al. 2013, whose effective FWHM give the area."""
    beam, parts = find_survey(name=name).beam, (core, error_beam)
    area = GAUSSIAN_AREA * sum(peak * fwhm**2 for peak, fwhm in parts)
    assert beam.area == pytest.approx(area, abs=0.05)
    assert (beam.fwhm, beam.wings) == pytest.approx((core[1], error_beam[1]))
    for size in (0.0, 20.0):  # of a Gaussian source on the sky
        seen = sum(peak * fwhm**2 / (fwhm**2 + size**2) for peak, fwhm in parts)
        fitted = GAUSSIAN_AREA * seen * (core[1] ** 2 + size**2)
        assert beam.flux_factor(math.hypot(core[1], size)) == pytest.approx(area / fitted, rel=0.08)


def test_names_are_their_own_keys():
    assert all(name == survey.name for name, survey in PRESETS.items())
