"""The time limits of a connection.

Owns how each is called, and its usual value. Knows nothing of how a limit is kept.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """The time limits of a connection, in seconds; their meaning is in the settings reference."""

    tlsHandshake: float = 5.0
    webSocketHandshake: float = 5.0
    inactive: float = 8.0
    authentication: float = 8.0
    alone: float = 8.0
    notificationGap: float = 0.02
    ping: float = 30.0
    pingAnswer: float = 10.0
    close: float = 10.0
