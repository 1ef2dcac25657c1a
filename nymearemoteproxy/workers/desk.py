"""All that a worker may say to its parent but what is about its own life.

Owns who takes which message. Knows nothing of what they mean.
"""

from __future__ import annotations

from typing import Protocol

from nymearemoteproxy.workers.mirror import Mirror
from nymearemoteproxy.workers.reporting import Handlers


class Clerk(Protocol):
    """Answers one worker process, as long as that lives.

    :ivar handlers: take its messages.
    """

    handlers: Handlers

    def lost(self) -> object:
        """The worker is gone."""


class Desk:
    """Those who answer one worker process.

    :param mirror: keeps the book of its connections.
    :param others: take what is not about connections.
    """

    def __init__(self, mirror: Mirror, *others: Clerk) -> None:
        self.mirror = mirror
        self._clerks: tuple[Clerk, ...] = (mirror, *others)
        self.handlers: Handlers = {}
        for clerk in self._clerks:
            self.handlers.update(clerk.handlers)

    def lost(self) -> None:
        """The worker is gone."""
        for clerk in self._clerks:
            clerk.lost()
