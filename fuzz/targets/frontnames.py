"""The names of homes: the operator's list and domain, and what visitors ask for.

The promises: a list is read, or it is a mistake in one line that says where; what is in it are the
names of hosts, each once, as DNS has them; capitals and a dot at the end make no difference; what
is found is what is closest to the name, and nothing is found by what is no host's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.common.lists import parseEntries
from nymearemoteproxy.protocol.frontnames import FrontNames, parseName, parseNames
from nymearemoteproxy.protocol.hostnames import canonical, inAscii, isHostName
from nymearemoteproxy.protocol.registration import parseUuid

_ENDS = b"\0"
"""Ends the domain, and the name that is asked for; the rest is the list."""


def check(data: bytes) -> None:
    first, _, rest = data.partition(_ENDS)
    asked, _, content = rest.partition(_ENDS)
    domain = _domain(first.decode("utf-8", "surrogateescape"))
    try:
        entries = parseEntries(content)
    except ValueError:
        entries = []
    try:
        names = parseNames(entries)
    except ValueError as mistake:
        assert isLine(str(mistake)) and str(mistake).startswith("line "), "nobody says where"
        names = {}
    else:
        assert len(names) == len(entries), "a name stands for two homes"
    for name in names:
        _checkName(name.removeprefix("*."))
    home = _checkFound(FrontNames(names, domain), asked.decode("ascii", "replace"))
    assert home == _closest(names, domain, asked), "another home is found"


def _domain(text: str) -> str:
    try:
        domain = parseName(text)
    except ValueError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
        return ""
    _checkName(domain)
    return domain


def _checkName(name: str) -> None:
    """It is what DNS has, and stays so."""
    assert name.isascii() and name == name.lower() and 0 < len(name) <= 253
    assert all(0 < len(label) <= 63 for label in name.split("."))
    assert isHostName(name) and canonical(name) == name and inAscii(name) == name


def _checkFound(names: FrontNames, asked: str) -> UUID | None:
    home = names.find(asked)
    if not asked.endswith("."):
        assert names.find(f"{asked}.") == home, "a dot at the end makes a difference"
    assert names.find(asked.swapcase()) == home, "capitals make a difference"
    return home and home.uuid


def _closest(names: Mapping[str, UUID], domain: str, asked: bytes) -> UUID | None:
    """Return the home that is meant, by trying whatever could match."""
    labels = asked.lower().removesuffix(b".").split(b".")
    for label in labels:
        if not label.replace(b"-", b"a").isalnum() or label != label.strip(b"-") or label[63:]:
            return None
    name = b".".join(labels).decode()
    if len(name) > 253:
        return None
    found = {len(name) + 1: uuid for each, uuid in names.items() if each == name}
    for each, uuid in names.items():
        if each.startswith("*.") and name.endswith(each[1:]):
            found.setdefault(len(each) - 2, uuid)
    if domain and name.endswith(f".{domain}"):
        label = name.removesuffix(f".{domain}").split(".")[-1]
        if uuid := parseUuid(label):
            found.setdefault(len(domain) + 1, uuid)
    return found[max(found)] if found else None


TARGET = Target(
    check,
    covers=("protocol.frontnames", "protocol.hostnames"),
    planted=(
        Planted("protocol/hostnames.py", "re.ASCII | re.I)", "re.I)"),
        Planted("protocol/hostnames.py", 'name.lower().removesuffix(".")', "name.lower()"),
        Planted("protocol/hostnames.py", "len(name) <= LONGEST_NAME and ", ""),
        Planted("protocol/frontnames.py", "if name in names:", "if written in names:"),
        Planted("protocol/frontnames.py", "if not isHostName(name):  #", "if not name:  #"),
        Planted(
            "protocol/frontnames.py",
            "if rest == self._domain and",
            "if rest.endswith(self._domain) and",
        ),
        Planted(
            "protocol/frontnames.py",
            "if uuid := self._names.get(WILDCARD + rest):",
            "if uuid := self._names.get(WILDCARD + rest) or self._names.get(rest):",
        ),
    ),
    words=(
        b"1b9a8e44-0000-4000-8000-000000000001",
        b"1b9a8e44-0000-4000-8000-000000000002\n",
        b"*.",
        b"homes.example",
        b"xn--bcher-kva",
        "bücher".encode(),
        "ı".encode(),
        "。".encode(),
    ),
)
