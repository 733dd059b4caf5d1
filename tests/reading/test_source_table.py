"""Tables of given sources: the same sources in any unit and format; or one line that says why not."""

import string

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hyper_py.diagnostics import InputError
from hyper_py.reading.source_table import fluxes_of_table, sources_of_table
from hyper_py.writing.tables import read_any_table

RA, DEC = np.array([83.1, 82.9, 359.99]), np.array([-5.2, -4.9, 88.0])
FWHM_1, FWHM_2, PA = (
    np.array([20.0, 30.0, 18.5]),
    np.array([15.0, 18.0, 18.0]),
    np.array([10.0, -80.0, 135.0]),
)
NATURAL = {
    "RA": RA * u.deg,
    "DEC": DEC * u.deg,
    "FWHM_1": FWHM_1 * u.arcsec,
    "FWHM_2": FWHM_2 * u.arcsec,
    "PA": PA * u.deg,
}
FORMATS = {
    "ecsv": "ascii.ecsv", "fits": "fits", "vot": "votable", "txt": "ascii.ipac", "csv": "ascii.csv",
    "tsv": "ascii.tab", "dat": "ascii.commented_header", "asc": "ascii.fixed_width", "tab": "ascii.tab",
}  # fmt: skip
WITH_UNITS = ("ecsv", "fits", "vot", "txt")
ANGLES = st.sampled_from([u.deg, u.arcmin, u.arcsec, u.mas, u.rad, u.hourangle])


def check(sources):
    np.testing.assert_allclose(sources.longitude, RA, rtol=1e-12)
    np.testing.assert_allclose(sources.latitude, DEC, rtol=1e-12)
    np.testing.assert_allclose(sources.fwhm_1, FWHM_1, rtol=1e-12)
    np.testing.assert_allclose(sources.fwhm_2, FWHM_2, rtol=1e-12)
    np.testing.assert_allclose(sources.pa, PA, rtol=1e-12)
    assert sources.frame == "icrs"


