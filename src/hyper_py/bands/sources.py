"""`JointSources`: what the joint fit of several bands measured, one row a source."""

from dataclasses import dataclass, fields, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.bands.plane import TangentPlane

DETECTED_SIGMA = 3.0
"""A source counts as detected in a band where its flux is at least this many errors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JointSources:
    """Sources fitted in `n_bands` bands, n rows, brightest first.

    Attributes
    ----------
    plane : TangentPlane
        Where positions and shapes are.
    position : ndarray, shape (n, 2)
        Arcsec east and north on the plane, in the astrometry of the reference band.
    position_covariance : ndarray, shape (n, 2, 2)
        Arcsec^2, marginal.
    shape : ndarray, shape (n, 3)
        Intrinsic covariance xx, xy, yy in arcsec^2, before any beam; that of a point is 0, and noise may take
        a measured one a little below.
    shape_covariance : ndarray, shape (n, 3, 3)
        Arcsec^4, marginal.
    band_shape : ndarray, shape (n, n_bands, 3)
        Intrinsic covariance in each band: `shape` again unless shapes are free.
    flux : ndarray, shape (n, n_bands)
        Jy; NaN where the band does not see the source. Negative values are kept.
    flux_covariance : ndarray, shape (n, n_bands, n_bands)
        Jy^2, marginal: it contains what position, shape and neighbours do not know. NaN with the flux.
    peak, peak_err : ndarray, shape (n, n_bands)
        Jy/beam, the peak of the source as the band shows it, and its 1-sigma error.
    background : ndarray, shape (n, n_bands)
        Jy/pixel, level under the source.
    seen : bool ndarray, shape (n, n_bands)
        Whether the map has pixels there.
    significance : ndarray, shape (n,)
        That with which the list found the source; NaN for given ones.
    misfit : ndarray, shape (n, n_bands)
        Score test of another size in this band alone, in sigma: positive where the source is larger there.
    correlation : ndarray, shape (n, n_bands)
        Of the flux with that of the neighbour with which it is correlated most; 0 without neighbours.
    neighbour : int ndarray, shape (n,)
        Row of the neighbour with the largest absolute correlation in any band; -1 for none.
    group : int ndarray, shape (n,)
        Number of the group, from 1.
    flags : int ndarray, shape (n,)
        `hyper_py.diagnostics.Flag`.
    """

    plane: TangentPlane
    position: FloatArray
    position_covariance: FloatArray
    shape: FloatArray
    shape_covariance: FloatArray
    band_shape: FloatArray
    flux: FloatArray
    flux_covariance: FloatArray
    peak: FloatArray
    peak_err: FloatArray
    background: FloatArray
    seen: BoolArray
    significance: FloatArray
    misfit: FloatArray
    correlation: FloatArray
    neighbour: IntArray
    group: IntArray
    flags: IntArray

    def __len__(self) -> int:
        return len(self.position)

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return int(self.flux.shape[1])

    @property
    def flux_err(self) -> FloatArray:
        """1-sigma errors of the fluxes, shape (n, n_bands), in Jy."""
        return np.sqrt(np.diagonal(self.flux_covariance, axis1=1, axis2=2))

    @property
    def snr(self) -> FloatArray:
        """Flux over its error, shape (n, n_bands); 0 where the band does not see the source."""
        with np.errstate(invalid="ignore"):
            ratio: FloatArray = self.flux / self.flux_err
        return np.nan_to_num(ratio)

    @property
    def detected(self) -> BoolArray:
        """Which sources are detected in which bands, shape (n, n_bands): at least `DETECTED_SIGMA`."""
        result: BoolArray = self.snr >= DETECTED_SIGMA
        return result

    @property
    def n_in_group(self) -> IntArray:
        """Number of sources in the group of each, shape (n,)."""
        _, place, count = np.unique(self.group, return_inverse=True, return_counts=True)
        result: IntArray = count[place].astype(np.int64)
        return result

    @property
    def sky(self) -> FloatArray:
        """ICRS right ascension and declination in degrees, shape (2, n)."""
        return self.plane.sky(self.position)

    def select(self, rows: IntArray | BoolArray) -> "JointSources":
        """Return some of the rows; neighbours that are not among them are -1."""
        kept = np.arange(len(self))[rows]
        values = {item.name: getattr(self, item.name)[kept] for item in fields(self) if item.name != "plane"}
        new = np.full(len(self) + 1, -1, dtype=np.int64)
        new[kept] = np.arange(kept.size)
        return replace(self, **{**values, "neighbour": new[values["neighbour"]]})

    @classmethod
    def empty(cls, plane: TangentPlane, n_bands: int) -> "JointSources":
        """Return a table without rows."""
        table, integers = np.empty((0, n_bands)), np.empty(0, dtype=np.int64)
        return cls(
            plane=plane, position=np.empty((0, 2)), position_covariance=np.empty((0, 2, 2)),
            shape=np.empty((0, 3)), shape_covariance=np.empty((0, 3, 3)),
            band_shape=np.empty((0, n_bands, 3)), flux=table,
            flux_covariance=np.empty((0, n_bands, n_bands)), peak=table, peak_err=table, background=table,
            seen=np.empty((0, n_bands), dtype=bool), significance=np.empty(0), misfit=table,
            correlation=table, neighbour=integers, group=integers, flags=integers,
        )  # fmt: skip
