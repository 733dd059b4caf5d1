"""The commented template of a configuration file, and the reference of its keys for the documentation."""

import inspect
import textwrap
from typing import Any

import yaml

from hyper_py.checked import Entry, entries, summary
from hyper_py.config.maps import MapKeys, map_keys
from hyper_py.config.model import Config
from hyper_py.config.original import ORIGINAL_DEFAULTS


def _as_yaml(value: Any) -> str:
    """Return a default as it stands in a YAML file, on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def template() -> str:
    """Return a configuration file with every key at its default, and comments that explain them."""
    lines = [f"# {line}".rstrip() for line in [*inspect.cleandoc(Config.__doc__ or "").splitlines(), ""]]
    known = entries(Config)
    for entry in known.values():
        section, _, name = entry.path.rpartition(".")
        indent = "  " * entry.path.count(".")
        if entry.allowed == "":
            lines += ["", f"{indent}# {entry.description}", f"{indent}{name}:"]
        elif not section or known[section].allowed == "":
            obvious = entry.allowed in ("a non-empty text", "true or false")
            comment = entry.description if obvious else f"{entry.description} ({entry.allowed})"
            lines += [f"{indent}# {line}" for line in textwrap.wrap(comment, 98)]
            lines.append(f"{indent}{name}: {_as_yaml(entry.default)}")
            if entry.path == "maps":
                lines += _keys_of_a_map()
    return "\n".join(lines) + "\n"


def _keys_of_a_map() -> list[str]:
    """Return comments that explain the short keys of `maps`."""
    lines = ["#   NAME:"]
    for entry in map_keys().values():
        name = entry.path.removeprefix("maps.NAME.")
        if "." not in name:
            text = f"{name}: {_as_yaml(entry.default)}  # {entry.description} ({entry.allowed})"
            lines += [f"#     {line}" for line in textwrap.wrap(text, 94, subsequent_indent="#   ")]
    return lines


def reference_table() -> str:
    """Return Markdown for the documentation: a heading and a table for each section, a row for each key."""
    lines: list[str] = []
    table = None
    maps = Entry("maps.NAME", summary(MapKeys), "", None)
    known = {**entries(Config), "maps.NAME": maps, **map_keys()}
    for entry in known.values():
        section, _, name = entry.path.rpartition(".")
        if entry.allowed == "" or section.startswith("maps.NAME."):
            continue
        if section != table:
            title, text = (f"`{section}`", known[section].description) if section else ("Top level", "")
            lines += ["", f"## {title}", "", text, ""]
            lines += ["| Key | Default | Original | Allowed | Meaning |", "|---|---|---|---|---|"]
            table = section
        originals = ORIGINAL_DEFAULTS.get(section, {}) if section else ORIGINAL_DEFAULTS
        codes = (name, _as_yaml(entry.default), _as_yaml(originals.get(name, entry.default)))
        cells = [*(f"`{code}`" for code in codes), entry.allowed, entry.description]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines).strip() + "\n"
