"""Coordinates, beam, unit and frequency of a map from its FITS header.

These functions take headers, not files. A missing or impossible value is an error whose text names the option
that supplies it; all such errors of a file are reported together. Nothing is guessed silently.
"""

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from hyper_py.arrays import FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.geometry import Beam, celestial_frame
from hyper_py.units import FREQUENCY_RANGE

ERROR_WORDS = re.compile(
    r"err|unc|std|sigma|stat|var|rms|noise|cov|hit|weight|wht|exp|mask|dq|qual|flag|snr|samp|ctx|psf|kernel|model|bkg",
    re.IGNORECASE,
)
"""Names of extensions that are not the map itself, such as errors and masks."""
REMARKS = ("COMMENT", "HISTORY", "")
"""Keywords of cards without a value."""

_SPECTRAL = re.compile(r"FREQ|WAVE|AWAV|VRAD|VELO|VOPT|FELO|ZOPT|BETA|ENER|WAVN|VLSR|LAMBDA", re.IGNORECASE)
_LIGHT = 299792458.0
_NUMBER = r"[-+]?\d*\.?\d+(?:[EeDd][-+]?\d+)?"
_AIPS_BEAM = re.compile(rf"BMAJ\s*=\s*({_NUMBER})\s+BMIN\s*=\s*({_NUMBER})(?:\s+BPA\s*=\s*({_NUMBER}))?")
_BEAM_KEY = re.compile(r"FWHM|BEAM|RESOL|HPBW|BMJ|BMN|BMAJ|BMIN|PSF")
_QUANTITY = re.compile(r"\d\s*(\"|''|arcsec|arcmin|deg)")
_BEAM_REMARK = re.compile(r"\b(beam|fwhm|hpbw|resolution|bmaj)\b[^\d]{0,30}\d", re.IGNORECASE)
_SKY = re.compile(r"RA--|DEC-|[A-Z]LON|[A-Z]LAT|[A-Z]{2}L[NT]-", re.IGNORECASE)
_WCSLIB = re.compile(r"ERROR \d+ in \w+\(\) at line \d+ of file \S+: ")
_ROUTINE = re.compile(r"datfix|obsfix|celfix|unitfix|more axes \(|RADECSYS|deprecated")
_SIP_ORDER = {"A_ORDER", "B_ORDER"}
_SIP_CARD = re.compile(r"[AB]P?_(ORDER|DMAX|\d_\d)")
_MAX_SKEW, _MAX_ASPECT, _MAX_EXTENT = 0.05, 10.0, 400.0


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Which axis of the data is which: FITS axis numbers, from 1.

    `x` and `y` are the two celestial axes in the order of the file, `others` all further axes of the data.
    """

    x: int
    y: int
    others: tuple[int, ...]


def number(header: Any, key: str) -> float | None:
    """Return a header value as a finite float, even if it is written as text; None if absent.

    Raises
    ------
    InputError
        If the value is there but is not a number.
    """
    value = header.get(key)
    if value is None or type(value).__name__ == "Undefined" or value == "":
        return None
    try:
        result = math.nan if isinstance(value, bool) else float(str(value).strip().replace("D", "E"))
    except ValueError:
        result = math.nan
    if not math.isfinite(result):
        raise InputError(f"{key} = {value!r} is not a number")
    return result


def celestial_wcs(header: Any, notes: list[str], *, hdus: Sequence[Any] = ()) -> tuple[WCS, Axes, WCS]:
    """Return the celestial coordinates of a map or cube.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the image.
    notes : list of str
        Corrections that astropy made in the header are appended.
    hdus : sequence of HDUs
        Of the file, where coordinates of other axes may be tabulated (-TAB).

    Returns
    -------
    celestial : WCS
        Two axes, in the order of the file.
    axes : Axes
        Where they are in the data.
    full : WCS
        All axes of the file.

    Raises
    ------
    InputError
        If coordinates are missing, incomplete or impossible. A missing CDELT is never taken as 1 degree.
    """
    clean = _clean_header(header)
    _check_scale(clean)
    _name_scamp_distortions(clean, notes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # astropy takes distortions on two axes only.
            plain = _without_distortions(clean) if _n_axes(clean) > 2 else clean
            full = WCS(plain, fobj=fits.HDUList(list(hdus)) if _is_tabular(clean) and hdus else None)
            lon, lat = full.wcs.lng + 1, full.wcs.lat + 1
            x, y = sorted((lon, lat))
            celestial = full.sub([x, y]) if lon and lat else full
            if (x, y) == (1, 2) and full.naxis > 2 and _SIP_ORDER & set(clean):
                celestial.sip = WCS(clean, naxis=[1, 2]).sip
            if lon and lat:
                celestial.wcs.set()
        except InputError:
            raise
        except Exception as error:  # wcslib's errors have no common class
            raise InputError(f"coordinates cannot be used: {_one_line(error)}: correct the file") from error
    notes.extend(f"header: {_one_line(w.message)}" for w in caught if not _ROUTINE.search(str(w.message)))
    if not lon or not lat:
        raise InputError("no celestial coordinates: CTYPE of two axes must be such as RA---TAN and DEC--TAN")
    naxis = int(header.get("NAXIS", 0))
    if y > naxis:
        raise InputError(f"the celestial axes are {x} and {y}, but the data has {naxis} axes")
    crval = full.wcs.crval
    if abs(crval[lon - 1]) > 720.0 or abs(crval[lat - 1]) > 90.0 + 1e-6:
        raise InputError(
            f"CRVAL = {crval[lon - 1]:.6g}, {crval[lat - 1]:.6g} deg is not a position on the sky: "
            "correct the file"
        )
    if _SIP_ORDER & set(clean) and celestial.sip is None:
        raise InputError("SIP distortions (A_ORDER, B_ORDER) must be of the axes 1 and 2: correct the file")
    _check_pixels(celestial, clean, x, y)
    celestial_frame(celestial)
    if full.wcs.ctype[lon - 1].startswith("GLON"):
        celestial.wcs.radesys = ""  # astropy would take it for the frame
    return celestial, Axes(x=x, y=y, others=tuple(i for i in range(1, naxis + 1) if i not in (x, y))), full


def _clean_header(header: Any) -> Any:
    """Return a copy without remarks, in which coordinates that are written as text are numbers.

    Equinoxes may be written J2000 or B1950.
    """
    clean = type(header)([card for card in header.cards if card.keyword not in REMARKS], copy=True)
    for key in ("EQUINOX", "EPOCH"):
        if isinstance(clean.get(key), str):
            clean[key] = re.sub(r"^\s*[JB](?=\d)", "", clean[key])
    for key in list(clean):
        if re.fullmatch(
            r"(CRVAL|CRPIX|CDELT|CROTA)\d|(CD|PC|PV)\d_\d+|PC\d{6}|EQUINOX|EPOCH|L[OA][NT]POLE", key
        ):
            value = number(clean, key)
            if value is None:
                del clean[key]
            elif isinstance(clean[key], str):
                clean[key] = value
    return clean


def _name_scamp_distortions(header: Any, notes: list[str]) -> None:
    """Change TAN with parameters on the latitude axis, which the standard has not, to TPV.

    Old versions of SCAMP write distortions so. wcslib knows them only if there are many parameters, and
    otherwise takes those on the longitude axis for the place of the native pole.
    """
    sky = {i: str(header.get(f"CTYPE{i}", "")).strip().upper() for i in range(1, 10)}
    tangential = [i for i, kind in sky.items() if _SKY.match(kind) and kind.endswith("-TAN")]
    latitude = [i for i in tangential if "LAT" in sky[i][:5] or sky[i].startswith("DEC")]
    # CASA writes PV2_1 = 0 for any projection; distortions have a linear term.
    if len(tangential) == 2 and any(header.get(f"PV{i}_1") for i in latitude):
        for i in tangential:
            header[f"CTYPE{i}"] = f"{sky[i].removesuffix('TAN')}TPV"
        notes.append(f"PV{latitude[0]}_1 on a TAN projection: read as the distortions of SCAMP (TPV)")


def _is_tabular(header: Any) -> bool:
    """Return whether coordinates are in a table; those of the sky must not be.

    Raises
    ------
    InputError
        If those of the sky are: no output could have them.
    """
    tabular = [str(header[key]) for key in header if re.fullmatch(r"CTYPE\d", key) and _is_tab(header[key])]
    if any(_SKY.match(kind) for kind in tabular):
        raise InputError(
            f"the sky coordinates are in a table ({', '.join(tabular)}): resample the map to a projection"
        )
    return bool(tabular)


def _is_tab(kind: Any) -> bool:
    return str(kind).strip().upper().endswith("-TAB")


def _n_axes(header: Any) -> int:
    """Return the number of axes that have a CTYPE, or that the data has."""
    return max([int(header.get("NAXIS", 0)), *(i for i in range(1, 10) if f"CTYPE{i}" in header)])


def _without_distortions(header: Any) -> Any:
    """Return a header without SIP."""
    plain = header.copy()
    for key in list(plain):
        if _SIP_CARD.fullmatch(key):
            del plain[key]
        elif re.fullmatch(r"CTYPE\d", key):
            plain[key] = str(plain[key]).removesuffix("-SIP")
    return plain


def _check_scale(header: Any) -> None:
    """Raise an error if the pixel's size is incomplete; wcslib would silently use 1 degree, or 0."""
    types = {i: str(header.get(f"CTYPE{i}", "")) for i in range(1, 10)}
    sky = [i for i, kind in types.items() if _SKY.match(kind)]
    if len(sky) != 2:
        raise InputError("no celestial coordinates: CTYPE of two axes must be such as RA---TAN and DEC--TAN")
    x, y = sky
    for i in (x, y):
        for key in (f"CRVAL{i}", f"CRPIX{i}"):
            if number(header, key) is None:
                raise InputError(f"the header lacks {key}: correct the file")
    names = [f"{i}_{j}" for i in (x, y) for j in (x, y)]
    cd = [number(header, f"CD{name}") for name in names]
    has_cd = any(value is not None for value in cd)
    if has_cd and not ((cd[0] or cd[1]) and (cd[2] or cd[3])):
        raise InputError("the CD matrix is incomplete: correct the file")
    if not has_cd:
        for i in (x, y):
            if not number(header, f"CDELT{i}"):
                raise InputError(f"the pixel size is not given: the header lacks CDELT{i} and a CD matrix")
    old = [number(header, f"PC{i:03d}{j:03d}") for i in (x, y) for j in (x, y)]
    pc = [number(header, f"PC{name}") for name in names]
    for label, matrix in (("CD", cd), ("PC", old if any(v is not None for v in old) else pc)):
        off_diagonal = bool(matrix[1]) or bool(matrix[2])
        transposed = label == "CD" and matrix[0] is None and matrix[3] is None and matrix[1] and matrix[2]
        if off_diagonal and None in matrix and not transposed:
            raise InputError(f"the {label} matrix is incomplete: correct the file")


