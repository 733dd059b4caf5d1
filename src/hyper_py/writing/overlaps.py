"""Sources that are on several maps: how the merged catalogue marks them, and the tables that compare them.

Rows are read map by map; memory holds a number for each row, and the sources on the sky.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from astropy.table import Column as TableColumn
from astropy.table import Table

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.diagnostics import Flag
from hyper_py.validation.matching import sky_points
from hyper_py.validation.overlaps import SkySources, differences, middle, nearest_pairs
from hyper_py.writing.layout import Layout
from hyper_py.writing.rows import read_rows, recorded
from hyper_py.writing.staging import Stage
from hyper_py.writing.table_columns import template_of
from hyper_py.writing.tables import write_table

OVERLAPS_NAME, CHECKS_NAME = "OVERLAPS", "OVERLAP_CHECKS"
COLUMNS = (
    ("SKY_ID", "", "Number of the source on the sky, from 1: the same in its rows of all maps"),
    ("N_MAPS", "", "Number of maps with this source"),
    ("BEST", "", "1 in the row of the source with the best S/N, an aperture that no edge cuts preferred"),
)
"""What the merged catalogue gains: name, unit, description."""
_CUT = int(Flag.EDGE | Flag.BLANK_PIXELS | Flag.FIT_FAILED)
_MAPS_HELD = 64
_MOST_PARTNERS = 20
"""A source on more maps than these is compared with its next ones only, in the order of the maps."""
_FEWEST_FOR_REMARK = 5
_SIGNIFICANT, _LEAST_DIFFERENCE = 5.0, 0.03
_ALIKE = 1.05
"""Beams that differ by less are those of one instrument: their fluxes should be the same."""


@dataclass(frozen=True, kw_only=True)
class GivenCatalogue:
    """Sources of the user's own, to be found among those of the maps.

    Attributes
    ----------
    name : str
    ra, dec : ndarray, shape (n,)
        Degrees, ICRS.
    ids : ndarray of str, shape (n,)
    flux, flux_err : ndarray, shape (n,)
        In the unit of the run's catalogues; NaN where it has none.
    """

    name: str
    ra: FloatArray
    dec: FloatArray
    ids: Any
    flux: FloatArray
    flux_err: FloatArray

    def columns(self) -> dict[str, FloatArray]:
        """Return what is compared, by the names of the catalogue's columns."""
        return {"RA": self.ra, "DEC": self.dec, "FLUX": self.flux, "FLUX_ERR": self.flux_err}


