"""YAML texts and `section.key=value` settings, as mappings of sections and keys."""

import copy
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.files import read_small

_MOST_VALUES = 20_000
"""Of a text with aliases; there are some 200 keys."""
_MOST_NESTED = 50
"""Brackets within brackets: the parser's time grows with the square of their number."""
_LARGEST_FILE = 20_000_000


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-8 is a number, 12:30 is none, and no key may stand twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [
            (tag, regexp) for tag, regexp in resolvers if not tag.endswith((":int", ":float", ":timestamp"))
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        """Begin a list or mapping in brackets, if it is not within too many others."""
        if self.flow_level >= _MOST_NESTED:
            raise yaml.MarkedYAMLError(
                problem=f"brackets within {_MOST_NESTED} others", problem_mark=self.get_mark()
            )
        super().fetch_flow_collection_start(TokenClass)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping, if each key is there only once."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            name = str(key_node.value)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {name!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def parse_yaml(text: str, *, source: str) -> Any:
    """Return the value of a YAML text.

    Raises
    ------
    ConfigurationError
        If the text is no YAML, or has a key twice; the message names `source` and the line.
    """
    try:
        _refuse_bombs(text, source)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{source}{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigurationError(f"{source}: not a YAML text") from None


def _refuse_bombs(text: str, source: str) -> None:
    """Refuse a text whose aliases (`*name`) stand for many times what is written there, or for themselves."""
    if "*" not in text:
        return
    sizes: dict[int, int] = {}

    def size(node: yaml.Node | None) -> int:
        if node is None or isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = _MOST_VALUES  # until it is known: of an alias for itself, for ever
            pairs = node.value if isinstance(node, yaml.MappingNode) else [(None, one) for one in node.value]
            sizes[id(node)] = 1 + sum(size(key) + size(value) for key, value in pairs)
        return sizes[id(node)]

    if size(yaml.compose(text, Loader=_Loader)) >= _MOST_VALUES:
        raise ConfigurationError(
            f"{source}: its aliases (*name) stand for more than {_MOST_VALUES} values: write them out"
        )


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the sections and keys of a configuration file, as they stand there.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or holds anything but sections and keys.
    """
    try:
        text = read_small(path, most=_LARGEST_FILE).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file; `hyper-py init` writes a configuration") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not a text file, so no configuration") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except InputError as error:
        raise ConfigurationError(str(error)) from None
    mapping = parse_yaml(text, source=str(path))
    if mapping is None:
        raise ConfigurationError(f"{path}: empty; `hyper-py init` writes a configuration")
    if not isinstance(mapping, dict):
        raise ConfigurationError(f"{path}: must hold sections such as `detection:` with keys below them")
    return mapping


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a mapping with keys set, each given as `section.key=value`.

    Parameters
    ----------
    mapping : mapping
        Sections and keys; not changed.
    overrides : sequence of str
        Values are read as YAML: numbers, true, null, [1, 2], {major: 18.2}. Later ones win.

    Raises
    ------
    ConfigurationError
        If one is not of that form. Whether a key exists is left to `Config.from_mapping`.
    """
    result: dict[str, Any] = copy.deepcopy(dict(mapping))
    for override in overrides:
        path, equals, text = override.partition("=")
        *sections, name = (part.strip() for part in path.split("."))
        if not equals or not all((*sections, name)):
            raise ConfigurationError(f"--set {override!r}: must be of the form section.key=value")
        place = result
        for section in sections:
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
            if not isinstance(place, dict):
                raise ConfigurationError(f"--set {override!r}: {section} = {place!r} is not a section")
        place[name] = parse_yaml(text, source=f"--set {override!r}")
    return result


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with everything in `above` laid over it, section by section."""
    result = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], Mapping) and isinstance(above[name], Mapping | None):
            result[name] = merged(below[name], above[name] or {})
    return result