def _check_pixels(wcs: WCS, header: Any, x: int, y: int) -> None:
    """Raise an error for impossible pixels: skewed, very elongated, or larger than the sky."""
    jacobian = wcs.pixel_scale_matrix
    sides = np.hypot(*jacobian)
    if not np.isfinite(jacobian).all() or not (sides > 0).all():
        raise InputError("the pixel size is zero or not finite: correct CDELT or the CD matrix")
    skew = abs(float(np.prod(jacobian, axis=1).sum() / sides.prod()))
    pixel = f"pixels of {sides[0]:.4g} x {sides[1]:.4g} deg"
    if skew > _MAX_SKEW or sides.max() > _MAX_ASPECT * sides.min():
        angle = math.degrees(math.acos(min(skew, 1.0)))
        raise InputError(f"{pixel}, axes {angle:.0f} deg apart, cannot be right: correct CDELT or the matrix")
    extent = float(max(sides[0] * header.get(f"NAXIS{x}", 0), sides[1] * header.get(f"NAXIS{y}", 0)))
    if extent > _MAX_EXTENT or sides.min() < 1e-10:
        raise InputError(
            f"{pixel} on a map {extent:.4g} deg wide cannot be right: correct CDELT or the matrix"
        )


def header_beam(header: Any, primary: Any, notes: list[str]) -> Beam | None:
    """Return the beam of a header: BMAJ, BMIN, BPA in degrees, else the last one in an AIPS HISTORY.

    Parameters
    ----------
    header, primary : astropy.io.fits.Header
        Of the image, and of the file; the second is used where the first lacks a value.
    notes : list of str
        Assumptions are appended.

    Raises
    ------
    InputError
        If only a part of a beam is given, or it is impossible.
    """
    for place in (header, primary):
        major, minor, pa = (number(place, key) for key in ("BMAJ", "BMIN", "BPA"))
        if major is None and minor is None:
            continue
        if major is None or minor is None:
            raise InputError(f"the header has {'BMIN' if major is None else 'BMAJ'} alone")
        if pa is None and major != minor:
            notes.append("no BPA in the header: the beam's position angle is taken as 0")
        if major < minor:
            notes.append("BMAJ is smaller than BMIN: they are exchanged, and 90 deg are added to BPA")
        return ordered_beam(major * 3600, minor * 3600, pa or 0.0, source="BMAJ, BMIN, BPA in the header")
    for place in (header, primary):
        found = [_AIPS_BEAM.search(str(line)) for line in place.get("HISTORY", [])]
        beams = [match for match in found if match is not None]
        if beams:
            values = [float(v.upper().replace("D", "E")) if v else 0.0 for v in beams[-1].groups()]
            return ordered_beam(
                values[0] * 3600, values[1] * 3600, values[2], source="AIPS HISTORY in the header"
            )
    return None


