"""FITS files of the fits, on request: images of the whole map, groups, deblended sources, backgrounds.

Every file has the map's own unit, its beam, and the coordinates of the cutout.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from astropy.io import fits

from hyper_py import __version__
from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.diagnostics import HyperPyWarning
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.image import SkyImage
from hyper_py.names import file_stem
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import Extraction
from hyper_py.reporting.report_data import group_labels
from hyper_py.writing.images import image_hdu, write_image, write_plane
from hyper_py.writing.layout import Layout
from hyper_py.writing.staging import Stage

Corner: TypeAlias = tuple[slice, slice]

_MARGIN_BEAMS = 2.5
_MASK_SIGMAS = 2.0
_CONTENTS = {
    "model": "sum of the fitted Gaussians",
    "residual": "map minus model",
    "rms": "noise level",
    "background": "fitted background",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupCutout:
    """Images of one group, cut out of the map: data and fit, all in Jy/pixel and of shape (h, w).

    Attributes
    ----------
    members : int ndarray
        Rows of the catalogue.
    where : (slice, slice)
        Rows and columns of the map.
    data, model, background : ndarray
        `model` is that of the group alone.
    masked : ndarray
        Data with sources of other groups blank.
    others : ndarray
        Model of the sources of other groups.
    """

    members: IntArray
    where: Corner
    data: FloatArray
    masked: FloatArray
    model: FloatArray
    others: FloatArray
    background: FloatArray

    @property
    def residual(self) -> FloatArray:
        """Data minus all models and background.

        Correlated fits estimate the background under sources only; elsewhere its median is used.
        """
        known = np.isfinite(self.background)
        middle = float(np.median(self.background[known])) if known.any() else 0.0
        return self.data - self.model - self.others - np.where(known, self.background, middle)


def group_cutouts(extraction: Extraction) -> Iterator[GroupCutout]:
    """Yield the groups of an extraction in the order of their brightest sources.

    Parameters
    ----------
    extraction : Extraction
        Without fits there are no groups.
    """
    if extraction.measured is None:
        return
    sources, image = extraction.sources, extraction.image
    model, background = extraction.model_image(), extraction.background_image()
    labels = group_labels(extraction)
    for label in dict.fromkeys(labels.tolist()):
        own = np.flatnonzero(labels == label)
        where = cutout_around(image, sources[own])
        shape, corner = (where[0].stop - where[0].start, where[1].stop - where[1].start), _start(where)
        near = np.flatnonzero(labels != label)
        near = near[_reaches(sources[near], where)]
        group = gaussians.render(_shifted(sources[own], corner), shape)
        # Pixels of the group's own sources are not masked.
        mask = gaussians.footprints(_shifted(sources[near], corner), shape, n_sigma=_MASK_SIGMAS)
        mask &= ~gaussians.footprints(_shifted(sources[own], corner), shape, n_sigma=_MASK_SIGMAS)
        data = image.data[where]
        yield GroupCutout(
            members=own,
            where=where,
            data=data,
            masked=np.where(mask, np.nan, data),
            model=group,
            others=model[where] - group,
            background=background[where],
        )


def cutout_around(image: SkyImage, sources: FloatArray) -> Corner:
    """Return rows and columns of a box around sources, with a margin of some beams, inside the map."""
    margin = _MARGIN_BEAMS * max(
        image.beam_fwhm_pix, FWHM_PER_SIGMA * float(np.nanmax(sources[:, gaussians.SIGMA_1], initial=0.0))
    )
    ny, nx = image.shape

    def span(values: FloatArray, size: int) -> slice:
        low, high = float(values.min()) - margin, float(values.max()) + margin
        return slice(max(0, int(np.floor(low))), min(size, int(np.ceil(high)) + 1))

    return span(sources[:, gaussians.Y], ny), span(sources[:, gaussians.X], nx)


def deblended(cutout: GroupCutout, extraction: Extraction, row: int) -> FloatArray:
    """Return the data of a group's cutout without background and without all sources but one."""
    shape = cutout.data.shape[0], cutout.data.shape[1]
    own = gaussians.render(_shifted(extraction.sources[[row]], _start(cutout.where)), shape)
    return cutout.residual + own


