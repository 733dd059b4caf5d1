"""Units of maps, refereed by astropy."""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from hyper_py.diagnostics import HyperPyError, InputError
from hyper_py.units import T_CMB, jy_per_pixel, parse_unit

AREA, BEAM, HZ = 13.0, 469.0, 1.2e12


def referee(unit: u.UnitBase) -> float:
    """What one unit is in Jy per pixel of AREA arcsec2, by astropy."""
    brightness = u.Jy / u.sr
    pixel = AREA * u.arcsec**2
    if unit.is_equivalent(u.Jy / u.pixel):
        return unit.to(u.Jy / u.pixel)
    if unit.is_equivalent(u.Jy):
        return unit.to(u.Jy)
    if unit.is_equivalent(u.Jy / u.beam):
        per_sr = (1 * unit).to(brightness, u.beam_angular_area(BEAM * u.arcsec**2))
    elif unit.is_equivalent(u.K):
        per_sr = (1 * unit).to(brightness, u.brightness_temperature(HZ * u.Hz))
    elif unit.is_equivalent(brightness):
        per_sr = (1 * unit).to(brightness)
    else:
        per_sr = (1 * unit).to(brightness, u.spectral_density(HZ * u.Hz))
    return (per_sr * pixel).to(u.Jy).value


SPELLINGS = {
    u.Jy / u.beam: """Jy/beam; JY/BEAM; jy/beam; Jy / beam; beam-1 Jy; Jy beam-1; Jy beam^-1;
        Jy.beam-1; Jy*beam**-1;
        Jy.beam**(-1); Jy beam^{-1}; Jansky/beam; JANSKY/BEAM;  Jy/beam ; 'Jy/beam'; Jy per beam;
        Jy/(beam); Jy/Beam;
        Jy/bm; beam**-1 Jy; Janskys/Beam""",
    u.mJy
    / u.beam: """mJy/beam; mjy/beam; mJy/BEAM; beam-1 mJy; 10**-3 Jy/beam; 1e-3 Jy/beam; milliJansky/beam;
        MILLIJY/BEAM; mJy beam-1; 1.0E-3 Jy beam^-1; 10^(-3) Jy/beam""",
    u.uJy / u.beam: """uJy/beam; UJY/BEAM; µJy/beam; μJy/beam; muJy/beam; microJy/beam; MicroJansky/beam;
        micro-Jy/beam; micro-Jansky beam⁻¹""",
    u.nJy / u.beam: "nJy/beam",
    u.Jy: """Jy; JY; jy; Jansky; Jy/pixel; Jy/pix; JY/PIXEL; Jy pixel-1; Jy/px; Jy / pix; Jy/Pixels;
        10**-26 W/m2/Hz;
        1e-23 erg/s/cm2/Hz""",
    u.mJy: "mJy; mJy/pixel; mjy/pix",
    u.MJy / u.sr: """MJy/sr; MJy / sr; MJY/SR; MJy sr-1; MJy/ster; MJy per steradian; sr-1 MJy; MJy sr^-1;
        MJy/str; MJy-sr^-1; MJy sr⁻¹""",
    u.kJy / u.sr: "kJy/sr; KJY/SR",
    u.Jy / u.sr: "Jy/sr; JY/SR",
    u.Jy / u.arcsec**2: """Jy/arcsec2; Jy/arcsec^2; Jy arcsec-2; JY/ARCSEC**2; Jy/sq.arcsec; Jy/square arcsec;
        Jy/sq arcsec""",
    u.mJy / u.arcsec**2: "mJy/arcsec**2; mJy/arcsec2; mJy arcsec^{-2}; mjy/arcsec2",
    u.Jy / u.deg**2: "Jy/deg2",
    u.W
    / u.m**2
    / u.sr: """W/m2/sr; W m-2 sr-1; W/m^2/sr; W / (m2 sr); W/(m**2*sr); W.m-2.sr-1; W/m^2-sr; W/m2-sr;
        W/m**2-sr; W-m^-2-sr^-1""",
    u.nW / u.m**2 / u.sr: "nW/m2/sr; nW m-2 sr-1; nW/m^2-sr; NW/M2/SR; nW m⁻² sr⁻¹",
    u.K: "K; K(Tmb); K (TMB); K (Tmb); K_RJ; Kelvin; KELVIN; K [Tmb]; k; K(T_MB); K Tb",
    u.mK: "mK; mK(Tmb); milliKelvin",
}
NO_UNITS = """; Jy/beam/s; JY/BEAM/S; Jy/beam Hz; PW/m2/sr; PJy/beam; Jy/beam-area;
    counts; adu; ADU; DN/s; pW; K km/s; K km s-1; Jy/beam.km/s;
    Jy km/s; K(Ta*); K (TA*); Jy/beam/beam; Jy/beam2;
    K/beam; Jy/beam); ((Jy/beam; Jy/; /; 1; 0 Jy/beam; 1/0 Jy; Jy**2/beam; Jy-beam; Jy+beam;
    Jy/m; m/s; 9e999 Jy;
    Jy**99999999999999999999; Jy/arcsec; mag/arcsec2; T; Jy\n/beam\x00; MJY/BEAM; MK; mjy/sr; MJY; MJY/PIXEL;
    MJY/ARCSEC2; W; log(Jy); Jy/beam?; E; 1e-3; ..; µ"""


