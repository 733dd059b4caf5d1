"""Headers mutated at random: read rightly, or refused in one line; no traceback, no hang, no wrong scale.

The referee computes Jy/pixel from the mutated keywords by itself, with astropy's units and SkyCoord only.
"""

import time
import warnings

import numpy as np
import pytest
from astropy import constants
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyper_py.diagnostics import HyperPyError
from hyper_py.reading.io import read_image

SIDE = 12
COMMON = {
    "CRVAL1": 83.0,
    "CRVAL2": -5.0,
    "CRPIX1": 6.0,
    "CRPIX2": 7.0,
    "BMAJ": 0.006,
    "BMIN": 0.004,
    "BPA": 20.0,
}
STEP = {"CDELT1": -0.001, "CDELT2": 0.001}
TAN, SIN = ({"CTYPE1": f"RA---{p}", "CTYPE2": f"DEC--{p}"} for p in ("TAN", "SIN"))
COS, SINE = 0.00086602540378, 0.0005
TURNED = {"1_1": -COS, "1_2": SINE, "2_1": SINE, "2_2": COS}
CD = {f"CD{key}": value for key, value in TURNED.items()}
PC = {f"PC{key}": 1e3 * value * (-1 if key[0] == "1" else 1) for key, value in TURNED.items()}
FREQ = {"CTYPE3": "FREQ", "CRVAL3": 2.3e11, "CRPIX3": 1.0, "CDELT3": 1e9, "CUNIT3": "Hz", "RESTFRQ": 2.2e11}
BASES = [
    {"NAXIS": 2} | TAN | COMMON | STEP | {"BUNIT": "Jy/beam"},
    {"NAXIS": 2} | SIN | COMMON | CD | {"BUNIT": "mJy/beam"},
    {"NAXIS": 2} | TAN | COMMON | STEP | PC | {"BUNIT": "MJy/sr", "EQUINOX": 2000.0},
    {"NAXIS": 3} | SIN | COMMON | STEP | FREQ | {"BUNIT": "K"},
    {"NAXIS": 2} | SIN | COMMON | STEP | {"CROTA2": 30.0, "BUNIT": "W/m2/sr", "RESTFRQ": 8e11},
    {"NAXIS": 2}
    | TAN
    | COMMON
    | STEP
    | {"BUNIT": "Jy/pixel", "CUNIT1": "deg", "CUNIT2": "deg", "LONPOLE": 180.0},
]
SCALE_KEYS = {
    "BMAJ",
    "BMIN",
    "BUNIT",
    "CTYPE1",
    "CTYPE2",
    "CRVAL1",
    "CRVAL2",
    "CRPIX1",
    "CRPIX2",
    *STEP,
    *CD,
    *PC,
}
"""Without one of these the scale or the place is not known: the map must be refused."""
NUMBERS = """0.0 -1.0 1.0 1E300 -1E300 1E-300 1E10 1E-10 90.0 -90.0 180.0 360.0 1D-3 99999999999999999999
    -5 0 2 3"""
TEXTS = """abc 1.0 NaN Jy K(Tmb) RA---TAN DEC--SIN GLON-CAR FREQ LINEAR MJY/BEAM counts Hz arcsec m STOKES"""
VALUES = [
    *NUMBERS.split(),
    *(f"'{text}'" for text in TEXTS.split()),
    *(
        "T",
        "F",
        "NaN",
        "Inf",
        "-Inf",
        "''",
        "''",
        "",
        "(1.0, 2.0)",
        "garbage",
        "'unterminated",
        "1.0 / comment",
    ),
]
EXTRA = """PC1_2 CD1_1 CROTA1 CUNIT1 EQUINOX RADESYS BSCALE BZERO BLANK PV2_1 WCSAXES CTYPE4 NAXIS1 NAXIS3
    BITPIX RESTFRQ LATPOLE CDELT2 EXTEND MJD-OBS SPECSYS NAXIS"""


@st.composite
def mutated_headers(draw):
    """A base header with keywords dropped, swapped or set to something else: texts of values."""
    base = draw(st.sampled_from(BASES))
    texts = {key: f"'{value}'" if isinstance(value, str) else repr(value) for key, value in base.items()}
    for _ in range(draw(st.integers(1, 4))):
        keys = [key for key in texts if key != "NAXIS"]
        how = draw(st.sampled_from(["drop", "swap", "set", "scale", "add"]))
        if how == "drop" and keys:
            texts.pop(draw(st.sampled_from(keys)))
        elif how == "swap" and len(keys) > 1:
            one, two = draw(st.sampled_from(keys)), draw(st.sampled_from(keys))
            texts[one], texts[two] = texts[two], texts[one]
        elif how == "set" and keys:
            texts[draw(st.sampled_from(keys))] = draw(st.sampled_from(VALUES))
        elif how == "scale":
            key = draw(st.sampled_from(keys)) if keys else "BMAJ"
            texts[key] = repr(draw(st.floats(-1e4, 1e4)) * 10.0 ** draw(st.integers(-8, 2)))
        else:
            texts[draw(st.sampled_from(EXTRA.split()))] = draw(st.sampled_from(VALUES))
    return base, texts


