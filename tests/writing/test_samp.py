"""Files reach programs through a real hub; what a program says is told."""

import io

import numpy as np
import pytest
from astropy.table import Table

import hyper_py
from helpers.samp_hub import Program, hub
from hyper_py.diagnostics import InputError
from hyper_py.writing.samp import Message, send

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def running(tmp_path, monkeypatch):
    with hub(tmp_path, monkeypatch):
        yield


def test_without_a_hub_it_says_what_to_start(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    with pytest.raises(InputError, match="no SAMP hub is running: start TOPCAT or Aladin"):
        send([])


def test_a_catalogue_arrives_whole(running):
    sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    extraction = hyper_py.extract_sources(sky.image)
    topcat = Program("TOPCAT", ["table.load.votable"])
    try:
        assert extraction.send() == ("TOPCAT",)
    finally:
        topcat.close()
    ((mtype, name, content),) = topcat.received
    assert (mtype, name) == ("table.load.votable", "faint sources")
    table = Table.read(io.BytesIO(content), format="votable")
    np.testing.assert_allclose(table["FLUX"], extraction.catalog["FLUX"].value)


def test_only_the_program_that_is_named(running, tmp_path):
    path = tmp_path / "sources.reg"
    path.write_text("# Region file format: DS9\n")
    programs = [Program("SAOImage DS9", ["ds9.set"]), Program("other", ["ds9.set"])]
    try:
        done = send([Message(kind="regions", path=path, name="sources")], to="ds9")
        with pytest.raises(InputError, match=r"no program named 'carta' .*there are: .*other"):
            send([], to="carta")
    finally:
        for program in programs:
            program.close()
    assert [one.program for one in done] == ["SAOImage DS9"]
    assert programs[0].received == [("ds9.set", "", f"regions load {path.resolve()}".encode())]
    assert programs[1].received == []


def test_a_refusal_is_told(running, tmp_path):
    (tmp_path / "map.fits").write_bytes(b"")
    program = Program("picky", ["image.load.fits"], refuse=True)
    try:
        (done,) = send([Message(kind="image", path=tmp_path / "map.fits", name="map")])
    finally:
        program.close()
    assert done.reason == "not today"


def test_nobody_listens(running, tmp_path):
    with pytest.raises(InputError, match="no program that loads tables, maps or regions"):
        send([Message(kind="image", path=tmp_path / "map.fits", name="map")])
