"""Arguments of the functions for Python: what they may be; otherwise one line names argument and remedy."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hyper_py.arrays import BoolArray
from hyper_py.checked import entries
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.image import SkyImage
from hyper_py.options import Options
from hyper_py.reading.areas import regions_plane
from hyper_py.reading.fill import AUTO

Place: TypeAlias = str | Path | int
"""A file, or an HDU of the file of the map."""


def check_names(given: Iterable[str], *, function: Callable[..., Any]) -> None:
    """Refuse a keyword that a function does not have; say where it belongs, or the nearest one that there is.

    Raises
    ------
    ConfigurationError
        For the first such keyword.
    """
    known = [*inspect.signature(function).parameters]
    for name in given:
        if name not in known:
            raise ConfigurationError(f"{function.__name__}: no argument {name!r}; {_instead(name, known)}")


def _instead(name: str, known: Sequence[str]) -> str:
    for path in entries(Options):
        section, dot, key = path.rpartition(".")
        if dot and key == name:
            return f'it is a key of {section}: {section}={{"{name}": ...}}'
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"


def as_path(value: Any, *, name: str, remedy: str = "give the name of a file") -> Path:
    """Return a path.

    Raises
    ------
    InputError
        If it is something else, such as an array; `remedy` ends the message.

    Examples
    --------
    >>> as_path("map.fits", name="path").name
    'map.fits'
    """
    if not isinstance(value, str | Path):
        raise InputError(f"{name}: {described(value)}: {remedy}")
    return Path(value)


def as_place(value: Any, *, name: str, remedy: str) -> Place | None:
    """Return the place of a further image of a map: a file, or the number or name of an HDU.

    Raises
    ------
    InputError
        If it is something else, such as an array; `remedy` ends the message.
    """
    if value is None or (isinstance(value, str | Path | int) and not isinstance(value, bool)):
        return value
    raise InputError(f"{name}=: {described(value)}: {remedy}")


def as_mask(mask: Any) -> Place | BoolArray | None:
    """Return a mask: its place, or an array that is True (or not zero) where pixels are not used.

    Raises
    ------
    InputError
        If it is neither.
    """
    if mask is None or isinstance(mask, str | Path | int):
        return mask
    values = np.asarray(mask)
    if values.dtype.kind not in "biu":
        raise InputError(
            f"mask=: {described(mask)} of type {values.dtype}: give an array of bool, True where pixels are "
            "not to be used, or a file, an HDU or regions"
        )
    chosen: BoolArray = values != 0
    return chosen


def as_fill_values(values: Any) -> Sequence[float] | str:
    """Return the values that mean blank: one, several, or "auto" to find them.

    Examples
    --------
    >>> as_fill_values(-999)
    (-999.0,)
    """
    try:
        return AUTO if isinstance(values, str) and values == AUTO else _numbers(values)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f'fill_values={values!r}: give numbers, such as [-999], "auto" to find them, or [] for none'
        ) from None


def _numbers(values: Any) -> tuple[float, ...]:
    if isinstance(values, str):
        raise TypeError
    return tuple(float(value) for value in np.atleast_1d(np.asarray(values, dtype=np.float64)))


def as_bytes(max_memory: Any) -> float | None:
    """Return a limit of memory in bytes, or none.

    Raises
    ------
    ConfigurationError
        If it is no positive number.
    """
    is_number = isinstance(max_memory, int | float | np.number) and not isinstance(max_memory, bool)
    if max_memory is not None and not (is_number and max_memory > 0):
        raise ConfigurationError(f"max_memory={max_memory!r}: give a number of bytes, such as 4e9")
    return None if max_memory is None else float(max_memory)


def as_word(value: Any, *, name: str, remedy: str) -> str | None:
    """Return a word.

    Raises
    ------
    ConfigurationError
        If it is something else.
    """
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name}={value!r}: {remedy}")
    return value


def regions_in(value: Any) -> list[Any]:
    """Return the regions of the regions package in what is given: one, a list of them, or none."""
    found = list(value) if isinstance(value, list | tuple) or type(value).__name__ == "Regions" else [value]
    return found if found and all(_is_region(one) for one in found) else []


def _is_region(value: Any) -> bool:
    return any(base.__name__ in ("SkyRegion", "PixelRegion") for base in type(value).__mro__)


def without_regions(image: SkyImage, mask: Any) -> SkyImage:
    """Return a map whose pixels inside regions are blank; exclusions are taken off them.

    Raises
    ------
    InputError
        If the map is read in pieces, or nothing is left of it.
    """
    if not image.is_whole:
        raise InputError(
            f"{image.name}: mask=: regions need the map in memory: write them to a file (.reg) and give that"
        )
    inside: BoolArray = regions_plane(regions_in(mask), image.wcs, image.shape, option="io.mask")[:, :] != 0.0
    data = np.where(inside, np.nan, image.data)
    if not np.isfinite(data).any():
        raise InputError(f"{image.name}: every pixel is blank: the regions of mask= cover the map")
    return image.with_data(data)


def described(value: Any) -> str:
    """Return what a value is, for messages.

    Examples
    --------
    >>> described([1, 2]), described(None)
    ('a list', 'None')
    """
    if value is None:
        return "None"
    kind = "array" if isinstance(value, np.ndarray) else type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
