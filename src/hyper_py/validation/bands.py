"""Comparison of a catalogue of several bands with the truth: fluxes by band, spectral indices, positions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.columns import column_angles, column_flags, column_numbers, column_unit
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.geometry import ARCSEC_PER_RADIAN
from hyper_py.validation.comparison import Comparison, SourceTable, Statistic
from hyper_py.validation.fractions import Fraction, binomial_fraction
from hyper_py.validation.matching import is_isolated, match_positions, sky_points
from hyper_py.validation.validation import TextTable

BRIGHT_SIGMA = 5.0
"""Sources count in the statistics of a band where their *true* flux is above this many errors: a cut on the
measured one would select those that noise made brighter."""
OUTLIER_SIGMA = 4.0
_MERGED_BEAMS = 0.7


@dataclass(frozen=True, kw_only=True)
class BandFacts:
    """What the truth says of a band: its name, wavelength (micron) and beam FWHM (arcsec)."""

    name: str
    wavelength: float
    beam: float


@dataclass(frozen=True, kw_only=True)
class BandScore:
    """Fluxes of one band.

    Attributes
    ----------
    name : str
    n_true, n_matched : int
        True sources on the map of the band, and those of them with a flux.
    above_3 : int
        Matched sources with a measured flux above three errors.
    statistics : dict
        `Statistic` of sources with a true flux above five errors by "all", "isolated" and "blended": whether
        another true source is within a beam of this band; "blended, parted" are those of the blended of
        which all such neighbours were found.
    outliers : Fraction
        Those of all that are beyond four errors.
    """

    name: str
    n_true: int
    n_matched: int
    above_3: int
    statistics: dict[str, Statistic]
    outliers: Fraction


@dataclass(frozen=True, kw_only=True, eq=False)
class BandsValidation:
    """Result of `validate_bands`.

    Attributes
    ----------
    tolerance : float
        Largest distance of a match, arcsec.
    n_merged : int
        True sources that count as part of another, because they are too near to be told from it.
    completeness, purity : Fraction
    bands : tuple of BandScore
    indices : tuple of Statistic
        Spectral indices between adjacent bands, of sources with true fluxes above five errors in both.
    positions : tuple of Statistic
        Right ascension and declination, arcsec.
    matched : tuple of two ndarrays of int, shape (k,)
        Rows of the catalogue, and of the truth with near sources merged.
    false, missed : ndarray of int
    """

    tolerance: float
    n_merged: int
    completeness: Fraction
    purity: Fraction
    bands: tuple[BandScore, ...]
    indices: tuple[Statistic, ...]
    positions: tuple[Statistic, ...]
    matched: tuple[IndexArray, IndexArray]
    false: IndexArray
    missed: IndexArray

    def tables(self) -> tuple[TextTable, ...]:
        """Return what a terminal shows."""
        merged = f", {self.n_merged} true sources merged with a nearer one" if self.n_merged else ""
        counts = (("completeness", _share(self.completeness)), ("purity", _share(self.purity)))
        fluxes = [
            (
                *(band.name, sample, str(statistic.n), _percent(statistic.bias, "+.1f")),
                *(_percent(statistic.scatter, ".1f"), _text(statistic.pull_median, "+.2f")),
                _text(statistic.pull_width, ".2f"),
                *((_share(band.outliers, short=True), str(band.above_3)) if sample == "all" else ("", "")),
            )
            for band in self.bands
            for sample, statistic in band.statistics.items()
            if statistic.n
        ]
        others = [
            (s.name, str(s.n), _text(s.bias, "+.3f"), _text(s.scatter, ".3f"), _text(s.pull_width, ".2f"))
            for s in (*self.indices, *self.positions)
            if s.n
        ]
        head = ("band", "sources", "n", "bias", "scatter", "pull", "width", "beyond 4", "above 3 errors")
        return (
            TextTable(f"Matches within {self.tolerance:.3g} arcsec{merged}", ("", "share"), counts),
            TextTable("Fluxes of sources with a true flux above 5 errors", head, tuple(fluxes)),
            TextTable(
                "Spectral indices and positions", ("quantity", "n", "bias", "scatter", "width"), tuple(others)
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON: what is not known is None."""

        def plain(record: Any) -> Any:
            if isinstance(record, float):
                return record if math.isfinite(record) else None
            if isinstance(record, dict):
                return {key: plain(value) for key, value in record.items()}
            return plain(vars(record)) if hasattr(record, "__dict__") else record

        return {
            "tolerance": self.tolerance,
            "n_merged": self.n_merged,
            "n_matched": self.completeness.part,
            "n_false": int(self.false.size),
            "n_missed": int(self.missed.size),
            "completeness": plain(self.completeness) | {"value": plain(self.completeness.value)},
            "purity": plain(self.purity) | {"value": plain(self.purity.value)},
            "bands": {band.name: plain(band) for band in self.bands},
            "indices": {one.name: plain(one) for one in self.indices},
            "positions": {one.name: plain(one) for one in self.positions},
        }


