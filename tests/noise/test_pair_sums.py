"""Sums over pairs of pixels: those of the definition, the same bytes by any number of processes."""

import numpy as np
import pytest
from scipy import fft

from hyper_py.noise import pair_sums as module
from hyper_py.noise.pair_sums import pair_sums
from hyper_py.numerics import parallel
from hyper_py.numerics.parallel import workers

SQUARES = [((y, y + 20), (x, x + 25)) for y in (0, 20, 40) for x in (0, 25)]
SIDE = (40, 50)


@pytest.fixture
def data():
    values = 3.0 + np.random.default_rng(4).standard_normal((60, 50))
    values[:20, :25] = np.nan
    values[33, 40] = np.nan
    return values


def test_sums_are_those_of_the_definition(data):
    power, cross, pairs, total, count = pair_sums(data, None, SQUARES, SIDE)
    offset = np.nanmean(data[:20, 25:])  # the first square of which anything is known
    for dy, dx in ((0, 0), (0, 3), (4, 0), (2, 7)):
        products = values = number = 0.0
        for (y0, y1), (x0, x1) in SQUARES:
            square = data[y0:y1, x0:x1] - offset
            one, other = square[: 20 - dy, : 25 - dx], square[dy:, dx:]
            known = np.isfinite(one) & np.isfinite(other)
            products += np.sum((one * other)[known])
            values += 0.5 * (np.sum(one[known]) + np.sum(other[known]))
            number += np.count_nonzero(known)
        found = [fft.irfft2(sums, SIDE)[dy, dx] for sums in (power, pairs)]
        assert found == pytest.approx([products, number], abs=1e-9)
        if not (dy or dx):
            assert fft.irfft2(cross, SIDE)[0, 0] == pytest.approx(values, abs=1e-9)
    assert count == np.count_nonzero(np.isfinite(data))
    assert total == pytest.approx(np.nansum(data - offset), abs=1e-9)


def test_processes_give_the_same_bytes(data, monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)
    mask = data > 4.5
    alone = pair_sums(data, mask, SQUARES, SIDE)
    with workers(2):
        shared = pair_sums(data, mask, SQUARES, SIDE)
    for one, other in zip(alone, shared, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert alone[4] == np.count_nonzero(np.isfinite(data) & ~mask)


def test_many_squares_are_few_parts_with_the_same_sums(data, monkeypatch):
    parts = []

    def counted(function, items, *, recorded):
        parts.append(len(items))
        return map(function, items)

    monkeypatch.setattr(module, "in_order", counted)
    apart = pair_sums(data, None, SQUARES, SIDE)
    monkeypatch.setattr(module, "_MOST_PARTS", 1)
    together = pair_sums(data, None, SQUARES, SIDE)
    assert parts == [2, 1]
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-9)
