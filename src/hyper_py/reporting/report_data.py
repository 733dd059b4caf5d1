"""Data of the report of a map, taken from an extraction and compressed.

Pixels are quantised to 16 bits at a tenth of the noise, stored as differences along x, and deflated. Models
are not stored, since the report computes them from the fitted parameters. `hyper_py.reporting.report` makes
the page from these data, when the map is done or later.
"""

import json
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike, NDArray

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.catalog import COLUMNS
from hyper_py.diagnostics import FLAG_TEXT, Flag
from hyper_py.files import open_regular
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    celestial_degrees,
    celestial_frame,
    ellipse_from_covariance,
)
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.numerics import gaussians
from hyper_py.numerics.pairs import friends_of_friends
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.tiles import LazyPlane, Plane, kept_like, sample, size_of, tiles
from hyper_py.pipeline.extraction import Extraction
from hyper_py.pipeline.measurement import blend_labels, linking_length

UInt16Array: TypeAlias = NDArray[np.uint16]

REMARKS = (
    Flag.BLENDED
    | Flag.UNRESOLVED
    | Flag.FORCED
    | Flag.RETRIED
    | Flag.ADDED_IN_RESIDUAL
    | Flag.NOISE_ASSUMED
    | Flag.PROFILE_UNKNOWN
    | Flag.SHAPE_ASSUMED
    | Flag.FILTERED_MAP
)
"""Flags that only describe a source; all others need attention."""

MAX_PIXELS = 5_000_000
"""Larger maps are shown binned, with cutouts at full resolution beside them."""
_STEPS_PER_RMS = 10.0
_LARGEST_CODE = 65535
_MAX_CUTOUT = 81
_CUTOUT_BEAMS = 3.2
_MAX_RMS_SIDE = 256
_SKY_NODES = 33
_PIXELS_COUNTED = 1_000_000
_ROWS_AT_ONCE = 100
_MOST_SQUARES = 2500
_LOUD = 3.0
_SQUARE_BEAMS = 6.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportData:
    """Data of the page of one map.

    Attributes
    ----------
    facts : dict
        Numbers and texts; plain JSON.
    blobs : dict of str to bytes
        Deflated arrays, which `facts` describe.
    """

    facts: dict[str, Any]
    blobs: dict[str, bytes]


