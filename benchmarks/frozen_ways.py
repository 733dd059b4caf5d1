"""The ways through the code that `frozen.py` freezes: their maps, and a configuration for each.

Everything here is text, arrays and FITS files: nothing is imported from `hyper_py`.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from option_sets import as_sections, combinations

PUBLISHED = "map_500_Gaussians_{}.fits"
CORE = (0.04808, 0.03849, 22.7)
"""The beam of the simulated maps: FWHM of both axes in arcsec, degrees east of north."""
PIXEL = 0.013


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A map made by `hyper-py simulate`.

    `small` and `full` are rows, columns and number of sources in the small and in the full set.
    """

    preset: str
    seed: int
    small: tuple[int, int, int]
    full: tuple[int, int, int]
    fields: dict[str, Any] = field(default_factory=dict)

    def arguments(self, *, quick: bool) -> list[str]:
        """Return the arguments of the command."""
        ny, nx, n_sources = self.small if quick else self.full
        fields = {"shape": [ny, nx], "n_sources": n_sources, **self.fields}
        pairs = [f"{name}={value}".replace("'", "") for name, value in fields.items()]
        sets = [part for pair in pairs for part in ("--set", pair)]
        return ["--preset", self.preset, "--seed", str(self.seed), *sets]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A run: the maps it takes from the inputs, and the configuration laid over `BASE`."""

    maps: tuple[str, ...]
    version: int = 2
    sections: dict[str, Any] = field(default_factory=dict)
    copies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Names under which the one map is taken again, each with keys of its own."""


SIMULATED = {
    "alma": Simulated(preset="alma", seed=101, small=(150, 170, 26), full=(340, 380, 170)),
    "deep": Simulated(preset="deep", seed=102, small=(150, 170, 26), full=(340, 380, 170)),
    "faint": Simulated(preset="faint", seed=103, small=(150, 170, 26), full=(340, 380, 170)),
    "crowded": Simulated(preset="crowded", seed=104, small=(150, 170, 30), full=(340, 380, 200)),
    "herschel": Simulated(preset="herschel", seed=105, small=(180, 170, 25), full=(420, 440, 150)),
    "cube": Simulated(
        preset="cube", seed=106, small=(100, 110, 8), full=(200, 180, 40), fields={"n_channels": 3}
    ),
    "mixed": Simulated(preset="alma", seed=107, small=(100, 110, 10), full=(240, 260, 80)),
    "uneven": Simulated(
        preset="deep", seed=108, small=(200, 210, 36), full=(420, 430, 180),
        fields={
            "noise_variation": 4.0, "background": "powerlaw", "background_variation": 3.0, "gradient": 10.0,
            "n_filaments": 2, "blank_border": 7, "rotation": 30.0, "mirrored": True, "unit": "Jy/beam",
        },
    ),
    "lobes": Simulated(
        preset="deep", seed=109, small=(150, 170, 20), full=(300, 320, 100), fields={"side_lobes": 0.1}
    ),
    "second": Simulated(
        preset="alma", seed=110, small=(110, 100, 10), full=(200, 180, 45), fields={"frame": "galactic"}
    ),
}  # fmt: skip

BASE: dict[str, Any] = {
    "control": {"parallel_maps": False},
    "outputs": {"tables": ["ecsv"], "report": False},
}

