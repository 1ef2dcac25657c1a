"""What a stalled reader costs the server, measured on the real process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import TestCase

from tests.support.endtoend import environmentOfPrograms
from tests.support.wires import Connector, Inline, Wire, maskedFrame, reactor

LIMIT = 1 << 20
"""Bytes the server may grow by, however much waits at the partner."""

CHUNK = 1 << 16
OFFERED = 1 << 30


class Server(ProcessProtocol):
    """The server as a process of its own.

    :ivar ready: fires with its log once that many listeners are up.
    """

    def __init__(self, listeners: int) -> None:
        self.ready: Deferred[str] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._listeners = listeners
        self._log = ""

    def errReceived(self, data: bytes) -> None:
        self._log += data.decode()
        if not self.ready.called and self._log.count("listening on") == self._listeners:
            self.ready.callback(self._log)

    def processEnded(self, reason: object) -> None:
        if not self.ready.called:
            self.ready.errback(RuntimeError(self._log))
        self.ended.callback(None)


class Offer:
    """Offers far more than the server takes, as fast as it takes it.

    :ivar sent: how much of it the transport has accepted.
    """

    def __init__(self, wire: Wire) -> None:
        self.sent = 0
        self._wire = wire
        block = b"\x5a" * CHUNK
        self._block = maskedFrame(2, block) if wire.webSocket else block

    def resumeProducing(self) -> None:
        """Write one block more."""
        if self.sent < OFFERED:
            self.sent += CHUNK
            self._wire.sendRaw(self._block)

    def stopProducing(self) -> None:
        """The connection is closed."""


class MemoryTests(TestCase):
    """A reader that stalls while 1 GiB waits at its partner."""

    timeout = 300

    @inlineCallbacks
    def setUp(self) -> Inline:
        self.socket = os.path.relpath(self.mktemp())
        state = self.mktemp()
        self.server = Server(5)
        tcp = "tcp:0:interface=127.0.0.1"
        arguments = ["--accept-any-token", "--websocket", tcp, "--websocket", "tls:" + tcp]
        arguments += ["--stream", tcp, "--stream", "tls:" + tcp, "--stream", f"unix:{self.socket}"]
        environment = {**environmentOfPrograms(), "XDG_STATE_HOME": state}
        process = reactor.spawnProcess(
            self.server,
            sys.executable,
            [sys.executable, "-m", "nymearemoteproxy.running.cli", *arguments],
            env=environment,
        )
        self.pid = process.pid
        self.addCleanup(self._stop, process)
        log = yield self.server.ready
        ports = [
            int(line.rpartition(":")[2]) for line in log.splitlines() if "://127.0.0.1:" in line
        ]
        addresses: dict[str, Any] = dict(zip(("ws", "wss", "tcp", "tls"), ports, strict=True))
        self.connector = Connector({**addresses, "unix": self.socket})
        self.addCleanup(self.connector.close)

    def _stop(self, process: Any) -> Deferred[None]:
        process.signalProcess("TERM")
        return self.server.ended

    def resident(self) -> int:
        """Return the server's resident memory in bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @inlineCallbacks
    def tunnel(self, first: str, second: str, token: str) -> Inline:
        """Open a tunnel; fires with its wires."""
        wires = []
        for transport in first, second:
            wire = yield self.connector.connect(transport, opcode=2)
            wire.authenticate(token)
            yield wire.message()
            wires.append(wire)
        for wire in wires:
            yield wire.message()
        return wires

    @inlineCallbacks
    def stall(self, first: str, second: str, token: str) -> Inline:
        """Offer until nothing moves any more; fires with what was taken."""
        one, two = yield self.tunnel(first, second, token)
        two.transport.pauseProducing()
        offer = Offer(one)
        one.transport.registerProducer(offer, False)
        before = -1
        while offer.sent != before:
            before = offer.sent
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.2, turn.callback, None)
            yield turn
        one.transport.unregisterProducer()
        self.assertLess(offer.sent, OFFERED, "nothing held the sender back")
        return one, two

    @inlineCallbacks
    def check(self, first: str) -> Inline:
        for second in "ws", "wss", "tcp", "tls", "unix":
            # The first tunnel of its kind makes what all later ones use too.
            for attempt in "warm", "measured":
                resident = self.resident()
                wires = yield self.stall(first, second, attempt)
                grown = self.resident() - resident
                for wire in wires:
                    wire.transport.abortConnection()
                    yield wire.gone()
            self.assertLess(grown, LIMIT, f"{first} to {second}")

    def test_fromWs(self) -> Deferred[None]:
        return self.check("ws")

    def test_fromWss(self) -> Deferred[None]:
        return self.check("wss")

    def test_fromTcp(self) -> Deferred[None]:
        return self.check("tcp")

    def test_fromTls(self) -> Deferred[None]:
        return self.check("tls")

    def test_fromUnix(self) -> Deferred[None]:
        return self.check("unix")
