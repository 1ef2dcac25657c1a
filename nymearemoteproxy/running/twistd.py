"""What twistd's plugin needs: `Options` and `makeService`.

Owns what is different under twistd. Knows nothing of the service.
"""

from __future__ import annotations

from twisted.application.service import IService
from twisted.logger import globalLogPublisher

from nymearemoteproxy.common.clocks import useMonotonicClock
from nymearemoteproxy.common.logs import keepAside
from nymearemoteproxy.running import service
from nymearemoteproxy.running.options import ServerOptions

Options = ServerOptions
"""The name that twistd looks for."""


def makeService(options: ServerOptions) -> IService:
    """Return the service that `options` describe."""
    from twisted.internet import reactor

    useMonotonicClock(reactor)
    # Not earlier: then twistd's observers are there, it will not fork any more, and all that is
    # said at the start is said.
    reactor.callWhenRunning(
        reactor.callLater,
        0,
        keepAside,
        globalLogPublisher,
    )
    return service.makeService(options, reactor)