def make_report_data(
    extraction: Extraction, *, spectral: tuple[str, float, str, str] | None = None
) -> ReportData:
    """Return the data of the report of an extraction.

    Parameters
    ----------
    extraction : Extraction
    spectral : tuple of (str, float, str, str), optional
        Name, value, unit and description of the frequency or velocity of the channel.

    Returns
    -------
    ReportData
        Fluxes in mJy (Jy without `convert_mJy`), pixels in mJy/beam (Jy/beam).
    """
    image, options = extraction.image, extraction.options
    milli = options.flux_per_jy
    per_beam = milli * image.beam_area_pix
    noise = extraction.noise
    blobs: dict[str, bytes] = {}
    layers: dict[str, Any] = {}

    def add(name: str, values: FloatArray, step: float) -> None:
        codes, offset, step = quantise(values, step=step)
        blobs[name] = pack_codes(codes)
        layers[name] = {"shape": list(values.shape), "offset": offset, "step": step}

    varies = not isinstance(noise.rms, float | int)
    low_rms = float(np.percentile(sample(LazyPlane(image.shape, noise.part)), 5)) if varies else noise.typical
    step = low_rms * per_beam / _STEPS_PER_RMS
    data, background = (
        kept_like(_scaled(plane, per_beam), image.data)
        for plane in (image.data, extraction.planes()["background"])
    )
    binning = max(1, math.ceil(math.sqrt(image.shape[0] * image.shape[1] / MAX_PIXELS)))
    add("map", bin_image(data, binning), step)
    binned_background = bin_image(background, binning)
    if np.isfinite(binned_background).any():
        add("background", binned_background, step)
    if binning > 1 and len(extraction.catalog):
        side = min(2 * math.ceil(_CUTOUT_BEAMS * image.beam_fwhm_pix) + 1, _MAX_CUTOUT)
        n_cut = min(len(extraction.catalog), MAX_PIXELS // (side * side))
        x, y = (places[:n_cut] for places in detected_places(extraction))
        add("map_cutouts", _cutouts(data, x, y, side).reshape(-1, side), step)
        add("background_cutouts", _cutouts(background, x, y, side).reshape(-1, side), step)
    rms_binning = max(1, math.ceil(max(image.shape) / _MAX_RMS_SIDE))
    if varies:
        add("rms", bin_image(_scaled(_known_rms(extraction), per_beam), rms_binning), step / 20.0)
    columns, blobs["catalog"] = _pack_catalog(extraction)
    facts = {
        **_map_facts(extraction, unit=f"{options.flux_unit}/beam", per_beam=per_beam),
        "binning": binning,
        "rms_binning": rms_binning,
        "layers": layers,
        "columns": columns,
        "flags": [
            {"bit": int(flag), "name": words(flag), "text": text, "remark": bool(flag & REMARKS)}
            for flag, text in FLAG_TEXT.items()
        ],
        "pixels": _pixel_counts(extraction),
        "spectral": spectral and dict(zip(("name", "value", "unit"), spectral, strict=False)),
        **flag_counts(extraction.catalog["FLAGS"]),
    }
    return ReportData(facts=facts, blobs=blobs)


def _scaled(plane: Plane, factor: float) -> LazyPlane:
    return LazyPlane(size_of(plane), lambda *where: plane[where] * factor)


def _known_rms(extraction: Extraction) -> LazyPlane:
    """Return the noise of the pixels that are not blank."""
    image, noise = extraction.image, extraction.noise
    return LazyPlane(
        image.shape,
        lambda *where: np.where(np.isfinite(image.data[where]), noise.part(*where), np.nan),
    )


def flag_counts(flags: ArrayLike) -> dict[str, Any]:
    """Return how many rows have each flag, most frequent first, and how many have one that calls for a look.

    Parameters
    ----------
    flags : array_like of int
        The column FLAGS.

    Returns
    -------
    dict
        `flag_counts`, by the words of the flags, and `n_calling`.
    """
    values = np.asarray(flags, dtype=np.int64)
    counts = {flag: int(np.count_nonzero(values & int(flag))) for flag in FLAG_TEXT}
    ordered = sorted((flag for flag, n in counts.items() if n), key=lambda flag: -counts[flag])
    return {
        "flag_counts": {words(flag): counts[flag] for flag in ordered},
        "n_calling": int(np.count_nonzero(values & ~int(REMARKS))),
    }


def save_report_data(path: Path, data: ReportData) -> None:
    """Write report data to a file of NumPy's npz format."""
    arrays: dict[str, Any] = {n: np.frombuffer(blob, dtype=np.uint8) for n, blob in data.blobs.items()}
    text = json.dumps(data.facts, separators=(",", ":"), allow_nan=False).encode()
    with path.open("wb") as stream:
        np.savez(stream, facts=np.frombuffer(text, dtype=np.uint8), **arrays)


def load_report_data(path: Path) -> ReportData:
    """Read report data written by `save_report_data`.

    Raises
    ------
    OSError, ValueError, KeyError, InputError
        If the file is not there, or not one of these.
    """
    with open_regular(path) as stream:
        with zipfile.ZipFile(stream) as archive:
            # `np.savez` packs nothing: a packed part may unpack to any size.
            if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                raise ValueError(f"{path}: not written by this program")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as stored:
            blobs = {name: stored[name].tobytes() for name in stored.files}
    return ReportData(facts=json.loads(blobs.pop("facts")), blobs=blobs)


def quantise(values: FloatArray, *, step: float) -> tuple[UInt16Array, float, float]:
    """Return codes, offset and step with values = offset + step * code; code 0 is blank.

    Parameters
    ----------
    values : ndarray
    step : float
        Largest acceptable; a larger one is taken only where 65535 of them do not span the values.

    Returns
    -------
    codes : uint16 ndarray
    offset, step : float
    """
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, dtype=np.uint16), 0.0, 1.0
    low, high = float(np.nanmin(values[finite])), float(np.nanmax(values[finite]))
    step = max(step if math.isfinite(step) else 0.0, (high - low) / (_LARGEST_CODE - 1)) or 1.0
    offset = low - step
    codes = np.rint((np.where(finite, values, offset) - offset) / step)
    return codes.astype(np.uint16), offset, step


