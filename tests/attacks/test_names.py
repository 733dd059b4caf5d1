"""Names that are legal but odd: every map is done, every table reads back, every link leads to its page."""

import json
import os
import unicodedata
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from astropy.io import fits

from helpers.attacks import do, write_maps
from hyper_py.config import Config
from hyper_py.names import LONGEST_STEM, file_stem, link, map_label, printable
from hyper_py.running import runner
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation
from hyper_py.writing.tables import read_table

pytestmark = [pytest.mark.attacks, pytest.mark.filterwarnings("ignore")]

ODD = (
    *("#hash", "12:45?b", "a\nb", "\x1b[2J\x1b[31mred", "bad\udcff\udcfename", "x" * 250, "a,b", 'say "no"'),
    *("javascript:a()", " blank ", "\\ipac", "|bar|", "<script>", "é", "a\u2028b", "\u202etxt", "$x_$"),
    *("[bold]x", "100%", "..", "-o", "@list", "a.csv#b", "&amp;", "\ufffe", "naïve日本", "007", "nan"),
)


def random_names(rng, n):
    """Names of any characters that a file system takes."""
    pool = [*map(chr, range(1, 0x250)), *"#?:%&<>\"'\\|,;\u2028\u202e\ufffe日😀\udc80\udcff"]
    pool = [character for character in pool if character not in "/"]
    return ["".join(rng.choice(pool, int(rng.integers(1, 12)))) for _ in range(n)]


def test_any_name_becomes_one_that_can_be_shown_written_and_linked(rng):
    for name in [*ODD, *random_names(rng, 300)]:
        shown, stem = printable(name), file_stem(name)
        assert shown.encode() == printable(shown).encode()
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert "/" not in stem
        assert len(stem.encode()) <= LONGEST_STEM
        url = urlsplit(link(f"{stem}.html"))
        assert (url.scheme, url.netloc, url.query, url.fragment) == ("", "", "", "")
        assert unquote(url.path) == f"{stem}.html"


def test_every_table_reads_back_with_every_name(tmp_path, rng):
    names = [*ODD, *random_names(rng, 30)]
    names = list({printable(unicodedata.normalize("NFC", one)).casefold(): one for one in names}.values())
    maps = write_maps(tmp_path / "maps", {name[:245]: "sources 1" for name in names})
    tables = ["ecsv", "csv", "ipac", "votable", "parquet", "fits"]
    result = do(tmp_path / "out", maps, outputs={"tables": tables})
    assert [one.reason for one in result.failures] == []
    expected = [map_label(path.name.removesuffix(".fits")) for path in maps]
    for suffix in ("ecsv", "csv", "txt", "vot", "parquet"):
        path = tmp_path / f"out/params/params_ALL.{suffix}"
        found = [*map(str, read_table(path)["MAP_ID"])]
        assert found == expected, suffix
    assert len(fits.getdata(tmp_path / "out/params/params_ALL.fits")) == len(expected)
    manifest = json.loads((tmp_path / "out/run.json").read_text())
    assert [one["name"] for one in manifest["maps"]] == expected
    for path in (tmp_path / "out").rglob("*"):
        assert path.name == printable(path.name)
    for log in (tmp_path / "out/logs").iterdir():
        assert not set(log.read_bytes()) & (set(range(32)) - set(b"\n\t"))


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if tag == "a" and key == "href"]


def test_every_link_of_a_report_leads_to_a_page(tmp_path):
    names = ["javascript:alert(1)", "#hash", "IRAS12:45?b", "bad\udcff\x1b", "index"]
    sky = simulate_image("alma", seed=1, shape=(60, 60), n_sources=2)
    write_simulation(tmp_path / "map.fits", sky)
    maps = [tmp_path / f"{name}.fits" for name in names]
    for path in maps:
        os.link(tmp_path / "map.fits", path)
    config = Config.from_mapping(
        {
            "version": 2,
            "paths": {"output": {"dir_root": str(tmp_path / "out")}},
            "control": {"executor": "serial"},
            "visualization": {"visualize_fitting": True},
        }
    )
    assert [one.reason for one in runner.run(config, maps).failures] == []
    links = Links()
    links.feed((tmp_path / "out/report/index.html").read_text())
    places = [urlsplit(url) for url in links.found if not url.startswith("#")]
    assert len({url.path for url in places if url.path.endswith(".html")}) == len(names)
    for url in places:
        assert not url.scheme
        assert (tmp_path / "out/report" / unquote(url.path)).is_file()


def test_two_names_that_differ_only_beyond_the_longest_stem_have_files_of_their_own():
    first, second = (file_stem("x" * 200 + end) for end in "ab")
    assert first != second
    assert np.unique([first, second, file_stem("x" * 200)]).size == 3
