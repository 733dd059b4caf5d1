"""A map without the defects that are seen before its sources are known: they are mended first."""

from hyper_py.image import SkyImage
from hyper_py.pipeline.bad_pixels import without_bad_pixels
from hyper_py.pipeline.levelled import levelled


def mended(image: SkyImage, *, size: int | None = None) -> SkyImage:
    """Return a map with its tiles level and its bad pixels blank; the map itself if it has no such defects.

    Its `meta` says what was done: `levels`, and `fill`.

    Parameters
    ----------
    image : SkyImage
    size : int, optional
        Side of the tiles in which it is looked at.
    """
    # A step is looked for first: beside one, rows of pixels look bad.
    return without_bad_pixels(levelled(image), size=size)
