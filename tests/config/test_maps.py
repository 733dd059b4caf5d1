"""The section `maps`: short keys stand for keys of sections, and mistakes are named where they were made."""

import pytest

from hyper_py.config import Config, reference_table, template
from hyper_py.config.maps import map_keys, plain_maps
from hyper_py.diagnostics import ConfigurationError


def config(maps):
    return Config.from_mapping({"version": 2, "maps": maps}, source="test")


def test_short_keys_are_keys_of_sections():
    own = config(
        {
            "s250": {
                "wavelength": 250,
                "unit": "MJy/sr",
                "beam": 18.1,
                "error": "e.fits",
                "calibration_error": 0.05,
            }
        }
    ).for_map("s250")
    assert own.survey.wavelength == 250.0
    assert own.survey.beam.major == 18.1
    assert own.survey.calibration_error == 0.05
    assert own.units.bunit == "MJy/sr"
    assert own.io.error_hdu == "e.fits"
    assert config({"m": {"psf": "p.fits", "survey": "spire250"}}).for_map("m").survey.name == "spire250"
    ellipse = config({"m": {"beam": {"major": 3, "minor": 2}}}).for_map("m").survey.beam
    assert (ellipse.major, ellipse.minor) == (3.0, 2.0)


def test_sections_and_short_keys_go_together():
    own = config(
        {"m": {"unit": "Jy/beam", "survey": {"wavelength": 70}, "detection": {"sigma_thres": 7}}}
    ).for_map("m")
    assert (own.units.bunit, own.survey.wavelength, own.detection.sigma_thres) == ("Jy/beam", 70.0, 7.0)


def test_a_list_of_maps_is_the_same_as_entries_by_name():
    listed = config([{"name": "a", "path": "x.fits", "wavelength": 70}, {"path": "dir/b.fits.gz"}])
    named = config({"a": {"name": "a", "path": "x.fits", "wavelength": 70}, "b": {"path": "dir/b.fits.gz"}})
    assert listed == named
    assert Config.from_mapping(named.to_mapping()) == named
    assert list(named.maps) == ["a", "b"]


def test_entries_without_keys_are_bands_too():
    assert plain_maps({"a": None, "b": {}}) == {"a": {}, "b": {}}


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (
            {"a": {"wavelenth": 3}},
            "test: maps.a.wavelenth: unknown key; the nearest known key is maps.a.wavelength",
        ),
        ({"a": {"wavelength": -3}}, "test: maps.a.wavelength = -3: must be a number > 0"),
        ({"a": {"beam": "x"}}, "test: maps.a.beam = 'x': must be"),
        ([3], "test: maps[0] = 3: must be keys of a map"),
        ([{"wavelength": 3}], "test: maps[0]: has neither a name nor a path"),
        ([{"path": "a.fits"}, {"path": "b/a.fits"}], "test: maps[1]: a second map with the name a"),
        (
            {"a": {"survey": {"beam": {"major": 3}}, "beam": 4}},
            "test: maps.a: beam and survey.beam are one key",
        ),
        ({"a": {"cube": {}}}, "test: maps.a: cube is the same for all maps"),
        (
            {"a": {"unit": "Jy", "units": {"frequency": 3e11}, "wavelength": 3}},
            "test: maps.a: give units.frequency or",
        ),
    ],
)
def test_mistakes_are_named_where_they_were_made(maps, message):
    with pytest.raises(ConfigurationError) as raised:
        config(maps)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(message)


def test_every_fault_has_a_line():
    with pytest.raises(ConfigurationError) as raised:
        config({"a": {"wavelength": -3}, "b": {"beam": -1}})
    assert len(str(raised.value).splitlines()) == 2


def test_template_and_reference_explain_the_keys():
    for path in map_keys():
        name = path.removeprefix("maps.NAME.")
        if "." not in name:
            assert f"#     {name}: null" in template()
            assert f"\n| `{name}` | `null` |" in reference_table().partition("## `maps.NAME`")[2]


@pytest.mark.parametrize("value", [1.5, 7.0])
def test_a_calibration_error_in_percent_is_refused(value):
    with pytest.raises(ConfigurationError, match=r"a share of the flux: 0\.05 is 5%"):
        Config.from_mapping({"version": 2, "survey": {"calibration_error": value}})
