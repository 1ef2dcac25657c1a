"""How addresses are spelled for people.

Owns the text of a client's address and of a place where the server listens. Knows nothing of what
privacy leaves of either.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.interfaces import IAddress


def describeAddress(address: IAddress) -> tuple[str | None, str]:
    """Return an address's host, None where it has none, and its text for people."""
    host = getattr(address, "host", None)
    if host is None:
        return None, "unix"
    port = getattr(address, "port", 0)
    mapped = host.removeprefix("::ffff:")
    if ":" not in mapped:
        host = mapped  # IPv4 on a socket that takes both
    return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def describePlace(scheme: str, address: Any, path: str = "") -> str:
    """Return the URL of a listener; for a Unix socket where that is, without scheme and path."""
    host, text = describeAddress(address)
    if host is None:
        name = os.fsencode(address.name or b"").decode(errors="backslashreplace")
        return "unix:" + name.replace("\0", "@", 1)  # an abstract one, see unix(7)
    return f"{scheme}://{text}{path}"
