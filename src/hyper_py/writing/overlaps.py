"""Sources that are on several maps: how the merged catalogue marks them, and the tables that compare them.

Rows are read map by map; memory holds a number for each row, and the sources on the sky.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_VALUES = ("HYPER_ID", "RA", "DEC", "FLUX", "FLUX_ERR")
_NAMED = {"MAP_1": "MAP_ID_1", "MAP_2": "MAP_ID_2"}
_CHECKED = ("FLUX_RATIO", "D_RA", "D_DEC")
_FEWEST_CHECKED = 3
"""Sources that two maps of many must have in common to be compared as maps."""
_BATCH_ROWS = 10_000
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
    notes : tuple of str
        What was assumed of it.
    """

    name: str
    ra: FloatArray
    dec: FloatArray
    ids: Any
    flux: FloatArray
    flux_err: FloatArray
    notes: tuple[str, ...] = ()

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

    def linked_rows(self) -> dict[str, Any]:
        """Return the rows of sources on several maps, source by source: place of the map, number, values."""
        parts: dict[str, list[Any]] = {key: [] for key in ("MAP", "NUMBER", *_VALUES)}
        for k, (name, numbers) in enumerate(zip(self.names, self.numbers, strict=True)):
            own = np.flatnonzero(self.n_maps[numbers] > 1)
            if own.size:
                rows = self.rows(name)
                found = {"MAP": np.full(own.size, k), "NUMBER": numbers[own]}
                for key, values in (found | {key: rows[key][own] for key in _VALUES}).items():
                    parts[key].append(values)
        kinds = dict.fromkeys(("MAP", "NUMBER", "HYPER_ID"), np.int64)
        whole = {
            key: np.concatenate(values) if values else np.empty(0, dtype=kinds.get(key, np.float64))
            for key, values in parts.items()
        }
        order = np.lexsort((whole["MAP"], whole["NUMBER"]))
        return {key: values[order] for key, values in whole.items()}

    def compared(self, given: GivenCatalogue | None = None) -> dict[str, Any]:
        """Return linked rows two by two, those of the user's catalogue first: columns of `OVERLAPS`.

        MAP_1 and MAP_2 are places in `names`; -1 is the user's catalogue.

        Parameters
        ----------
        given : GivenCatalogue, optional
            Compared with each map.
        """
        rows = self.linked_rows()
        first, second = pairs_of(rows["MAP"], rows["NUMBER"])
        sides = [{key: values[one] for key, values in rows.items()} for one in (first, second)]
        sides[0]["ID"] = np.full(first.size, "", dtype="U1")
        if given is not None:
            sides = [_joined(one, other) for one, other in zip(self._matches(given), sides, strict=True)]
        found = differences(*sides)
        columns = {"SKY_ID": sides[1]["NUMBER"].astype(np.int64) + 1, "ID": sides[0]["ID"]}
        for k, side in enumerate(sides, start=1):
            names = ("MAP", "HYPER_ID", "FLUX", "FLUX_ERR")
            columns |= {f"{name}_{k}": side[name] for name in names}
        return columns | {
            "FLUX_RATIO": found.ratio, "FLUX_PULL": found.pull, "SEPARATION": found.separation,
            "D_RA": found.east, "D_DEC": found.north,
        }  # fmt: skip

    def _matches(self, given: GivenCatalogue) -> list[dict[str, Any]]:
        """Return the rows of the user's catalogue and those of the maps that they match."""
        places = sky_points(given.ra, given.dec)
        own = given.columns() | {"HYPER_ID": np.arange(1, given.ra.size + 1), "ID": given.ids}
        parts: list[list[dict[str, Any]]] = [[], []]
        for k, name in enumerate(self.names):
            rows = self.rows(name)
            one, other = nearest_pairs(
                *_placed(places, sky_points(rows["RA"], rows["DEC"])), radius=self.radius(name)
            )
            number = self.numbers[k][other]
            parts[0].append(
                {key: np.asarray(values)[one] for key, values in own.items()}
                | {"MAP": np.full(one.size, -1), "NUMBER": number}
            )
            parts[1].append(
                {key: rows[key][other] for key in _VALUES} | {"MAP": np.full(one.size, k), "NUMBER": number}
            )
        return [
            {key: np.concatenate([part[key] for part in side]) for key in side[0]} if side else {}
            for side in parts
        ]


