"""The command line: the program, its commands and its errors.

Nothing heavy is imported before a command needs it, so that help and errors appear immediately.
Exit status: 0 all done, 1 something failed, 2 wrong usage or configuration.
"""

import gc
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hyper_py import __version__
from hyper_py.commands.bands import bands
from hyper_py.commands.completeness import completeness
from hyper_py.commands.completion import completion
from hyper_py.commands.demo import demo
from hyper_py.commands.init import init
from hyper_py.commands.inspect import inspect
from hyper_py.commands.report import report
from hyper_py.commands.run import run
from hyper_py.commands.send import send
from hyper_py.commands.simulate import simulate
from hyper_py.commands.terminal import complain, open_standard_streams, say, silence
from hyper_py.commands.validate import validate
from hyper_py.commands.why import why
from hyper_py.diagnostics import ConfigurationError, HyperPyError

INTERRUPTED = 130
"""Exit status after Ctrl-C outside a run, as in shells."""
_OBJECTS_BETWEEN_COLLECTIONS = 200_000
"""Libraries and arrays leave hardly any garbage; Python's default of 700 would search them all the time."""

_HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="hyper-py",
    help="Find and measure compact sources in far-infrared, sub-millimetre and millimetre maps.",
    epilog="`hyper-py MAP.fits` is short for `hyper-py run MAP.fits`. To see it work: `hyper-py demo`.",
    context_settings=_HELP,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    if version:
        say(f"hyper-py {__version__}")
    elif context.invoked_subcommand is None:
        say(context.get_help())


_COMMANDS: tuple[Callable[..., None], ...] = (
    run, bands, demo, inspect, why, report, validate, completeness, simulate, send, init, completion
)  # fmt: skip
for _command in _COMMANDS:
    # A declination may begin with a minus.
    app.command(context_settings={"ignore_unknown_options": _command is why, **_HELP})(_command)


def _with_command(arguments: Sequence[str]) -> list[str]:
    """Insert the command `run` before its files or options if none is named."""
    commands = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
    first = arguments[0] if arguments else ""
    if not first or first in commands or first in ("-h", "--help", "--version"):
        return list(arguments)
    is_run = first.startswith("-") or Path(first).suffix or Path(first).exists()
    return ["run", *arguments] if is_run else list(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; ends it with its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    open_standard_streams()
    debug = "--debug" in arguments
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        words = _with_command([argument for argument in arguments if argument != "--debug"])
        status = app(words, prog_name="hyper-py", standalone_mode=False)
        if status == INTERRUPTED:
            complain("interrupted")
        sys.exit(status)
    except BrokenPipeError:
        silence(sys.stdout)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        complain(*(f"error: {line}" for line in _explain(error).splitlines()))
        sys.exit(2 if isinstance(error, ConfigurationError) or _is_usage(error) else 1)


def _is_usage(error: Exception) -> bool:
    """Whether an error comes from typer's parser, whose classes are elsewhere in each of its versions."""
    return hasattr(error, "format_message")


def _explain(error: Exception) -> str:
    """Show an error; in one line, except for a configuration with several faults."""
    if isinstance(error, HyperPyError):
        return str(error)
    if _is_usage(error):
        context = getattr(error, "ctx", None)
        text = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
        return f"{text}; see {context.command_path if context else 'hyper-py'} --help"
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        return f"{error.filename}: not a directory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    what = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"out of memory ({what})" if what else "out of memory"
    return f"unexpected {type(error).__name__}: {what}; the same command with --debug shows where"


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Show a warning in one line; deprecations are for the authors of programs, not for their users."""
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning):
        complain(f"warning: {' '.join(str(message).split())}")
