"""A map without the pixels, rows and columns of pixels that were not seen through its beam."""

from dataclasses import replace
from typing import cast

import numpy as np

from hyper_py.arrays import FloatArray, IndexArray
from hyper_py.detection.bad_lines import find_bad_lines
from hyper_py.detection.hot_pixels import find_single_pixels
from hyper_py.image import SkyImage
from hyper_py.numerics.tiles import LazyPlane, at, is_inside, kept_like

_BLANK = "taken for blank (detection.defects: keep keeps them)"


def without_bad_pixels(image: SkyImage, *, size: int | None = None) -> SkyImage:
    """Return a map in which pixels that the beam would have smoothed are blank; the map itself if none are.

    Single pixels, and of a map in memory rows and columns. Its `meta["fill"]` says which.

    Parameters
    ----------
    image : SkyImage
    size : int, optional
        Side of the tiles in which it is looked at.
    """
    single = find_single_pixels(image.data, beam_covariance=image.central_beam_covariance, size=size)
    said, data = [], image.data
    if len(single):
        said.append(f"{_describe(image, single)}: {_BLANK}")
        data = _blanked(image, single)
    if image.is_whole:
        bad = find_bad_lines(data)
        said += [f"{lines.describe()}: {_BLANK}" for lines in bad]
        data = data.copy() if bad else data
        for lines in bad:
            (data if lines.name == "row" else data.T)[lines.numbers] = np.nan
    if not said:
        return image
    return replace(image.with_data(data), meta=image.meta | {"fill": (*image.meta.get("fill", ()), *said)})


def _describe(image: SkyImage, single: IndexArray) -> str:
    """Return `3 pixels, such as that at x = 12, y = 40 of 1e+07 Jy/beam, ...`: the brightest, or darkest."""
    y, x = single.T
    factor = image.jy_per_pixel
    values = at(image.data, y, x) / (factor if isinstance(factor, float | int) else at(factor, y, x))
    k = int(np.argmax(np.abs(values)))
    place = f"x = {x[k]}, y = {y[k]} of {values[k]:.3g} {image.unit}"
    many = f"1 pixel, at {place}, differs" if x.size == 1 else f"{x.size} pixels, one at {place}, differ"
    return f"{many} from those beside as nothing seen through the beam does"


def _blanked(image: SkyImage, single: IndexArray) -> FloatArray:
    def make(rows: slice, columns: slice) -> FloatArray:
        piece, own = image.data[rows, columns].copy(), single[is_inside((rows, columns), *single.T)]
        piece[own[:, 0] - rows.start, own[:, 1] - columns.start] = np.nan
        return piece

    return cast(FloatArray, kept_like(LazyPlane(image.shape, make), image.data))
