"""Comparison of two tables of sources row by row, for every quantity that both have."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from astropy.table import Table

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.columns import column_angles, column_numbers, column_unit, with_positions
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.validation.matching import sky_points

SCATTER_PER_MAD = 1.4826
"""1 / (inverse normal distribution at 3/4): a Gaussian's sigma from its median absolute deviation."""


class Quantity(NamedTuple):
    """A measured quantity: its name, columns in catalogue and truth, and how the two are compared."""

    name: str
    column: str
    truth: str
    kind: str
    unit: str


QUANTITIES = (
    Quantity("flux", "FLUX", "FLUX", "ratio", ""),
    Quantity("flux (Gaussian)", "FLUX_GAUSS", "FLUX", "ratio", ""),
    Quantity("peak", "FLUX_PEAK", "FLUX_PEAK", "ratio", ""),
    Quantity("major axis", "FWHM_1", "FWHM_1", "ratio", ""),
    Quantity("minor axis", "FWHM_2", "FWHM_2", "ratio", ""),
    Quantity("size", "FWHM_GEOM", "FWHM_GEOM", "ratio", ""),
    Quantity("x", "X", "X", "difference", "pix"),
    Quantity("y", "Y", "Y", "difference", "pix"),
    Quantity("right ascension", "RA", "RA", "longitude", "arcsec"),
    Quantity("declination", "DEC", "DEC", "latitude", "arcsec"),
    Quantity("position angle", "PA", "PA", "angle", "deg"),
)
_COMMON_UNIT = {
    "PA": "deg",
    "PA_ERR": "deg",
    "RA": "deg",
    "DEC": "deg",
    "RA_ERR": "arcsec",
    "DEC_ERR": "arcsec",
}
_OTHER_AXIS = {
    "FWHM_1": "FWHM_2",
    "FWHM_2": "FWHM_1",
    "FWHM_1_ERR": "FWHM_2_ERR",
    "FWHM_2_ERR": "FWHM_1_ERR",
}
_NAMES = sorted({"SNR"} | {c + end for q in QUANTITIES for c in (q.column, q.truth) for end in ("", "_ERR")})


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """Bias and scatter of one quantity, and the width of its pulls.

    Attributes
    ----------
    name, unit : str
        Unit is empty for quantities compared as a ratio.
    n : int
        Sources with a measured value.
    bias : float
        Median of measured / true - 1, or of measured - true.
    scatter : float
        1.4826 MAD; of the ratio, over its median.
    rms : float
        Root mean square of measured / true - 1 or of measured - true, outliers included.
    n_pull : int
        Sources with an error too.
    pull_median, pull_width : float
        Median and 1.4826 MAD of (measured - true) / error; correct errors give 0 and 1.
    pull_within : float
        Fraction of pulls within +-1; correct errors give 0.683.
    excess : float
        Scatter in units of the smallest possible error, where that is known.
    """

    name: str
    unit: str
    n: int
    bias: float
    scatter: float
    rms: float
    n_pull: int
    pull_median: float
    pull_width: float
    pull_within: float
    excess: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """One quantity of all counted pairs; NaN where it is missing.

    `values` are measured / true for ratios, else measured - true; `pulls` are divided by the catalogue's
    errors, `limits` by the smallest possible ones.
    """

    name: str
    unit: str
    is_ratio: bool
    values: FloatArray
    pulls: FloatArray
    limits: FloatArray

    def statistic(self, select: BoolArray) -> Statistic:
        """Summarise the pairs where `select` is true."""
        values, pulls, limits = (v[select & np.isfinite(v)] for v in (self.values, self.pulls, self.limits))
        middle = _median(values)
        offset = values - 1.0 if self.is_ratio else values
        return Statistic(
            name=self.name,
            unit=self.unit,
            n=values.size,
            bias=middle - 1.0 if self.is_ratio else middle,
            scatter=robust_sigma(values) / (middle if self.is_ratio else 1.0),
            rms=math.sqrt(float(np.mean(offset**2))) if values.size else math.nan,
            n_pull=pulls.size,
            pull_median=_median(pulls),
            pull_width=robust_sigma(pulls),
            pull_within=float(np.mean(np.abs(pulls) <= 1.0)) if pulls.size else math.nan,
            excess=robust_sigma(limits),
        )