def write_fits_products(stage: Stage, layout: Layout, extraction: Extraction, *, name: str) -> None:
    """Stage the FITS files that the keys `fits_output` ask for.

    Parameters
    ----------
    stage : Stage
    layout : Layout
        Its directories are None for products that are not wanted.
    extraction : Extraction
    name : str
        MAP in the names of files.
    """
    image = extraction.image
    if not image.is_whole:
        for what, relative in layout.images(name).items():
            write_plane(stage.path(relative), extraction.planes()[what], image, what=_CONTENTS[what])
        if (layout.fitting, layout.deblended, layout.background) != (None, None, None):
            warnings.warn(
                "FITS files of single groups are left out: the map was read in pieces (control.max_memory)",
                HyperPyWarning,
                stacklevel=2,
            )
        return
    pixels = {
        "model": extraction.model_image,
        "residual": extraction.residual_image,
        "rms": extraction.rms_image,
        "background": extraction.background_image,
    }
    for what, relative in layout.images(name).items():
        write_image(stage.path(relative), pixels[what](), image, what=_CONTENTS[what])
    if (layout.fitting, layout.deblended, layout.background) == (None, None, None):
        return
    for cutout in group_cutouts(extraction):
        _write_group(stage, layout, extraction, cutout, name=name)


def _write_group(
    stage: Stage, layout: Layout, extraction: Extraction, cutout: GroupCutout, *, name: str
) -> None:
    image, where = extraction.image, cutout.where
    numbers = extraction.catalog["HYPER_ID"][cutout.members]
    first, ids = int(numbers[0]), " ".join(map(str, numbers))
    if layout.fitting is not None:
        parts = {
            "DATA": (cutout.data, "map"),
            "MASKED": (cutout.masked, "map without sources of other groups"),
            "MODEL": (cutout.model, "fitted Gaussians of the group"),
            "BACKGROUND": (cutout.background, "fitted background"),
            "RESIDUAL": (cutout.residual, "map minus all models and background"),
        }
        primary = fits.PrimaryHDU()
        primary.header["CREATOR"] = f"Hyper-Py {__version__}"
        primary.header["HYPER_ID"] = (ids[:60], "sources of the group")
        hdus = [
            primary,
            *(
                image_hdu(data, image, what=text, where=where, name=key)
                for key, (data, text) in parts.items()
            ),
        ]
        path = stage.path(f"{layout.fitting}/{file_stem(name)}_group_{first:04d}.fits")
        fits.HDUList(hdus).writeto(path, overwrite=True)
    if layout.background is not None:
        path = stage.path(f"{layout.background}/{file_stem(name)}_group_{first:04d}_background.fits")
        write_image(path, cutout.background, image, what="fitted background", where=where)
    if layout.deblended is not None and len(cutout.members) > 1:
        for row, number in zip(cutout.members, numbers, strict=True):
            path = stage.path(f"{layout.deblended}/{file_stem(name)}_source_{int(number):04d}.fits")
            text = "map minus background and all other sources"
            write_image(path, deblended(cutout, extraction, int(row)), image, what=text, where=where)


def _start(where: Corner) -> tuple[int, int]:
    return where[0].start, where[1].start


def _shifted(sources: FloatArray, corner: tuple[int, int]) -> FloatArray:
    """Return sources in the pixels of a cutout."""
    moved = sources.copy()
    moved[:, gaussians.Y] -= corner[0]
    moved[:, gaussians.X] -= corner[1]
    return moved


def _reaches(sources: FloatArray, where: Corner) -> BoolArray:
    """Return which sources are close enough to a cutout to contribute there."""
    reach = 5.0 * sources[:, gaussians.SIGMA_1]
    x, y = sources[:, gaussians.X], sources[:, gaussians.Y]
    inside: BoolArray = (x > where[1].start - reach) & (x < where[1].stop + reach)
    inside &= (y > where[0].start - reach) & (y < where[0].stop + reach)
    return inside
