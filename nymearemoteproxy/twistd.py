"""What twistd's plugin needs: `Options` and `makeService`."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.logger import globalLogPublisher

from nymearemoteproxy import service
from nymearemoteproxy.clocks import useMonotonicClock
from nymearemoteproxy.logs import keepAside
from nymearemoteproxy.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Return the service that `options` describe."""
    from twisted.internet import reactor

    useMonotonicClock(reactor)
    # Not earlier: now twistd's observers are there, and it will not fork any more.
    reactor.callWhenRunning(keepAside, globalLogPublisher)  # type: ignore[attr-defined]
    return service.makeService(options, reactor)