@given(units=st.tuples(*[ANGLES] * 5), form=st.sampled_from(WITH_UNITS), lower=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_unit_in_any_format_gives_the_same_sources(tmp_path_factory, units, form, lower):
    assume(form != "fits" or u.hourangle not in units)  # the standard has no such unit
    table = Table(
        {name: column.to(unit) for (name, column), unit in zip(NATURAL.items(), units, strict=True)}
    )
    if lower:
        table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
    path = tmp_path_factory.mktemp("t") / f"t.{form}"
    table.write(path, format=FORMATS[form])
    sources = sources_of_table(read_any_table(path), name=path.name)
    check(sources)
    assert sources.notes == ()


@pytest.mark.parametrize("form", FORMATS)
def test_without_units_degrees_and_arcsec_are_assumed_and_said(tmp_path, form):
    table = Table({"Name": ["a", "b b", "c"], **{name: column.value for name, column in NATURAL.items()}})
    table.write(tmp_path / f"t.{form}", format=FORMATS[form])
    sources = sources_of_table(read_any_table(tmp_path / f"t.{form}"), name="t")
    check(sources)
    assert list(sources.ids) == ["a", "b b", "c"]
    assert sources.notes == (
        "t says no unit of some columns: RA and DEC and PA taken to be in deg, "
        "FWHM_1 and FWHM_2 taken to be in arcsec",
    )


@pytest.mark.parametrize(
    ("column", "unit", "scale"),
    [
        ("RA", "h", 15.0),
        ("RA", "hours", 15.0),
        ("DEC", "Degrees", 1.0),
        ("FWHM_1", "arcminutes", 60.0),
        ("FWHM_2", '"', 1.0),
        ("PA", "radians", 180.0 / np.pi),
    ],
)
def test_spellings_of_units(column, unit, scale):
    table = Table({name: column.value for name, column in NATURAL.items()})
    table[column] = table[column] / scale
    table[column].unit = u.Unit(unit, parse_strict="silent")
    check(sources_of_table(table, name="t"))


@given(
    st.lists(st.tuples(st.floats(0, 359.999), st.floats(-89.9, 89.9)), min_size=1, max_size=5),
    st.sampled_from([":", " ", "hmsdms"]),
)
@settings(max_examples=40, deadline=None)
def test_sexagesimal_positions(places, separator):
    sky = SkyCoord(*np.array(places).T, unit="deg")
    texts = (
        [one.to_string("hmsdms", sep=separator, precision=9) for one in sky]
        if separator != "hmsdms"
        else [one.to_string("hmsdms", precision=9) for one in sky]
    )
    halves = [(t.split(" ")[: len(t.split(" ")) // 2], t.split(" ")[len(t.split(" ")) // 2 :]) for t in texts]
    table = Table({"RA": [" ".join(a) for a, _ in halves], "DEC": [" ".join(b) for _, b in halves]})
    sources = sources_of_table(table, name="t")
    np.testing.assert_allclose(np.mod(sources.longitude - sky.ra.deg + 180, 360) - 180, 0, atol=1e-11)
    np.testing.assert_allclose(sources.latitude, sky.dec.deg, atol=1e-11)


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize(("unit", "scale"), [(None, 1.0), (u.deg, 1.0), (u.arcmin, 1.0 / 60.0)])
def test_numbers_in_columns_of_texts_are_in_their_unit_and_no_hours(tmp_path, form, unit, scale):
    """VOTables give texts as masked columns, which cannot be converted as they are."""
    unit = unit if form in WITH_UNITS else None
    table = Table({"RA": ["1.0", "25.0"], "DEC": [0.0, 1.0], "FLUX": ["2.5", "4"]})
    table["RA"].unit = unit
    path = tmp_path / f"t.{form}"
    table.write(path, format=FORMATS[form])
    read = read_any_table(path)
    expected = np.array([1.0, 25.0]) * (scale if unit else 1.0)
    np.testing.assert_allclose(sources_of_table(read, name="t").longitude, expected, rtol=1e-12)
    flux, flux_err, notes = fluxes_of_table(read, name="t", unit="Jy")
    np.testing.assert_array_equal(flux, [2.5, 4.0])
    assert np.isnan(flux_err).all()
    assert notes == ("t has no unit of FLUX: Jy is assumed",)


def test_columns_of_coordinates_and_quantities():
    sky = SkyCoord(RA, DEC, unit="deg")
    check(sources_of_table(QTable(NATURAL | {"RA": sky.ra, "DEC": sky.dec}), name="t"))


@pytest.mark.parametrize("frame", ["icrs", "galactic", "fk4"])
@pytest.mark.parametrize("form", ["ecsv", "fits"])
def test_one_column_of_coordinates_is_converted(tmp_path, form, frame):
    sky = SkyCoord(RA, DEC, unit="deg").transform_to(frame)
    path = tmp_path / f"t.{form}"
    QTable({"place": sky, "NAME": ["a", "b", "c"]}).write(path)
    sources = sources_of_table(read_any_table(path), name="t")
    found = SkyCoord(sources.longitude, sources.latitude, unit="deg")
    assert np.all(found.separation(SkyCoord(RA, DEC, unit="deg")) < 0.001 * u.arcsec)
    assert list(sources.ids) == ["a", "b", "c"]
    with pytest.raises(InputError, match="t: coordinates in place and other: keep one of them"):
        sources_of_table(QTable({"place": sky, "other": sky}), name="t")


@pytest.mark.parametrize(
    "meta", [{"RADESYS": "FK4"}, {"EQUINOX": 1950.0}, {"keywords": {"equinox": {"value": "B1950"}}}]
)
def test_positions_of_another_equinox_are_refused(meta):
    table = Table(NATURAL, meta=meta)
    with pytest.raises(InputError, match=r"RA and DEC are those of .*(FK4|1950): convert them to ICRS"):
        sources_of_table(table, name="t")
    for other in ({"RADESYS": "FK5", "EQUINOX": 2000.0}, {"EQUINOX": "J2000"}, {"EQUINOX": "what"}):
        check(sources_of_table(Table(NATURAL, meta=other), name="t"))


@pytest.mark.parametrize("systems", [("eq_FK4",), ("galactic", "ecl_FK5"), ("ICRS",), ("eq_FK4", "eq_FK5")])
def test_systems_that_a_votable_names(tmp_path, systems):
    path = tmp_path / "t.vot"
    Table(NATURAL).write(path, format="votable")
    named = "".join(f'<COOSYS ID="c{k}" system="{one}"/>' for k, one in enumerate(systems))
    text = path.read_text()
    path.write_text(text.replace("<RESOURCE", named + "<RESOURCE", 1))
    assert named in path.read_text()
    if {"ICRS", "eq_FK5"} & set(systems):
        check(sources_of_table(read_any_table(path), name="t"))
    else:
        with pytest.raises(InputError, match=f"those of {', '.join(systems)}: convert them"):
            sources_of_table(read_any_table(path), name="t")


@pytest.mark.parametrize("form", ["csv", "tsv", "dat", "asc"])
@pytest.mark.parametrize("name", ["ID", "name", "Source_ID"])
@pytest.mark.parametrize("ids", [["007", "1e5", "10.10"], ["98765432109876543210", "-0", "+3"]])
def test_identifiers_that_look_like_numbers_are_kept(tmp_path, form, name, ids):
    path = tmp_path / f"t.{form}"
    Table({name: ids, "RA": RA[:3], "DEC": DEC}).write(path, format=FORMATS[form])
    assert list(sources_of_table(read_any_table(path), name="t").ids) == ids


@pytest.mark.parametrize("form", ["csv", "tsv", "dat"])
def test_the_mark_of_an_encoding_is_no_part_of_a_name(tmp_path, form):
    path = tmp_path / f"t.{form}"
    Table({name: column.value for name, column in NATURAL.items()}).write(
        path, format="ascii.basic" if form == "dat" else FORMATS[form]
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    check(sources_of_table(read_any_table(path), name="t"))


def test_sizes_under_another_name_are_said_to_be_unread():
    table = Table({"RA": RA, "DEC": DEC, "FWHM_1 (arcmin)": FWHM_1, "PA": PA, "PARITY": PA, "MAG": PA})
    (_, said) = sources_of_table(table, name="t").notes
    assert said == "t: no column FWHM_1, so sizes are left to the fit; not read: FWHM_1 (arcmin), PA"


def test_errors_without_a_unit_are_in_that_of_the_fluxes():
    table = Table({"FLUX": [1.0, 2.0] * u.Jy, "FLUX_ERR": [0.1, 0.2]})
    flux, flux_err, notes = fluxes_of_table(table, name="t", unit="mJy")
    np.testing.assert_allclose(flux, [1000.0, 2000.0], rtol=1e-15)
    np.testing.assert_allclose(flux_err, [100.0, 200.0], rtol=1e-15)
    assert notes == ()


@pytest.mark.parametrize("unit", [u.ABmag, u.dex(u.Jy), u.mag, u.Jy / u.beam])
def test_fluxes_that_are_no_flux_densities_are_refused(unit):
    with pytest.raises(InputError, match=r"column FLUX is in .*, which is (logarithmic|not a flux density)"):
        fluxes_of_table(Table({"FLUX": [1.0] * unit}), name="t", unit="mJy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RA": None}, "t: no column RA among DEC"),
        ({"FWHM_1": None}, "column FWHM_2 without FWHM_1"),
        ({"FWHM_1": FWHM_1 * u.Jy}, "column FWHM_1 is in 'Jy', which is not an angle"),
        ({"FWHM_1": FWHM_1 * u.pix}, "column FWHM_1 is in 'pix', which is not an angle"),
        ({"DEC": DEC * u.hour}, "column DEC is in 'h', which is not an angle"),
        ({"DEC": DEC * 3600}, "column DEC has values outside -90 to 90 deg: look at its unit"),
        ({"RA": RA * 3600}, "column RA has values outside"),
        ({"FWHM_2": -FWHM_2}, "column FWHM_2 has values that are no sizes"),
        ({"FWHM_2": 0 * FWHM_2}, "column FWHM_2 has values that are no sizes"),
        ({"FWHM_1": 1e300 * FWHM_1}, "column FWHM_1 has values that are no sizes"),
        (
            {"RA": MaskedColumn([1, 2, 3], mask=[False, True, False])},
            "column RA has values that are not numbers",
        ),
        ({"RA": np.array([True, False, True])}, "column RA has values that are not numbers"),
        ({"RA": np.ones(3) * 1j}, "column RA has values that are not numbers"),
        ({"RA": np.ones((3, 2))}, "column RA has values that are not numbers"),
        ({"PA": ["north", "east", "up"]}, "column PA has values that are not numbers"),
        (
            {"FWHM_1": np.ones(3) * u.dex(u.arcsec)},
            "column FWHM_1 is in 'dex\\(arcsec\\)', which is logarithmic",
        ),
        ({"RA": ["83.1", "05:31:36", "359.99"]}, r"column RA has values that are not numbers \(row 2\)"),
        ({"FWHM_1": [20.0, 30.0, np.nan]}, r"column FWHM_1 has values that are not numbers \(row 3\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    columns = {name: column for name, column in (NATURAL | changes).items() if column is not None}
    with pytest.raises(InputError, match=message):
        sources_of_table(Table(columns), name="t")


def test_sizes_of_points_on_the_sky_are_zero():
    sources = sources_of_table(Table(NATURAL | {"FWHM_2": 0 * FWHM_2}), name="t", intrinsic=True)
    assert sources.intrinsic
    assert not sources.fwhm_2.any()


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_mutated_tables_are_the_same_sources_or_one_line(tmp_path_factory, data):
    """A changed character never gives a traceback, or another scale of all values."""
    path = tmp_path_factory.getbasetemp() / "mutated.ecsv"
    Table(NATURAL).write(path, format="ascii.ecsv", overwrite=True)
    text = list(path.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(
            st.sampled_from(string.printable + "é\x00")
        )
    path.write_text("".join(text))
    try:
        sources = sources_of_table(read_any_table(path), name="t")
    except InputError as error:
        said = str(error)
        sources = None
    if sources is None:
        assert "\n" not in said
        assert len(said) < 500
        return
    if sources.longitude.size == 3 and not sources.notes:
        for mine, true in ((sources.longitude, RA), (sources.latitude, DEC)):
            assert np.isclose(mine, true).any()


@pytest.mark.parametrize(
    ("kind", "unit", "step"),
    [
        ("f4", u.deg, 0.1099),
        ("f4", u.rad, 0.0984),
        ("f2", u.deg, 900.0),
        ("f8", u.deg, None),
        ("f4", u.arcsec, 0.125),
    ],
)
def test_positions_that_were_rounded_are_warned_of(kind, unit, step):
    """The step of float32 between 256 and 512 degrees is 2^-15 degrees, 0.11 arcsec; referee: numpy's own."""
    column = (RA * u.deg).to_value(unit).astype(kind)
    table = Table({"RA": column * unit, "DEC": DEC * u.deg})
    notes = sources_of_table(table, name="t").notes
    if step is None:
        assert notes == ()
        return
    assert notes == (
        f"t: RA is stored in {8 * int(kind[1])}-bit floats, "
        f"in steps of {step:.2g} arcsec: use 64-bit floats (float64, double)",
    )
    largest = column.max()
    gap = (np.nextafter(largest, column.dtype.type(np.inf)) - largest) * unit.to(u.arcsec)
    assert gap == pytest.approx(step, rel=1e-2)


def test_rounding_that_does_not_matter_is_not_warned_of():
    table = Table({"RA": np.array([0.01], "f4") * u.deg, "DEC": np.array([0.02], "f4") * u.deg})
    assert sources_of_table(table, name="t").notes == ()