def _as_table(table: Any, role: str) -> Table:
    """Return the table of a mapping of columns or a table of pandas."""
    if isinstance(table, str | Path):
        raise InputError(f"{role}: {str(table)!r}: read the table first: Table.read({str(table)!r})")
    try:
        if table is not None:
            return Table.from_pandas(table) if hasattr(table, "iloc") else Table(table)
    except (TypeError, ValueError):
        pass
    raise InputError(
        f"{role}: a {type(table).__name__}: give an extraction (the truth: a simulation), or a table with "
        "positions"
    )


class SourceTable:
    """A table's columns by Hyper-Py's names, as float64 arrays with NaN where masked."""

    def __init__(
        self,
        role: str,
        table: Any,
        names: Mapping[str, str | None] | None,
        column_units: Mapping[str, str] | None,
    ) -> None:
        own_table = table if hasattr(table, "colnames") else _as_table(table, role)
        self.role, self.table = role, with_positions(own_table, name=role)
        for name in (*(names or {}), *(column_units or {})):
            if name not in _NAMES:
                nearest = get_close_matches(name.upper(), _NAMES, n=1) or _NAMES
                raise ConfigurationError(
                    f"{role}: no quantity is called '{name}'; did you mean '{nearest[0]}'?"
                )
        spelled = {name.upper(): name for name in reversed(self.table.colnames)}
        spelled |= {name: name for name in self.table.colnames}
        self.names = {name: spelled[name] for name in _NAMES if name in spelled}
        if "PEAK_SNR" in self.table.colnames:  # simulated truth
            self.names.setdefault("SNR", "PEAK_SNR")
        for name, own in (names or {}).items():
            self.names.pop(name, None)
            if own is not None:
                if own not in self.table.colnames:
                    has = ", ".join(self.table.colnames)
                    raise InputError(f"{role}: no column '{own}' (for {name}); the table has {has}")
                self.names[name] = own
        self.units = dict(column_units or {})

    def has(self, *names: str) -> bool:
        """Whether the table has all these quantities."""
        return all(name in self.names for name in names)

    def column(self, name: str) -> Any:
        """Return a quantity as the table has it."""
        return self.table[self.names[name]]

    def where(self, name: str) -> str:
        """Return what a quantity is called in messages."""
        return f"{self.role}: column {self.names[name]}"

    def values(self, name: str) -> FloatArray:
        """Values as the table has them.

        Raises
        ------
        InputError
            If some are no numbers.
        """
        return column_numbers(self.column(name), where=self.where(name))

    def unit(self, name: str) -> Any:
        """Return the unit of a quantity, None if not known; for errors that of their value."""
        own = column_unit(
            self.column(name), where=self.where(name), in_hours=name == "RA", text=self.units.get(name)
        )
        value = name.removesuffix("_ERR")
        if own is None and value != name and name not in _COMMON_UNIT and self.has(value):
            return self.unit(value)
        return own

    def converted(self, name: str, unit: Any) -> FloatArray:
        """Values in `unit`; unchanged where either unit is not known. RA and DEC may be sexagesimal."""
        if name in ("RA", "DEC"):
            given = self.units.get(name)
            return column_angles(
                self.column(name), unit=unit, where=self.where(name), kind=name, own_unit=given
            )[0]
        own = self.unit(name)
        if own is None or unit is None or own == unit:
            return self.values(name)
        try:
            result: FloatArray = self.values(name) * own.to(unit)
        except units.UnitConversionError:
            raise InputError(
                f"{self.role}: {name} is in '{own}', which is not convertible to '{unit}'; give its unit"
            ) from None
        return result

    def points(self, in_pixels: bool) -> FloatArray:
        """Positions to match: pixels (n, 2), or points (n, 3) of `sky_points`."""
        if in_pixels:
            return np.stack([self.values("X"), self.values("Y")], axis=-1)
        return sky_points(self.converted("RA", units.deg), self.converted("DEC", units.deg))

    def snr(self, rms: float | None, truth: "SourceTable") -> FloatArray:
        """Signal to noise: peak over `rms`, else the column SNR, else NaN."""
        if rms is not None and self.has("FLUX_PEAK") and truth.has("FLUX_PEAK"):
            return self.converted("FLUX_PEAK", truth.unit("FLUX_PEAK")) / rms
        return self.values("SNR") if self.has("SNR") else np.full(len(self.table), np.nan)

    def measured(self, name: str, unit: Any) -> FloatArray | None:
        """Values of a quantity, axes put in order; None where the table lacks it."""
        if name == "FWHM_GEOM" and not self.has(name) and self.has("FWHM_1", "FWHM_2"):
            product = self.converted("FWHM_1", unit) * self.converted("FWHM_2", unit)
            return np.sqrt(np.where(product > 0.0, product, np.nan))  # an axis may be negative
        if not self.has(name):
            return None
        own, other = self.converted(name, unit), _OTHER_AXIS.get(name)
        if other is None or not self.has(other, "FWHM_1", "FWHM_2"):
            return own
        wrong = self.converted("FWHM_1", unit) < self.converted("FWHM_2", unit)
        return np.where(wrong, self.converted(other, unit), own)