def pairs_of(maps: IntArray, numbers: IntArray) -> tuple[IntArray, IntArray]:
    """Return which rows are compared, sorted by their maps.

    Parameters
    ----------
    maps, numbers : int ndarray, shape (n,)
        The rows of a source stand together, in the order of the maps.

    Returns
    -------
    first, second : int ndarray, shape (k,)
        All pairs of a source on few maps; on more than `_MOST_PARTNERS` each row and those that follow.
    """
    most = int(np.bincount(numbers.astype(np.int64)).max(initial=0)) if numbers.size else 0
    first, second = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for step in range(1, min(most, _MOST_PARTNERS)):
        same = np.flatnonzero(numbers[:-step] == numbers[step:])
        first.append(same)
        second.append(same + step)
    one, other = np.concatenate(first), np.concatenate(second)
    order = np.lexsort((numbers[one], maps[other], maps[one]))
    return one[order], other[order]


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: np.concatenate([one[key], other[key]]) for key in other}


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
    layout, columns, notes = overlaps.layout, overlaps.compared(given), []
    n, assumed = columns["SKY_ID"].size, given.notes if given else ()
    labels = np.array([*overlaps.names, given.name if given else ""])
    if given is not None:
        found = np.unique(columns["HYPER_ID_1"][columns["MAP_1"] == -1]).size
        notes.append(f"{found} of {given.ra.size} sources of {given.name} are in the catalogue")
    if overlaps.n_shared:
        notes.append(f"{overlaps.n_shared} of {overlaps.n_sources} sources are on several maps")
    if not n:
        return (), tuple(notes), assumed

    def rows(start: int) -> Table:
        part = {key: values[start : start + _BATCH_ROWS] for key, values in columns.items()}
        named = {_NAMED.get(key, key): labels[v] if key in _NAMED else v for key, v in part.items()}
        return _described(Table(named), flux_unit=flux_unit)

    summary = _described(_checks(columns, labels), flux_unit=flux_unit)
    with Stage(layout.root) as stage:
        for form in layout.formats:
            template = template_of(rows(0), text_widths={}, meta=meta)
            batches = (rows(start) for start in range(0, n, _BATCH_ROWS))
            write_table(stage.path(layout.table(OVERLAPS_NAME, form)), batches, form=form, template=template)
            template = template_of(summary, text_widths={}, meta=meta)
            write_table(stage.path(layout.table(CHECKS_NAME, form)), [summary], form=form, template=template)
    return stage.names, tuple(notes), (*assumed, *_remarks(overlaps, summary))


def _checks(columns: Mapping[str, Any], labels: Any) -> Table:
    """Return what the rows of each two maps say together; of maps with few rows in common nothing."""
    maps = np.column_stack([columns["MAP_1"], columns["MAP_2"]]).astype(np.int64)
    order = np.lexsort((maps[:, 1], maps[:, 0]))
    ends = np.flatnonzero(np.any(np.diff(maps[order], axis=0) != 0, axis=1)) + 1
    table: dict[str, list[Any]] = {name: [] for name in ("MAP_ID_1", "MAP_ID_2", "N")}
    for name in _CHECKED:
        table |= {name: [], f"{name}_ERR": []}
    for own in np.split(order, ends):
        if own.size < _FEWEST_CHECKED and columns["MAP_1"][own[0]] >= 0 and len(ends):
            continue
        for k in (1, 2):
            table[f"MAP_ID_{k}"].append(labels[columns[f"MAP_{k}"][own[0]]])
        table["N"].append(own.size)
        for name in _CHECKED:
            value, error = middle(columns[name][own])
            table[name].append(value)
            table[f"{name}_ERR"].append(error)
    kinds = {"MAP_ID_1": np.str_, "MAP_ID_2": np.str_, "N": np.int64}
    return Table({key: np.array(v, dtype=kinds.get(key, np.float64)) for key, v in table.items()})


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
