"""Several bands in Python: maps, wavelengths and sources in any form, and a result that shows itself."""

import io

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from numpy.testing import assert_allclose

import hyper_py
from hyper_py.interface.bands import extract_bands
from hyper_py.pipeline.bands_results import BAND_PLANES, BandsResultMethods

WAVELENGTHS = {"s250": 250 * u.um, "s500": (299792458.0 / 500e-6) * u.Hz}


@pytest.fixture(scope="module")
def field():
    return hyper_py.simulate_bands(
        "bands", seed=3, size=300.0, n_sources=4, pair_fraction=0.0, flux_range=(0.3, 1.5)
    )


@pytest.fixture(scope="module")
def maps(field):
    return {name: field[name].image for name in WAVELENGTHS}


@pytest.fixture(scope="module")
def found(maps):
    return extract_bands(maps, wavelengths=WAVELENGTHS)


def test_wavelengths_and_frequencies_are_micron(found):
    assert_allclose(found.wavelengths, [250.0, 500.0])


def test_maps_that_say_what_they_are(maps, found):
    """HDUs with their headers, and CCDData, give what the maps give, to the rounding of the headers."""
    hdus = {}
    for name, image in maps.items():
        header = image.wcs.to_header()
        beam = image.beam
        header["BUNIT"], header["BMAJ"], header["BMIN"] = "Jy/pixel", beam.major / 3600, beam.minor / 3600
        hdus[name] = fits.PrimaryHDU(image.data, fits.Header(header))
    again = extract_bands(hdus, wavelengths=WAVELENGTHS)
    assert_allclose(again.catalog["FLUX_s500"].value, found.catalog["FLUX_s500"].value, rtol=1e-3)


@pytest.mark.parametrize("form", ["table", "coordinates", "mapping"])
def test_given_sources_in_any_form(maps, found, form):
    table = found.catalog["RA", "DEC"]
    fixed = {
        "table": table,
        "coordinates": SkyCoord(table["RA"], table["DEC"]),
        "mapping": {"RA": table["RA"].value, "DEC": table["DEC"].value},
    }[form]
    forced = extract_bands(maps, wavelengths=WAVELENGTHS, fixed=fixed)
    assert_allclose(forced.catalog["RA"].value, table["RA"].value, atol=1e-9)
    assert_allclose(forced.catalog["FLUX_s250"].value, found.catalog["FLUX_s250"].value, rtol=0.2)


def test_progress_is_lines_on_standard_error_or_a_function(maps, capsys):
    told = []
    extract_bands(maps, wavelengths=WAVELENGTHS, progress=told.append)
    extract_bands(maps, wavelengths=WAVELENGTHS, progress=True)
    assert capsys.readouterr().err.splitlines() == told
    assert told
    with pytest.raises(hyper_py.HyperPyError, match="progress='bar': give True, or a function"):
        extract_bands(maps, wavelengths=WAVELENGTHS, progress="bar")


def test_it_shows_itself_on_one_screen(field, found):
    for shown in (found, field):
        text = repr(shown)
        assert len(text.splitlines()) < 16
        assert max(map(len, text.splitlines())) < 140
        assert shown._repr_html_().startswith("<div>")
    assert isinstance(found, BandsResultMethods)
    assert f"{len(found.catalog)} sources in 2 bands" in repr(found)


@pytest.mark.parametrize("plane", BAND_PLANES)
def test_it_draws_itself(found, plane):
    figure = found.plot(plane=plane)
    panels = [axes for axes in figure.axes if axes.images and axes.patches]
    assert len(panels) == 2
    image = found.bands[1].image
    if plane == "residual":
        expected = found.residual_image("s500") * 1e3 * image.beam_area_pix
        assert_allclose(panels[1].images[0].get_array(), expected)
    # one ellipse a source that the band sees, and the beam
    assert len(panels[1].patches) == len(found.regions("s500")) + 1


def test_one_band_and_none(found):
    assert len(found.plot("s500", sources=False).axes) == 2
    with pytest.raises(hyper_py.HyperPyError, match="s999: no band of this name"):
        found.plot("s999")
    with pytest.raises(hyper_py.HyperPyError, match="plane='rms': must be one of data, model"):
        found.plot(plane="rms")


@pytest.mark.parametrize("name", ["bands.ecsv", "bands.fits", "bands.vot"])
def test_a_file_holds_the_catalogue(found, tmp_path, name):
    table = QTable.read(found.write(tmp_path / name))
    assert_allclose(table["FLUX_s500"].value, found.catalog["FLUX_s500"].value, rtol=1e-6)
    assert table["FLUX_s500"].unit == found.catalog["FLUX_s500"].unit
    with pytest.raises(hyper_py.HyperPyError, match="exists: give overwrite=True"):
        found.write(tmp_path / name)


def test_a_frame_of_pandas(found):
    pytest.importorskip("pandas")
    frame = found.to_pandas()
    assert_allclose(frame["FLUX_s250"].to_numpy(), found.catalog["FLUX_s250"].value)
    assert frame.attrs["units"]["FLUX_s250"] == "mJy"


def test_validation_takes_the_objects(field, found):
    by_hand = hyper_py.validate_bands(found.catalog, field.truth)
    assert hyper_py.validate_bands(found, field).completeness == by_hand.completeness
    with pytest.raises(hyper_py.HyperPyError, match="catalog: a str: give a table"):
        hyper_py.validate_bands("found.csv", field)


def test_figures_of_checks_are_shown_by_notebooks(maps):
    sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    figure = hyper_py.validate(hyper_py.extract_sources(sky.image), sky).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    stream = io.BytesIO()
    figure.savefig(stream, format="pdf")
    assert np.frombuffer(stream.getvalue()[:4], "u1").tolist() == list(b"%PDF")
