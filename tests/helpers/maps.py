"""Small maps of beam-sized sources in noise that is partly seen through the beam, and their options."""

import numpy as np
from astropy.wcs import WCS
from scipy import ndimage

from hyper_py.config.original import ORIGINAL_POLICY
from hyper_py.geometry import FWHM_PER_SIGMA, Beam
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.options import BackgroundOptions, FitOptions, Options, PhotometryOptions

FWHM = 4.5
SIGMA = FWHM / FWHM_PER_SIGMA
RMS, WHITE_PART = 3.0, 0.1
"""Of the noise of `noisy_image`."""
WHITE = Options(
    fit_options=FitOptions(noise_model="white"), background=BackgroundOptions(method="polynomial")
)
ORIGINAL = Options(
    fit_options=FitOptions(noise_model="white", weights="inverse_rms", min_method="nmse", vary=True),
    background=BackgroundOptions(method="polynomial"),
    photometry=PhotometryOptions(aper_inf=0.5, aperture_correction=False), policy=ORIGINAL_POLICY,
)  # fmt: skip


def make_wcs(shape, *, frame="icrs"):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"] if frame == "icrs" else ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [50.0, 20.0], [shape[1] / 2, shape[0] / 2]
    wcs.wcs.cdelt = [-1 / 3600, 1 / 3600]
    wcs.wcs.set()
    return wcs


def make_image(data, *, fwhm=FWHM, **changes):
    beam = Beam(major=fwhm, minor=fwhm)
    return SkyImage(data=data, **{"wcs": make_wcs(data.shape), "beam": beam, "name": "m", **changes})


def noise_of(shape, *, seed, sigma=SIGMA, white=0.2):
    """Unit noise: seen through the beam, and a white part."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap") * 2 * np.sqrt(np.pi) * sigma
    return np.sqrt(1 - white) * smooth + np.sqrt(white) * rng.normal(size=shape)


def sources_of(*places, sigma=SIGMA):
    """Beam-sized sources of (peak, x, y)."""
    return np.array([[a, x, y, sigma, sigma, 0.0] for a, x, y in places])


def make_map(sources, shape=(90, 96), *, seed=1, noise=1.0):
    return gaussians.render(sources, shape) + noise * noise_of(shape, seed=seed)


def noisy_image(fwhm, *, seed, shape=(330, 350), peak=30.0):
    sigma = fwhm / FWHM_PER_SIGMA
    data = RMS * noise_of(shape, seed=seed, sigma=sigma, white=WHITE_PART)
    rng = np.random.default_rng(seed)
    places = rng.uniform(0.1, 0.9, (6, 2)) * np.array(shape[::-1])
    data += gaussians.render(sources_of(*((peak * RMS, x, y) for x, y in places), sigma=sigma), shape)
    return make_image(data, fwhm=fwhm)