def write_raw(path, texts):
    """Write a file from texts of values, however wrong, with the data that the base header is for."""
    n = 3 if texts.get("NAXIS") == "3" else 2
    first = {"SIMPLE": "T", "BITPIX": "-64", "NAXIS": str(n), "NAXIS1": str(SIDE), "NAXIS2": str(SIDE)}
    first |= {"NAXIS3": "1"} if n == 3 else {}
    cards = [f"{key:<8}= {value:>20}" for key, value in (first | texts).items()]
    header = "".join(card[:80].ljust(80) for card in [*cards, "END"])
    data = (1.0 + np.arange(SIDE * SIDE)).astype(">f8").tobytes()
    blocks = (header.encode(), b" "), (data, b"\0")
    path.write_bytes(b"".join(part.ljust(-(-len(part) // 2880) * 2880, fill) for part, fill in blocks))


def as_number(text):
    """A FITS number, also within quotes; None if it is none."""
    try:
        value = float(text.split("/")[0].strip().strip("'").strip().replace("D", "E"))
    except (ValueError, AttributeError):
        return None
    return value if np.isfinite(value) else None


def referee_factor(image, texts):
    """Jy/pixel at a pixel with sky, by astropy alone, from the keywords as they stand in the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y, x = np.argwhere(np.isfinite(image.data))[0]
        sky = image.wcs
        corners = sky.wcs_pix2world([[x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]], 0)
        lon, lat = corners[:, sky.wcs.lng], corners[:, sky.wcs.lat]
        points = SkyCoord(lon, lat, unit="deg").cartesian.xyz.value
        area = np.linalg.norm(np.cross(points[:, 1] - points[:, 0], points[:, 3] - points[:, 2])) * u.sr
        unit = texts["BUNIT"].split(" / ")[0].strip().strip("'").strip()
        beam = np.pi / (4 * np.log(2)) * as_number(texts["BMAJ"]) * as_number(texts["BMIN"]) * u.deg**2
        hz = image.meta.get("frequency")
        if unit == "K(Tmb)":
            unit = "K"
        value = 1 * u.Unit(unit.replace("pixel", "pix"))
        if value.unit.is_equivalent(u.Jy) or value.unit.is_equivalent(u.Jy / u.pix):
            factor = (value if "pix" in unit else value / u.pix).to_value(u.Jy / u.pix)
        elif value.unit.is_equivalent(u.Jy / u.beam):
            factor = (value.to(u.Jy / u.sr, u.beam_angular_area(beam)) * area).to_value(u.Jy)
        elif value.unit.is_equivalent(u.K):
            factor = (2 * constants.k_B * value * (hz * u.Hz) ** 2 / constants.c**2 * area / u.sr).to_value(
                u.Jy
            )
        elif value.unit.is_equivalent(u.Jy / u.sr):
            factor = (value * area).to_value(u.Jy)
        else:
            factor = (value * area / (hz * u.Hz)).to_value(u.Jy)
    return (y, x), factor


def raw_value(texts, y, x, shape):
    """The value of a pixel as the file has it, with its scaling."""
    scale, zero = as_number(texts.get("BSCALE", "1")), as_number(texts.get("BZERO", "0"))
    return (1.0 + y * shape[1] + x) * (1.0 if scale is None else scale) + (zero or 0.0)


def check(path, base, texts):
    """Read a mutated map and compare it with the referee."""
    write_raw(path, texts)
    start = time.process_time()  # whatever else the machine does
    try:
        image = read_image(path)
    except HyperPyError as error:
        message = str(error)
    else:
        message = ""
    finally:
        assert time.process_time() - start < 5.0
    if message:
        assert "\n" not in message
        assert message.startswith("map")
        return False
    lost = {key for key in base if key in SCALE_KEYS and key not in texts}
    for name in ("CD", "PC"):  # with neither, the file is a right one of another grid, which is not turned
        pair = {f"{name}1_2", f"{name}2_1"}
        if not any(as_number(texts.get(key, "0")) for key in pair):
            lost -= pair
    assert not lost, f"read without {lost}: {texts}"
    (y, x), factor = referee_factor(image, texts)
    assert image.data[y, x] == pytest.approx(factor * raw_value(texts, y, x, image.shape), rel=1e-4), texts
    # The place is what a strict reading of the same keywords gives.
    assert isinstance(image.wcs, WCS)
    assert image.beam.major * image.beam.minor == pytest.approx(
        3600**2 * as_number(texts["BMAJ"]) * as_number(texts["BMIN"]), rel=1e-9
    )
    return True


@pytest.mark.parametrize("base", BASES)
def test_the_bases_are_read(tmp_path, base):
    texts = {key: f"'{value}'" if isinstance(value, str) else repr(value) for key, value in base.items()}
    assert check(tmp_path / "map.fits", base, texts)


@given(mutated_headers())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_headers(tmp_path, mutated):
    check(tmp_path / "map.fits", *mutated)


@pytest.mark.slow
@given(mutated_headers())
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_two_thousand_mutated_headers(tmp_path, mutated):
    check(tmp_path / "map.fits", *mutated)
