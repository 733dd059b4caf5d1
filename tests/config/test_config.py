import math
import pickle
from dataclasses import MISSING, FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hyper_py.checked import Checked, entries, is_section
from hyper_py.config import sections
from hyper_py.config.model import Config, find_config, load_config
from hyper_py.config.original import ORIGINAL_DEFAULTS, ORIGINAL_POLICY
from hyper_py.config.reference import reference_table, template
from hyper_py.config.text import apply_overrides, parse_yaml
from hyper_py.diagnostics import ConfigurationError
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options, PhotometryOptions

# The configuration that the original Hyper-Py ships, every key of it.
SHIPPED = """
paths: {input: {dir_maps: Maps},
        output: {dir_root: output, dir_table_out: params, dir_region_out: regions, dir_log_out: logs}}
files: {file_map_name: maps_list.txt, file_table_base: params, file_region_base: region_files,
        file_log_name: hyper_py.log}
control: {parallel_maps: true, n_cores: 2, detection_only: false, datacube: false, dir_datacube_slices: maps}
units: {convert_mJy: true}
survey: {survey_code: 15}
detection: {sigma_thres: 5.0, use_manual_rms: false, rms_value: 1.0e-06, kernel_size_pix: 0,
            roundlim: [-4.0, 4.0], sharplim: [-2.0, 2.0], use_fixed_source_table: false,
            fixed_source_table_path: source_table.txt, fixed_peaks: false, xcen_fix: [0.0], ycen_fix: [-0.0]}
photometry: {aper_inf: 1.0, aper_sup: 2.0, fwhm_radius_ratio: 0.5, fixed_radius: false, fwhm_1: [0.0],
             fwhm_2: [0.0], PA_val: [0.0]}
fit_options: {fit_method: least_squares, loss: linear, f_scale: 0.1, max_nfev: 50000, xtol: 1e-8, ftol: 1e-8,
              gtol: 1e-8, weights: snr, power_snr: 5, calc_covar: false, min_method: nmse, verbose: false,
              use_l2_regularization: true, lambda_l2: 1e-4, vary: false, bg_fitters: [least_squares],
              huber_epsilons: [1.1, 1.35, 1.7, 2.0]}
background: {fit_gauss_and_bg_separately: true, pol_orders_separate: [0, 1, 2], fix_min_box: 3,
             fix_max_box: 5, fit_gauss_and_bg_together: false, polynomial_orders: [0], pol_orders_bkg_no_sources: [0]}
fits_output: {fits_fitting: false, fits_deblended: false, fits_bg_separate: false,
              fits_output_dir_fitting: fits/fitting, fits_output_dir_deblended: fits/deblended,
              fits_output_dir_bg_separate: fits/bg_separate}
visualization: {visualize_fitting: false, visualize_deblended: false, visualize_bg_separate: false,
                output_dir_fitting: plots/fitting, output_dir_deblended: plots/deblended,
                output_dir_bg_separate: plots/bg_separate}
"""
UNLISTED = {
    "dist_limit_arcsec": 0.0,
    "snap_radius_pix": 1.0,
    "shoulder_filter": False,
    "shoulder_threshold": 0.5,
    "shoulder_ring_factor": 1.5,
    "shoulder_n_angles": 16,
    "shoulder_neighbor_mask": 1.0,
}
OPTION_CLASSES = {
    "detection": DetectionOptions,
    "photometry": PhotometryOptions,
    "fit_options": FitOptions,
    "background": BackgroundOptions,
}


def configure(text: str) -> Config:
    return Config.from_mapping(parse_yaml(text, source="test") or {}, source="test")


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        configure(text)
    return [line for line in str(caught.value).splitlines() if ": its keys are " not in line]


# One of ours, and one of the original


def test_defaults_are_those_of_the_library() -> None:
    assert Config().options() == Options()
    assert configure("version: 2") == Config()


@pytest.mark.parametrize("section", OPTION_CLASSES)
def test_every_option_has_a_key_and_a_meaning_for_the_original(section: str) -> None:
    names = {field.name for field in fields(OPTION_CLASSES[section])}
    assert names <= {path.partition(".")[2] for path in entries(Config) if path.startswith(f"{section}.")}
    assert names == set(ORIGINAL_DEFAULTS[section])


