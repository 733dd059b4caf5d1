"""What the measurements of maps by others share: statistics, tables, matching."""

from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

Array = NDArray[np.float64]


def scatter(values: Array) -> float:
    """Return 1.4826 MAD."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else np.nan


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def values(catalog: Any, name: str) -> Array:
    """Return a column as plain numbers."""
    return np.asarray(getattr(catalog[name], "value", catalog[name]), dtype=np.float64)


def matched(x: Array, y: Array, other_x: Array, other_y: Array, distance: float) -> NDArray[np.int64]:
    """Return pairs (i, j) of mutually nearest points within a distance, shape (n, 2)."""
    apart = np.hypot(x[:, None] - other_x, y[:, None] - other_y)
    if not apart.size:
        return np.empty((0, 2), dtype=np.int64)
    nearest, back = apart.argmin(axis=1), apart.argmin(axis=0)
    i = np.flatnonzero((back[nearest] == np.arange(len(x))) & (apart.min(axis=1) <= distance))
    return np.column_stack([i, nearest[i]])


def sky(catalog: Any) -> SkyCoord:
    """Return positions."""
    return SkyCoord(values(catalog, "RA"), values(catalog, "DEC"), unit="deg")
