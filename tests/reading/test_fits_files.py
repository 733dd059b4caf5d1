"""FITS files as they come."""

import gzip
import warnings

import numpy as np
import pytest
import radio_beam
from astropy import units as u
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from hyper_py.diagnostics import InputError
from hyper_py.reading.fits_files import (
    casa_beams,
    check_scaling,
    choose_hdu,
    map_name,
    open_fits,
    read_plane,
    readable_header,
    warnings_into,
)
from hyper_py.reading.streamed import streamed_plane


def test_names():
    for name in ("a.b.fits", "a.b.FITS", "a.b.fit", "a.b.fits.gz", "a.b.fits.fz", "a.b.fts", "a.b.fits.bz2"):
        assert map_name(f"/some/where/{name}") == "a.b"
    assert map_name("a.b") == "a.b"


def test_values_that_break_the_rules_become_texts():
    good, bad = "KEY     =                  1.5", "BMAJ    = NaN, or so"
    notes = []
    with warnings_into(notes):
        header = readable_header(fits.Header.fromstring(good.ljust(80) + bad.ljust(80) + "END".ljust(80)))
    assert header["KEY"] == 1.5
    assert "NaN" in header["BMAJ"]
    assert notes


@pytest.mark.parametrize("packed", [False, True])
def test_planes_along_any_axes(tmp_path, packed):
    data = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    data[1, 2, 3, 4] = np.inf
    path = tmp_path / "cube.fits"
    fits.PrimaryHDU(data).writeto(path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    expected = np.where(np.isfinite(data), data, np.nan).astype(float)
    with open_fits(path) as file:
        assert file.images == {0: (2, 3, 4, 5)}
        for x, y in ((1, 2), (1, 3), (2, 3), (2, 4), (1, 4), (3, 4)):
            others = [axis for axis in range(1, 5) if axis not in (x, y)]
            for a in range(2):
                fixed = dict.fromkeys(others, a)
                index = tuple(slice(None) if axis in (x, y) else a for axis in (4, 3, 2, 1))
                np.testing.assert_array_equal(read_plane(file, 0, x=x, y=y, fixed=fixed), expected[index])


def test_warnings_become_notes(path_of_odd_file):
    with open_fits(path_of_odd_file) as file, warnings_into(file.notes):
        read_plane(file, 0, x=1, y=2, fixed={})
        assert choose_hdu(file, None) == 0
    assert any("BLANK" in note for note in file.notes)


@pytest.fixture
def path_of_odd_file(tmp_path):
    """BLANK in a file of floating-point numbers, as some programs write."""
    path = tmp_path / "odd.fits"
    fits.PrimaryHDU(np.zeros((4, 4), dtype=np.float32)).writeto(path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"EXTEND  =                    T", b"BLANK   =                   -1"))
    return path


def warn_inside():
    with warnings_into([]):
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_other_warnings_pass():
    with pytest.warns(UserWarning, match="mine"):
        warn_inside()


def test_hdu_is_found_by_its_name_and_noted_if_there_are_more(tmp_path):
    path = tmp_path / "many.fits"
    images = [fits.ImageHDU(np.zeros((3, 3)), name=name) for name in ("COVERAGE", "IMAGE", "OTHER")]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    with open_fits(path) as file:
        assert choose_hdu(file, None) == 2
        assert file.notes == ["HDU 2 IMAGE was taken, not HDU 3 OTHER: set io.hdu for another"]
        assert choose_hdu(file, "coverage") == 1
        with pytest.raises(InputError, match=r"3 OTHER 3x3: set io\.hdu"):
            choose_hdu(file, 4)
    fits.HDUList([fits.PrimaryHDU(), images[0]]).writeto(path, overwrite=True)
    with open_fits(path) as file, pytest.raises(InputError, match="no image is named as a map"):
        choose_hdu(file, None)


@pytest.mark.parametrize(
    ("card", "text"),
    [(("BSCALE", 0.0), "BSCALE = 0"), (("BSCALE", "x"), "not a number"), (("BLANK", 1.5), "not an integer")],
)
def test_scaling_that_cannot_be_right(tmp_path, card, text):
    path = tmp_path / "scaled.fits"
    fits.PrimaryHDU(np.zeros((4, 4), dtype=np.int16)).writeto(path)
    header = f"{card[0]:<8}= {card[1]!r:>20}".ljust(80).encode()
    path.write_bytes(path.read_bytes().replace(b"EXTEND  =                    T".ljust(80), header))
    with open_fits(path) as file, pytest.raises(InputError, match=text), warnings_into([]):
        check_scaling(file, 0)


