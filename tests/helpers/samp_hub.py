"""A SAMP hub of its own, and a program that keeps what it is sent."""

import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse


def library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import astropy.samp as samp
        except ModuleNotFoundError:
            import pyvo.samp as samp
    return samp


@contextmanager
def hub(folder, monkeypatch):
    """Start a hub that is found through a lock file in `folder`."""
    lock = folder / "samp.lock"
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{lock.as_uri()}")
    server = library().SAMPHubServer(web_profile=False, lockfile=str(lock), addr="127.0.0.1")
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Program:
    """Is connected to the hub, and keeps each message with the bytes of its file."""

    def __init__(self, name, mtypes, *, refuse=False):
        self.received = []
        self.refuse = refuse
        self.client = library().SAMPIntegratedClient(name=name, addr="127.0.0.1")
        self.client.connect()
        for mtype in mtypes:
            self.client.bind_receive_call(mtype, self._receive)

    def _receive(self, private_key, sender, message_id, mtype, params, extra):
        if self.refuse:
            answer = {
                "samp.status": "samp.error",
                "samp.result": {},
                "samp.error": {"samp.errortxt": "not today"},
            }
        else:
            url = params.get("url")
            content = Path(unquote(urlparse(url).path)).read_bytes() if url else params["cmd"].encode()
            self.received.append((mtype, params.get("name", ""), content))
            answer = {"samp.status": "samp.ok", "samp.result": {}}
        time.sleep(0.2)  # the hub of astropy loses an answer that is there before it has noted the question
        self.client.reply(message_id, answer)

    def close(self):
        self.client.disconnect()
