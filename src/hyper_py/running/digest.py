"""The catalogue of a map in a few numbers, from its rows."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from hyper_py.diagnostics import InputError

if TYPE_CHECKING:
    from hyper_py.config import Config


@dataclass(frozen=True, kw_only=True)
class Digest:
    """A catalogue in a few numbers.

    Attributes
    ----------
    n_rows : int
    n_channels : int
        Of a cube; 0 for a map.
    n_places : int
        Different sources; those of a cube may have a row in each channel.
    flux : (float, float, float) or None
        Faintest, median and brightest; None where nothing was measured.
    flux_unit : str
    limit : float or None
        Peak flux of a point source at the threshold of the detection, in the unit of FLUX_PEAK.
    threshold : float
    flags : dict of str to int
        How many rows have a flag, most frequent first, by its words.
    n_calling : int
        Rows with a flag that calls for a look.
    """

    n_rows: int
    n_channels: int
    n_places: int
    flux: tuple[float, float, float] | None
    flux_unit: str
    limit: float | None
    threshold: float
    flags: dict[str, int]
    n_calling: int


def digest(root: Path, name: str, *, config: "Config") -> Digest | None:
    """Return the digest of a map or cube of a run; None if its rows are not there.

    Parameters
    ----------
    root : Path
        The output directory.
    name : str
        Of the map or cube.
    config : Config
        That of the run.
    """
    import numpy as np

    from hyper_py.reporting.report_data import flag_counts
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.rows import read_rows, recorded
    from hyper_py.writing.state import parts_of

    layout = Layout(root=root)
    parts = parts_of(layout, name)
    try:
        records = [recorded(layout, part) for part in parts]
        tables = [read_rows(layout, record) for record in records]
    except InputError:
        return None
    units = {column: unit for column, unit, _ in records[0].columns}

    def values(column: str) -> Any:
        have = [table[column] for table in tables if column in (table.dtype.names or ())]
        return np.concatenate(have).astype(np.float64) if have else np.empty(0)

    flux, snr, peak = values("FLUX"), values("SNR"), values("FLUX_PEAK")
    known = flux[np.isfinite(flux)]
    ratio = peak[snr > 0.0] / snr[snr > 0.0]
    ratio = ratio[np.isfinite(ratio)]
    flagged = flag_counts(values("FLAGS").astype(np.int64))
    threshold = config.detection.sigma_thres
    pixel_scale = records[0].pixel_scale or 1.0
    beam_fwhm = _beam_fwhm(root, parts, values, pixel_scale=pixel_scale) if parts != [name] else 0.0
    return Digest(
        n_rows=sum(map(len, tables)),
        n_channels=len(parts) if parts != [name] else 0,
        n_places=_n_places(values, beam_fwhm=beam_fwhm) if parts != [name] else sum(map(len, tables)),
        flux=(float(known.min()), float(np.median(known)), float(known.max())) if known.size else None,
        flux_unit=units.get("FLUX", ""),
        limit=threshold * float(np.median(ratio)) if ratio.size else None,
        threshold=threshold,
        flags=flagged["flag_counts"],
        n_calling=flagged["n_calling"],
    )


def _n_places(values: Any, *, beam_fwhm: float) -> int:
    """Return how many different places the rows of all channels have, as the page of the cube counts them."""
    import numpy as np

    from hyper_py.numerics.pairs import friends_of_friends
    from hyper_py.reporting.cube_page import MATCHED_BEAMS

    x, y = values("X"), values("Y")
    on_map = np.isfinite(x) & np.isfinite(y)
    if not on_map.any():
        return 0
    linking = MATCHED_BEAMS * beam_fwhm
    return int(friends_of_friends(x[on_map], y[on_map], linking_length=linking).max()) + 1


def _beam_fwhm(root: Path, parts: Sequence[str], values: Any, *, pixel_scale: float) -> float:
    """Return the FWHM of the beam in pixels; without the data of the report, that of the smallest sources."""
    import numpy as np

    from hyper_py.reporting.report_data import load_report_data
    from hyper_py.writing.layout import report_data_name

    for part in parts:
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError, InputError, BadZipFile):
            return float(load_report_data(root / report_data_name(part)).facts["beam"]["fwhm_pixels"])
    fwhm = np.sqrt(values("FWHM_1") * values("FWHM_2")) / pixel_scale
    known = fwhm[np.isfinite(fwhm)]
    return float(np.percentile(known, 10)) if known.size else 2.0
