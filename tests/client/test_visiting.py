"""What a service is told of its clients, and where visitors of a front door get to, in memory."""

from __future__ import annotations

import os
from dataclasses import replace

from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.local.delivering import LINGER, PIECE, Destination
from nymearemoteproxy.client.local.serving import MAX_QUEUE, MAX_QUEUES, STALL, LocalService
from nymearemoteproxy.client.local.visiting import FIRST_BYTE
from nymearemoteproxy.protocol.slip import encode
from tests.client.test_serving import WHERE, ServingMixin, connected, disconnected, paused
from tests.support.nearby import Endpoint, Line

FOUR = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07" + bytes(8)
"""The header of a client from 192.0.2.7."""

HELLO = b"\x16\x03\x01\x02\x00\x01"
CHALLENGE = b"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: home\r\n\r\n"
HTTP_WHERE = "127.0.0.1:80"


class HeaderTests(ServingMixin, SynchronousTestCase):
    """Each connection begins with where the client comes from."""

    def setUp(self) -> None:
        self.begin()

    def service(self) -> LocalService:
        return replace(super().service(), getsHeader=True)

    def test_first(self) -> None:
        """Whether the client speaks first or the service; once, and at once."""
        self.receive(connected(1, peer="192.0.2.7"), encode(1, b"early"))
        early = self.services.succeed()
        self.receive(encode(1, b" bird"), connected(2, peer="192.0.2.7"))
        silent = self.services.succeed()
        self.assertEqual((early.value(), silent.value()), (FOUR + b"early bird", FOUR))

    def test_ofEach(self) -> None:
        heads = []
        for address, peer in enumerate(("192.0.2.7", "2001:db8::7", ""), 1):
            self.receive(connected(address, peer=peer))
            heads.append(self.services.succeed().value()[12:16])
        self.assertEqual(heads, [b"\x21\x11\x00\x0c", b"\x21\x21\x00\x24", b"\x20\x00\x00\x00"])

    def test_countsForNoLimit(self) -> None:
        """Though a queue is full to its last byte."""
        self.receive(connected(1))
        data = os.urandom(MAX_QUEUE)
        for start in range(0, MAX_QUEUE, PIECE):
            self.receive(encode(1, data[start : start + PIECE]))
        self.assertFalse(self.proxy.isPaused)
        service = self.services.succeed()
        self.assertTrue(service.value().endswith(data))
        self.assertEqual((self.serving._waiting, self.proxy.isPaused), (0, False))

    def test_nobodyToTellOf(self) -> None:
        """Who leaves before the service is reached."""
        self.receive(connected(1), disconnected(1))
        self.assertEqual((self.services.cancelled, self.said), (1, []))


