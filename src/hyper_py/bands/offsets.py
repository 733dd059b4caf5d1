"""Astrometric offsets between the maps of a field."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.bands.band import Band
from hyper_py.bands.group_fit import OffsetNormal

INTRINSIC_SCATTER = 0.02
"""What positions of one source differ by between bands, in FWHM of the beam: no bright one decides alone."""


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


@dataclass(frozen=True, kw_only=True)
class OffsetChoices:
    """Which band the others are compared with.

    Attributes
    ----------
    reference : int
    """

    reference: int


def measure_offsets(
    bands: Sequence[Band], normals: Sequence[OffsetNormal], *, choices: OffsetChoices
) -> BandOffsets:
    """Return the offsets of all maps, from the normal equations of the groups, with what was applied already.

    With H_g and g_g matrix and gradient of a group, whose positions scatter by D besides the noise, the
    offset is the solution of sum (H_g^-1 + D)^-1 o = sum (1 + H_g D)^-1 g_g.
    """
    n_bands = len(bands)
    free = np.flatnonzero(np.repeat(np.arange(n_bands) != choices.reference, 2))
    scatter = np.diag(np.repeat([(INTRINSIC_SCATTER * band.fwhm) ** 2 for band in bands], 2)[free])
    matrix, gradient = np.zeros((free.size, free.size)), np.zeros(free.size)
    for normal in normals:
        own = normal.matrix.reshape(2 * n_bands, 2 * n_bands)[np.ix_(free, free)]
        weakened = np.linalg.inv(np.eye(free.size) + own @ scatter)
        matrix += weakened @ own
        gradient += weakened @ normal.gradient.ravel()[free]
    known = np.diagonal(matrix) > 0.0
    values, errors = np.zeros(2 * n_bands), np.full(2 * n_bands, np.nan)
    errors[2 * choices.reference : 2 * choices.reference + 2] = 0.0
    if known.any():
        covariance = np.linalg.pinv(matrix[np.ix_(known, known)], hermitian=True)
        values[free[known]] = covariance @ gradient[known]
        errors[free[known]] = np.sqrt(np.diagonal(covariance))
    before = np.array([band.offset for band in bands])
    return BandOffsets(
        values=before + values.reshape(n_bands, 2),
        errors=errors.reshape(n_bands, 2),
        reference=choices.reference,
    )


def with_offsets(bands: Sequence[Band], offsets: BandOffsets) -> list[Band]:
    """Return the bands with their offsets."""
    return [replace(band, offset=offset) for band, offset in zip(bands, offsets.values, strict=True)]
