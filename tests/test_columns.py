"""Columns of any type, mask and spelling: the values that they mean, or one line that says why not."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from hyper_py.columns import column_angles, column_flags, column_numbers, column_unit
from hyper_py.diagnostics import InputError

FINITE = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6)


@given(FINITE, st.sampled_from(["floats", "texts", "objects", "masked", "masked texts", "quantity", "bytes"]))
def test_numbers_of_any_type(values, kind):
    texts = [repr(value) for value in values]
    column = {
        "floats": lambda: Table({"a": values})["a"],
        "texts": lambda: Table({"a": texts})["a"],
        "objects": lambda: np.array(values, dtype=object),
        "masked": lambda: MaskedColumn(values, mask=np.zeros(len(values), dtype=bool)),
        "masked texts": lambda: MaskedColumn(texts, mask=np.zeros(len(values), dtype=bool)),
        "quantity": lambda: QTable({"a": values * u.deg})["a"],
        "bytes": lambda: np.array([text.encode() for text in texts]),
    }[kind]()
    np.testing.assert_array_equal(column_numbers(column, where="a"), values)


@pytest.mark.parametrize("values", [[1.5, 2.5, 3.5], ["1.5", "x", "3.5"]])
def test_missing_values_are_nan_whatever_lies_below_the_mask(values):
    column = MaskedColumn(values, mask=[False, True, False])
    np.testing.assert_array_equal(column_numbers(column, where="a"), [1.5, np.nan, 3.5])


@pytest.mark.parametrize("values", [["1", "2", "x"], [[1.0, 2.0]] * 3, [1j, 2j, 3j]])
def test_what_is_no_number_is_named(values):
    with pytest.raises(InputError, match=r"t: column a has values that are not numbers( \(row 3\))?$"):
        column_numbers(Table({"a": values})["a"], where="t: column a")


@pytest.mark.parametrize(
    "values",
    [
        [True, False, True], [1, 0, 7], [1.0, 0.0, 2.0], ["True", "False", "true"], ["T", "F", "t"],
        ["yes", "no", "Y"], ["1", "0", "1"], [b"True", b"False", b"1"],
    ],
)  # fmt: skip
def test_yes_and_no_in_any_form(values):
    """As texts they come from CSV: `bool("False")` is true."""
    assert column_flags(np.array(values), where="a").tolist() == [True, False, True]
    masked = MaskedColumn(values, mask=[False, False, True])
    assert column_flags(masked, where="a").tolist() == [True, False, False]


def test_neither_yes_nor_no_is_refused():
    with pytest.raises(InputError, match=r"a has values that are neither true nor false \(row 2\)"):
        column_flags(np.array(["True", "perhaps"]), where="a")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("deg", u.deg), ("Degrees", u.deg), ("ARCSEC", u.arcsec), ("''", u.arcsec), ("'", u.arcmin),
        ("hourangle", u.hourangle), ("mJy", u.mJy), ("", None), ("--", None), ("10 arcsec", 10 * u.arcsec),
    ],
)  # fmt: skip
def test_spellings_of_units(text, unit):
    found = column_unit(np.ones(1), where="a", text=text)
    assert (found is None) if unit is None else found == unit


@pytest.mark.parametrize("text", ["dex(deg)", "mag(AB)", "furlongs", "deg deg deg("])
def test_units_without_a_meaning_are_refused(text):
    with pytest.raises(InputError, match=r"a is in '.*', which is (logarithmic|an unknown unit)"):
        column_unit(np.ones(1), where="a", text=text)


def test_an_hour_is_fifteen_degrees_of_right_ascension_only():
    hours = Table({"a": [1.0, 2.0]}, units={"a": "h"})["a"]
    found, is_known = column_angles(hours, unit=u.deg, where="a", kind="RA")
    np.testing.assert_allclose(found, [15.0, 30.0], rtol=1e-15)
    assert is_known
    with pytest.raises(InputError, match="a is in 'h', which is no angle"):
        column_angles(hours, unit=u.deg, where="a", kind="DEC")