def ordered_beam(major: float, minor: float, pa: float, *, source: str, area: float | None = None) -> Beam:
    """Return a beam from axes in either order; `pa` is the direction of the first."""
    if major < minor:
        major, minor, pa = minor, major, pa + 90.0
    return Beam(major=major, minor=minor, pa=pa % 180.0, source=source, area=area)


def beam_hints(header: Any, primary: Any) -> str:
    """Return keywords and remarks that may hold the beam in another way, for an error message; '' if none."""
    found: dict[str, str] = {}
    for place in (primary, header):
        for key in place:
            value = place[key] if key not in REMARKS else None
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if _BEAM_KEY.search(key) and (is_number or _QUANTITY.search(str(value))):
                found[key] = f"{key} = {value}"
    lines = [
        str(line).strip() for place in (header, primary) for key in REMARKS[:2] for line in place.get(key, [])
    ]
    remark = next((line for line in reversed(lines) if _BEAM_REMARK.search(line)), "")
    texts = [*list(found.values())[:3], *([f"the remark '{remark[:70]}'"] if remark else [])]
    return f" (the header has {', '.join(texts)})" if texts else ""


def header_unit(header: Any, primary: Any) -> tuple[str, str] | None:
    """Return the unit as written and the keyword it came from, BUNIT before UNIT; None if there is none."""
    for place, where in ((header, ""), (primary, " of the primary header")):
        for key in ("BUNIT", "UNIT", "UNITS", "QTTY____", "ZUNITS"):
            text = place.get(key)
            if isinstance(text, str) and text.strip():
                return text.strip(), key + where
    return None