def pack_codes(codes: UInt16Array) -> bytes:
    """Return codes as differences along the last axis, low bytes first and then high bytes, deflated."""
    difference = np.diff(codes, axis=-1, prepend=np.uint16(0))
    return zlib.compress(difference.astype("<u2").reshape(-1).view(np.uint8).reshape(-1, 2).T.tobytes(), 5)


def unpack_codes(packed: bytes, shape: tuple[int, ...]) -> UInt16Array:
    """Undo `pack_codes`."""
    size = 2 * math.prod(shape)
    # What is packed may promise less than it holds: no more than the size is unpacked.
    planes = np.frombuffer(zlib.decompressobj().decompress(packed, size or 1), dtype=np.uint8).reshape(2, -1)
    difference = np.ascontiguousarray(planes.T).view("<u2").reshape(shape)
    return np.cumsum(difference, axis=-1, dtype=np.uint16)


def bin_image(data: Plane, factor: int) -> FloatArray:
    """Return means over squares of `factor` pixels, blank ones left out, incomplete ones included."""
    if not isinstance(data, np.ndarray):
        ny, step = data.shape[0], factor * max(1, _ROWS_AT_ONCE // factor)
        return np.concatenate([bin_image(data[y : y + step, :], factor) for y in range(0, ny, step)])
    if factor == 1:
        return data
    ny, nx = (-(-side // factor) for side in data.shape)
    padding = [(0, n * factor - side) for n, side in zip((ny, nx), data.shape, strict=True)]
    squares = np.pad(data, padding, constant_values=np.nan).reshape(ny, factor, nx, factor)
    known = np.isfinite(squares)
    total, count = np.where(known, squares, 0.0).sum(axis=(1, 3)), known.sum(axis=(1, 3))
    result: FloatArray = np.divide(total, count, out=np.full((ny, nx), np.nan), where=count > 0)
    return result


def _cutouts(data: Plane, x: FloatArray, y: FloatArray, side: int) -> FloatArray:
    """Return squares around the pixels nearest to positions, shape (n, side, side), blank off the map."""
    cut = np.full((x.size, side, side), np.nan)
    corners = np.rint(np.column_stack([y, x])).astype(int) - side // 2
    for square, corner in zip(cut, corners.tolist(), strict=True):
        rows, columns = (
            slice(max(first, 0), max(min(first + side, n), 0))
            for first, n in zip(corner, data.shape, strict=True)
        )
        top, left = rows.start - corner[0], columns.start - corner[1]
        part = data[rows, columns]
        square[top : top + part.shape[0], left : left + part.shape[1]] = part
    return cut


def detected_places(extraction: Extraction) -> tuple[FloatArray, FloatArray]:
    """Return x and y of the peaks of all rows; sources added later have their fitted positions."""
    table, peaks = extraction.catalog, extraction.peaks
    n = len(peaks)
    return np.append(peaks.x, table["X"].value[n:]), np.append(peaks.y, table["Y"].value[n:])


def _pack_catalog(extraction: Extraction) -> tuple[list[dict[str, Any]], bytes]:
    """Return the columns' descriptions and their values: fitted parameters, peaks and groups too."""
    table, sources = extraction.catalog, extraction.sources
    described = {column.name: column for column in COLUMNS}
    columns, parts = [], []

    def add(name: str, values: Any, kind: str, **facts: str) -> None:
        columns.append({"name": name, "kind": kind, **facts})
        parts.append(np.ascontiguousarray(values, dtype=kind).tobytes())

    names = [name for name in table.colnames if name in described and described[name].dtype != "str"]
    # float64 first and whole words throughout keep every column aligned for typed arrays.
    kinds = {name: "<f8" if name in ("RA", "DEC", "GLON", "GLAT") else "<f4" for name in names}
    kinds |= {name: "<i4" for name in names if described[name].dtype == "int"}
    for name in sorted(names, key=lambda one: kinds[one] != "<f8"):
        column = table[name]
        facts = {"unit": str(column.unit or ""), "text": described[name].description}
        add(name, getattr(column, "value", column), kinds[name], **facts)
    n = len(table)
    fitted = sources if len(sources) == n else np.full((n, gaussians.N_PARAMETERS), np.nan)
    for k, name in enumerate(("amplitude", "x", "y", "sigma_1", "sigma_2", "theta")):
        add(f"_{name}", fitted[:, k], "<f4")
    for name, places in zip(("_x_peak", "_y_peak"), detected_places(extraction), strict=True):
        add(name, places, "<f4")
    add("_group", group_labels(extraction), "<i4")
    order = [column["name"] for column in columns]
    for name in table.colnames:
        if name in order:
            columns[order.index(name)]["place"] = table.colnames.index(name)
    return columns, zlib.compress(b"".join(parts), 5)


def group_labels(extraction: Extraction) -> IntArray:
    """Return the label of each source's group."""
    sources, beam = extraction.sources, extraction.image.beam_fwhm_pix
    if len(sources) == len(extraction.catalog):
        return blend_labels(sources, options=extraction.options, beam_fwhm=beam)
    table, linking = extraction.catalog, linking_length(extraction.options, beam)
    return friends_of_friends(table["X"].value, table["Y"].value, linking_length=linking)


def _map_facts(extraction: Extraction, *, unit: str, per_beam: float) -> dict[str, Any]:
    """Return the facts about the map: coordinates, beam, noise, thresholds."""
    image, noise, detection = extraction.image, extraction.noise, extraction.options.detection
    ny, nx = image.shape
    x, y = 0.5 * (nx - 1), 0.5 * (ny - 1)
    to_pixels = np.linalg.inv(image.jacobian(x, y))
    beam = ellipse_from_covariance(image.beam_covariance(x, y))
    varies = not isinstance(noise.rms, float | int)
    rms = sample(_known_rms(extraction)) if varies else np.array([noise.typical])
    n_known = sum(in_order(lambda where: int(np.isfinite(image.data[where]).sum()), [*tiles(image.shape)]))
    return {
        "name": image.name,
        "shape": [ny, nx],
        "unit": unit,
        "flux_unit": unit.partition("/")[0],
        "file_unit": image.unit,
        "per_beam": per_beam,
        "pixel_arcsec": image.pixel_scale,
        "beam": {
            "major": image.beam.major,
            "minor": image.beam.minor,
            "pa": image.beam.pa,
            "source": image.beam.source,
            "pixels": [float(beam.major), float(beam.minor), float(beam.angle)],
            "fwhm_pixels": image.beam_fwhm_pix,
            "area_pixels": image.beam_area_pix,
        },
        "east": _direction(to_pixels[:, 0]),
        "north": _direction(to_pixels[:, 1]),
        "frame": image.frame,
        "sky": _sky_nodes(extraction),
        "aperture_ratio": extraction.options.photometry.fwhm_radius_ratio,
        "fwhm_per_sigma": FWHM_PER_SIGMA,
        "noise": {
            "kind": "local" if varies else "global",
            "typical": noise.typical * per_beam,
            "lowest": float(rms.min()) * per_beam,
            "highest": float(rms.max()) * per_beam,
            "mean": noise.mean * per_beam,
            "model": extraction.options.fit_options.noise_model,
            "loud_share": loud_share(image.data, side=max(8, round(_SQUARE_BEAMS * image.beam_fwhm_pix))),
        },
        "threshold": detection.sigma_thres,
        "method": detection.method,
        "blank_share": 1.0 - n_known / (ny * nx),
        "n_beams": n_known / image.beam_area_pix,
        "object": str(image.meta.get("object", "")),
        "frequency": image.meta.get("frequency"),
    }


def loud_share(data: Plane, *, side: int) -> float:
    """Return the share of squares of a map whose scatter is above three times the typical one.

    The scatter is the median absolute deviation, so that sources do not count.
    """
    step = max(1, math.ceil(math.sqrt(data.shape[0] * data.shape[1] / side**2 / _MOST_SQUARES)))
    scatter = []
    for y in range(0, data.shape[0], step * side):
        row = data[y : y + side, :]
        for x in range(0, data.shape[1], step * side):
            values = row[:, x : x + side]
            values = values[np.isfinite(values)]
            if values.size > side:
                scatter.append(np.median(np.abs(values - np.median(values))))
    if not scatter:
        return 0.0
    return float(np.mean(np.asarray(scatter) > _LOUD * np.median(scatter)))


def _direction(vector: NDArray[np.floating[Any]]) -> list[float]:
    length = float(np.hypot(*vector))
    return [float(vector[0]) / length, float(vector[1]) / length]


def _sky_nodes(extraction: Extraction) -> list[float | None]:
    """Return ICRS unit vectors on a grid over the map, rows of y first, to interpolate between."""
    ny, nx = extraction.image.shape
    x, y = np.meshgrid(np.linspace(0, nx - 1, _SKY_NODES), np.linspace(0, ny - 1, _SKY_NODES))
    longitude, latitude = celestial_degrees(extraction.image.wcs, x, y)
    on_sky = np.isfinite(longitude + latitude)
    place = SkyCoord(
        np.where(on_sky, longitude, 0.0),
        np.where(on_sky, latitude, 0.0),
        unit="deg",
        frame=celestial_frame(extraction.image.wcs),
    )
    vectors = np.where(on_sky, place.icrs.cartesian.xyz.value, np.nan)
    flat = np.moveaxis(vectors, 0, -1).ravel()
    return [round(float(value), 10) if math.isfinite(value) else None for value in flat]


def _pixel_counts(extraction: Extraction) -> dict[str, Any]:
    """Return histograms of map and residual in units of the noise, about the map's clipped mean."""
    image, planes = extraction.image, extraction.planes()
    stride = max(1, math.ceil(math.sqrt(image.shape[0] * image.shape[1] / _PIXELS_COUNTED)))
    noise = _every(planes["rms"], stride)
    counts: dict[str, Any] = {"low": -8.0, "high": 16.0, "width": 0.25}
    edges = np.linspace(-8.0, 16.0, 97)
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, plane in (("map", image.data), ("residual", planes["residual"])):
            scaled = (_every(plane, stride) - extraction.noise.mean) / noise
            counts[name] = np.histogram(scaled[np.isfinite(scaled)], edges)[0].tolist()
            statistics = clipped_statistics(scaled)
            counts[f"{name}_rms"] = statistics.rms if math.isfinite(statistics.rms) else None
    return counts


def _every(plane: Plane, stride: int) -> FloatArray:
    """Return each so many rows and columns of a plane."""
    at_once = _ROWS_AT_ONCE if stride == 1 else 1
    firsts = range(0, plane.shape[0], max(at_once, stride))
    return np.concatenate([plane[y : y + at_once, : plane.shape[1]][:, ::stride] for y in firsts])


def words(flag: Flag) -> str:
    """Return the name of a flag in words."""
    return (flag.name or "").lower().replace("_", " ")
