"""What differs between two folders of results: tables, texts and FITS files, value by value."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

LEFT_OUT = ("logs", "report", "plots", ".hyper_py")
"""Folders with words and pictures, and with what only the version that wrote it reads."""
TEXTS = (".reg", ".crtf", ".csv", ".txt", ".xml", ".vot")
HEADER_LEFT_OUT = ("DATE", "CHECKSUM", "DATASUM", "CREATOR", "ORIGIN", "HISTORY", "COMMENT", "")
META_LEFT_OUT = ("creator", "comments", "__serialized_columns__")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Difference:
    """How large, in units of the tolerance's scale (inf where no number says), and where."""

    size: float
    text: str


def compare_folders(before: Path, after: Path, *, tolerance: float) -> Iterator[tuple[str, str]]:
    """Yield a name and a verdict for a run, or for each of its maps if there are more than one."""
    for side, what in ((before, "before"), (after, "after")):
        if not side.is_dir():
            yield "", f"MISSING {what}"
            return
    statuses = [(side / "status").read_text().strip() for side in (before, after)]
    if statuses[0] != statuses[1]:
        yield "", f"EXIT STATUS {statuses[0]} before, {statuses[1]} after"
        return
    found = [products(side / "output") for side in (before, after)]
    maps = sorted({map_of(name) for name in found[0] | found[1]} - {""})
    several = len(maps) > 1 and not any("_slice_" in name for name in found[0])
    parts: dict[str, list[str]] = {}
    for name in sorted(found[0].keys() | found[1].keys()):
        parts.setdefault(map_of(name) if several else "", []).append(name)
    for title, names in sorted(parts.items()):
        yield title, verdict(names, *found, tolerance=tolerance)
    if not parts:
        yield "", "equal" if statuses[0] != "0" else "NOTHING WRITTEN"


def products(output: Path) -> dict[str, Path]:
    """Return the files that are compared by their path below a folder."""
    paths = {str(path.relative_to(output)): path for path in output.rglob("*") if path.is_file()}
    kinds = (".ecsv", ".fits", *TEXTS)
    return {
        name: path
        for name, path in paths.items()
        if Path(name).parts[0] not in LEFT_OUT and path.suffix in kinds
    }


def map_of(name: str) -> str:
    """Return the map that a catalogue or region file belongs to; empty for other files."""
    matched = re.fullmatch(r"(?:params|region_files)_(.+?)(?:_centroids|_ellipses)?\.\w+", Path(name).name)
    return matched[1] if matched and matched[1] != "ALL" else ""


def verdict(names: list[str], before: dict[str, Path], after: dict[str, Path], *, tolerance: float) -> str:
    """Return `equal`, or what differs most in some files."""
    missing = [
        f"{name} {'before' if name not in before else 'after'}"
        for name in names
        if (name in before) != (name in after)
    ]
    if missing:
        return f"MISSING {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    worst = [
        (name, d) for name in names for d in [difference(before[name], after[name])] if d.size > tolerance
    ]
    if not worst:
        return "equal"
    name, largest = max(worst, key=lambda pair: pair[1].size)
    more = f" (and {len(worst) - 1} more files)" if len(worst) > 1 else ""
    return f"DIFFERS in {name}: {largest.text}{more}"


def difference(before: Path, after: Path) -> Difference:
    """Return the largest difference of two files."""
    if before.suffix == ".ecsv":
        tables = [Table.read(path, format="ascii.ecsv") for path in (before, after)]
        return largest(
            [*table_differences(*tables), *mapping_differences(tables[0].meta, tables[1].meta, META_LEFT_OUT)]
        )
    if before.suffix == ".fits":
        return largest(fits_differences(before, after))
    return text_difference(before.read_text(), after.read_text())


def largest(differences: Any) -> Difference:
    """Return the largest of some differences."""
    return max(differences, key=lambda d: d.size, default=Difference(0.0, "equal"))


def table_differences(before: Table, after: Table) -> Iterator[Difference]:
    """Yield the largest difference of each column, and what the tables have not in common."""
    if before.colnames != after.colnames:
        odd = sorted(set(before.colnames) ^ set(after.colnames))
        yield Difference(np.inf, f"columns {', '.join(odd)}" if odd else "order of columns")
        return
    if len(before) != len(after):
        yield Difference(np.inf, f"{len(before)} rows before, {len(after)} after")
        return
    for name in before.colnames:
        one, other = before[name], after[name]
        if one.unit != other.unit or one.dtype.kind != other.dtype.kind:
            yield Difference(
                np.inf, f"column {name} is {one.dtype} {one.unit} before, {other.dtype} {other.unit} after"
            )
        elif len(one):
            yield column_difference(name, one, other)


