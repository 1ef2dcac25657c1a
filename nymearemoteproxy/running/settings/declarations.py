"""How settings are declared: as the fields of a dataclass, one for each section.

Owns what is told of a setting besides its name and type. Knows nothing of any particular one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from nymearemoteproxy.running.settings.notations import Notation, Value


def declared(
    notation: Notation[Value],
    default: Value,
    meaning: str,
    *,
    atStart: bool = False,
    hidden: bool = False,
) -> Value:
    """Return a field of a section.

    :param meaning: one or two sentences, for the documentation.
    :param atStart: a change takes effect with the next start; otherwise with SIGHUP.
    :param hidden: a wrong value may hold a secret, so that it is not repeated.
    """
    more = {"notation": notation, "meaning": meaning, "atStart": atStart, "hidden": hidden}
    return field(default=default, metadata=more)


def dependent(notation: Notation[Value], meaning: str, *, atStart: bool = False) -> Value | None:
    """Return a field whose default depends on something else, which `meaning` explains."""
    more = {"notation": notation, "meaning": meaning, "atStart": atStart, "hidden": False}
    return field(default=None, metadata=more)


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting, for whoever goes through all of them.

    The parameters are those of `declared`; the default of `dependent` is None.
    """

    section: str
    key: str
    default: Any
    notation: Notation[Any]
    meaning: str
    atStart: bool
    hidden: bool

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def kind(self) -> str:
        """What to write, in words."""
        return self.notation.kind


def settingsOf(section: type[Any]) -> Iterator[Setting]:
    """Yield the declarations of a section."""
    for each in fields(section):
        yield Setting(section.__name__, each.name, each.default, **each.metadata)


def label(section: str, key: str) -> str:
    """Return what a setting, or a section, is called where people read it."""
    return shown(f"[{section}] {key}".rstrip())


def shown(name: str) -> str:
    """Return what an operator wrote so that it can do nothing to a terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]
