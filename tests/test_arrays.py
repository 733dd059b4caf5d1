import re
from pathlib import Path

import numpy as np
import pytest

import hyper_py
from hyper_py import arrays

PACKAGE = Path(hyper_py.__file__).parent


@pytest.mark.parametrize(
    ("alias", "values"),
    [
        (arrays.FloatArray, np.zeros(2)),
        (arrays.BoolArray, np.zeros(2) > 0.0),
        (arrays.IntArray, np.zeros(2, dtype=np.int64)),
        (arrays.IndexArray, np.flatnonzero(np.ones(2))),
    ],
)
def test_aliases_are_the_types_that_numpy_gives(alias: object, values: np.ndarray) -> None:
    assert str(values.dtype) in str(alias)


def test_there_is_one_place_for_aliases() -> None:
    elsewhere = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.stem != "arrays"
        and re.search(r"NDArray\[np\.(float64|int64|intp|bool_)\]", path.read_text(encoding="utf-8"))
    ]
    assert not elsewhere
