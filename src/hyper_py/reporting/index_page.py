"""The index of a run: a card for each map or cube, with a thumbnail."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyper_py.names import link
from hyper_py.reporting.cube_page import CubeData, brightest
from hyper_py.reporting.images import indexed, palette, png
from hyper_py.reporting.pages import configuration_facts, linked_files, render_page, run_facts
from hyper_py.reporting.report_data import ReportData, bin_image, unpack_codes

_THUMBNAIL_SIDE = 160


def index_page(entries: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any], root: Path) -> str:
    """Return the page, from what `index_entry` gives for each map."""
    maps = manifest["maps"]
    n_sources, n_failed = sum(one.get("n_sources", 0) for one in maps), sum(one["failed"] for one in entries)
    calling = sum(one["calling"] or 0 for one in entries)
    parts = [
        f"{n_sources} sources",
        f"{calling} to check" if calling else "",
        f"{n_failed} failed" if n_failed else "",
        f"{manifest['seconds']:.0f} s" if manifest["finished"] else "",
    ]
    return render_page(
        "index.html",
        ("theme", "index"),
        maps=sorted(entries, key=lambda one: not one["failed"]),
        title=f"{len(entries)} map{'' if len(entries) == 1 else 's'}",
        lead=" · ".join(part for part in parts if part),
        files=linked_files({"outputs": manifest.get("merged", ())}, root),
        run=list(run_facts(manifest, None)),
        **configuration_facts(manifest),
    )


def index_entry(
    one: Mapping[str, Any], data: ReportData | CubeData | None, page: str | None
) -> dict[str, Any]:
    """Return what the card of a map or cube shows and is sorted by."""
    done = one["status"] in ("done", "resumed")
    noise = one["rms"] if done else None
    facts = {} if data is None else data.facts
    flags, sources, calling = facts.get("flag_counts"), one["n_sources"], facts.get("n_calling")
    # The data may be of another version, or of anybody.
    calling = calling if isinstance(calling, int) else 0
    flags = flags if isinstance(flags, dict) else {}
    words = ", ".join(f"{n} {name}" for name, n in list(flags.items())[:3])
    if isinstance(data, CubeData):
        found = data.sources()
        sources, calling = len(found), sum(bool(source["n_calling"]) for source in found)
        words = f"cube of {data.n_channels} channels"
    return {
        "name": one["name"],
        "page": None if page is None else link(page.rpartition("/")[2]),
        "picture": None if data is None else base64.b64encode(_thumbnail(data)).decode(),
        "done": done,
        "sources": sources if done else "",
        "calling": calling if done and data is not None else "",
        "noise": "" if noise is None else f"{noise:.3g} {one['unit']}",
        "noise_value": "" if noise is None else f"{noise:.6g}",
        "seconds": f"{one['seconds']:.1f}" if done else "",
        "status": one["reason"] or one["status"],
        "failed": one["status"] == "failed",
        "flags": words,
    }


def _thumbnail(data: ReportData | CubeData) -> bytes:
    """Return a small PNG of the map, or of the brightest channel of each pixel; blank pixels are clear."""
    if isinstance(data, CubeData):
        values = brightest(data.planes)
    else:
        name = data.facts.get("thumbnail", "map")
        shape = tuple(data.facts["layers"][name]["shape"])
        values = unpack_codes(data.blobs[name], shape).astype(np.float64)
        values[values == 0.0] = np.nan
    small = bin_image(values, max(1, -(-max(values.shape) // _THUMBNAIL_SIDE)))[::-1]
    if not np.isfinite(small).any():
        return png(np.zeros(small.shape))
    # Noise is dark and loud edges have no say: cuts from the middle of the distribution.
    low, middle, high = np.nanpercentile(small, [16.0, 50.0, 99.7])
    low, high = 2.5 * low - 1.5 * middle, min(high, middle + 40.0 * (middle - low))
    share = np.clip((small - low) / ((high - low) or 1.0), 0.0, 1.0)
    return png(indexed(np.sqrt(share), 0.0, 1.0), colours=palette("inferno", 255))