def bands_of_truth(truth: Table) -> tuple[BandFacts, ...]:
    """Return the bands of a truth table, by wavelength; none if it is not one of several bands."""
    known = truth.meta.get("bands")
    if not isinstance(known, Mapping):
        return ()
    facts = [
        BandFacts(name=name, wavelength=float(one["wavelength"]), beam=float(one["beam"]))
        for name, one in known.items()
        if f"FLUX_{name}" in truth.colnames
    ]
    return tuple(sorted(facts, key=lambda one: one.wavelength))


def validate_bands(
    catalog: Any, truth: Any, *, tolerance: float | None = None, merge_within: float | None = None
) -> BandsValidation:
    """Compare a catalogue of several bands with the truth of a simulated field.

    Parameters
    ----------
    catalog : BandsExtraction or Table
        The wide one: RA, DEC, and for each band FLUX_BAND, FLUX_ERR_BAND; RA_ERR, DEC_ERR, ALPHA_BAND1_BAND2
        and its error where it has them. Bands that it lacks are left out.
    truth : SimulatedBands or Table
        As `hyper_py.simulation.bands.simulate_bands` gives it: FLUX_BAND, COVERS_BAND, and the bands in its
        metadata.
    tolerance : float, optional
        Largest distance of a match, arcsec; the sharpest beam by default.
    merge_within : float, optional
        True sources nearer to each other than this count as one, arcsec; 0.7 of the sharpest beam by default.

    Returns
    -------
    BandsValidation

    Raises
    ------
    InputError
        The truth is not one of several bands, or the catalogue has none of them.
    ConfigurationError
        A tolerance that is not positive.

    Examples
    --------
    >>> import hyper_py
    >>> field = hyper_py.simulate_bands(seed=1, size=300.0, n_sources=3, pair_fraction=0.0)
    >>> measured = field.truth["RA", "DEC", "FLUX_s250"]
    >>> measured["FLUX_ERR_s250"] = 0.1 * measured["FLUX_s250"]
    >>> hyper_py.validate_bands(measured, field.truth).completeness.value
    1.0
    """
    catalog, truth = getattr(catalog, "catalog", catalog), getattr(truth, "truth", truth)
    for name, table in (("catalog", catalog), ("truth", truth)):
        if not isinstance(table, Table):
            raise InputError(f"{name}: a {type(table).__name__}: give a table of astropy")
    known = bands_of_truth(truth)
    if not known:
        raise InputError("truth: no bands in its metadata: give truth.ecsv of a field in several bands")
    present = [band for band in known if f"FLUX_{_suffix(band)}" in catalog.colnames]
    if not present:
        names = ", ".join(f"FLUX_{band.name}" for band in known)
        raise InputError(f"catalogue: none of the columns {names}: give the wide table of several bands")
    sharpest = min(band.beam for band in known)
    tolerance = sharpest if tolerance is None else tolerance
    if not tolerance > 0:
        raise ConfigurationError(f"tolerance {tolerance}: must be a positive number of arcsec")
    within = _MERGED_BEAMS * sharpest if merge_within is None else merge_within
    merged = merge_near(Table(truth), [band.name for band in known], within=within)
    found = SourceTable("catalogue", catalog, None, None)
    points = found.points(False)
    true_points = sky_points(_degrees(merged["RA"]), _degrees(merged["DEC"]))
    i, j = match_positions(points, true_points, tolerance=tolerance)
    n_true, n_found = len(merged), len(points)
    pairs = _Pairs(catalog, merged, (i, j), true_points)
    return BandsValidation(
        tolerance=tolerance,
        n_merged=len(truth) - n_true,
        completeness=binomial_fraction(i.size, n_true),
        purity=binomial_fraction(i.size, n_found),
        bands=tuple(pairs.band(band) for band in present),
        indices=tuple(pairs.index(a, b) for a, b in pairwise(present)),
        positions=pairs.positions(),
        matched=(i, j),
        false=np.setdiff1d(np.arange(n_found), i),
        missed=np.setdiff1d(np.arange(n_true), j),
    )


