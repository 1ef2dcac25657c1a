"""What the command line says besides settings.

Owns nothing but the words for it. Knows nothing of how options are spelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CommandLine:
    """What was given for this run.

    :ivar webSockets: endpoints to listen on, instead of the main one.
    :ivar streams: endpoints to listen on for clients without WebSocket.
    :ivar tokenFiles: instead of the one that the settings name.
    :ivar acceptAnyToken: let everybody in; for tests.
    :ivar logFile: instead of the one that the settings name.
    :ivar verbosity: how often it was asked to log more.
    :ivar inBackground: nobody would see a token that is shown.
    :ivar toJournal: a token that is shown would be kept, for others to read.
    """

    webSockets: Sequence[str] = ()
    streams: Sequence[str] = ()
    tokens: Sequence[str] = field(default=(), repr=False)
    tokenFiles: Sequence[str] = ()
    acceptAnyToken: bool = False
    logFile: str | None = None
    verbosity: int = 0
    inBackground: bool = False
    toJournal: bool = False

    @property
    def isOfService(self) -> bool:
        """True when nobody is there to be shown a token."""
        return self.inBackground or self.toJournal
