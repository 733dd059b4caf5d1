"""Where the outputs of a run are: directories and names below the output directory."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hyper_py.names import file_stem
from hyper_py.writing.tables import SUFFIXES

if TYPE_CHECKING:
    from hyper_py.config import Config

STATE_DIR = ".hyper_py"
"""Hidden directory of the records of maps, below the output directory."""

MANIFEST = "run.json"
REPORT_DIR = "report"
COMPLETENESS_DIR = "completeness"
PLOTS_DIR = "plots"
PRODUCTS_DIR = "fits"
MERGED_NAME = "ALL"
REGION_KINDS = ("centroids", "ellipses")
_DEFAULT_DIRECTORIES = (
    *("params", "regions", "logs", "maps"),
    *(
        f"{kind}/{what}"
        for kind in ("fits", "plots")
        for what in ("fitting", "deblended", "bg_separate", "noise")
    ),
)
_CUBE_NAMES = {"background": "background_cube_fullsize", "cut": "background_cube_cut"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where outputs go: directories and first parts of names, relative to `root`."""

    root: Path
    tables: str = "params"
    regions: str = "regions"
    logs: str = "logs"
    table_base: str = "params"
    region_base: str = "region_files"
    log_name: str = "hyper_py.log"
    formats: tuple[str, ...] = ("ipac", "ecsv", "csv")
    products: tuple[str, ...] = ()
    fitting: str | None = None
    deblended: str | None = None
    background: str | None = None
    noise: str | None = None
    cubes: str = "maps"
    plot_fitting: str | None = None
    plot_deblended: str | None = None
    plot_background: str | None = None
    plot_noise: str | None = None
    surfaces: bool = False

    @classmethod
    def from_config(cls, config: "Config") -> Self:
        """Return the layout that a configuration gives."""
        paths, files, fits = config.paths.output, config.files, config.fits_output
        plots = config.visualization
        return cls(
            root=Path(os.path.abspath(config.below_root())),
            tables=paths.dir_table_out,
            regions=paths.dir_region_out,
            logs=paths.dir_log_out,
            table_base=files.file_table_base,
            region_base=files.file_region_base,
            log_name=files.file_log_name,
            formats=tuple(config.outputs.tables),
            products=tuple(config.outputs.products),
            fitting=fits.fits_output_dir_fitting if fits.fits_fitting else None,
            deblended=fits.fits_output_dir_deblended if fits.fits_deblended else None,
            background=fits.fits_output_dir_bg_separate if fits.fits_bg_separate else None,
            noise=fits.fits_output_dir_noise if fits.fits_noise else None,
            cubes=config.control.dir_datacube_slices,
            plot_fitting=plots.output_dir_fitting if plots.visualize_fitting else None,
            plot_deblended=plots.output_dir_deblended if plots.visualize_deblended else None,
            plot_background=plots.output_dir_bg_separate if plots.visualize_bg_separate else None,
            plot_noise=plots.output_dir_noise if plots.visualize_noise else None,
            surfaces=plots.visualize_surfaces,
        )

    def table(self, name: str, form: str) -> str:
        """Catalogue of a map, or of all with `MERGED_NAME`."""
        return f"{self.tables}/{self.table_base}_{file_stem(name)}{SUFFIXES[form]}"

    def region(self, name: str, kind: str) -> str:
        """Region file; `kind` is centroids or ellipses."""
        return f"{self.regions}/{self.region_base}_{file_stem(name)}_{kind}.reg"

    def crtf(self, name: str) -> str:
        """Apertures as a CASA region file."""
        return f"{self.regions}/{self.region_base}_{file_stem(name)}_ellipses.crtf"

    def map_log(self, name: str) -> str:
        """Log of one map."""
        return f"{self.logs}/Hyper_log_{file_stem(name)}.log"

    def covariances(self, name: str) -> str:
        """Covariances of the parameters of each fit of a map."""
        return f"{self.tables}/covariances_{file_stem(name)}.ecsv"

    def map_figure(self, name: str) -> str:
        """Figure of the map with all its sources."""
        return f"{PLOTS_DIR}/{file_stem(name)}_map.svg"

    def images(self, name: str) -> dict[str, str]:
        """Paths of the FITS images of a map that are wanted, by their content."""
        wanted = {
            "model": self.fitting,
            "residual": self.fitting,
            "rms": self.fitting,
            "background": self.background,
        }
        wanted |= {what: PRODUCTS_DIR for what in self.products if wanted[what] is None}
        return {
            what: f"{place}/{file_stem(name)}_{what}.fits"
            for what, place in wanted.items()
            if place is not None
        }

    def noise_files(self, name: str) -> dict[str, str]:
        """Paths of the FITS file and figure of the noise of a map that are wanted, by their suffix."""
        wanted = {"fits": self.noise, "png": self.plot_noise}
        return {
            suffix: f"{place}/{file_stem(name)}_noise.{suffix}"
            for suffix, place in wanted.items()
            if place is not None
        }

    def outputs(self, name: str) -> list[str]:
        """Every file that a map may have, except its log and record."""
        tables = [self.table(name, form) for form in SUFFIXES]
        regions = [self.region(name, kind) for kind in REGION_KINDS]
        return [
            *tables,
            *regions,
            self.crtf(name),
            *self.images(name).values(),
            *self.noise_files(name).values(),
            self.covariances(name),
            self.map_figure(name),
            self.rows(name),
            report_data_name(name),
        ]

    def cube(self, name: str, kind: str) -> str:
        """Product cube of a cube; the background has one of full size, and one cut to a region."""
        return f"{self.cubes}/{file_stem(name)}_{_CUBE_NAMES.get(kind, kind + '_cube')}.fits"

    def slice(self, name: str) -> str:
        """Channel of a cube as a map."""
        return f"{self.cubes}/{file_stem(name)}.fits"

    def spectra(self, name: str, form: str) -> str:
        """Spectra of the sources of a cube."""
        return f"{self.tables}/spectra_{file_stem(name)}{SUFFIXES[form]}"

    def spectra_figure(self, name: str) -> str:
        """Figure of these spectra."""
        return f"{PLOTS_DIR}/spectra_{file_stem(name)}.png"

    def state(self, name: str) -> str:
        """Record of a complete map."""
        return f"{STATE_DIR}/{file_stem(name)}.json"

    def rows(self, name: str) -> str:
        """Catalogue of a complete map in full precision, from which the merged one is made."""
        return f"{STATE_DIR}/{file_stem(name)}.npy"

    def journal(self, name: str) -> Path:
        """Directory of what is known so far of a map that is read in pieces, while it is done."""
        return self.root / STATE_DIR / f"{file_stem(name)}.tiles"

    def directories(self) -> tuple[Path, ...]:
        """All directories in which this run writes."""
        names = (
            self.tables,
            self.regions,
            self.logs,
            STATE_DIR,
            self.fitting,
            self.deblended,
            self.background,
            self.noise,
            self.plot_fitting,
            self.plot_deblended,
            self.plot_background,
            self.plot_noise,
            PRODUCTS_DIR if self.products else None,
        )
        return (self.root, *(self.root / name for name in names if name is not None))

    def staging_directories(self) -> tuple[Path, ...]:
        """All directories in which there may be temporary files, of any run with these names."""
        more = (self.cubes, PLOTS_DIR, PRODUCTS_DIR, REPORT_DIR, COMPLETENESS_DIR, *_DEFAULT_DIRECTORIES)
        return tuple(dict.fromkeys((*self.directories(), *(self.root / name for name in more))))


def report_data_name(name: str) -> str:
    """Return where the report's data of a map are, relative to the output directory."""
    return f"{STATE_DIR}/{file_stem(name)}.report.npz"


def completeness_page_name(name: str) -> str:
    """Return where the page of a map's completeness goes, relative to the output directory."""
    return f"{COMPLETENESS_DIR}/completeness_{file_stem(name)}.html"
