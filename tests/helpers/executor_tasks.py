"""Light pieces of work for the tests of the executors, importable by name in worker processes."""

import os
import signal

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