def test_shipped_configuration_of_the_original_means_what_it_says() -> None:
    config = configure(SHIPPED)
    assert config.original
    assert config.options().policy == ORIGINAL_POLICY
    said, meant = parse_yaml(SHIPPED, source="shipped"), yaml.safe_load(config.to_yaml())
    for section, keys in said.items():
        for name, value in keys.items():
            assert meant[section][name] == value, f"{section}.{name}"


def test_what_an_original_file_does_not_say_has_the_original_s_meaning() -> None:
    assert configure("units: {convert_mJy: true}") == configure(SHIPPED)
    options = configure("").options()
    assert UNLISTED.items() <= vars(options.detection).items()
    assert (options.fit_options.spatial_weight_sigma, options.fit_options.fit_aperture_sigma) == (1.5, 1.0)


def test_nothing_new_applies_to_an_original_file() -> None:
    options = configure("detection: {sigma_thres: 6}").options()
    assert options.detection.sigma_thres == 6
    assert (options.detection.method, options.detection.rms_map) == ("highpass", "global")
    assert not options.detection.deblend_residual
    assert (options.background.method, options.fit_options.noise_model) == ("polynomial", "white")
    assert not options.photometry.aperture_correction


def test_original_keys_are_laid_under_not_over() -> None:
    config = configure("fit_options: {vary: true, weights: null}\ndetection:\n")
    assert config.fit_options.vary is True
    assert config.fit_options.weights is None
    assert config.detection.sigma_thres == 5.0


# Out and in again


def test_template_reads_as_the_defaults() -> None:
    assert configure(template()) == Config()
    assert max(map(len, template().splitlines())) <= 110


def test_template_has_every_key_once_with_a_comment() -> None:
    lines = template().splitlines()
    for path, entry in entries(Config).items():
        if not path.startswith("survey.beam."):
            name = path.rpartition(".")[2]
            places = [i for i, line in enumerate(lines) if line.lstrip().startswith(f"{name}:")]
            assert places, path
            assert all(lines[place - 1].lstrip().startswith("#") for place in places), path
        assert entry.description.endswith("."), path


@pytest.mark.parametrize("text", ["version: 2", SHIPPED, "version: 2\nsurvey: {beam: {major: 6, pa: 20}}"])
def test_yaml_round_trip(text: str) -> None:
    config = configure(text)
    assert configure(config.to_yaml()) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_reference_has_every_key() -> None:
    table = reference_table()
    for path, entry in entries(Config).items():
        if entry.allowed:
            assert f"| `{path.rpartition('.')[2]}` |" in table
    assert "| `fwhm_radius_ratio` | `1.0` | `0.5` | a number > 0 |" in table


# Values


@pytest.mark.parametrize("text", ["1e-8", "1E-8", "1.e-8", "+1e-8", "0.00000001", ".1e-7"])
def test_numbers_with_exponents(text: str) -> None:
    assert configure(f"fit_options: {{xtol: {text}}}").fit_options.xtol == 1e-8


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_survives(value: float) -> None:
    for text in (repr(value), f"{value:.17e}"):
        assert parse_yaml(text, source="test") == value


@given(st.integers())
def test_any_whole_number_survives(value: int) -> None:
    assert parse_yaml(f"{value}", source="test") == value


@pytest.mark.parametrize("text", ["12:30:00", "2015-04-01", "1_000", "e5", "1e", "."])
def test_what_looks_like_a_number_stays_text(text: str) -> None:
    assert parse_yaml(f"x: {text}", source="test") == {"x": text}


def test_values_are_taken_generously_where_nothing_is_lost() -> None:
    config = configure(
        "version: 2\nfit_options: {max_nfev: 5e4, bg_fitters: huber, power_snr: 5}\n"
        "detection: {roundlim: [-3, 3], fixed_peaks: true, xcen_fix: 10, ycen_fix: -3.5}"
    )
    assert config.fit_options.max_nfev == 50000
    assert isinstance(config.fit_options.max_nfev, int)
    assert config.fit_options.bg_fitters == ("huber",)
    assert config.detection.roundlim == (-3.0, 3.0)
    assert (config.detection.xcen_fix, config.detection.ycen_fix) == ((10.0,), (-3.5,))


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().detection.sigma_thres = 3  # type: ignore[misc]


