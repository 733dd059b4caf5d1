"""Figure of the spectra of a cube's sources."""

from pathlib import Path

import numpy as np
from astropy.table import Table

MOST_PANELS = 48
_AXES = ("VELOCITY", "FREQUENCY", "WAVELENGTH", "SPECTRAL_VALUE", "CHANNEL")


def which_sources(n_shown: int, n: int) -> str:
    """Say which sources are shown where not all are."""
    return "" if n_shown == n else f": the {n_shown} of {n} sources with the largest sum of fluxes"


def draw_spectra(table: Table, path: Path, *, title: str) -> None:
    """Draw one panel a source: flux with its errors against velocity, frequency or channel.

    Parameters
    ----------
    table : Table
        From `hyper_py.reporting.spectra.spectra_table`.
    path : Path
        PNG; the sources of largest total flux if there are more than `MOST_PANELS`.
    title : str
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axis = next(name for name in _AXES if name in table.colnames)
    unit, scale = (str(table[axis].unit or ""), 1.0)
    if unit == "Hz":
        unit, scale = "GHz", 1e-9
    identifiers, source = np.unique(table["HYPER_ID"], return_inverse=True)
    total = np.bincount(source, weights=np.nan_to_num(np.asarray(table["FLUX"], dtype=np.float64)))
    shown = np.sort(np.argsort(total, kind="stable")[::-1][:MOST_PANELS])
    columns = min(6, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.4 * columns + 0.8, 1.7 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for panel, k in zip(panels, shown, strict=False):
        own = table[source == k]
        x, flux, error = (np.array(own[name], dtype=np.float64) for name in (axis, "FLUX", "FLUX_ERR"))
        x *= scale
        panel.axhline(0.0, color="0.7", lw=0.6)
        panel.step(x, flux, where="mid", color="C0", lw=0.9)
        panel.errorbar(x, flux, error, fmt="none", ecolor="C0", elinewidth=0.7, alpha=0.7)
        panel.set_title(f"source {identifiers[k]}", fontsize=7, pad=2)
        panel.tick_params(labelsize=6)
        panel.ticklabel_format(axis="x", useOffset=False, style="plain")
        panel.locator_params(axis="x", nbins=4)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    figure.supxlabel(f"{axis.capitalize()}{f' ({unit})' if unit else ''}", fontsize=8)
    figure.supylabel(f"Flux ({table['FLUX'].unit})", fontsize=8)
    figure.suptitle(title + which_sources(len(shown), len(identifiers)), fontsize=9, parse_math=False)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})