def header_frequency(full: WCS | None, header: Any, primary: Any, pixel: int = 0) -> tuple[float, str] | None:
    """Return the frequency of a plane in Hz and its origin; None if there is no plausible one.

    A spectral axis has precedence over keywords (FREQUENC, RESTFRQ, WAVELEN, ...). A velocity axis needs the
    rest frequency.

    Parameters
    ----------
    full : WCS, optional
        All axes.
    header, primary : astropy.io.fits.Header
        Of the image and of the file.
    pixel : int
        Zero-based channel.
    """
    candidates = [(_axis_frequency(full, pixel), "spectral axis")]
    for place in (header, primary):
        candidates += [
            (number_or_none(place, key), key) for key in ("RESTFRQ", "RESTFREQ", "FREQ", "FREQUENC")
        ]
        candidates += [(_wavelength_in_hz(place, key), key) for key in ("WAVELEN", "WAVELNTH", "WAVELENG")]
    for value, source in candidates:
        if value is not None and FREQUENCY_RANGE[0] <= value <= FREQUENCY_RANGE[1]:
            return value, source
    return None


def number_or_none(header: Any, key: str) -> float | None:
    """Return a number; None if the value is not a number."""
    try:
        return number(header, key)
    except InputError:
        return None


def _wavelength_in_hz(header: Any, key: str) -> float | None:
    """Return Hz for a wavelength in metres or micrometres; None if it is plausible in neither unit."""
    value = number_or_none(header, key) or 0.0
    metres = value if 0 < value < 0.02 else value * 1e-6 if 10 <= value <= 20_000 else 0.0
    return _LIGHT / metres if metres else None


