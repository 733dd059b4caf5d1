"""The command `init`: what it writes can be run."""

from pathlib import Path

import pytest

from helpers.command_line import Hyper
from hyper_py.commands.init import init
from hyper_py.config import Config, load_config
from hyper_py.diagnostics import ConfigurationError


def test_init_writes_what_run_reads(hyper: Hyper, tmp_path: Path) -> None:
    assert hyper("init") == (0, "wrote hyper_config.yaml\n", "")
    assert load_config("hyper_config.yaml") == Config()
    (tmp_path / "there").mkdir()
    assert hyper("init", "there")[:2] == (0, "wrote there/hyper_config.yaml\n")
    assert hyper("init", "there/other.yaml")[:2] == (0, "wrote there/other.yaml\n")


def test_init_overwrites_only_with_force(hyper: Hyper, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    assert hyper("init", "mine.yaml") == (2, "", "error: mine.yaml: exists; --force overwrites it\n")
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    with pytest.raises(ConfigurationError, match="exists"):
        init(tmp_path / "mine.yaml")
    assert hyper("init", "--force", "mine.yaml")[0] == 0
    assert load_config("mine.yaml") == Config()


def test_init_into_nothing(hyper: Hyper) -> None:
    assert hyper("init", "none/a.yaml") == (1, "", "error: none/a.yaml: No such file or directory\n")
