"""The page of a field: the same sky in all bands, the catalogue's numbers, and what a browser makes of it."""

import json
import shutil

import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import skycoord_to_pixel

from helpers.bands import measured_field
from helpers.field_tasks import measure, write_field
from hyper_py.bands.plane import TangentPlane
from hyper_py.config import Config
from hyper_py.reporting.bands_data import make_bands_data, pixel_polynomial, polynomial_terms
from hyper_py.reporting.report import write_report
from hyper_py.reporting.report_data import unpack_codes
from hyper_py.running.fields import run_fields
from hyper_py.simulation.bands import simulate_bands


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"frame": "galactic", "projection": "SIN", "rotation": 35.0},
        {"frame": "fk5", "projection": "ZEA", "offset": [2.0, -3.0], "coverage": 0.5},
    ],
)
def test_polynomials_lead_to_the_pixels_of_the_sky(change):
    wide = {"size": 3600.0, "n_sources": 40, "centre": (120.0, 40.0)}
    field = simulate_bands("bands", seed=1, **wide, bands={"s350": change})
    one, places = field["s350"], SkyCoord(field.truth["RA"], field.truth["DEC"])
    plane = TangentPlane(ra=120.1, dec=40.05)
    fitted = pixel_polynomial(one.image, plane, np.array(one.offset))
    terms = polynomial_terms(plane.offsets(places.ra.deg, places.dec.deg) / fitted["scale"])
    unit = field.truth["FWHM_1"].unit
    shown = places.spherical_offsets_by(*(value * unit for value in one.offset))
    expected = skycoord_to_pixel(shown, one.image.wcs)
    np.testing.assert_allclose(terms @ fitted["x"], expected[0], atol=0.01)
    np.testing.assert_allclose(terms @ fitted["y"], expected[1], atol=0.01)


def test_numbers_are_those_of_the_catalogue():
    _, extraction = measured_field(seed=3, calibration_error=0.05, bands={"grey_body": True})
    data = make_bands_data(extraction)
    facts, table = data.facts, extraction.catalog
    json.dumps(facts, allow_nan=False)
    assert facts["kind"] == "bands"
    np.testing.assert_allclose(facts["sources"]["bands"]["flux"][4], table["FLUX_s500"].value, rtol=1e-4)
    np.testing.assert_allclose(facts["sources"]["ra"], table["RA"].value, rtol=0, atol=1e-9)
    known = np.isfinite(table["TEMPERATURE"].value)
    found = np.array(facts["sources"]["grey"]["temperature"], dtype=float)
    np.testing.assert_allclose(found[known], table["TEMPERATURE"].value[known], rtol=1e-4)
    assert [band["wavelength"] for band in facts["bands"]] == [100.0, 160.0, 250.0, 350.0, 500.0]


def test_layers_are_the_maps_to_a_tenth_of_the_noise():
    _, extraction = measured_field(seed=3)
    data = make_bands_data(extraction)
    image = extraction.bands[2].image
    layer = data.facts["layers"]["map_2"]
    codes = unpack_codes(data.blobs["map_2"], tuple(layer["shape"]))
    values = layer["offset"] + layer["step"] * codes.astype(float)
    per_beam = 1e3 * image.beam_area_pix
    np.testing.assert_allclose(values, image.data * per_beam, atol=0.51 * layer["step"])
    assert layer["step"] == pytest.approx(0.1 * data.facts["bands"][2]["rms"], rel=1e-6)


def test_a_field_without_sources_has_a_page():
    _, extraction = measured_field(n_sources=0)
    facts = make_bands_data(extraction).facts
    json.dumps(facts, allow_nan=False)
    assert facts["sources"]["hyper_id"] == []


# ---------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The output directory of a field of which one band covers a half, and a source is not detected."""
    root = tmp_path_factory.mktemp("page")
    maps = write_field(root, seed=2)
    mapping = {
        "version": 2, "paths": {"output": {"dir_root": "out"}}, "control": {"executor": "serial"},
        "bands": {"grey_body": True},
    }  # fmt: skip
    result = run_fields(Config.from_mapping(mapping, base_dir=root), maps, measure=measure)
    assert not result.failures
    return root / "out"


