"""Messages for Python: the arguments of functions in place of the keys of the configuration file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hyper_py.diagnostics import ConfigurationError, InputError

ARGUMENTS = {
    "units.bunit": "unit=",
    "units.frequency": "frequency=",
    "survey.beam": "beam=",
    "survey.psf_pixel": "psf_pixel=",
    "set survey.psf_hdu": "give a file with one image as psf=",
    "survey.psf": "psf=",
    "survey.name": "survey=",
    "io.hdu": "hdu=",
    "io.error_hdu": "error=",
    "io.mask": "mask=",
    "io.primary_beam_corrected": "primary_beam_corrected=",
    "io.primary_beam": "primary_beam=",
    "io.fill_values": "fill_values=",
    "io.stokes": "stokes=",
    "control.max_memory": "max_memory=",
    "set control.datacube to true": "open it with hyper_py.open_cube",
}
"""What a message for the command line calls an argument, and the argument."""
_KEYS = re.compile("|".join(sorted(map(re.escape, ARGUMENTS), key=len, reverse=True)))


def in_python(message: str) -> str:
    """Return a message with arguments in place of keys.

    Examples
    --------
    >>> in_python("m: no beam: set survey.beam (major, minor, pa), survey.psf or survey.name")
    'm: no beam: set beam= (major, minor, pa), psf= or survey='
    """
    return _KEYS.sub(lambda found: ARGUMENTS[found[0]], message)


def meta_in_python(meta: dict[str, Any]) -> dict[str, Any]:
    """Return facts of a map whose texts name arguments in place of keys.

    Examples
    --------
    >>> meta_in_python({"hdu": 1, "errors": "HDU 1 is taken (io.error_hdu: null leaves it out)"})
    {'hdu': 1, 'errors': 'HDU 1 is taken (error=None leaves it out)'}
    """

    def text(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(text, value))
        if not isinstance(value, str):
            return value
        return in_python(value).replace("=: null", "=None").replace("=: [", "=[")

    return {key: text(value) for key, value in meta.items()}


@contextmanager
def arguments_named() -> Iterator[None]:
    """Name arguments in the errors of the block."""
    try:
        yield
    except (InputError, ConfigurationError) as error:
        raise type(error)(in_python(str(error))) from error.__cause__
