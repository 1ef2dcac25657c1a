"""What options and settings are, in words, as the code declares them.

Owns the reading of those declarations. Knows nothing of how they are written down: the reference,
the manual pages and the completion each do that in their own way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.python import usage

from nymearemoteproxy.client.options import ClientOptions
from nymearemoteproxy.monitor.options import MonitorOptions
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.settings.declarations import Setting

COMMANDS: Mapping[str, type[usage.Options]] = {
    "nymea-remoteproxy": ServerOptions,
    "nymea-remoteproxy-client": ClientOptions,
    "nymea-remoteproxy-monitor": MonitorOptions,
}
"""All commands, and what parses their options."""


@dataclass(frozen=True)
class Option:
    """One option.

    :ivar long: ``--name``.
    :ivar short: ``-n``, or empty.
    :ivar argument: what it takes, in capitals; empty when it takes nothing.
    :ivar text: what it does, as a sentence.
    """

    long: str
    short: str
    argument: str
    text: str

    @property
    def spellings(self) -> list[str]:
        """As they are typed, without the argument; the short one first."""
        return [self.short, self.long] if self.short else [self.long]


def describeOptions(options: usage.Options) -> list[Option]:
    """Return all options of a command, by name."""
    shorts = {name: f"-{short}" for short, name in options.synonyms.items() if len(short) == 1}
    rows = getattr(options, "optParameters", [])
    defaults = {name: default for name, _short, default, *_ in rows}
    described = []
    for spelling in sorted(set(options.longOpt)):
        name = spelling.rstrip("=")
        method: Callable[..., object] | None = getattr(
            options, f"opt_{name.replace('-', '_')}", None
        )
        argument = ""
        if spelling.endswith("="):
            argument = name if method is None else list(inspect.signature(method).parameters)[0]
        text = options.docs.get(name) or inspect.getdoc(method) or ""
        text = " ".join(str(text).split()).rstrip(".")
        if defaults.get(name) is not None:
            text += f" [default: {defaults[name]}]"
        if "://" not in text.partition(" ")[0]:
            text = text[:1].upper() + text[1:]
        described.append(Option(f"--{name}", shorts.get(name, ""), argument.upper(), f"{text}."))
    return described


def describeDefault(setting: Setting) -> str:
    """Return a setting's default as it would stand in the file; some need more words."""
    if "Default:" in setting.meaning:
        return "see below"
    if setting.default is None:
        return "none"
    text = setting.notation.write(setting.default)
    return f"``{text}``" if text else "empty"


def describeRange(setting: Setting) -> str:
    """Return the least and the greatest number that a setting takes; empty if it takes none."""
    ends = setting.notation.range
    return "" if ends is None else f"{ends.lowest} to {ends.highest}"