def column_difference(name: str, before: Any, after: Any) -> Difference:
    """Return the largest difference of a column, relative to the value or to the column's median."""
    columns = [np.ma.asarray(column) for column in (before, after)]
    one, other = (np.asarray(np.ma.getdata(column)) for column in columns)
    hidden = [np.ma.getmaskarray(column) for column in columns]
    if one.dtype.kind == "f":
        one, other = np.where(hidden[0], np.nan, one), np.where(hidden[1], np.nan, other)
        size = relative(one, other, scale=column_scale(one))
    elif one.dtype.kind == "O":  # a list in each row, of its own length
        lists = [[np.asarray(value, dtype=np.float64) for value in column] for column in (one, other)]
        size = np.array([list_difference(old, new) for old, new in zip(*lists, strict=True)])
    else:
        unequal = (one != other) & ~(hidden[0] & hidden[1]) | (hidden[0] != hidden[1])
        size = np.where(unequal, np.inf, 0.0)
    row = int(np.argmax(size.reshape(len(size), -1).max(axis=1)))
    return Difference(
        float(size.max()), f"{size.max():.3g} in {name}, row {row + 1}: {one[row]} before, {other[row]} after"
    )


def list_difference(before: Any, after: Any) -> float:
    """Return the largest difference of two arrays, relative to the larger of each two values."""
    if before.shape != after.shape:
        return np.inf
    return float(np.max(relative(before, after, scale=0.0), initial=0.0))


def column_scale(values: Any) -> float:
    """Return the median of what is finite and not zero."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    return float(np.median(sizes)) if sizes.size else 0.0


def relative(before: Any, after: Any, *, scale: float) -> Any:
    """Return differences relative to the values or to a scale; infinite where only one is a number."""
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.abs(after - before) / np.maximum(np.maximum(np.abs(before), np.abs(after)), scale)
    return np.where(same, 0.0, np.where(np.isfinite(size), size, np.inf))


def mapping_differences(before: Any, after: Any, left_out: tuple[str, ...]) -> Iterator[Difference]:
    """Yield the differences of metadata or headers."""
    keys = [key for key in {**before, **after} if key not in left_out]
    for key in keys:
        if key not in before or key not in after:
            yield Difference(np.inf, f"{key} {'after' if key not in before else 'before'} only")
            continue
        one, other = before[key], after[key]
        if all(isinstance(value, float) for value in (one, other)):
            size = float(relative(np.float64(one), np.float64(other), scale=0.0))
        else:
            size = 0.0 if one == other else np.inf
        yield Difference(size, f"{size:.3g} in {key}: {one!r} before, {other!r} after")


def fits_differences(before: Path, after: Path) -> Iterator[Difference]:
    """Yield the differences of headers, images and tables, HDU by HDU."""
    with fits.open(before) as one, fits.open(after) as other:
        if len(one) != len(other):
            yield Difference(np.inf, f"{len(one)} HDUs before, {len(other)} after")
            return
        for index, (old, new) in enumerate(zip(one, other, strict=True)):
            for found in mapping_differences(dict(old.header), dict(new.header), HEADER_LEFT_OUT):
                yield Difference(found.size, f"HDU {index}: {found.text}")
            if isinstance(old, fits.BinTableHDU) and isinstance(new, fits.BinTableHDU):
                for found in table_differences(Table(old.data), Table(new.data)):
                    yield Difference(found.size, f"HDU {index}: {found.text}")
            elif old.data is not None or new.data is not None:
                yield image_difference(index, old.data, new.data)


def image_difference(index: int, before: Any, after: Any) -> Difference:
    """Return the largest difference of two images relative to the largest value."""
    if np.shape(before) != np.shape(after):
        return Difference(np.inf, f"HDU {index}: shape {np.shape(before)} before, {np.shape(after)} after")
    one, other = before.astype(np.float64), after.astype(np.float64)
    finite = np.abs(one[np.isfinite(one)])
    size = relative(one, other, scale=float(finite.max()) if finite.size else 0.0)
    if not size.size:
        return Difference(0.0, "")
    place = tuple(int(i) for i in np.unravel_index(np.argmax(size), size.shape))
    return Difference(
        float(size.max()),
        f"{size.max():.3g} in HDU {index} at {place}: {one[place]} before, {other[place]} after",
    )


def text_difference(before: str, after: str) -> Difference:
    """Return the largest difference of the numbers of two texts beyond their last digit, or of the words."""
    lines = [[line for line in text.splitlines() if "Hyper-Py" not in line] for text in (before, after)]
    if len(lines[0]) != len(lines[1]):
        return Difference(np.inf, f"{len(lines[0])} lines before, {len(lines[1])} after")
    worst = Difference(0.0, "equal")
    for number, (one, other) in enumerate(zip(*lines, strict=True), start=1):
        if one == other:
            continue
        if NUMBER.sub("0", one).split() != NUMBER.sub("0", other).split():
            return Difference(np.inf, f"line {number}: {one!r} before, {other!r} after")
        for old, new in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
            beyond = abs(float(new) - float(old)) - 1.5 * max(last_digit(old), last_digit(new))
            size = max(0.0, beyond / max(abs(float(old)), abs(float(new)), 1e-300))
            if size > worst.size:
                worst = Difference(size, f"{size:.3g} in line {number}: {old} before, {new} after")
    return worst


def last_digit(number: str) -> float:
    """Return the value of one unit in the last digit of a written number."""
    mantissa, _, exponent = number.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return 0.0 if digits == 0 and not exponent else 10.0 ** (int(exponent or 0) - digits)