@pytest.fixture
def page(reports):
    """The page, opened; at the end no complaint and no request but for the file."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium found; on Debian: apt-get install chromium")
    requests, complaints = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 900}, color_scheme="light")
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((reports / "report/index.html").as_uri())
        page.wait_for_selector("html[data-ready]")
        yield page
        browser.close()
    assert len(set(requests)) == 1
    assert complaints == []


def test_page_shows_all_bands_on_the_same_sky(page):
    assert page.locator("#sky-grid canvas.sky").count() == 5
    assert page.locator("#table tbody tr").count() == 8
    before = page.evaluate("view.scale")
    page.locator("#sky-grid canvas.sky").nth(3).hover()
    page.mouse.wheel(0, -240)
    assert page.evaluate("view.scale") < before
    # The brightest pixel of a model is where its source is, in every band.
    for b in range(5):
        peak, expected = page.evaluate(f"""(() => {{
          const {{ nx, values }} = grid({b}, "model"); let k = 0;
          for (let i = 0; i < values.length; i++) if (values[i] > values[k]) k = i;
          const peak = i => inBand("peak", {b}, i); let best = 0;
          for (let i = 0; i < count; i++) if (peak(i) > peak(best)) best = i;
          return [[k % nx, Math.floor(k / nx)], toPixel({b}, sources.east[best], sources.north[best])];
        }})()""")
        assert np.hypot(*np.subtract(peak, expected)) < 1.5


def test_axes_of_the_page_are_those_of_the_sky(page):
    """Ticks are where a tangent projection of astropy has the coordinates that stand beside them."""
    scale, side = 4.0, 200  # arcsec a pixel, pixels
    families, plane = page.evaluate(f"""[skyGrid({{ x: 0, y: 0, width: {side}, height: {side} }},
        (x, y) => [-(x - {side / 2}) * {scale}, -(y - {side / 2}) * {scale}],
        {{ frame: skyOf, spacing: [30, 30] }}), facts.plane]""")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (plane["ra"], plane["dec"])
    wcs.wcs.crpix, wcs.wcs.cdelt = (side / 2, side / 2), (-scale / 3600, scale / 3600)
    found = 0
    for family in families:
        for level in family["levels"]:
            right = family["isLongitude"]
            place = level["below"] if right else level["left"]
            if place is None:
                continue
            sky = wcs.all_pix2world([[place, 0.0] if right else [0.0, side - place]], 1)[0]
            text = level["text"].replace("−", "-")
            told = Angle(text if text.count(":") == 2 else f"{text}:00", "hourangle" if right else "deg")
            assert (told.deg - sky[0 if right else 1]) * 3600 == pytest.approx(0.0, abs=0.3 * scale)
            found += 1
    assert found >= 5


def test_page_shows_one_source_with_its_spectrum(page):
    page.locator("#table tbody tr").nth(2).click()
    assert page.locator("#card h2").inner_text() == "Source 3"
    assert page.locator("#card canvas").count() == 15 + 1
    flux = page.evaluate("[0,1,2,3,4].map(b => inBand('flux', b, 2) / inBand('error', b, 2))")
    assert page.locator("#card svg circle.point").count() == sum(ratio >= 3 for ratio in flux)
    assert page.locator("#card svg path.limit").count() == sum(ratio < 3 for ratio in flux)
    page.keyboard.press("ArrowRight")
    assert page.locator("#card h2").inner_text() == "Source 4"
    residual = page.evaluate("[...grid(0, 'residual').values].sort((a, b) => a - b)")
    width = residual[int(0.84 * len(residual))] - residual[int(0.16 * len(residual))]
    assert 0.5 * width == pytest.approx(1.0, abs=0.35)  # noise, and some cirrus


def test_report_is_made_again_from_the_files(reports):
    before = (reports / "report/index.html").read_text()
    assert 'href="../params/params_bands_long.ecsv"' in before
    assert write_report(reports) == ("report/index.html",)
    assert (reports / "report/index.html").read_text() == before
