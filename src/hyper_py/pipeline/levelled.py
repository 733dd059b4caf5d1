"""A mosaic of which the tiles have backgrounds of their own is made level before anything else."""

from dataclasses import replace

from hyper_py.background.mosaic_levels import mosaic_levels
from hyper_py.display import named
from hyper_py.image import SkyImage


def levelled(image: SkyImage) -> SkyImage:
    """Return a map in memory without steps of its background along rows and columns of pixels.

    The map itself is returned if there is none.
    """
    if not image.is_whole:
        return image
    found = mosaic_levels(image.data, fwhm=image.beam_fwhm_pix)
    if found is None:
        return image
    axes = (("x", found.columns), ("y", found.rows))
    places = " and ".join(f"{axis} = {named(seams)}" for axis, seams in axes if seams.size)
    said = (
        f"the background jumps by up to {found.highest:.3g} times the noise at {places}, from one pixel to "
        "the next, as between tiles of a mosaic: the parts of the map between were made level, in the "
        "residual too (detection.defects: keep leaves them); better match the tiles' backgrounds first"
    )
    data = image.data - found.image(image.shape)
    return replace(image.with_data(data), meta=image.meta | {"levels": said})
