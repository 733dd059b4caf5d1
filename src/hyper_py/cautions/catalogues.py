"""What is odd about a catalogue and the map it was made from."""

from collections.abc import Mapping

from astropy.table import QTable

from hyper_py.cautions.maps import map_cautions, own_level
from hyper_py.cautions.rows import band_row_cautions, row_cautions
from hyper_py.image import SkyImage
from hyper_py.noise.level import NoiseLevel


def cautions(catalog: QTable, image: SkyImage, noise: NoiseLevel | None = None) -> tuple[str, ...]:
    """Return warnings about a map and its catalogue, one line each.

    Parameters
    ----------
    catalog : QTable
        As an extraction makes it.
    image : SkyImage
        Its map.
    noise : NoiseLevel, optional
        What the extraction took for the noise of the map.

    Returns
    -------
    tuple of str
        What `hyper_py.cautions.maps` says of the map, and `hyper_py.cautions.rows` of the rows. Empty if
        there is nothing to say.
    """
    return (*map_cautions(image, noise), *row_cautions(catalog, image))


def band_cautions(catalog: QTable, images: Mapping[str, SkyImage]) -> tuple[str, ...]:
    """Return warnings about a catalogue of several bands and its maps, one line each.

    Parameters
    ----------
    catalog : QTable
        One row a source.
    images : mapping of str to SkyImage
        The maps, by the names of the bands.

    Returns
    -------
    tuple of str
        As `cautions`; those of a map begin with the name of its band.
    """
    of_maps = [
        f"{name}: {text}" for name, image in images.items() for text in map_cautions(image, own_level(image))
    ]
    return (*of_maps, *band_row_cautions(catalog))
