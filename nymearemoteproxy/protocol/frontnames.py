"""Which home a visitor asks for: the names of homes, and how one is found by the name it is called.

Owns what a list of names says, and which name stands for which server. Knows nothing of TLS or
HTTP, where visitors say a name, nor of who is registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from nymearemoteproxy.protocol.hostnames import canonical, inAscii, isHostName
from nymearemoteproxy.protocol.registration import parseUuid

WILDCARD = "*."
"""How a name begins that stands for all below it, as in DNS (RFC 4592)."""


@dataclass(frozen=True)
class Home:
    """The server that a name stands for.

    :ivar isNamed: the list has the name; otherwise it is the uuid itself.
    """

    uuid: UUID
    isNamed: bool


def parseName(text: str) -> str:
    """Return the name of a host as it is compared.

    :raises ValueError: it is none.
    """
    name = inAscii(text)
    if not isHostName(name):
        raise ValueError("no host has such a name; there are letters, digits, - and . in one")
    return canonical(name)


def parseNames(entries: Iterable[tuple[int, str]]) -> Mapping[str, UUID]:
    """Read a list of homes: a name and a uuid in each line.

    A name that begins with ``*.`` stands for all names below the rest.

    :param entries: each with the number of its line.
    :raises ValueError: one of them is something else, or has a name that another one has; the text
        is one line that says which.
    """
    names: dict[str, UUID] = {}
    for number, text in entries:
        written, _, rest = text.replace("\t", " ").partition(" ")
        uuid = parseUuid(rest.strip())
        if uuid is None:
            raise ValueError(f"line {number} is not a name and a uuid")
        below = WILDCARD if written.startswith(WILDCARD) else ""
        try:
            name = below + parseName(written.removeprefix(WILDCARD))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if name in names:
            raise ValueError(f"line {number} gives a second home to a name")
        names[name] = uuid
    return names


class FrontNames:
    """The names of all homes.

    The first label below the domain is the uuid of a home, and all names below that are the home's,
    too. Of this and the wildcards that one counts which says the most of a name.

    :param names: of homes, see `parseNames`.
    :param domain: as `parseName` returns it; empty = no name is a uuid.
    """

    def __init__(self, names: Mapping[str, UUID] | None = None, domain: str = "") -> None:
        self._names = names or {}
        self._domain = domain

    def __len__(self) -> int:
        return len(self._names)

    def find(self, name: str) -> Home | None:
        """Return the home that is meant by a name, if there is one."""
        if not isHostName(name):  # nothing else is below a wildcard, nor is a home to deal with it
            return None
        name = canonical(name)
        if uuid := self._names.get(name):
            return Home(uuid, isNamed=True)
        label, _, rest = name.partition(".")
        while rest:
            if rest == self._domain and (uuid := parseUuid(label)):
                return Home(uuid, isNamed=False)
            if uuid := self._names.get(WILDCARD + rest):
                return Home(uuid, isNamed=True)
            label, _, rest = rest.partition(".")
        return None
