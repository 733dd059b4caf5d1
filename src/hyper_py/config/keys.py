"""What the sections say of every key: its meaning, what is allowed, what is wrong with a value."""

import difflib
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeGuard, get_args

from hyper_py.config.sections import Section


class Entry(NamedTuple):
    """A section or key: its path, what it means, what is allowed ("" for a section), its default."""

    path: str
    description: str
    allowed: str
    default: Any


@cache
def entries(model: type[Section]) -> dict[str, Entry]:
    """Return every section and key of a model by its path, in the order of the file."""
    schema = model.model_json_schema()
    schemas = {**schema["$defs"], model.__name__: schema}
    return {entry.path: entry for entry in _walk(model, "", schemas)}


def _walk(model: type[Section], prefix: str, schemas: Mapping[str, Any]) -> Iterator[Entry]:
    for name, field in model.model_fields.items():
        path, annotation = prefix + name, field.annotation
        section = next((cls for cls in (annotation, *get_args(annotation)) if is_section(cls)), None)
        if section is not None and section is annotation:
            yield Entry(path, section.__doc__ or "", "", None)
        else:
            default = None if field.is_required() else field.default
            allowed = _allowed(schemas[model.__name__]["properties"][name], schemas)
            yield Entry(path, field.description or "", allowed, default)
        if section is not None:
            yield from _walk(section, f"{path}.", schemas)


def is_section(annotation: Any) -> TypeGuard[type[Section]]:
    """Whether an annotation is a section rather than the type of a value."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _allowed(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema allows."""
    if "$ref" in schema:
        return _allowed(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return " or ".join(_allowed(part, schemas) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join("null" if value is None else str(value) for value in schema["enum"])
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])} numbers"
    if schema["type"] == "array":
        return f"a list of one or more, each {_allowed(schema['items'], schemas)}"
    if schema["type"] == "object" and "properties" not in schema:
        return "names of maps, each with sections and keys below it"
    if schema["type"] == "object":
        return "{" + ", ".join(schema["properties"]) + "}"
    if "minLength" in schema:
        return "a non-empty text"
    words = {
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
    }
    limits = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = " and ".join(f"{sign} {schema[name]:g}" for name, sign in limits.items() if name in schema)
    return f"{words.get(schema['type'], 'null')} {bounds}".strip()


def problem(model: type[Section], detail: Mapping[str, Any]) -> tuple[str, str]:
    """Return the key that a value is wrong for, and the rest of the line: what is wrong, what is allowed."""
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        path = ".".join(str(part) for part in detail["loc"] if part != "[key]")
        return path, f": unknown key; {_nearest(path, entries(model))}"
    path = ".".join(part for part in detail["loc"] if isinstance(part, str))
    while path not in entries(model):
        path = path.rpartition(".")[0]  # without the branch of a union
    if detail["type"] == "value_error":
        return path, f": {detail['ctx']['error']}"
    allowed = entries(model)[path].allowed or "a section, with keys below it"
    if detail["type"] == "missing":
        return path, f": missing; must be {allowed}"
    index = "".join(f"[{part}]" for part in detail["loc"] if isinstance(part, int))
    value = list(detail["input"]) if isinstance(detail["input"], tuple) else detail["input"]
    return path, f"{index} = {textwrap.shorten(repr(value), 60)}: must be {allowed}"


def _nearest(path: str, known: Mapping[str, Entry]) -> str:
    """Say which known key is nearest to an unknown one: of its very name, near in its section, anywhere."""
    section, _, name = path.rpartition(".")
    if ":" in path:
        return "a blank is missing after its colon"
    siblings = {other.rpartition(".")[2]: other for other in known if other.rpartition(".")[0] == section}
    everywhere = {other.rpartition(".")[2]: other for other in known}
    if name in everywhere:
        return f"the nearest known key is {everywhere[name]}"
    for candidates in (siblings, everywhere):
        for close in difflib.get_close_matches(name, candidates, n=1, cutoff=0.7):
            return f"the nearest known key is {candidates[close]}"
    return "known here are " + ", ".join(siblings)