@pytest.mark.parametrize("section", [cls for cls in vars(sections).values() if is_section(cls)])
def test_every_key_says_what_it_means(section: type[Checked]) -> None:
    silent = [
        field.name
        for field in fields(section)
        if not field.metadata.get("description")
        and (field.default_factory is MISSING or not is_section(field.default_factory))
    ]
    assert section.__doc__
    assert not silent


# Complaints


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("detection: {sigma_thres: five}", "detection.sigma_thres = 'five': must be a number > 0"),
        ("detection: {sigma_thres: .nan}", "detection.sigma_thres = nan: must be a number > 0"),
        ("detection: {sigma_thres: '5'}", "detection.sigma_thres = '5': must be a number > 0"),
        ("detection: {kernel_size_pix: 2.5}", "detection.kernel_size_pix = 2.5: must be a whole number >= 0"),
        ("detection: {roundlim: [1, a]}", "detection.roundlim[1] = 'a': must be a list of 2 numbers"),
        ("detection: {roundlim: [1, 2, 3]}", "detection.roundlim = [1, 2, 3]: must be a list of 2 numbers"),
        ("fit_options: {vary: 1}", "fit_options.vary = 1: must be true or false"),
        ("fit_options: {fit_method: nelder}", "fit_options.fit_method = 'nelder': must be one of least_squares, leastsq"),
        ("fit_options: {huber_epsilons: [2, 0.5]}", "fit_options.huber_epsilons[1] = 0.5: must be a list of one or more, each a number >= 1"),
        ("fit_options: {bg_fitters: []}", "fit_options.bg_fitters = []: must be a list of one or more, each one of least_squares, huber, theil_sen"),
        ("survey: {survey_code: 9}", "survey.survey_code = 9: must be one of 1, 2, 3, 4, 5, 6, 7, 8, 15"),
        ("survey: {beam: 7}", "survey.beam = 7: must be {major, minor, pa} or null"),
        ("survey: {beam: {'major:12.5': null, major: 1}}", "survey.beam.major:12.5: unknown key; a blank is missing after its colon"),
        ("survey: {beam: {minor: 7}}", "survey.beam.major: missing; must be a number > 0"),
        ("survey: {beam: {major: 7, minor: 8}}", "survey.beam: minor (8) must not be larger than major (7)"),
        ("io: {hdu: 1.5}", "io.hdu = 1.5: must be a whole number >= 0 or a non-empty text or null"),
        ("paths: {output: {dir_root: ''}}", "paths.output.dir_root = '': must be a non-empty text"),
        ("photometry: 5", "photometry = 5: must be a section, with keys below it"),
        ("photometry: {aper_inf: 7, aper_sup: 6}", "photometry: aper_inf (7) must not be larger than aper_sup (6)"),
        ("photometry: {fixed_radius: true}", "photometry: fwhm_1 and fwhm_2 must be positive when fixed_radius is true"),
        ("photometry: {fwhm_1: [1, 2], fwhm_2: [1, 2, 3]}", "photometry: fwhm_1, fwhm_2 and PA_val must have the same length, or one value for all"),
        ("background: {fix_min_box: 6}", "background: fix_min_box (6) must not be larger than fix_max_box (5)"),
        ("detection: {sharplim: [2, 1]}", "detection: sharplim [2, 1] must rise from the lowest to the highest"),
        ("detection: {use_manual_rms: true, rms_value: 0}", "detection: rms_value must be positive when use_manual_rms is true"),
        ("detection: {fixed_peaks: true, xcen_fix: [1, 2]}", "detection: xcen_fix (2 values) and ycen_fix (1 values) must have the same length"),
        ("detection: {method: matchd}", "detection.method = 'matchd': must be one of highpass, matched; did you mean 'matched'?"),
        ("fit_options: {bg_fitters: [huber, theilsen]}", "fit_options.bg_fitters[1] = 'theilsen': must be a list of one or more, each one of least_squares, huber, theil_sen; did you mean 'theil_sen'?"),
        ("fit_options: {bg_fitters: Huber}", "fit_options.bg_fitters = 'Huber': must be a list of one or more, each one of least_squares, huber, theil_sen; did you mean 'huber'?"),
        ("cube: {outputs: [modl]}", "cube.outputs[0] = 'modl': must be a list, each one of background, model, residual, subtracted; did you mean 'model'?"),
        ("cube: {region: [1, 2, 3]}", "cube.region = [1, 2, 3]: must be a list of 4 numbers or a non-empty text or null"),
        ("version: 3", "version = 3: must be one of 1, 2"),
        ("detection: {sigma_tres: 4}", "detection.sigma_tres: unknown key; the nearest known key is detection.sigma_thres"),
        ("detection: {aper_inf: 1}", "detection.aper_inf: unknown key; the nearest known key is photometry.aper_inf"),
        ("sigma_thres: 4", "sigma_thres: unknown key; the nearest known key is detection.sigma_thres"),
        ("visualisation: {}", "visualisation: unknown key; the nearest known key is visualization"),
        ("survey: {beam: {major: 7, minr: 8}}", "survey.beam.minr: unknown key; the nearest known key is survey.beam.minor"),
        ("units: {zzz: 1}", "units.zzz: unknown key; known here are convert_mJy, bunit, frequency"),
        ("units: {5: 1}", "units.5: unknown key; known here are convert_mJy, bunit, frequency"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["version: 2\n", ""])
