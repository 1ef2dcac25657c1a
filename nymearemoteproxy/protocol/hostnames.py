"""What is the name of a host, and how DNS writes it.

Owns that for the server and for its client. Knows nothing of who has a name.
"""

from __future__ import annotations

import re

import idna

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII | re.I)
"""RFC 1123 section 2.1."""

LONGEST_NAME = 253
"""Characters (RFC 1035 section 2.3.4, without the length of the first label and the root)."""


def inAscii(name: str) -> str:
    """Return an international name as DNS has it (RFC 5891); what is none stays as it is."""
    if name.isascii() or len(name) > LONGEST_NAME:
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return name


def isHostName(text: str) -> bool:
    """Tell whether it is a name in ASCII, perhaps with the dot of the root behind it."""
    name = text.removesuffix(".")
    return len(name) <= LONGEST_NAME and all(map(_LABEL.fullmatch, name.split(".")))


def canonical(name: str) -> str:
    """Return a name as it is compared: DNS knows no capitals (RFC 4343), and a dot may end it."""
    return name.lower().removesuffix(".")
