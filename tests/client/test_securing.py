"""A registered server that is encrypted from end to end, in memory.

Its clients know no code of ours.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import replace
from pathlib import Path

from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.connecting.endtoend import HANDSHAKE_TIMEOUT, ServingSide
from nymearemoteproxy.client.local.refusals import QUIET
from nymearemoteproxy.client.local.securing import MOST_HANDSHAKES
from nymearemoteproxy.client.local.serving import MAX_QUEUE, STALL
from nymearemoteproxy.client.rules.endtoend import agreedName
from nymearemoteproxy.client.rules.proxyheader import proxyHeader
from nymearemoteproxy.common.certificates import CertificateFiles, readCertificateAndKey
from nymearemoteproxy.protocol.slip import encode
from tests.client.test_serving import WHERE, ServingMixin, connected, disconnected, paused, resumed
from tests.support.encryption import NAME, REFUSAL, UUID, TlsClient, hello, write
from tests.support.nearby import Line
from tests.support.proxies import Certificate


class SecuredTests(ServingMixin, SynchronousTestCase):
    """A client's bytes are encrypted, and the service hears of nobody else."""

    def setUp(self) -> None:
        files = CertificateFiles(*write(Certificate([UUID]), Path(self.mktemp())))
        self.side = ServingSide(readCertificateAndKey(files), agreedName(UUID, None))
        self.begin()

    def exchange(self, client: TlsClient, address: int = 1) -> list[tuple[str, int]]:
        """Carry everything between a client and the server; return the server's calls."""
        calls = []
        while True:
            data = client.take()
            if data:
                self.receive(encode(address, data))
            sent = self.sent()
            calls += sent.calls
            if address in sent.data:
                client.receive(sent.data[address])
            elif not data:
                return calls

    def join(self, address: int = 1, *names: str) -> TlsClient:
        """Return a client that has shaken hands."""
        self.receive(connected(address))
        client = TlsClient(*(names or (NAME,)))
        self.calls = self.exchange(client, address)
        return client

    def visit(self, address: int = 1) -> tuple[TlsClient, Line]:
        """Return a client, and its service."""
        client = self.join(address)
        return client, self.services.succeed()

    def test_bothDirections(self) -> None:
        client, service = self.visit()
        self.assertEqual(client.tls.version(), "TLSv1.3")
        question, answer = os.urandom(200_000), os.urandom(200_000)
        self.receive(encode(1, client.say(question)))
        service.protocol.dataReceived(answer)
        self.exchange(client)
        self.assertEqual((service.take(), client.received), (question, answer))

    def test_everyCut(self) -> None:
        client = TlsClient(NAME)
        self.receive(connected(1))
        for byte in client.take():
            self.receive(encode(1, bytes([byte])))
        self.exchange(client)
        for byte in client.say(b"question"):
            self.receive(encode(1, bytes([byte])))
        self.assertEqual(self.services.succeed().value(), b"question")

    def test_serviceIsNotDisturbed(self) -> None:
        """Before the handshake is done it hears of nobody."""
        self.receive(connected(1))
        client = TlsClient(NAME)
        self.receive(encode(1, client.take()))
        self.assertEqual(self.services.attempts, [])
        client.receive(self.sent().data[1])
        self.assertEqual(self.services.attempts, [])
        self.exchange(client)
        self.assertEqual(len(self.services.attempts), 1)

    def test_serviceCloses(self) -> None:
        """The client is told so before it is disconnected, and gets everything."""
        client, service = self.visit()
        service.protocol.dataReceived(b"last")
        service.lose()
        self.assertEqual(self.exchange(client), [("DisconnectClient", 1)])
        self.assertEqual((client.received, client.isOver), (b"last", True))
        self.receive(disconnected(1))
        self.assertEqual(self.serving._clients, {})

    def test_clientEnds(self) -> None:
        """What it has sent is delivered, then the service's connection is closed."""
        client, service = self.visit()
        self.receive(encode(1, client.say(b"last")))
        self.receive(encode(1, client.end()))
        self.assertEqual((service.value(), service.disconnecting), (b"last", True))
        self.assertFalse(service.resets)
        service.lose()
        self.assertEqual(self.sent().calls, [("DisconnectClient", 1)])
        self.receive(disconnected(1))

    def test_clientLeaves(self) -> None:
        """The same without saying so: the service's is reset, for something may be missing."""
        client, service = self.visit()
        self.receive(encode(1, client.say(b"last")), disconnected(1))
        self.assertEqual((service.value(), service.disconnecting), (b"last", True))
        self.assertTrue(service.resets)
        service.protocol.dataReceived(b"too late")
        service.lose()
        sent = self.sent()
        self.assertEqual((sent.data, sent.calls, self.said), ({}, [], []))

    def test_clientLeavesInTheHandshake(self) -> None:
        self.receive(connected(1), disconnected(1))
        client = TlsClient(NAME)
        self.receive(connected(2), encode(2, client.take()), disconnected(2))
        self.assertEqual((self.sent().calls, self.said, self.services.attempts), ([], [], []))
        self.assertEqual((self.serving._clients, self.serving._leaving), ({}, set()))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the heartbeat

    def test_serviceRefuses(self) -> None:
        client = self.join()
        self.services.fail(ConnectionRefusedError())
        self.assertEqual(self.exchange(client), [("DisconnectClient", 1)])
        self.assertTrue(client.isOver)
        self.assertIn(f"at {WHERE}: connection refused", self.said[0])

    def test_serviceRefusesAtOnce(self) -> None:
        """Even while we are in the middle of the client's handshake."""
        connect = self.services.connect

        def refuse(factory: object) -> object:
            attempt = connect(factory)
            self.services.fail(ConnectionRefusedError())
            return attempt

        self.services.connect = refuse  # type: ignore[method-assign, assignment]
        self.join()
        self.assertEqual(self.calls, [("DisconnectClient", 1)])

    def test_plainClient(self) -> None:
        """It is told in clear, and disconnected."""
        self.receive(connected(1), encode(1, b"GET / HTTP/1.1\r\n\r\n"), encode(1, b"more"))
        sent = self.sent()
        self.assertEqual(sent.data, {1: REFUSAL})
        self.assertEqual(sent.calls, [("DisconnectClient", 1)])
        self.assertEqual(
            self.said,
            [
                "a client was turned away: the far end speaks no TLS; it needs --end-fingerprint "
                "or --end-ca"
            ],
        )
        self.assertEqual(self.services.attempts, [])

    def test_farewellInTheHandshake(self) -> None:
        """What TLS makes of it is the end of that client, and of nobody else."""
        other, service = self.visit()
        self.receive(connected(2))
        client = TlsClient(NAME)
        self.receive(encode(2, client.take() + b"\x15\x03\x03\x00\x02\x01\x00"))
        sent = self.sent()
        self.assertEqual(sent.calls, [("DisconnectClient", 2)])
        self.receive(encode(1, other.say(b"still there")))
        self.assertEqual(service.take(), b"still there")

    def test_manyHandshakes(self) -> None:
        """The oldest one makes room, and who has shaken hands does not count."""
        done, service = self.visit(1)
        for address in range(2, 1 + MOST_HANDSHAKES):
            self.receive(connected(address), encode(address, b"\x16\x03\x01"))
        self.assertEqual(self.sent().calls, [])
        self.join(1000)
        self.assertEqual((self.calls, self.said), ([], []))
        for address in (2000, 2001):
            self.receive(connected(address), encode(address, b"\x16\x03\x01"))
        self.assertIn("more than 64 clients are in the handshake", self.said[0])
        calls = [call for call in self.sent().calls if call[0] == "DisconnectClient"]
        self.assertEqual(len(calls), 1)
        self.receive(encode(1, done.say(b"still there")))
        self.assertEqual(service.take(), b"still there")

    def test_endlessHello(self) -> None:
        """No more of it is looked at than an honest one has, however large the packet is."""
        self.receive(connected(1), encode(1, b"\x16\x03\x01\x40\x00" + bytes(1 << 20)))
        self.assertIn(("DisconnectClient", 1), self.sent().calls)
        self.assertEqual(len(self.said), 1)

    def test_dataBehindTheHandshake(self) -> None:
        """In the same packet as its end, and more than a handshake may have."""
        self.receive(connected(1))
        client = TlsClient(NAME)
        while client.tls.version() is None:
            self.receive(encode(1, client.take()))
            client.receive(self.sent().data[1])
        data = os.urandom(60_000)
        self.receive(encode(1, client.say(data)))
        self.assertEqual(self.services.succeed().value(), data)

    def test_otherPurpose(self) -> None:
        """It gets an alert, and neither the certificate nor a signature."""
        for address, names in enumerate((("http/1.1",), (NAME.replace("6", "7"),), ()), 1):
            self.receive(connected(address))
            client = TlsClient(*names)
            self.receive(encode(address, client.take()))
            sent = self.sent()
            self.assertEqual(sent.calls, [("DisconnectClient", address)])
            with self.assertRaises(ssl.SSLError):
                client.receive(sent.data[address])
            self.assertEqual(len(sent.data[address]), len(REFUSAL))

    def test_header(self) -> None:
        """The service reads it in clear, before what was decrypted, and after the handshake."""
        service = self.service
        self.service = lambda: replace(service(), getsHeader=True)  # type: ignore[method-assign]
        self.begin()
        self.receive(connected(1, peer="192.0.2.7"))
        self.assertEqual(self.services.attempts, [])
        client = TlsClient(NAME)
        self.exchange(client)
        self.receive(encode(1, client.say(b"question")))
        header = proxyHeader("192.0.2.7")
        self.assertEqual(self.services.succeed().value(), header + b"question")

    def test_silentClient(self) -> None:
        self.receive(connected(1))
        self.clock.advance(HANDSHAKE_TIMEOUT)
        sent = self.sent()
        self.assertEqual(sent.data, {1: REFUSAL})
        self.assertIn(("DisconnectClient", 1), sent.calls)
        self.assertIn("no handshake with the far end within 30 s", self.said[0])

    def test_otherTls(self) -> None:
        """Who wants another server, or nothing of the kind, or speaks an older version."""
        for address, name in enumerate((NAME.replace("6", "7"), "http/1.1"), 1):
            other = TlsClient(name)
            self.receive(connected(address), encode(address, other.take()))
            self.assertEqual(self.sent().calls, [("DisconnectClient", address)])
        self.assertIn("perhaps it is another server", self.said[0])
        self.clock.advance(QUIET)
        self.receive(connected(3))
        old = TlsClient(NAME, version=ssl.TLSVersion.TLSv1_2)
        self.receive(encode(3, old.take()))
        self.assertIn(("DisconnectClient", 3), self.sent().calls)
        self.assertIn("unsupported protocol (1 others before)", self.said[-1])
        self.assertEqual(self.services.attempts, [])

    def test_manyAreCounted(self) -> None:
        """However many come, they do not fill the log."""
        for address in range(1, 100):
            self.receive(connected(address), encode(address, b"no TLS"))
        self.assertEqual(len(self.said), 1)

    def test_changed(self) -> None:
        """What was changed on its way ends the connection, and the service's, not in order."""
        client, service = self.visit()
        record = bytearray(client.say(b"secret"))
        record[-1] ^= 1
        self.receive(encode(1, bytes(record)))
        self.assertEqual((service.value(), service.aborted), (b"", True))
        self.assertIn("the encryption from end to end failed", self.said[0])
        self.assertIn(("DisconnectClient", 1), self.sent().calls)

    def test_slowClient(self) -> None:
        """The proxy says which one, and the service's connection is not read from."""
        client, service = self.visit()
        self.receive(paused(1))
        self.assertTrue(service.isPaused)
        self.receive(resumed(1))
        self.assertFalse(service.isPaused)

    def test_slowProxy(self) -> None:
        client, service = self.visit()
        self.proxy.full = True
        service.protocol.dataReceived(b"x")
        self.assertTrue(service.isPaused)
        self.proxy.drain()
        self.assertFalse(service.isPaused)

    def test_slowService(self) -> None:
        """It holds up the proxy, as without encryption; who stalls it is cut off, and told so."""
        client, service = self.visit()
        _other, _ = self.visit(2)
        service.full = True
        self.receive(encode(1, client.say(bytes(MAX_QUEUE + 200_000))))
        self.assertTrue(self.proxy.isPaused)
        self.clock.advance(STALL)
        self.clock.advance(STALL)
        self.assertTrue(service.aborted)
        self.assertFalse(self.proxy.isPaused)
        self.assertIn(("DisconnectClient", 1), self.exchange(client))
        self.assertFalse(client.isOver)


