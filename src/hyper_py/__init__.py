"""Hyper-Py: compact sources in far-infrared, sub-millimetre and millimetre maps, found and measured."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyper_py.bands.images import BandImage
    from hyper_py.detection.given import FixedSources
    from hyper_py.diagnostics import Flag, HyperPyError, describe_flags
    from hyper_py.geometry import Beam
    from hyper_py.image import SkyImage, mean_image
    from hyper_py.interface.bands import extract_bands
    from hyper_py.interface.extraction import extract_sources
    from hyper_py.interface.images import as_sky_image, open_cube, read_image
    from hyper_py.options import (
        BackgroundOptions,
        BandsOptions,
        CubeOptions,
        DetectionOptions,
        FitOptions,
        Options,
        PhotometryOptions,
    )
    from hyper_py.pipeline.bands import BandsExtraction
    from hyper_py.pipeline.cubes import extract_cube, reference_from
    from hyper_py.pipeline.extraction import Extraction
    from hyper_py.running.completeness import completeness
    from hyper_py.running.completeness_bands import completeness_bands
    from hyper_py.simulation.bands import simulate_bands
    from hyper_py.simulation.simulate import simulate_cube, simulate_image
    from hyper_py.validation.bands import validate_bands
    from hyper_py.validation.validation import validate

__version__ = "2.0.0.dev0"

__all__ = [
    "BackgroundOptions",
    "BandImage",
    "BandsExtraction",
    "BandsOptions",
    "Beam",
    "CubeOptions",
    "DetectionOptions",
    "Extraction",
    "FitOptions",
    "FixedSources",
    "Flag",
    "HyperPyError",
    "Options",
    "PhotometryOptions",
    "SkyImage",
    "__version__",
    "as_sky_image",
    "completeness",
    "completeness_bands",
    "describe_flags",
    "extract_bands",
    "extract_cube",
    "extract_sources",
    "mean_image",
    "open_cube",
    "read_image",
    "reference_from",
    "simulate_bands",
    "simulate_cube",
    "simulate_image",
    "validate",
    "validate_bands",
]

# The imports above, for run time: each is made when its name is first used, so that starting costs nothing.
_HOMES = {
    "bands.images": ("BandImage",),
    "detection.given": ("FixedSources",),
    "diagnostics": ("Flag", "HyperPyError", "describe_flags"),
    "geometry": ("Beam",),
    "image": ("SkyImage", "mean_image"),
    "interface.bands": ("extract_bands",),
    "interface.extraction": ("extract_sources",),
    "interface.images": ("as_sky_image", "open_cube", "read_image"),
    "options": (
        "BackgroundOptions",
        "BandsOptions",
        "CubeOptions",
        "DetectionOptions",
        "FitOptions",
        "Options",
        "PhotometryOptions",
    ),
    "pipeline.bands": ("BandsExtraction",),
    "pipeline.cubes": ("extract_cube", "reference_from"),
    "pipeline.extraction": ("Extraction",),
    "running.completeness": ("completeness",),
    "running.completeness_bands": ("completeness_bands",),
    "simulation.bands": ("simulate_bands",),
    "simulation.simulate": ("simulate_cube", "simulate_image"),
    "validation.bands": ("validate_bands",),
    "validation.validation": ("validate",),
}
_PUBLIC = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # or any name would pass for one

    def __getattr__(name: str) -> Any:
        """Import public names on first use."""
        if name not in _PUBLIC:
            from difflib import get_close_matches

            near = get_close_matches(name, __all__, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise AttributeError(f"module 'hyper_py' has no attribute '{name}'{hint}")
        value = globals()[name] = getattr(import_module(f"hyper_py.{_PUBLIC[name]}"), name)
        return value


def __dir__() -> list[str]:
    return list(__all__)
