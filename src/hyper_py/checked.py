"""Frozen dataclasses that check their values when they are made, by hand or from a mapping.

The annotation of a field says what is allowed, `option` its default and what it means. Checks, error
messages, docstrings, the template of the configuration file and its reference are made from these.
"""

import difflib
import inspect
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    TypeAlias,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from hyper_py.diagnostics import ConfigurationError
from hyper_py.display import Summary

T = TypeVar("T")


class Range(NamedTuple):
    """What a number, or the length of a list, is confined to."""

    above: float = -math.inf
    at_least: float = -math.inf
    at_most: float = math.inf

    def holds(self, value: Any) -> bool:
        """Whether a number, or the length of a list, is in the range."""
        number = len(value) if isinstance(value, tuple) else value
        return bool(self.above < number and self.at_least <= number <= self.at_most)

    def __str__(self) -> str:
        limits = {">": self.above, ">=": self.at_least, "<=": self.at_most}
        return " and ".join(f"{sign} {limit:g}" for sign, limit in limits.items() if math.isfinite(limit))


Positive: TypeAlias = Annotated[float, Range(above=0)]
NonNegative: TypeAlias = Annotated[float, Range(at_least=0)]
Count: TypeAlias = Annotated[int, Range(at_least=0)]
AtLeastOne: TypeAlias = Annotated[int, Range(at_least=1)]
Many = Annotated[tuple[T, ...], Range(at_least=1)]


def option(default: Any, description: str) -> Any:
    """Return a field with its default (or `dataclasses.MISSING`) and what it means, with its unit."""
    metadata = {"description": description}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def section(cls: type["Checked"]) -> Any:
    """Return a field for a section, with all its options at their defaults."""
    return field(default_factory=cls)


def same_option(cls: type["Checked"], name: str) -> Any:
    """Return a field with default and meaning of a field of another class."""
    other = cls.__dataclass_fields__[name]
    return field(default=other.default, metadata=other.metadata)


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """Base of all options: values that are not allowed are refused when one is made.

    `key_path` is where the class stands in the configuration file, such as "detection"; "" for the whole.
    """

    key_path: ClassVar[str] = ""

    def __init_subclass__(cls, *, key_path: str | None = None) -> None:
        if key_path is not None:
            cls.key_path = key_path
        cls.__repr__ = Checked.__repr__  # type: ignore[method-assign] # or dataclass makes one

    def __post_init__(self) -> None:
        """Take what is allowed as the type that is asked for; refuse the rest.

        Raises
        ------
        ConfigurationError
            One line for each wrong value: key, value, what is allowed.
        """
        values, faults = _checked(type(self), vars(self), root=type(self))
        if faults:
            raise ConfigurationError("\n".join(faults))
        for name, value in values.items():
            object.__setattr__(self, name, value)
        where = f"{self.key_path}: " if self.key_path else ""
        if conflicts := [f"{where}{what}" for what in self.conflicts()]:
            raise ConfigurationError("\n".join(conflicts))

    def changed(self) -> dict[str, Any]:
        """Return the values that are not at their defaults, of sections as dictionaries."""
        found: dict[str, Any] = {}
        for name in _kinds(type(self)):
            value, default = getattr(self, name), _default(type(self), name)
            if isinstance(value, Checked):
                value, default = value.changed(), {}
            if value != default:
                found[name] = value
        return found

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.changed().items())
        return f"{type(self).__name__}({values})"

    def _repr_html_(self) -> str:
        rows = tuple(
            (
                entry.path,
                str(_value_at(self, entry.path.removeprefix(f"{self.key_path}."))),
                entry.description,
            )
            for entry in entries(type(self)).values()
            if entry.allowed
        )
        title = f"{self!r}: values not shown here are at their defaults"
        return Summary(title=title, header=("key", "value", "meaning"), rows=rows).html()

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with the values together, and what to do."""
        yield from ()

    @classmethod
    def from_values(cls, values: Mapping[Any, Any], *, root: type["Checked"] | None = None) -> Self:
        """Return what a mapping of names and values, as read from YAML, stands for.

        Parameters
        ----------
        values : mapping
            Sections are mappings themselves, or None for one with all keys at their defaults.
        root : type, optional
            Of which unknown keys are said what the nearest one is; this class if not given.

        Raises
        ------
        ConfigurationError
            One line for each wrong value and unknown key.
        """
        root = root or cls
        accepted, faults = _checked(cls, values, root=root)
        known = _kinds(cls)
        unknown = [_path(cls, textwrap.shorten(str(name), 60)) for name in values if name not in known]
        hints = [nearest_key(path, entries(root)) for path in unknown]
        faults += [f"{path}: unknown key; {hint}" for path, hint in zip(unknown, hints, strict=True)]
        # The nearest may be the wrong one.
        if cls.key_path and any("nearest" in hint for hint in hints):
            faults.append(f"{cls.key_path}: its keys are {', '.join(known)}")
        if faults:
            raise ConfigurationError("\n".join(faults))
        return cls(**accepted)

    def to_mapping(self) -> dict[str, Any]:
        """Return names and values as JSON and YAML have them: sections as mappings, tuples as lists."""
        return {name: _plain(getattr(self, name)) for name in _kinds(type(self))}


def is_section(kind: Any) -> TypeGuard[type[Checked]]:
    """Whether an annotation is a class of options rather than the type of a value."""
    return isinstance(kind, type) and issubclass(kind, Checked)


_KINDS: dict[type, dict[str, Any]] = {}


def _kinds(cls: type[Checked]) -> dict[str, Any]:
    """Return the annotations of the fields that are options, by name."""
    if cls not in _KINDS:
        hints = get_type_hints(cls, include_extras=True)
        _KINDS[cls] = {item.name: hints[item.name] for item in fields(cls) if not item.name.startswith("_")}
    return _KINDS[cls]


def _path(cls: type[Checked], name: str) -> str:
    return f"{cls.key_path}.{name}".lstrip(".")


def _value_at(options: Checked, path: str) -> Any:
    value: Any = options
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Checked):
        return value.to_mapping()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


# ------------------------------------------------------------------------------------------------ the check


class _WrongValue(Exception):  # noqa: N818 - never seen by a user
    """A value that is not allowed, and where in a list it is."""

    def __init__(self, value: Any, index: str = "") -> None:
        super().__init__(value, index)
        self.value, self.index = value, index


def _checked(
    cls: type[Checked], values: Mapping[Any, Any], *, root: type[Checked]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of known names as the types that are asked for, and a line for each wrong one."""
    accepted: dict[str, Any] = {}
    faults: list[str] = []
    for name, kind in _kinds(cls).items():
        path = _path(cls, name)
        if name in values:
            try:
                accepted[name] = _accepted(kind, values[name], root)
            except ConfigurationError as error:
                faults += str(error).splitlines()
            except _WrongValue as wrong:
                allowed = "a section, with keys below it" if is_section(kind) else what_is_allowed(kind)
                given = list(wrong.value) if isinstance(wrong.value, tuple) else wrong.value
                meant = _nearest_word(kind, wrong.value)
                shown = textwrap.shorten(repr(given), 60)
                faults.append(f"{path}{wrong.index} = {shown}: must be {allowed}{meant}")
        elif _default(cls, name) is MISSING:
            faults.append(f"{path}: missing; must be {what_is_allowed(kind)}")
    return accepted, faults


