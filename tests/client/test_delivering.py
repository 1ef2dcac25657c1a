"""How a service sees the end of a client's connection, over real TCP."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from nymearemoteproxy.client.local.delivering import Destination, LocalConnection
from tests.support.proxies import Recorder, awaited, recording

UPLOAD = b"x" * 200_000


class Client:
    """The owner of a local connection."""

    def __init__(self) -> None:
        self.isGone: Deferred[None] = Deferred()

    def waits(self, local: Any, change: int) -> None:
        """Nobody else is there."""

    def sent(self, local: Any, data: bytes) -> None:
        """The service says nothing."""

    def gone(self, local: Any, failure: Failure | None) -> None:
        self.isGone.callback(None)


class EndTests(TestCase):
    """A service gets all that came, and then the end."""

    async def ending(self, isWhole: bool) -> tuple[bytes, BaseException | None]:
        """Return what a service has got, and how its connection ended."""
        service = Recorder()
        factory = recording(lambda: service)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        client = Client()
        local = LocalConnection(reactor, client, b"")
        place = "127.0.0.1", port.getHost().port
        local.connect(Destination(TCP4ClientEndpoint(reactor, *place), "the service"))
        local.deliver(UPLOAD)
        local.finish(isWhole)
        await client.isGone
        reason = await service.lost
        return service.data, reason

    @awaited
    async def test_whole(self) -> None:
        data, reason = await self.ending(True)
        self.assertEqual(len(data), len(UPLOAD))
        self.assertIsInstance(reason, ConnectionDone)

    @awaited
    async def test_cutOff(self) -> None:
        """No orderly end; what the kernel still has may be lost."""
        _data, reason = await self.ending(False)
        self.assertIsInstance(reason, ConnectionLost)
