"""A result is known to depend on the contents of files, not on where they are, and on the program."""

import pytest

from helpers.runner_tasks import make_config
from hyper_py.running.dependencies import auxiliary_files, changed, dependencies, program_hash

FILES = {
    "io.error_hdu": {"io": {"error_hdu": "sub/other.fits[ERR]"}},
    "io.mask": {"io": {"mask": "sub/other.fits"}},
    "detection.region": {"detection": {"region": "sub/region.moc"}},
    "io.primary_beam": {"io": {"primary_beam": "sub/other.fits.gz"}},
    "survey.psf": {"survey": {"psf": "sub/psf.fits"}},
    "detection.regions": {"detection": {"regions": "sub/regions.reg"}},
    "detection.fixed_source_table_path": {
        "detection": {"use_fixed_source_table": True, "fixed_source_table_path": "t.txt"}
    },
    "cube.region": {"cube": {"region": "sub/region.reg"}},
}


@pytest.mark.parametrize("key", FILES)
def test_every_auxiliary_file_is_known_by_its_contents(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    config = make_config(tmp_path / "out", **FILES[key])
    path = auxiliary_files(config)[key]
    absent = dependencies(config)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"one")
    first = dependencies(config)
    path.write_bytes(b"two")
    second = dependencies(config)
    assert changed(absent, first) == changed(first, second) == f"{key} has changed"
    path.write_bytes(b"one")
    assert changed(first, dependencies(config)) == ""


def test_a_file_may_be_moved_but_another_extension_is_another_configuration(tmp_path):
    def of(directory, name):
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / "e.fits").write_bytes(b"errors")
        return dependencies(make_config(tmp_path / "out", io={"error_hdu": f"{directory}/{name}"}))

    assert of("here", "e.fits[A]") == of("there", "e.fits[A]")
    assert changed(of("here", "e.fits[A]"), of("here", "e.fits[B]")) == "the configuration has changed"


def test_an_hdu_of_the_map_itself_is_no_file(tmp_path):
    assert auxiliary_files(make_config(tmp_path, io={"error_hdu": "ERROR", "mask": 2})) == {}


def test_the_program_is_known_by_its_text(monkeypatch):
    import hyper_py.running.dependencies as module

    before = program_hash()
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "scipy", "astropy"))
    program_hash.cache_clear()
    assert program_hash() != before
    program_hash.cache_clear()


def test_several_changes_are_all_named():
    text = changed(
        {"io.mask": "1", "the program": "1"}, {"io.mask": "2", "the program": "2", "survey.psf": "3"}
    )
    assert text == "io.mask and the program and survey.psf have changed"
