"""What twistd's plugin needs: `Options` and `makeService`."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.logger import globalLogPublisher

from nymearemoteproxy.common.clocks import useMonotonicClock
from nymearemoteproxy.common.logs import keepAside
from nymearemoteproxy.running import service
from nymearemoteproxy.running.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Return the service that `options` describe."""
    from twisted.internet import reactor

    useMonotonicClock(reactor)
    # Not earlier: then twistd's observers are there, it will not fork any more, and all that is
    # said at the start is said.
    reactor.callWhenRunning(  # type: ignore[attr-defined]
        reactor.callLater,  # type: ignore[attr-defined]
        0,
        keepAside,
        globalLogPublisher,
    )
    return service.makeService(options, reactor)
