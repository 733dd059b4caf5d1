"""A map that is read in pieces goes on where a run that was killed left it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.running.tasks import MapTask

if TYPE_CHECKING:
    from hyper_py.writing.layout import Layout

Result = TypeVar("Result")


def resumed(task: MapTask, function: Callable[[], Result]) -> Result:
    """Return the result of a function of a map, with the parts that an earlier run has done.

    What is known of the map so far is kept until `forget_journal`, unless the map or an option is wrong.
    """
    from hyper_py.numerics.journal import Journal, UnusableJournalError
    from hyper_py.numerics.parallel import recorded_in
    from hyper_py.writing.layout import Layout

    directory = Layout.from_config(task.config).journal(task.name)
    journal = Journal(directory, key=_all_that_matters(task))
    try:
        try:
            return recorded_in(journal, function)
        except UnusableJournalError:
            journal.clear()
            return recorded_in(journal, function)
    except (InputError, ConfigurationError):
        _remove(directory)
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
    shutil.rmtree(directory, ignore_errors=True)