def merge_near(truth: Table, names: Sequence[str], *, within: float) -> Table:
    """Return a truth in which sources nearer than `within` arcsec to a brighter one are part of it.

    Fluxes are added, band by band; the position is the mean, weighted with the summed signal to noise where
    the truth has it, else with the flux of all bands.
    """
    points = sky_points(_degrees(truth["RA"]), _degrees(truth["DEC"]))
    fluxes = np.stack([_janskys(truth[f"FLUX_{name}"]) for name in names], axis=1)
    keys = [f"PEAK_TO_NOISE_{name}" for name in names]
    weight = fluxes.sum(axis=1)
    if set(keys) <= set(truth.colnames):
        weight = np.stack([np.asarray(truth[key], dtype=np.float64) for key in keys], axis=1).sum(axis=1)
    owner = np.arange(len(truth))
    order = np.argsort(-weight, kind="stable")
    for place, k in enumerate(order):
        before = order[:place]
        before = before[owner[before] == before]
        if before.size:
            distance = np.linalg.norm(points[before] - points[k], axis=1)
            if distance.min() < within:
                owner[k] = before[np.argmin(distance)]
    kept = np.flatnonzero(owner == np.arange(len(truth)))
    result = truth[kept]
    for column, name in enumerate(names):
        total = np.zeros(len(truth))
        np.add.at(total, owner, fluxes[:, column])
        result[f"FLUX_{name}"] = total[kept] * u.Jy
    mean, total = np.zeros_like(points), np.zeros(len(truth))
    np.add.at(mean, owner, weight[:, None] * points)
    np.add.at(total, owner, weight)
    x, y, z = (mean[kept] / total[kept, None] / ARCSEC_PER_RADIAN).T
    result["RA"] = np.degrees(np.arctan2(y, x)) % 360.0 * u.deg
    result["DEC"] = np.degrees(np.arctan2(z, np.hypot(x, y))) * u.deg
    return result


