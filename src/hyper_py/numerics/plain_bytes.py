"""Results of parts of maps as bytes, and back: values, arrays and result classes; no code is ever called.

The bytes may come from anybody, so they are not a pickle, which calls what it is told to. They are a tree in
JSON and the bytes of all arrays after it. Of a class only its name is there, and it must be one of those that
this program has results of; its instances get their attributes back and nothing is called. No array takes
more memory than there are bytes for it.
"""

import importlib
import json
import re
import struct
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<Q")
_PACKAGES = (
    "arrays", "diagnostics", "numerics", "noise", "detection", "psf", "background", "fitting", "deblending",
    "photometry",
)  # fmt: skip
"""Those whose functions do parts of maps."""
_OWN = re.compile(rf"hyper_py\.({'|'.join(_PACKAGES)})(\.\w+)*")
_WITH_FILES = tuple(
    f"hyper_py.numerics.{name}" for name in ("forked", "journal", "parallel", "sending", "stored")
)
_OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
_ITEMS: dict[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}

Node: TypeAlias = Any
"""What JSON holds: a plain value, or a list of a kind and what belongs to it."""


class DamagedBytesError(ValueError):
    """These bytes are not as `to_bytes` writes them."""


def to_bytes(value: Any) -> bytes:
    """Return bytes from which `from_bytes` makes a value again.

    What is there twice in it is there twice in the copy; arrays keep the order of their axes in memory.

    Raises
    ------
    TypeError
        There is something in it that is neither a plain value, nor an array, nor of a class of results.
    """
    writer = _Writer()
    tree = json.dumps(writer.node(value), separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(tree)), tree, *writer.parts))


def from_bytes(text: bytes) -> Any:
    """Return the value that `to_bytes` was called with.

    Raises
    ------
    DamagedBytesError
        The bytes are something else.
    """
    try:
        (length,) = _LENGTH.unpack_from(text)
        tree = json.loads(text[_LENGTH.size : _LENGTH.size + length])
        return _Reader(memoryview(text)[_LENGTH.size + length :]).value(tree)
    except DamagedBytesError:
        raise
    except Exception as error:  # whatever may be wrong with bytes from anybody
        raise DamagedBytesError(f"{type(error).__name__}: {error}") from None


