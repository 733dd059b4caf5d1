"""Run photutils on one map in Jy/beam: DAOFIND and fits of elliptical Gaussians: MAP OUT SETTINGS.

SETTINGS: thresh in sigma, mesh of the background and smallest separation in beams; local: whether the signal
to noise of a source is that over the noise around it instead of the map's.
"""

import json
import sys
import warnings

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.modeling.fitting import TRFLSQFitter
from astropy.table import Table
from photutils.background import Background2D, MADStdBackgroundRMS, MedianBackground
from photutils.detection import DAOStarFinder
from photutils.psf import GaussianPSF, PSFPhotometry, SourceGrouper

SIZES, LIMITS = ("x_fwhm", "y_fwhm"), (0.6, 2.5)


def main() -> None:
    warnings.simplefilter("ignore")
    map_path, out, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    data, header = fits.getdata(map_path, header=True)
    data = np.asarray(data, dtype=np.float64)
    scale = abs(header["CDELT2"]) * 3600.0
    beam = np.sqrt(header["BMAJ"] * header["BMIN"]) * 3600.0 / scale
    beam_area = np.pi / (4 * np.log(2)) * beam**2
    mask = ~np.isfinite(data)
    background = Background2D(
        data,
        max(8, round(settings["mesh"] * beam)),
        mask=mask,
        filter_size=3,
        bkg_estimator=MedianBackground(),
        bkgrms_estimator=MADStdBackgroundRMS(),
    )
    image = np.where(mask, 0.0, data - background.background)
    rms = float(np.median(background.background_rms))
    finder = DAOStarFinder(
        threshold=settings["thresh"] * rms,
        fwhm=beam,
        sharpness_range=None,
        roundness_range=None,
        min_separation=settings["separation"] * beam,
    )
    model = GaussianPSF(x_fwhm=1.2 * beam, y_fwhm=beam, theta=0.0)
    for name in SIZES:
        getattr(model, name).fixed = False
        getattr(model, name).bounds = (LIMITS[0] * beam, LIMITS[1] * beam)
    model.theta.fixed = False
    side = 2 * round(beam) + 1
    photometry = PSFPhotometry(
        model,
        (side, side),
        finder=finder,
        grouper=SourceGrouper(min_separation=1.5 * beam),
        fitter=TRFLSQFitter(),
        fitter_maxiters=200,
        aperture_radius=beam,
        xy_bounds=0.5 * beam,
    )
    table = photometry(image, mask=mask, error=np.full(image.shape, rms))
    result = Table({"X": np.array(table["x_fit"]) * u.pix, "Y": np.array(table["y_fit"]) * u.pix})
    result["X_ERR"], result["Y_ERR"] = np.array(table["x_err"]) * u.pix, np.array(table["y_err"]) * u.pix
    result["FLUX"] = np.array(table["flux_fit"]) / beam_area * u.Jy
    result["FLUX_ERR"] = np.array(table["flux_err"]) / beam_area * u.Jy
    # Of the fitted peak over the level that the finder's threshold counts in.
    axes = np.array([table["x_fwhm_fit"], table["y_fwhm_fit"]])
    result["FLUX_PEAK"] = (
        np.array(table["flux_fit"]) / (np.pi / (4 * np.log(2)) * axes.prod(axis=0)) * u.Jy / u.beam
    )
    level = np.full(len(table), rms)
    if settings.get("local"):
        ny, nx = image.shape
        y, x = np.clip(np.rint(table["y_init"]), 0, ny - 1), np.clip(np.rint(table["x_init"]), 0, nx - 1)
        level = background.background_rms[y.astype(int), x.astype(int)]
    result["SNR"] = np.array(result["FLUX_PEAK"]) / level
    result["FWHM_1"], result["FWHM_2"] = (
        axes.max(axis=0) * scale * u.arcsec,
        axes.min(axis=0) * scale * u.arcsec,
    )
    result.write(out, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