class _Pairs:
    """Catalogue and truth, row by row."""

    def __init__(
        self, catalog: Table, truth: Table, rows: tuple[IndexArray, IndexArray], points: FloatArray
    ) -> None:
        self.catalog, self.truth, self.points = catalog, truth, points
        self.i, self.j = rows

    def fluxes(self, band: BandFacts) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Measured flux, error and true flux of the pairs, Jy."""
        flux, error = (
            _janskys(self.catalog[f"{name}_{_suffix(band)}"])[self.i] for name in ("FLUX", "FLUX_ERR")
        )
        return flux, error, _janskys(self.truth[f"FLUX_{band.name}"])[self.j]

    def bright(self, band: BandFacts) -> BoolArray:
        """Which pairs have a true flux above five errors in a band."""
        flux, error, true = self.fluxes(band)
        with np.errstate(invalid="ignore"):
            result: BoolArray = np.isfinite(flux) & (error > 0) & (true > BRIGHT_SIGMA * error)
        return result

    def band(self, band: BandFacts) -> BandScore:
        """Return the score of the fluxes of one band."""
        flux, error, true = self.fluxes(band)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio, pull = flux / true, (flux - true) / error
            above = int(np.count_nonzero(flux > 3.0 * error))
        comparison = _comparison(band.name, ratio, pull, is_ratio=True)
        bright, alone = self.bright(band), is_isolated(self.points, distance=band.beam)[self.j]
        known = ~self._beside_missed(band.beam)
        samples = {
            "all": bright,
            "isolated": bright & alone,
            "blended": bright & ~alone,
            "blended, parted": bright & ~alone & known,
        }
        covers = self._covered(band)
        outside = int(np.count_nonzero(np.abs(pull[bright]) > OUTLIER_SIGMA))
        return BandScore(
            name=band.name,
            n_true=int(np.count_nonzero(covers)),
            n_matched=int(np.count_nonzero(np.isfinite(flux))),
            above_3=above,
            statistics={name: comparison.statistic(select) for name, select in samples.items()},
            outliers=binomial_fraction(outside, int(np.count_nonzero(bright))),
        )

    def index(self, first: BandFacts, second: BandFacts) -> Statistic:
        """Return the statistic of the spectral index between two bands."""
        name = f"ALPHA_{_suffix(first)}_{_suffix(second)}"
        label = f"index {first.name} to {second.name}"
        if name not in self.catalog.colnames:
            nothing = np.full(self.i.size, np.nan)
            return _comparison(label, nothing, nothing).statistic(np.zeros(self.i.size, dtype=bool))
        measured = _values(self.catalog[name])[self.i]
        error = _values(self.catalog[f"ALPHA_ERR_{_suffix(first)}_{_suffix(second)}"])[self.i]
        span = math.log(second.wavelength / first.wavelength)
        with np.errstate(divide="ignore", invalid="ignore"):
            true = np.log(self.fluxes(first)[2] / self.fluxes(second)[2]) / span
            difference = measured - true
            pull = difference / error
        both = self.bright(first) & self.bright(second)
        return _comparison(label, difference, pull).statistic(both)

    def positions(self) -> tuple[Statistic, ...]:
        """Return the statistics of right ascension and declination."""
        dec = _degrees(self.truth["DEC"])[self.j]
        statistics = []
        for name, label in (("RA", "right ascension"), ("DEC", "declination")):
            difference = _degrees(self.catalog[name])[self.i] - _degrees(self.truth[name])[self.j]
            difference = 3600.0 * (np.mod(difference + 180.0, 360.0) - 180.0)
            if name == "RA":
                difference *= np.cos(np.radians(dec))
            pull = np.full(difference.shape, np.nan)
            if f"{name}_ERR" in self.catalog.colnames:
                error = _values(self.catalog[f"{name}_ERR"])[self.i]
                np.divide(difference, error, out=pull, where=error > 0)
            every = np.ones(difference.size, dtype=bool)
            statistics.append(_comparison(label, difference, pull, unit="arcsec").statistic(every))
        return tuple(statistics)

    def _beside_missed(self, distance: float) -> BoolArray:
        """Return which pairs have a true source within a distance that was not found."""
        is_found = np.zeros(len(self.points), dtype=bool)
        is_found[self.j] = True
        beside = np.zeros(len(self.points), dtype=bool)
        if len(self.points) > 1:
            first, second = cKDTree(self.points).query_pairs(distance, output_type="ndarray").T
            beside[first[~is_found[second]]] = True
            beside[second[~is_found[first]]] = True
        return beside[self.j]

    def _covered(self, band: BandFacts) -> BoolArray:
        name = f"COVERS_{band.name}"
        if name not in self.truth.colnames:
            return np.ones(len(self.truth), dtype=bool)
        return column_flags(self.truth[name], where=f"truth: column {name}")


def _comparison(
    name: str, values: FloatArray, pulls: FloatArray, *, unit: str = "", is_ratio: bool = False
) -> Comparison:
    nothing = np.full(values.shape, np.nan)
    pulls = np.where(np.isfinite(pulls), pulls, np.nan)
    return Comparison(name=name, unit=unit, is_ratio=is_ratio, values=values, pulls=pulls, limits=nothing)


def _suffix(band: BandFacts) -> str:
    from hyper_py.bands.catalog import column_suffixes

    return column_suffixes([band.name])[0]


def _where(column: Any) -> str:
    return f"column {getattr(getattr(column, 'info', None), 'name', None) or ''}"


def _values(column: Any) -> FloatArray:
    return column_numbers(column, where=_where(column))


def _degrees(column: Any) -> FloatArray:
    kind = str(getattr(getattr(column, "info", None), "name", ""))
    return column_angles(column, unit=u.deg, where=_where(column), kind=kind)[0]


def _janskys(column: Any) -> FloatArray:
    unit = column_unit(column, where=_where(column))
    if unit is not None and not unit.is_equivalent(u.Jy):
        raise InputError(f"{_where(column)} is in '{unit}', which is not a flux density: correct its unit")
    return _values(column) * (1.0 if unit is None else float(unit.to(u.Jy)))


def _text(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _percent(value: float, form: str) -> str:
    return f"{100 * value:{form}}%" if math.isfinite(value) else "-"


def _share(share: Fraction, *, short: bool = False) -> str:
    if not share.whole:
        return "-"
    value = f"{100 * share.value:.1f}%"
    return value if short else f"{value}  {share.part}/{share.whole}"
