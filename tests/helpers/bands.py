"""Measured fields in several bands, made from simulated ones: what a perfect fit would give, with noise."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from hyper_py.bands.aperture import CommonApertures
from hyper_py.bands.images import BandImage
from hyper_py.bands.offsets import BandOffsets
from hyper_py.bands.plane import TangentPlane
from hyper_py.bands.shapes import unique_elements
from hyper_py.bands.sources import JointSources
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    GAUSSIAN_AREA,
    celestial_frame,
    covariance_from_ellipse,
    ellipse_from_covariance,
    pixel_from_celestial,
    position_angle_to_east_angle,
    transform_covariance,
)
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.statistics import NoiseStatistics
from hyper_py.options import Options
from hyper_py.pipeline.bands import BandsExtraction, MeasuredBand
from hyper_py.simulation.bands import simulate_bands

RELATIVE_ERROR = 0.05
SMALL = {"size": 360.0, "n_sources": 8, "margin": 40.0, "flux_range": (0.3, 2.0)}
"""Fields of `BandsModel`: a field that is done at once."""


def band_images(simulated, *, calibration_error=None):
    return [
        BandImage(
            name=one.band.name, image=one.image, wavelength=one.band.wavelength,
            calibration_error=calibration_error,
        )
        for one in simulated.maps
    ]  # fmt: skip


def measured_field(preset="bands", *, seed=1, calibration_error=None, common=False, bands=None, **overrides):
    """Simulate a small field and return it, with what a fit would have measured on it."""
    simulated = simulate_bands(preset, seed=seed, **{**SMALL, **overrides})
    return simulated, extraction_of(
        simulated, seed=seed, calibration_error=calibration_error, common=common, bands=bands
    )


def extraction_of(simulated, *, seed=1, calibration_error=None, common=False, bands=None):
    """Return the truth of a simulated field as an extraction, with Gaussian noise of known errors."""
    rng, truth = np.random.default_rng(seed), simulated.truth
    n, n_bands = len(truth), len(simulated.maps)
    sky = SkyCoord(truth["RA"], truth["DEC"])
    plane = TangentPlane(ra=simulated.model.centre[0], dec=simulated.model.centre[1])
    position = plane.offsets(sky.ra.deg, sky.dec.deg)
    angle = position_angle_to_east_angle(truth["PA"].value)
    intrinsic = covariance_from_ellipse(truth["FWHM_1"].value, truth["FWHM_2"].value, angle)
    flux = np.stack([truth[f"FLUX_{one.band.name}"].value for one in simulated.maps], axis=1)
    seen = np.stack([truth[f"COVERS_{one.band.name}"] for one in simulated.maps], axis=1)
    floor = np.array([one.band.noise for one in simulated.maps])
    error = np.hypot(RELATIVE_ERROR * flux, floor)
    measured_flux = np.where(seen, flux + error * rng.normal(size=error.shape), np.nan)
    covariance = (
        np.where(seen[:, :, None] & seen[:, None, :], 0.0, np.nan) + np.eye(n_bands) * error[:, None] ** 2
    )
    measured = tuple(
        measured_band(one, sky, intrinsic, flux[:, b], seen=seen[:, b], calibration=calibration_error)
        for b, one in enumerate(simulated.maps)
    )
    peak = np.stack([one.parameters[:, 0] / one.band.image.jy_per_pixel for one in measured], axis=1)
    sources = JointSources(
        plane=plane, position=position + 0.3 * rng.normal(size=(n, 2)),
        position_covariance=np.broadcast_to(0.09 * np.eye(2), (n, 2, 2)), shape=unique_elements(intrinsic),
        shape_covariance=np.broadcast_to(4.0 * np.eye(3), (n, 3, 3)),
        band_shape=np.repeat(unique_elements(intrinsic)[:, None], n_bands, axis=1),
        flux=measured_flux, flux_covariance=covariance, peak=np.where(seen, peak, np.nan),
        peak_err=np.where(seen, floor, np.nan), background=np.where(seen, 1e-3, np.nan), seen=seen,
        significance=10.0 + np.arange(n), misfit=np.where(seen, 0.5, np.nan),
        correlation=np.where(seen, -0.2, np.nan), neighbour=np.roll(np.arange(n), 1),
        group=np.arange(n) // 2 + 1, flags=np.zeros(n, dtype=np.int64),
    )  # fmt: skip
    offsets = np.array([one.offset for one in simulated.maps])
    apertures = CommonApertures(
        band="largest", ellipse=measured[-1].shape, radius_in_fwhm=1.0,
        fraction=np.full((n, n_bands), 0.9), flux=measured_flux, flux_err=error,
    )  # fmt: skip
    return BandsExtraction(
        measured=measured, options=Options(bands=bands or {}), sources=sources,
        offsets=BandOffsets(values=offsets, errors=np.where(offsets != 0.0, 0.05, 0.0), reference=0),
        apertures=apertures if common else None,
    )  # fmt: skip


def measured_band(one, sky, intrinsic, flux, *, seen, calibration=None):
    """Return one band with the true sources as its model."""
    image = one.image
    east, north = (value * u.arcsec for value in one.offset)
    own = sky.spherical_offsets_by(east, north).transform_to(celestial_frame(image.wcs)).spherical
    x, y = pixel_from_celestial(image.wcs, own.lon.deg, own.lat.deg)
    shape = intrinsic + (one.band.beam / FWHM_PER_SIGMA) ** 2 * np.eye(2)
    pixels = ellipse_from_covariance(transform_covariance(shape, np.linalg.inv(image.jacobian(x, y))))
    amplitude = np.where(seen, flux / (GAUSSIAN_AREA * pixels.major * pixels.minor), 0.0)
    sizes = [pixels.major / FWHM_PER_SIGMA, pixels.minor / FWHM_PER_SIGMA, pixels.angle]
    model = beam_covariance_model(
        image.beam_covariance(*0.5 * np.array(image.shape)),
        rms=one.band.noise * image.jy_per_pixel,
        max_lag=9,
    )
    noise = NoiseStatistics(covariance=model, step=1, beam=model, beam_fwhm=image.beam_fwhm_pix, use="")
    band = BandImage(
        name=one.band.name, image=image, wavelength=one.band.wavelength, calibration_error=calibration
    )
    background = np.full(image.shape, float(np.median(image.data)))
    return MeasuredBand(
        band=band, noise=noise, parameters=np.column_stack([amplitude, x, y, *sizes]),
        shape=unique_elements(shape), background=background,
    )  # fmt: skip
