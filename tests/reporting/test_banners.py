"""What is wrong with a map stands above it, with a command that does what it says."""

import shlex

import pytest

from hyper_py.config import Config
from hyper_py.reporting.banners import Banner, banners, flat

ENTRY = {"path": "maps of May/a's.fits", "n_sources": 10}
LOUD = "many rows at the edge: set io.error_hdu, or mask the edges with io.mask"


def manifest(**sections):
    return {"configuration": Config.from_mapping({"version": 2, **sections}).to_mapping()}


def test_the_command_runs_the_map_with_the_same_configuration_and_the_remedy(hyper, notes, tmp_path):
    run = manifest(
        paths={"output": {"dir_root": str(tmp_path / "o u t")}},
        detection={"sigma_thres": 6.5},
        survey={"survey_code": 7},
        background={"polynomial_orders": [0, 2]},
    )
    (banner,) = banners({}, {**ENTRY, "warnings": ["x.fits: no beam in the header"]}, run)
    assert banner.text == "X.fits: no beam in the header."
    program, *arguments = shlex.split(banner.command)
    assert program == "hyper-py"
    assert hyper(*arguments[:-1], "18.5")[0] == 0
    assert notes.inputs == [ENTRY["path"]]
    assert notes.config.survey.beam.major == 18.5
    # The beam that is given stands for that of the survey.
    assert notes.config.survey.survey_code == Config().survey.survey_code != 7
    assert notes.config.detection.sigma_thres == 6.5
    assert notes.config.background.polynomial_orders == (0, 2)
    assert notes.config.below_root() == tmp_path / "o u t"


def test_a_warning_without_remedy_has_no_banner_and_a_fault_may_have_no_command():
    entry = {**ENTRY, "warnings": ["odd header", "inspect the map before you use the table"]}
    assert banners({}, entry, manifest()) == [Banner(text="Inspect the map before you use the table.")]
    (of_python,) = banners({}, {"warnings": [LOUD]}, manifest())
    assert (of_python.text[:9], of_python.command) == ("Many rows", "")


def test_long_warnings_are_cut():
    (banner,) = banners({}, {"warnings": [f"no beam {'x' * 400}"]}, manifest())
    assert banner.text == f"No beam {'x' * 292}…"


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        ({"kind": "global", "loud_share": 0.11}, True),
        ({"kind": "global", "loud_share": 0.09}, False),
        ({"kind": "local", "loud_share": 0.5}, False),
        ({"kind": "global", "loud_share": "much"}, False),
        ("loud", False),
    ],
)
def test_one_rms_for_a_map_with_loud_parts_is_a_fault(noise, said):
    found = banners({"noise": noise}, ENTRY, manifest())
    assert [("11% of the map" in one.text, "--error ERRORS.fits" in one.command) for one in found] == (
        [(True, True)] if said else []
    )


@pytest.mark.parametrize(("assumed", "said"), [(5, False), (6, True), (None, False), ("6", False)])
def test_noise_that_most_rows_assume_is_a_fault(assumed, said):
    found = banners({"flag_counts": {"noise assumed": assumed}}, ENTRY, manifest())
    assert ["assumed for 6 of 10 rows" in one.text for one in found] == ([True] if said else [])


def test_keys_are_flat_and_their_values_json():
    assert flat({"a": {"b": {"c": 1.5}, "d": None}, "e": [1, "µ"]}) == {
        "a.b.c": "1.5",
        "a.d": "null",
        "e": '[1, "µ"]',
    }
    assert flat({}) == {}
