"""What is printed, whatever the text and whatever becomes of the terminal."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

import hyper_py
from hyper_py.commands.terminal import complain, say, shows_progress

SOURCE = Path(hyper_py.__file__).parents[1]


def test_control_characters_are_escaped_and_lines_stay(capsys):
    say("a\x1b[2Jb\nc\td")
    complain("one", "two\r")
    assert capsys.readouterr() == ("a%1B[2Jb\nc\td\n", "one\ntwo%0D\n")


def test_what_a_terminal_has_no_letters_for_is_escaped(monkeypatch):
    code = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(code, encoding="ascii"))
    say("5 µm")
    sys.stdout.flush()
    assert code.getvalue() == b"5 \\xb5m\n"


@pytest.mark.parametrize(
    ("is_terminal", "environment", "shown"),
    [
        (True, {"TERM": "xterm-256color"}, True),
        (False, {"TERM": "xterm-256color"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm-color", "JPY_PARENT_PID": "17"}, False),
    ],
)
def test_lines_are_redrawn_on_terminals_only_and_not_in_notebooks(
    monkeypatch, is_terminal, environment, shown
):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    assert shows_progress() == shown


@pytest.mark.parametrize(("closed", "shown"), [("1", b"end"), ("2", b"")])
def test_streams_that_the_shell_has_closed_lead_nowhere(tmp_path, closed, shown):
    """The next file to be opened must not become the standard output."""
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
        "from hyper_py.commands.terminal import open_standard_streams, say\n"
        "open_standard_streams()\n"
        "with open('file', 'w') as file:\n"
        "    say('lost'); say('end', err=True); file.write('kept')\n"
    )
    (tmp_path / "program.py").write_text(program)
    command = ["sh", "-c", f'exec "$0" program.py {closed}>&-', sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "file").read_text() == "kept"
    assert done.stderr.strip() == shown
    assert done.stdout.strip() == (b"" if closed == "1" else b"lost")


def test_a_reader_that_has_gone_ends_nothing(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
        "from hyper_py.commands.terminal import say\n"
        "for i in range(20_000): say(i)\n"
        "open('done', 'w').close()\n"
    )
    (tmp_path / "program.py").write_text(program)
    command = ["sh", "-c", '"$0" program.py | head -n 1', sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"0\n", b"")
    assert (tmp_path / "done").exists()
