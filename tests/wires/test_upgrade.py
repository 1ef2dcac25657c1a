"""Owns the checks of Autobahn's part in an upgrade: it decides, each time as for the first one."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import deque
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.httphead import parse
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.upgraderequest import canonical
from nymearemoteproxy.wires.upgrade import Hearing, Judge
from tests.support.inmemory import UPGRADE, InMemory

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""

UNCHANGING = str, bytes, int, float, tuple, type(None), re.Pattern, WebSocketServerFactory

FOR_FRAMES = {"Utf8Validator"}
"""Kinds of objects that no upgrade uses."""

requests = st.tuples(
    st.sampled_from([b"13", b"8"]),
    st.binary(min_size=16, max_size=16).map(base64.b64encode),
    st.sampled_from([b"", b"one", b"two"]),
)
"""Version, key, and the subprotocol that is accepted."""


def request(version: bytes, key: bytes, subprotocol: bytes) -> bytes:
    """Return a request as Autobahn gets to see it."""
    head = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: %s\r\nSec-WebSocket-Key: %s" % (version, key)
    )
    if subprotocol:
        head += b"\r\nSec-WebSocket-Protocol: " + subprotocol
    return canonical(parse(head), [subprotocol])


def expected(key: bytes, subprotocol: bytes) -> bytes:
    """Return the answer, by RFC 6455 section 4.2.2."""
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
    chosen = b"Sec-WebSocket-Protocol: %s\r\n" % subprotocol if subprotocol else b""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nServer: nymea-remoteproxy\r\n"
        b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n%sSec-WebSocket-Accept: %s\r\n\r\n"
    ) % (chosen, accept)


def frozen(value: Any) -> Any:
    """Return what can be told of a value, so that it shows when that changes."""
    if isinstance(value, Deferred):
        return value.called, list(value.callbacks)
    if isinstance(value, list | deque):
        return [frozen(each) for each in value]
    if isinstance(value, dict):
        return {key: frozen(each) for key, each in value.items()}
    if hasattr(value, "__json__"):
        return frozen(value.__json__())  # the counts of Autobahn's own statistics
    if hasattr(value, "marshal"):
        return frozen(value.marshal())  # what is told of the connection
    if type(value).__name__ in FOR_FRAMES:
        return type(value)
    if isinstance(value, UNCHANGING) or callable(value):
        return value
    raise AssertionError(f"nobody knows whether {value!r} changes")


class JudgeTests(SynchronousTestCase):
    """All upgrades of a process are decided by copies of one object of Autobahn's."""

    @given(st.lists(requests, max_size=5))
    def test_eachByItself(self, cases: list[tuple[bytes, bytes, bytes]]) -> None:
        """What one client asked for shows in the answer to no other one."""
        judge = Judge(Clock())
        for version, key, subprotocol in cases:
            hearing = judge.decide(request(version, key, subprotocol))
            self.assertTrue(hearing.isGranted)
            self.assertEqual(hearing.answer, expected(key, subprotocol))

    def test_nothingSharedChanges(self) -> None:
        """Neither a granted nor a refused request leaves anything behind."""
        judge = Judge(Clock())
        before = {name: frozen(value) for name, value in vars(judge._model).items()}
        self.assertTrue(judge.decide(request(b"13", b"A" * 22 + b"==", b"one")).isGranted)
        self.assertFalse(judge.decide(b"GET / HTTP/1.1\r\nHost: secret\r\n\r\n").isGranted)
        after = {name: frozen(value) for name, value in vars(judge._model).items()}
        self.assertEqual(before, after)

    def test_likeOneMadeAnew(self) -> None:
        """A copy has all that Autobahn gives a new one, of whatever version."""
        model = Judge(Clock())._model
        anew, copied = Hearing(model.factory), model.copied()
        self.assertEqual(vars(copied).keys(), vars(anew).keys())
        for name in vars(anew).keys() - {"factory"}:
            self.assertEqual(frozen(vars(copied)[name]), frozen(vars(anew)[name]), name)
        for name in WebSocketServerProtocol.CONFIG_ATTRS:
            self.assertEqual(getattr(copied, name), getattr(model.factory, name))
        self.assertIsNot(copied.is_open, model.is_open)


class UpgradeTests(InMemory):
    """What becomes of Autobahn's decision."""

    def test_granted(self) -> None:
        pipe = self.accept("WebSocket")
        pipe.receive(UPGRADE)
        self.assertEqual(pipe.take(), expected(b"A" * 22 + b"==", b""))
        self.assertFalse(pipe.halfClosed)

    def test_counted(self) -> None:
        """The whole connection is counted, and so are both heads, whatever the answer is."""
        for request in (UPGRADE, UPGRADE.replace(b"GET", b"PUT")):
            pipe = self.accept("WebSocket")
            pipe.receive(request)
            answer, record = pipe.take(), pipe.phase.record
            self.assertEqual((record.received, record.sent), (len(request), len(answer)))

    def test_whatAutobahnRefuses(self) -> None:
        """It has the last word, though it is asked for nothing that it does not take today."""
        self.judge._model.versions = [8]
        pipe = self.accept("WebSocket")
        pipe.receive(UPGRADE)
        self.assertTrue(pipe.take().startswith(b"HTTP/1.1 400 "))
        self.assertTrue(pipe.halfClosed)
        pipe.lose(ConnectionDone())
        self.assertOutcomes(Outcome.WEBSOCKET_HANDSHAKE_FAILED)