SHIPPED: dict[str, Any] = {
    "files": {"file_map_name": "maps_list.txt", "file_table_base": "params",
              "file_region_base": "region_files", "file_log_name": "hyper_py.log"},
    "control": {"n_cores": 2, "detection_only": False, "datacube": False, "dir_datacube_slices": "maps"},
    "units": {"convert_mJy": True},
    "survey": {"survey_code": 15},
    "detection": {"sigma_thres": 5.0, "use_manual_rms": False, "rms_value": 1.0e-06, "kernel_size_pix": 0,
                  "roundlim": [-4.0, 4.0], "sharplim": [-2.0, 2.0], "use_fixed_source_table": False,
                  "fixed_source_table_path": "source_table.txt", "fixed_peaks": False, "xcen_fix": [0.0],
                  "ycen_fix": [0.0]},
    "photometry": {"aper_inf": 1.0, "aper_sup": 2.0, "fwhm_radius_ratio": 0.5, "fixed_radius": False,
                   "fwhm_1": [0.0], "fwhm_2": [0.0], "PA_val": [0.0]},
    "fit_options": {"fit_method": "least_squares", "loss": "linear", "f_scale": 0.1, "max_nfev": 50000,
                    "xtol": 1e-8, "ftol": 1e-8, "gtol": 1e-8, "weights": "snr", "power_snr": 5.0,
                    "calc_covar": False, "min_method": "nmse", "verbose": False,
                    "use_l2_regularization": True, "lambda_l2": 1e-4, "vary": False,
                    "bg_fitters": ["least_squares"], "huber_epsilons": [1.1, 1.35, 1.7, 2.0]},
    "background": {"fit_gauss_and_bg_separately": True, "pol_orders_separate": [0, 1, 2], "fix_min_box": 3,
                   "fix_max_box": 5, "fit_gauss_and_bg_together": False, "polynomial_orders": [0],
                   "pol_orders_bkg_no_sources": [0]},
    "fits_output": {"fits_fitting": False, "fits_deblended": False, "fits_bg_separate": False,
                    "fits_output_dir_fitting": "fits/fitting", "fits_output_dir_deblended": "fits/deblended",
                    "fits_output_dir_bg_separate": "fits/bg_separate"},
    "visualization": {"visualize_fitting": False, "visualize_deblended": False,
                      "visualize_bg_separate": False},
}  # fmt: skip
"""The original's configuration file, every key of it, without `version`."""

FITS_FILES = {"fits_fitting": True, "fits_deblended": True, "fits_bg_separate": True, "fits_noise": True}
WHITE = {"fit_options": {"noise_model": "white"}, "background": {"method": "polynomial"}}
JOINT = {
    "fit_options": {"noise_model": "white"},
    "background": {
        "method": "polynomial", "fit_gauss_and_bg_together": True, "fit_gauss_and_bg_separately": False,
        "polynomial_orders": [0, 1, 2],
    },
}  # fmt: skip


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return nested mappings, one laid over the other."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


FULL_ONLY = (
    "published_1_joint", "published_2_original", "published_2_joint", "cube_mean_free", "cube_smoothed",
    "cube_polynomial", "tiles_whole_map", "tiles_polynomial", "psf_none", "psf_polynomial", "uneven_joint",
    "original_cube_whole_plane", "forced_table_other_beam", "detection_local_rms", "products_joint",
    "forced_apertures_polynomial", "detection_false_rate", "detection_no_deblending",
)  # fmt: skip
"""Ways of which each part is in another one as well: left out of the small set, which is to be run often."""


def all_ways(inputs: Path, *, quick: bool = False) -> dict[str, Way]:
    """Return every way by its name; those of the published maps only if these are among the inputs."""
    places = {
        name: str(inputs / name) for name in ("error.fits", "primary_beam.fits", "mask.fits", "psf.fits")
    }
    groups = (
        _published(inputs), _presets(), _combined(), _original(inputs), _cubes(), _tiles(), _forced(inputs),
        _files(places), _detections(), _products(),
    )  # fmt: skip
    ways = {name: way for group in groups for name, way in group}
    return {name: way for name, way in ways.items() if not (quick and name in FULL_ONLY)}


def _published(inputs: Path) -> Iterator[tuple[str, Way]]:
    for number in (1, 2):
        if (inputs / PUBLISHED.format(number)).exists():
            maps = (PUBLISHED.format(number),)
            yield f"published_{number}", Way(maps=maps)
            yield f"published_{number}_original", Way(maps=maps, version=1)
            yield f"published_{number}_joint", Way(maps=maps, sections=JOINT)


def _presets() -> Iterator[tuple[str, Way]]:
    for name in ("alma", "deep", "faint", "crowded", "herschel", "cube"):
        yield f"preset_{name}", Way(maps=(f"{name}.fits",))


def _combined() -> Iterator[tuple[str, Way]]:
    """Yield all combinations: those of this version's file in one run, those of the original's in another."""
    copies: dict[int, dict[str, Any]] = {1: {}, 2: {}}
    for title, changes in combinations().items():
        name = re.sub(r"[^a-z0-9.]+", "_", title.lower().replace("'", "")).strip("_").replace(".", "p")
        copies[1 if "original" in changes else 2][name] = as_sections(changes)
    single = {"detection": {"deblend_residual": False}}
    for version, name in ((2, "combined"), (1, "combined_original")):
        yield name, Way(maps=("mixed.fits",), version=version, sections=single, copies=copies[version])