class VisitorTests(ServingMixin, SynchronousTestCase):
    """With a service for plain HTTP."""

    def setUp(self) -> None:
        self.http = Endpoint()
        self.begin()

    def service(self) -> LocalService:
        http = Destination(self.http, HTTP_WHERE)  # type: ignore[arg-type]
        return replace(super().service(), getsHeader=True, http=http)

    def visit(self, address: int, *parts: bytes) -> None:
        """A visitor comes, and sends this."""
        self.receive(connected(address, "front", "192.0.2.7"))
        self.receive(*(encode(address, part) for part in parts))

    def attempts(self) -> tuple[int, int]:
        """Return how many connections there were, to the service and to that for HTTP."""
        return len(self.services.attempts), len(self.http.attempts)

    def test_byTheFirstByte(self) -> None:
        """Which may come alone, or late; before it nobody is disturbed."""
        for address, first in ((1, HELLO[:1]), (2, CHALLENGE[:1])):
            before = self.attempts()
            self.visit(address, b"")
            self.assertEqual(self.attempts(), before)
            self.receive(encode(address, first))
        self.assertEqual(self.attempts(), (1, 1))
        self.receive(encode(1, HELLO[1:]), encode(2, CHALLENGE[1:]))
        self.assertEqual(self.attempts(), (1, 1))
        self.assertEqual(self.services.succeed().value(), FOUR + HELLO)
        self.assertEqual(self.http.succeed().value(), CHALLENGE)

    def answered(self, first: bytes, services: Endpoint) -> Line:
        """Return a visitor's service, after a question and an answer."""
        self.visit(1, first)
        line = services.succeed()
        line.protocol.dataReceived(b"answer")
        self.assertEqual(self.sent().data, {1: b"answer"})
        return line

    def test_answers(self) -> None:
        for first, services in ((HELLO, self.services), (CHALLENGE, self.http)):
            line = self.answered(first, services)
            self.receive(disconnected(1))
            self.assertTrue(line.disconnecting)
            line.lose()
            self.assertEqual(self.sent().calls, [])

    def test_others(self) -> None:
        """Who did not come by the front door has the service, and whatever speaks first there."""
        self.receive(connected(1, "my phone", "192.0.2.7"))
        self.assertEqual(self.attempts(), (1, 0))
        self.receive(encode(1, CHALLENGE))
        self.assertEqual(self.services.succeed().value(), FOUR + CHALLENGE)

    def test_leavesWithoutAWord(self) -> None:
        self.visit(1)
        self.receive(disconnected(1))
        self.assertEqual((self.serving._clients, self.serving._leaving), ({}, set()))
        self.assertEqual((self.attempts(), self.said, self.sent().calls), ((0, 0), [], []))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the heartbeat

    def test_silent(self) -> None:
        """Who says nothing is sent away, and nothing is said of it; who has begun has time."""
        self.visit(1)
        self.visit(2, HELLO[:1])
        self.visit(3, CHALLENGE[:1])
        self.services.succeed()
        self.clock.advance(FIRST_BYTE - 1)
        self.assertEqual(sorted(self.serving._clients), [1, 2, 3])
        self.clock.advance(1)
        self.assertEqual(sorted(self.serving._clients), [2, 3])
        self.assertIn(("DisconnectClient", 1), self.sent().calls)
        self.assertEqual((self.attempts(), self.said), ((1, 1), []))

    def test_leavesAfterItsQuestion(self) -> None:
        """It is delivered, though the service is reached only then."""
        self.visit(1, CHALLENGE)
        self.receive(disconnected(1))
        service = self.http.succeed()
        self.assertEqual((service.value(), service.disconnecting), (CHALLENGE, True))

    def test_proxyLeaves(self) -> None:
        """What a visitor has said still gets there, if that is reached in time."""
        self.visit(1, CHALLENGE)
        self.proxy.lose()
        self.assertEqual(self.http.cancelled, 0)
        self.clock.advance(LINGER)
        self.assertEqual((self.http.cancelled, self.clock.getDelayedCalls()), (1, []))

    def test_slowVisitor(self) -> None:
        """What the proxy says of it before its first byte is heeded after it."""
        self.visit(1)
        self.receive(paused(1), encode(1, HELLO))
        self.assertTrue(self.services.succeed().isPaused)

    def test_refused(self) -> None:
        """It is said of the service that is meant."""
        for address, first, services in ((1, CHALLENGE, self.http), (2, HELLO, self.services)):
            self.visit(address, first)
            services.fail(ConnectionRefusedError())
        self.assertEqual(
            self.said,
            [
                f"cannot connect to the service at {where}: connection refused"
                for where in (HTTP_WHERE, WHERE)
            ],
        )
        self.assertEqual(self.sent().calls, [("DisconnectClient", 1), ("DisconnectClient", 2)])

    def test_oneIsDown(self) -> None:
        """It is said once, though the other one answers in between."""
        for _ in range(3):
            self.visit(1, CHALLENGE)
            self.http.fail(ConnectionRefusedError())
            self.visit(2, HELLO)
            self.services.succeed().lose()
        told = f"cannot connect to the service at {HTTP_WHERE}: connection refused"
        self.assertEqual(self.said, [told])
        self.visit(1, CHALLENGE)
        self.http.succeed().lose()
        self.visit(1, CHALLENGE)
        self.http.fail(ConnectionRefusedError())
        self.assertEqual(self.said, [told] * 2)  # it had come back, so this is news

    def test_stalled(self) -> None:
        self.visit(1, CHALLENGE)
        self.visit(2, HELLO)
        self.http.succeed().full = True
        for _ in range(MAX_QUEUES // MAX_QUEUE):
            self.receive(encode(1, bytes(MAX_QUEUE)))
        for _ in range(2):
            self.clock.advance(STALL)
        told = f"the service at {HTTP_WHERE} does not read what a client sends"
        self.assertEqual(self.said, [told])