class _Writer:
    """Makes the tree of a value, and collects the bytes of its arrays."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._known: dict[int, tuple[int, Any]] = {}

    def node(self, value: Any) -> Node:
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if id(value) in self._known:
            return ["same", self._known[id(value)][0]]
        # Kept with its number: a value that goes may leave its id to another.
        self._known[id(value)] = len(self._known), value
        if kind in (list, tuple, set, frozenset):
            return [kind.__name__, *map(self.node, value)]
        if kind is dict:
            return ["dict", *(self.node(one) for item in value.items() for one in item)]
        if kind is complex:
            return ["complex", value.real, value.imag]
        if kind is slice:
            return ["slice", *map(self.node, (value.start, value.stop, value.step))]
        if kind is bytes:
            return ["bytes", self._add(value)]
        if kind is np.ndarray:
            return self._array(value)
        if isinstance(value, np.dtype):
            return ["dtype", _of_dtype(value)]
        if isinstance(value, np.generic):
            return ["scalar", _of_dtype(value.dtype), self._add(value.tobytes())]
        return self._of_class(value)

    def _of_class(self, value: Any) -> Node:
        if isinstance(value, type):
            return ["class", *_name_of(value)]
        name = _name_of(type(value))
        if isinstance(value, Enum):
            return ["enum", *name, self.node(value.value)]
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return ["named", *name, *map(self.node, value)]
        if any(how in vars(kind) for kind in type(value).__mro__[:-1] for how in _OWN_WAYS):
            raise TypeError(f"{type(value).__name__} says itself how it is copied")
        state = value.__getstate__()
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        return ["object", *name, self.node({**(attributes or {}), **(slots or {})})]

    def _array(self, array: NDArray[Any]) -> Node:
        if array.dtype == object:
            return ["objects", list(array.shape), *map(self.node, array.ravel().tolist())]
        order: Literal["F", "C"] = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        facts = [_of_dtype(array.dtype), list(array.shape), order, array.flags.writeable]
        return ["array", *facts, self._add(array.tobytes(order))]

    def _add(self, part: bytes) -> int:
        self.parts.append(part)
        return len(part)


class _Reader:
    """Makes a value from its tree and the bytes of its arrays, which follow one another."""

    def __init__(self, parts: memoryview) -> None:
        self._parts, self._place = parts, 0
        self._known: list[Any] = []

    def value(self, node: Node) -> Any:
        if not isinstance(node, list):
            if isinstance(node, dict):
                raise DamagedBytesError("an object of JSON")
            return node
        kind, *parts = node
        if kind == "same":
            return self._known[parts[0]]
        number = len(self._known)
        self._known.append(None)
        made = self._made(kind, parts, number)
        self._known[number] = made
        return made

    def _made(self, kind: str, parts: list[Node], number: int) -> Any:
        made: Any
        match kind:
            case "list":
                made = self._known[number] = []
                made.extend(map(self.value, parts))
                return made
            case "tuple" | "set" | "frozenset":
                return _ITEMS[kind]([self.value(one) for one in parts])
            case "dict":
                made = self._known[number] = {}
                values = map(self.value, parts)
                made.update(zip(values, values, strict=True))
                return made
            case "complex":
                return complex(*parts)
            case "slice":
                return slice(*map(self.value, parts))
            case "bytes":
                return bytes(self._next(parts[0]))
            case "array":
                return self._array(*parts)
            case "objects":
                made = self._known[number] = np.empty(len(parts) - 1, dtype=object)
                made[:] = [self.value(one) for one in parts[1:]]
                return made.reshape(parts[0])
            case "dtype":
                return _dtype(parts[0])
            case "scalar":
                return np.frombuffer(self._next(parts[1]), _dtype(parts[0]), 1)[0]
            case "class":
                return _class(*parts)
            case "enum":
                return _class(*parts[:2], base=Enum)(self.value(parts[2]))
            case "named":
                return _named(_class(*parts[:2], base=tuple), [self.value(one) for one in parts[2:]])
            case "object":
                made = self._known[number] = object.__new__(_class(*parts[:2]))
                for name, one in self.value(parts[2]).items():
                    if name.startswith("__"):
                        raise DamagedBytesError(f"{name} is no attribute of a result")
                    object.__setattr__(made, name, one)
                return made
        raise DamagedBytesError(f"'{kind}' is no kind of value")

    def _next(self, length: int) -> memoryview:
        part = self._parts[self._place : self._place + length]
        if length < 0 or len(part) != length:
            raise DamagedBytesError("an array is cut short")
        self._place += length
        return part

    def _array(self, dtype: Node, shape: list[int], order: Any, writeable: bool, length: int) -> NDArray[Any]:
        flat = np.frombuffer(self._next(length), _dtype(dtype)) if length else np.empty(0, _dtype(dtype))
        array = flat.reshape(shape, order=order).copy(order=order)
        array.flags.writeable = bool(writeable)
        return array


def _of_dtype(dtype: np.dtype[Any]) -> Node:
    if dtype.hasobject:
        raise TypeError(f"{dtype} holds objects")
    return np.lib.format.dtype_to_descr(dtype)


def _dtype(descr: Node) -> np.dtype[Any]:
    dtype = np.lib.format.descr_to_dtype(_as_tuples(descr))
    if dtype.hasobject:
        raise DamagedBytesError(f"{dtype} holds objects")
    return dtype


def _as_tuples(descr: Node) -> Any:
    """Return the description of a dtype as NumPy writes it: JSON knows no tuples."""
    if isinstance(descr, str):
        return descr
    return [
        (tuple(name) if isinstance(name, list) else name, _as_tuples(of), *map(tuple, shape))
        for name, of, *shape in descr
    ]


def _name_of(kind: type) -> tuple[str, str]:
    name = kind.__module__, kind.__qualname__
    try:
        _class(*name)
    except DamagedBytesError as error:
        raise TypeError(str(error)) from None
    return name


def _class(module: str, name: str, *, base: type = object) -> type:
    """Return a class of results, or of warnings; those that its module has imported are not its own."""
    is_own = _OWN.fullmatch(module) is not None and module not in _WITH_FILES
    source = importlib.import_module(module) if is_own else sys.modules.get(module)
    found = vars(source).get(name) if source is not None else None
    if (
        not isinstance(found, type)
        or (found.__module__, found.__qualname__) != (module, name)
        or not issubclass(found, base if is_own else Warning)
    ):
        raise DamagedBytesError(f"{module}.{name} is no class of results")
    return found


def _named(kind: type, items: list[Any]) -> Any:
    if len(items) != len(getattr(kind, "_fields", ())):
        raise DamagedBytesError(f"{kind.__name__} is no named tuple of {len(items)}")
    return tuple.__new__(kind, items)