def match_in_pixels(coordinates: str | None, found: SourceTable, true: SourceTable) -> bool:
    """Return whether two tables are matched by X and Y; raise InputError where they share no positions."""
    if coordinates not in (None, "pixel", "sky"):
        raise ConfigurationError(f"coordinates '{coordinates}': must be 'pixel' or 'sky'")
    pairs = {"pixel": ("X", "Y"), "sky": ("RA", "DEC")}
    for choice in (coordinates,) if coordinates else pairs:
        if found.has(*pairs[choice]) and true.has(*pairs[choice]):
            return choice == "pixel"
    for table in (found, true):
        if coordinates and not table.has(*pairs[coordinates]):
            a, b = pairs[coordinates]
            raise InputError(
                f"{table.role}: columns {a} and {b} are needed; name them with the column options"
            )
    raise InputError(
        "catalogue and truth share neither X and Y nor RA and DEC; name them with the column options"
    )


def compare(
    found: SourceTable,
    true: SourceTable,
    best: SourceTable,
    *,
    rows: tuple[IndexArray, IndexArray],
    min_elongation: float,
) -> Iterator[Comparison]:
    """Compare every quantity that both tables have, in paired rows; `best` has the smallest errors."""
    i, j = rows
    for quantity in QUANTITIES:
        base = "FWHM_1" if quantity.truth == "FWHM_GEOM" and not true.has("FWHM_GEOM") else quantity.truth
        if not true.has(base):
            continue
        unit = units.Unit(_COMMON_UNIT[base]) if base in _COMMON_UNIT else true.unit(base)
        all_measured, all_true = found.measured(quantity.column, unit), true.measured(quantity.truth, unit)
        if all_measured is None or all_true is None:
            continue
        error_unit = units.Unit(_COMMON_UNIT[base + "_ERR"]) if base in _COMMON_UNIT else unit
        error = found.measured(quantity.column + "_ERR", error_unit)
        names = (quantity.column, quantity.truth, "FLUX_GAUSS" if base == "FLUX" else base)
        limit = next((best.measured(n + "_ERR", error_unit) for n in names if best.has(n + "_ERR")), None)
        measured, truth = all_measured[i], all_true[j]
        difference = measured - truth
        if quantity.kind == "angle":
            difference = np.mod(difference + 90.0, 180.0) - 90.0
            long, short = true.measured("FWHM_1", None), true.measured("FWHM_2", None)
            if long is not None and short is not None:
                difference[(long < min_elongation * short)[j]] = np.nan
        elif quantity.kind == "longitude":
            difference = (np.mod(difference + 180.0, 360.0) - 180.0) * 3600.0
            if true.has("DEC"):
                difference *= np.cos(np.radians(true.converted("DEC", units.deg)[j]))
        elif quantity.kind == "latitude":
            difference *= 3600.0
        is_ratio = quantity.kind == "ratio"
        yield Comparison(
            name=quantity.name,
            unit=quantity.unit,
            is_ratio=is_ratio,
            values=_divide(measured, truth) if is_ratio else difference,
            pulls=_divide(difference, None if error is None else error[i]),
            limits=_divide(difference, None if limit is None else limit[j]),
        )


def separation(points: FloatArray, true_points: FloatArray, unit: str) -> Comparison:
    """Compare positions (k, d) of pairs: their distance is the difference."""
    distance = np.linalg.norm(points - true_points, axis=1)
    nothing = np.full(distance.shape, np.nan)
    return Comparison(
        name="separation", unit=unit, is_ratio=False, values=distance, pulls=nothing, limits=nothing
    )


def _divide(value: FloatArray, by: FloatArray | None) -> FloatArray:
    """Divide where the divisor is a positive number, else NaN."""
    result = np.full(value.shape, np.nan)
    if by is not None:
        np.divide(value, by, out=result, where=np.isfinite(by) & (by > 0))
    return result


def robust_sigma(values: FloatArray) -> float:
    """Return 1.4826 times the median absolute deviation; NaN for no values."""
    return SCATTER_PER_MAD * float(np.median(np.abs(values - np.median(values)))) if values.size else math.nan


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if values.size else math.nan
