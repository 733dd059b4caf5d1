"""What comes of a part of a map, as it is sent and as it is kept."""

import pickle
import warnings

import pytest

from hyper_py.diagnostics import HyperPyWarning
from hyper_py.numerics.answers import Answer, attempt, kept, of_kept
from hyper_py.numerics.plain_bytes import DamagedBytesError, to_bytes


def root(k):
    if k < 0:
        raise ValueError(f"{k} has no root")
    if k == 0:
        warnings.warn("a root of nothing", HyperPyWarning, stacklevel=1)
    return k**0.5


def copies(answer):
    """The answer after it was sent, and after it was kept."""
    return [pickle.loads(answer.packed()), of_kept(kept(answer))]


def test_a_result_and_its_warnings_are_given_as_if_they_had_come_here():
    with warnings.catch_warnings(record=True) as before:
        warnings.simplefilter("always")
        answer = attempt(root, 0)
    assert before == []
    for one in copies(answer):
        with pytest.warns(HyperPyWarning, match="of nothing") as caught:
            assert one.given() == 0.0
        assert caught[0].filename == __file__
    assert [one.given() for one in copies(attempt(root, 4))] == [2.0, 2.0]


def test_an_exception_is_raised_where_it_is_asked_for():
    with pytest.raises(ValueError, match="-1 has no root"):
        pickle.loads(attempt(root, -1).packed()).given()


def test_what_cannot_be_sent_is_an_error_and_what_is_no_result_is_not_kept():
    with pytest.raises(TypeError, match="cannot be sent"):
        pickle.loads(Answer(result=lambda: 1).packed()).given()
    with pytest.raises(TypeError, match="no class of results"):
        kept(Answer(result=pytest.Item))


@pytest.mark.parametrize(
    "value",
    [3, (1,), (1, [], 2), (1, [("text", 1, "file", 1)]), (1, [("text", UserWarning, "file", "1")]), [1, 2]],
)
def test_what_is_no_answer_is_refused(value):
    with pytest.raises(DamagedBytesError, match="no answer"):
        of_kept(to_bytes(value))


def test_a_record_is_what_would_be_kept_and_comes_with_the_answer():
    answer = pickle.loads(attempt(root, 4, recorded=True).packed())
    assert answer.record == kept(attempt(root, 4))
    assert attempt(root, 4).record is None
    assert attempt(root, -1, recorded=True).record is None
    assert attempt(lambda _: pytest.Item, 1, recorded=True).record is None
