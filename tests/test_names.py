"""Names as percent-encoded text: nothing in them acts on a terminal, a path or a link."""

import os
import re
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyper_py.names import LONGEST_STEM, file_stem, link, printable, printable_lines

ANY_BYTES = st.binary(min_size=1, max_size=60).map(os.fsdecode)


@given(ANY_BYTES)
def test_printable_is_one_line_that_says_which_bytes(name):
    shown = printable(name)
    assert shown.isprintable() or "\xa0" in shown or any(c.isspace() for c in shown)
    assert shown.splitlines() == [shown]
    assert shown.encode().decode() == shown
    if "%" not in name:
        assert unquote_to_bytes(shown) == os.fsencode(name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("G012.3+0.4 (b) é", "G012.3+0.4 (b) é"),
        ("a\nb", "a%0Ab"),
        ("\x1b[2J", "%1B[2J"),
        ("\u202egpj.a", "%E2%80%AEgpj.a"),  # would be shown from right to left
        ("m\udcff", "m%FF"),
        ("\ud800", "%ED%A0%80"),
        ("\ufffe", "%EF%BF%BE"),
    ],
)
def test_what_is_escaped(name, shown):
    assert printable(name) == shown


def test_lines_and_tabs_stay_in_a_text_of_lines():
    assert printable_lines("a\tb\nc\r\n") == "a\tb\nc%0D\n"


@given(ANY_BYTES)
def test_a_stem_is_the_name_of_a_file_in_one_directory(name):
    stem = file_stem(name)
    assert "/" not in stem
    assert "\\" not in stem
    assert len(stem.encode()) <= LONGEST_STEM
    assert os.path.basename(f"x_{stem}.fits") == f"x_{stem}.fits"


def test_long_names_that_begin_alike_have_different_stems():
    stems = {file_stem("é" * 200 + end) for end in "abc"}
    assert len(stems) == 3
    assert all(re.fullmatch("é+~[0-9a-f]{12}", stem) for stem in stems)
    assert max(len(stem.encode()) for stem in stems) <= LONGEST_STEM
    assert file_stem("a" * LONGEST_STEM) == "a" * LONGEST_STEM


@given(st.text(min_size=1, max_size=40, alphabet=st.characters(exclude_categories=["Cs"])))
def test_links_are_relative_and_lead_to_the_name(path):
    address = link(path)
    assert unquote(address) == path
    assert not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", address)
    assert not set(address) & set("\"'<>?# ")
