"""The command `completeness`: sources injected into maps, and recovered."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyper_py.commands.arguments import (
    SHORT_OPTIONS,
    Beam,
    Error,
    Output,
    Overrides,
    Quiet,
    Unit,
    configuration,
    overrides_of_map,
    overrides_of_run,
    with_options,
)
from hyper_py.commands.terminal import complain, say, shows_progress
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.names import printable

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.injection.bands import BandsCompleteness
    from hyper_py.injection.completeness import Completeness
    from hyper_py.injection.plan import InjectionPlan
    from hyper_py.running.completeness import Event


_LEAST_SHARE = 0.7
"""Of the expected signal to noise that the catalogue's has as a rule: 0.9."""


def completeness(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG.yaml | MAP.fits ...",
            help="As for `run`. For cubes, choose the channels with --channel.",
        ),
    ] = None,
    output: Output = None,
    precision: Annotated[
        float,
        typer.Option(
            "--precision", help="Largest binomial error of the completeness in the bins where it rises."
        ),
    ] = 0.02,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 1,
    positions: Annotated[
        str,
        typer.Option(
            "--positions",
            metavar="random|like-sources",
            help="Where to inject; like-sources: with neighbours as close as those of the map's own sources.",
        ),
    ] = "random",
    max_runs: Annotated[
        int, typer.Option("--max-runs", min=1, help="Largest number of pipeline runs with injected sources.")
    ] = 400,
    channels: Annotated[
        list[int] | None, typer.Option("--channel", min=1, help="Channel of a cube, from 1. Repeatable.")
    ] = None,
    purity: Annotated[
        float, typer.Option("--purity", min=0.0, max=1.0, help="Report the threshold that gives this purity.")
    ] = 0.99,
    bands: Annotated[
        bool,
        typer.Option(
            "--bands", help="The maps are bands of one field, searched together as by `hyper-py bands`."
        ),
    ] = False,
    columns: Annotated[
        bool,
        typer.Option(
            "--columns", help="Also write the catalogue with the columns COMPLETENESS, P_TRUE and FLUX_BIAS."
        ),
    ] = False,
    overrides: Overrides = None,
    beam: Beam = None,
    error: Error = None,
    unit: Unit = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Number of runs in parallel (control.n_cores).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Reuse the runs of an earlier command.")] = False,
    quiet: Quiet = False,
) -> None:
    """Estimate the completeness, purity and flux bias of a catalogue by injecting sources into the map."""
    chosen = overrides_of_run(overrides, output=output, jobs=jobs)
    chosen += overrides_of_map(beam=beam, error=error, unit=unit)
    config, maps = configuration(inputs or [], chosen)

    from hyper_py.injection.plan import InjectionPlan

    plan = InjectionPlan(precision=precision, seed=seed, positions=positions, max_runs=max_runs)
    if bands:
        if channels or columns or positions != "random":
            raise ConfigurationError("--bands: leave --channel, --columns and --positions out")
        _estimate_bands(config, maps, plan=plan, resume=resume, quiet=quiet)
        return
    status = _estimate(
        config, maps, plan=plan, channels=channels, resume=resume, columns=columns, purity=purity, quiet=quiet
    )
    raise typer.Exit(status)


