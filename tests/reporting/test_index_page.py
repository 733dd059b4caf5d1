"""The index of a run in a browser: failures first, sorting, searching, configuration folded away."""

import json

import pytest

from helpers.report_tasks import small_image, write_map
from helpers.runner_tasks import make_config
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
