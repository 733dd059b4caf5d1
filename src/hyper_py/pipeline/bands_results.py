"""What an extraction of several bands shows, draws and writes of itself.

The methods load figures and tables when they are called.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hyper_py.diagnostics import InputError
from hyper_py.display import Summarised, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyper_py.pipeline.bands import BandsExtraction

BAND_PLANES = ("data", "model", "residual", "background")
_SHOWN_ROWS, _SHOWN_BANDS = 5, 3
_DETECTED = 3.0
"""Flux over its error above which a source counts as detected in a band, as in DETECTED_IN."""


class BandsResultMethods(Summarised):
    """Methods of `hyper_py.BandsExtraction` that show, draw and write it."""

    @property
    def _own(self) -> "BandsExtraction":
        return cast("BandsExtraction", self)

    def _summary(self) -> Summary:
        own, catalog = self._own, self._own.catalog
        facts = []
        for band in own.bands:
            ratio = catalog[f"FLUX_{band.name}"] / catalog[f"FLUX_ERR_{band.name}"]
            n = int(np.count_nonzero(np.asarray(ratio) > _DETECTED))
            beam, (ny, nx) = band.image.beam, band.image.shape
            what = f"{band.wavelength:g} um, beam {beam.fwhm:.3g} arcsec, {nx} x {ny} pixels"
            facts.append((band.name, f"{what}, {n} sources above {_DETECTED:g} sigma"))
        if changed := own.options.changed():
            facts.append(("options", ", ".join(f"{name}={value}" for name, value in changed.items())))
        facts.append(("see", ".catalog, .long_catalog, .plot(), .regions(band), .write(path)"))
        shown = [band.name for band in own.bands][:_SHOWN_BANDS]
        unit = str(catalog[f"FLUX_{shown[0]}"].unit or "")
        header = ("HYPER_ID", "RA (deg)", "DEC (deg)", *(f"FLUX_{name} ({unit})" for name in shown), "FLAGS")
        rows = [
            (
                str(row["HYPER_ID"]), f"{row['RA'].value:.5f}", f"{row['DEC'].value:+.5f}",
                *(_with_error(row[f"FLUX_{name}"], row[f"FLUX_ERR_{name}"]) for name in shown),
                str(row["FLAGS"]),
            )
            for row in catalog[:_SHOWN_ROWS]
        ]  # fmt: skip
        if len(catalog) > _SHOWN_ROWS:
            rows.append(("...", *[""] * (len(header) - 1)))
        n, n_bands = len(catalog), len(own.bands)
        count = f"{n} source{'' if n == 1 else 's'} in {n_bands} band{'' if n_bands == 1 else 's'}"
        title = f"BandsExtraction of {own.name!r}: {count}"
        return Summary(title=title, facts=tuple(facts), header=header, rows=tuple(rows))

    def plot(self, *names: str, plane: str = "data", sources: bool = True) -> "Figure":
        """Draw maps of the field side by side, with the FWHM of the sources as each band sees them.

        Parameters
        ----------
        *names : str
            Bands; all of them if none is given.
        plane : {"data", "model", "residual", "background"}
            All have the colour scale of the data.
        sources : bool
            Whether the sources are drawn.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.

        Raises
        ------
        InputError
            If there is no such band or plane.

        Examples
        --------
        >>> import hyper_py
        >>> field = hyper_py.simulate_bands(seed=1, size=500.0, n_sources=4, pair_fraction=0.0)
        >>> images = {one.band.name: one.image for one in field.maps if one.band.name in ("s250", "s350")}
        >>> found = hyper_py.extract_bands(images, wavelengths={"s250": 250.0, "s350": 350.0})
        >>> figure = found.plot("s350", plane="residual")
        """
        from hyper_py.reporting.notebook_figures import draw_bands

        if plane not in BAND_PLANES:
            raise InputError(f"plot: plane={plane!r}: must be one of {', '.join(BAND_PLANES)}")
        return draw_bands(self._own, names, plane=plane, sources=sources)

    def to_pandas(self) -> Any:
        """Return the catalogue as a `pandas.DataFrame`, with `HYPER_ID` as its index.

        Units are in `frame.attrs["units"]`.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        from hyper_py.pipeline.results import as_frame

        return as_frame(self._own.catalog)

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the catalogue with one row a source, in the format that the suffix says.

        Parameters
        ----------
        path : str or Path
            `.ecsv`, `.fits`, `.csv`, `.vot`, `.txt` (IPAC) or `.parquet`.
        overwrite : bool
            Whether a file of that name may be replaced.

        Raises
        ------
        InputError
            For another suffix, or a file that exists.
        """
        from hyper_py.pipeline.results import as_path
        from hyper_py.writing.extraction_files import write_catalog

        scale = min(band.image.pixel_scale for band in self._own.bands)
        return write_catalog(
            self._own.catalog, as_path(path, "write"), overwrite=overwrite, pixel_scale=scale
        )


def _with_error(flux: Any, error: Any) -> str:
    return f"{flux.value:.4g} +- {error.value:.2g}"
