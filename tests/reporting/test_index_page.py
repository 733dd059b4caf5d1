"""The index of a run in a browser: failures first, sorting, searching, configuration folded away."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from helpers.report_tasks import small_image, write_map
from helpers.runner_tasks import make_config
from hyper_py.reporting.index_page import index_entry, index_page
from hyper_py.reporting.report_data import ReportData, pack_codes
from hyper_py.running import runner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("index")
    counts = {"map_2": 5, "map_10": 16}
    paths = [
        write_map(root / f"{name}.fits", small_image(n, name=name, n_sources=n, shape=(90, 110)))
        for name, n in counts.items()
    ]
    (root / "broken.fits").write_text("no")
    config = make_config(root / "out", outputs={"report": True, "tables": ["ecsv"]})
    runner.run(config, [*paths, root / "broken.fits"])
    return root / "out"


@pytest.fixture
def page(open_report, folder):
    return open_report(folder / "report/index.html")


def names(page):
    return page.locator(".map-card:visible h3").all_inner_texts()


def test_failures_come_first_with_their_reason(page):
    assert names(page) == ["broken", "map_2", "map_10"]
    assert "not a FITS file" in page.locator(".failed-card").inner_text()
    assert "1 failed" in page.locator(".lead").inner_text()
    assert page.locator(".map-card img").count() == 2


def test_cards_have_the_numbers_of_the_manifest(page, folder):
    maps = {one["name"]: one for one in json.loads((folder / "run.json").read_text())["maps"]}
    for card in page.locator(".map-card:not(.failed-card)").all():
        one = maps[card.get_attribute("data-name")]
        text = card.inner_text()
        assert f"{one['n_sources']} sources" in text
        assert f"{one['rms']:.3g} {one['unit']}" in text
        assert f"{one['seconds']:.1f} s" in text


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("name", ["broken", "map_2", "map_10"]),
        ("sources", ["map_10", "map_2", "broken"]),
        ("order", ["broken", "map_2", "map_10"]),
    ],
)
def test_sorting(page, by, expected):
    page.select_option("#sort", by)
    assert names(page) == expected


def test_searching(page):
    page.fill("#find", "_1")
    assert names(page) == ["map_10"]
    assert page.locator("#found").inner_text() == "1 of 3"


def test_the_configuration_is_folded_away(page):
    assert not page.locator("#run table").first.is_visible()
    page.locator("#run summary").first.click()
    assert page.locator("#run table").first.is_visible()


def test_merged_tables_are_linked(page, folder):
    links = [one.get_attribute("href") for one in page.locator(".files a").all()]
    assert "../params/params_ALL.ecsv" in links


@pytest.mark.parametrize("width", [400, 1900])
def test_fits_its_window(open_report, folder, width):
    page = open_report(folder / "report/index.html", width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# ------------------------------------------------------------------------------------- without a browser

DONE = {
    "name": "m", "status": "done", "reason": "", "rms": 0.012345, "unit": "mJy/beam", "n_sources": 7,
    "seconds": 3.21,
}  # fmt: skip
FAILED = {**DONE, "name": "<b>", "status": "failed", "reason": "<b>: no beam", "rms": None, "n_sources": 0}


def data_of(codes, **facts):
    layers = {"map": {"shape": list(codes.shape), "offset": 0.0, "step": 1.0}}
    return ReportData(facts={"layers": layers, **facts}, blobs={"map": pack_codes(codes)})


def picture(entry):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["picture"]))).convert("RGBA"))


def test_an_entry_has_the_numbers_of_its_map():
    counts = {"blended": 4, "edge": 3, "hot pixel": 2, "retried": 1}
    data = data_of(np.full((20, 30), 9, dtype=np.uint16), flag_counts=counts, n_calling=5)
    entry = index_entry(DONE, data, "report/a b.html")
    assert (entry["sources"], entry["calling"], entry["noise"]) == (7, 5, "0.0123 mJy/beam")
    assert (entry["page"], entry["flags"]) == ("a%20b.html", "4 blended, 3 edge, 2 hot pixel")
    failed = index_entry(FAILED, None, None)
    assert failed["failed"]
    assert (failed["sources"], failed["noise"], failed["picture"]) == ("", "", None)
    strange = index_entry(DONE, data_of(np.ones((2, 2), np.uint16), flag_counts=[1], n_calling="x"), None)
    assert (strange["flags"], strange["calling"]) == ("", 0)


def test_the_thumbnail_shows_the_source_where_it_is_and_blank_pixels_clear():
    codes = np.full((200, 330), 1000, dtype=np.uint16) + np.arange(330, dtype=np.uint16) % 7
    codes[150:170, 30:60] = 3000
    codes[:40] = 0
    pixels = picture(index_entry(DONE, data_of(codes), None)).astype(int)
    ny, nx = pixels.shape[:2]
    assert max(ny, nx) <= 160
    light = pixels[..., :3].sum(axis=-1)
    y, x = np.nonzero((light > 0.9 * light.max()) & (pixels[..., 3] > 0))
    assert y.mean() / ny == pytest.approx(1.0 - 160 / 200, abs=0.03)  # north is up
    assert x.mean() / nx == pytest.approx(45 / 330, abs=0.03)
    clear = pixels[..., 3] == 0
    assert clear[-int(0.18 * ny) :].all()
    assert not clear[: int(0.78 * ny)].any()


def test_the_page_counts_and_escapes_what_it_shows(tmp_path):
    config = make_config(tmp_path / "out").to_mapping()
    manifest = {
        "maps": [DONE, FAILED], "finished": "2026-05-01", "started": "2026-05-01", "seconds": 12.4,
        "status": "finished", "software": {}, "configuration": config,
    }  # fmt: skip
    entries = [index_entry({**DONE}, data_of(np.ones((9, 9), np.uint16), n_calling=2), "report/m.html")]
    page = index_page([*entries, index_entry(FAILED, None, None)], manifest, tmp_path)
    assert "7 sources · 2 to check · 1 failed · 12 s" in page
    assert "<b>: no beam" not in page
    assert page.index("&lt;b&gt;: no beam") < page.index('href="m.html"')  # failures are first