def test_one_line_says_what_is_wrong(version: str, text: str, expected: str) -> None:
    assert complaints(text if "version" in text else version + text) == [f"test: {expected}"]


def test_a_key_that_is_not_known_lists_those_of_its_section() -> None:
    """The nearest key may be the wrong one."""
    with pytest.raises(ConfigurationError) as caught:
        configure("version: 2\ncube: {positon: moment0, zzz: 1}\nunits: {zzz: 1}")
    assert [line for line in str(caught.value).splitlines() if "keys are" in line] == [
        "test: cube: its keys are positions, channel, shapes, extent, region, outputs, slices"
    ]


def test_all_faults_are_listed() -> None:
    lines = complaints("detection: {sigma_thres: -1, aper: 3}\nfit_options: {loss: l1}\nnonsense: 1")
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "detection.sigma_thres",
        "detection.aper",
        "fit_options.loss",
        "nonsense",
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*(p.rpartition(".")[2] for p in entries(Config)), "x", 7]), inner, max_size=3
            )
        ),
        max_leaves=8,
    ),
    st.sampled_from(sorted(entries(Config))),
)
def test_any_value_anywhere_is_taken_or_refused_in_one_line(value: Any, path: str) -> None:
    *sections, name = path.split(".")
    mapping: dict[str, Any] = {name: value}
    for section in reversed(sections):
        mapping = {section: mapping}
    message = ""
    try:
        Config.from_mapping(mapping, source="test")
    except ConfigurationError as error:
        message = str(error)
    assert all(line.startswith("test: ") for line in message.splitlines())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty; `hyper-py init` writes a configuration"),
        (b"# nothing\n", "empty; `hyper-py init` writes a configuration"),
        (b"- 1\n- 2\n", "must hold sections such as `detection:` with keys below them"),
        (b"just text", "must hold sections such as `detection:` with keys below them"),
        (b"SIMPLE  =\x00\xff\xfe\x80", "not a text file, so no configuration"),
        (b"a: \x00", "not a YAML text"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("units:\n  convert_mJy: true\nunits:\n", "line 3: key 'units' is given twice"),
        ("units:\n  bunit: K\n  bunit: Jy\n", "line 3: key 'bunit' is given twice"),
        ("units: {bunit: [}", "line 1: "),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("a: !!python/object:os.system x", "line 1: could not determine a constructor"),
    ],
)
def test_broken_yaml_names_the_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}, {expected}")
    assert "\n" not in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file; `hyper-py init`"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="no such file, but a directory"):
        load_config(tmp_path)


# Overrides, paths, look-up


def test_overrides_are_yaml() -> None:
    before = {"version": 2, "detection": {"sigma_thres": 3}, "survey": None}
    after = apply_overrides(
        before,
        [
            "detection.sigma_thres=4.5",
            "detection.roundlim=[-1, 1]",
            "fit_options.xtol = 1e-9",
            "fit_options.weights=null",
            "survey.beam={major: 6}",
            "units.bunit=Jy/beam",
            "detection.sigma_thres=5",
        ],
    )
    config = Config.from_mapping(after)
    assert config.detection.sigma_thres == 5
    assert config.detection.roundlim == (-1, 1)
    assert config.fit_options.xtol == 1e-9
    assert config.survey.beam is not None
    assert config.survey.beam.major == 6
    assert config.units.bunit == "Jy/beam"
    assert before == {"version": 2, "detection": {"sigma_thres": 3}, "survey": None}


