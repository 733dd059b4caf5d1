"""Small fields in several bands, placed on their plane, with truth on it."""

from dataclasses import replace

import numpy as np

from hyper_py.bands.band import Band, common_plane
from hyper_py.bands.estimates import Estimates
from hyper_py.bands.images import BandImage
from hyper_py.bands.joint_fit import with_noise
from hyper_py.bands.shapes import unique_elements
from hyper_py.geometry import covariance_from_ellipse, position_angle_to_east_angle
from hyper_py.simulation.bands import simulate_bands

SMALL = {"size": 420.0, "n_sources": 10, "margin": 40.0, "flux_range": (0.3, 2.0), "offset_rms": 0.0}


def images_of(simulated):
    return [
        BandImage(name=one.band.name, image=one.image, wavelength=one.band.wavelength)
        for one in simulated.maps
    ]


def small_field(*, seed, **changes):
    """A simulated field, its bands with their noise, and its true sources as estimates."""
    simulated = simulate_bands(seed=seed, **{**SMALL, **changes})
    images = images_of(simulated)
    plane = common_plane(images)
    bands = [Band.of(image, plane) for image in images]
    truth = true_sources(simulated, plane)
    return simulated, with_noise(bands, truth), truth


def true_sources(simulated, plane):
    table = simulated.truth
    position = plane.offsets(table["RA"].value, table["DEC"].value)
    angle = position_angle_to_east_angle(table["PA"].to_value("deg"))
    shape = unique_elements(
        covariance_from_ellipse(table["FWHM_1"].to_value("arcsec"), table["FWHM_2"].to_value("arcsec"), angle)
    )
    flux = np.column_stack([table[f"FLUX_{one.band.name}"].to_value("Jy") for one in simulated.maps])
    n = len(table)
    estimates = Estimates.of(
        position, shape=shape, scale=np.full(n, 18.0), significance=np.full(n, 10.0), flux=flux
    )
    return replace(estimates, seen=np.ones(flux.shape, dtype=bool))