class Overlaps:
    """The links between the rows of some complete maps.

    Parameters
    ----------
    layout : Layout
    names : sequence of str
        Maps whose rows are linked, in the order of the merged catalogue.
    radius_beams : float
        Largest distance of two rows of one source, in beams of the later map.
    """

    def __init__(self, layout: Layout, names: Sequence[str], *, radius_beams: float) -> None:
        self.layout, self.names, self.radius_beams = layout, tuple(names), radius_beams
        self.index = {name: k for k, name in enumerate(self.names)}
        sky, self.numbers = SkySources(), []
        for name in self.names:
            rows = self.rows(name)
            self.numbers.append(
                sky.add(
                    rows["RA"], rows["DEC"], snr=rows["SNR"], whole=(rows["FLAGS"] & _CUT) == 0,
                    radius=self.radius(name),
                )
            )  # fmt: skip
        self.n_maps = np.array(sky.n_maps, dtype=np.int64)
        self.best = np.array(sky.best, dtype=np.int64).reshape(-1, 2)
        self._held = lru_cache(maxsize=_MAPS_HELD)(self.rows)

    @property
    def n_shared(self) -> int:
        """Sources that are on several maps."""
        return int(np.count_nonzero(self.n_maps > 1))

    @property
    def n_sources(self) -> int:
        """Sources on the sky."""
        return self.n_maps.size

    def rows(self, name: str) -> np.ndarray[Any, Any]:
        """Return the rows of a map."""
        return read_rows(self.layout, recorded(self.layout, name))

    def radius(self, name: str) -> float:
        """Return the largest distance in arcsec of a row of a map from its source."""
        record = recorded(self.layout, name)
        return self.radius_beams * (record.beam_fwhm or 0.0)

    def columns_of(self, name: str, *, before: int) -> dict[str, IntArray]:
        """Return the values of `COLUMNS` for the rows of a map.

        Parameters
        ----------
        name : str
            A map that takes no part gets numbers of its own.
        before : int
            Rows without links that stand before these.
        """
        k = self.index.get(name)
        if k is None:
            n = recorded(self.layout, name).n_sources
            one = np.ones(n, dtype=np.int64)
            return {"SKY_ID": self.n_sources + before + 1 + np.arange(n), "N_MAPS": one, "BEST": one}
        numbers = self.numbers[k]
        best = (
            self.best[numbers] == np.column_stack([np.full(numbers.size, k), np.arange(numbers.size)])
        ).all(axis=1)
        return {"SKY_ID": numbers + 1, "N_MAPS": self.n_maps[numbers], "BEST": best.astype(np.int64)}

    def rows_before(self, names: Sequence[str]) -> tuple[dict[str, int], int]:
        """Return how many rows of maps that take no part stand before each map, and how many there are."""
        before, n = {}, 0
        for name in names:
            before[name] = n
            n += 0 if name in self.index else recorded(self.layout, name).n_sources
        return before, n

    def pairs(self) -> IntArray:
        """Return linked rows, (n, 5): first map, second map, row in each, source; sorted."""
        members: list[IntArray] = []
        for k, numbers in enumerate(self.numbers):
            own = np.flatnonzero(self.n_maps[numbers] > 1)
            members.append(np.column_stack([numbers[own], np.full(own.size, k), own]))
        table = np.concatenate(members) if members else np.empty((0, 3), dtype=np.int64)
        table = table[np.lexsort((table[:, 1], table[:, 0]))]
        found = []
        # The rows of a source stand together: each is paired with the 1st, 2nd, ... that follows.
        for step in range(1, min(int(self.n_maps.max(initial=1)), _MOST_PARTNERS)):
            first, second = table[:-step], table[step:]
            same = first[:, 0] == second[:, 0]
            found.append(
                np.column_stack(
                    [first[same, 1], second[same, 1], first[same, 2], second[same, 2], first[same, 0]]
                )
            )
        pairs = np.concatenate(found) if found else np.empty((0, 5), dtype=np.int64)
        order = np.lexsort((pairs[:, 4], pairs[:, 1], pairs[:, 0]))
        result: IntArray = pairs[order]
        return result

    def tables(self, given: GivenCatalogue | None = None) -> Iterator[Table]:
        """Yield the table of linked rows, for one pair of maps at a time.

        Parameters
        ----------
        given : GivenCatalogue, optional
            Compared with each map first.
        """
        if given is not None:
            places = sky_points(given.ra, given.dec)
            for k, name in enumerate(self.names):
                rows = self._held(name)
                one, other = nearest_pairs(
                    *_placed(places, sky_points(rows["RA"], rows["DEC"])), radius=self.radius(name)
                )
                if one.size:
                    first: dict[str, Any] = {key: values[one] for key, values in given.columns().items()}
                    first |= {
                        "MAP_ID": np.full(one.size, given.name),
                        "HYPER_ID": one + 1,
                        "ID": given.ids[one],
                    }
                    yield _compared(first, _some(rows[other]), self.numbers[k][other])
        pairs = self.pairs()
        ends = np.flatnonzero(np.any(np.diff(pairs[:, :2], axis=0) != 0, axis=1)) + 1
        for part in np.split(pairs, ends) if len(pairs) else []:
            maps = (self.names[part[0, 0]], self.names[part[0, 1]])
            first, second = (
                _some(self._held(name)[rows])
                for name, rows in zip(maps, (part[:, 2], part[:, 3]), strict=True)
            )
            first["ID"] = np.full(len(part), "")
            yield _compared(first, second, part[:, 4])


def marked_rows(
    rows: np.ndarray[Any, Any], overlaps: Overlaps, name: str, *, before: int, join: bool
) -> np.ndarray[Any, Any]:
    """Return the rows of a map with `COLUMNS`, or, joined, only the best row of each source."""
    values = overlaps.columns_of(name, before=before)
    more = [(column, np.int64) for column, _, _ in COLUMNS]
    result = np.empty(rows.shape, dtype=[*((key, rows.dtype[key]) for key in rows.dtype.names or ()), *more])
    for key in rows.dtype.names or ():
        result[key] = rows[key]
    for key, column in values.items():
        result[key] = column
    return result[result["BEST"] == 1] if join else result


