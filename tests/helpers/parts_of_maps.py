"""Functions of parts of maps; other processes can import this module."""

import os
import signal


def dying_once(data, marker, *, at=13):
    """Return a function of numbers that ends the first other process in which it is given one of them."""
    own = os.getpid()

    def of_item(k):
        if k == at and os.getpid() != own and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return k, data[k:].sum(), os.getpid()

    return of_item


def reciprocal(k):
    """Return 1 / (k - 7)."""
    return 1 / (k - 7)


def deadly(own, *, at=5):
    """Return a function that ends each other process that is given a number."""

    def of_item(k):
        if k == at and os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return k

    return of_item