def _estimate(
    config: "Config", maps: list[str], *, plan: "InjectionPlan", channels: list[int] | None, resume: bool,
    columns: bool, purity: float, quiet: bool,
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
        except InputError as error:
            complain(f"error: {with_options(str(error), SHORT_OPTIONS)}")
            status = 1
            continue
        if not quiet:
            _summarise(result, purity=purity)
    if not quiet:
        say(f"Results: {Path(config.below_root()).absolute() / 'completeness'}")
    return status


def _estimate_bands(
    config: "Config", maps: list[str], *, plan: "InjectionPlan", resume: bool, quiet: bool
) -> None:
    """Estimate the completeness of fields in several bands, and show the limits."""
    from hyper_py.running.completeness_bands import measure_bands_completeness

    def on_round(result: "BandsCompleteness") -> None:
        if not quiet:
            limit = result.curves["SNR"].limit(0.8)
            text = limit_text(limit.value, 0.5 * (limit.high - limit.low))
            say(
                f"{result.name}: after {result.n_runs} runs: 80% at a joint S/N of {text}; error "
                f"{result.error:.3f}",
                err=True,
            )

    for result in measure_bands_completeness(
        config, maps or None, plan=plan, resume=resume, on_round=on_round
    ):
        if quiet:
            continue
        say(
            f"{result.name}: {len(result.records)} sources injected in {result.n_runs} runs; binomial error "
            f"{result.error:.3f}"
        )
        rows: list[tuple[str, ...]] = [("sources found", "50%", "80%", "95%")]
        for name, curve in result.curves.items():
            unit = result.units[name]
            limits = (limit_text(one.value, 0.5 * (one.high - one.low)) for one in curve.limits)
            rows.append(("joint S/N" if name == "SNR" else f"{name} ({unit})", *limits))
        _show_rows(rows)
        for one in result.accuracy:
            say(
                f"  {one.band}: flux bias {one.bias:+.1%}, scatter {one.scatter:.1%}, pull width "
                f"{one.pull_width:.2f} of {one.n} sources with a joint S/N from 8"
            )
        say(f"  rows on the inverted maps: {result.n_inverted}; catalogue: {len(result.extraction.sources)}")
    if not quiet:
        say(f"Results: {Path(config.below_root()).absolute() / 'completeness'}")


def _show_rows(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        texts = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        say("  ".join(["", first.ljust(widths[0]), *texts]).rstrip())


def _summarise(result: "Completeness", *, purity: float) -> None:
    """Show the limits and the number of false rows."""
    n_runs, n = result.n_runs, len(result.records)
    say(f"{result.name}: {n} sources injected in {n_runs} runs; binomial error {result.error:.3f}")
    rows: list[tuple[str, ...]] = [("sources found", "50%", "80%", "95%")]
    for shape, words in (("beam", "beam-sized"), ("own", "map's own sizes")):
        for quantity, against in (("FLUX_PEAK", "peak"), ("FLUX", "flux"), ("SNR", "S/N")):
            curve, unit = result.curve(quantity, shape=shape), result.units[quantity]
            limits = (limit_text(one.value, 0.5 * (one.high - one.low)) for one in curve.limits)
            rows.append((f"{words}, {against} {unit and f'({unit})'}".rstrip(), *limits))
    _show_rows(rows)
    if result.catalogue_snr_share < _LEAST_SHARE:
        say(
            "  S/N above is that of the optimal filter; the catalogue's SNR is "
            f"{result.catalogue_snr_share:.2f} times as large on this map: take limits in flux"
        )
    known, (low, high) = result.purity, result.purity.expected_interval()
    say(
        f"  expected false rows: {known.expected_false():.2g} ({low:.2g} - {high:.2g}) of {len(known.rows)} "
        f"above {known.threshold:g}"
    )
    threshold = known.threshold_for(purity)
    say(
        f"  threshold for a purity of {purity:.1%}: "
        + ("not reached" if math.isnan(threshold) else f"{threshold:g}")
    )


def limit_text(value: float, error: float) -> str:
    """Return a limit with its error as text; NaN is one that is not reached."""
    if math.isnan(value):
        return "not reached"
    return f"{value:.4g}" if math.isnan(error) else f"{value:.4g} +- {error:.2g}"


@contextmanager
def _display(*, quiet: bool) -> "Iterator[Callable[[Event], None]]":
    """Give what shows progress on a terminal, and a first answer as soon as there is one."""
    from hyper_py.running.completeness import RoundFinished

    with _progress_bar() if shows_progress() and not quiet else nullcontext() as draw:

        def on_event(event: "Event") -> None:
            if isinstance(event, RoundFinished):
                if not quiet:
                    limit = event.result.curve("FLUX_PEAK").limit(0.8)
                    text = limit_text(limit.value, 0.5 * (limit.high - limit.low))
                    say(
                        f"{event.result.name}: after {event.result.n_runs} runs: 80% of beam-sized sources "
                        f"at {text} {event.result.units['FLUX_PEAK']}; error {event.result.error:.3f}",
                        err=True,
                    )
            elif draw is not None:
                draw(event)

        yield on_event


@contextmanager
def _progress_bar() -> "Iterator[Callable[[Any], None]]":
    """Yield the function that draws the runs that are done, and the time that is left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),  # a name may have brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("completeness", total=None, left="")

        def draw(event: Any) -> None:
            left = "" if math.isnan(event.seconds_left) else f"{_duration(event.seconds_left)} left"
            with suppress(OSError):  # the terminal may be gone
                bar.update(
                    shown, description=printable(event.name), total=event.n_runs, completed=event.n_done,
                    left=left,
                )  # fmt: skip

        yield draw


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
