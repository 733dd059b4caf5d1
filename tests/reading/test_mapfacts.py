"""What a file and the options say together."""

import numpy as np
import pytest
from astropy.io import fits

from hyper_py.diagnostics import InputError
from hyper_py.geometry import Beam
from hyper_py.reading.fits_files import open_fits
from hyper_py.reading.mapfacts import Given, MapFacts, understand
from hyper_py.reading.surveys import find_survey
from hyper_py.units import NO_UNIT

SKY = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 50.0, "CRPIX1": 4.0, "CRPIX2": 5.0,
    "CDELT1": -1e-3, "CDELT2": 1e-3,
}  # fmt: skip
BEAM = {"BMAJ": 3e-3, "BMIN": 2e-3, "BPA": 0.0}
GIVEN = Beam(major=9.0, minor=9.0)


def facts(tmp_path, cards, given=None, shape=(12, 10)):
    path = tmp_path / "map.fits"
    fits.PrimaryHDU(np.zeros(shape), fits.Header(cards)).writeto(path, overwrite=True)
    with open_fits(path) as file:
        return understand(file, given or Given())


def test_nothing_is_missing(tmp_path):
    found = facts(tmp_path, SKY | BEAM | {"BUNIT": "Jy/beam"})
    assert found.problems == ()
    assert (found.shape, found.n_channels, found.channel_axis) == ((12, 10), 1, None)
    found.demand()


def test_every_fault_is_named_once(tmp_path):
    found = facts(tmp_path, {})
    assert len(found.problems) == 3
    assert found.unit is NO_UNIT
    with pytest.raises(
        InputError, match=r"^map: no celestial.*; no BUNIT.*units\.bunit.*; no beam.*survey\.beam"
    ):
        found.demand()


def test_an_unknown_unit_is_one_fault(tmp_path):
    assert len(facts(tmp_path, SKY | BEAM | {"BUNIT": "furlong"}).problems) == 1


@pytest.mark.parametrize(("name", "told"), [("pacs100", True), ("scuba2-850", False)])
def test_a_preset_that_lacks_the_wings_of_its_beam_says_so(tmp_path, name, told):
    path = tmp_path / "map.fits"
    fits.PrimaryHDU(np.zeros((60, 60)), fits.Header(SKY | {"BUNIT": "Jy/pixel"})).writeto(path)
    with open_fits(path) as file:
        understand(file, Given(survey=find_survey(name=name)))
        assert any(name in note and "survey.psf" in note for note in file.notes) == told


def test_order_of_beams(tmp_path):
    """The user's beam, the preset, the header."""
    cards, preset = SKY | BEAM | {"BUNIT": "Jy"}, find_survey(code=2)
    assert facts(tmp_path, cards, Given(beam=GIVEN, survey=preset)).beam(0) is GIVEN
    assert facts(tmp_path, cards, Given(survey=preset)).beam(0).major == pytest.approx(6.8)
    assert facts(tmp_path, cards).beam(0).major == pytest.approx(10.8)


def test_order_of_frequencies(tmp_path):
    """The user's, the header's, the preset's."""
    cards, preset = SKY | BEAM | {"BUNIT": "K"}, find_survey(name="scuba2-850")
    assert facts(tmp_path, cards | {"RESTFRQ": 1e11}, Given(frequency=2e11)).frequency[0] == 2e11
    assert facts(tmp_path, cards | {"RESTFRQ": 1e11}, Given(survey=preset)).frequency[0] == 1e11
    assert facts(tmp_path, cards, Given(survey=preset)).frequency[0] == pytest.approx(3.527e11, rel=1e-3)
    assert any("units.frequency" in problem for problem in facts(tmp_path, cards).problems)


def test_channels(tmp_path):
    cards = SKY | BEAM | {"BUNIT": "Jy"}
    assert facts(tmp_path, cards, shape=(1, 7, 12, 10)).n_channels == 7
    assert facts(tmp_path, cards, shape=(7, 1, 12, 10)).channel_axis == 4
    found = facts(tmp_path, cards | {"CTYPE3": "STOKES", "CRVAL3": 1.0}, shape=(5, 4, 12, 10))
    assert (found.channel_axis, found.fixed) == (4, {3: 0})
    assert "only one axis of channels" in facts(tmp_path, cards, shape=(5, 4, 12, 10)).problems[0]


def test_beam_and_pixel_must_fit(tmp_path):
    for size, fits_map in ((0.4, False), (0.6, True), (11.0, True), (13.0, False)):
        beam = Beam(major=size * 3.6, minor=size * 3.6)
        problems = facts(tmp_path, SKY | {"BUNIT": "Jy"}, Given(beam=beam)).problems
        assert (not problems) == fits_map


def test_channel_without_a_beam_has_the_median_one():
    beams = (Beam(major=1.0, minor=1.0), None, Beam(major=3.0, minor=3.0), Beam(major=2.0, minor=2.0))
    found = MapFacts(name="x", index=0, header={}, primary={}, beams=beams)
    assert [found.beam(k).major for k in range(4)] == [1.0, 2.0, 3.0, 2.0]
