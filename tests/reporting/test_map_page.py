"""The page of a map in a browser: coordinates, layers, cuts, columns, banners, printed cards."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from scipy import ndimage

from helpers.report_tasks import small_image, write_map
from helpers.runner_tasks import make_config
from hyper_py import extract_sources, read_image
from hyper_py.geometry import celestial_degrees, celestial_frame
from hyper_py.reporting.report_data import loud_share
from hyper_py.running import runner
from hyper_py.simulation.simulate import simulate_image

GRID = """(() => {
    const view = hyperReport.sky.view;
    const toMap = (x, y) => [
        view.x + (x - view.width / 2) / view.scale, view.y - (y - view.height / 2) / view.scale,
    ];
    const plain = ({ text, segments, below, left }) => (
        { text, below, left, points: segments.map(([[x, y]]) => toMap(x, y)) }
    );
    return skyGrid(view, toMap).map(
        ({ isLongitude, levels }) => ({ isLongitude, levels: levels.map(plain) }),
    );
})()"""
ROWS = """(box => [
    box.getBoundingClientRect().bottom,
    [...box.querySelectorAll("tr[data-row]")].map(r => r.getBoundingClientRect()).map(r => [r.top, r.bottom]),
])(document.getElementById("table-box"))"""
PIXELS = """(c => Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data))(
    document.querySelector(".printed canvas")
)"""


def run(root, image, **sections):
    sections = {"outputs": {"report": True, "tables": ["ecsv"]}, **sections}
    path = write_map(root / f"{image.name}.fits", image)
    assert runner.run(make_config(root / "out", **sections), [path]).exit_code == 0
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    run(root, small_image())
    return root


@pytest.fixture(scope="module")
def galactic(tmp_path_factory):
    root = tmp_path_factory.mktemp("galactic")
    image = simulate_image("alma", seed=4, shape=(90, 110), n_sources=6, frame="galactic").image
    run(root, image)
    return root, image


@pytest.fixture
def page(open_report, folder):
    return open_report(folder / "out/report/index.html")


def layer(page, name):
    found = page.evaluate(f"(l => [l.ny, l.nx, Array.from(l.values)])(hyperReport.layers.get('{name}'))")
    return np.array(found[2], dtype=float).reshape(found[:2])


def test_residual_and_map_are_shown_in_units_of_the_local_noise(page, folder):
    extraction = extract_sources(read_image(folder / "small.fits"))
    rms, mean = extraction.noise.typical, extraction.noise.mean
    expected = (extraction.residual_image() - mean) / extraction.rms_image()
    np.testing.assert_allclose(
        layer(page, "residual_sigma"), expected, atol=0.06 * rms / np.min(extraction.rms)
    )
    np.testing.assert_allclose(
        layer(page, "sigma"), (extraction.image.data - mean) / extraction.rms_image(), atol=0.06
    )
    page.select_option("#layer", "residual_sigma")
    assert page.evaluate("[hyperReport.sky.paint.low, hyperReport.sky.paint.high]") == [-5, 5]
    assert page.locator("#colours").is_disabled()
    page.select_option("#layer", "map")
    assert page.evaluate("hyperReport.sky.paint.low") > -5
    assert not page.locator("#colours").is_disabled()


def test_the_smooth_background_covers_the_whole_map(page):
    """scipy's Gaussian filter is the referee, away from the border, which it treats in another way."""
    residual, fwhm = layer(page, "residual"), page.evaluate("facts.beam.fwhm_pixels")
    expected = ndimage.gaussian_filter(residual, 2 * fwhm / 2.35482, truncate=3.0)
    edge, smooth = int(6 * fwhm), layer(page, "smooth")
    inside = (slice(edge, -edge), slice(edge, -edge))
    assert np.isfinite(smooth).all()
    np.testing.assert_allclose(smooth[inside], expected[inside], atol=0.01 * np.std(residual))


def test_loud_edges_do_not_decide_the_cuts(open_report, tmp_path):
    image = small_image()
    loud = image.data.copy()
    rng = np.random.default_rng(1)
    loud[:26] += rng.normal(0.0, 40 * np.std(loud), loud[:26].shape)
    quiet, noisy = tmp_path / "quiet", tmp_path / "noisy"
    for root, data in ((quiet, image.data), (noisy, loud)):
        root.mkdir()
        run(root, image.with_data(data))
    cuts = [
        open_report(root / "out/report/index.html").evaluate("hyperReport.sky.cutsOf('map')")
        for root in (quiet, noisy)
    ]
    assert cuts[1]["high"] > 5 * cuts[0]["high"]
    assert cuts[1]["white"] < 1.5 * cuts[0]["white"]
    side = round(6 * image.beam_fwhm_pix)
    assert loud_share(loud, side=side) > 0.1
    assert loud_share(image.data, side=side) == 0.0
    page = open_report(noisy / "out/report/index.html")
    assert "the noise is more than three times stronger" in page.locator(".banner").first.inner_text()
    command = page.locator(".banner code").first.inner_text()
    assert command.startswith(f"hyper-py run {noisy / 'small.fits'} -o {noisy / 'out'} ")
    assert command.endswith("--error ERRORS.fits")


def test_a_map_without_fault_has_no_banner(page):
    assert page.locator(".banner").count() == 0


