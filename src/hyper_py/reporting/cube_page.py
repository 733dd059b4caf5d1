"""The page of a cube: moment map, channels, spectra of its sources, from the report data of the channels."""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.names import link
from hyper_py.reporting.banners import banners
from hyper_py.reporting.pages import (
    beam_text,
    configuration_facts,
    embedded,
    linked_files,
    page_name,
    render_page,
    run_facts,
)
from hyper_py.reporting.report_data import REMARKS, ReportData, bin_image, pack_codes, quantise, unpack_codes

MAX_VALUES = 2_000_000
"""Pixels of all channels together; larger cubes are shown binned."""
_MOST_SOURCES = 500
MATCHED_BEAMS = 0.5
"""Rows of different channels nearer than this, in FWHM, are of one source."""
_STEPS_PER_RMS = 3.0
_SHARED = (
    "shape", "unit", "flux_unit", "pixel_arcsec", "beam", "frame", "sky", "fwhm_per_sigma", "threshold",
    "method", "object", "file_unit",
)  # fmt: skip
_KEPT = ("X", "Y", "RA", "DEC", "FLUX", "FLUX_ERR", "FLUX_PEAK", "FLUX_PEAK_ERR", "FLAGS", "SNR")


@dataclass
class CubeData:
    """What the page of a cube shows, gathered channel by channel.

    Attributes
    ----------
    name : str
    n_channels : int
    """

    name: str
    n_channels: int
    facts: dict[str, Any] = field(default_factory=dict)
    noise: list[float | None] = field(default_factory=list)
    spectral: list[float | None] = field(default_factory=list)
    axis: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, FloatArray]] = field(default_factory=list)
    planes: list[FloatArray | None] = field(default_factory=list)
    binning: int = 1

    def add(self, data: ReportData | None) -> None:
        """Take over the next channel; None if it has no data.

        Raises
        ------
        KeyError, TypeError, ValueError, zlib.error
            If the data are not those of a channel of this cube.
        """
        if data is None:
            self.noise.append(None)
            self.spectral.append(None)
            self.rows.append({})
            self.planes.append(None)
            return
        facts, layer = data.facts, data.facts["layers"]["map"]
        shared, shape = {key: facts[key] for key in _SHARED}, tuple(layer["shape"])
        if self.facts and shared["shape"] != self.facts["shape"]:
            raise ValueError("a channel of another size")
        size = self.n_channels * math.prod(shape)
        binning = self.binning if self.facts else max(1, math.ceil(math.sqrt(size / MAX_VALUES)))
        codes = unpack_codes(data.blobs["map"], shape).astype(np.float64)
        plane = bin_image(np.where(codes > 0.0, layer["offset"] + layer["step"] * codes, np.nan), binning)
        axis = facts.get("spectral") or {}
        rows, noise, value = _rows(data), float(facts["noise"]["typical"]), axis.get("value")
        # Nothing is taken over of a channel that has not all of it.
        self.facts, self.binning = self.facts or shared, binning
        self.noise.append(noise)
        self.spectral.append(None if value is None else float(value))
        self.axis = self.axis or {key: str(axis.get(key, "")) for key in ("name", "unit")}
        self.rows.append(rows)
        self.planes.append(plane)

    def sources(self) -> list[dict[str, Any]]:
        """Return the sources: places where some channel has a row, the brightest first, with their rows."""
        whole = {name: [row[name] for row in self.rows if row] for name in _KEPT}
        table = {name: np.concatenate(parts) for name, parts in whole.items() if parts}
        if not table or not table["X"].size:
            return []
        counts = [row["X"].size if row else 0 for row in self.rows]
        channel = np.repeat(np.arange(len(self.rows)), counts)
        on_map = np.isfinite(table["X"] + table["Y"])
        table, channel = {name: values[on_map] for name, values in table.items()}, channel[on_map]
        linking = MATCHED_BEAMS * self.facts["beam"]["fwhm_pixels"]
        groups = _around_the_clearest(table["X"], table["Y"], table["SNR"], distance=linking)
        found = [self._source(table, channel, own) for own in groups]
        return sorted(found, key=lambda one: -one["peak"])

    @staticmethod
    def _source(table: dict[str, FloatArray], channel: Any, own: Any) -> dict[str, Any]:
        """Return one source from its rows."""
        best = own[np.argmax(np.nan_to_num(table["SNR"][own]))]
        values = ("FLUX_PEAK", "FLUX_PEAK_ERR", "FLUX", "FLUX_ERR")
        return {
            "x": float(table["X"][best]),
            "y": float(table["Y"][best]),
            "ra": float(table["RA"][best]),
            "dec": float(table["DEC"][best]),
            "peak": float(np.nan_to_num(table["FLUX_PEAK"][own]).max()),
            "n_calling": int(np.count_nonzero(table["FLAGS"][own].astype(np.int64) & ~int(REMARKS))),
            "rows": [[int(channel[k]), *(_number(table[name][k]) for name in values)] for k in own],
        }

    def page_data(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return the facts and packed arrays of the page."""
        known = [plane for plane in self.planes if plane is not None]
        stack = np.stack([np.full(known[0].shape, np.nan) if one is None else one for one in self.planes])
        seen = np.isfinite(stack)
        first, last = self._moment_channels()
        moment, moment_unit = self._moment(stack[first : last + 1], seen[first : last + 1])
        rms = float(np.median([value for value in self.noise if value is not None]))
        blobs, layers = {}, {}
        flat = stack.reshape(-1, stack.shape[2])
        for name, values, step in (
            ("planes", flat, rms / _STEPS_PER_RMS),
            ("moment", moment, float(np.nanstd(moment)) / 100.0),
        ):
            codes, offset, step = quantise(values, step=step)
            blobs[name] = pack_codes(codes)
            layers[name] = {"shape": list(values.shape), "offset": offset, "step": step}
        sources = self.sources()
        facts = {
            **self.facts,
            "name": self.name,
            "binning": self.binning,
            "n_channels": self.n_channels,
            "layers": layers,
            "moment_unit": moment_unit,
            "moment_channels": [first, last],
            "noise": {"typical": rms},
            "channel_noise": [_number(value) for value in self.noise],
            "spectral": {**self.axis, "values": self.spectral},
            "n_rows": [row["X"].size if row else 0 for row in self.rows],
            "n_sources": len(sources),
            "sources": sources[:_MOST_SOURCES],
        }
        return facts, blobs

    def _moment_channels(self) -> tuple[int, int]:
        """Return the first and last channel of the moment map: with sources, and one more on each side."""
        own = [k for k, row in enumerate(self.rows) if row and row["X"].size]
        if not own:
            return 0, self.n_channels - 1
        return max(own[0] - 1, 0), min(own[-1] + 1, self.n_channels - 1)

    def _moment(self, stack: FloatArray, seen: BoolArray) -> tuple[FloatArray, str]:
        """Return the integral over velocity where channels have one, else their mean, and its unit."""
        mean = np.where(seen, stack, 0.0).sum(axis=0) / np.where(seen.any(axis=0), seen.sum(axis=0), np.nan)
        known = np.array([value for value in self.spectral if value is not None])
        if self.axis.get("unit") == "km / s" and known.size > 1:
            width = abs(float(np.median(np.diff(known))))
            return mean * width * len(stack), f"{self.facts['unit']} km/s"
        return mean, f"{self.facts['unit']}, mean"


def cube_page(
    data: CubeData,
    *,
    manifest: Mapping[str, Any],
    entry: Mapping[str, Any],
    channels: Sequence[Mapping[str, Any]],
    root: Path,
    index: bool = False,
) -> str:
    """Return the page of a cube.

    Parameters
    ----------
    data : CubeData
    manifest : mapping
        Of the run.
    entry : mapping
        The cube's part of the manifest.
    channels : sequence of mapping
        The same of its channels.
    root : Path
        The output directory.
    index : bool
        Whether there is an index to go back to.
    """
    facts, blobs = data.page_data()
    facts["name"], axis = entry["name"], facts["spectral"]
    texts = [spectral_text(axis["name"], axis["unit"], value) for value in data.spectral]
    n_rows, known = sum(facts["n_rows"]), [text for text in texts if text]
    count = f"{facts['n_sources']} sources in {data.n_channels} channels"
    lead = [
        facts["object"],
        count,
        f"{known[0]} to {known[-1]}" if known else "",
        f"noise {facts['noise']['typical']:.3g} {facts['unit']}",
        beam_text(facts),
        f"{facts['shape'][1]} × {facts['shape'][0]} pixels of {facts['pixel_arcsec']:.3g}″",
    ]
    return render_page(
        "cube.html",
        ("theme", "data", "grid", "paint", "charts", "cube"),
        facts=facts,
        files=linked_files(entry, root),
        banners=banners({}, entry, manifest),
        lead=" · ".join(part for part in lead if part),
        count=f"{count}; {n_rows} catalogue rows, one for each channel in which a source was measured",
        index=index,
        channels=[
            {
                "number": k + 1,
                "text": text,
                "rows": n,
                "page": link(page_name(part["name"]).rpartition("/")[2]),
            }
            for k, (part, text, n) in enumerate(zip(channels, texts, facts["n_rows"], strict=True))
        ],
        **embedded(facts, blobs),
        run=list(run_facts(manifest, entry)),
        warnings=entry.get("warnings", ()),
        **configuration_facts(manifest),
    )


def spectral_text(name: str, unit: str, value: float | None) -> str:
    """Return a frequency or velocity as people write it."""
    if value is None:
        return ""
    if unit == "Hz":
        return f"{value / 1e9:.6g} GHz"
    return f"{value:.6g} {unit.replace(' ', '')}" if unit else f"{name.lower()} {value:.6g}"


def _around_the_clearest(
    x: FloatArray, y: FloatArray, snr: FloatArray, *, distance: float
) -> list[IndexArray]:
    """Return groups of rows, each within a distance of its row of highest S/N.

    Chains of rows are not followed: gas that moves from channel to channel is not one source.
    """
    free, groups = np.ones(x.size, dtype=bool), []
    for first in np.argsort(-np.nan_to_num(snr), kind="stable"):
        if free[first]:
            own = np.flatnonzero(free & (np.hypot(x - x[first], y - y[first]) <= distance))
            free[own] = False
            groups.append(own)
    return groups


def _rows(data: ReportData) -> dict[str, FloatArray]:
    """Return some columns of the catalogue of a channel."""
    packed = zlib.decompressobj().decompress(data.blobs["catalog"])
    width = sum(np.dtype(column["kind"]).itemsize for column in data.facts["columns"])
    n, place, found = len(packed) // width, 0, {}
    for column in data.facts["columns"]:
        kind = np.dtype(column["kind"])
        if column["name"] in _KEPT:
            found[column["name"]] = np.frombuffer(packed, kind, n, place).astype(np.float64)
        place += n * kind.itemsize
    return found


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def brightest(planes: Sequence[FloatArray | None]) -> FloatArray:
    """Return the largest value of each pixel over the channels: where a line shines in any of them."""
    stack = np.stack([plane for plane in planes if plane is not None])
    largest: FloatArray = np.where(np.isfinite(stack).any(axis=0), np.fmax.reduce(stack, axis=0), np.nan)
    return largest
