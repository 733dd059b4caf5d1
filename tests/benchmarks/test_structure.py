"""Figures of sources made for the purpose, counted by hand."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def structure(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import structure

    return structure


@pytest.fixture
def read(structure, tmp_path):
    """Return what makes modules of texts by their names, as they are read from a package."""

    def make(**texts: str):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return structure.read_modules(tmp_path)

    return make


def test_modules_know_their_package_and_lines(read):
    modules = read(fitting__solve="a = 1\n\nb = 2\n", image="c = 3\n")
    assert [(m.name, m.package, m.lines) for m in modules] == [
        ("fitting/solve.py", "fitting", 3),
        ("image.py", "image", 1),
    ]


def test_comments_blank_lines_and_docstrings_are_no_code(structure, read):
    body = "".join(f"    x = {i}  # why\n\n    # only a comment\n" for i in range(60))
    text = f'def f(\n    a,\n):\n    """Say.\n\n    More.\n    """\n{body}'
    modules = read(numerics__a=text, numerics__b=text.replace("    a,\n):", "    a, b):"))
    # 3 or 2 lines of signature and 60 of code
    assert structure.long_functions(modules) == [("numerics/a.py: f", 63), ("numerics/b.py: f", 62)]
    assert structure.long_functions(
        read(numerics__a=text.replace("    x = 7 ", "    # "), numerics__b="")
    ) == [("numerics/a.py: f", 62)]
    short = "def f():\n" + "    x = 1\n" * 59
    assert structure.long_functions(read(numerics__a=short)) == []
    assert structure.long_functions(read(numerics__a=short + "    x = 1\n")) == [("numerics/a.py: f", 61)]


def test_self_and_star_arguments_are_no_parameters(structure, read):
    text = (
        "class A:\n"
        "    def eight(self, a, b, /, c, d, *args, e, f, g, h, **more): ...\n"
        "    def nine(self, a, b, /, c, d, *, e, f, g, h, i): ...\n"
        "    @staticmethod\n"
        "    def also_nine(a, b, c, d, e, f, g, h, i): ...\n"
        "def outer():\n"
        "    def inner(a, b, c, d, e, f, g, h, i, j): ...\n"
    )
    assert structure.long_signatures(read(psf__a=text)) == [
        ("psf/a.py: A.nine", 9),
        ("psf/a.py: A.also_nine", 9),
        ("psf/a.py: outer.inner", 10),
    ]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Sequence[int]", True),
        ("typing.Sequence[int]", True),
        ("list[int] | None", True),
        ("Optional[list[int]]", True),
        ("'Iterable[int]'", True),
        ("tuple[int, ...]", True),
        ("tuple[int, int]", False),
        ("NDArray[np.float64]", False),
        ("Mapping[str, list[int]]", False),
        ("Callable[[list[int]], int]", False),
        ("Groups", False),
    ],
)
def test_what_is_a_sequence(structure, read, annotation, expected):
    text = f"def f(a: list[int], b: list[int], c: {annotation}, d, *rest: list[int]): ...\n"
    found = structure.parallel_sequences(read(fitting__a=text))
    assert found == ([("fitting/a.py: f", "a, b, c")] if expected else [])


def words_in(structure, modules):
    return {word.word: dict(names) for word, names in structure.private_words(modules).items() if names}


def test_private_words_are_found_in_identifiers_only(structure, read):
    text = (
        '"""The sky seen through a window; a sweep of units, left."""\n'
        "class WindowCache: ...  # metric\n"
        "def fit_windows(metrics, skyline, SkyImage, bright): ...\n"
        "message = 'the misfit of a unit'\n"
    )
    assert words_in(structure, read(fitting__a=text)) == {
        "window": {"fitting/a.py: WindowCache": 1, "fitting/a.py: fit_windows": 1},
        "metric": {"fitting/a.py: metrics": 1},
    }


def test_words_that_are_usual_elsewhere_count_in_the_measurement(structure, read):
    text = "sky = left = level = task = 1\n"
    assert words_in(structure, read(reading__a=text)) == {}
    found = words_in(structure, read(psf__a=text, reading__a=""))
    assert found.keys() == {"sky", "left", "level", "task"}
    assert words_in(structure, read(psf__a="", evidence__a="x = 1\n")) == {
        "evidence": {"evidence/a.py: evidence": 1}
    }


def test_units_of_a_map_are_units(structure, read):
    text = (
        "from hyper_py.units import MapUnit\nx = image.unit\nrms_unit = 1\nin_units_of_noise = 2\n"
        "n_units = 3\nfor unit in units: ...\nUnitBackground = 4\n"
    )
    found = words_in(structure, read(background__a=text))["unit"]
    assert {name.split()[1] for name in found} == {"n_units", "unit", "units", "UnitBackground"}


def test_ordinary_english_is_named_by_its_place(structure, read):
    text = "top, left = 1, 2\n"
    assert words_in(structure, read(photometry__aperture=text)) == {}
    assert words_in(structure, read(photometry__aperture="", photometry__other=text)) == {
        "left": {"photometry/other.py: left": 1}
    }


def test_equal_runs_are_reported_once_and_at_their_full_length(structure, read):
    lines = [f"    x{i} = {i}" for i in range(9)]
    one = "def f():\n" + "\n".join(lines) + "\n    return 1\n"
    other = (
        "import os\n\n\ndef g():\n" + "\n\n".join(f"{line}   # why" for line in lines) + "\n    return 2\n"
    )
    assert structure.duplicates(read(numerics__a=one, numerics__b=other)) == [
        ("numerics/a.py:2", "numerics/b.py:5", 9)
    ]
    fewer = other.replace("    x4 = 4 ", "    y4 = 4 ")
    assert structure.duplicates(read(numerics__b=fewer)) == []


def test_what_nothing_names_is_unused(structure, read):
    text = (
        "LIMIT = 3\nUNUSED: int = 4\n"
        "def used(): ...\n"
        "def recursive(): recursive()\n"
        "@command\ndef decorated(): ...\n"
        "@dataclass(frozen=True)\nclass Left: ...\n"
        "class InText: ...\n"
        "def __getattr__(name): ...\n"
    )
    other = "from a import used\ndef _g(x: 'InText' = LIMIT):\n    'Left is only in a docstring.'\n_g(used)\n"
    assert structure.unused_definitions(read(numerics__a=text, numerics__b=other)) == [
        "numerics/a.py: UNUSED",
        "numerics/a.py: recursive",
        "numerics/a.py: Left",
    ]


def test_the_report_has_all_figures(structure, read, tmp_path, monkeypatch, capsys):
    (tmp_path / "hyper_py").mkdir()
    read(hyper_py__image="grain = 1\nprint(grain)\n")
    monkeypatch.setattr("sys.argv", ["structure.py", "--src", str(tmp_path), "--title", "Now"])
    structure.main()
    text = capsys.readouterr().out
    assert text.startswith("# Now\n")
    assert "| lines of `pipeline` | 0 | at most 2000 |" in text
    assert "| private words: identifiers (uses) | 1 (2) | none |" in text
    assert "| grain | multiplicative noise | 1 | 2 | image.py: grain (2) |" in text