@pytest.mark.parametrize("place", [(12.0, 70.0), (100.0, 3.0)])
def test_coordinates_are_those_of_the_frame_of_the_map(open_report, galactic, place):
    root, image = galactic
    page = open_report(root / "out/report/index.html")
    found = page.evaluate(f"frameAt({place[0]}, {place[1]})")
    expected = image.wcs.pixel_to_world(*place)
    assert expected.name == "galactic"
    offset = SkyCoord(*found, unit="deg", frame="galactic").separation(expected)
    assert offset < 0.01 * image.pixel_scale * u.arcsec
    equatorial = SkyCoord(*page.evaluate(f"skyAt({place[0]}, {place[1]})"), unit="deg", frame="icrs")
    assert equatorial.separation(expected.icrs) < 0.01 * image.pixel_scale * u.arcsec
    page.locator("#map").hover(position={"x": 200, "y": 200})
    assert page.locator("#readout").inner_text().startswith("l ")


def test_grid_lines_are_where_the_coordinates_have_their_values(page, folder):
    families = page.evaluate(GRID)
    image = read_image(folder / "small.fits")
    assert [family["isLongitude"] for family in families] == [True, False]
    for family in families:
        assert 2 <= len(family["levels"]) <= 14
        for level in family["levels"]:
            degrees = celestial_degrees(image.wcs, *np.transpose(level["points"]))
            sky = SkyCoord(*degrees, unit="deg", frame=celestial_frame(image.wcs)).icrs
            if family["isLongitude"]:
                text = level["text"] if level["text"].count(":") == 2 else f"{level['text']}:00"
                offsets = (sky.ra - SkyCoord(text + " +00:00:00", unit=("hourangle", "deg")).ra).to("arcsec")
            else:
                text = level["text"].replace("−", "-")
                text = text if text.count(":") == 2 else f"{text}:00"
                offsets = (sky.dec - SkyCoord(f"00:00:00 {text}", unit=("hourangle", "deg")).dec).to("arcsec")
            assert np.abs(offsets.to_value("arcsec")).max() < 0.1 * image.pixel_scale, level["text"]
    assert any(level["below"] is not None for level in families[0]["levels"])
    assert any(level["left"] is not None for level in families[1]["levels"])


def test_numbers_are_thinned_until_one_looks_closer(page):
    page.keyboard.press("n")
    page.wait_for_timeout(80)
    page.set_viewport_size({"width": 400, "height": 500})
    page.wait_for_timeout(120)
    far, n = page.evaluate("[hyperReport.sky.state.labelled, hyperReport.catalog.n]")
    page.set_viewport_size({"width": 1900, "height": 1000})
    page.keyboard.press("0")
    page.wait_for_timeout(120)
    near = page.evaluate("hyperReport.sky.state.labelled")
    assert 0 < far <= near <= n
    assert near > 0.7 * n


@pytest.mark.parametrize("width", [400, 600, 900, 1280, 1920])
def test_no_column_is_cut(open_report, folder, width):
    page = open_report(folder / "out/report/index.html", width=width)
    inner, outer = page.evaluate(
        "(b => [b.scrollWidth, b.clientWidth])(document.getElementById('table-box'))"
    )
    assert inner <= outer + 1
    shown = [head.get_attribute("data-name") for head in page.locator("#table th").all()]
    assert {"HYPER_ID", "SNR", "FLUX"} <= set(shown)
    assert ("RA" in shown) == ("DEC" in shown)
    if width >= 1280:
        assert len(shown) >= 9
    box, rows = page.evaluate(ROWS)
    assert not any(top + 2 < box - 2 < bottom - 2 for top, bottom in rows)


def test_a_heading_says_what_its_column_is(page):
    page.locator("th[data-name=FLUX]").click()
    assert page.locator("#column-help").inner_text().startswith("FLUX ")
    assert "mJy" in page.locator("#column-help").inner_text()


def test_brightest_are_by_flux_and_highest_by_significance(page):
    titles = page.locator(".gallery h3").all_inner_texts()
    assert titles[:2] == ["Brightest (flux)", "Highest S/N"]
    for k, name in enumerate(("FLUX", "SNR")):
        values = np.array(page.evaluate(f"Array.from(hyperReport.catalog.{name})"))
        ids = [int(text) for text in page.locator(".gallery").nth(k).locator("button").all_inner_texts()]
        assert ids == [int(i) + 1 for i in np.argsort(-values, kind="stable")[: len(ids)]]


def test_every_line_of_the_profile_is_named(page):
    page.keyboard.press("ArrowRight")
    words = page.locator("#profile svg g text").all_text_contents()
    assert words == ["data, with errors", "fitted Gaussian", "the beam, same peak", "aperture"]


def test_cards_are_printed_on_request(page):
    page.evaluate("window.print = () => { document.body.dataset.printed = 'yes'; }")
    page.locator("#print-button").click()
    page.fill("#print-cards", "3")
    page.locator("#printing button[value=print]").click()
    page.wait_for_selector("body[data-printed]")
    assert page.locator(".printed h3").count() == 3
    page.emulate_media(media="print")
    drawn = page.evaluate(PIXELS)
    assert len(set(drawn)) > 20
