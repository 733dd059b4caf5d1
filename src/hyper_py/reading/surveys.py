"""Beams of instruments: the codes of the original Hyper-Py, and presets by name with their sources."""

import math
from dataclasses import dataclass
from difflib import get_close_matches

from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import Beam

HEADER_CODE = 15
"""Survey code for a beam in the map's header."""

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
    wings : float
        FWHM in arcsec of the wings that the area includes beyond the Gaussian; infinite if not known.
    source : str
        Where the numbers are from.
    checked : str
        Where which of the numbers were verified; empty if they were not.
    note : str
        A remark for users of the preset, for the log.
    """

    name: str
    wavelength: float
    major: float
    minor: float
    area: float | None
    wings: float
    source: str
    checked: str = ""
    note: str = ""

    @property
    def frequency(self) -> float:
        """Hz."""
        return _LIGHT_UM / self.wavelength

    @property
    def beam(self) -> Beam:
        """Round beam with the geometric mean FWHM and, where it was measured, the area."""
        fwhm = (self.major * self.minor) ** 0.5
        source = f"survey {self.name} ({self.source})"
        return Beam(major=fwhm, minor=fwhm, area=self.area, wings=self.wings, source=source)


def _survey(
    name: str,
    wavelength: float,
    fwhm: float | tuple[float, float],
    source: str,
    area: float | None = None,
    wings: float = math.inf,
    *,
    checked: str = "",
    note: str = "",
) -> Survey:
    major, minor = fwhm if isinstance(fwhm, tuple) else (fwhm, fwhm)
    return Survey(
        name=name, wavelength=wavelength, major=major, minor=minor, area=area, wings=wings, source=source,
        checked=checked, note=note,
    )  # fmt: skip


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


_PACS = "PACS PSF note PICC-ME-TN-033 and PACS Handbook: Gaussian fit"
_PACS_SLOW = f"{_PACS}, scan at 20 arcsec/s"
_PACS_PARALLEL = f"{_PACS}, parallel mode at 60 arcsec/s"
_SPIRE = "SPIRE Handbook: FWHM and pipeline beam area for a spectrum of nu^-1"
_SCUBA2 = "Dempsey et al. 2013, MNRAS 430, 2534: main beam, whole area, error beam as wings"
_NIKA2 = "Perotto et al. 2020, A&A 637, A71: main beam; 260 and 150 GHz"
_AZTEC = "Wilson et al. 2008, MNRAS 386, 807, and the page of the instrument: 270.5 GHz"
_MIPS = "Rieke et al. 2004, ApJS 154, 25"

_SPIRE_CHECKED = (
    "FWHM: Herschel/SPIRE point source catalogue (CDS VIII/112). Areas: only those of 2012 were found, 465, "
    "822 and 1768 (SPIRE's page of beam profiles), which their authors call outdated"
)
_SCUBA2_CHECKED = "all of it: `matchbeam` of Starlink's SMURF, which has the paper's two Gaussians"
_NIKA2_CHECKED = "FWHM and frequencies: abstract of the paper"
_AZTEC_CHECKED = "all of it: page of the instrument (University of Massachusetts)"
_WINGS = (
    "its beam has wings that the Gaussian of this preset lacks, a fifth of the flux and more: "
    "set survey.psf to an image of the PSF for fluxes"
)

PRESETS: dict[str, Survey] = {
    survey.name: survey
    for survey in (
        _survey("pacs70", 70, (5.76, 5.46), _PACS_SLOW, note=_WINGS),
        _survey("pacs100", 100, (6.89, 6.69), _PACS_SLOW, note=_WINGS),
        _survey("pacs160", 160, (12.13, 10.65), _PACS_SLOW, note=_WINGS),
        _survey("pacs70-parallel", 70, (12.16, 5.86), _PACS_PARALLEL, note=_WINGS),
        _survey("pacs100-parallel", 100, (12.70, 6.98), _PACS_PARALLEL, note=_WINGS),
        _survey("pacs160-parallel", 160, (15.65, 11.64), _PACS_PARALLEL, note=_WINGS),
        _survey("spire250", 250, 17.9, _SPIRE, 469.35, checked=_SPIRE_CHECKED),
        _survey("spire350", 350, 24.2, _SPIRE, 831.27, checked=_SPIRE_CHECKED),
        _survey("spire500", 500, 35.4, _SPIRE, 1804.31, checked=_SPIRE_CHECKED),
        _survey("scuba2-450", 450, 7.9, _SCUBA2, 109.0, 25.0, checked=_SCUBA2_CHECKED),
        _survey("scuba2-850", 850, 13.0, _SCUBA2, 239.9, 48.0, checked=_SCUBA2_CHECKED),
        _survey("laboca", 870, 19.2, "Schuller et al. 2009, A&A 504, 415: maps of ATLASGAL"),
        _survey("saboca", 350, 7.8, "Siringo et al. 2010, Messenger 139, 20"),
        _survey("artemis350", 350, 8.0, "Andre et al. 2016, A&A 592, A54"),
        _survey("nika2-1mm", 1153, 11.1, _NIKA2, checked=_NIKA2_CHECKED),
        _survey("nika2-2mm", 1999, 17.6, _NIKA2, checked=_NIKA2_CHECKED),
        _survey(
            "bolocam", 1106, 33.0, "Aguirre et al. 2011, ApJS 192, 4: effective resolution of the BGPS",
            checked="FWHM: abstract of the paper",
        ),
        _survey("aztec-jcmt", 1108, 18.0, _AZTEC, checked=_AZTEC_CHECKED),
        _survey("aztec-aste", 1108, 28.0, _AZTEC, checked=_AZTEC_CHECKED),
        _survey("mambo2", 1200, 11.0, "Kreysa et al. 1998, SPIE 3357, 319; IRAM 30 m"),
        _survey(
            "mustang2", 3331, 9.0, "Dicker et al. 2014, JLTP 176, 808, and the GBT's pages; unsmoothed",
            checked="FWHM and band (75 to 105 GHz): the GBT's pages, abstract of the paper",
        ),
        _survey("mips24", 24, 6.0, _MIPS, note=_WINGS),
        _survey("mips70", 70, 18.0, _MIPS, note=_WINGS),
        _survey("mips160", 160, 40.0, _MIPS, note=_WINGS),
    )
}  # fmt: skip
"""Presets by name: present values of the instruments, with their sources, and where these were checked."""
