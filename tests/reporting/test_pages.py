"""What pages share: nothing breaks out of them, links are files that are there, facts are the manifest's."""

import base64
import json
import re

import pytest

from hyper_py.config import Config
from hyper_py.reporting.pages import (
    beam_text,
    configuration_facts,
    counted,
    embedded,
    linked_files,
    page_name,
    render_page,
    run_facts,
)
from hyper_py.writing.manifests import KILLED

HOSTILE = "</script><b>&\"'"
MANIFEST = {
    "status": "finished", "started": "2026-05-01", "finished": "2026-05-02", "seconds": 61.25,
    "maps": [{"status": "done"}, {"status": "failed"}, {"status": "done"}],
    "software": {"hyper-py": "3", "numpy": "2.1"},
    "configuration": Config.from_mapping({"version": 2, "detection": {"sigma_thres": 6}}).to_mapping(),
}  # fmt: skip


def test_texts_of_a_page_are_escaped():
    page = render_page(
        "index.html", ("theme", "index"), maps=[], title=HOSTILE, lead="", files=[], run=[(HOSTILE, HOSTILE)],
        changed=[], configuration=[],
    )  # fmt: skip
    assert "<b>" not in page
    assert page.count("&lt;/script&gt;&lt;b&gt;&amp;&#34;&#39;") == 3
    assert len(re.findall("<script>", page)) == len(re.findall("</script>", page)) == 1


def test_what_scripts_read_cannot_end_the_script_and_comes_back():
    values = embedded({"name": HOSTILE, "n": 1.5}, {"map": b"\x00<\xff"})
    assert "<" not in values["facts_json"]
    assert json.loads(values["facts_json"]) == {"name": HOSTILE, "n": 1.5}
    ((name, text),) = values["blobs"]
    assert (name, base64.b64decode(text)) == ("map", b"\x00<\xff")
    assert "inferno" in json.loads(values["palettes"])
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"rms": float("nan")}, {})


def test_no_map_overwrites_the_index():
    assert page_name("index") == "report/map_index.html"
    assert page_name("m1") == "report/m1.html"
    assert "/" not in page_name("../up").removeprefix("report/")


def test_links_lead_to_files_of_the_run_that_are_there(tmp_path):
    root = tmp_path / "out"
    outputs = {
        "params/params_a b.ecsv": "table (ecsv)",
        "fits/a b_model.fits": "model (FITS)",
        "params/covariances_a.fits": None,
        "regions/a_p100_ellipses.reg": "regions (DS9): p100",
        "regions/a_p160_ellipses.reg": "regions (DS9): p160",
        "regions/a.crtf": "regions (CARTA)",
        "fits/c_model_cube.fits": "cube: model",
        "params/spectra_c.csv": "spectra (csv)",
        "params/params_c.csv": "table (csv)",
        "params/params_c_long.csv": "table (csv): long",
        "logs/a.log": "log",
    }
    for name in outputs:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (tmp_path / "beside.log").write_text("")
    entry = {"outputs": [*outputs, "../beside.log", "logs/gone.log"]}
    expected = [(kind, f"../{name.replace(' ', '%20')}") for name, kind in outputs.items() if kind]
    assert linked_files(entry, root) == expected
    assert linked_files(entry, None) == []


def test_facts_of_a_run():
    entry = {"path": "a.fits", "checksum": "12ab", "seconds": 1.234}
    facts = dict(run_facts(MANIFEST, entry))
    assert (facts["Input"], facts["SHA-256"], facts["Time for this map"]) == ("a.fits", "12ab", "1.23 s")
    assert facts["Time of the run"] == "61.2 s for 3 maps"
    assert facts["Versions"] == "hyper-py 3, numpy 2.1"
    assert counted(MANIFEST) == "2 of 3 maps are complete"
    killed = dict(run_facts({**MANIFEST, "status": KILLED, "finished": None}, None))
    assert killed["Status of the run"].endswith(counted(MANIFEST))
    assert not {"Input", "Finished", "Time of the run"} & set(killed)


def test_keys_that_are_not_at_their_defaults():
    facts = configuration_facts(MANIFEST)
    default = json.dumps(Config().detection.sigma_thres)
    assert ("detection.sigma_thres", "6.0", default) in facts["changed"]
    assert len(facts["changed"]) < 10 < len(facts["configuration"])
    assert dict(facts["configuration"])["detection.sigma_thres"] == "6.0"


def test_the_beam():
    assert beam_text({"beam": {"major": 18.24, "minor": 7.0}}) == "beam 18.2″ × 7″"