@pytest.mark.parametrize(
    ("unit", "text"), [(unit, text.strip()) for unit, texts in SPELLINGS.items() for text in texts.split(";")]
)
def test_spellings_against_astropy(unit, text):
    factor = jy_per_pixel(parse_unit(text), pixel_area=AREA, beam_area=BEAM, frequency=HZ)
    assert isinstance(factor, float)
    assert factor == pytest.approx(referee(unit), rel=1e-9)


@pytest.mark.parametrize("hz", [30e9, 217e9, 857e9])
def test_cmb_temperature_against_astropy(hz):
    ours = jy_per_pixel(parse_unit("uK_CMB"), pixel_area=AREA, frequency=hz)
    bright = (1 * u.uK).to(u.Jy / u.sr, u.thermodynamic_temperature(hz * u.Hz, T_CMB * u.K))
    assert ours == pytest.approx((bright * AREA * u.arcsec**2).to(u.Jy).value, rel=1e-9)


@pytest.mark.parametrize(
    "text", [*(text.strip(" ") for text in NO_UNITS.split(";")), "9" * 400 + "Jy", "x" * 500]
)
def test_what_is_no_unit_of_a_map_is_refused(text):
    with pytest.raises(InputError) as info:
        parse_unit(text)
    assert "\n" not in str(info.value).replace(text, "")


def test_ambiguous_prefix_says_what_to_write():
    with pytest.raises(InputError, match=r"milli or mega: set units\.bunit, spelled mJy or MJy"):
        parse_unit("MJY/BEAM")


@given(st.text(max_size=60) | st.text(alphabet="mMkKuJyBbeamsr/()-+*^.0123456789 2pixWHz", max_size=30))
def test_any_text_gives_a_unit_or_a_clear_error(text):
    try:
        unit = parse_unit(text)
    except HyperPyError:
        return
    assert 0 < unit.scale < np.inf
    assert unit.per in ("beam", "pixel", "sr")


AREAS = st.sampled_from(["/beam", " beam-1", "/pixel", "/sr", " sr^-1", "/arcsec2"])


@given(st.sampled_from(["", "m", "u", "n", "k"]), AREAS)
def test_prefixes_scale(prefix, area):
    factor = {"": 1, "m": 1e-3, "u": 1e-6, "n": 1e-9, "k": 1e3}[prefix]
    assert parse_unit(f"{prefix}Jy{area}").scale == pytest.approx(
        factor * parse_unit(f"Jy{area}").scale, rel=1e-12
    )


@pytest.mark.parametrize(
    ("text", "same"),
    [("(mJy/arcsec**2)**2", "mJy/arcsec2"), ("(Jy/beam)^2", "Jy/beam"), ("Jy2/beam2", "Jy/beam"),
     ("(K(Tmb))**2", "K"), ("Jy**2 beam**-2", "Jy/beam"), ("MJy2/sr2", "MJy/sr"), ("(MJy/sr)2", "MJy/sr")],
)  # fmt: skip
def test_squared(text, same):
    squared, plain = parse_unit(text, squared=True), parse_unit(same)
    assert (squared.quantity, squared.per) == (plain.quantity, plain.per)
    assert squared.scale == pytest.approx(plain.scale, rel=1e-12)


def test_squared_refuses_what_is_no_square():
    for text in ("Jy/beam", "mJy/arcsec**2", "Jy2/beam"):
        with pytest.raises(InputError):
            parse_unit(text, squared=True)


def test_areas_as_arrays_and_missing_pieces():
    areas = np.array([[1.0, 2.0], [3.0, np.nan]])
    np.testing.assert_allclose(
        jy_per_pixel(parse_unit("Jy/beam"), pixel_area=areas, beam_area=4.0), areas / 4.0, rtol=1e-14
    )
    assert jy_per_pixel(parse_unit("mJy"), pixel_area=areas) == pytest.approx(1e-3)
    with pytest.raises(InputError, match="beam"):
        jy_per_pixel(parse_unit("Jy/beam"), pixel_area=1.0)
    for hz in (None, 0.0, -1.0, 1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="frequency"):
            jy_per_pixel(parse_unit("K"), pixel_area=1.0, frequency=hz)