def _placed(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return points; those that are no numbers are where nothing is."""
    far = 1e9
    return np.nan_to_num(first, nan=far), np.nan_to_num(second, nan=-far)


def _some(rows: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {key: rows[key] for key in ("MAP_ID", "HYPER_ID", "RA", "DEC", "FLUX", "FLUX_ERR")}


def _compared(first: Mapping[str, Any], second: Mapping[str, Any], numbers: IntArray) -> Table:
    """Return the table of linked rows of two maps."""
    found = differences(dict(first), dict(second))
    table = Table({"SKY_ID": numbers + 1, "ID": first["ID"]})
    for k, rows in enumerate((first, second), start=1):
        for key in ("MAP_ID", "HYPER_ID", "FLUX", "FLUX_ERR"):
            table[f"{key}_{k}"] = rows[key]
    table["FLUX_RATIO"], table["FLUX_PULL"] = found.ratio, found.pull
    table["SEPARATION"], table["D_RA"], table["D_DEC"] = found.separation, found.east, found.north
    return table


_TEXTS = {
    "SKY_ID": "Number of the source on the sky, as in the merged catalogue",
    "ID": "Identifier in the user's catalogue",
    "FLUX_RATIO": "FLUX_2 over FLUX_1",
    "FLUX_PULL": "FLUX_2 - FLUX_1 over its error",
    "SEPARATION": "Distance of the two positions",
    "D_RA": "Second RA minus first, times cos(DEC)",
    "D_DEC": "Second DEC minus first",
    "N": "Number of sources compared",
    "FLUX_RATIO_ERR": "Error of the median FLUX_RATIO",
    "D_RA_ERR": "Error of the median D_RA",
    "D_DEC_ERR": "Error of the median D_DEC",
}
_ARCSEC = ("SEPARATION", "D_RA", "D_DEC", "D_RA_ERR", "D_DEC_ERR")


def _described(table: Table, *, flux_unit: str) -> Table:
    """Return a table with the units, formats and descriptions of its columns."""
    result = Table()
    for name in table.colnames:
        values = np.asarray(table[name])
        unit = "arcsec" if name in _ARCSEC else flux_unit if name.startswith("FLUX") else None
        unit = None if name.startswith(("FLUX_RATIO", "FLUX_PULL")) else unit
        is_float = values.dtype.kind == "f"
        result[name] = TableColumn(
            values if values.dtype.kind in "fU" else values.astype(np.int64), unit=unit,
            description=_TEXTS.get(name, name.replace("_", " ")), format=".6g" if is_float else None,
        )  # fmt: skip
    return result


def write_overlaps(
    overlaps: Overlaps, *, flux_unit: str, meta: Mapping[str, Any], given: GivenCatalogue | None = None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Write the table of linked rows and that of the comparison of maps, and say what is remarkable.

    Parameters
    ----------
    overlaps : Overlaps
    flux_unit : str
    meta : mapping
        For the headers.
    given : GivenCatalogue, optional

    Returns
    -------
    names : tuple of str
        Files written; none without linked rows.
    notes, remarks : tuple of str
        What was compared, and what is odd; one line each.
    """
    layout = overlaps.layout
    checks, widths, notes = [], {"ID": 1, "MAP_ID_1": 1, "MAP_ID_2": 1}, []
    n_found: set[int] = set()
    for table in overlaps.tables(given):
        checks.append(_check(table))
        for name in widths:
            widths[name] = max(widths[name], int(np.char.str_len(table[name]).max()))
        if given is not None and table["MAP_ID_1"][0] == given.name:
            n_found |= set(table["HYPER_ID_1"].tolist())
    if given is not None:
        notes.append(f"{len(n_found)} of {given.ra.size} sources of {given.name} are in the catalogue")
    if overlaps.n_shared:
        notes.append(f"{overlaps.n_shared} of {overlaps.n_sources} sources are on several maps")
    if not checks:
        return (), tuple(notes), ()
    summary = _described(Table(rows=checks), flux_unit=flux_unit)
    with Stage(layout.root) as stage:
        for form in layout.formats:
            first = _described(next(overlaps.tables(given)), flux_unit=flux_unit)
            template = template_of(first, text_widths=widths, meta=meta)
            batches = (_described(table, flux_unit=flux_unit) for table in overlaps.tables(given))
            write_table(stage.path(layout.table(OVERLAPS_NAME, form)), batches, form=form, template=template)
            template = template_of(summary, text_widths={}, meta=meta)
            write_table(stage.path(layout.table(CHECKS_NAME, form)), [summary], form=form, template=template)
    return stage.names, tuple(notes), tuple(_remarks(overlaps, summary))


def _check(table: Table) -> dict[str, Any]:
    """Return what the rows of two maps say together."""
    row: dict[str, Any] = {name: str(table[name][0]) for name in ("MAP_ID_1", "MAP_ID_2")}
    row["N"] = len(table)
    for name in ("FLUX_RATIO", "D_RA", "D_DEC"):
        row[name], row[f"{name}_ERR"] = middle(np.asarray(table[name], dtype=np.float64))
    return row


def _remarks(overlaps: Overlaps, summary: Table) -> list[str]:
    """Return lines on fluxes and positions that differ between maps of one beam, the largest first."""
    found = []
    for row in summary:
        names = str(row["MAP_ID_1"]), str(row["MAP_ID_2"])
        if row["N"] < _FEWEST_FOR_REMARK or not all(name in overlaps.index for name in names):
            continue
        one, other = (overlaps.radius(name) for name in names)
        off = abs(row["FLUX_RATIO"] - 1.0)
        if max(one, other) < _ALIKE * min(one, other) and off > max(
            _LEAST_DIFFERENCE, _SIGNIFICANT * row["FLUX_RATIO_ERR"]
        ):
            found.append(
                (
                    off,
                    f"fluxes on {names[1]} are {row['FLUX_RATIO']:.3f} +- {row['FLUX_RATIO_ERR']:.3f} times "
                    f"those on {names[0]} ({row['N']} sources): look at their calibration",
                )
            )
        shift = float(np.hypot(row["D_RA"], row["D_DEC"]))
        if shift > _SIGNIFICANT * float(np.hypot(row["D_RA_ERR"], row["D_DEC_ERR"])) and shift > 0.1 * min(
            one, other
        ):
            found.append(
                (
                    shift / min(one, other),
                    f"positions on {names[1]} are off those on {names[0]} by {row['D_RA']:+.3g}, "
                    f"{row['D_DEC']:+.3g} arcsec in RA, DEC ({row['N']} sources): look at their pointing",
                )
            )
    return [text for _, text in sorted(found, reverse=True)[:10]]