def spectral_axis(full: WCS) -> int | None:
    """Return the FITS number of the spectral axis; None if there is none."""
    if full.wcs.spec >= 0:
        return int(full.wcs.spec) + 1
    types = [str(t) for t in full.wcs.ctype]
    return next((i + 1 for i, t in enumerate(types) if _SPECTRAL.match(t)), None)


def spectral_values(full: WCS, axis: int | None, channels: ArrayLike) -> tuple[FloatArray, str]:
    """Return the values of an axis at zero-based channels, and their unit.

    Without coordinates on the axis the values are the channels themselves, and the unit is ''.
    """
    n = np.atleast_1d(np.asarray(channels, dtype=np.float64))
    if axis is None or axis > full.naxis or not str(full.wcs.ctype[axis - 1]).strip():
        return n, ""
    pixels = np.tile(full.wcs.crpix - 1.0, (n.size, 1))
    pixels[:, axis - 1] = n
    values: FloatArray = full.wcs_pix2world(pixels, 0)[:, axis - 1]
    return values, str(full.wcs.cunit[axis - 1])


def _axis_frequency(full: WCS | None, pixel: int) -> float | None:
    """Return Hz at a channel of the spectral axis."""
    if full is None:
        return None
    axis = spectral_axis(full)
    if axis is None:
        return None
    kind = str(full.wcs.ctype[axis - 1])[:4].upper()
    values, unit = spectral_values(full, axis, pixel)
    value = float(values[0]) * _si_scale(unit)
    if not math.isfinite(value):
        return None
    rest = float(full.wcs.restfrq) or (_LIGHT / full.wcs.restwav if full.wcs.restwav else 0.0)
    if kind == "FREQ":
        return value
    if kind in ("WAVE", "AWAV") and value > 0:
        return _LIGHT / value
    if kind in ("VRAD", "VELO") and rest:
        return rest * (1.0 - value / _LIGHT)
    if kind in ("VOPT", "FELO") and rest:
        return rest / (1.0 + value / _LIGHT)
    return None


def _si_scale(unit: str) -> float:
    """Return what a unit is in SI: wcslib converts those of all axes but tabulated ones; NaN if unknown."""
    try:
        return float(u.Unit(unit).si.scale) if unit else 1.0
    except (ValueError, TypeError):
        return math.nan


def _one_line(message: object) -> str:
    """Return a message without line breaks and without wcslib's line numbers, at most 160 characters."""
    return _WCSLIB.sub("", re.sub(r"\s+", " ", str(message)).strip())[:160]
