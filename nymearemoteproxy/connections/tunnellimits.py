"""How fast a tunnel may be, how long silent, and how old.

Owns these numbers. Knows nothing of who keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TunnelLimits:
    """The limits of a tunnel; 0 = none.

    :ivar rate: bytes a second in each direction.
    :ivar totalRate: bytes a second that all tunnels of this process relay together.
    :ivar idleTimeout: seconds in which something has to be relayed.
    :ivar maxAge: seconds after its beginning.
    """

    rate: float = 0.0
    totalRate: float = 0.0
    idleTimeout: float = 0.0
    maxAge: float = 0.0
