"""Results as bytes: what comes back is what went in, and nothing that somebody else writes is called."""

import json
import pickle
import struct
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hyper_py.detection.maxima import Maxima
from hyper_py.diagnostics import Flag, HyperPyWarning
from hyper_py.numerics.plain_bytes import DamagedBytesError, from_bytes, to_bytes
from hyper_py.numerics.solvers import FitStatus
from hyper_py.photometry.aperture import GroupPhotometry

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner)
    ),
)
dtypes = st.sampled_from(["f8", ">f4", "c16", "i2", "u8", "?", "U3", "S2", "M8[s]", "f8,i4", "(2,)f8,U2"])


@given(plain)
def test_plain_values_come_back_with_their_types(value):
    again = from_bytes(to_bytes(value))
    assert repr(again) == repr(value)
    assert again == value


@given(arrays.arrays(dtypes, arrays.array_shapes(min_dims=0, min_side=0)), st.booleans())
def test_arrays_come_back_bit_for_bit(array, columns_first):
    array = np.asfortranarray(array) if columns_first else array
    again = from_bytes(to_bytes(array))
    assert (again.dtype, again.shape, again.strides) == (array.dtype, array.shape, array.strides)
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable


def test_what_parts_of_maps_give_comes_back():
    value = {
        "numbers": [np.float64(np.nan), np.float32(0.1), np.int64(3), np.bool_(True), np.str_("é"), np.inf],
        "slices": (slice(1, 2), slice(None), [slice(np.int64(3), None, -1)]),
        "classes": (FitStatus(1), Flag(5), HyperPyWarning, UserWarning, np.dtype("f4")),
        "named": Maxima(*(np.arange(k) for k in range(len(Maxima._fields)))),
        "sets": [{1, "b"}, frozenset([-5, 3])],
        "objects": np.array([None, "a", [1.0]], dtype=object),
        "read": np.frombuffer(b"12345678"),
        "view": np.arange(12.0).reshape(3, 4)[:, ::2],
    }
    again = from_bytes(to_bytes(value))
    assert pickle.dumps(again["numbers"]) == pickle.dumps(value["numbers"])
    assert (again["slices"], again["classes"]) == (value["slices"], value["classes"])
    assert again["sets"] == value["sets"]
    assert [type(one) for one in again["sets"]] == [set, frozenset]
    assert type(again["named"]) is Maxima
    for one, other in zip(again["named"], value["named"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert again["objects"].tolist() == [None, "a", [1.0]]
    assert not again["read"].flags.writeable
    np.testing.assert_array_equal(again["view"], value["view"])


def test_an_object_gets_its_attributes_and_what_was_one_is_one():
    values = {name: np.arange(3.0) for name in GroupPhotometry.__dataclass_fields__}
    first = GroupPhotometry(**values)
    loop = [first, {"again": first}]
    loop.append(loop)
    again = from_bytes(to_bytes(loop))
    assert again[1]["again"] is again[0]
    assert again[2] is again
    assert vars(again[0]).keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(getattr(again[0], name), value)


@dataclass
class OfTests:
    x: float = 1.0


class Numbers(IntEnum):
    ONE = 1


class Pair(NamedTuple):
    x: float = 1.0


@pytest.mark.parametrize(
    "value", [OfTests(), OfTests, Numbers.ONE, Pair(), print, open, iter([]), np.dtype("O"), np.ma.ones(2)]
)
def test_what_is_no_result_is_not_written(value):
    with pytest.raises(TypeError):
        to_bytes([value])


def written(tree, parts=b""):
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return struct.pack("<Q", len(text)) + text + parts


OWN = "hyper_py.numerics.tiles"
HOSTILE = {
    "class of a class": ["class", OWN, "np.f2py.subprocess.Popen"],
    "what a module imports": ["class", "hyper_py.numerics.answers", "Any"],
    "module in a module": ["class", "hyper_py.numerics.tiles.np", "ndarray"],
    "function": ["class", OWN, "tiles"],
    "module that is not imported": ["class", "antigravity", "Warning"],
    "class of files": ["object", "hyper_py.numerics.journal", "Journal", ["dict"]],
    "class elsewhere": ["object", "subprocess", "Popen", ["dict"]],
    "command line": ["object", "hyper_py.cli", "x", ["dict"]],
    "class of an object": [
        "object", "hyper_py.photometry.aperture", "GroupPhotometry",
        ["dict", "__class__", ["class", "hyper_py.fitting.groups", "GroupFit"]],
    ],
    "state that is none": ["object", "hyper_py.photometry.aperture", "GroupPhotometry", 3],
    "too few": ["named", "hyper_py.detection.maxima", "Maxima", 1],
    "no tuple": ["named", "hyper_py.photometry.aperture", "GroupPhotometry"],
    "no enumeration": ["enum", "hyper_py.photometry.aperture", "GroupPhotometry", 1],
    "no such number": ["enum", "hyper_py.numerics.solvers", "FitStatus", 10**6],
    "kind": ["reduce", 1], "kind of a kind": [["list"], 1], "nothing": [], "dict": {"a": 1},
    "odd": ["dict", 1], "key": ["dict", ["list"], 1], "reference": ["same", 7], "text": ["same", "a"],
    "array": ["array", "f8", [10**12], "C", True, 8 * 10**12],
    "shape": ["array", "f8", [10**12], "C", True, 8],
    "negative": ["array", "f8", [2], "C", True, -8],
    "objects": ["array", "O", [1], "C", True, 8],
    "pickled": ["array", [["x", "O"]], [1], "C", True, 8],
    "objects without end": ["objects", [10**12], 1],
    "scalar": ["scalar", "O", 8],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tree_that_somebody_else_has_written_is_refused(name):
    tracemalloc.start()
    try:
        with pytest.raises(DamagedBytesError):
            from_bytes(written(HOSTILE[name], bytes(8)))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [b"", b"12345678", written(b"[" * 10**6), written(b"\xff"), written(b"[1")])
def test_bytes_of_something_else_are_refused(text):
    with pytest.raises(DamagedBytesError):
        from_bytes(text)


def test_no_damage_does_more_than_change_values(rng):
    text = to_bytes({"a": [np.arange(5.0), (1, "b", FitStatus(1))], "c": HyperPyWarning})
    for _ in range(2000):
        damaged = bytearray(text)
        for place in rng.integers(len(text), size=int(rng.integers(1, 4))):
            damaged[place] = rng.integers(256)
        with suppress(DamagedBytesError):
            from_bytes(bytes(damaged))
