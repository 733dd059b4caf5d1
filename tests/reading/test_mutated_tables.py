"""Tables of given sources mutated at random: read rightly, or refused in one line.

The referee knows what each table was made from: natural values, the unit written, and what was spoilt.
"""

import time

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyper_py.diagnostics import InputError
from hyper_py.reading.source_table import sources_of_table
from hyper_py.writing.tables import read_any_table

FORMATS = {
    "ecsv": "ascii.ecsv", "fits": "fits", "vot": "votable", "txt": "ascii.ipac", "csv": "ascii.csv",
    "tsv": "ascii.tab", "dat": "ascii.commented_header", "asc": "ascii.fixed_width",
}  # fmt: skip
WITH_UNITS = ("ecsv", "fits", "vot", "txt")
NATURAL = {"RA": u.deg, "DEC": u.deg, "FWHM_1": u.arcsec, "FWHM_2": u.arcsec, "PA": u.deg}
RANGES = {
    "RA": (0.1, 359.0), "DEC": (-89.0, 89.0), "FWHM_1": (5.0, 50.0), "FWHM_2": (5.0, 50.0),
    "PA": (-170.0, 170.0),
}  # fmt: skip
UNITS = (u.deg, u.arcmin, u.arcsec, u.mas, u.rad)
WRONG_UNITS = (u.Jy, u.pix, u.m, u.dimensionless_unscaled * 2)
IDENTIFIERS = st.from_regex(r"[A-Z0-9+.-]{1,12}", fullmatch=True).filter(lambda text: text.strip("-."))
REFUSED = ("garbage", "nan", "inf", "beyond")
ATTRIBUTES = {"RA": "longitude", "DEC": "latitude", "FWHM_1": "fwhm_1", "FWHM_2": "fwhm_2", "PA": "pa"}


# astropy says so of subnormal numbers, and reads them right.
pytestmark = pytest.mark.filterwarnings("ignore:OverflowError converting to FloatType")


@st.composite
def mutated_tables(draw):
    """A table, its format, and the natural values that are right; None where it must be refused."""
    form, n = draw(st.sampled_from(sorted(FORMATS))), draw(st.integers(1, 4))
    right = {name: np.array([draw(st.floats(*RANGES[name])) for _ in range(n)]) for name in NATURAL}
    for name in draw(st.sets(st.sampled_from(sorted(NATURAL)), max_size=2)):
        right.pop(name)
    table, expected = Table(), dict(right)
    if not {"RA", "DEC"} <= right.keys() or ("FWHM_2" in right and "FWHM_1" not in right):
        expected = None
    for name in draw(st.permutations(sorted(right))):
        unit = draw(st.sampled_from(UNITS)) if form in WITH_UNITS and draw(st.booleans()) else None
        values = right[name] if unit is None else (right[name] * NATURAL[name]).to_value(unit)
        how = draw(
            st.sampled_from(
                ["no"] * 12 + ["garbage", "nan", "inf", "beyond", "unit", "text", "sexagesimal", "log"]
            )
        )
        row = draw(st.integers(0, n - 1))
        column = values.tolist()
        if how in REFUSED:
            # A size of more than half the sky, or a place that is none.
            column[row] = {"garbage": "x", "nan": np.nan, "inf": np.inf, "beyond": 1e13}[how]
            expected = None
        elif how == "unit" and form in WITH_UNITS:
            unit, expected = draw(st.sampled_from(WRONG_UNITS[:3])), None
        elif how == "log" and form == "ecsv":
            unit, expected = u.dex(NATURAL[name]), None
        elif how == "text":
            column = [repr(value) for value in column]
        elif how == "sexagesimal" and name in ("RA", "DEC"):
            unit, hours = None, name == "RA"
            column = [sexagesimal(value / 15.0 if hours else value) for value in right[name]]
        label = name.lower() if draw(st.booleans()) else name
        table[label] = [str(one) for one in column] if any(isinstance(one, str) for one in column) else column
        table[label].unit = unit
    if draw(st.booleans()):
        table["REMARK"] = ["some text"] * n
    if draw(st.booleans()):
        table["ID"] = [draw(IDENTIFIERS) for _ in range(n)]
    if not table.colnames:
        table["REMARK"] = ["some text"] * n
    return table, form, expected


def sexagesimal(value):
    """Return degrees or hours as d:m:s, to a hundred-millionth of a second."""
    sign, rest = ("-" if value < 0 else ""), abs(value)
    whole, minutes = int(rest), int((rest - int(rest)) * 60)
    seconds = min((rest - whole - minutes / 60) * 3600, 59.99999999)
    return f"{sign}{whole}:{minutes:02d}:{max(seconds, 0.0):011.8f}"


def outcome(path):
    """Return sources, or the line that refuses them; neither late nor otherwise."""
    start = time.process_time()
    try:
        sources, said = sources_of_table(read_any_table(path), name=path.name), ""
    except InputError as error:
        sources, said = None, str(error)
    assert time.process_time() - start < 5.0
    assert "\n" not in said
    assert (sources is None) == bool(said)
    return sources, said


def check(directory, mutated):
    """Write a table and compare what is read with the referee."""
    table, form, expected = mutated
    path = directory / f"t.{form}"
    table.write(path, format=FORMATS[form], overwrite=True)
    sources, said = outcome(path)
    if expected is None:
        assert sources is None, f"read, but spoilt: {table}"
        return
    assert sources is not None, f"{said}: {table}"
    if "ID" in table.colnames:
        assert list(sources.ids) == list(table["ID"])
    for name, attribute in ATTRIBUTES.items():
        values = getattr(sources, attribute)
        if name not in expected:
            assert values is None
        else:
            # A table in IPAC or fixed width may have rounded.
            np.testing.assert_allclose(values, expected[name], rtol=1e-7, atol=1e-9)


def spoil(directory, mutated, changes):
    """Change bytes of a table: whatever it then says, it is read or refused in one line."""
    table, form, _ = mutated
    path = directory / f"s.{form}"
    table.write(path, format=FORMATS[form], overwrite=True)
    data = bytearray(path.read_bytes())
    for share, how, byte in changes:
        at = int(share * (len(data) - 1)) if data else 0
        if how == "set" and data:
            data[at] = byte
        elif how == "cut":
            del data[at:]
        elif how == "drop":
            del data[at : at + byte]
        else:
            data[at:at] = bytes([byte]) * (1 + byte % 7)
    path.write_bytes(bytes(data))
    outcome(path)


CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["set", "cut", "drop", "insert"]), st.integers(0, 255)),
    min_size=1, max_size=4,
)  # fmt: skip


@given(mutated_tables())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_tables(tmp_path, mutated):
    check(tmp_path, mutated)


@given(mutated_tables(), CHANGES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_spoilt_bytes(tmp_path, mutated, changes):
    spoil(tmp_path, mutated, changes)


@pytest.mark.slow
@given(mutated_tables())
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_two_thousand_mutated_tables(tmp_path, mutated):
    check(tmp_path, mutated)


@pytest.mark.slow
@given(mutated_tables(), CHANGES)
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_two_thousand_tables_of_spoilt_bytes(tmp_path, mutated, changes):
    spoil(tmp_path, mutated, changes)
