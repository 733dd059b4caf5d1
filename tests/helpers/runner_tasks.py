"""Pieces of work for the tests of the runner, importable by name in worker processes."""

import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import QTable
from astropy.wcs import WCS

from hyper_py.catalog import COLUMNS
from hyper_py.config import Config
from hyper_py.diagnostics import HyperPyWarning, InputError
from hyper_py.geometry import Beam
from hyper_py.image import SkyImage
from hyper_py.noise.level import NoiseLevel
from hyper_py.options import Options
from hyper_py.running.map_task import measure_map
from hyper_py.writing.table_columns import COORDINATE_COLUMNS


def make_config(root, *, control=None, **sections):
    mapping = {
        "version": 2,
        "paths": {"output": {"dir_root": str(root)}},
        "control": {"executor": "serial", **(control or {})},
        **sections,
        # What `measure` gives is no extraction that could be drawn.
        "outputs": {"report": False, **sections.get("outputs", {})},
    }
    return Config.from_mapping(mapping, base_dir=Path(root).parent)


def files_below(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def make_wcs(*, pixel: float = 2.0, angle: float = 0.0, parity: int = -1, kind: str = "RA/DEC") -> WCS:
    """A tangent projection with pixels of `pixel` arcsec, turned and perhaps mirrored."""
    wcs = WCS(naxis=2)
    first, second = kind.split("/")
    wcs.wcs.ctype = [f"{first:-<5}TAN", f"{second:-<5}TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [120.0, 35.0], [32.0, 30.0]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = pixel / 3600.0 * np.array([[parity, 0.0], [0.0, 1.0]]) @ np.array([[cos, -sin], [sin, cos]])
    wcs.wcs.set()
    return wcs


def make_catalogue(n: int, *, seed: int = 0, name: str = "map_1", mjy: bool = True) -> QTable:
    """A catalogue of random numbers with every column, some of them missing."""
    rng = np.random.default_rng(seed)
    table = QTable(meta={"rms": 1.25e-3, "unit": "mJy", "sigma_thres": 4.0, "beam": "12.0 x 11.0 arcsec"})
    for column in COLUMNS:
        unit = column.unit.replace("Jy", "mJy") if mjy else column.unit
        if column.dtype == "str":
            table[column.name] = np.array([name] * n, dtype=f"U{max(1, len(name))}")
        elif column.dtype == "int":
            table[column.name] = (
                np.arange(1, n + 1) if column.name == "HYPER_ID" else rng.integers(-1, 2**18, n)
            )
        else:
            values = rng.normal(size=n) * 10.0 ** rng.integers(-6, 4, n)
            if column.name.endswith("_ERR"):
                values[::3] = np.nan
            if column.name in COORDINATE_COLUMNS:
                values = rng.uniform(-90, 90, n)
            if column.name in ("X", "Y"):
                values = rng.uniform(0, 60, n)
            if column.name in ("FWHM_1", "FWHM_2"):
                values = rng.uniform(8, 20, n)
            table[column.name] = values * u.Unit(unit) if unit else values
    return table


class FakeExtraction:
    """What `extract_sources` gives, as far as the runner looks at it."""

    def __init__(self, name: str, n_sources: int, seed: int) -> None:
        data = np.random.default_rng(seed).normal(size=(60, 64))
        self.image = SkyImage(
            data=data, wcs=make_wcs(), beam=Beam(major=12.0, minor=11.0), name=name, unit="Jy/beam"
        )
        self.catalog = make_catalogue(n_sources, seed=seed, name=name)
        self.catalog.meta = {}
        self.complete_catalog = self.catalog
        self.rms = 1e-3
        self.noise = NoiseLevel(mean=0.0, rms=1.0)
        self.measured = self.explained = self.vanished = None
        self.options = Options()

    def model_image(self) -> np.ndarray:
        return 0.25 * self.image.data

    def residual_image(self) -> np.ndarray:
        return 0.75 * self.image.data

    def rms_image(self) -> np.ndarray:
        return np.full(self.image.shape, self.rms)

    def background_image(self) -> np.ndarray:
        return np.zeros_like(self.image.data)


def measure(task):
    """Do what the "map" says: each line is a command and its arguments."""
    n_sources = 3
    for line in task.path.read_text().splitlines():
        command, *arguments = line.split()
        match command:
            case "sources":
                n_sources = int(arguments[0])
            case "sleep":
                time.sleep(float(arguments[0]))
            case "warn":
                warnings.warn("odd header\nindeed", HyperPyWarning, stacklevel=1)
                warnings.warn("odd header\nindeed", HyperPyWarning, stacklevel=1)
            case "corrupt":
                raise InputError(f"{task.path}: not a FITS file")
            case "bug":
                raise ZeroDivisionError("of course")
            case "memory":
                raise MemoryError
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die_once":
                mark = Path(arguments[0])
                if not mark.exists():
                    mark.write_text(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
            case "modules":
                Path(arguments[0]).write_text("\n".join(sorted(sys.modules)))
            case "environment":
                Path(arguments[0]).write_text(os.environ.get("OMP_NUM_THREADS", "not set"))
    seed = sum(map(ord, task.name))
    return FakeExtraction(task.name, n_sources, seed)


def measure_late(task):
    """Measure a real map; where there are others to do it, the first one waits until some map is done."""
    states, end = task.config.below_root() / ".hyper_py", time.monotonic() + 60.0
    while task.index == 0 and task.config.control.executor != "serial" and time.monotonic() < end:
        if list(states.glob("*.json")):
            break
        time.sleep(0.05)
    return measure_map(task)
