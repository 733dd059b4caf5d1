"""One function, any map, options as keywords, sources as any list of positions."""

import importlib.util

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.testing import assert_allclose
from regions import PointSkyRegion

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
        ([1.0, 2.0], r"fixed=: a list: give a table or mapping with RA and DEC"),
        (np.zeros((3, 2)), r"fixed=: an array: give .*SkyCoord\(ra, dec, unit='deg'\)"),
        (Table({"X": [1.0]}), r"fixed=: no column RA and DEC among X; .*pixel_to_world"),
        ({"RA": [1.0, 2.0], "DEC": [1.0]}, r"fixed=: a dict that is no table"),
    ],
    ids=["path", "list", "array", "table", "columns of two lengths"],
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
    with pytest.raises(hyper_py.HyperPyError, match="beam_fwhm=: give the FWHM"):
        hyper_py.validate(extraction.catalog, sky.truth)


def test_validation_of_a_table_takes_the_beam_of_the_simulation(sky, extraction):
    result = hyper_py.validate(extraction.catalog, sky)
    assert result.tolerance == hyper_py.validate(extraction, sky).tolerance
    frame = pytest.importorskip("pandas").DataFrame({name: extraction.catalog[name].value for name in "XY"})
    assert hyper_py.validate(frame, sky).completeness == result.completeness


@pytest.mark.parametrize(
    ("catalog", "message"),
    [
        ("found.csv", r"catalogue: 'found.csv': read the table first"),
        (None, "catalogue: a NoneType: give an extraction"),
        (5, "catalogue: a int: give an extraction"),
    ],
)
def test_what_cannot_be_validated(sky, catalog, message):
    with pytest.raises(hyper_py.HyperPyError, match=message):
        hyper_py.validate(catalog, sky)


def test_sources_as_tables_of_others_as_mappings_and_as_coordinates(extraction):
    own = extraction.catalog["RA", "DEC"]
    places = SkyCoord(own["RA"], own["DEC"])
    degrees = {"RA": own["RA"].value, "DEC": own["DEC"].value}
    given = [own, degrees, Table(degrees).as_array(), [*places], places.galactic]
    if importlib.util.find_spec("pandas"):
        given.append(own.to_pandas())
    for fixed in given:
        made = as_fixed_sources(fixed).sky(extraction.image.wcs)
        assert made.separation(places).max() < 1e-6 * u.arcsec


def test_regions_are_measured_as_drawn(sky, extraction):
    """Ellipses of the catalogue's own apertures hold shapes fixed at the fitted ones."""
    forced = hyper_py.extract_sources(sky.image, fixed=extraction.regions())
    assert_allclose(forced.catalog["FWHM_1"].value, extraction.catalog["FWHM_1"].value, rtol=1e-4)
    points = [PointSkyRegion(region.center) for region in extraction.regions()]
    assert_allclose(
        hyper_py.extract_sources(sky.image, fixed=points).catalog["X"].value,
        extraction.catalog["X"].value,
        atol=0.5,
    )


@pytest.mark.parametrize("options", [{"detection": {"sigma_thres": 5}}, "config.yaml"])
def test_options_are_objects(sky, options):
    with pytest.raises(
        hyper_py.HyperPyError, match=r"options=: a (dict|str): give hyper_py.Options\(\.\.\.\)"
    ):
        hyper_py.extract_sources(sky.image, options=options)


def test_an_unknown_extent_of_the_background_is_refused(extraction):
    with pytest.raises(hyper_py.HyperPyError, match="extent='all': must be 'sources' or 'plane'"):
        extraction.background_image(extent="all")


@pytest.mark.parametrize("method", ["write", "report"])
def test_a_file_needs_a_name(extraction, method):
    with pytest.raises(hyper_py.HyperPyError, match=f"{method}: path=None: give the name of the file"):
        getattr(extraction, method)(None)


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
