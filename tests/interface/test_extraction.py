"""One function, any map, options as keywords, sources as any list of positions."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.testing import assert_allclose

import hyper_py
from hyper_py.interface.extraction import as_fixed_sources, extract_sources


def test_an_array_gives_the_catalogue_of_its_map(sky, extraction):
    """Scaled by 1000 and called mJy; swapped; as float32: the same numbers to the rounding of float32."""
    image = sky.image
    made = extract_sources(1e3 * image.data.astype(">f4"), wcs=image.wcs, beam=image.beam, unit="mJy/pixel")
    for name in ("FLUX", "FLUX_ERR", "FWHM_1", "RA"):
        assert_allclose(made.catalog[name].value, extraction.catalog[name].value, rtol=1e-4)


def test_options_are_keywords(sky):
    found = extract_sources(sky.image, detection={"sigma_thres": 8}, detection_only=True, convert_mJy=False)
    assert found.options.detection.sigma_thres == 8.0
    assert found.catalog["FLUX"].unit == u.Jy
    with pytest.raises(hyper_py.HyperPyError, match=r"nearest known key is detection.sigma_thres"):
        extract_sources(sky.image, detection={"sigma_tres": 8})


@pytest.mark.parametrize("form", ["table", "coordinates", "object"])
def test_given_positions_in_any_form(sky, form):
    truth = sky.truth[:2]
    places = SkyCoord(truth["RA"], truth["DEC"])
    fixed = {
        "table": Table({"RA": truth["RA"].to(u.rad), "DEC": truth["DEC"], "ID": ["a", "b"]}),
        "coordinates": places.galactic,
        "object": hyper_py.FixedSources(
            longitude=truth["RA"].value, latitude=truth["DEC"].value, frame="icrs"
        ),
    }[form]
    made = extract_sources(sky.image, fixed=fixed)
    measured = SkyCoord(made.catalog["RA"], made.catalog["DEC"])
    assert (measured.separation(places) < 0.5 * sky.image.beam.fwhm * u.arcsec).all()
    assert_allclose(made.catalog["FLUX"].to_value(u.Jy), truth["FLUX"].to_value(u.Jy), rtol=0.4)
    if form == "table":
        assert list(made.catalog["ID"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ("sources.csv", r"fixed='sources.csv': read the table first"),
        ([1.0, 2.0], r"fixed=: a list: give a table with RA and DEC"),
        (Table({"X": [1.0]}), r"fixed=: no column RA and DEC among X"),
    ],
    ids=["path", "list", "table"],
)
def test_other_positions_are_refused(fixed, message):
    with pytest.raises(hyper_py.HyperPyError, match=message):
        as_fixed_sources(fixed)


def test_validation_of_an_extraction_and_its_simulation(sky, extraction):
    result = hyper_py.validate(extraction, sky)
    by_hand = hyper_py.validate(
        extraction.catalog, sky.truth, beam_fwhm=sky.image.beam_fwhm_pix, coordinates="pixel"
    )
    assert result.completeness.part == by_hand.completeness.part
    assert result.tolerance == by_hand.tolerance
    assert "completeness" in repr(result)
    with pytest.raises(hyper_py.HyperPyError, match="beam_fwhm: give the FWHM"):
        hyper_py.validate(extraction.catalog, sky.truth)


def test_validation_leaves_out_truth_at_the_border(sky, extraction):
    """A source at the very edge of the map counts neither for nor against."""
    truth = sky.truth.copy()
    truth["X"][0] = 0.0 * u.pix
    result = hyper_py.validate(extraction, truth)
    assert result.completeness.whole == len(truth) - 1


def test_completeness_takes_an_extraction_as_it_is(extraction):
    with pytest.raises(hyper_py.HyperPyError, match="an extraction has its options"):
        hyper_py.completeness(extraction, detection={"sigma_thres": 5})


def test_the_whole_background_on_request(sky, extraction):
    plane = extraction.background_image(extent="plane")
    assert np.isfinite(plane).all()
    near = extraction.background_image()
    assert np.isnan(near).any()
    # A smooth field: much weaker than the map between neighbouring pixels.
    steps = [np.std(np.diff(values, axis=1)) for values in (plane, extraction.residual_image())]
    assert steps[0] < 0.5 * steps[1]
    truth = sky.background - np.median(sky.background)
    assert np.std(plane - np.median(plane) - truth) < 1.2 * np.std(truth)
