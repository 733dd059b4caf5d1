"""`Estimates`: the sources of a field while their list is made and fitted."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray
from hyper_py.bands.band import Band

CLEAR_SNR = 5.0
"""A source with so much for its position and shape stays, whatever is known of which light is its own."""
DIFFERENT_SHAPE = 3.5
"""Score test, in sigma in any band, beyond which one shape does not hold for all."""
SHAPE_PARAMETERS = 5
"""Of a source in one band: position east and north, intrinsic covariance xx, xy, yy."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimates:
    """Sources as they are known so far, n rows; what is not yet fitted is NaN or 0.

    Attributes
    ----------
    start : ndarray, shape (n, 2)
        Where a source was found or given: fits stay near it.
    scale : ndarray, shape (n,)
        FWHM in arcsec of the sharpest beam that shows it well.
    significance : ndarray, shape (n,)
        With which it was found.
    position, shape : ndarray, shape (n, 2), (n, 3)
        Arcsec, arcsec^2.
    difference : ndarray, shape (n, n_bands, 3)
        Intrinsic covariance in each band less `shape`; 0 where shapes are shared.
    covariance : ndarray, shape (n, 5, 5)
        Of position and shape.
    flux, level, misfit, correlation : ndarray, shape (n, n_bands)
        Flux in Jy, level of the background in Jy/pixel, score test of another size, correlation with the
        neighbour with which it is largest.
    flux_covariance : ndarray, shape (n, n_bands, n_bands)
    conditional_snr : ndarray, shape (n, n_bands)
        Flux over its error for this position and shape.
    seen : bool ndarray, shape (n, n_bands)
    neighbour : int ndarray, shape (n,)
        `identity` of that neighbour; -1 for none.
    identity : int ndarray, shape (n,)
        Number that stays with a source while others come and go.
    group : int ndarray, shape (n,)
    flags : int ndarray, shape (n,)
    tried : ndarray, shape (n,)
        Best S/N with which it was tried as a blend of two and stayed one; 0 if it was not.
    """

    start: FloatArray
    scale: FloatArray
    significance: FloatArray
    position: FloatArray
    shape: FloatArray
    difference: FloatArray
    covariance: FloatArray
    flux: FloatArray
    flux_covariance: FloatArray
    conditional_snr: FloatArray
    level: FloatArray
    misfit: FloatArray
    correlation: FloatArray
    seen: BoolArray
    neighbour: IntArray
    identity: IntArray
    group: IntArray
    flags: IntArray
    tried: FloatArray

    @classmethod
    def of(
        cls,
        position: FloatArray,
        *,
        shape: FloatArray,
        scale: FloatArray,
        significance: FloatArray,
        flux: FloatArray,
        first: int = 0,
    ) -> "Estimates":
        """Return new sources; `first` is the identity of the first one."""
        n, n_bands = flux.shape
        return cls(
            start=position.copy(), scale=scale, significance=significance, position=position.copy(),
            shape=shape,
            difference=np.zeros((n, n_bands, 3)), covariance=np.full((n, 5, 5), np.nan), flux=flux,
            flux_covariance=np.full((n, n_bands, n_bands), np.nan),
            conditional_snr=np.zeros((n, n_bands)), level=np.zeros((n, n_bands)),
            misfit=np.zeros((n, n_bands)), correlation=np.zeros((n, n_bands)),
            seen=np.zeros((n, n_bands), dtype=bool), neighbour=np.full(n, -1, dtype=np.int64),
            identity=np.arange(first, first + n, dtype=np.int64), group=np.zeros(n, dtype=np.int64),
            flags=np.zeros(n, dtype=np.int64), tried=np.zeros(n),
        )  # fmt: skip

    @classmethod
    def none(cls, n_bands: int) -> "Estimates":
        """Return no sources."""
        nothing = np.empty(0)
        return cls.of(
            np.empty((0, 2)), shape=np.empty((0, 3)), scale=nothing, significance=nothing,
            flux=np.empty((0, n_bands)),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.position)

    def select(self, rows: BoolArray | IndexArray) -> "Estimates":
        """Return some of the sources."""
        return replace(self, **{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def joined(self, other: "Estimates") -> "Estimates":
        """Return these sources and others after them."""
        return replace(
            self,
            **{
                item.name: np.concatenate([getattr(self, item.name), getattr(other, item.name)])
                for item in fields(self)
            },
        )

    def copied(self) -> "Estimates":
        """Return a copy that can be changed in place."""
        return self.select(np.arange(len(self)))

    def band_shape(self, b: int) -> FloatArray:
        """Return the intrinsic shapes in a band, (n, 3)."""
        shape: FloatArray = self.shape + self.difference[:, b]
        return shape

    def shown(self, bands: Sequence[Band]) -> FloatArray:
        """Return the shapes as the bands show them, (n_bands, n, 3)."""
        return np.array([band.shown(self.position, self.band_shape(b)) for b, band in enumerate(bands)])

    def gaussians(self, band: Band, b: int) -> FloatArray:
        """Return the sources as Gaussians in the pixels of a band, (n, 6)."""
        return band.gaussians(self.position, self.band_shape(b), self.flux[:, b])

    @property
    def snr(self) -> FloatArray:
        """Flux over its error in each band, (n, n_bands); 0 where it is not known."""
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(np.diagonal(self.flux_covariance, axis1=1, axis2=2))
            return np.nan_to_num(self.flux / error)

    def stands(self, minimum: float) -> BoolArray:
        """Return which are sources still: those of some S/N in a band, or clear where they are, (n,)."""
        clear = np.nan_to_num(self.conditional_snr).max(axis=1, initial=0.0) >= CLEAR_SNR
        result: BoolArray = (self.snr.max(axis=1, initial=0.0) >= minimum) | clear
        return result