def _original(inputs: Path) -> Iterator[tuple[str, Way]]:
    together = {"fit_gauss_and_bg_together": True, "fit_gauss_and_bg_separately": False}
    longitude, latitude = _positions(inputs)
    listed = {"fixed_peaks": True, "xcen_fix": longitude, "ycen_fix": latitude}
    changes: dict[str, dict[str, Any]] = {
        "shipped": {},
        "joint": {"background": together | {"polynomial_orders": [0, 1, 2]}},
        "all_estimators": {
            "fit_options": {"bg_fitters": ["least_squares", "huber", "theil_sen"], "huber_epsilons": [1.35]},
            "background": {"pol_orders_separate": [0, 1], "fix_max_box": 3},
        },
        "jy": {"units": {"convert_mJy": False}, "fit_options": {"loss": "cauchy", "vary": True}},
        "forced": {
            "detection": listed,
            "photometry": {"fixed_radius": True, "fwhm_1": [0.06], "fwhm_2": [0.045], "PA_val": [40.0]},
        },
        "products": {"fits_output": FITS_FILES, "fit_options": {"calc_covar": True}},
    }
    for name, sections in changes.items():
        yield f"original_{name}", Way(maps=("alma.fits",), version=1, sections=merged(SHIPPED, sections))
    datacube = merged(SHIPPED, {"control": {"datacube": True}})
    yield "original_cube", Way(maps=("cube.fits",), version=1, sections=datacube)
    whole = {"background": {"fix_min_box": 0, "fix_max_box": 0, "pol_orders_separate": [0, 1]}}
    yield "original_cube_whole_plane", Way(maps=("cube.fits",), version=1, sections=merged(datacube, whole))


def _cubes() -> Iterator[tuple[str, Way]]:
    outputs = {"outputs": ["background", "model", "subtracted", "residual"]}
    changes: dict[str, dict[str, Any]] = {
        "mean_fixed": {"cube": {"positions": "moment0", **outputs}},
        "mean_free": {"cube": {"positions": "moment0", "shapes": "free"}},
        "channel_region": {
            "cube": {"positions": "channel", "channel": 2, "region": [20, 25, 80, 90], **outputs}
        },
        "smoothed": {"cube": {"positions": "moment0"}, "background": {"spectral_smoothing": 2.0}},
        "plane_slices": {"cube": {"extent": "plane", "slices": True}},
        "polynomial": merged(WHITE, {"cube": outputs}),
        "joint": merged(JOINT, {"cube": {"positions": "moment0"}}),
        "no_sources": {
            "detection": {"sigma_thres": 500.0},
            "background": {"pol_orders_bkg_no_sources": [0, 1]},
        },
    }
    for name, sections in changes.items():
        yield f"cube_{name}", Way(maps=("cube.fits",), sections=sections)


def _tiles() -> Iterator[tuple[str, Way]]:
    small = {"control": {"tile_size_pix": 64}}
    yield "tiles_matched", Way(maps=("uneven.fits",), sections=small)
    yield (
        "tiles_highpass",
        Way(maps=("uneven.fits",), sections=merged(small, {"detection": {"method": "highpass"}})),
    )
    yield "tiles_polynomial", Way(maps=("uneven.fits",), sections=merged(small, WHITE))
    yield "tiles_original", Way(maps=("uneven.fits",), version=1, sections=small)
    yield "tiles_whole_map", Way(maps=("uneven.fits",), sections={"control": {"tile_size_pix": 0}})
    yield (
        "tiles_streamed",
        Way(maps=("uneven.fits",), sections=merged(small, {"control": {"max_memory": 1e-4}})),
    )
    processes = {"control": {"parallel_maps": True, "n_cores": 2}}
    own = {"second": WHITE}
    yield "two_maps", Way(maps=("alma.fits", "second.fits"), sections=merged(processes, {"maps": own}))