def test_casa_table_is_radio_beams(tmp_path):
    rng = np.random.default_rng(8)
    major = rng.uniform(1.0, 2.0, 6)
    columns = [
        fits.Column("BMAJ", "1E", "arcsec", array=major),
        fits.Column("BMIN", "1E", "arcsec", array=0.7 * major),
        fits.Column("BPA", "1E", "deg", array=rng.uniform(-90, 90, 6)),
        fits.Column("CHAN", "1J", array=np.arange(6)),
        fits.Column("POL", "1J", array=np.zeros(6, dtype=int)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    table.header["NCHAN"], table.header["NPOL"] = 6, 1
    path = tmp_path / "beams.fits"
    fits.HDUList([fits.PrimaryHDU(np.zeros((6, 3, 3))), table]).writeto(path)
    with fits.open(path) as hdus:
        theirs = radio_beam.Beams.from_fits_bintable(hdus[1])
    with open_fits(path) as file:
        ours = casa_beams(file)
    assert [b.major for b in ours] == pytest.approx(theirs.major.to_value(u.arcsec))
    assert [b.minor for b in ours] == pytest.approx(theirs.minor.to_value(u.arcsec))
    assert [b.pa for b in ours] == pytest.approx(theirs.pa.to_value(u.deg) % 180)


@pytest.mark.parametrize(
    ("card", "text"),
    [
        (b"NAXIS   = 99999999999999999999", "NAXIS = 99999999999999999999 is not possible"),
        (b"NAXIS   =                   -1", "NAXIS = -1 is not possible"),
        (b"NAXIS   =                    x", "no number"),
        (b"NAXIS   =                    3", "missing"),
        (b"NAXIS   =                    1", "a header is wrong"),
    ],
)
@pytest.mark.parametrize("place", ["primary", "extension"])
def test_absurd_axes_are_refused_before_anything_loops_over_them(tmp_path, card, text, place):
    path = tmp_path / "absurd.fits"
    image = np.ones((80, 80))
    hdus = [fits.PrimaryHDU(image)] if place == "primary" else [fits.PrimaryHDU(), fits.ImageHDU(image)]
    fits.HDUList(hdus).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"NAXIS   =                    2", card))
    with pytest.raises(InputError, match=rf"absurd\.fits: .*{text}"), open_fits(path):
        pass


def test_file_without_its_last_padding(tmp_path):
    path = tmp_path / "short.fits"
    fits.PrimaryHDU(np.ones((5, 5))).writeto(path)
    path.write_bytes(path.read_bytes()[: 2880 + 200])
    with open_fits(path) as file, warnings_into(file.notes):
        assert np.all(read_plane(file, 0, x=1, y=2, fixed={}) == 1.0)


@st.composite
def scaled_integers(draw):
    """Type, scaling and BLANK of integers, unsigned ones among them."""
    kind = draw(st.sampled_from(["u1", "i2", "i4", "i8"]))
    limits = np.iinfo(kind)
    blank = draw(st.sampled_from([limits.min, limits.max, 0, 7, 99]))
    unsigned = kind != "u1" and draw(st.booleans())
    scale = 1.0 if unsigned else draw(st.sampled_from([None, 1.0, 0.25, -0.5, 1e-6]))
    zero = 2.0 ** (8 * int(kind[1]) - 1) if unsigned else draw(st.sampled_from([None, 0.0, 11.0]))
    return kind, blank, scale, zero


