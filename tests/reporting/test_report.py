import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from helpers.report_tasks import small_image, write_map
from helpers.runner_tasks import files_below, make_config
from hyper_py import extract_sources, read_image
from hyper_py.config import Config
from hyper_py.diagnostics import HyperPyWarning, InputError
from hyper_py.reporting.report import write_report
from hyper_py.running import runner


def run(root, *images, **sections):
    paths = [write_map(root / f"{image.name}.fits", image) for image in images]
    sections = {"outputs": {"report": True, "tables": ["ecsv"]}, **sections}
    return runner.run(make_config(root / "out", **sections), paths)


@pytest.fixture(scope="module")
def one_map(tmp_path_factory):
    """The output directory of a run over one map."""
    root = tmp_path_factory.mktemp("one")
    assert run(root, small_image()).exit_code == 0
    return root / "out"


class Links(HTMLParser):
    """Everything in a page that could be fetched."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "data", "action", "poster")]


def test_the_page_is_one_small_file_without_links_out_of_it(one_map):
    assert [name for name in files_below(one_map) if name.startswith("report")] == ["report/index.html"]
    text = (one_map / "report/index.html").read_text()
    links = [link for link in Links(text).found if not link.startswith("#")]
    assert {"../params/params_small.ecsv", "../logs/Hyper_log_small.log"} <= set(links)
    assert all((one_map / "report" / link).is_file() for link in links)
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org)", text)
    assert len(text) < 400_000
    assert "n_sources" not in text.split("<script")[0]


def test_the_report_is_written_anew_from_what_is_on_disk(one_map):
    page = one_map / "report/index.html"
    before = page.read_text()
    shutil.rmtree(page.parent)
    assert write_report(one_map) == ("report/index.html",)
    assert page.read_text() == before


def test_names_cannot_break_out_of_the_page(one_map, tmp_path):
    shutil.copytree(one_map, tmp_path / "out")
    name = "</script><b>&"
    manifest = json.loads((tmp_path / "out/run.json").read_text())
    manifest["maps"][0]["path"] = manifest["maps"][0]["warnings"] = name
    manifest["maps"][0]["warnings"] = [name]
    (tmp_path / "out/run.json").write_text(json.dumps(manifest))
    write_report(tmp_path / "out")
    text = (tmp_path / "out/report/index.html").read_text()
    assert name not in text
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in text


def test_the_report_of_a_killed_run_says_so(one_map, tmp_path):
    shutil.copytree(one_map, tmp_path / "out")
    path = tmp_path / "out/run.json"
    manifest = json.loads(path.read_text())
    manifest["maps"][0] |= {"status": "pending", "n_sources": 0}
    path.write_text(json.dumps({**manifest, "status": "running", "finished": None, "seconds": None}))
    with pytest.warns(HyperPyWarning, match="killed, or its machine stopped: 1 of 1 maps are complete"):
        write_report(tmp_path / "out")
    text = (tmp_path / "out/report/index.html").read_text()
    assert "killed, or its machine stopped: 1 of 1 maps are complete" in text


def test_several_maps_have_an_index_and_a_page_each(tmp_path):
    (tmp_path / "broken.fits").write_text("no")
    paths = [
        write_map(tmp_path / f"{n}.fits", small_image(k, name=n)) for k, n in enumerate(("index", "b c"))
    ]
    config = make_config(tmp_path / "out", outputs={"report": True, "tables": ["csv"]})
    result = runner.run(config, [*paths, tmp_path / "broken.fits"])
    assert result.exit_code == 1
    pages = sorted(path.name for path in (tmp_path / "out/report").iterdir())
    assert pages == ["b c.html", "index.html", "map_index.html"]
    text = (tmp_path / "out/report/index.html").read_text()
    assert {"map_index.html", "b%20c.html"} <= set(Links(text).found)
    assert "not a FITS file" in text or "broken" in text
    # Fewer maps next time: no page of a map that is gone.
    runner.run(config, paths[:1])
    assert sorted(path.name for path in (tmp_path / "out/report").iterdir()) == ["index.html"]


def test_a_run_without_report_leaves_nothing_and_says_so(tmp_path):
    run(tmp_path, small_image(), outputs={"report": False})
    assert not any("report" in name for name in files_below(tmp_path / "out"))
    with pytest.raises(InputError, match=r"outputs\.report: false"):
        write_report(tmp_path / "out")
    with pytest.raises(InputError, match=r"no run\.json of a run there"):
        write_report(tmp_path)


# ---------------------------------------------------------------------------------------- in a browser


@pytest.fixture
def page(open_report, one_map):
    """The report of the small map, opened."""
    return open_report(one_map / "report/index.html")


def chosen(page):
    return page.evaluate("document.body.dataset.chosen")


def n_rows(page):
    return page.locator("#table tbody tr[data-row]").count()


def test_rows_and_ellipses_lead_to_each_other(page):
    page.locator("#table tbody tr[data-row]").nth(2).click()
    third = page.locator("#table tbody tr[data-row]").nth(2).locator("td").first.inner_text()
    assert chosen(page) == third
    assert f"Source {third}" in page.locator("#card h2").inner_text()
    alone = page.evaluate("hyperReport.catalog.CLUSTER.indexOf(1)")
    x, y = page.evaluate(
        "k => hyperReport.sky.toScreen(hyperReport.catalog.px[k], hyperReport.catalog.py[k])", alone
    )
    page.locator("#map").click(position={"x": x, "y": y})
    assert chosen(page) == str(alone + 1)
    assert page.locator("#table tr.chosen td").first.inner_text() == str(alone + 1)
    page.keyboard.press("ArrowRight")
    assert chosen(page) == str(alone + 2)
    page.keyboard.press("k")
    assert chosen(page) == str(alone + 1)
    page.keyboard.press("Escape")
    assert chosen(page) == ""


def test_search_and_sort(page):
    total = int(page.locator("#count").inner_text())
    page.fill("#search", "SNR > 12")
    values = page.evaluate("Array.from(hyperReport.catalog.SNR)")
    assert page.locator("#count").inner_text() == f"{sum(v > 12 for v in values)} of {total}"
    page.fill("#search", "SNR >")
    assert "wrong" in page.locator("#search").get_attribute("class")
    page.fill("#search", 'blended !"size at bound"')
    assert n_rows(page) <= total
    page.fill("#search", '"profile unknown"')
    by_phrase = page.locator("#count").inner_text()
    assert not by_phrase.startswith("0 ")
    page.fill("#search", "PROFILE_UNKNOWN")  # as tables and the documentation call it
    assert page.locator("#count").inner_text() == by_phrase
    page.fill("#search", "")
    page.locator("th[data-name=FLUX]").click()
    place = [th.get_attribute("data-name") for th in page.locator("#table th").all()].index("FLUX")
    rows = page.locator("#table tbody tr[data-row]")
    fluxes = [float(rows.nth(k).locator("td").nth(place).inner_text().split()[0]) for k in range(5)]
    assert fluxes == sorted(fluxes, reverse=True)


def test_zoom_pan_stretch_and_layers_change_the_picture(page):
    def picture():
        page.wait_for_timeout(80)
        return page.locator("#map").screenshot()

    seen = [picture()]
    before = page.evaluate("hyperReport.sky.view.scale")
    page.locator("#map").hover(position={"x": 300, "y": 200})
    page.mouse.wheel(0, -400)
    seen.append(picture())
    assert page.evaluate("hyperReport.sky.view.scale") > 1.3 * before
    assert page.locator("#readout").inner_text().endswith("mJy/beam")
    page.mouse.down()
    page.mouse.move(520, 420, steps=4)
    page.mouse.up()
    seen.append(picture())
    for layer in ("model", "residual", "background"):
        page.select_option("#layer", layer)
        seen.append(picture())
    for stretch in ("log", "linear"):
        page.select_option("#stretch", stretch)
        seen.append(picture())
    page.select_option("#colours", "viridis")
    seen.append(picture())
    assert len(set(seen)) == len(seen)
    page.locator("#zoom-fit").click()
    assert page.evaluate("hyperReport.sky.view.scale") == pytest.approx(before)


def test_model_residual_and_numbers_of_the_page_are_the_pipelines(page, one_map):
    """The page computes models itself, from the parameters; everything else it was given."""
    manifest = json.loads((one_map / "run.json").read_text())
    config = Config.from_mapping(manifest["configuration"])
    extraction = extract_sources(read_image(one_map.parent / "small.fits"), options=config.options())
    unit = 1e3 * extraction.image.beam_area_pix

    def layer(name):
        values = page.evaluate(f"Array.from(hyperReport.layers.get('{name}').values)")
        return np.array(values).reshape(extraction.image.shape)

    model = unit * extraction.model_image()
    np.testing.assert_allclose(layer("model"), model, atol=2e-5 * model.max())
    # Pixels are stored in steps of a tenth of the noise.
    step = 0.1 * unit * extraction.noise.typical
    np.testing.assert_allclose(layer("residual"), unit * extraction.residual_image(), atol=0.51 * step)
    for name in ("FLUX", "FLUX_ERR", "FLUX_PEAK", "RA", "DEC", "FWHM_1", "PA", "SNR", "FLAGS"):
        values = page.evaluate(f"Array.from(hyperReport.catalog.{name})")
        expected = extraction.catalog[name]
        np.testing.assert_allclose(values, getattr(expected, "value", expected), rtol=1e-6)
    page.keyboard.press("ArrowRight")
    row = page.locator("#card .numbers tr").first.inner_text()
    flux, error = (extraction.catalog[name][0].to_value("mJy") for name in ("FLUX", "FLUX_ERR"))
    value, said = (float(part) for part in re.findall(r"-?\d+\.\d+", row))
    assert (value, said) == (pytest.approx(flux, abs=0.05 * error), pytest.approx(error, rel=0.06))
    page.locator("#card details summary").click()
    assert page.locator("#card details tr").count() > 40


def test_dark_and_light(page):
    def ground():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = ground()
    page.keyboard.press("t")
    dark = ground()
    assert dark != light
    page.locator("#theme-button").click()
    assert ground() == light
    page.emulate_media(color_scheme="dark")
    page.evaluate("localStorage.clear()")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert ground() == dark


def test_fits_a_phone_and_paper(page):
    page.set_viewport_size({"width": 375, "height": 760})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.emulate_media(media="print")
    assert not page.locator(".top").is_visible()


def test_paper_has_the_whole_map_in_light_and_all_rows(page):
    page.keyboard.press("t")
    pixels = """places => {
        const c = document.getElementById("map"), { width, height } = c;
        const all = c.getContext("2d").getImageData(0, 0, width, height).data;
        const at = ([x, y]) => 4 * (Math.floor(y * height) * width + Math.floor(x * width));
        return places.map(place => Array.from(all.slice(at(place), at(place) + 3)));
    }"""
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    shape = page.evaluate("(c => [c.width, c.height])(document.getElementById('map'))")
    assert shape[0] / shape[1] == pytest.approx(170 / 150, rel=0.01)
    assert n_rows(page) == page.evaluate("hyperReport.catalog.n")
    sky = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--sky')")
    ground = [int(sky.strip()[k : k + 2], 16) for k in (1, 3, 5)]
    assert ground not in page.evaluate(pixels, [[0.01, 0.5], [0.99, 0.5], [0.5, 0.01], [0.5, 0.99]])
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_template_files_are_part_of_the_package():
    templates = Path(__file__).parents[2] / "src/hyper_py/reporting/templates"
    assert {"report.html", "index.html", "report.css"} <= {path.name for path in templates.iterdir()}
