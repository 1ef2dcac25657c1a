"""Owns the checks of one connection to a Redis, byte by byte."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.directory import DirectoryError
from tests.support.redis import reasonToSkip

reason = reasonToSkip()
if reason is None:
    from nymearemoteproxy.cluster.rediswire import RedisRefusal, RedisWire, refusal

PIECES = (
    *(b"+OK\r\n", b"$1\r\nx\r\n", b":1\r\n", b"-ERR x\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n"),
    *(b"*2\r\n", b"*x\r\n", b"$x\r\n", b":x\r\n", b"+QUEUED\r\n", b"\r\n", b"\xff\r\n", b"$99\r\n"),
)
"""Of the protocol, and of what looks like it."""


def split(pieces: list[bytes]) -> list[bytes]:
    """Return the same in reads that end elsewhere."""
    data = b"".join(pieces)
    return [data[:7], data[7:8], data[8:]]


class RedisWireTests(SynchronousTestCase):
    """Answers and what is none."""

    skip = reason

    def connect(self) -> tuple[Any, StringTransport, Clock]:
        transport, clock = StringTransport(UNIXAddress(b"/redis")), Clock()
        wire = RedisWire(clock)
        wire.callLater = clock.callLater  # else it would be the reactor's
        wire.makeConnection(transport)
        return wire, transport, clock

    def test_asks(self) -> None:
        """Any bytes, as they are."""
        wire, transport, clock = self.connect()
        answered = wire.ask(1.0, b"GET", b"\xff\r\n")
        self.assertEqual(transport.value(), b"*2\r\n$3\r\nGET\r\n$3\r\n\xff\r\n\r\n")
        wire.dataReceived(b"$3\r\n1\r")
        self.assertNoResult(answered)
        wire.dataReceived(b"\n\r\n")
        self.assertEqual(self.successResultOf(answered), b"1\r\n")
        self.assertEqual((wire.trouble, clock.getDelayedCalls()), ("", []))

    def test_number(self) -> None:
        """What looks like a number is none: a member's id may be all digits."""
        wire, _transport, _clock = self.connect()
        answered = wire.ask(1.0, b"GET", b"x")
        wire.dataReceived(b"$2\r\n12\r\n")
        self.assertEqual(self.successResultOf(answered), b"12")

    def test_errorWithin(self) -> None:
        """An error in a list is one of the whole answer, else somebody takes it for a value."""
        for data in (b"*2\r\n:1\r\n-OOM x\r\n", b"*1\r\n*2\r\n-OOM x\r\n-LOADING x\r\n"):
            wire, transport, _clock = self.connect()
            answered = wire.ask(1.0, b"EVALSHA", b"x", b"0")
            wire.dataReceived(data)
            self.assertEqual(self.failureResultOf(answered, RedisRefusal).value.code, "OOM")
            self.assertFalse(transport.disconnecting)

    def test_nonsenseWithin(self) -> None:
        """What is no number, and lists within lists without end, end the connection."""
        for data in (b"*1\r\n:x\r\n", b"*1\r\n" * 9000 + b":1\r\n"):
            wire, transport, _clock = self.connect()
            answered = wire.ask(1.0, b"EVALSHA", b"x", b"0")
            wire.dataReceived(data)
            error = self.failureResultOf(answered, DirectoryError)
            self.assertIn("does not speak", error.getErrorMessage())
            self.assertTrue(transport.disconnecting)

    def test_nobodyAsked(self) -> None:
        """It would be taken for the answer to the next command."""
        for data, words in {b"+OK\r\n": "nobody asked", b"-LOADING x\r\n": "still loading"}.items():
            wire, transport, _clock = self.connect()
            wire.dataReceived(data)
            self.assertTrue(transport.disconnecting)
            self.assertIn(words, wire.trouble)
            self.failureResultOf(wire.ask(1.0, b"PING"), DirectoryError)
            self.assertEqual(transport.value(), b"")

    def test_asleep(self) -> None:
        """Who was frozen reads what has come meanwhile; else it is late."""
        for data in (b"+OK\r\n", b""):
            wire, _transport, clock = self.connect()
            answered = wire.ask(1.0, b"GET", b"x")
            clock.advance(20)
            self.assertNoResult(answered)
            if data:
                wire.dataReceived(data)
                self.assertEqual(self.successResultOf(answered), "OK")
            else:
                clock.advance(1)
                error = self.failureResultOf(answered, DirectoryError)
                self.assertIn("in time", error.getErrorMessage())
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_deadline(self) -> None:
        """When it is over, the connection is, too: the late answer would be somebody else's."""
        wire, transport, clock = self.connect()
        answered = wire.ask(1.0, b"PING")
        clock.advance(1.0)
        self.failureResultOf(answered, DirectoryError)
        self.assertTrue(transport.disconnecting)
        wire.dataReceived(b"+PONG\r\n")

    @given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=9).map(split))
    def test_anything(self, reads: list[bytes]) -> None:
        """Whatever is read, nothing is raised, and each command has one end."""
        wire, transport, clock = self.connect()
        ended: list[object] = []
        for _number in range(3):
            wire.ask(1.0, b"PING").addBoth(ended.append)
        for data in reads:
            wire.dataReceived(data)
            clock.advance(0)
        clock.pump([0.0] * 20 + [1.0])
        self.assertTrue(len(ended) == 3 or transport.disconnecting)
        wire.connectionLost(Failure(OSError()))
        self.assertEqual(len(ended), 3)

    def test_refusals(self) -> None:
        """As several releases say them, also within a script; what they quote is left out."""
        for text, code in {
            "OOM command not allowed when used memory > 'maxmemory'.": "OOM",
            "@user_script: 3: -OOM command not allowed": "OOM",
            " Error running script (call to f_1): @user_script:3: -READONLY You can't": "READONLY",
            "NOSCRIPT No matching script. Please use EVAL.": "NOSCRIPT",
            "WRONGPASS invalid username-password pair or user is disabled.": "WRONGPASS",
            "MOVED 3999 127.0.0.1:6381": "MOVED",
            "CROSSSLOT Keys in request don't hash to the same slot": "MOVED",
            "CLUSTERDOWN Hash slot not served": "MOVED",
            "ERR SELECT is not allowed in cluster mode": "MOVED",
            "Script attempted to access a non local key in a cluster node": "MOVED",
            " something": "ERR",
            "": "ERR",
        }.items():
            self.assertEqual(refusal(text).code, code, text)
        for quoted in ("'hunter2'", "`hunter2`", '"hunter2"', "'a' 'hunter2'\n'hunter2"):
            self.assertNotIn("hunter2", str(refusal(f"ERR unknown command {quoted}")))