@given(scaled_integers())
@settings(max_examples=60, deadline=None)
def test_integers_are_scaled_and_blank_as_the_standard_says(tmp_path_factory, case):
    """Physical value = BZERO + BSCALE x integer, and blank where the integer is BLANK, before scaling."""
    kind, blank, scale, zero = case
    integers = np.random.default_rng(1).integers(0, 120, (5, 6)).astype(kind)
    integers[1, 2:5] = blank
    header = fits.Header({"SIMPLE": True, "BITPIX": 8 * int(kind[1]), "NAXIS": 2, "NAXIS1": 6, "NAXIS2": 5})
    header["BLANK"] = blank
    for key, value in (("BSCALE", scale), ("BZERO", zero)):
        if value is not None:
            header[key] = value
    path = tmp_path_factory.getbasetemp() / "integers.fits"
    data = integers.astype(f">{kind}").tobytes()
    path.write_bytes(header.tostring(padding=True).encode() + data + b"\0" * (-len(data) % 2880))
    expected = (zero or 0.0) + (1.0 if scale is None else scale) * integers.astype(np.float64)
    expected[integers == blank] = np.nan
    with open_fits(path) as file, warnings_into(file.notes):
        check_scaling(file, 0)
        plane = read_plane(file, 0, x=1, y=2, fixed={})
        pieces = streamed_plane(file, 0, x=1, y=2, fixed={})[:, :]
    np.testing.assert_allclose(plane, expected, rtol=1e-6)
    np.testing.assert_allclose(pieces, expected, rtol=1e-12)


def test_a_blank_that_no_integer_can_be_is_said(tmp_path):
    path = tmp_path / "m.fits"
    header = fits.Header(
        {"SIMPLE": True, "BITPIX": 16, "NAXIS": 2, "NAXIS1": 2, "NAXIS2": 2, "BLANK": -99999}
    )
    path.write_bytes(header.tostring(padding=True).encode() + bytes(2880))
    with open_fits(path) as file, warnings_into(file.notes):
        check_scaling(file, 0)
    assert "BLANK = -99999 is no value of 16-bit integers: no pixel is blank by it" in file.notes


@st.composite
def beam_tables(draw):
    """Channels in any order, in any unit, with flagged ones and a second polarisation."""
    n = draw(st.integers(1, 6))
    axes = [sorted(draw(st.tuples(st.floats(0.5, 50.0), st.floats(0.5, 50.0)))) for _ in range(n)]
    angles = [draw(st.floats(-90.0, 90.0)) for _ in range(n)]
    bad = draw(st.lists(st.sampled_from([None, None, 0.0, np.nan]), min_size=n, max_size=n))
    units = draw(
        st.tuples(st.sampled_from(["arcsec", "deg", "arcmin", "rad", ""]), st.sampled_from(["deg", "rad"]))
    )
    return axes, angles, bad, units, draw(st.permutations(range(n))), draw(st.booleans())


@given(beam_tables())
@settings(max_examples=60, deadline=None)
def test_tables_of_beams_in_any_unit_and_order(tmp_path_factory, case):
    axes, angles, bad, (unit, angle_unit), order, polarised = case
    scale = 1.0 if not unit else (1 * u.arcsec).to_value(unit)
    major, minor = (np.array([one[k] for one in axes])[list(order)] * scale for k in (1, 0))
    for row, channel in enumerate(order):
        if bad[channel] is not None:
            major[row] = minor[row] = bad[channel]
    turn = (np.array(angles)[list(order)] * u.deg).to_value(angle_unit)
    channels, pol = np.array(order), np.zeros(len(order), dtype=int)
    if polarised:  # whose beams are not those of the first
        major, minor, turn = (np.append(values, 7.0 * values) for values in (major, minor, turn))
        channels, pol = np.append(channels, channels), np.append(pol, pol + 1)
    columns = [
        fits.Column("BMAJ", "1D", unit=unit or None, array=major),
        fits.Column("BMIN", "1D", unit=unit or None, array=minor),
        fits.Column("BPA", "1D", unit=angle_unit, array=turn),
        fits.Column("CHAN", "1J", array=channels),
        fits.Column("POL", "1J", array=pol),
    ]
    path = tmp_path_factory.getbasetemp() / "beams.fits"
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    fits.HDUList([fits.PrimaryHDU(np.zeros((2, 2))), table]).writeto(path, overwrite=True)
    with open_fits(path) as file, warnings_into(file.notes):
        found = casa_beams(file)
    assert len(found) == len(axes)
    for channel, beam in enumerate(found):
        if bad[channel] is not None:
            assert beam is None
        else:
            assert (beam.minor, beam.major) == pytest.approx(axes[channel], rel=1e-9)
            assert np.mod(beam.pa - angles[channel] + 90.0, 180.0) == pytest.approx(90.0, abs=1e-6)
