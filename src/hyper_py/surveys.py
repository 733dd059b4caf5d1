"""Beams of instruments: the codes of the original Hyper-Py, and presets by name with their sources."""

from dataclasses import dataclass
from difflib import get_close_matches

from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import Beam

HEADER_CODE = 15
"""The survey code that means: take the beam from the map's header."""

_LIGHT_UM = 299792458.0e6


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The beam of one band of an instrument.

    Attributes
    ----------
    name : str
    wavelength : float
        Micrometres, nominal.
    major, minor : float
        FWHM in arcsec. The orientation on the sky depends on the observation, so that `beam` is round
        with the geometric mean.
    area : float, optional
        Measured solid angle in arcsec2, where the instrument's flux scale is tied to it.
    source : str
        Where the numbers are from.
    """

    name: str
    wavelength: float
    major: float
    minor: float
    area: float | None
    source: str

    @property
    def frequency(self) -> float:
        """Hz."""
        return _LIGHT_UM / self.wavelength

    @property
    def beam(self) -> Beam:
        """Round beam with the geometric mean FWHM and, where it was measured, the area."""
        fwhm = (self.major * self.minor) ** 0.5
        return Beam(major=fwhm, minor=fwhm, area=self.area, source=f"survey {self.name} ({self.source})")


def _survey(
    name: str, wavelength: float, fwhm: float | tuple[float, float], source: str, area: float | None = None
) -> Survey:
    major, minor = fwhm if isinstance(fwhm, tuple) else (fwhm, fwhm)
    return Survey(name=name, wavelength=wavelength, major=major, minor=minor, area=area, source=source)


_ORIGINAL = "numbers of the original Hyper-Py"
CODES: dict[int, Survey] = {
    1: _survey("code 1, PACS 70", 70, 5.2, _ORIGINAL),
    2: _survey("code 2, PACS 100", 100, 6.8, _ORIGINAL),
    3: _survey("code 3, PACS 160", 160, 12.0, _ORIGINAL),
    4: _survey("code 4, SPIRE 250", 250, 18.0, _ORIGINAL, 423.0),
    5: _survey("code 5, SPIRE 350", 350, 24.0, _ORIGINAL, 751.0),
    6: _survey("code 6, SPIRE 500", 500, 34.5, _ORIGINAL, 1587.0),
    7: _survey("code 7, JCMT 450", 450, 8.0, _ORIGINAL),
    8: _survey("code 8, JCMT 850", 850, 14.5, _ORIGINAL),
}
"""Survey codes of the original, with its numbers."""


def find_survey(*, code: int = HEADER_CODE, name: str | None = None) -> Survey | None:
    """Return the preset of a name or a code; None for code 15 (the beam is in the header).

    Parameters
    ----------
    code : int
        1 to 8, or 15; used if `name` is not given.
    name : str, optional
        One of `PRESETS`, any case, with or without hyphens, blanks and underscores.

    Raises
    ------
    ConfigurationError
        If there is no such preset; the message names the nearest.
    """
    if name is not None:
        plain = _plain(name)
        known = {_plain(key): survey for key, survey in PRESETS.items()}
        if plain in known:
            return known[plain]
        near = get_close_matches(plain, known, n=1)
        hint = f"; did you mean {known[near[0]].name}?" if near else ""
        raise ConfigurationError(f"survey.name: '{name}' is not known{hint} (known: {', '.join(PRESETS)})")
    if code == HEADER_CODE:
        return None
    if code not in CODES:
        raise ConfigurationError(
            f"survey.survey_code: {code} is not known (1 to 8, or 15 for the map's header)"
        )
    return CODES[code]


def _plain(name: str) -> str:
    """Return a name in lower case without hyphens, blanks, underscores and dots."""
    return "".join(c for c in name.lower() if c.isalnum())


PRESETS: dict[str, Survey] = {}
