"""The page of a cube: counts, moment map, channels and spectra, against the tables and the cube itself."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from helpers.runner_tasks import make_config
from hyper_py.reporting.cube_page import spectral_text
from hyper_py.running import runner
from hyper_py.simulation.simulate import simulate_cube, simulate_image
from hyper_py.writing.simulated_files import write_cube, write_simulation

N_CHANNELS, N_SOURCES = 5, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run over a cube alone, and one over the same cube and a map."""
    root = tmp_path_factory.mktemp("cube")
    cube = simulate_cube(
        seed=3, n_channels=N_CHANNELS, shape=(70, 80), n_sources=N_SOURCES, line_fwhm=(20.0, 30.0),
        peak_range=(40.0, 60.0), crowded_fraction=0.0,
    )  # fmt: skip
    write_cube(root / "sky.fits", cube)
    write_simulation(root / "flat.fits", simulate_image(seed=2, shape=(70, 80), n_sources=4))
    for name, paths in (("one", ["sky.fits"]), ("two", ["flat.fits", "sky.fits"])):
        config = make_config(root / name, outputs={"report": True, "tables": ["ecsv"]})
        assert runner.run(config, [root / path for path in paths]).exit_code == 0
    return root


@pytest.fixture
def page(open_report, folder):
    return open_report(folder / "one/report/index.html")


def test_sources_are_counted_once_and_rows_apart(page, folder):
    table = QTable.read(folder / "one/params/params_sky_ALL.ecsv")
    lead = page.locator(".lead").inner_text()
    assert f"{N_SOURCES} sources in {N_CHANNELS} channels" in lead
    assert "GHz" in lead
    assert f"{len(table)} catalogue rows" in page.locator("#sources .muted").first.inner_text()
    assert page.locator("#table tbody tr").count() == N_SOURCES
    rows = page.evaluate("facts.sources.flatMap(one => one.rows)")
    assert len(rows) == len(table) > N_SOURCES
    fluxes = sorted(row[3] for row in rows)
    np.testing.assert_allclose(fluxes, np.sort(table["FLUX"].to_value("mJy")), rtol=1e-4)


def test_moment_map_and_channels_are_those_of_the_cube(page, folder):
    data = fits.getdata(folder / "sky.fits").astype(float)
    rms = page.evaluate("facts.noise.typical")
    planes, moment = page.evaluate(
        "[Array.from(hyperCube.loaded.planes.values), Array.from(hyperCube.loaded.moment.values)]"
    )
    scale = 1e3  # from Jy/beam
    step = 0.1 * rms + rms / 3  # of the channel's own data, and of the page
    np.testing.assert_allclose(np.reshape(planes, data.shape), scale * data, atol=0.51 * step)
    np.testing.assert_allclose(
        np.reshape(moment, data.shape[1:]), scale * data.mean(axis=0), atol=0.5 * 0.1 * rms + 0.02 * rms
    )


def test_slider_spectrum_and_table_go_together(page):
    def picture():
        page.wait_for_timeout(60)
        return page.locator("#map").screenshot()

    moment = picture()
    page.locator("#channel").fill("3")
    assert page.locator("#channel-text").inner_text().startswith(f"channel 3 of {N_CHANNELS} · 230.5")
    third = picture()
    page.keyboard.press("ArrowRight")
    assert page.locator("#channel-text").inner_text().startswith("channel 4")
    assert len({moment, third, picture()}) == 3
    page.locator("#table tbody tr").nth(2).click()
    assert page.locator("#source-title").inner_text() == "Source 3"
    assert "frequency (GHz)" in page.locator("#spectrum svg").text_content()
    n_points = page.evaluate("facts.sources[2].rows.length")
    assert page.locator("#spectrum circle.dot").count() == n_points + 1  # and that of the legend
    page.locator("#show-moment").click()
    page.locator("#next").click()
    assert page.locator("#source-title").inner_text() == "Source 4"
    x, y = page.evaluate("[facts.sources[0].x / facts.shape[1], 1 - facts.sources[0].y / facts.shape[0]]")
    box = page.locator("#map").bounding_box()
    page.locator("#map").click(position={"x": (x + 0.5 / 80) * box["width"], "y": y * box["height"]})
    assert page.locator("#source-title").inner_text() == "Source 1"


def test_the_index_of_a_run_has_one_card_for_the_cube(open_report, folder):
    page = open_report(folder / "two/report/index.html")
    assert page.locator(".map-card h3").all_inner_texts() == ["flat", "sky"]
    card = page.locator(".map-card").nth(1).inner_text()
    assert f"{N_SOURCES} sources" in card
    assert f"cube of {N_CHANNELS} channels" in card
    place = page.locator(".map-card a").last.get_attribute("href")
    cube = open_report(folder / "two/report" / place)
    cube.locator("#channels summary").click()
    assert cube.locator(".channel-list a").count() == N_CHANNELS


def test_pages_of_channels_lead_back_to_their_cube(folder):
    text = (folder / "two/report/sky_slice_002.html").read_text()
    assert '<a href="sky.html">Hyper-Py</a>' in text
    assert "230.501 GHz" in text.partition('<section id="sky"')[0]
    assert '<a href="index.html">Hyper-Py</a>' in (folder / "one/report/sky_slice_002.html").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (("FREQUENCY", "Hz", 230.501e9), "230.501 GHz"),
        (("VELOCITY", "km / s", -12.25), "-12.25 km/s"),
        (("SPECTRAL_VALUE", "", 3.0), "spectral_value 3"),
        (("FREQUENCY", "Hz", None), ""),
    ],
)
def test_frequencies_and_velocities_as_people_write_them(value, text):
    assert spectral_text(*value) == text
