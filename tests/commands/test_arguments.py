"""Configurations made of files, maps and options."""

import json

import pytest

from hyper_py.commands.arguments import configuration, overrides_of_run
from hyper_py.diagnostics import ConfigurationError


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def test_output_and_jobs_stand_for_keys(tmp_path):
    chosen = overrides_of_run(["units.bunit=K"], output=tmp_path / 'a "b" [c', jobs=1)
    config, maps = configuration(["m.fits"], chosen)
    assert maps == ["m.fits"]
    assert config.below_root() == tmp_path / 'a "b" [c'
    assert (config.units.bunit, config.control.n_cores, config.control.parallel_maps) == ("K", 1, False)
    several = configuration(["m.fits"], overrides_of_run(None, output=None, jobs=4))[0]
    assert (several.control.n_cores, several.control.parallel_maps) == (4, True)
    assert overrides_of_run(None, output=None, jobs=None) == []


def test_overrides_count_more_than_a_file(tmp_path):
    (tmp_path / "a.YML").write_text(json.dumps({"version": 2, "detection": {"sigma_thres": 6}}))
    config, maps = configuration(["a.YML", "m.fits"], ["detection.sigma_thres=7"])
    assert (config.detection.sigma_thres, maps) == (7, ["m.fits"])


def test_two_files_are_one_too_many():
    with pytest.raises(ConfigurationError, match="only one configuration file"):
        configuration(["a.yaml", "m.fits", "b.yml"], [])


def test_without_anything_nothing_is_written(tmp_path):
    with pytest.raises(ConfigurationError, match="nothing to run"):
        configuration([], [])
    assert [*tmp_path.iterdir()] == []
