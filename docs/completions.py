"""Completion for bash, from the options of each command.

Owns what can be completed behind an option. Needs the package bash-completion, which loads these
files when a command is completed for the first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from described import Option, describeOptions
from twisted.python import usage

from nymearemoteproxy.running.settings.sections import SETTINGS

FILES = "files"
"""Instead of words: names of files."""

_ENDPOINTS = ("tcp:", "ssl:", "unix:", "tls:tcp:", "tls:unix:", "tls:systemd:", "haproxy:tcp:")

_FRONTS = ("tcp:", "unix:", "systemd:", "haproxy:tcp:")
"""Not with TLS, which ends at the home."""

ARGUMENTS: Mapping[str, str | Sequence[str]] = {
    "--admin": ("tcp:", "tls:tcp:", "unix:"),
    "--ca": FILES,
    "--certificate": FILES,
    "--certificate-key": FILES,
    "--configuration": FILES,
    "--forward": ("127.0.0.1:", "unix:"),
    "--forward-http": ("127.0.0.1:", "unix:"),
    "--front": _FRONTS,
    "--front-http": _FRONTS,
    "--host": ("127.0.0.1", "::1", "0.0.0.0", "::"),
    "--logging": FILES,
    "--proxy": ("http://",),
    "--server": ("http://", "https://"),
    "--set": tuple(f"{setting.name}=" for setting in SETTINGS),
    "--socket": FILES,
    "--stream": _ENDPOINTS,
    "--token-file": FILES,
    "--url": ("wss://", "ws://", "tls://", "tcp://", "unix:"),
    "--websocket": _ENDPOINTS,
}
"""What to offer behind an option; behind others that take something there is nothing to offer."""


def _choice(option: Option) -> Iterator[str]:
    """Yield a branch: what is offered behind an option."""
    yield f"    {' | '.join(option.spellings)})"
    offer = ARGUMENTS.get(option.long, ())
    if offer == FILES:
        yield "        _filedir"
    elif offer:
        yield f"        COMPREPLY=($(compgen -W '{' '.join(offer)}' -- \"$cur\"))"
        # They are beginnings. bash takes a colon for the end of a word, so it must not be repeated.
        yield "        compopt -o nospace"
        yield '        __ltrim_colon_completions "$cur"'
    yield "        return"
    yield "        ;;"


def completion(program: str, options: usage.Options) -> str:
    """Return the script that completes a command."""
    described = describeOptions(options)
    function = "_" + program.replace("-", "_")
    words = " ".join(option.long for option in described)

    def lines() -> Iterator[str]:
        yield f"# bash completion for {program}; made by docs/manpages.py"
        yield f"{function}() {{"
        yield "    local cur prev words cword split"
        yield "    _init_completion -s -n : || return"
        yield "    case $prev in"
        for option in described:
            if option.argument:
                yield from _choice(option)
        yield "    esac"
        yield "    # The option before takes nothing, and yet got something with an equals sign"
        yield "    $split && return"
        yield f"    COMPREPLY=($(compgen -W '{words}' -- \"$cur\"))"
        yield "} &&"
        yield f"    complete -F {function} {program}"

    return "\n".join(lines()) + "\n"
