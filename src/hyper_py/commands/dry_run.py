"""What `run --dry-run` shows: the maps, about how long they take, and what would fail."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyper_py.commands.terminal import complain, say

if TYPE_CHECKING:
    from hyper_py.config import Config

_ROWS_SHOWN = 40


def show_plan(config: "Config", inputs: Sequence[str] | None) -> int:
    """Show what would run; return the exit status, 1 if some map would fail."""
    from hyper_py.running.plan import plan

    found = plan(config, inputs)
    width = max((len(one.name) for one in found.maps), default=0)
    for one in found.maps[:_ROWS_SHOWN]:
        if one.problem:
            continue
        ny, nx = one.shape
        size = f"{nx} x {ny}" + (f" x {one.n_channels}" if one.n_channels > 1 else "")
        say(f"{one.name:<{width}}  {size:>18}  about {duration(one.seconds):>7}  {one.gigabytes:.2g} GB")
    if len(found.maps) > _ROWS_SHOWN:
        say(f"and {len(found.maps) - _ROWS_SHOWN} more")
    failing = [one for one in found.maps if one.problem]
    for one in failing:
        text = one.problem if one.problem.startswith(one.name) else f"{one.name}: {one.problem}"
        complain(f"would fail: {text}")
    workers = "" if found.n_workers == 1 else f" by {found.n_workers} {found.executor}"
    say(
        f"Would run {len(found.maps) - len(failing)} of {len(found.maps)} maps{workers}: about "
        f"{duration(found.seconds)}, {found.gigabytes:.2g} GB, if crowded; sparse maps take half. "
        f"Results: {found.root}"
    )
    return 1 if failing else 0


def duration(seconds: float) -> str:
    """Return a duration with one or two digits that matter."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{max(seconds, 1.0):.0f} s"
