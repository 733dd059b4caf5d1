"""What `import hyper_py` offers: found at run time, by completion and by a type checker, at no cost."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hyper_py

SOURCE = Path(hyper_py.__file__).parents[1]
ROOT = Path(__file__).parents[1]
NAMES = [
    "read_image", "extract_sources", "simulate_image", "validate", "SkyImage", "Beam", "FixedSources",
    "Options", "DetectionOptions", "PhotometryOptions", "FitOptions", "BackgroundOptions", "CubeOptions",
    "Extraction", "as_sky_image", "completeness", "extract_cube", "open_cube", "Flag", "HyperPyError",
    "BandImage", "BandsExtraction", "BandsOptions", "extract_bands", "simulate_bands", "validate_bands",
    "completeness_bands", "describe_flags", "mean_image", "reference_from", "simulate_cube", "__version__",
]  # fmt: skip


def test_dir_shows_the_public_names_and_nothing_else():
    assert sorted(dir(hyper_py)) == sorted(hyper_py.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name):
    assert getattr(hyper_py, name) is not None


def test_another_name_is_not():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hyper_py.nothing


CHECKED = """
import hyper_py
from hyper_py import {names}

options = hyper_py.Options(detection={{"sigma_thres": 5}}, tile_size_pix=0)
hyper_py.extract_sources(hyper_py.read_image("a"), options=options, detection={{"method": "matched"}})
hyper_py.DetectionOptions(method="matchd")
hyper_py.Options(detektion={{}})
hyper_py.extract_sources(hyper_py.read_image("a.fits"), convert_mJy="yes")
hyper_py.nothing
reveal_type(hyper_py.Beam)
reveal_type(hyper_py.validate)
"""


def test_a_type_checker_sees_names_and_words(tmp_path):
    path = tmp_path / "uses.py"
    path.write_text(CHECKED.format(names=", ".join(NAMES)))
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(path)]
    done = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(SOURCE)}, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("uses.py:")]
    errors = [int(line.split(":")[1]) for line in lines if ": error: " in line]
    assert errors == [7, 8, 9, 10], done.stdout + done.stderr
    revealed = [line.partition(": note: Revealed type is ")[2] for line in lines if "Revealed" in line]
    assert len(revealed) == 2
    assert all("hyper_py." in text and "Any" not in text.split("->")[-1] for text in revealed)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import hyper_py; dir(hyper_py)", ("numpy", "dataclasses", "hyper_py.options")),
        ("import hyper_py; hyper_py.Options(detection={'sigma_thres': 5})", ("numpy", "astropy")),
        ("import hyper_py.cli", ("numpy", "astropy", "hyper_py.config")),
        ("import hyper_py.config as c; c.template()", ("numpy", "astropy")),
    ],
)
def test_starting_loads_nothing_that_is_not_used(code, absent):
    program = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {*absent} & {*done.stdout.split()}


def test_completion_in_jedi_lists_them():
    jedi = pytest.importorskip("jedi")
    project = jedi.Project(SOURCE, added_sys_path=[str(SOURCE)])
    found = {one.name for one in jedi.Script("import hyper_py\nhyper_py.", project=project).complete()}
    assert {*NAMES} <= found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("hyper_py.extract_sources(image, ", {"wcs=", "beam=", "unit=", "options=", "fixed="}),
        ("hyper_py.extract_sources(image, det", {"detection=", "detection_only="}),
        ("hyper_py.extract_bands(images, ba", {"background=", "bands="}),
        ("hyper_py.extract_cube(cube, ph", {"photometry="}),
        ("hyper_py.completeness(image, fit", {"fit_options="}),
        ("hyper_py.extract_sources(image, detection=hyper_py.DetectionOptions(sig", {"sigma_thres="}),
        ("hyper_py.simulate_image('deep', n_so", {"n_sources="}),
        ("hyper_py.simulate_cube(seed=1, n_", {"n_channels=", "n_sources="}),
        ("hyper_py.simulate_bands(seed=1, temp", {"temperature_range="}),
        ("hyper_py.read_image('a', ", {"unit=", "psf=", "error=", "mask=", "primary_beam="}),
        (
            "hyper_py.extract_sources(image).",
            {"catalog", "plot", "plot_source", "report", "write", "to_pandas"},
        ),
        ("hyper_py.read_image('a').", {"data", "wcs", "beam", "to_nddata"}),
        ("hyper_py.Options().", {"detection", "updated"}),
        ("hyper_py.DetectionOptions().", {"sigma_thres", "method"}),
    ],
)
def test_completion_in_jedi_goes_on(code, expected):
    """Arguments of functions, and attributes of what they return."""
    jedi = pytest.importorskip("jedi")
    project = jedi.Project(SOURCE, added_sys_path=[str(SOURCE)])
    script = jedi.Script(f"import hyper_py\n{code}", project=project)
    assert expected <= {one.name for one in script.complete()}


def test_completion_in_ipython_lists_them():
    completer = pytest.importorskip("IPython.core.completer")
    found = completer.Completer(namespace={"hyper_py": hyper_py}).attr_matches("hyper_py.")
    assert {f"hyper_py.{name}" for name in NAMES if not name.startswith("_")} <= {*found}


SECTIONS = {"detection", "photometry", "fit_options", "background"}


@pytest.mark.parametrize(
    ("function", "keywords"),
    [
        (hyper_py.extract_sources, SECTIONS),
        (hyper_py.extract_bands, SECTIONS),
        (hyper_py.extract_cube, SECTIONS),
        (hyper_py.completeness, SECTIONS),
        (hyper_py.Options.updated, SECTIONS),
        (hyper_py.simulate_image, {"n_sources", "peak_range", "noise_rms"}),
        (hyper_py.simulate_cube, {"n_channels", "n_sources", "peak_range"}),
        (hyper_py.simulate_bands, {"n_sources", "temperature_range"}),
    ],
)
def test_completion_and_help_show_what_the_keywords_are(function, keywords):
    shown = inspect.signature(function).parameters
    assert keywords <= {*shown}
    assert "changes" not in shown


SHORT = [name for name in NAMES if inspect.isfunction(getattr(hyper_py, name)) and "simulate" not in name]


@pytest.mark.parametrize("name", SHORT)
def test_signatures_fit_a_screen(name):
    """Unions of types that are written out are longer than 1500 characters. (Skies have fifty fields.)"""
    assert len(str(inspect.signature(getattr(hyper_py, name)))) < 800


def test_ipython_completes_options_of_a_call():
    pytest.importorskip("IPython")
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        shell.user_ns["hyper_py"] = hyper_py
        text = "hyper_py.extract_sources(image, det"
        with provisionalcompleter():
            found = {one.text for one in shell.Completer.completions(text, len(text))}
    finally:
        InteractiveShell.clear_instance()
    assert "detection=" in found


def test_a_name_that_is_nearly_right_is_completed():
    with pytest.raises(AttributeError, match="did you mean extract_sources"):
        _ = hyper_py.extract_source
