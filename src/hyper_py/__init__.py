"""Hyper-Py: compact sources in far-infrared, sub-millimetre and millimetre maps, found and measured."""

from importlib import import_module
from typing import Any

__version__ = "2.0.0.dev0"

_PUBLIC = {
    "Beam": "geometry",
    "Extraction": "pipeline.extraction",
    "Flag": "diagnostics",
    "HyperPyError": "diagnostics",
    "Options": "options",
    "SkyImage": "image",
    "completeness": "running.completeness",
    "extract_cube": "pipeline.cubes",
    "extract_sources": "pipeline.extraction",
    "open_cube": "reading.io",
    "read_image": "reading.io",
    "simulate_image": "simulation.simulate",
    "validate": "validation.validation",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that starting costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hyper_py' has no attribute '{name}'")
    return getattr(import_module(f"hyper_py.{_PUBLIC[name]}"), name)