def _default(cls: type[Checked], name: str) -> Any:
    item = cls.__dataclass_fields__[name]
    return item.default if item.default_factory is MISSING else item.default_factory()


def _accepted(kind: Any, value: Any, root: type[Checked]) -> Any:
    """Return a value as an annotation asks for it.

    Raises
    ------
    _WrongValue
        If it is not allowed.
    ConfigurationError
        If something is wrong in a section.
    """
    if type(value).__module__ == "numpy":
        value = value.tolist()
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner = _accepted(parts[0], value, root)
        if not all(limit.holds(inner) for limit in parts[1:]):
            raise _WrongValue(value)
        return inner
    if origin is Literal:
        return _as_word(parts, value)
    if origin in (Union, UnionType):
        return None if value is None and NoneType in parts else _of_union(parts, value, root)
    if origin is tuple:
        return _as_tuple(parts, value, root)
    if origin is dict:
        return _as_sections_by_name(value)
    if is_section(kind):
        return _as_section(kind, value, root)
    return _as_number(kind, value) if kind in (int, float) else _as_it_is(kind, value)


def _as_word(words: tuple[Any, ...], value: Any) -> Any:
    for word in words:
        if type(word) is type(value) and word == value:
            return word
    raise _WrongValue(value)


def _of_union(parts: tuple[Any, ...], value: Any, root: type[Checked]) -> Any:
    for part in parts:
        try:
            return _accepted(part, value, root)
        except _WrongValue:
            pass
    raise _WrongValue(value)


def _as_tuple(parts: tuple[Any, ...], value: Any, root: type[Checked]) -> tuple[Any, ...]:
    """Take a list, or one value for a list of one value."""
    is_list = isinstance(value, (list, tuple, range))
    given = tuple(value) if is_list else (value,)
    kinds = (parts[0],) * len(given) if parts[-1] is ... else parts
    if len(kinds) != len(given):
        raise _WrongValue(value)
    accepted = []
    for k, (kind, item) in enumerate(zip(kinds, given, strict=True)):
        try:
            accepted.append(_accepted(kind, item, root))
        except _WrongValue:
            raise _WrongValue(item, f"[{k}]" if is_list else "") from None
    return tuple(accepted)


def _as_section(kind: type[Checked], value: Any, root: type[Checked]) -> Checked:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping | None):
        raise _WrongValue(value)
    return kind.from_values(value or {}, root=root)


def _as_number(kind: type, value: Any) -> Any:
    """Take a whole number for a number, 5e4 for a whole number; nothing infinite."""
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    try:
        as_float = float(number)
    except OverflowError:
        raise _WrongValue(value) from None
    if not math.isfinite(as_float) or (kind is int and not as_float.is_integer()):
        raise _WrongValue(value)
    return int(number) if kind is int else as_float


