"""What tests of the command line share."""

from collections.abc import Callable

SMALL = ("--set", "shape=[96, 120]", "--set", "n_sources=6", "--set", "peak_range=[30, 60]")
"""A small map for the command `simulate`."""

Outcome = tuple[int, str, str]
Hyper = Callable[..., Outcome]
"""The program: arguments in; exit status, stdout and stderr out."""
