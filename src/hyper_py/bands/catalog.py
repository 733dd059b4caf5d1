"""The catalogues of several bands: one row a source (wide), or one row a source and band (long).

In the wide table, columns of a band have its name after them, as in FLUX_s500.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.bands.aperture import CommonApertures
from hyper_py.bands.columns import (
    APERTURE_COLUMNS,
    APERTURE_SHAPE_COLUMNS,
    BAND_COLUMNS,
    CALIBRATION_COLUMN,
    FREE_SHAPE_COLUMNS,
    GREY_BODY_COLUMNS,
    ID_COLUMN,
    INDEX_COLUMNS,
    LONG_COLUMNS,
    SOURCE_COLUMNS,
    column_of_band,
    column_of_pair,
)
from hyper_py.bands.images import BandImage
from hyper_py.bands.offsets import BandOffsets
from hyper_py.bands.shapes import sky_ellipses
from hyper_py.bands.sources import JointSources
from hyper_py.bands.spectra import GreyBodies, SpectralIndices
from hyper_py.catalog import Column
from hyper_py.diagnostics import Flag, InputError
from hyper_py.geometry import FWHM_PER_SIGMA, ellipse_from_covariance

LIMIT_SIGMA = 3.0
"""Errors of a flux in its upper limit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JointTable:
    """All that the catalogues of a field are made of.

    Attributes
    ----------
    name : str
        Of the field.
    bands : sequence of BandImage
    sources : JointSources
    shapes : sequence of ndarray, shape (n, 3)
        Covariance xx, xy, yy in arcsec^2 of each source as each band shows it.
    offsets : BandOffsets
    indices : SpectralIndices
    apertures : CommonApertures, optional
    grey_bodies : GreyBodies, optional
    free_shapes : bool
        Whether sources have another shape in each band.
    convert_mjy : bool
        Whether fluxes are in mJy and mJy/beam instead of Jy and Jy/beam.
    ids : ndarray of str, shape (n,), optional
        Identifiers of given sources.
    """

    name: str
    bands: Sequence[BandImage]
    sources: JointSources
    shapes: Sequence[FloatArray]
    offsets: BandOffsets
    indices: SpectralIndices
    apertures: CommonApertures | None = None
    grey_bodies: GreyBodies | None = None
    free_shapes: bool = False
    convert_mjy: bool = True
    ids: NDArray[np.str_] | None = None

    def wide(self) -> QTable:
        """Return the catalogue with one row a source; columns of a band have its name after them."""
        suffixes = column_suffixes([band.name for band in self.bands])
        table = QTable(meta=self._meta(suffixes))
        self._add(table, SOURCE_COLUMNS, self._source_values())
        if self.apertures is not None:
            shape = _ellipses("APER_FWHM", "APER_PA", self.apertures.ellipse)
            self._add(table, APERTURE_SHAPE_COLUMNS, shape)
        if self.grey_bodies is not None:
            self._add(table, GREY_BODY_COLUMNS, _grey_values(self.grey_bodies))
        for b, suffix in enumerate(suffixes):
            band = self.bands[b]
            where = f", {band.name} ({band.wavelength:g} um)"
            columns = (
                column_of_band(column, end=f"_{suffix}", where=where, wavelength=band.wavelength)
                for column in self._band_columns(b)
            )
            values = {f"{key}_{suffix}": value for key, value in self._band_values(b).items()}
            self._add(table, columns, values)
        for k, pair in enumerate(self.indices.pairs):
            first, second = (suffixes[b] for b in pair)
            end, where = f"_{first}_{second}", f": {first} to {second}"
            values = {f"ALPHA{end}": self.indices.index[:, k], f"ALPHA_ERR{end}": self.indices.error[:, k]}
            pair_columns = (column_of_pair(column, end=end, where=where) for column in INDEX_COLUMNS)
            self._add(table, pair_columns, values)
        if self.ids is not None:
            self._add(table, (ID_COLUMN,), {"ID": self.ids})
        return table

    def long(self) -> QTable:
        """Return the catalogue with one row a source and band: sources in order, bands by wavelength.

        Bands whose map does not cover a source have no row.
        """
        n, n_bands = len(self.sources), len(self.bands)
        order = np.argsort([band.wavelength for band in self.bands], kind="stable")
        source, band = np.repeat(np.arange(n), n_bands), np.tile(order, n)
        seen = self.sources.seen[source, band] if n else np.zeros(0, dtype=bool)
        source, band = source[seen], band[seen]
        suffixes = column_suffixes([one.name for one in self.bands])
        table = QTable(meta=self._meta(suffixes))
        shared = {key: values[source] for key, values in self._source_values().items()}
        identity = SOURCE_COLUMNS[:2]
        self._add(table, identity, shared)
        names = np.array([one.name for one in self.bands], dtype=str)
        wavelengths = np.array([one.wavelength for one in self.bands])
        self._add(table, LONG_COLUMNS, {"BAND": names[band], "WAVELENGTH": wavelengths[band]})
        per_band = [self._band_values(b) for b in range(n_bands)]
        columns = {column.name: column for b in range(n_bands) for column in self._band_columns(b)}
        values = {}
        for key in columns:
            stacked = np.stack([one.get(key, np.full(n, np.nan)) for one in per_band], axis=1)
            values[key] = stacked[source, band]
        self._add(table, columns.values(), values)
        self._add(table, INDEX_COLUMNS, self._index_values(source, band))
        self._add(table, SOURCE_COLUMNS[2:], shared)
        if self.ids is not None:
            self._add(table, (ID_COLUMN,), {"ID": self.ids[source]})
        return table

    def _index_values(self, source: IntArray, band: IntArray) -> dict[str, FloatArray]:
        """Return the spectral index of each row to the next longer wavelength; NaN for the longest."""
        n = len(self.sources)
        index, error = np.full((2, n, len(self.bands)), np.nan)
        for k, (first, _) in enumerate(self.indices.pairs):
            index[:, first], error[:, first] = self.indices.index[:, k], self.indices.error[:, k]
        return {"ALPHA": index[source, band], "ALPHA_ERR": error[source, band]}

    def _band_columns(self, b: int) -> tuple[Column, ...]:
        calibration = () if self.bands[b].calibration_error is None else (CALIBRATION_COLUMN,)
        apertures = () if self.apertures is None else APERTURE_COLUMNS
        return (*BAND_COLUMNS, *calibration, *apertures, *(FREE_SHAPE_COLUMNS if self.free_shapes else ()))

    def _source_values(self) -> dict[str, Any]:
        """Return what a source has once."""
        sources, n = self.sources, len(self.sources)
        ra, dec = sources.sky if n else np.empty((2, 0))
        sky = SkyCoord(ra, dec, unit="deg")
        variance = sources.position_covariance
        error = np.sqrt(np.diagonal(variance, axis1=1, axis2=2)) if n else np.empty((0, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = variance[:, 0, 1] / (error[:, 0] * error[:, 1])
        bits = 1 << np.arange(sources.n_bands)
        sizes, unresolved = _intrinsic(sources.shape, sources.shape_covariance)
        flags = sources.flags | np.where(np.any(sources.flux < 0.0, axis=1), int(Flag.NEGATIVE_FLUX), 0)
        flags |= np.where(unresolved, int(Flag.UNRESOLVED), 0)
        return {
            "MAP_ID": np.full(n, self.name),
            "HYPER_ID": np.arange(1, n + 1),
            "RA": ra,
            "DEC": dec,
            "GLON": sky.galactic.l.deg,
            "GLAT": sky.galactic.b.deg,
            "RA_ERR": error[:, 0],
            "DEC_ERR": error[:, 1],
            "RA_DEC_CORR": correlation,
            **sizes,
            "SNR": sources.significance,
            "DETECTED_IN": (sources.detected * bits).sum(axis=1),
            "COVERED_IN": (sources.seen * bits).sum(axis=1),
            "DEBLEND": (sources.n_in_group > 1).astype(np.int64),
            "CLUSTER": sources.n_in_group,
            "NEIGHBOUR": sources.neighbour + 1,
            "FLAGS": flags,
        }

    def _band_values(self, b: int) -> dict[str, Any]:
        """Return what a source has in one band."""
        sources, band = self.sources, self.bands[b]
        seen, flux, error = sources.seen[:, b], sources.flux[:, b], sources.flux_err[:, b]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = flux / error
        values: dict[str, Any] = {
            "FLUX": flux,
            "FLUX_ERR": error,
            "FLUX_ULIM": np.maximum(flux, 0.0) + LIMIT_SIGMA * error,
            "FLUX_SNR": ratio,
            "DETECTED": sources.detected[:, b].astype(np.int64),
            "FLUX_PEAK": sources.peak[:, b],
            "FLUX_PEAK_ERR": sources.peak_err[:, b],
            **_ellipses("FWHM", "PA", self.shapes[b], where=seen),
            "RESIDUALS": sources.background[:, b],
            "CORRELATION": sources.correlation[:, b],
            "SHAPE_MISFIT": sources.misfit[:, b],
        }
        if band.calibration_error is not None:
            values["FLUX_CAL_ERR"] = band.calibration_error * np.abs(flux)
        if self.apertures is not None:
            aper = self.apertures
            values |= {"FLUX_APER": aper.flux[:, b], "FLUX_APER_ERR": aper.flux_err[:, b]}
            values["APER_FRAC"] = aper.fraction[:, b]
        if self.free_shapes:
            shape = sources.band_shape[:, b]
            values |= _ellipses("BAND_DECONV_FWHM", "BAND_DECONV_PA", shape, where=seen)
        return values

    def _meta(self, suffixes: Sequence[str]) -> dict[str, Any]:
        """Return the facts about the bands, one number or text each, as every format can hold them."""
        meta: dict[str, Any] = {"field": self.name, "bands": " ".join(suffixes), "colour_correction": "none"}
        for b, suffix in enumerate(suffixes):
            band, (east, north) = self.bands[b], self.offsets.values[b]
            beam = band.image.beam
            meta |= {
                f"bit_{suffix}": b,
                f"wavelength_um_{suffix}": float(band.wavelength),
                f"beam_major_arcsec_{suffix}": float(f"{beam.major:.6g}"),
                f"beam_minor_arcsec_{suffix}": float(f"{beam.minor:.6g}"),
                f"offset_east_arcsec_{suffix}": float(f"{east:.4g}"),
                f"offset_north_arcsec_{suffix}": float(f"{north:.4g}"),
            }
            for axis, error in zip(("east", "north"), self.offsets.errors[b], strict=True):
                if np.isfinite(error):
                    meta[f"offset_{axis}_err_arcsec_{suffix}"] = float(f"{error:.3g}")
            if band.calibration_error is not None:
                meta[f"calibration_error_{suffix}"] = band.calibration_error
        meta["reference_band"] = suffixes[self.offsets.reference]
        if self.apertures is not None:
            meta["common_aperture"] = self.apertures.band
            meta["common_aperture_radius_fwhm"] = self.apertures.radius_in_fwhm
        return meta

    def _add(self, table: QTable, columns: Iterable[Column], values: dict[str, Any]) -> None:
        """Add columns to a table, with what is known about them."""
        kinds: dict[str, Any] = {"str": np.str_, "int": np.int64, "float": np.float64}
        for column in columns:
            array = np.asarray(values[column.name], dtype=kinds[column.dtype])
            unit = u.Unit(column.unit) if column.unit else None
            if column.unit.startswith("Jy") and self.convert_mjy:
                array, unit = 1e3 * array, u.Unit("m" + column.unit)
            table[column.name] = array if unit is None else u.Quantity(array, unit, copy=False)
            info = table[column.name].info
            info.description, info.meta = column.description, {"ucd": column.ucd}
            if column.format:
                info.format = column.format


def column_suffixes(names: Sequence[str]) -> list[str]:
    """Return the names of bands as they stand in names of columns: letters, digits and underscores.

    Raises
    ------
    InputError
        If two columns would have one name then: of bands a and ERR_a, FLUX_ERR_a.
    """
    suffixes = [re.sub(r"\W", "_", name, flags=re.ASCII) for name in names]
    taken = {column.name.lower() for column in _OF_NO_BAND}
    for k, suffix in enumerate(suffixes):
        own = [f"{column.name}_{suffix}" for column in _OF_EACH_BAND]
        own += [f"{column.name}_{pair}" for column in INDEX_COLUMNS for pair in _pairs(suffix, suffixes[:k])]
        lower = [name.lower() for name in own]
        if not taken.isdisjoint(lower) or len({*lower}) < len(lower):
            raise InputError(
                f"{names[k]}: columns of two bands would have the same name: give it a different name"
            )
        taken.update(lower)
    return suffixes


_OF_NO_BAND = (*SOURCE_COLUMNS, *APERTURE_SHAPE_COLUMNS, *GREY_BODY_COLUMNS, ID_COLUMN)
_OF_EACH_BAND = (*BAND_COLUMNS, CALIBRATION_COLUMN, *APERTURE_COLUMNS, *FREE_SHAPE_COLUMNS)


def _pairs(suffix: str, others: Sequence[str]) -> list[str]:
    """Return the ends of names of columns of pairs of bands, in either order."""
    return [text for other in others for text in (f"{other}_{suffix}", f"{suffix}_{other}")]


def _ellipses(size: str, angle: str, shape: FloatArray, *, where: Any = True) -> dict[str, FloatArray]:
    """Return sizes and angles on the sky of covariances (n, 3); NaN elsewhere."""
    ellipse = sky_ellipses(np.asarray(shape).reshape(-1, 3))
    parts = {f"{size}_1": ellipse.major, f"{size}_2": ellipse.minor, angle: ellipse.angle}
    return {key: np.where(where, values, np.nan) for key, values in parts.items()}


def _intrinsic(shape: FloatArray, covariance: FloatArray) -> tuple[dict[str, FloatArray], BoolArray]:
    """Return intrinsic sizes, errors by the derivatives of the eigenvalues and limits; which are unresolved.

    That is where the square of the major axis is less than two of its errors, as in single maps.
    """
    n = len(shape)
    matrix = np.stack([shape[:, :2], shape[:, 1:]], axis=1) if n else np.empty((0, 2, 2))
    value, vector = np.linalg.eigh(matrix)
    squares = FWHM_PER_SIGMA**2 * value[:, ::-1]
    v = vector[:, :, ::-1]
    # d lambda = v^T dS v, by xx, xy, yy.
    slope = np.stack([v[:, 0] ** 2, 2.0 * v[:, 0] * v[:, 1], v[:, 1] ** 2], axis=-1)
    variance = np.einsum("nkp,npq,nkq->nk", slope, covariance, slope)
    error = FWHM_PER_SIGMA**2 * np.sqrt(np.maximum(variance, 0.0))
    size = np.sqrt(np.maximum(squares, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        size_error = np.where(size > 0.0, error / (2.0 * size), np.nan)
    angle = np.mod(90.0 - np.degrees(ellipse_from_covariance(matrix).angle), 180.0)
    columns = {
        "DECONV_FWHM_1": size[:, 0],
        "DECONV_FWHM_2": size[:, 1],
        "DECONV_PA": np.where(size[:, 0] > 0.0, angle, np.nan),
        "DECONV_FWHM_1_ERR": size_error[:, 0],
        "DECONV_FWHM_2_ERR": size_error[:, 1],
        "DECONV_ULIM": np.sqrt(np.maximum(squares[:, 0], 0.0) + LIMIT_SIGMA * error[:, 0]),
    }
    return columns, ~(squares[:, 0] > 2.0 * error[:, 0])


def _grey_values(grey: GreyBodies) -> dict[str, Any]:
    return {
        "TEMPERATURE": grey.temperature,
        "TEMPERATURE_ERR": grey.temperature_err,
        "BETA": grey.beta,
        "BETA_ERR": grey.beta_err,
        "GREY_CHI2": grey.chi2,
        "GREY_N": grey.n_fluxes,
    }
