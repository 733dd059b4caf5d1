"""Sphinx configuration; writes the generated pages before the build, which then runs the notebooks.

Needs no network: equations are MathML, and the tutorials simulate their maps.
"""

import math
import os
import pkgutil
import re
import sys
import warnings
from importlib import import_module
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from numpydoc.xref import DEFAULT_LINKS

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

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
exclude_patterns = ["_build", "generated/*.inc.md", "check.py"]
html_theme = "furo"
html_title = f"Hyper-Py {release}"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_domain_indices = False
html_copy_source = False
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
copybutton_prompt_text = r"\$ |>>> |\.\.\. "  # what stands before a command is not copied
copybutton_prompt_is_regexp = True
copybutton_selector = "div.highlight:not(.cell_output *) > pre"
default_role = "py:obj"  # `name` in a docstring is a link where the name is documented
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
# Types in docstrings link to this reference, and to those of astropy, numpy and regions.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # but for these
numpydoc_xref_aliases = {
    **{name: f"hyper_py.{name}" for name in hyper_py.__all__},
    "InputError": "hyper_py.diagnostics.InputError",
    "ConfigurationError": "hyper_py.diagnostics.ConfigurationError",
    "CubeReader": "hyper_py.reading.io.CubeReader",
    "Simulation": "hyper_py.simulation.simulate.Simulation",
    "SimulatedCube": "hyper_py.simulation.simulate.SimulatedCube",
    "SimulatedBands": "hyper_py.simulation.bands.SimulatedBands",
    "SkyModel": "hyper_py.simulation.presets.SkyModel",
    "BandsModel": "hyper_py.simulation.band_models.BandsModel",
    "BandModel": "hyper_py.simulation.band_models.BandModel",
    "Validation": "hyper_py.validation.validation.Validation",
    "BandsValidation": "hyper_py.validation.bands.BandsValidation",
    "ndarray": "numpy.ndarray",
    "Quantity": "astropy.units.Quantity",
    "Table": "astropy.table.Table",
    "QTable": "astropy.table.QTable",
    "SkyCoord": "astropy.coordinates.SkyCoord",
    "WCS": "astropy.wcs.WCS",
    "NDData": "astropy.nddata.NDData",
    "CCDData": "astropy.nddata.CCDData",
    "HDUList": "astropy.io.fits.HDUList",
    "Regions": "regions.Regions",
}
numpydoc_xref_aliases |= {name: name for name in numpydoc_xref_aliases.values()}
DEFAULT_LINKS.clear()  # they need the lists of names of Python and numpy, which are not fetched
ELSEWHERE = {
    "astropy": "https://docs.astropy.org/en/stable/api/{}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{}.html",
    "regions": "https://astropy-regions.readthedocs.io/en/stable/api/{}.html",
}

# Notebooks are Markdown without outputs: they are run at each build, in folders of their own.
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COLUMNS", "100")  # of a terminal
# The commands in notebooks are those of this Python, whether or not its environment is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def markdown_table(head, rows):
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in line)} |" for line in lines)


def columns():
    """Return the table of catalogue columns."""
    rows = [
        (f"[`{c.name}`](#{c.name.lower()})", c.unit.replace(" / ", "/"), c.description, c.dtype, f"`{c.ucd}`")
        for c in COLUMNS
    ]
    return markdown_table(["Column", "Unit", "Meaning", "Type", "UCD"], rows)


def band_columns():
    """Return the table of columns of the wide catalogue of several bands."""
    rows = [
        (f"`{name}`", c.unit.replace(" / ", "/"), c.dtype, f"`{c.ucd}`", c.description)
        for name, c in described_columns()
    ]
    return markdown_table(["Column", "Unit", "Type", "UCD", "Meaning"], rows)


def flags():
    """Return the table of the bits of FLAGS."""
    rows = [(flag.value, f"[`{flag.name}`](#{flag.name.lower()})", text) for flag, text in FLAG_TEXT.items()]
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


def changelog():
    """Return the changelog without its title, with links that hold here."""
    text = (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2]
    return re.sub(r"\]\(docs/", "](../", text)


RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def sections(name, *titles, widths=None):
    """Return the tables of some sections of a committed benchmark, their first columns only if asked."""
    parts = re.split(r"^## ", (RESULTS / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {part.partition("\n")[0]: part for part in parts}
    lines = []
    for title in titles:
        text = next(part for head, part in found.items() if head.startswith(title))
        rows = [line for line in text.splitlines() if line.startswith("|")]
        if widths is not None:
            rows = ["|".join(line.split("|")[: widths + 1]) + "|" for line in rows]
        lines += ["", f"**{text.partition(chr(10))[0]}**", "", *rows]
    return "\n".join(lines)


VERSION = re.compile(r"^- this Hyper-Py.*?([0-9a-f]{7}) of (\d{4}-\d\d-\d\d)", re.MULTILINE)


def version_of(name):
    """Return which version of this program a committed benchmark says that it measured."""
    found = VERSION.search((RESULTS / name).read_text(encoding="utf-8"))
    return f"`{name}`: version {found[1]} of {found[2]}" if found else f"`{name}`: the version is not stated"


def paragraph(path, start):
    """Return the paragraph of a committed page that starts so, on one line; nothing if there is none."""
    text = path.read_text(encoding="utf-8")
    found = next((part for part in text.split("\n\n") if part.startswith(start)), "")
    return " ".join(found.split())


def measured():
    """Return what the results say about the versions that they were measured with."""
    return paragraph(RESULTS.parent / "RESULTS.md", "Measured with")


def finders():
    """Return the committed comparison with other finders: completeness, then photometry."""
    versions = ["completeness.md", "finders.md"]
    said = paragraph(RESULTS / "finders.md", "**With the present")
    note = [
        "```{admonition} Which version was measured",
        ":class: warning",
        *[f"- {version_of(one)}" for one in versions],
    ]
    note += ["", *([f"`finders.md` adds: {said}"] if said else []), "```", ""]
    summary = (RESULTS / "completeness.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = [line.rsplit("|", 2)[0] + "|" for line in summary.splitlines() if line.startswith("|")]
    rows = [*note, "### Completeness at equal purity", "", *rows]
    tables = sections("finders.md", "alma", "herschel", widths=10)
    tables = tables.replace("| completeness | purity |", "| found | true |")  # so that they fit the page
    return "\n".join(rows) + "\n\n### Photometry\n" + tables


GENERATED = {
    "configuration": reference_table,
    "columns": columns,
    "band_columns": band_columns,
    "flags": flags,
    "instruments": instruments,
    "changelog": changelog,
    "finders": finders,
    "measured": measured,
}
SHOWN = {
    "cli": ["main"],
    "config.original": ["ORIGINAL_DEFAULTS", "ORIGINAL_POLICY"],
    "reporting.notebook_figures": ["draw_map", "draw_source"],  # without what matplotlib's Figure has
}


def module_text(name):
    """Return the documentation of what a module defines."""
    module = import_module(f"hyper_py.{name}")
    here = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    members = SHOWN.get(name, [key for key in here if not key.startswith("_")])
    directive = [f".. automodule:: {module.__name__}", "   :no-index:"]
    if members:  # an empty list would mean all, and Sphinx fails on aliases of types
        directive.append(f"   :members: {', '.join(members)}")
    return "\n".join([f"## `{name}`", "", "```{eval-rst}", *directive, "```", ""])


def internal_pages():
    """Return a page for each package, and one for the modules that stand alone."""
    found = pkgutil.walk_packages(hyper_py.__path__, "hyper_py.")
    names = sorted(info.name.removeprefix("hyper_py.") for info in found if not info.ispkg)
    pages = {}
    for name in names:
        pages.setdefault(name.partition(".")[0] if "." in name else "modules", []).append(name)
    return {
        package: f"# {'Modules' if package == 'modules' else f'Package `{package}`'}\n\n"
        + "\n".join(map(module_text, modules))
        for package, modules in pages.items()
    }


def write(path, text):
    """Write a page; one that has not changed keeps its date, and is not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


folder = Path(__file__).parent / "generated"
for page, text in GENERATED.items():
    write(folder / f"{page}.inc.md", text() + "\n")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    for package, page_text in internal_pages().items():
        write(folder / "internals" / f"{package}.md", page_text)


def keep_bars(*arguments):
    """Keep |x| in a docstring from being taken for a reST substitution, of which there are none."""
    lines = arguments[-1]
    lines[:] = [line if "``" in line else line.replace("|", r"\|") for line in lines]


KEYWORDS = re.compile(r"(?:, \w+=unchanged){12,}")


def shorten(*arguments):
    """Put `**overrides` for keywords that would fill half a page; help and completion show them all."""
    signature, returned = arguments[-2:]
    short = KEYWORDS.sub(", **overrides", signature or "")
    return (short, returned) if short != (signature or "") else None


def elsewhere(app, env, node, content):  # noqa: ARG001 - Sphinx calls it so
    """Return a link to the reference of another package; no list of its names is loaded for it."""
    target = node.get("reftarget", "")
    pattern = ELSEWHERE.get(target.partition(".")[0]) if "." in target else None
    if pattern is None or not re.fullmatch(r"[a-z_.]+\.[A-Z]\w+|numpy\.ndarray", target):
        return None
    return nodes.reference("", "", content, internal=False, refuri=pattern.format(target))


def inline_math(translator, node):
    """Write an equation in a line as MathML, which browsers draw without a script."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(translator, node):
    """Write an equation that stands alone."""
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    """Put bars right before numpydoc reads the lines, and draw equations without a script from elsewhere."""
    app.connect("autodoc-process-docstring", keep_bars, priority=100)
    app.connect("autodoc-process-signature", shorten)
    app.connect("missing-reference", elsewhere)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))


html_math_renderer = "mathml"
