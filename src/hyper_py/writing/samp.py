"""Tables, maps and regions sent to other programs on this machine by SAMP: DS9, TOPCAT, Aladin, CARTA.

SAMP (Simple Application Messaging Protocol, IVOA recommendation 1.3) needs a hub; TOPCAT and Aladin start
one. Nothing leaves the machine.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hyper_py import __version__
from hyper_py.diagnostics import InputError

SECONDS = 60
"""How long a program may take to load a file."""
_NO_HUB = "no SAMP hub is running: start TOPCAT or Aladin (each has one), then send again"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One file for other programs.

    Attributes
    ----------
    kind : {"table", "image", "regions"}
    path : Path
        A VOTable, a FITS image, or a DS9 region file.
    name : str
        Shown there.
    """

    kind: str
    path: Path
    name: str

    def as_samp(self) -> dict[str, Any]:
        """Return the message as SAMP has it."""
        url = self.path.resolve().as_uri()
        if self.kind == "regions":
            return {"samp.mtype": "ds9.set", "samp.params": {"cmd": f"regions load {self.path.resolve()}"}}
        mtype = {"table": "table.load.votable", "image": "image.load.fits"}[self.kind]
        named = {"name": self.name, f"{self.kind}-id": self.path.resolve().as_uri()}
        return {"samp.mtype": mtype, "samp.params": {"url": url, **named}}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of a message at one program; `reason` is empty if it was loaded."""

    message: Message
    program: str
    reason: str = ""


def send(messages: Sequence[Message], *, to: str | None = None) -> tuple[Delivery, ...]:
    """Send files to the programs that can load them, and wait until they have.

    Parameters
    ----------
    messages : sequence of Message
    to : str, optional
        Part of the name of the program, such as "ds9"; all that can load a file if not given.

    Returns
    -------
    tuple of Delivery
        One for each message and program.

    Raises
    ------
    InputError
        If there is no hub, or no program of that name, or none that loads any of the files.
    """
    with _client() as client:
        names = {one: _name(client, one) for one in client.get_registered_clients()}
        wanted = {one: name for one, name in names.items() if to is None or to.lower() in name.lower()}
        if to is not None and not wanted:
            known = ", ".join(sorted(names.values())) or "none"
            raise InputError(f"no program named {to!r} is connected to the SAMP hub; there are: {known}")
        done = [
            Delivery(message=message, program=wanted[one], reason=_delivered(client, one, message))
            for message in messages
            for one in client.get_subscribed_clients(message.as_samp()["samp.mtype"])
            if one in wanted
        ]
    if not done:
        raise InputError("no program that loads tables, maps or regions is connected to the SAMP hub")
    return tuple(done)


@contextmanager
def _client() -> Iterator[Any]:
    """Connect to the hub."""
    samp = _library()
    client = samp.SAMPIntegratedClient(
        name="Hyper-Py", description="Source extraction", metadata={"hyper-py.version": __version__}
    )
    try:
        client.connect()
    except Exception:  # the library has an error of its own for each way in which there is no hub
        raise InputError(_NO_HUB) from None
    try:
        yield client
    finally:
        with suppress(Exception):
            client.disconnect()


def _library() -> Any:
    """Return the SAMP of astropy, or that of PyVO, to which it moves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in ("astropy.samp", "pyvo.samp"):
            with suppress(ModuleNotFoundError):
                return import_module(module)
    raise InputError("SAMP needs astropy.samp or pyvo: python -m pip install pyvo")


def _name(client: Any, one: str) -> str:
    return str(client.get_metadata(one).get("samp.name", one))


def _delivered(client: Any, one: str, message: Message) -> str:
    """Send a message to one program and return why it failed, or an empty text."""
    try:
        answer = client.call_and_wait(one, message.as_samp(), str(SECONDS))
    except Exception as error:  # as above
        return " ".join(str(error).split()) or type(error).__name__
    if answer["samp.status"] == "samp.ok":
        return ""
    return str(answer.get("samp.error", {}).get("samp.errortxt", answer["samp.status"]))
