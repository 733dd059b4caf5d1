"""What is printed: without control characters from files and names, and whatever becomes of the terminal."""

import os
import sys
from contextlib import suppress
from typing import Any

from hyper_py.names import printable_lines


def say(text: object = "", *, err: bool = False) -> None:
    """Print a text and a line feed. If nobody can read it any more, nothing is printed from then on."""
    stream = sys.stderr if err else sys.stdout
    try:
        stream.write(printable_lines(str(text)) + "\n")
        stream.flush()
    except UnicodeEncodeError:
        with suppress(OSError, ValueError):
            stream.write(str(text).encode("ascii", "backslashreplace").decode() + "\n")
    except (OSError, ValueError):
        silence(stream)


def complain(*lines: str) -> None:
    """Print lines to the standard error."""
    for line in lines:
        say(line, err=True)


def shows_progress() -> bool:
    """Return whether the standard error is a terminal on which lines can be redrawn.

    Notebooks run `!hyper-py ...` on a terminal too, but show each redrawn line below the one before, as dumb
    terminals do.
    """
    notebook, dumb = "JPY_PARENT_PID" in os.environ, os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not notebook and not dumb


def silence(stream: Any) -> None:
    """Have a stream lead nowhere: Python would complain once more at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def open_standard_streams() -> None:
    """Open what the shell has closed (`>&-`, `2>&-`): the next file that is opened would be printed into."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
