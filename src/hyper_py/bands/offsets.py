"""Astrometric offsets between the maps of a field."""

from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class BandOffsets:
    """How far each map shows sources from where the reference band does.

    Attributes
    ----------
    values : ndarray, shape (n_bands, 2)
        Arcsec east and north: position on the map less position in the reference band, whose offset is 0.
        They are subtracted from what the map says.
    errors : ndarray, shape (n_bands, 2)
        1-sigma; 0 for the reference, NaN where the offset was not measured.
    reference : int
        Index of the reference band, the sharpest.
    """

    values: FloatArray
    errors: FloatArray
    reference: int

    @classmethod
    def none(cls, n_bands: int, *, reference: int) -> "BandOffsets":
        """Return offsets of 0 that were not measured."""
        errors = np.full((n_bands, 2), np.nan)
        errors[reference] = 0.0
        return cls(values=np.zeros((n_bands, 2)), errors=errors, reference=reference)
