"""Those who want to know what becomes of connections, or how many there are.

Owns that a fault of one of them harms nobody else. Knows nothing of who they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from zope.interface import Interface

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.records import Record

log = ProxyLogger()

T = TypeVar("T")


class IObserver(Interface):
    """Wants to know what becomes of connections, beyond what can be counted at any moment."""

    def authenticated(seconds: float) -> None:
        """The authentication backend took so long to judge a token, or to fail."""

    def tunnelEnded(first: Record, second: Record | None) -> None:
        """Both ends of a tunnel are closed; `first` is the one that was closed last.

        :param second: None for a server or a client of the tunnel proxy.
        """


class Observers(list[T]):
    """All of one kind."""

    def tell(self, news: Callable[[T], object]) -> None:
        """Tell every one; what one raises is logged."""
        for observer in self:
            try:
                news(observer)
            except Exception:
                log.failure("an observer of the server failed")
