"""Which addresses are this machine itself.

Owns that for IP addresses. Knows nothing of names, sockets or URLs.
"""

from __future__ import annotations

import ipaddress


def isLoopback(host: str) -> bool:
    """Tell whether text is an IP address of this machine itself; no name is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