@pytest.mark.parametrize(
    "override", ["detection.sigma_thres", "=4", "detection.=4", ".sigma_thres=4", "", "a..b=1"]
)
def test_overrides_of_another_form(override: str) -> None:
    with pytest.raises(ConfigurationError, match="must be of the form"):
        apply_overrides({}, [override])


def test_overrides_that_lead_nowhere() -> None:
    with pytest.raises(ConfigurationError, match="version = 2 is not a section"):
        apply_overrides({"version": 2}, ["version.key=4"])
    with pytest.raises(ConfigurationError, match=r"--set 'a.b=\[', line 1: "):
        apply_overrides({}, ["a.b=["])


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("paths: {input: {dir_maps: in}, output: {dir_root: /far/out}}")
    config = load_config(path)
    assert config.below_maps() == tmp_path / "in"
    assert config.below_maps(config.files.file_map_name) == tmp_path / "in" / "maps_list.txt"
    assert config.below_root(config.paths.output.dir_table_out) == Path("/far/out/params")
    path.write_text("paths: {output: {dir_root: ~/out}}")
    assert load_config(path).below_root() == Path.home() / "out"
    assert load_config(path, ["paths.output.dir_root=there"]).below_root() == tmp_path / "there"
    assert Config().below_root() == Path.cwd() / "output"


def test_look_up_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, user = tmp_path / "here", tmp_path / "user"
    here.mkdir()
    user.mkdir()
    monkeypatch.chdir(here)
    assert find_config(user) is None
    (user / "hyper_config.yaml").touch()
    assert find_config(user) == user / "hyper_config.yaml"
    (here / "hyper_config.yaml").touch()
    assert find_config(user) == Path("hyper_config.yaml")


def test_infinite_numbers_are_read_and_refused() -> None:
    assert math.isinf(parse_yaml("-.inf", source="test"))
    assert complaints("fit_options: {f_scale: .inf}") == [
        "test: fit_options.f_scale = inf: must be a number > 0"
    ]


def test_keys_of_one_map_are_laid_over_the_others() -> None:
    config = configure(
        """
        version: 2
        units: {bunit: Jy/beam}
        detection: {sigma_thres: 6}
        maps:
          p160: {units: {bunit: Jy/pixel}, survey: {beam: {major: 13}}, detection: {roundlim: [-1, 1]}}
        """
    )
    own, other = config.for_map("p160"), config.for_map("s250")
    assert (own.units.bunit, own.detection.roundlim, own.detection.sigma_thres) == ("Jy/pixel", (-1, 1), 6)
    assert own.survey.beam is not None
    assert own.survey.beam.major == 13
    assert other == configure("{version: 2, units: {bunit: Jy/beam}, detection: {sigma_thres: 6}}")
    assert configure("version: 2").for_map("x").maps == {}
    assert configure(config.to_yaml()) == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("maps: {m: {paths: {}}}", "test: maps.m: paths is the same for all maps"),
        ("maps: {m: {units: {convert_mJy: true}}}", "test: maps.m: units.convert_mJy is the same for all"),
        ("maps: {m: {io: {hduu: 1}}}", "test: maps.m: io.hduu: unknown key; the nearest known key is io.hdu"),
        ("maps: {m: {survey: {psf_pixel: -1}}}", "test: maps.m: survey.psf_pixel = -1: must be"),
        ("maps: 7", "test: maps = 7: must be names of maps"),
        ("maps: {m: {units: 7}}", "test: maps.m: units = 7: must be a section, with keys below it"),
        ("maps: {m: {5: {}, io: {}}}", "test: maps = {'m': {5: {}, 'io': {}}}: must be names of maps"),
        ("survey: {psf: a.fits, beam: {major: 3}}", "test: survey: give the beam by beam or by psf"),
    ],
)
def test_what_contradicts_itself_is_named(text: str, expected: str) -> None:
    (line,) = complaints(f"version: 2\n{text}")
    assert line.startswith(expected)
