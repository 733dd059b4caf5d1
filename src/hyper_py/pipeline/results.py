"""What an extraction shows, draws and writes of itself.

The methods load figures, the report and tables when they are called. Beside `SkyImage.plot`, this is the one
place where a package loads those that stand above it.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from astropy.table import QTable

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.cautions.catalogues import cautions
from hyper_py.diagnostics import Flag, InputError
from hyper_py.display import Summarised, Summary
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.image import SkyImage
from hyper_py.noise.level import NoiseLevel
from hyper_py.numerics import gaussians
from hyper_py.options import Options

if TYPE_CHECKING:
    from astropy.nddata import CCDData
    from matplotlib.figure import Figure

    from hyper_py.noise.statistics import NoiseStatistics
    from hyper_py.pipeline.extraction import Extraction

Plane: TypeAlias = Literal["data", "model", "residual", "background", "rms"]
PLANES: tuple[Plane, ...] = ("data", "model", "residual", "background", "rms")
_SHOWN_ROWS = 5
_SHOWN_COLUMNS = ("HYPER_ID", "RA", "DEC", "FLUX", "FLUX_ERR", "FWHM_1", "FWHM_2", "SNR", "FLAGS")
_FORMS = {"RA": ".5f", "DEC": "+.5f", "FLUX": ".4g", "FLUX_ERR": ".2g", "SNR": ".1f"}


class ResultMethods(Summarised):
    """Methods of `hyper_py.Extraction` that show, draw and write it."""

    image: SkyImage
    options: Options
    catalog: QTable
    noise: NoiseLevel

    @cached_property
    def cautions(self) -> tuple[str, ...]:
        """Warnings about the map and its catalogue, one line each, as the command line gives them."""
        return cautions(self._own.complete_catalog, self.image, self.noise)

    @property
    def _own(self) -> "Extraction":
        return cast("Extraction", self)

    def _summary(self) -> Summary:
        own, image, options = self._own, self.image, self.options
        n, beam = len(self.catalog), image.beam
        noise = self.noise.typical * options.flux_per_jy * image.beam_area_pix
        facts = [
            ("map", f"{image.shape[1]} x {image.shape[0]} pixels of {image.pixel_scale:.4g} arcsec"),
            ("beam", f"{beam.major:.4g} x {beam.minor:.4g} arcsec"),
            ("noise", f"{noise:.3g} {options.flux_unit}/beam"),
        ]
        for label, peaks in (
            ("left out, as side lobes of brighter sources", own.explained),
            ("left out, nothing above the noise after the fit", own.vanished),
            ("left out, as pieces of rings or discs", own.pieces),
        ):
            if peaks is not None and len(peaks):
                facts.append((f"{len(peaks)} peaks", label))
        flags = np.asarray(self.catalog["FLAGS"]).astype(np.int64)
        counts = {flag.name: int(np.count_nonzero(flags & int(flag))) for flag in Flag}
        if text := ", ".join(f"{count} {name}" for name, count in counts.items() if count):
            facts.append(("flags", text))
        facts += [("warning", text) for text in self.cautions]
        if changed := options.changed():
            facts.append(("options", ", ".join(f"{name}={value}" for name, value in changed.items())))
        facts.append(("see", ".catalog, .plot(), .plot_source(i), .report(path), .write(path)"))
        names = [name for name in _SHOWN_COLUMNS if name in self.catalog.colnames]
        header = tuple(_with_unit(self.catalog, name) for name in names)
        rows = [tuple(_cell(row[name], name) for name in names) for row in self.catalog[:_SHOWN_ROWS]]
        if n > _SHOWN_ROWS:
            rows.append(("...", *[""] * (len(names) - 1)))
        title = f"Extraction of {image.name!r}: {n} source{'' if n == 1 else 's'}"
        return Summary(title=title, facts=tuple(facts), header=header, rows=tuple(rows))

    def plane(self, name: Plane = "data") -> FloatArray:
        """Return one of the images of the extraction in Jy/pixel, shape (ny, nx).

        Parameters
        ----------
        name : {"data", "model", "residual", "background", "rms"}
            "background" is that of the whole plane; the others are the map and what `model_image`,
            `residual_image` and `rms_image` return.

        Raises
        ------
        InputError
            For another name.

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> extraction = hyper_py.extract_sources(sky.image)
        >>> extraction.plane("residual").shape
        (80, 80)
        """
        own = self._own
        if name not in PLANES:
            raise InputError(f"plane {name!r}: must be one of {', '.join(PLANES)}")
        if name == "data":
            return np.asarray(self.image.data)
        if name == "background":
            return own.background_image(extent="plane")
        return {"model": own.model_image, "residual": own.residual_image, "rms": own.rms_image}[name]()

    def to_nddata(self, name: Plane = "data") -> "CCDData":
        """Return one of the images as `astropy.nddata.CCDData`, in Jy/pixel, with coordinates and mask.

        Parameters
        ----------
        name : {"data", "model", "residual", "background", "rms"}
            See `plane`.

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> extraction = hyper_py.extract_sources(sky.image)
        >>> extraction.to_nddata("residual").unit
        Unit("Jy / pix")
        """
        return self.image.with_data(np.array(self.plane(name), dtype=np.float64)).to_nddata()

    def segmentation_image(self) -> IntArray:
        """Return the HYPER_ID of the source that a pixel belongs to, 0 outside of all apertures.

        Where apertures overlap a pixel belongs to the source whose Gaussian is brighter there.
        `photutils.segmentation.SegmentationImage` takes the array as it is.

        Returns
        -------
        ndarray of int, shape (ny, nx)

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> extraction = hyper_py.extract_sources(sky.image)
        >>> sorted(set(extraction.segmentation_image().ravel().tolist()))
        [0, 1, 2, 3]
        """
        own = self._own
        labels = np.zeros(self.image.shape, dtype=np.int64)
        sources = own.sources
        if len(sources) == 0:
            return labels
        best = np.zeros(self.image.shape)
        n_sigma = self.options.photometry.fwhm_radius_ratio * FWHM_PER_SIGMA
        stamps = gaussians.footprint_stamps(sources, self.image.shape, n_sigma=n_sigma)
        numbers = np.asarray(self.catalog["HYPER_ID"])
        for row, (where, inside) in stamps.items():
            value = gaussians.drawn(sources[row : row + 1], self.image.shape)[where]
            wins = inside & ((value > best[where]) | (labels[where] == 0))
            best[where] = np.where(wins, value, best[where])
            labels[where] = np.where(wins, numbers[row], labels[where])
        return labels

    def noise_statistics(self) -> "NoiseStatistics":
        """Return the covariance of noise and background that the errors come from.

        Returns
        -------
        hyper_py.noise.statistics.NoiseStatistics
            Its `profile` and `spectrum` are for plots.

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> radius, measured, beam = hyper_py.extract_sources(sky.image).noise_statistics().profile
        >>> bool(measured[0] == measured.max())  # the variance
        True
        """
        from hyper_py.pipeline.extraction import noise_statistics

        return noise_statistics(self._own)

    def to_pandas(self) -> Any:
        """Return the catalogue as a `pandas.DataFrame`, with `HYPER_ID` as its index.

        Units are in `frame.attrs["units"]`.

        Raises
        ------
        InputError
            If pandas is not installed.

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> extraction = hyper_py.extract_sources(sky.image)
        >>> frame = extraction.to_pandas()
        >>> frame.index.name, frame.attrs["units"]["FLUX"]
        ('HYPER_ID', 'mJy')
        """
        return as_frame(self._own.complete_catalog)

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the catalogue, or the apertures as regions, in the format that the suffix says.

        Parameters
        ----------
        path : str or Path
            `.ecsv`, `.fits`, `.csv`, `.vot` or `.xml` (VOTable), `.txt` or `.tbl` (IPAC), `.parquet` for the
            catalogue; `.reg` (DS9), `.crtf` (CASA, CARTA) for the apertures.
        overwrite : bool
            Whether a file of that name may be replaced.

        Returns
        -------
        Path
            Of the file.

        Raises
        ------
        InputError
            For another suffix, or a file that exists.

        Examples
        --------
        >>> import hyper_py, pathlib, tempfile
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> extraction = hyper_py.extract_sources(sky.image)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     extraction.write(pathlib.Path(folder) / "sources.fits").name
        'sources.fits'
        """
        from hyper_py.writing.extraction_files import write_extraction

        return write_extraction(self._own, as_path(path, "write"), overwrite=overwrite)

    def report(self, path: str | Path, *, overwrite: bool = True) -> Path:
        """Write the report of the map: one HTML file that needs no network.

        Parameters
        ----------
        path : str or Path
            `.html`.
        overwrite : bool
            Whether a file of that name may be replaced.

        Returns
        -------
        Path
            Of the file; open it in a browser, or send it.

        Raises
        ------
        InputError
            For another suffix, a file that exists, or a map that was read in pieces.

        Examples
        --------
        >>> import hyper_py, pathlib, tempfile
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> extraction = hyper_py.extract_sources(sky.image)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(extraction.report(pathlib.Path(folder) / "map.html").name)
        map.html
        """
        from hyper_py.reporting.extraction_page import write_page

        return write_page(self._own, as_path(path, "report"), overwrite=overwrite)

    def send(self, *, to: str | None = None) -> tuple[str, ...]:
        """Send the catalogue to TOPCAT, Aladin and other programs on this machine by SAMP.

        Parameters
        ----------
        to : str, optional
            Part of the name of the program; all that load tables if not given.

        Returns
        -------
        tuple of str
            Names of the programs that have loaded it.

        Raises
        ------
        InputError
            If no SAMP hub is running (TOPCAT and Aladin start one), or no such program is connected.
        """
        from hyper_py.writing.extraction_files import send_extraction

        return send_extraction(self._own, to=to)

    def plot(self, name: Plane = "data", *, sources: bool = True, ax: Any = None) -> "Figure":
        """Draw the map, or another image of the extraction, with the apertures of the sources.

        Parameters
        ----------
        name : {"data", "model", "residual", "background", "rms"}
            See `plane`. All but "rms" have the colour scale of the data.
        sources : bool
            Whether apertures are drawn.
        ax : matplotlib Axes, optional
            Axes to draw into, best with `projection=extraction.image.wcs`; a new figure if not given.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; `figure.savefig("map.pdf")` writes it.

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> extraction = hyper_py.extract_sources(sky.image)
        >>> figure = extraction.plot("residual")
        """
        from hyper_py.reporting.notebook_figures import draw_map

        return draw_map(self._own, name, sources=sources, ax=ax)

    def plot_source(self, hyper_id: int) -> "Figure":
        """Draw a source: data, model and residual around it, and its radial profile.

        Parameters
        ----------
        hyper_id : int
            Its HYPER_ID.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        InputError
            If the catalogue has no such source, or nothing was fitted.

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
        >>> extraction = hyper_py.extract_sources(sky.image)
        >>> figure = extraction.plot_source(1)
        """
        from hyper_py.reporting.notebook_figures import draw_source

        return draw_source(self._own, hyper_id)


def as_frame(catalog: QTable) -> Any:
    """Return a catalogue as a `pandas.DataFrame`, see `Extraction.to_pandas`."""
    try:
        import pandas  # noqa: F401
    except ModuleNotFoundError:
        raise InputError("to_pandas needs pandas: python -m pip install pandas") from None
    frame = catalog.to_pandas(index="HYPER_ID")
    frame.attrs["units"] = {name: str(column.unit or "") for name, column in catalog.columns.items()}
    return frame


def as_path(path: Any, method: str) -> Path:
    """Return the path that a method was given; raise an error if it is none."""
    if not isinstance(path, str | Path):
        raise InputError(f"{method}: path={path!r}: give the name of the file")
    return Path(path)


def _with_unit(catalog: QTable, name: str) -> str:
    unit = str(catalog[name].unit or "").replace(" ", "")
    return f"{name} ({unit})" if unit else name


def _cell(value: Any, name: str) -> str:
    number = getattr(value, "value", value)
    return format(number, _FORMS.get(name, ".4g" if isinstance(number, float) else ""))
