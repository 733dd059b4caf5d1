"""Completion in shells: what the scripts offer when a shell runs them."""

import shutil
import subprocess

import pytest

from hyper_py.commands.completion import PROGRAMS


@pytest.fixture
def script(hyper):
    def make(shell):
        status, out, err = hyper("completion", shell)
        assert (status, err) == (0, "")
        return out

    return make


def run_in(shell, text):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([path, "-c", text], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.split()


def offered(script, *words):
    """What bash offers for the last of some words."""
    line = " ".join(f"'{word}'" for word in words)
    call = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _hyper_py"
    return run_in("bash", f'{script}\n{call}; printf "%s\\n" "${{COMPREPLY[@]}}"')


def test_bash_completes_commands_options_and_values(script):
    text = script("bash")
    assert offered(text, "hyper-py", "com") == ["completeness", "completion"]
    assert offered(text, "hyper-py", "run", "--pro") == ["--products"]
    assert offered(text, "hyper-py", "run", "a.fits", "--set", "detection.sigma") == [
        "detection.sigma_thres="
    ]
    assert "crowded" in offered(text, "hyper-py", "simulate", "--preset", "")
    assert offered(text, "hyper-py", "run", "ma") == []  # bash completes files then


def test_zsh_accepts_its_script(script):
    assert run_in("zsh", f"compdef() {{ print $# }}\n{script('zsh')}\nwhence -w _hyper_py") == [
        str(1 + len(PROGRAMS)), "_hyper_py:", "function",
    ]  # fmt: skip


def test_fish_completes_commands_and_options(script):
    text = script("fish")
    assert run_in("fish", f"{text}\ncomplete -C 'hyper-py comple' | string split -f 1 \\t") == [
        "completeness", "completion",
    ]  # fmt: skip
    assert "--products" in run_in("fish", f"{text}\ncomplete -C 'hyper-py run --prod'")


def test_a_shell_that_is_not_known(hyper):
    assert hyper("completion", "csh") == (2, "", "error: completion: csh is not one of bash, zsh, fish\n")
