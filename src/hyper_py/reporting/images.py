"""PNG files without a plotting library, of grey or indexed pixels, and palettes."""

import json
import struct
import zlib
from functools import cache
from importlib import resources
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyper_py.arrays import FloatArray

UInt8Array: TypeAlias = NDArray[np.uint8]


@cache
def palettes() -> dict[str, str]:
    """Return the colours of each palette at equal steps, six hexadecimal digits each, joined."""
    text = resources.files("hyper_py.reporting").joinpath("templates", "palettes.json").read_text("utf-8")
    result: dict[str, str] = json.loads(text)
    return result


def palette(name: str, n: int = 256) -> UInt8Array:
    """Return `n` colours of a palette, shape (n, 3), interpolated between its steps."""
    steps = np.frombuffer(bytes.fromhex(palettes()[name]), dtype=np.uint8).reshape(-1, 3).astype(np.float64)
    at = np.linspace(0.0, len(steps) - 1.0, n)
    colours = np.column_stack([np.interp(at, np.arange(len(steps)), channel) for channel in steps.T])
    return np.rint(colours).astype(np.uint8)


def png(pixels: ArrayLike, *, colours: UInt8Array | None = None) -> bytes:
    """Return an 8-bit PNG.

    Parameters
    ----------
    pixels : array_like, shape (ny, nx)
        From 0 to 255, the first row at the top: grey, or numbers of colours.
    colours : uint8 ndarray, shape (n, 3), optional
        Colours 1 to n of indexed pixels; 0 is transparent.
    """
    values = np.asarray(pixels).astype(np.uint8)
    rows = np.pad(values, ((0, 0), (1, 0))).tobytes()  # a leading 0 says that a row is not filtered

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    grey_or_indexed = 0 if colours is None else 3
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8, grey_or_indexed, 0, 0, 0))
    ]
    if colours is not None:
        parts += [chunk(b"PLTE", bytes(3) + colours.tobytes()), chunk(b"tRNS", b"\0")]
    parts += [chunk(b"IDAT", zlib.compress(rows, 6)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def indexed(values: FloatArray, low: float, high: float) -> UInt8Array:
    """Return numbers of colours from 1 to 255 for values from `low` to `high`; 0 where blank."""
    share = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    return np.where(np.isfinite(values), 1.0 + np.rint(254.0 * share), 0.0).astype(np.uint8)


def frame_name(frame: str) -> str:
    """Return the name of a celestial frame as it is usually written.

    Examples
    --------
    >>> frame_name("icrs"), frame_name("fk5"), frame_name("galactic")
    ('ICRS', 'FK5', 'galactic')
    """
    return frame.replace("icrs", "ICRS").replace("fk", "FK")
