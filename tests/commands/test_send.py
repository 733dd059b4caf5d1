"""`hyper-py send` sends map, catalogue and apertures of a run, and single files."""

import io

import pytest
import typer
from astropy.table import Table

from helpers.samp_hub import Program, hub
from hyper_py.commands.send import send
from hyper_py.running.sending import send_files

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def program(tmp_path, monkeypatch):
    with hub(tmp_path, monkeypatch):
        one = Program("viewer", ["table.load.votable", "image.load.fits", "ds9.set"])
        yield one
        one.close()


def test_a_run_is_sent(hyper, program, tmp_path):
    hyper(
        "simulate", "--preset", "faint", "-o", "sky.fits", "--set", "shape=[80, 80]", "--set", "n_sources=3"
    )
    assert hyper("run", "sky.fits", "-o", "out")[0] == 0
    status, out, _ = hyper("send", "out")
    assert status == 0
    assert out.count("viewer has the") == 3
    kinds = [mtype for mtype, _, _ in program.received]
    assert kinds == ["image.load.fits", "table.load.votable", "ds9.set"]
    table = Table.read(io.BytesIO(program.received[1][2]), format="votable")
    assert len(table) == len(Table.read(tmp_path / "out/params/params_sky.ecsv"))
    assert "FLUX" in table.colnames
    assert program.received[0][2] == (tmp_path / "sky.fits").read_bytes()


def test_single_files_are_sent(program, tmp_path):
    Table({"RA": [1.0], "DEC": [2.0]}).write(tmp_path / "a.csv")
    Table({"RA": [1.0], "DEC": [2.0]}).write(tmp_path / "b.fits")
    (done, second) = send_files([tmp_path / "a.csv", tmp_path / "b.fits"])
    assert (done.message.kind, done.message.name) == ("table", "a")
    assert second.message.kind == "table"


def test_other_paths_are_refused(hyper, program, tmp_path):
    assert hyper("send", "nowhere")[:2] == (1, "")
    (tmp_path / "folder").mkdir()
    status, _, err = hyper("send", "folder")
    assert status == 1
    assert "no run.json of a run there" in err


def test_a_refusal_ends_with_status_1(program, tmp_path, capsys):
    program.refuse = True
    (tmp_path / "a.reg").write_text("# Region file format: DS9\n")
    with pytest.raises(typer.Exit) as ended:
        send([tmp_path / "a.reg"])
    assert ended.value.exit_code == 1
    assert "viewer did not load a: not today" in capsys.readouterr().err
