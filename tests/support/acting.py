"""Actions of an operator, on a server that only remembers what it was asked for."""

from __future__ import annotations

from typing import Any

from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.watching.actions import Actions
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.lastreload import LastReload


class ActedOn:
    """A server that is reloaded and drained.

    :ivar condition: may be set.
    :ivar mistakes: of the reloads that are to come.
    :ivar lastReload: what became of the last one.
    :ivar reloads: how often it was asked for one.
    :ivar drains: how often it was asked to drain.
    """

    def __init__(self, clock: Any, registry: Registry) -> None:
        self.condition = Condition.READY
        self.mistakes = self.reloads = self.drains = 0
        self.lastReload: LastReload | None = None
        self._clock = clock
        self.actions = Actions(
            clock,
            registry,
            lambda: self.condition,
            self._reload,
            self._drain,
            lambda: self.lastReload,
        )

    def _reload(self) -> None:
        self.reloads += 1
        self.lastReload = LastReload(self._clock.seconds(), self.mistakes)

    def _drain(self) -> None:
        self.drains += 1
