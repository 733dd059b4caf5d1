"""Negative sources too: those of the inverted map, found and measured as positive ones are.

Sources of one sign are no noise to those of the other: they are subtracted before the others are looked for.
Positive sources are found first, then negative ones on the map without them, and both once more, each on the
map without the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.detection.peaks import Peaks, empty_peaks
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import combined, kept_like
from hyper_py.photometry.measurements import MeasuredMap
from hyper_py.photometry.transforms import inverted, joined

NO_SOURCES = np.empty((0, gaussians.N_PARAMETERS))


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What was found and measured on a map; see `hyper_py.pipeline.extraction.Extraction`."""

    peaks: Peaks
    measured: MeasuredMap | None = None
    explained: Peaks | None = None
    vanished: Peaks | None = None
    pieces: Peaks | None = None


def find_both_signs(image: SkyImage, find: Callable[[SkyImage, FloatArray], Found]) -> Found:
    """Return positive and negative sources: the positive ones, then the negative ones, then those added.

    Parameters
    ----------
    image : SkyImage
    find : callable
        Finds and measures the positive sources of a map, from which the others given, (n, 6), were
        subtracted.
    """
    positive = find(image, NO_SOURCES)
    negative = find(*_without(image, positive, sign=-1.0))
    if negative.measured is not None:
        positive = find(*_without(image, negative, sign=1.0))
        negative = find(*_without(image, positive, sign=-1.0))
    return _joined(positive, _inverted(negative))


def _without(image: SkyImage, other: Found, *, sign: float) -> tuple[SkyImage, FloatArray]:
    """Return the map times `sign` without the sources of the other sign, and these."""
    sources = NO_SOURCES if other.measured is None else other.measured.sources.parameters
    light = gaussians.drawn(sources, image.shape)
    data: Any = combined(lambda values, model: sign * values + model, image.data, light)
    return image.with_data(kept_like(data, image.data)), sources  # type: ignore[arg-type]


def _inverted(found: Found) -> Found:
    def of(peaks: Peaks | None) -> Peaks | None:
        return None if peaks is None else _inverted_peaks(peaks)

    measured = None if found.measured is None else inverted(found.measured)
    return Found(
        peaks=_inverted_peaks(found.peaks), measured=measured, explained=of(found.explained),
        vanished=of(found.vanished), pieces=of(found.pieces),
    )  # fmt: skip


def _inverted_peaks(peaks: Peaks) -> Peaks:
    values = {name: getattr(peaks, name) for name in peaks.__dataclass_fields__}
    return Peaks(**values | {"peak": -peaks.peak, "snr": -peaks.snr})


def _joined(one: Found, other: Found) -> Found:
    def both(first: Peaks | None, second: Peaks | None) -> Peaks | None:
        return second if first is None else first if second is None else first.joined(second)

    if one.measured is None or other.measured is None:
        measured = other.measured if one.measured is None else one.measured
    else:
        measured = joined(one.measured, other.measured)
    return Found(
        peaks=both(one.peaks, other.peaks) or empty_peaks(), measured=measured,
        explained=both(one.explained, other.explained), vanished=both(one.vanished, other.vanished),
        pieces=both(one.pieces, other.pieces),
    )  # fmt: skip
