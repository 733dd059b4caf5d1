"""The rows of a complete map in full precision, and its record: what merged catalogues are made of."""

import os
from typing import Any

import numpy as np

from hyper_py.diagnostics import InputError
from hyper_py.files import open_regular
from hyper_py.writing.layout import Layout
from hyper_py.writing.state import Record, read_record


def recorded(layout: Layout, name: str) -> Record:
    """Return the record of a map that is complete.

    Raises
    ------
    InputError
        It is gone, or somebody has changed it.
    """
    record = read_record(layout, name)
    if record is None or not record.pixel_scale:
        raise InputError(f"{layout.root / layout.state(name)}: disappeared during the run; use --resume")
    return record


def read_rows(layout: Layout, record: Record) -> np.ndarray[Any, Any]:
    """Return the rows of a map: an array of numbers and texts with the fields of the record, nothing else.

    The size of the file is compared with what its header promises before anything is allocated.

    Raises
    ------
    InputError
        There are no such rows.
    """
    path = layout.root / layout.rows(record.name)
    try:
        with open_regular(path) as stream:
            version = np.lib.format.read_magic(stream)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, _, dtype = header[version](stream)
            left = os.fstat(stream.fileno()).st_size - stream.tell()
            names = tuple(column[0] for column in record.columns)
            kinds = [dtype[name].kind in "iufU" for name in dtype.names or ()]
            if shape != (record.n_sources,) or left != record.n_sources * dtype.itemsize:
                raise ValueError("the number of rows")
            if dtype.names != names or not all(kinds):
                raise ValueError("the columns")
            return np.frombuffer(stream.read(left), dtype=dtype)
    except (OSError, ValueError, KeyError, RecursionError, SyntaxError, MemoryError) as error:
        raise InputError(f"{path}: not the rows of this map ({error}); use --resume") from None
