"""Files of the single bands of a field: regions, and images on request."""

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from hyper_py.arrays import FloatArray
from hyper_py.geometry import FWHM_PER_SIGMA, Ellipse, sky_ellipse_from_pixel
from hyper_py.numerics import gaussians
from hyper_py.writing.images import write_image
from hyper_py.writing.layout import Layout
from hyper_py.writing.sky_regions import write_regions
from hyper_py.writing.staging import Stage

if TYPE_CHECKING:
    from hyper_py.pipeline.bands import BandsExtraction, MeasuredBand

_CONTENTS = {
    "model": "sum of the fitted sources",
    "residual": "map minus model",
    "background": "fitted background",
    "rms": "noise level",
}


def long_name(field: str) -> str:
    """Return what stands for a field in the name of its long table."""
    return f"{field}_long"


def name_of_band(field: str, band: str) -> str:
    """Return what stands for a band of a field in the names of its files."""
    return f"{field}_{band}"


def write_band_files(
    stage: Stage, layout: Layout, extraction: "BandsExtraction", *, name: str, fwhm_radius_ratio: float
) -> None:
    """Stage the regions of each band, and the images that `fits_output` asks for.

    Parameters
    ----------
    stage : Stage
    layout : Layout
    extraction : BandsExtraction
    name : str
        Of the field.
    fwhm_radius_ratio : float
        Semi-axes of the ellipses over the FWHM that the band shows.
    """
    for b, one in enumerate(extraction.measured):
        image, own = one.band.image, name_of_band(name, one.band.name)
        table = band_table(one, extraction.sources.seen[:, b])
        write_regions(stage, layout, table, image, name=own, fwhm_radius_ratio=fwhm_radius_ratio)
        for what, relative in layout.images(own).items():
            if what == "background" and one.background is None:
                continue  # the fit had a level under each source only: RESIDUALS in the tables
            values = rms_image(one) if what == "rms" else getattr(extraction, f"{what}_image")(one.band.name)
            write_image(stage.path(relative), values, image, what=_CONTENTS[what])


def rms_image(one: "MeasuredBand") -> FloatArray:
    """Return the noise and background level of a band in Jy/pixel, shape (ny, nx); NaN where it is blank."""
    image = one.band.image
    relative = 1.0 if image.relative_rms is None else image.relative_rms
    level: FloatArray = np.sqrt(one.noise.covariance.variance) * relative
    return np.where(np.isfinite(image.data), level, np.nan)


def band_table(one: "MeasuredBand", seen: Any) -> Table:
    """Return the sources that a band sees as a table for regions: places and sizes on its own map."""
    rows = np.flatnonzero(seen)
    p, image = one.parameters[rows], one.band.image
    x, y = p[:, gaussians.X], p[:, gaussians.Y]
    widths = FWHM_PER_SIGMA * p[:, gaussians.SIGMA_1], FWHM_PER_SIGMA * p[:, gaussians.SIGMA_2]
    ellipse = sky_ellipse_from_pixel(Ellipse(*widths, p[:, gaussians.THETA]), image.jacobian(x, y))
    return Table(
        {
            "HYPER_ID": rows + 1,
            "X": x,
            "Y": y,
            "FWHM_1": ellipse.major,
            "FWHM_2": ellipse.minor,
            "PA": ellipse.angle,
        }
    )