def _as_it_is(kind: type, value: Any) -> Any:
    if isinstance(value, kind) and not (kind is str and not value):
        return value
    raise _WrongValue(value)


def _as_sections_by_name(value: Any) -> Any:
    inner = list(value.values()) if isinstance(value, Mapping) else [None]
    names = [name for mapping in (value, *inner) if isinstance(mapping, Mapping) for name in mapping]
    if all(isinstance(part, Mapping) for part in inner) and all(isinstance(name, str) for name in names):
        return value
    raise _WrongValue(value)


# ------------------------------------------------------------------------------------------------ in words


class Entry(NamedTuple):
    """A section or key: its path, what it means, what is allowed ("" for a section), its default."""

    path: str
    description: str
    allowed: str
    default: Any


def entries(cls: type[Checked]) -> dict[str, Entry]:
    """Return every section and key below a class of options by its path, in the order of its fields."""
    found: dict[str, Entry] = {}
    for name, kind in _kinds(cls).items():
        path = _path(cls, name)
        section = next((part for part in (kind, *get_args(kind)) if is_section(part)), None)
        if section is not None and section is kind:
            found[path] = Entry(path, summary(section), "", None)
        else:
            default, metadata = _default(cls, name), cls.__dataclass_fields__[name].metadata
            found[path] = Entry(
                path,
                metadata.get("description", ""),
                what_is_allowed(kind),
                None if default is MISSING else default,
            )
        if section is not None:
            found |= entries(section)
    return found


def summary(cls: type[Checked]) -> str:
    """Return what a section is about: the first paragraph of its docstring, or of the options it adds to."""
    first = [base for base in cls.__mro__ if is_section(base) and base is not Checked][-1]
    return inspect.cleandoc(first.__doc__ or "").partition("\n\n")[0]


def document(*classes: type[Checked]) -> None:
    """Put what the fields of classes mean into their docstrings."""
    for cls in classes:
        text, examples, shown = inspect.cleandoc(cls.__doc__ or "").partition("\nExamples\n--------\n")
        lines = [text.rstrip(), "", "Attributes", "----------"]
        for name, kind in _kinds(cls).items():
            if is_section(kind):
                lines += [f"{name} : {kind.__name__}", f"    {summary(kind)}"]
                continue
            description = cls.__dataclass_fields__[name].metadata["description"]
            default = _default(cls, name)
            ending = "" if default is MISSING else f"; default {default!r}"
            lines.append(f"{name} : {what_is_allowed(kind)}{ending}")
            lines += textwrap.wrap(description, 100, initial_indent="    ", subsequent_indent="    ")
        cls.__doc__ = "\n".join(lines) + "\n" + examples + shown


def what_is_allowed(kind: Any) -> str:
    """Say in words what an annotation allows."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated and get_origin(parts[0]) is tuple:
        return f"a list of one or more, each {what_is_allowed(get_args(parts[0])[0])}"
    if origin is Annotated:
        return f"{what_is_allowed(parts[0])} {' and '.join(str(limit) for limit in parts[1:])}"
    if origin is Literal:
        return "one of " + ", ".join("null" if word is None else str(word) for word in parts)
    if origin in (Union, UnionType):
        return " or ".join(what_is_allowed(part) for part in parts)
    if origin is tuple and parts[-1] is ...:
        return f"a list, each {what_is_allowed(parts[0])}"
    if origin is tuple:
        return f"a list of {len(parts)} numbers"
    if origin is dict:
        return "names of maps, each with sections and keys below it"
    if is_section(kind):
        return "{" + ", ".join(_kinds(kind)) + "}"
    words = {
        bool: "true or false", int: "a whole number", float: "a number", str: "a non-empty text",
        NoneType: "null",
    }  # fmt: skip
    return words.get(kind, f"a {kind.__name__}")


def _nearest_word(kind: Any, value: Any) -> str:
    """Ask whether the nearest of the words that are allowed is meant."""
    close = difflib.get_close_matches(value.lower(), _words(kind), n=1) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _words(kind: Any) -> list[str]:
    return [kind] if isinstance(kind, str) else [word for part in get_args(kind) for word in _words(part)]


def nearest_key(path: str, known: dict[str, Entry]) -> str:
    """Say which known key is nearest to an unknown one: of its very name, near in its section, anywhere."""
    section, _, name = path.rpartition(".")
    if ":" in path:
        return "a blank is missing after its colon"
    siblings = {other.rpartition(".")[2]: other for other in known if other.rpartition(".")[0] == section}
    everywhere = {other.rpartition(".")[2]: other for other in reversed(known)}  # the first of each name
    if name in everywhere:
        return f"the nearest known key is {everywhere[name]}"
    for candidates in (siblings, everywhere):
        for close in difflib.get_close_matches(name, candidates, n=1, cutoff=0.7):
            return f"the nearest known key is {candidates[close]}"
    return "known here are " + ", ".join(siblings)
