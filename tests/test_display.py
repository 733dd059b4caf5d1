"""What objects show of themselves fits on a screen, names what matters, and is safe in a page."""

import inspect
from html.parser import HTMLParser
from typing import TypedDict

import numpy as np
import pytest

import hyper_py
from hyper_py.display import Summary, listed, shows_keywords

LINES, COLUMNS = 24, 160


@pytest.fixture(scope="module")
def sky():
    return hyper_py.simulate_image("faint", seed=1, shape=(90, 90), n_sources=9, peak_range=(15, 40))


@pytest.fixture(scope="module")
def extraction(sky):
    return hyper_py.extract_sources(sky.image, detection={"sigma_thres": 5})


@pytest.fixture(scope="module")
def objects(sky, extraction):
    truth = sky.truth
    many = np.linspace(0.0, 1.0, 10_000)
    return {
        "Extraction": extraction,
        "SkyImage": sky.image,
        "Simulation": sky,
        "Validation": hyper_py.validate(extraction, truth),
        "FixedSources": hyper_py.FixedSources(
            longitude=many, latitude=many, fwhm_1=many + 1, ids=many.astype(str)
        ),
        "Options": hyper_py.Options(detection={"sigma_thres": 5}),
        "Beam": sky.image.beam,
    }


NAMES = ("Extraction", "SkyImage", "Simulation", "Validation", "FixedSources", "Options", "Beam")


@pytest.mark.parametrize("name", NAMES)
def test_one_screen(objects, name):
    lines = repr(objects[name]).splitlines()
    assert lines[0].startswith(name)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS


class Checker(HTMLParser):
    """Collects tags that are opened and not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Beam"])
def test_html_in_notebooks(objects, name):
    text = objects[name]._repr_html_()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "table" in checker.seen
    assert "http" not in text
    assert len(text) < 100_000


def test_an_extraction_says_what_was_found(extraction):
    text = repr(extraction)
    assert f"{len(extraction.catalog)} sources" in text.splitlines()[0]
    assert "sigma_thres" in text
    assert "mJy/beam" in text


def test_an_empty_extraction(sky):
    nothing = hyper_py.extract_sources(sky.image, detection={"sigma_thres": 1000})
    assert repr(nothing).startswith("Extraction of 'faint': 0 sources")
    assert nothing._repr_html_()


def test_options_show_what_was_changed():
    assert repr(hyper_py.Options()) == "Options()"
    assert repr(hyper_py.FitOptions(vary=False)) == "FitOptions(vary=False)"
    options = hyper_py.Options(background={"method": "none"}, convert_mJy=False)
    assert repr(options) == "Options(background={'method': 'none'}, convert_mJy=False)"
    assert hyper_py.Options(**options.changed()) == options


def test_names_cannot_end_the_element():
    text = Summary(title="<script>", facts=(("a", "</td>"),)).html()
    assert "<script>" not in text
    assert "</td></td>" not in text


def test_long_lists_are_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(100))) == "0, 1, 2, 3, ... (100)"


def test_a_signature_shows_the_keywords_behind_the_stars():
    class Words(TypedDict, total=False):
        depth: int
        height: int

    @shows_keywords(Words)
    def function(first, *, second=1, **words):
        return first, second, words

    assert str(inspect.signature(function)) == "(first, *, second=1, depth=unchanged, height=unchanged)"
    assert function(1, depth=3) == (1, 1, {"depth": 3})
