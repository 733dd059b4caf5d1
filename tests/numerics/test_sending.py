"""Functions and what they need come out of bytes as they were; some objects go once."""

import pickle
import threading
import weakref
from functools import partial

import numpy as np
import pytest

from hyper_py.numerics.sending import MOST_BYTES, CannotBeSentError, Parcel, Receiver, Sender, SentOnce, Shelf


class Large(SentOnce):
    n_looks = 0

    def __init__(self, values, inner=None):
        self.values, self.inner = values, inner

    def look_again(self):
        self.n_looks += 1


def sent(value, sender=None, receiver=None):
    return (receiver or Receiver()).value((sender or Sender()).packed(value))


def test_functions_inside_functions_are_sent_with_what_is_around_them():
    factor, shift = 3.0, np.arange(4)

    def outer(x, power=2, *, sign=-1):
        return [inner(x) for _ in range(2)], sign * (lambda y: y**power + shift)(x)

    def inner(x):
        return factor * x

    for function in (outer, partial(outer, sign=1)):
        same, other = sent(function)(5), function(5)
        assert same[0] == other[0]
        np.testing.assert_array_equal(same[1], other[1])


def test_functions_that_have_themselves_around_them_are_sent():
    def factorial(n):
        return n * factorial(n - 1) if n else 1

    assert sent(factorial)(5) == 120


def test_what_modules_have_is_sent_by_name():
    assert sent([np.hypot, sent, Large]) == [np.hypot, sent, Large]


def test_objects_are_sent_once_and_kept_as_long_as_they_live():
    sender, receiver = Sender(), Receiver()
    inner = Large(np.arange(1000.0))
    large = Large(np.arange(1000.0), inner)
    sizes = [len(pickle.dumps(sender.packed([large]))) for _ in range(2)]
    assert sizes[0] > 16_000
    assert sizes[1] < 1000
    sender = Sender()
    first = sent(lambda: large, sender, receiver)()
    assert first is sent([large], sender, receiver)[0]
    assert first.inner is sent(inner, sender, receiver)
    np.testing.assert_array_equal(first.values, large.values)
    seen = weakref.ref(first)
    first = large = None
    sent(None, sender, receiver)
    assert seen() is None
    assert sent([inner], sender, receiver)[0].values.size == 1000


def test_what_was_not_sent_is_sent_later():
    sender, receiver, large = Sender(), Receiver(), Large(1.0)
    for bad in (threading.Lock(), np.zeros(MOST_BYTES), "a" * MOST_BYTES):
        with pytest.raises(CannotBeSentError):
            sender.packed([large, bad])
    assert sent(large, sender, receiver).values == 1.0


def test_workers_that_get_only_some_parcels_take_objects_from_a_shelf(tmp_path):
    sender, shelf, receivers = Sender(), Shelf(tmp_path), [Receiver(Shelf(tmp_path)) for _ in range(2)]

    def received(value, worker):
        return receivers[worker].value(Parcel((), [], shelf.put(sender.packed(value))))

    inner = Large(np.arange(1000.0))
    large = Large(2.0, inner)
    found = received(large, 0)
    np.testing.assert_array_equal(found.inner.values, inner.values)
    assert received(large, 0) is found
    assert found.n_looks == 1, "nothing has come since"
    other = Large(3.0)
    assert received(other, 1).values == 3.0
    assert received([large, other], 1)[0].values == 2.0
    assert received(other, 0).values == 3.0
    assert found.n_looks == found.inner.n_looks == 2
    late, seen = sender.packed(large), weakref.ref(found)
    large = found = None
    received(Large(4.0), 0)
    assert seen() is None
    assert not receivers[0].value(Parcel((), [], shelf.put(sender.packed(inner)))).n_looks > 3
    with pytest.raises(FileNotFoundError):
        Receiver(Shelf(tmp_path)).value(Parcel((), [], late.body))
