"""The command `completeness`; `hyper_py.cli` registers it.

As there: nothing heavy is imported before the command needs it.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hyper_py.diagnostics import HyperPyError, InputError

if TYPE_CHECKING:
    from hyper_py.injection.completeness import Completeness
    from hyper_py.running.completeness import Event


def run_completeness(
    config: Any, maps: list[str], *, plan: Any, channels: list[int] | None, resume: bool, columns: bool,
    purity: float, quiet: bool,
) -> int:  # fmt: skip
    """Estimate the completeness of maps, one after another; return the exit status."""
    from hyper_py.running.completeness_map import completeness_tasks, measure_completeness

    status = 0
    for task in completeness_tasks(config, maps or None, channels=channels):
        try:
            with _display(quiet=quiet) as on_event:
                result = measure_completeness(
                    task, plan=plan, resume=resume, columns=columns, on_event=on_event
                )
        except HyperPyError as error:
            if isinstance(error, InputError):
                typer.echo(f"error: {error}", err=True)
                status = 1
                continue
            raise
        if not quiet:
            _summarise(result, purity=purity)
    if not quiet:
        typer.echo(f"Results: {Path(config.below_root()).absolute() / 'completeness'}")
    return status


def _summarise(result: "Completeness", *, purity: float) -> None:
    """Show the limits and the number of false rows."""
    n_runs, n = result.n_runs, len(result.records)
    typer.echo(f"{result.name}: {n} sources injected in {n_runs} runs; binomial error {result.error:.3f}")
    rows: list[tuple[str, ...]] = [("sources found", "50%", "80%", "95%")]
    for shape, words in (("beam", "beam-sized"), ("own", "map's own sizes")):
        for quantity, against in (("FLUX_PEAK", "peak"), ("FLUX", "flux"), ("SNR", "S/N")):
            curve, unit = result.curve(quantity, shape=shape), result.units[quantity]
            limits = (_limit(one.value, 0.5 * (one.high - one.low)) for one in curve.limits)
            rows.append((f"{words}, {against} {unit and f'({unit})'}".rstrip(), *limits))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        texts = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        typer.echo("  ".join(["", first.ljust(widths[0]), *texts]).rstrip())
    known, (low, high) = result.purity, result.purity.expected_interval()
    typer.echo(
        f"  expected false rows: {known.expected_false():.2g} ({low:.2g} - {high:.2g}) of {len(known.rows)} "
        f"above {known.threshold:g}"
    )
    threshold = known.threshold_for(purity)
    typer.echo(
        f"  threshold for a purity of {purity:.1%}: "
        + ("not reached" if math.isnan(threshold) else f"{threshold:g}")
    )


def _limit(value: float, error: float) -> str:
    if math.isnan(value):
        return "not reached"
    return f"{value:.4g}" if math.isnan(error) else f"{value:.4g} +- {error:.2g}"


@contextmanager
def _display(*, quiet: bool) -> "Iterator[Callable[[Event], None]]":
    """Give what shows progress on a terminal, and a first answer as soon as there is one."""
    from hyper_py.running.completeness import RoundFinished

    with _progress_bar() if sys.stderr.isatty() and not quiet else nullcontext() as draw:

        def on_event(event: "Event") -> None:
            if isinstance(event, RoundFinished):
                if not quiet:
                    limit = event.result.curve("FLUX_PEAK").limit(0.8)
                    text = _limit(limit.value, 0.5 * (limit.high - limit.low))
                    typer.echo(
                        f"{event.result.name}: after {event.result.n_runs} runs: 80% of beam-sized sources "
                        f"at {text} {event.result.units['FLUX_PEAK']}; error {event.result.error:.3f}",
                        err=True,
                    )
            elif draw is not None:
                draw(event)

        yield on_event


@contextmanager
def _progress_bar() -> "Iterator[Callable[[Any], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("completeness", total=None, left="")

        def draw(event: Any) -> None:
            left = "" if math.isnan(event.seconds_left) else f"{_duration(event.seconds_left)} left"
            bar.update(shown, description=event.name, total=event.n_runs, completed=event.n_done, left=left)

        yield draw


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
