"""Light pieces of work for the tests of the executors, importable by name in worker processes."""

import os
import signal
import time

from hyper_py.stages import counter, tell


def square(number: int) -> int:
    if number == 13:
        raise ValueError("unlucky\nnumber")
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def not_picklable(number: int) -> object:
    return lambda: number


def told_square(number):
    tell("noise")
    count = counter("fits", 1000 * number)
    for _ in range(1000 * number):
        count(1)
    tell("products")
    return number**2


class Interrupting:
    """A function that is large, and presses Ctrl-C while a worker has only begun to read it."""

    def __init__(self, number=signal.SIGINT):
        self.number, self.rest = number, bytes(20_000_000)

    def __reduce__(self):
        return _interrupted, (_Pressed(self.number), self.rest)


class _Pressed:
    def __init__(self, number):
        self.number = number

    def __setstate__(self, state):
        # SIGINT comes to the whole group, as from a terminal.
        (os.killpg if state["number"] == signal.SIGINT else os.kill)(os.getppid(), state["number"])
        time.sleep(0.2)


def _interrupted(pressed, rest):
    return square
