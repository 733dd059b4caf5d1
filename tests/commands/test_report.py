"""The command `report`: it makes again what a run has made."""

import pytest

from helpers.command_line import SMALL, Hyper
from hyper_py.commands.report import report
from hyper_py.diagnostics import HyperPyError


def test_a_report_that_is_gone_is_written_anew(hyper: Hyper, tmp_path) -> None:
    hyper("simulate", "-o", "a.fits", *SMALL)
    assert hyper("run", "a.fits", "-o", "out", "-q", "--jobs", "1")[0] == 0
    index = tmp_path / "out" / "report" / "index.html"
    before = index.read_text()
    index.unlink()
    assert hyper("report", "out") == (0, "wrote out/report/index.html\n", "")
    assert "a" in index.read_text()
    assert len(index.read_text()) == pytest.approx(len(before), rel=0.01)


def test_there_is_no_report_of_nothing(hyper: Hyper, tmp_path) -> None:
    status, out, err = hyper("report", "none")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "none" in err
    with pytest.raises(HyperPyError, match="none"):
        report(tmp_path / "none")