class UnencryptedTests(ServingMixin, SynchronousTestCase):
    """A server without encryption, and clients that want it."""

    def setUp(self) -> None:
        self.begin()

    def test_turnedAway(self) -> None:
        whole = hello(NAME)
        for address, parts in enumerate(((whole,), (whole[:100], whole[100:])), 1):
            self.receive(connected(address))
            service = self.services.succeed()
            self.receive(*(encode(address, part) for part in parts))
            self.assertEqual((service.value(), service.disconnecting), (b"", True))
            service.lose()
            sent = self.sent()
            self.assertEqual(sent.data, {address: REFUSAL})
            self.assertEqual(sent.calls, [("DisconnectClient", address)])
        self.assertEqual(
            self.said,
            [
                "a client was turned away: it wants encryption from end to end; that needs "
                "--end-to-end"
            ],
        )

    def test_othersTls(self) -> None:
        """The service's own is none of our business, however it is cut."""
        whole = hello("http/1.1")
        for address in (1, 2, 3):
            self.receive(connected(address))
            service = self.services.succeed()
            self.receive(encode(address, whole[:6]))
            if address == 2:
                self.receive(disconnected(address))
                self.assertEqual(service.value(), whole[:6])
            else:
                self.receive(encode(address, whole[6:]), encode(address, b"more"))
                self.assertEqual(service.value(), whole + b"more")
        self.assertEqual(self.said, [])

    def test_serviceCloses(self) -> None:
        self.receive(connected(1))
        self.services.succeed().lose()
        self.assertEqual((self.serving._clients, self.serving._addresses), ({}, {}))
