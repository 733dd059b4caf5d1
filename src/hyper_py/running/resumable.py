"""A map that is read in pieces goes on where a run that was killed left it."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.files import remove_all
from hyper_py.running.tasks import MapTask

if TYPE_CHECKING:
    from hyper_py.writing.layout import Layout

Result = TypeVar("Result")


def resumed(task: MapTask, function: Callable[[], Result]) -> Result:
    """Return the result of a function of a map, with the parts that an earlier run has done.

    What is known of the map so far is kept until `forget_journal`, unless the map or an option is wrong. If
    it does not help, or the function fails with what is taken from it, the map is done anew.
    """
    from hyper_py.numerics.journal import UnusableJournalError
    from hyper_py.writing.layout import Layout

    directory, key = Layout.from_config(task.config).journal(task.name), _all_that_matters(task)
    try:
        return _recorded(function, directory=directory, key=key)
    except UnusableJournalError:
        _remove(directory)
    return _recorded(function, directory=directory, key=key)


def _recorded(function: Callable[[], Result], *, directory: Path, key: str) -> Result:
    """Return the result of a function, whose parts are kept in a journal."""
    from hyper_py.numerics.journal import Journal, UnusableJournalError
    from hyper_py.numerics.parallel import recorded_in

    journal = Journal(directory, key=key)
    try:
        return recorded_in(journal, function)
    except (InputError, ConfigurationError):
        _remove(directory)
        raise
    except (OSError, MemoryError, UnusableJournalError):
        raise
    except Exception as error:
        # Records that somebody else has written may be whole and make no sense.
        if journal.n_found:
            raise UnusableJournalError(str(error)) from error
        raise
    finally:
        journal.close()


def _all_that_matters(task: MapTask) -> str:
    """Return a hash of the map, the configuration, the program and the size of the tiles."""
    known = {**task.depends, "map": task.content(), "tiles": task.config.control.tile_size_pix}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def has_journal(layout: "Layout", name: str) -> bool:
    """Return whether a run that was killed has left something of a map."""
    return layout.journal(name).is_dir()


def forget_journal(layout: "Layout", name: str) -> None:
    """Remove what is known of a map that is complete, or is done anew."""
    _remove(layout.journal(name))


def _remove(directory: Path) -> None:
    with suppress(OSError):
        remove_all(directory)
