"""Catalogue flags, exceptions and warnings."""

from enum import IntFlag
from operator import index


class HyperPyError(Exception):
    """Any error that a user can cause; its message is one line: what, where, what to do.

    Examples
    --------
    >>> import hyper_py
    >>> try:
    ...     hyper_py.DetectionOptions(method="matchd")
    ... except hyper_py.HyperPyError as error:
    ...     print(error)
    detection.method = 'matchd': must be one of highpass, matched; did you mean 'matched'?
    """


class ConfigurationError(HyperPyError):
    """A wrong option, key or argument (exit status 2)."""


class InputError(HyperPyError):
    """A map or table that cannot be used as it is (exit status 1)."""


class HyperPyWarning(UserWarning):
    """Something that the user should know, but that does not stop the run."""


class Flag(IntFlag):
    """Bits of the catalogue column FLAGS; `describe_flags` says what each one means.

    Examples
    --------
    >>> import numpy as np
    >>> from hyper_py import Flag
    >>> flags = np.array([0, 256, 768])
    >>> (flags & Flag.UNRESOLVED) > 0
    array([False, False,  True])
    >>> Flag(768)
    <Flag.BLENDED|UNRESOLVED: 768>
    """

    BLANK_PIXELS = 1 << 0
    EDGE = 1 << 1
    SIZE_AT_BOUND = 1 << 2
    POSITION_AT_BOUND = 1 << 3
    AMPLITUDE_AT_BOUND = 1 << 4
    NOT_CONVERGED = 1 << 5
    RETRIED = 1 << 6
    FIT_FAILED = 1 << 7
    BLENDED = 1 << 8
    UNRESOLVED = 1 << 9
    FORCED = 1 << 10
    NOISE_ASSUMED = 1 << 11
    BACKGROUND_POOR = 1 << 12
    ADDED_IN_RESIDUAL = 1 << 13
    NEGATIVE_FLUX = 1 << 14
    NO_ERROR = 1 << 15
    SHOULDER = 1 << 16
    SHAPE_ASSUMED = 1 << 17
    FILTERED_MAP = 1 << 18
    SIZE_BELOW_BEAM = 1 << 19
    NOT_ON_MAP = 1 << 20
    NEGATIVE_SOURCE = 1 << 21
    HOT_PIXEL = 1 << 22
    SHAPE_DIFFERS = 1 << 23
    FLUX_AT_BOUND = 1 << 24
    VERY_WIDE = 1 << 25
    OTHER_PROFILE = 1 << 26
    PROFILE_UNKNOWN = 1 << 27
    FLUX_OF_FIT = 1 << 28


FLAG_TEXT: dict[Flag, str] = {
    Flag.BLANK_PIXELS: "blank pixels inside the aperture; flux corrected by the model",
    Flag.EDGE: "aperture reaches beyond the map",
    Flag.SIZE_AT_BOUND: "a fitted size is at its bound; no errors of size and flux, or those of a free size",
    Flag.POSITION_AT_BOUND: "the fitted position is at its bound; no errors of position and flux are given",
    Flag.AMPLITUDE_AT_BOUND: "the fitted amplitude is at its bound; no flux error is given",
    Flag.NOT_CONVERGED: "the fit stopped before it converged",
    Flag.RETRIED: "the fit converged only from a second start",
    Flag.FIT_FAILED: "no fit was possible; the aperture has the shape of the beam",
    Flag.BLENDED: "fitted together with neighbours",
    Flag.UNRESOLVED: "not larger than the beam within its error; deconvolved size is an upper limit",
    Flag.FORCED: "position or aperture was given, not found",
    Flag.NOISE_ASSUMED: "too few pixels to measure the noise correlation; beam-correlated noise assumed",
    Flag.BACKGROUND_POOR: "too few pixels for the requested background; a simpler one was used",
    Flag.ADDED_IN_RESIDUAL: "found in the residual of a first fit",
    Flag.NEGATIVE_FLUX: "measured flux is negative; use the upper limit",
    Flag.NO_ERROR: "an error could not be computed",
    Flag.SHOULDER: "looks like a shoulder of a brighter structure",
    Flag.SHAPE_ASSUMED: "shape not constrained by the data: typical shape assumed, errors enlarged",
    Flag.FILTERED_MAP: "the map lacks spatial scales (interferometer, filter); "
    "only peaks of cleaned sources are reliable",
    Flag.SIZE_BELOW_BEAM: "given size is smaller than the beam; the flux is unreliable",
    Flag.NOT_ON_MAP: "given position is not on the map; nothing was measured",
    Flag.NEGATIVE_SOURCE: "a negative source (detection.negative): peak, flux and S/N are negative",
    Flag.HOT_PIXEL: "a bright pixel without the beam around it (hot pixel, cosmic ray, spike); not a source",
    Flag.SHAPE_DIFFERS: "size differs significantly between bands; fluxes with a common shape are biased",
    Flag.FLUX_AT_BOUND: "a parameter that the flux depends on is at its bound; no error is given",
    Flag.VERY_WIDE: "wider than 5 beams; flux and size may be wrong",
    Flag.OTHER_PROFILE: "not a Gaussian; FLUX includes FLUX_BEYOND unless a neighbour may be in it",
    Flag.PROFILE_UNKNOWN: "resolved, and noise hides whether it is a Gaussian; FLUX is that of a Gaussian",
    Flag.FLUX_OF_FIT: "in front of a bright wide source that dominates its aperture; FLUX is FLUX_GAUSS",
}


def describe_flags(value: int) -> list[str]:
    """Return the meanings of all bits set in a value of the FLAGS column.

    Parameters
    ----------
    value : int
        Bit field of `Flag`.

    Returns
    -------
    list of str
        One text per bit, lowest bit first; empty for 0.

    Raises
    ------
    InputError
        If it is no whole number, such as a whole column.

    Examples
    --------
    >>> import hyper_py
    >>> hyper_py.describe_flags(256)
    ['fitted together with neighbours']
    """
    try:
        bits = index(value)
    except TypeError:
        raise InputError(
            f"describe_flags: a {type(value).__name__}: give one value of FLAGS; of a column, "
            "[describe_flags(one) for one in column]"
        ) from None
    return [text for flag, text in FLAG_TEXT.items() if bits & flag]
