"""What comes of a part of a map: a result or an exception, and warnings; it can be sent and kept."""

import io
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Answer:
    """What came of an item: a result, or an exception, and the warnings that were given."""

    result: Any = None
    error: BaseException | None = None
    warned: list[tuple[str, type[Warning], str, int]] = field(default_factory=list)

    def given(self) -> Any:
        """Return the result as if it had been computed here: warnings are given, an exception is raised."""
        for message, category, file, line in self.warned:
            warnings.warn_explicit(message, category, file, line)
        if self.error is not None:
            raise self.error
        return self.result

    def packed(self) -> bytes:
        """Return bytes from which `unpacked` makes it again; what cannot be sent becomes an error."""
        try:
            return pickle.dumps(self, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            told = Answer(error=TypeError(f"a result that cannot be sent: {error}"))
            return pickle.dumps(told, protocol=pickle.HIGHEST_PROTOCOL)


def unpacked(text: bytes) -> Answer:
    """Return what `Answer.packed` was called of.

    Raises
    ------
    pickle.UnpicklingError
        There is something in it that no part of a map gives: somebody else has written it.
    """
    answer = _Unpickler(io.BytesIO(text)).load()
    if not isinstance(answer, Answer):
        raise pickle.UnpicklingError(f"{type(answer).__name__} is no answer")
    return answer


class _Unpickler(pickle.Unpickler):
    """Reads plain values, arrays and the classes of results: a text cannot have anything else called."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class, if it is one of those."""
        found = super().find_class(module, name)
        own = module.split(".")[:2] in _OF_RESULTS and module not in _OF_FILES and isinstance(found, type)
        if own or (module.split(".")[0], name) in _PLAIN or _is_warning(found):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an answer")


_OF_RESULTS = [
    ["hyper_py", name]
    for name in (
        "arrays", "diagnostics", "numerics", "noise", "detection", "psf", "background", "fitting",
        "deblending", "photometry",
    )
]  # fmt: skip
"""The packages whose functions do parts of maps."""
_OF_FILES = [f"hyper_py.numerics.{name}" for name in ("forked", "journal", "parallel", "stored")]
_PLAIN = {
    *(("numpy", name) for name in ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")),
    *(("builtins", name) for name in ("slice", "complex", "set", "frozenset", "bytearray")),
    ("collections", "OrderedDict"), ("collections", "deque"),
}  # fmt: skip


def _is_warning(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Warning)


def attempt(function: Callable[[Any], Any], item: Any) -> Answer:
    """Return what comes of an item."""
    answer = Answer()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer.result = function(item)
        except Exception as error:
            answer.error = error
    # As text: libraries such as tblib change how exceptions are pickled.
    answer.warned = [(str(one.message), one.category, one.filename, one.lineno) for one in caught]
    return answer