def _forced(inputs: Path) -> Iterator[tuple[str, Way]]:
    longitude, latitude = _positions(inputs)
    peaks = {"detection": {"fixed_peaks": True, "xcen_fix": longitude, "ycen_fix": latitude}}
    one = {"photometry": {"fixed_radius": True, "fwhm_1": [0.06], "fwhm_2": [0.045], "PA_val": [40.0]}}
    table = {
        "detection": {"use_fixed_source_table": True, "fixed_source_table_path": str(inputs / "sources.txt")}
    }
    changes: dict[str, dict[str, Any]] = {
        "forced_peaks": peaks,
        "forced_apertures": merged(peaks, one),
        "forced_apertures_fixed_centres": merged(merged(peaks, one), {"fit_options": {"vary": False}}),
        "forced_peaks_polynomial": merged(peaks, WHITE),
        "forced_apertures_polynomial": merged(merged(peaks, one), WHITE),
        "forced_table": table,
        "forced_table_other_beam": merged(table, {"detection": {"fixed_source_beam": 0.05}}),
        "regions": {"detection": {"regions": str(inputs / "regions.reg")}},
        "regions_joint": merged(JOINT, {"detection": {"regions": str(inputs / "regions.reg")}}),
    }
    for name, sections in changes.items():
        yield name, Way(maps=("alma.fits",), sections=sections)
    longitude, latitude = _positions(inputs, "cube")
    peaks = {"fixed_peaks": True, "xcen_fix": longitude, "ycen_fix": latitude}
    yield (
        "cube_forced",
        Way(maps=("cube.fits",), sections={"cube": {"positions": "fixed"}, "detection": peaks}),
    )


def _files(places: dict[str, str]) -> Iterator[tuple[str, Way]]:
    psf = {"survey": {"psf": places["psf.fits"]}}
    yield "psf", Way(maps=("lobes.fits",), sections=psf)
    yield "psf_polynomial", Way(maps=("lobes.fits",), sections=merged(psf, WHITE))
    yield "psf_none", Way(maps=("lobes.fits",))
    error = {"io": {"error_hdu": places["error.fits"]}}
    yield "error_map", Way(maps=("alma.fits",), sections=error)
    yield "error_map_polynomial", Way(maps=("alma.fits",), sections=merged(error, WHITE))
    yield "primary_beam", Way(maps=("alma.fits",), sections={
        "io": {"primary_beam": places["primary_beam.fits"], "primary_beam_corrected": False}
    })  # fmt: skip
    yield "mask", Way(maps=("alma.fits",), sections={"io": {"mask": places["mask.fits"]}})
    yield "beam_and_unit", Way(maps=("alma.fits",), sections={
        "units": {"bunit": "MJy/sr", "convert_mJy": False},
        "survey": {"beam": {"major": 0.05, "minor": 0.04, "pa": 10.0}},
    })  # fmt: skip


def _detections() -> Iterator[tuple[str, Way]]:
    changes: dict[str, dict[str, Any]] = {
        "highpass": {"method": "highpass"},
        "highpass_local_rms": {"method": "highpass", "rms_map": "local", "rms_mesh_beams": 10.0},
        "local_rms": {"rms_map": "local", "rms_mesh_beams": 10.0},
        "manual_rms": {"method": "highpass", "use_manual_rms": True, "rms_value": 3e-6, "kernel_size_pix": 9},
        "false_rate": {"max_false_rate": 0.1},
        "low_threshold": {"sigma_thres": 3.5, "dist_limit_arcsec": 0.03, "snap_radius_pix": 2.0},
        "limits": {
            "roundlim": [-0.7, 0.7], "sharplim": [0.2, 1.0], "shoulder_filter": True,
            "shoulder_threshold": 0.3,
        },
        "no_deblending": {"deblend_residual": False},
    }  # fmt: skip
    for name, keys in changes.items():
        yield f"detection_{name}", Way(maps=("uneven.fits",), sections={"detection": keys})
    only = {"control": {"detection_only": True}}
    yield "detection_only", Way(maps=("uneven.fits",), sections=only)
    yield (
        "detection_only_highpass",
        Way(maps=("uneven.fits",), sections=merged(only, {"detection": {"method": "highpass"}})),
    )
    yield "detection_nothing", Way(maps=("second.fits",), sections={"detection": {"sigma_thres": 500.0}})
    yield "background_none", Way(maps=("uneven.fits",), sections={"background": {"method": "none"}})
    local = {"detection": {"rms_map": "local", "rms_mesh_beams": 10.0}}
    yield "uneven_polynomial", Way(maps=("uneven.fits",), sections=merged(WHITE, local))
    yield "uneven_joint", Way(maps=("uneven.fits",), sections=merged(JOINT, local))
    yield "uneven_original", Way(maps=("uneven.fits",), version=1)


