"""Sphinx configuration; writes the generated pages before the build. Needs no network."""

import math
import pkgutil
from importlib import import_module
from pathlib import Path

import hyper_py
from hyper_py.bands.columns import described_columns
from hyper_py.catalog import COLUMNS
from hyper_py.config import reference_table
from hyper_py.diagnostics import FLAG_TEXT
from hyper_py.reading.surveys import PRESETS

project = "Hyper-Py"
author = "The Hyper-Py developers"
copyright = author
release = version = hyper_py.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build", "generated/*.inc.md"]
html_theme = "furo"
html_title = f"Hyper-Py {release}"
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False


def markdown_table(head, rows):
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in line)} |" for line in lines)


def columns():
    """Return the table of catalogue columns."""
    rows = [
        (f"`{c.name}`", c.unit.replace(" / ", "/"), c.dtype, f"`{c.ucd}`", c.description) for c in COLUMNS
    ]
    return markdown_table(["Column", "Unit", "Type", "UCD", "Meaning"], rows)


def band_columns():
    """Return the table of columns of the wide catalogue of several bands."""
    rows = [
        (f"`{name}`", c.unit.replace(" / ", "/"), c.dtype, f"`{c.ucd}`", c.description)
        for name, c in described_columns()
    ]
    return markdown_table(["Column", "Unit", "Type", "UCD", "Meaning"], rows)


def flags():
    """Return the table of the bits of FLAGS."""
    rows = [(flag.value, f"`{flag.name}`", text) for flag, text in FLAG_TEXT.items()]
    return markdown_table(["Value", "Name", "Meaning"], rows)


def instruments():
    """Return the table of presets of instruments."""
    rows = [
        (
            f"`{s.name}`",
            f"{s.wavelength:g}",
            f"{s.major:g}" if s.major == s.minor else f"{s.major:g} x {s.minor:g}",
            f"{s.area:g}" if s.area else "",
            f"{s.wings:g}" if s.wings < math.inf else "",
            s.source,
            s.checked or "not verified",
        )
        for s in PRESETS.values()
    ]
    return markdown_table(["Name", "Wavelength (um)", "FWHM", "Area", "Wings", "Source", "Checked"], rows)


def public_names():
    """Return a list of what `import hyper_py` offers, each with a link to its documentation."""
    return "\n".join(
        f"- {{py:obj}}`{name} <hyper_py.{home}.{name}>`" for name, home in hyper_py._PUBLIC.items()
    )


SHOWN = {"cli": ["main"], "config.original": ["ORIGINAL_DEFAULTS", "ORIGINAL_POLICY"]}


def modules():
    """Return the documentation of what each module defines."""
    lines = []
    found = pkgutil.walk_packages(hyper_py.__path__, "hyper_py.")
    for name in sorted(info.name.removeprefix("hyper_py.") for info in found if not info.ispkg):
        module = import_module(f"hyper_py.{name}")
        here = [
            key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
        ]
        members = SHOWN.get(name, [key for key in here if not key.startswith("_")])
        directive = [f".. automodule:: {module.__name__}"]
        if members:  # an empty list would mean all, and Sphinx fails on aliases of types
            directive.append(f"   :members: {', '.join(members)}")
        lines += [f"### `{name}`", "", "```{eval-rst}", *directive, "```", ""]
    return "\n".join(lines)


GENERATED = {
    "configuration": reference_table,
    "columns": columns,
    "band_columns": band_columns,
    "flags": flags,
    "instruments": instruments,
    "public_names": public_names,
    "modules": modules,
}
folder = Path(__file__).parent / "generated"
folder.mkdir(exist_ok=True)
for page, text in GENERATED.items():
    (folder / f"{page}.inc.md").write_text(text() + "\n", encoding="utf-8")


def keep_bars(*arguments):
    """Keep |x| in a docstring from being taken for a reST substitution, of which there are none."""
    lines = arguments[-1]
    lines[:] = [line if "``" in line else line.replace("|", r"\|") for line in lines]


def setup(app):
    """Put that before numpydoc reads the lines."""
    app.connect("autodoc-process-docstring", keep_bars, priority=100)
