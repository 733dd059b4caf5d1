"""The command `completion`: scripts that complete commands, options and keys in a shell.

The scripts are fixed texts, so that a press of the tabulator starts no Python.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from hyper_py.commands.terminal import say
from hyper_py.diagnostics import ConfigurationError

PROGRAMS = ("hyper-py", "hyper_py", "hyper")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An option of a command.

    Attributes
    ----------
    names : tuple of str
        With their dashes.
    text : str
        Its help, one sentence.
    takes_value : bool
    words : tuple of str
        Values that are completed; files otherwise.
    """

    names: tuple[str, ...]
    text: str
    takes_value: bool
    words: tuple[str, ...] = ()


def completion(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="bash | zsh | fish", help="Name of the shell.")],
) -> None:
    """Print the script that completes commands, options and keys in a shell."""
    if shell not in SCRIPTS:
        raise ConfigurationError(f"completion: {shell} is not one of {', '.join(SCRIPTS)}")
    parent = context.parent
    assert parent is not None  # this command is one of the program
    commands: Any = parent.command
    texts = {name: _first_sentence(one.help or "") for name, one in commands.commands.items()}
    choices = {name: _choices(name, one) for name, one in commands.commands.items()}
    say(SCRIPTS[shell](texts, choices))


def _choices(command: str, one: Any) -> list[Choice]:
    """Return the options of a command."""
    found = []
    for parameter in one.params:
        names = tuple(name for name in parameter.opts if name.startswith("-"))
        if names:
            text = _first_sentence(getattr(parameter, "help", None) or "")
            flag = bool(getattr(parameter, "is_flag", False))
            words = _words(command, names) if not flag else ()
            found.append(Choice(names=names, text=text, takes_value=not flag, words=words))
    return [*found, Choice(names=("--help", "-h"), text="Show this message and exit", takes_value=False)]


def _words(command: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the values of an option that are known."""
    from hyper_py.commands.arguments import PRODUCTS
    from hyper_py.commands.simulate import PRESETS

    if "--preset" in names:
        return PRESETS
    if "--products" in names:
        return PRODUCTS
    if "--set" in names and command != "simulate":
        from hyper_py.checked import entries
        from hyper_py.config import Config

        return tuple(f"{key}=" for key in entries(Config) if "." in key)
    return ()


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


# ------------------------------------------------------------------------------------------------- scripts


def _bash(texts: Mapping[str, str], choices: Mapping[str, Sequence[Choice]]) -> str:
    values, options, keys = [], [], ""
    for command, own in choices.items():
        options.append(f'    {command}) words="{" ".join(name for one in own for name in one.names)}" ;;')
        for one in own:
            if not one.words:
                continue
            words = " ".join(one.words)
            if words.count("=") > 1:  # the keys of the configuration, which several commands take
                keys, words = words, "$keys"
            places = "|".join(f"{command}:{name}" for name in one.names)
            values.append(f'    {places}) words="{words}" ;;')
    names = " ".join(texts)
    return f"""_hyper_py() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command="" word words=""
  local keys="{keys}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in {"|".join(texts)}) command="$word"; break ;; esac
  done
  COMPREPLY=()
  case "$command:$before" in
{chr(10).join(values)}
  esac
  if [ -z "$words" ]; then
    case "$command" in
    "") words="{names} --help --version" ;;
{chr(10).join(options)}
    esac
    case "$current" in -*) ;; *) [ -n "$command" ] && return ;; esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case "${{COMPREPLY[*]}}" in *=) compopt -o nospace 2> /dev/null ;; esac
}}
complete -o default -F _hyper_py {" ".join(PROGRAMS)}"""


def _zsh(texts: Mapping[str, str], choices: Mapping[str, Sequence[Choice]]) -> str:
    def quoted(text: str) -> str:
        plain = text.replace("'", "’").replace("[", "(").replace("]", ")").replace(":", ",")
        return plain.replace("$", "").replace("`", "")

    def spec(one: Choice) -> list[str]:
        action = ""
        if one.takes_value:
            action = f":value:({' '.join(one.words)})" if one.words else ":file:_files"
        repeat = "*" if one.words else ""
        return [f"'{repeat}{name}[{quoted(one.text)}]{action}'" for name in one.names]

    described = " ".join(f"'{name}:{quoted(text)}'" for name, text in texts.items())
    specs = {command: " ".join(part for one in own for part in spec(one)) for command, own in choices.items()}
    cases = "\n".join(f"    {name}) _arguments -S {text} '*:file:_files' ;;" for name, text in specs.items())
    return f"""#compdef {" ".join(PROGRAMS)}
_hyper_py() {{
  local -a commands
  commands=({described})
  if (( CURRENT == 2 )); then
    _describe command commands
    _files
    return
  fi
  local command="$words[2]"
  shift words
  (( CURRENT-- ))
  case "$command" in
{cases}
    *) _files ;;
  esac
}}
compdef _hyper_py {" ".join(PROGRAMS)}"""


def _fish(texts: Mapping[str, str], choices: Mapping[str, Sequence[Choice]]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = []
    for program in PROGRAMS:
        for name, text in texts.items():
            lines.append(f"complete -c {program} -n __fish_use_subcommand -a {name} -d {quoted(text)}")
        for command, own in choices.items():
            for one in own:
                flags = " ".join(
                    f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in one.names
                )
                values = f" -a {quoted(' '.join(one.words))}" if one.words else ""
                lines.append(
                    f"complete -c {program} -n '__fish_seen_subcommand_from {command}' {flags}"
                    f"{' -r' if one.takes_value else ''}{values} -d {quoted(one.text)}"
                )
    return "\n".join(lines)


SCRIPTS: dict[str, Callable[[Mapping[str, str], Mapping[str, Sequence[Choice]]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
