"""Units of maps: the meaning of BUNIT, and the conversion to Jy/pixel.

A unit string is split into names and exponents, the spellings of observatories are replaced by astropy's
names, and astropy does the arithmetic. Beam and pixel are handled separately, since astropy has no fixed
solid angle for them.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from astropy import constants
from astropy import units as u

from hyper_py.arrays import FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.geometry import ARCSEC_PER_RADIAN

ACCEPTED_UNITS = (
    "Jy/pixel, Jy, Jy/beam, Jy/arcsec2, MJy/sr (with any prefix); K, K_CMB and W/m2/sr with a frequency"
)
T_CMB = 2.7255
"""Temperature of the cosmic microwave background in K (Fixsen 2009, ApJ 707, 916)."""
FREQUENCY_RANGE = (1e6, 1e15)
"""Hz; a value outside this range is a placeholder, or is not in Hz."""

_ARCSEC2_PER_SR = ARCSEC_PER_RADIAN**2
_PLANCK, _BOLTZMANN = float(constants.h.si.value), float(constants.k_B.si.value)
_LIGHT, _SI_PER_JY = float(constants.c.si.value), 1e-26

_PREFIXES = {
    "": 1.0, "pico": 1e-12, "n": 1e-9, "nano": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "mu": 1e-6,
    "micro": 1e-6, "m": 1e-3, "milli": 1e-3, "k": 1e3, "kilo": 1e3, "mega": 1e6, "g": 1e9, "giga": 1e9,
}  # fmt: skip
_PIXEL_NAMES = {"pix", "pixel", "pixels", "px"}
_BEAM_NAMES = {"beam", "beams", "bm"}
_OTHER_NAMES: dict[str, Any] = {
    **dict.fromkeys(("sr", "str", "ster", "steradian", "steradians"), u.sr),
    **dict.fromkeys(("arcsec", "arcsecond", "arcseconds", "asec", "arcs"), u.arcsec),
    **dict.fromkeys(("arcmin", "arcminute", "arcminutes", "amin"), u.arcmin),
    **dict.fromkeys(("deg", "degree", "degrees"), u.deg),
    **dict.fromkeys(("w", "watt", "watts"), u.W),
    **dict.fromkeys(("um", "micron", "microns"), u.um),
    "nw": u.nW, "uw": u.uW,
    "rad": u.rad, "erg": u.erg, "ergs": u.erg, "j": u.J, "s": u.s, "sec": u.s, "m": u.m, "cm": u.cm,
    "km": u.km, "hz": u.Hz, "ghz": u.GHz, "k": u.K,
}  # fmt: skip
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_HYPHENED = re.compile(r"\b(pico|nano|micro|milli|kilo|mega|giga)-(?=j)", re.IGNORECASE)
_SQUARE = re.compile(r"sq(?:uare)?\.?\s*(?=[a-z])", re.IGNORECASE)
_SQUARED = re.compile(r"\((?P<inner>[^()]*(?:\([^()]*\))?[^()]*)\)\s*(?:\*\*|\^)?\s*2")
_JANSKY = re.compile(r"(?P<prefix>[a-zµμ]*?)(?P<base>jy|janskys?)", re.IGNORECASE)
_KELVIN = re.compile(
    r"(?P<prefix>[a-zµμ]*?)(?P<base>k|kelvins?)[\s_(\[]*(?P<scale>(?:t_?)?(?:cmb|rj|mb|b|a|r)\*?)?[\s)\]]*",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<slash>/|per\b)|(?P<times>[.*·,])|(?P<joins>-)(?=\s*[a-zµμ])
    |(?P<number>\d+(?:\.\d*)?(?:e[+-]?\d+)?(?:\s*(?:\*\*|\^)\s*[({]?\s*[+-]?\d+\s*[)}]?)?)
    |(?P<name>(?:sq(?:uare)?\.?\s*)?[a-zµμ]+)(?P<power>\s*(?:\*\*|\^)\s*[({]?\s*[+-]?\d+\s*[)}]?|[+-]?\d+)?)""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True)
class MapUnit:
    """The unit of a map.

    Attributes
    ----------
    text : str
        The unit as it was written.
    quantity : {'flux', 'power', 'kelvin', 'kelvin_cmb'}
        Flux density, flux times frequency (nu F_nu, W/m2), Rayleigh-Jeans brightness temperature, or
        thermodynamic temperature fluctuation of the cosmic microwave background.
    per : {'pixel', 'beam', 'sr'}
        The area that the unit refers to.
    scale : float
        One unit in Jy, W/m2 or K, per pixel, beam or sr.
    """

    text: str
    quantity: str
    per: str
    scale: float

    @property
    def needs_frequency(self) -> bool:
        """Whether the conversion to Jy depends on the frequency."""
        return self.quantity != "flux"


_WRITTEN = {1e6: "M", 1e3: "k", 1.0: "", 1e-3: "m", 1e-6: "u"}


def standard_text(unit: MapUnit) -> str:
    """Return a flux density as the FITS standard writes it, such as `Jy/beam`; others as they are."""
    prefix = next((p for scale, p in _WRITTEN.items() if math.isclose(scale, unit.scale)), None)
    return unit.text if unit.quantity != "flux" or prefix is None else f"{prefix}Jy/{unit.per}"


NO_UNIT = MapUnit(text="", quantity="", per="", scale=math.nan)
"""Placeholder for a missing unit."""


def parse_unit(text: str, *, squared: bool = False) -> MapUnit:
    """Read the unit of a map in any of the spellings that observatories use.

    Parameters
    ----------
    text : str
        Such as `Jy/beam`, `JY/BEAM`, `beam-1 Jy`, `mJy/arcsec**2`, `MJy / sr`, `K(Tmb)`, `W m-2 sr-1`.
    squared : bool
        The text is the square of a unit, such as `(mJy/beam)**2` or `Jy2/beam2`; the unit itself is returned.

    Returns
    -------
    MapUnit

    Raises
    ------
    InputError
        If the unit is unknown, is no flux density or brightness, or can be read in two ways, as can
        `MJY/BEAM` (milli or mega). The message says which units are accepted.
    """
    plain = _HYPHENED.sub(r"\1", text.strip(" \t'\"").translate(_PLAIN_DIGITS))
    if squared:
        whole = _SQUARED.fullmatch(plain)
        if whole is not None:
            return parse_unit(whole["inner"])
    kelvin = _KELVIN.fullmatch(plain)
    if kelvin is not None:
        return _temperature(plain, kelvin)
    per_sr = re.search(r"sr|ster", plain, re.IGNORECASE) is not None
    scale, beams, pixels, unit, has_jansky = 1.0, 0, 0, u.dimensionless_unscaled, False
    for name, given_power in _factors(plain):
        power = given_power // 2 if squared else given_power
        if squared and given_power % 2:
            raise _unknown(plain)
        jansky = _JANSKY.fullmatch(name)
        if name[0].isdigit():
            scale *= _number(name, power, plain)
        elif name.lower() in _BEAM_NAMES:
            beams += power
        elif name.lower() in _PIXEL_NAMES:
            pixels += power
        elif jansky is not None:
            scale *= _prefix(jansky, plain, mega=per_sr) ** power
            unit, has_jansky = unit * u.Jy**power, True
        elif name.lower() in _OTHER_NAMES:
            unit = unit * _OTHER_NAMES[name.lower()] ** power
        else:
            raise _unknown(plain)
    found = _classified(plain, scale, beams, pixels, unit)
    if has_jansky and found.quantity == "power":
        raise InputError(
            f"unit '{plain}' is that of a flux integrated over frequency, or per second: divide the map by "
            "the width, or correct the unit (units.bunit)"
        )
    return found


def jy_per_pixel(
    unit: MapUnit,
    *,
    pixel_area: float | FloatArray,
    beam_area: float | None = None,
    frequency: float | None = None,
) -> float | FloatArray:
    """Return the value of one map unit in Jy/pixel.

    Brightness temperature is that of Rayleigh and Jeans, I = 2 k T nu^2 / c^2; K_CMB is dB/dT of a black
    body of 2.7255 K; W/m2/sr is nu I_nu.

    Parameters
    ----------
    unit : MapUnit
        From `parse_unit`.
    pixel_area : float or ndarray
        Area of the pixel in arcsec2.
    beam_area : float, optional
        Area of the beam in arcsec2; needed for units per beam.
    frequency : float, optional
        Hz; needed for temperatures and for W/m2.

    Returns
    -------
    float or ndarray
        A number if the areas are numbers.

    Raises
    ------
    InputError
        If the beam's area or the frequency is needed and missing.
    """
    scale = unit.scale
    if unit.needs_frequency:
        if frequency is None or not FREQUENCY_RANGE[0] <= frequency <= FREQUENCY_RANGE[1]:
            raise InputError(f"unit '{unit.text}' needs the frequency of the map (given: {frequency} Hz)")
        scale *= _jy_per(unit.quantity, frequency)
    if unit.per == "pixel":
        return scale
    if unit.per == "beam":
        if beam_area is None:
            raise InputError(f"unit '{unit.text}' needs the beam of the map")
        return scale / beam_area * pixel_area
    return scale / _ARCSEC2_PER_SR * pixel_area


def _jy_per(quantity: str, frequency: float) -> float:
    """Return Jy per W/m2, or Jy/sr per K, at a frequency in Hz."""
    if quantity == "power":
        return 1.0 / (_SI_PER_JY * frequency)
    rayleigh_jeans = 2.0 * _BOLTZMANN * frequency**2 / _LIGHT**2 / _SI_PER_JY
    if quantity == "kelvin":
        return rayleigh_jeans
    x = _PLANCK * frequency / (_BOLTZMANN * T_CMB)
    return rayleigh_jeans * (0.5 * x / math.sinh(0.5 * x)) ** 2 if x < 500.0 else 0.0


def _temperature(text: str, match: re.Match[str]) -> MapUnit:
    """Read `K`, `mK`, `K(Tmb)`, `K_CMB`; antenna temperature is refused, since it has no flux scale."""
    scale = (match["scale"] or "mb").lower().removeprefix("t").strip("_")
    if scale in ("a", "a*", "r", "r*"):
        raise InputError(
            f"unit '{text}' is an antenna temperature: divide the map by the beam efficiency "
            "and set units.bunit to K"
        )
    quantity = "kelvin_cmb" if scale == "cmb" else "kelvin"
    return MapUnit(text=text, quantity=quantity, per="sr", scale=_prefix(match, text, mega=False))


def _prefix(match: re.Match[str], text: str, *, mega: bool) -> float:
    """Return the factor of a prefix, whose case decides between milli and mega if the base's case allows.

    `mega` says which of the two is usual for this unit. A unit whose case suggests the other one is refused.
    """
    prefix, base = match["prefix"], match["base"]
    if prefix.lower() not in _PREFIXES:
        raise _unknown(text)
    if prefix not in ("m", "M"):
        return _PREFIXES[prefix.lower()]
    one_case = (prefix + base).isupper() or (prefix + base).islower()
    if one_case and (prefix == "M") != mega:
        small, large = f"m{base.capitalize()}", f"M{base.capitalize()}"
        raise InputError(f"unit '{text}' may be milli or mega: set units.bunit, spelled {small} or {large}")
    return 1e6 if prefix == "M" else 1e-3


def _factors(text: str) -> list[tuple[str, int]]:
    """Split a unit into names (or numbers) and exponents; a slash divides by the next name or bracket.

    A hyphen joins names: W/m2-sr divides by both.
    """
    signs, flip, last, factors, at = [1], 1, 1, [], 0
    while at < len(text) <= 80:
        token = _TOKEN.match(text, at)
        if token is None:
            raise _unknown(text)
        at = token.end()
        if token["slash"]:
            flip = -1
        elif token["joins"]:
            flip = last
        elif token["open"]:
            signs.append(signs[-1] * flip)
            flip = 1
        elif token["close"]:
            signs.pop()
            if not signs:
                raise _unknown(text)
        elif not token["times"]:
            name, power = _name_and_power(token)
            factors.append((name, signs[-1] * flip * power))
            last, flip = flip, 1
    if not factors or flip != 1 or len(signs) != 1 or any(abs(power) > 30 for _, power in factors):
        raise _unknown(text)
    return factors


def _number(text: str, power: int, whole: str) -> float:
    """Return a number to a power; raise an error unless it is a positive finite factor."""
    try:
        result = float(text) ** power
    except (OverflowError, ZeroDivisionError) as error:
        raise _unknown(whole) from error
    if not 1e-30 < result < 1e30:
        raise _unknown(whole)
    return result


def _name_and_power(token: re.Match[str]) -> tuple[str, int]:
    """Return the name, or the number, of a token and its exponent."""
    if token["number"]:
        name, *power = re.split(r"\*\*|\^", token["number"])
        return name.strip(), int(re.sub(r"[^\d+-]", "", power[0])) if power else 1
    square = _SQUARE.match(token["name"])
    power_text = re.sub(r"[^\d+-]", "", token["power"] or "") or "1"
    if square is None:
        return token["name"], int(power_text)
    return token["name"][square.end() :], 2 * int(power_text)


def _classified(text: str, scale: float, beams: int, pixels: int, unit: Any) -> MapUnit:
    """Return the `MapUnit` of a parsed unit; raise an error unless it is a flux density or a brightness."""
    areas = {(-1, 0): "beam", (0, -1): "pixel", (0, 0): "pixel"}
    kinds = [(u.Jy, "flux", areas.get((beams, pixels))), (u.W / u.m**2, "power", areas.get((beams, pixels)))]
    if beams == pixels == 0:
        kinds += [(u.Jy / u.sr, "flux", "sr"), (u.W / u.m**2 / u.sr, "power", "sr")]
    for target, quantity, per in kinds:
        if per is not None and unit.is_equivalent(target):
            factor = scale * float(unit.to(target))
            if not 1e-30 < factor < 1e40:
                raise _unknown(text)
            return MapUnit(text=text, quantity=quantity, per=per, scale=factor)
    raise InputError(
        f"unit '{text}' is neither a flux density nor a brightness; accepted are {ACCEPTED_UNITS}"
    )


def _unknown(text: str) -> InputError:
    """Return the error for a unit that cannot be read."""
    return InputError(f"unit '{text}' is not known; accepted are {ACCEPTED_UNITS}")