def _products() -> Iterator[tuple[str, Way]]:
    everything = {
        "fits_output": FITS_FILES,
        "fit_options": {"calc_covar": True},
        "outputs": {"tables": ["ipac", "ecsv", "csv", "fits", "votable"]},
    }
    yield "products", Way(maps=("second.fits",), sections=everything)
    yield "products_polynomial", Way(maps=("second.fits",), sections=merged(everything, WHITE))
    yield "products_joint", Way(maps=("second.fits",), sections=merged(everything, JOINT))


# --------------------------------------------------------------------------------------------------------
# Inputs that are not simulated by the command
# --------------------------------------------------------------------------------------------------------


def _positions(inputs: Path, name: str = "alma") -> tuple[list[float], list[float]]:
    """Return the coordinates of the first sources of a simulated map, and of two places without."""
    truth = Table.read(inputs / f"{name}_truth.ecsv", format="ascii.ecsv")
    x, y = np.unique(np.round([truth["X"], truth["Y"]], 2), axis=1)
    wcs = WCS(fits.getheader(inputs / f"{name}.fits")).celestial
    longitude, latitude = wcs.pixel_to_world_values([*x[:8], 31.0, 74.5], [*y[:8], 52.0, 29.5])
    return [round(float(v), 9) for v in longitude], [round(float(v), 9) for v in latitude]


def write_companions(inputs: Path) -> None:
    """Write what goes with the simulated maps: a PSF, errors, a primary beam, a mask, lists of sources."""
    with fits.open(inputs / "alma.fits") as hdus:
        header, shape = hdus[0].header, hdus[0].data.shape
    y, x = np.indices(shape)
    ny, nx = shape
    error = 2e-6 * (1.0 + 0.5 * x / nx) * (1.0 + 0.3 * y / ny)
    from_centre = ((x - nx / 2) / nx) ** 2 + ((y - ny / 2) / ny) ** 2
    mask = (np.hypot(x - 0.3 * nx, y - 0.6 * ny) < 12) | (x < 9)
    for name, data in (("error", error), ("primary_beam", np.exp(-1.5 * from_centre)), ("mask", mask * 1)):
        plane = header.copy()
        if name != "error":
            plane.remove("BUNIT")
        dtype = np.int16 if name == "mask" else np.float64
        fits.writeto(inputs / f"{name}.fits", data.astype(dtype), plane)
    fits.writeto(inputs / "psf.fits", _psf(), fits.Header({"CDELT1": -PIXEL / 3600, "CDELT2": PIXEL / 3600}))
    longitude, latitude = _positions(inputs)
    count = np.arange(len(longitude))
    sources = {"ID": count + 1, "RA": longitude, "DEC": latitude, "FWHM_1": 0.05 + 0.002 * count,
               "FWHM_2": 0.04 + 0.001 * count, "PA": 15.0 * count}  # fmt: skip
    Table(sources).write(inputs / "sources.txt", format="ascii.ipac")
    shapes = [
        f'ellipse({a:.9f},{b:.9f},0.03",0.02",{20 * i})'
        for i, (a, b) in enumerate(zip(longitude, latitude, strict=True))
    ]
    shapes[0] = f'circle({longitude[0]:.9f},{latitude[0]:.9f},0.025")'
    shapes[1] = f"point({longitude[1]:.9f},{latitude[1]:.9f})"
    (inputs / "regions.reg").write_text("\n".join(["# Region file format: DS9", "icrs", *shapes]) + "\n")


def _psf() -> np.ndarray:
    """Return the beam with three lobes at one and a half beams, a tenth as high."""
    y, x = np.indices((61, 61)) - 30.0
    major, minor, angle = CORE[0] / PIXEL / 2.3548, CORE[1] / PIXEL / 2.3548, np.deg2rad(CORE[2] + 90.0)

    def core(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        return np.exp(-0.5 * ((along / major) ** 2 + (across / minor) ** 2))

    lobes = [core(x - 5.5 * np.cos(t), y - 5.5 * np.sin(t)) for t in np.deg2rad([30.0, 150.0, 270.0])]
    return core(x, y) + 0.1 * sum(lobes)


def copy_published(data: Path, inputs: Path, *, quick: bool) -> None:
    """Copy the published maps to the inputs, the small set being their corners."""
    for number in (1, 2):
        name = PUBLISHED.format(number)
        if not quick:
            shutil.copy(data / name, inputs / name)
            continue
        with fits.open(data / name) as hdus:
            fits.writeto(inputs / name, hdus[0].data[..., :200, :200], hdus[0].header)
