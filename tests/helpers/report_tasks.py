"""A small map that is simulated, extracted and reported, for the tests of what is made from an extraction."""

from dataclasses import replace

from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options
from hyper_py.pipeline.extraction import Extraction, extract_sources
from hyper_py.simulation.simulate import simulate_image

WHITE = Options(
    fit_options=FitOptions(noise_model="white"), background=BackgroundOptions(method="polynomial")
)


def small_image(seed: int = 3, *, n_sources: int = 24, name: str = "small", **sky) -> SkyImage:
    sky = {"shape": (150, 170), "n_sources": n_sources, "crowded_fraction": 0.4, **sky}
    return replace(simulate_image("alma", seed=seed, **sky).image, name=name)


def small_extraction(seed: int = 3, *, options: Options = WHITE, **sky) -> Extraction:
    return extract_sources(small_image(seed, **sky), options=options)


def local_noise(options: Options = WHITE) -> Options:
    return replace(options, detection=DetectionOptions(rms_map="local"))


def write_map(path, image: SkyImage):
    """Write a map as a FITS file that `read_image` understands."""
    from astropy.io import fits

    header = image.wcs.to_header()
    beam = image.beam
    header.update({"BUNIT": "Jy/pixel", "BMAJ": beam.major / 3600, "BMIN": beam.minor / 3600, "BPA": beam.pa})
    fits.PrimaryHDU(image.data, header=header).writeto(path)
    return path


__all__ = ["WHITE", "gaussians", "local_noise", "small_extraction", "small_image", "write_map"]
