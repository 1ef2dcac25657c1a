"""A registered server's connection, and how it is kept, in memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from itertools import starmap
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.connecting.endtoend import ServingSide
from nymearemoteproxy.client.connecting.heartbeat import HEARTBEAT_INTERVAL
from nymearemoteproxy.client.connecting.reasons import SILENT, whyLost, whyNotConnected
from nymearemoteproxy.client.connecting.retrying import Reports
from nymearemoteproxy.client.local.delivering import LINGER, PIECE, Destination
from nymearemoteproxy.client.local.publishing import LASTED, Publisher
from nymearemoteproxy.client.local.refusals import Refusals
from nymearemoteproxy.client.local.serving import (
    LONE_STALL,
    MAX_PACKET_SIZE,
    MAX_PAYLOAD,
    MAX_QUEUE,
    MAX_QUEUES,
    MAX_UNTAKEN,
    MUCH,
    STALL,
    STUCK,
    LocalService,
    Serving,
)
from nymearemoteproxy.client.rules.controlphase import Partner
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.protocol.packets import PROXY, Packet
from nymearemoteproxy.protocol.slip import PacketReader, encode
from tests.support.nearby import Endpoint, Line
from tests.support.packets import prefixed, prefixedPackets

UUID = "{00000000-0000-0000-0000-00000000000d}"


def connected(address: object, name: str = "a client", peer: str = "::1") -> bytes:
    params = {
        "clientName": name,
        "clientUuid": UUID,
        "clientPeerAddress": peer,
        "socketAddress": address,
    }
    return _notification("ClientConnected", params)


def disconnected(address: int) -> bytes:
    return _notification("ClientDisconnected", {"socketAddress": address})


def paused(address: int) -> bytes:
    return _notification("ClientPaused", {"socketAddress": address})


def resumed(address: int) -> bytes:
    return _notification("ClientResumed", {"socketAddress": address})


def _notification(name: str, params: dict[str, Any]) -> bytes:
    message = {"id": 0, "notification": f"TunnelProxy.{name}", "params": params}
    return encode(PROXY, json.dumps(message).encode() + b"\n")


class Sent:
    """What a registered server sent to the proxy.

    :ivar calls: the method and the param's value of each call.
    :ivar data: what was sent to each client.
    :ivar largest: the most data in one packet.
    """

    def __init__(self, packets: list[Packet]) -> None:
        self.calls: list[tuple[str, int]] = []
        self.data: dict[int, bytes] = {}
        self.largest = 0
        for address, payload in packets:
            if address == PROXY:
                call = json.loads(payload)
                (value,) = call["params"].values()
                self.calls.append((call["method"].removeprefix("TunnelProxy."), value))
            else:
                self.data[address] = self.data.get(address, b"") + payload
                self.largest = max(self.largest, len(payload))


MOST_CLIENTS = 1000
WHERE = "127.0.0.1:22"


class ServingMixin:
    """A connection to the proxy, and services to be connected to.

    :ivar side: encrypts from end to end; None = nobody does.
    :ivar isLengthPrefixed: packets have their length in front. The tests say SLIP all the same.
    :ivar pausesClients: the proxy can be told not to read from a client.
    """

    side: ServingSide | None = None
    isLengthPrefixed = False
    pausesClients = False

    def begin(self) -> None:
        self.clock = Clock()
        self.services = Endpoint()
        self.said: list[str] = []
        self.lost: list[str] = []
        self.serving = Serving(
            self.clock,
            self.service(),
            defaultdict(lambda: Reports(self.said.append)),
            self.lost.append,
            Refusals(self.clock, self.said.append),
        )
        self.proxy = Line(self.serving)
        self.proxy.partner = Partner("", "", self.isLengthPrefixed, self.pausesClients)
        self.serving.makeConnection(self.proxy)  # type: ignore[arg-type]
        self._said = PacketReader(0)

    def service(self) -> LocalService:
        """Return what is offered."""
        return LocalService(Destination(self.services, WHERE), MOST_CLIENTS, self.side)  # type: ignore[arg-type]

    def receive(self, *parts: bytes) -> None:
        data = b"".join(parts)
        if self.isLengthPrefixed:
            data = b"".join(starmap(prefixed, self._said.receive(data)))
        self.serving.dataReceived(data)

    def sent(self) -> Sent:
        return Sent(self.packets())

    def packets(self) -> list[Packet]:
        """Return what was sent to the proxy, and forget it."""
        data = self.proxy.take()
        return prefixedPackets(data) if self.isLengthPrefixed else PacketReader(0).receive(data)

    def client(self, address: int = 1) -> Line:
        """Connect a client, and its service."""
        self.receive(connected(address))
        return self.services.succeed()


class ServingTests(ServingMixin, SynchronousTestCase):
    def setUp(self) -> None:
        self.begin()

    def test_bothDirections(self) -> None:
        first, second = self.client(1), self.client(0xFFFE)
        self.receive(encode(1, b"to one \xc0\xdb"), encode(0xFFFE, b"to other"), encode(1, b"!"))
        self.assertEqual((first.take(), second.take()), (b"to one \xc0\xdb!", b"to other"))
        data = os.urandom(3 * MAX_PAYLOAD + 1)
        first.protocol.dataReceived(data)
        second.protocol.dataReceived(b"\xdb\xc0")
        sent = self.sent()
        self.assertEqual(sent.data, {1: data, 0xFFFE: b"\xdb\xc0"})
        self.assertEqual((sent.largest, sent.calls), (MAX_PAYLOAD, []))

    def test_everyCut(self) -> None:
        """However the stream is cut, and the notification spread over packets."""
        notification = b"".join(
            encode(PROXY, bytes([byte])) for byte in PacketReader(0).receive(connected(1))[0][1]
        )
        stream = notification + encode(1, b"a\xc0") + encode(1, b"b") + disconnected(1)
        for cut in range(len(stream)):
            self.begin()
            self.receive(stream[:cut])
            self.receive(stream[cut:])
            service = self.services.succeed()
            self.assertEqual((service.value(), service.disconnecting), (b"a\xc0b", True))

    def test_dataBeforeTheServiceIsThere(self) -> None:
        self.receive(connected(1), encode(1, b"early "), encode(1, b"bird"))
        service = self.services.succeed()
        self.assertEqual(service.value(), b"early bird")

    def test_unixService(self) -> None:
        self.receive(connected(1), encode(1, b"x"))
        service = self.services.succeed(host=UNIXAddress(b"/x"))
        self.assertEqual(service.value(), b"x")

    def test_tooManyClients(self) -> None:
        """Strangers do not decide how many connections the service gets."""
        for address in range(1, MOST_CLIENTS + 1):
            self.receive(connected(address))
        self.proxy.clear()
        self.receive(connected(MOST_CLIENTS + 1))
        self.assertEqual(self.sent().calls, [("DisconnectClient", MOST_CLIENTS + 1)])
        (told,) = self.said
        self.assertIn("1000 clients are connected, which is the most that the limit of open", told)
        self.assertEqual(len(self.services.attempts), MOST_CLIENTS)

    def test_tooManyIsSaidOnce(self) -> None:
        """As long as they are about the most, whatever else is said; and when they are again."""
        services = [self.client(address) for address in range(1, MOST_CLIENTS + 1)]
        for address in range(1, 4):
            self.receive(connected(MOST_CLIENTS + 1))
            services[address - 1].lose()
            services[address - 1] = self.client(address)
        self.assertEqual(len(self.said), 1)
        for service in services[: MOST_CLIENTS // 2]:
            service.lose()
        for address in range(1, MOST_CLIENTS + 2):
            if address not in self.serving._clients:
                self.receive(connected(address))
        self.assertEqual(len(self.said), 2)

    def test_unknownAddresses(self) -> None:
        self.receive(encode(5, b"nobody"), disconnected(6), encode(0xFFFF, b"nobody"), b"\xc0\xc0")
        self.assertEqual((self.services.attempts, self.proxy.isLost), ([], False))

    def test_serviceRefuses(self) -> None:
        for address in (1, 2):
            self.receive(connected(address), encode(address, b"x"))
            self.services.fail(ConnectionRefusedError())
            self.assertEqual(self.sent().calls, [("DisconnectClient", address)])
        # Late, since the proxy has not read our call yet.
        self.receive(encode(1, b"more"), disconnected(1))
        self.assertEqual(
            self.said, [f"cannot connect to the service at {WHERE}: connection refused"]
        )

    def test_clientWasFaster(self) -> None:
        """A client that leaves before the service is reached is no trouble.

        A cancelled HostnameEndpoint says that it has found no address.
        """
        self.services.whenCancelled = DNSLookupError()
        self.receive(connected(1), disconnected(1))
        self.assertEqual((self.said, self.sent().calls), ([], []))

    def test_serviceCloses(self) -> None:
        service = self.client()
        service.protocol.dataReceived(b"bye")
        service.lose()
        sent = self.sent()
        self.assertEqual((sent.data, sent.calls), ({1: b"bye"}, [("DisconnectClient", 1)]))
        refusal = {"tunnelProxyError": "TunnelProxyErrorUnknownSocketAddress"}
        late = {"id": 2, "status": "success", "params": refusal}
        self.receive(encode(PROXY, json.dumps(late).encode()), encode(1, b"late"), disconnected(1))
        self.assertEqual(self.proxy.isLost, False)

    def test_orderOfTheLastPacket(self) -> None:
        """The call comes behind all data, or the client would lose some."""
        service = self.client()
        service.protocol.dataReceived(b"bye")
        service.lose()
        addresses = [address for address, _ in self.packets()]
        self.assertEqual(addresses, [1, PROXY])

    def test_clientLeaves(self) -> None:
        service = self.client()
        self.receive(encode(1, b"last"), disconnected(1))
        self.assertEqual((service.value(), service.disconnecting), (b"last", True))
        service.protocol.dataReceived(b"too late")
        service.lose()
        sent = self.sent()
        self.assertEqual((sent.data, sent.calls, self.clock.getDelayedCalls()[1:]), ({}, [], []))

    def test_clientLeavesBeforeTheServiceIsThere(self) -> None:
        self.receive(connected(1), disconnected(1))
        self.assertEqual(self.services.cancelled, 1)
        self.receive(connected(2), encode(2, b"question"), disconnected(2))
        self.assertEqual(self.services.cancelled, 1)
        service = self.services.succeed()
        self.assertEqual((service.value(), service.disconnecting), (b"question", True))
        self.assertEqual((self.sent().calls, self.said), ([], []))

    def test_addressIsUsedAgain(self) -> None:
        first = self.client()
        self.receive(encode(1, b"one"), disconnected(1))
        second = self.client()
        self.receive(encode(1, b"two"))
        first.protocol.dataReceived(b"from the first")
        second.protocol.dataReceived(b"from the second")
        self.assertEqual((first.value(), second.value()), (b"one", b"two"))
        self.assertEqual(self.sent().data, {1: b"from the second"})
        first.lose()
        self.assertEqual(self.sent().calls, [])
        second.lose()
        self.assertEqual(self.sent().calls, [("DisconnectClient", 1)])

    def test_addressIsUsedAgainUnannounced(self) -> None:
        first = self.client()
        second = self.client()
        self.assertEqual((first.disconnecting, second.disconnecting), (True, False))
        first.lose()
        self.assertEqual(self.sent().calls, [])

    def test_proxyIsSlow(self) -> None:
        """Then each connection of the service is read from once more."""
        first, second = self.client(1), self.client(2)
        self.proxy.full = True
        first.protocol.dataReceived(b"x")
        self.assertEqual((first.isPaused, second.isPaused), (True, False))
        third = self.client(3)
        self.assertFalse(third.isPaused)
        third.protocol.dataReceived(b"x")
        self.assertTrue(third.isPaused)
        # Calls are written, too.
        second.protocol.dataReceived(b"x")
        self.assertTrue(second.isPaused)
        second.lose()
        self.clock.advance(STUCK - 1)
        self.receive(b"\xc0")
        self.proxy.drain()
        self.assertEqual((first.isPaused, third.isPaused), (False, False))
        self.clock.advance(STUCK)
        self.assertNotIn("taken nothing", "".join(self.lost))

    def test_proxyIsStuck(self) -> None:
        service = self.client()
        self.proxy.full = True
        service.protocol.dataReceived(b"x")
        for _ in range(4):
            self.clock.advance(STUCK / 4)
        self.assertEqual(self.lost, ["the proxy has taken nothing for 120 s"])
        self.assertTrue(service.disconnecting)

    def test_leavingServiceIsReadWhileTheProxyIsSlow(self) -> None:
        """Or its end would not be noticed."""
        service = self.client()
        self.proxy.full = True
        service.protocol.dataReceived(b"x")
        self.receive(disconnected(1))
        self.assertFalse(service.isPaused)

    def test_pings(self) -> None:
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual(self.sent().calls, [("Ping", 30)])
        self.receive(encode(PROXY, b'{"id":2,"status":"success","params":{"timestamp":30}}\n'))
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual(self.sent().calls, [("Ping", 60)])
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual((self.lost, self.proxy.aborted), ([SILENT], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anythingIsASignOfLife(self) -> None:
        for _ in range(5):
            self.clock.advance(HEARTBEAT_INTERVAL)
            self.receive(b"\xc0")
        self.assertEqual(self.lost, [])

    def test_noProxy(self) -> None:
        tooMuch = (MAX_PACKET_SIZE + 1).to_bytes(4, "big")
        endless = b"\x00\x01" + tooMuch if self.isLengthPrefixed else b"x" * (MAX_PACKET_SIZE + 1)
        for receive, data in (
            (self.receive, encode(PROXY, b"hello")),
            (self.receive, connected(0)),
            (self.receive, connected("1")),
            (lambda data: self.serving.dataReceived(data), endless),
        ):
            self.begin()
            service = self.client(7)
            receive(data)
            self.assertTrue(self.proxy.aborted)
            self.assertTrue(service.disconnecting)
            self.receive(connected(9))
            self.assertEqual((len(self.services.attempts), len(self.lost)), (1, 1))
            self.assertTrue(self.lost[0].startswith(("not a nymea", "the proxy sent")), self.lost)

    def test_badPacketsAreDropped(self) -> None:
        service = self.client()
        self.receive(b"\x00\x01\xdbx\xc0", b"\x00\xc0", encode(1, b"good"))
        self.assertEqual(service.value(), b"good")

    def test_connectionLost(self) -> None:
        services = [self.client(1), self.client(2)]
        services[0].full = True
        self.receive(encode(1, b"x" * PIECE), encode(1, b"the rest"), connected(3))
        self.proxy.lose(ConnectionLost("out of order"))
        self.assertEqual(self.lost, ["out of order"])
        self.assertEqual([service.disconnecting for service in services], [False, True])
        self.assertEqual(self.services.cancelled, 1)
        services[0].drain()
        self.assertEqual(services[0].value(), b"x" * PIECE + b"the rest")
        self.assertTrue(services[0].disconnecting)
        for service in services:
            service.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wordsForTheEnd(self) -> None:
        for problem, words in (
            (ConnectionLost(), "it broke off"),
            (ConnectionLost("Connection lost"), "it broke off"),
            (ConnectionLost("some\nwords"), "some words"),
            (ConnectionDone(), "the proxy closed it"),
        ):
            self.assertEqual(whyLost(Failure(problem)), words)

    def test_wordsForNoConnection(self) -> None:
        for problem, words in (
            (ConnectionRefusedError(), "connection refused"),
            (DNSLookupError("x"), "the host name is not known"),
            (TimeoutError(), "timed out"),
            (ConnectError(13), "Permission denied"),
            (ValueError("some\nwords"), "some words"),
        ):
            self.assertEqual(whyNotConnected(Failure(problem)), words)

    def test_closedByTheProxy(self) -> None:
        self.proxy.lose()
        self.serving.stopProducing()
        self.assertEqual(self.lost, ["the proxy closed it"])

    def test_whoTakesNothingAfterTheEnd(self) -> None:
        service = self.client()
        service.full = True
        self.receive(encode(1, b"x" * PIECE), encode(1, b"more"), disconnected(1))
        self.clock.advance(LINGER - 1)
        service.full = True
        service.protocol.resumeProducing()
        self.receive(b"\xc0")
        self.clock.advance(LINGER - 1)
        self.assertFalse(service.isLost)
        self.clock.advance(1)
        self.assertTrue(service.aborted)

    def test_parallel(self) -> None:
        """Many clients at once, each with data of its own, in small pieces."""
        questions = {address: os.urandom(5000) for address in range(1, 51)}
        services = {address: self.client(address) for address in questions}
        for start in range(0, 5000, 50):
            self.receive(
                *(encode(address, data[start : start + 50]) for address, data in questions.items())
            )
        for address, service in services.items():
            self.assertEqual(service.value(), questions[address])
            service.protocol.dataReceived(hashlib.sha256(service.value()).digest())
        answers = self.sent().data
        for address, question in questions.items():
            self.assertEqual(answers[address], hashlib.sha256(question).digest())


class SharingTests(ServingMixin, SynchronousTestCase):
    """A proxy that takes less than the connections of the service have to send."""

    def setUp(self) -> None:
        self.begin()

    def downloads(self, count: int) -> dict[int, Line]:
        return {address: self.client(address) for address in range(1, count + 1)}

    def share(self, downloads: dict[int, Line], rounds: int) -> list[int]:
        """Let each have more to send than is taken; return how many pieces each could send.

        As a poller does it, who is read from again comes behind those who are waiting already.
        """
        for _ in range(rounds):
            self.proxy.full = True
            for line in sorted(downloads.values(), key=lambda line: line.resumed):
                if not line.isPaused:
                    line.protocol.dataReceived(bytes(PIECE))
            self.proxy.drain()
        data = self.sent().data
        return [len(data.get(address, b"")) // PIECE for address in downloads]

    def test_twoDownloads(self) -> None:
        """Whatever the order in which they are read from, none gets on alone."""
        self.assertEqual(self.share(self.downloads(2), 10), [10, 10])

    def test_lateComer(self) -> None:
        downloads = self.downloads(3)
        self.share(downloads, 3)
        downloads[4] = self.client(4)
        self.assertEqual(self.share(downloads, 1), [1, 1, 1, 1])

    def test_severalAtOnce(self) -> None:
        """More than may wait: those who could send nothing are the next."""
        atOnce = MAX_UNTAKEN // PIECE + 1
        pieces = self.share(self.downloads(3 * atOnce), 6)
        self.assertEqual(set(pieces), {2})

    def fill(self) -> dict[int, Line]:
        """Let more wait for the proxy than may; one more connection has sent nothing."""
        downloads = self.downloads(MAX_UNTAKEN // PIECE + 2)
        self.proxy.full = True
        for line in list(downloads.values())[:-1]:
            line.protocol.dataReceived(bytes(PIECE))
        return downloads

    def test_bounded(self) -> None:
        """Then nothing is read from any."""
        downloads = self.fill()
        late = self.client(1000)
        self.assertTrue(all(line.isPaused for line in [*downloads.values(), late]))
        self.proxy.drain()
        self.assertFalse(any(line.isPaused for line in [*downloads.values(), late]))

    def test_leavesMeanwhile(self) -> None:
        """On either side; the others go on."""
        downloads = self.fill()
        downloads[1].lose()
        self.receive(disconnected(2))
        self.assertFalse(downloads[2].isPaused)
        self.proxy.drain()
        self.assertFalse(any(line.isPaused for line in list(downloads.values())[1:]))


class SlowClientTests(ServingMixin, SynchronousTestCase):
    """A proxy that tells which client is slow."""

    def setUp(self) -> None:
        self.begin()
        self.slow, self.fast = self.client(1), self.client(2)

    def assertPaused(self, slow: bool, fast: bool = False) -> None:
        """This is who is not read from."""
        self.assertEqual((self.slow.isPaused, self.fast.isPaused), (slow, fast))

    def test_paused(self) -> None:
        """Nothing is read for that one until it has caught up."""
        self.receive(paused(1))
        self.assertPaused(True)
        self.receive(resumed(1))
        self.assertPaused(False)

    def test_bothSlow(self) -> None:
        """Who is slow stays so while the proxy takes nothing, and the other way round."""
        self.proxy.full = True
        self.slow.protocol.dataReceived(b"x")
        self.fast.protocol.dataReceived(b"x")
        self.receive(paused(1))
        self.proxy.drain()
        self.assertPaused(True)
        self.proxy.full = True
        self.fast.protocol.dataReceived(b"x")
        for _ in range(MAX_UNTAKEN // PIECE + 1):
            self.slow.protocol.dataReceived(bytes(PIECE))
        self.receive(resumed(1))
        self.assertPaused(True, True)
        self.proxy.drain()
        self.assertPaused(False)

    def test_leaves(self) -> None:
        """Who is gone is read from to the end; who gets its address is not slow."""
        self.receive(paused(1), disconnected(1))
        self.assertFalse(self.slow.isPaused)
        self.assertFalse(self.client(1).isPaused)

    def test_serviceLeaves(self) -> None:
        """What the proxy told meanwhile is of nobody."""
        self.receive(paused(1))
        self.slow.lose()
        self.receive(paused(1), resumed(1), resumed(7))
        self.assertFalse(self.client(1).isPaused)

    def test_beforeTheServiceIsThere(self) -> None:
        """Then it is not read from the first moment on."""
        self.receive(connected(3), paused(3))
        self.assertTrue(self.services.succeed().isPaused)


class SlowServiceMixin(ServingMixin):
    """One service connection that does not take what its client sends."""

    def setUp(self) -> None:
        self.begin()
        self.slow = self.client(1)
        self.slow.full = True

    def fill(self, size: int = MAX_QUEUE, address: int = 1) -> bytes:
        """Let the queue hold more than `size`: the transport takes a piece before it is full."""
        data = os.urandom(size + PIECE + 1)
        for start in range(0, len(data), MAX_PAYLOAD):
            self.receive(encode(address, data[start : start + MAX_PAYLOAD]))
        return data


class PausingTests(SlowServiceMixin, SynchronousTestCase):
    """The proxy is told of whom it is to send nothing more, so that nobody else has to wait."""

    pausesClients = True

    def assertCalls(self, *calls: tuple[str, int]) -> None:
        """The proxy has been called like this, and is read from."""
        self.assertEqual(self.sent().calls, list(calls))
        self.assertFalse(self.proxy.isPaused)

    def test_much(self) -> None:
        self.fill(MUCH - 2 * PIECE)
        self.assertCalls()
        self.fill(2 * PIECE)
        self.assertCalls(("PauseClient", 1))
        self.fill(MAX_QUEUE - MUCH - 3 * PIECE)  # was on its way
        self.assertCalls()
        self.assertFalse(self.slow.isLost)

    def test_halfIsTaken(self) -> None:
        data = self.fill(MUCH)
        self.assertCalls(("PauseClient", 1))
        for _ in range(MUCH // 2 // PIECE):
            self.slow.protocol.resumeProducing()
            self.assertCalls()
        self.slow.protocol.resumeProducing()
        self.assertCalls(("ResumeClient", 1))
        self.slow.drain()
        self.assertCalls()
        self.assertEqual(self.slow.value(), data)

    def test_manyClients(self) -> None:
        """Of many, each may leave less waiting."""
        for address in range(2, MOST_CLIENTS + 1):
            self.client(address)
        self.fill(MAX_QUEUES // 2 // MOST_CLIENTS)
        self.assertCalls(("PauseClient", 1))

    def test_clientLeaves(self) -> None:
        """It need not be resumed, and who gets its address was never paused."""
        data = self.fill(MUCH)
        self.assertCalls(("PauseClient", 1))
        self.receive(disconnected(1))
        self.slow.drain()
        self.assertEqual(self.slow.value(), data)
        self.assertCalls()
        self.slow = self.client(1)
        self.slow.full = True
        self.fill(MUCH)
        self.assertCalls(("PauseClient", 1))

    def test_serviceCloses(self) -> None:
        """Nor who is disconnected."""
        self.fill(MUCH)
        self.assertCalls(("PauseClient", 1))
        self.slow.lose()
        self.assertCalls(("DisconnectClient", 1))

    def test_proxyIsLost(self) -> None:
        """Nobody is told anything any more."""
        self.fill(MUCH)
        self.proxy.lose()
        self.sent()
        self.slow.drain()
        self.assertEqual(self.sent().calls, [])


class SlowServiceTests(SlowServiceMixin, SynchronousTestCase):
    """A proxy that cannot be told so: that connection holds up all, and not for long."""

    def live(self, seconds: float) -> None:
        """Let time pass, with a proxy that is there."""
        for _ in range(round(seconds)):
            self.clock.advance(1)

    def test_siblingsGoOn(self) -> None:
        other = self.client(2)
        self.fill(MAX_QUEUE - PIECE)
        self.receive(encode(2, b"hello"))
        self.assertEqual((other.value(), self.proxy.isPaused), (b"hello", False))

    def test_fullAndDrained(self) -> None:
        data = self.fill()
        self.assertTrue(self.proxy.isPaused)
        self.slow.drain()
        self.assertFalse(self.proxy.isPaused)
        self.assertEqual(self.slow.value(), data)
        self.live(2 * STALL)
        self.assertFalse(self.slow.isLost)

    def test_goesOnWhenHalfIsTaken(self) -> None:
        self.fill()
        pieces = 0
        while self.proxy.isPaused:
            self.slow.protocol.resumeProducing()
            pieces += 1
        self.assertEqual(pieces, MAX_QUEUE // 2 // PIECE + 1)

    def test_holdingUpOthers(self) -> None:
        other = self.client(2)
        self.fill()
        self.live(STALL - 1)
        self.assertFalse(self.slow.isLost)
        self.sent()
        self.live(1)
        self.assertTrue(self.slow.aborted)
        self.assertEqual(self.sent().calls, [("DisconnectClient", 1)])
        self.assertEqual((self.proxy.isPaused, other.isLost), (False, False))
        self.assertEqual(self.said, [f"the service at {WHERE} does not read what a client sends"])

    def test_slowButAlive(self) -> None:
        """Whoever takes something now and then may hold up the others."""
        self.client(2)
        self.fill()
        for _ in range(5):
            self.live(STALL - 1)
            self.slow.protocol.resumeProducing()
        self.assertEqual((self.slow.isLost, self.proxy.isPaused), (False, True))

    def test_alone(self) -> None:
        self.fill()
        self.live(LONE_STALL - 1)
        self.assertFalse(self.slow.isLost)
        self.live(STALL)
        self.assertTrue(self.slow.aborted)
        self.assertEqual(self.lost, [])

    def test_serviceNeverConnects(self) -> None:
        self.receive(connected(2))
        self.fill(address=2)
        self.sent()
        self.live(STALL)
        self.assertEqual(self.services.cancelled, 1)
        self.assertEqual(self.sent().calls, [("DisconnectClient", 2)])
        self.assertFalse(self.proxy.isPaused)

    def test_closesWhileFull(self) -> None:
        self.fill()
        self.slow.lose()
        self.assertFalse(self.proxy.isPaused)
        self.slow.protocol.stopProducing()

    def test_allTogether(self) -> None:
        """Many queues that are not full may be too much as well."""
        idle = self.client(1000)
        lines = {}
        for address in range(2, 2 + MAX_QUEUES // (MAX_QUEUE // 2)):
            lines[address] = self.client(address)
            lines[address].full = True
            self.fill(MAX_QUEUE // 2, address)
        self.assertTrue(self.proxy.isPaused)
        lively = lines.pop(3)
        self.live(STALL - 1)
        lively.protocol.resumeProducing()
        self.live(1)
        self.assertEqual([a for a, line in lines.items() if not line.aborted], [])
        self.assertEqual((lively.aborted, idle.aborted, self.proxy.isPaused), (False, False, False))

    def test_proxyIsNotDeadWhileWeDoNotRead(self) -> None:
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.fill()
        for _ in range(8):
            self.slow.protocol.resumeProducing()
            self.clock.advance(STALL - 1)
        self.assertEqual((self.lost, self.proxy.isPaused), ([], True))

    def test_lostWhileFull(self) -> None:
        data = self.fill()
        self.proxy.lose()
        self.slow.drain()
        self.assertEqual(self.slow.value(), data)
        self.slow.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LengthPrefixedTests(ServingTests):
    isLengthPrefixed = True

    def test_throughAtOnce(self) -> None:
        """The service gets what has arrived of a packet."""
        service = self.client()
        packet = prefixed(1, b"0123456789")
        for end in range(len(packet)):
            self.serving.dataReceived(packet[end : end + 1])
            self.assertEqual(service.value(), packet[6 : end + 1])


class LengthPrefixedSharingTests(SharingTests):
    isLengthPrefixed = True


class LengthPrefixedSlowClientTests(SlowClientTests):
    isLengthPrefixed = True


class PublisherTests(SynchronousTestCase):
    """How a registration is kept."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.proxies = Endpoint()
        self.services = Endpoint()
        self.said: list[str] = []
        publisher = Publisher(
            self.clock,
            self.proxies,  # type: ignore[arg-type]
            LocalService(Destination(self.services, WHERE), MOST_CLIENTS),  # type: ignore[arg-type]
            UUID,
            self.said.append,
            lambda: 0.5,
        )
        self.result = publisher.start()

    def test_registered(self) -> None:
        self.proxies.succeed()
        self.assertEqual(self.said, [f"registered as server {UUID}"])
        self.assertNoResult(self.result)

    def test_lostAndBack(self) -> None:
        self.proxies.succeed().lose(ConnectionLost("gone"))
        self.clock.advance(1)
        for delay in (2, 4):
            self.proxies.fail(TunnelError("away", isTransient=True))
            self.clock.advance(delay)
        line = self.proxies.succeed()
        line.protocol.dataReceived(connected(1))
        self.assertEqual(len(self.services.attempts), 1)
        self.assertEqual(
            self.said,
            [
                f"registered as server {UUID}",
                "connection lost: gone; next attempt in 1 s",
                "away; next attempt in 2 s",
                f"registered as server {UUID}",
            ],
        )

    def test_backoffGoesOnAfterAShortRegistration(self) -> None:
        for delay in (1, 2, 4):
            self.proxies.succeed().lose()
            self.assertIn(f"next attempt in {delay} s", self.said[-1])
            self.clock.advance(delay)
        line = self.proxies.succeed()
        self.clock.advance(LASTED / 2)
        line.protocol.dataReceived(b"\xc0")
        self.clock.advance(LASTED / 2)
        line.lose()
        self.assertIn("next attempt in 1 s", self.said[-1])

    def test_permanentMistakes(self) -> None:
        """What cannot pass by itself ends it, when it has never worked."""
        self.proxies.fail(TunnelError("not allowed"))
        problem = self.failureResultOf(self.result, TunnelError).value
        self.assertEqual(str(problem), "not allowed")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_permanentMistakesOnceItHasWorked(self) -> None:
        """Then it is somebody else's mistake: a captive portal, a proxy that is set up anew."""
        self.proxies.succeed().lose()
        for delay in (1, 2, 4, 8, 16, 32, 60, 60, 60):
            self.clock.advance(delay)
            self.proxies.fail(TunnelError("not switched on"))
        self.clock.advance(60)
        self.proxies.succeed()
        self.assertNoResult(self.result)
        self.assertEqual(
            self.said,
            [
                f"registered as server {UUID}",
                "connection lost: the proxy closed it; next attempt in 1 s",
                "not switched on; next attempt in 2 s",
                f"registered as server {UUID}",
            ],
        )

    def test_cancelled(self) -> None:
        """Whatever it is doing."""
        self.result.cancel()
        self.failureResultOf(self.result, CancelledError)
        self.assertEqual(self.proxies.cancelled, 1)
        self.setUp()
        line = self.proxies.succeed()
        self.result.cancel()
        self.failureResultOf(self.result, CancelledError)
        self.assertTrue(line.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.setUp()
        self.proxies.succeed().lose()
        self.result.cancel()
        self.failureResultOf(self.result, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
