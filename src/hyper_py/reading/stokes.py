"""Which plane of a polarisation axis is read: the one asked for, by its name, and no other."""

import re
from typing import Any

from hyper_py.diagnostics import InputError

STOKES = {
    "I": 1, "Q": 2, "U": 3, "V": 4,
    "RR": -1, "LL": -2, "RL": -3, "LR": -4, "XX": -5, "YY": -6, "XY": -7, "YX": -8,
}  # fmt: skip
"""Values of a STOKES axis: Greisen and Calabretta 2002, A&A 395, 1061, table 7."""
_NAMES = {value: name for name, value in STOKES.items()}
_POLARISED = re.compile(r"\bpolari[sz]ed\s+(intensity|flux|emission)\b", re.IGNORECASE)
_POLARISED_NAMES = ("P", "PI", "POLI", "LPOL", "PPOL", "PLINEAR", "PTOTAL")


def stokes_plane(full: Any, axis: int, n: int, *, wanted: str) -> tuple[int, str]:
    """Return the zero-based plane that is asked for, and its name.

    Parameters
    ----------
    full : astropy.wcs.WCS
        All axes.
    axis : int
        FITS number of the axis.
    n : int
        Its planes.
    wanted : str
        A key of `STOKES`.

    Returns
    -------
    plane : int
    name : str
        Empty for the only plane of an axis whose value is no Stokes parameter: nothing is known then.

    Raises
    ------
    InputError
        If there is no such plane; the message has the names of those that are there.
    """
    i = axis - 1
    step = float(full.wcs.cdelt[i]) or 1.0
    # CRPIX is 0 where the header lacks it; the first plane is meant.
    first = float(full.wcs.crval[i]) + step * (1.0 - (float(full.wcs.crpix[i]) or 1.0))
    values = [round(first + step * k) for k in range(n)]
    if STOKES[wanted] in values:
        return values.index(STOKES[wanted]), wanted
    names = [_NAMES[value] for value in values if value in _NAMES]
    if n == 1 and not names and wanted == "I":
        return 0, ""
    there = ", ".join(names) or f"values {', '.join(map(str, values[:8]))}"
    raise InputError(
        f"no plane of Stokes {wanted}; the file has {there}: set io.stokes to one of them"
        if names
        else f"no plane of Stokes {wanted}: the axis STOKES has the {there}: correct its CRVAL"
    )


def stokes_keyword(header: Any, *, wanted: str) -> str:
    """Return the parameter that the keyword STOKES of a map without such an axis names; empty without one.

    Raises
    ------
    InputError
        If it is another one than the one that is asked for.
    """
    name = str(header.get("STOKES", "")).strip().upper()
    if name not in STOKES:
        return ""
    if name != wanted:
        raise InputError(f"no plane of Stokes {wanted}; the header has STOKES = {name}: set io.stokes to it")
    return name


def is_polarised_intensity(header: Any) -> bool:
    """Return whether a header says that the map is of polarised intensity."""
    named = str(header.get("STOKES", "")).strip().upper() in _POLARISED_NAMES
    return named or any(_POLARISED.search(str(header.get(key, ""))) for key in ("BTYPE", "OBJECT", "CONTENT"))
