"""Encryption from end to end: its rules, and two ends in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.connecting.endtoend import (
    HANDSHAKE_TIMEOUT,
    LAST_WORDS_TIMEOUT,
    MAX_HANDSHAKE,
    CallingSide,
    EncryptedEndpoint,
    ServingSide,
    Side,
)
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.rules.endtoend import (
    FIRST_WORDS,
    agreedName,
    asksForEncryption,
    isRefused,
    isUnfinished,
    misfit,
)
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.common.certificates import CertificateFiles, readCertificateAndKey
from tests.support.encryption import NAME, REFUSAL, UUID, Pair, hello, write
from tests.support.nearby import Endpoint
from tests.support.proxies import PARTNER, Certificate, Recorder, recording


class RulesTests(SynchronousTestCase):
    def test_names(self) -> None:
        """However a uuid is written; every nonce has a name of its own, which is short."""
        for written in (UUID, f"{{{UUID}}}", UUID.upper(), UUID.replace("-", "")):
            self.assertEqual(agreedName(written, None), NAME.encode())
        names = {agreedName(None, nonce) for nonce in (None, "a", "b", "ü" * 1000)}
        self.assertEqual(len(names), 4)
        self.assertEqual(agreedName(None, None), agreedName(None, ""))
        self.assertTrue(all(len(name) < 256 for name in names))

    def test_asksForEncryption(self) -> None:
        self.assertTrue(asksForEncryption(hello(NAME)))
        self.assertTrue(asksForEncryption(hello("http/1.1", NAME)))
        self.assertFalse(asksForEncryption(hello("http/1.1")))
        self.assertFalse(asksForEncryption(hello()))
        self.assertFalse(asksForEncryption(NAME.encode()))
        self.assertFalse(asksForEncryption(b""))

    def test_unfinished(self) -> None:
        whole = hello(NAME)
        self.assertFalse(isUnfinished(whole))
        self.assertFalse(isUnfinished(whole + b"more"))
        for end in range(len(whole)):
            self.assertEqual(isUnfinished(whole[:end]), end >= 5)
        self.assertFalse(isUnfinished(b"GET / HTTP/1.1"))
        endless = b"\x16\x03\x01\xff\xff"
        self.assertTrue(isUnfinished(endless.ljust(FIRST_WORDS - 1)))
        self.assertFalse(isUnfinished(endless.ljust(FIRST_WORDS)))

    def test_refused(self) -> None:
        self.assertTrue(isRefused(b"", REFUSAL))
        self.assertTrue(isRefused(b"GET /", REFUSAL))
        self.assertFalse(isRefused(hello(), REFUSAL))
        self.assertFalse(isRefused(b"GET /", b"HTTP/1.1 200 OK"))
        self.assertFalse(isRefused(b"GET /", REFUSAL + b"x"))

    def test_misfit(self) -> None:
        for isCalling, missing in (
            (True, "--end-to-end"),
            (False, "--end-fingerprint or --end-ca"),
        ):
            for heard in (b"HTTP/1.1 400 Bad Request", b"\x16\x02", b"S"):
                self.assertEqual(
                    misfit(heard, isCalling), f"the far end speaks no TLS; it needs {missing}"
                )
            self.assertEqual(
                misfit(REFUSAL, isCalling),
                f"the far end does not encrypt from end to end; it needs {missing}",
            )
            for heard in (b"\x16", b"\x16\x03", b"\x15", REFUSAL[:6], b"\x16\x03\x03\x00\x7a\x02"):
                self.assertEqual(misfit(heard, isCalling), None)
        self.assertIsNone(misfit(hello(NAME), isCalling=False))
        self.assertEqual(
            misfit(hello(NAME), isCalling=True),
            "both ends have --end-fingerprint or --end-ca; one of them needs --end-to-end instead",
        )


class _Nobody(Factory):
    """Wants no connection."""

    def buildProtocol(self, addr: object) -> None:
        return None


def name() -> bytes:
    return agreedName(UUID, None)


class TwoEndsTests(SynchronousTestCase):
    """Two ends, and everything that the proxy sees."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pair = Pair(self.clock)
        self.directory = Path(self.mktemp())
        self.certificate = Certificate([UUID])

    def serving(self, certificate: Certificate | None = None, agreed: bytes | None = None) -> Side:
        files = CertificateFiles(*write(certificate or self.certificate, self.directory))
        return ServingSide(readCertificateAndKey(files), agreed or name())

    def calling(self, trust: TlsOptions | None = None, host: str = "") -> CallingSide:
        trust = trust or TlsOptions(fingerprint=self.certificate.fingerprint)
        return CallingSide(trust, name(), host)

    def connect(self, *sides: Side) -> list[Deferred[Any]]:
        """Connect both ends."""
        results = []
        for half, side in zip(self.pair.halves, sides, strict=True):
            endpoint: Any = half
            encrypted = EncryptedEndpoint(endpoint, self.clock, side)
            results.append(encrypted.connect(recording()))
        self.pair.pump()
        return results

    def tunnel(self) -> tuple[Recorder, Recorder]:
        """Return the protocols of an encrypted tunnel, the calling one first."""
        one, other = self.connect(self.calling(), self.serving())
        return self.successResultOf(one), self.successResultOf(other)

    def fails(self, result: Deferred[Any]) -> TunnelError:
        """Return what is said."""
        problem = self.failureResultOf(result, TunnelError).value
        assert isinstance(problem, TunnelError)
        self.assertNotIn("\n", str(problem))
        return problem

    def tearDown(self) -> None:
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    def lose(self) -> None:
        for half in self.pair.halves:
            half.line.lose()

    def test_works(self) -> None:
        one, other = self.tunnel()
        self.assertEqual(one.transport.partner, PARTNER)
        one.transport.write(b"a secret")
        other.transport.write(b"another one")
        self.pair.pump()
        self.assertEqual((other.data, one.data), (b"a secret", b"another one"))
        self.assertNotIn(b"secret", self.pair.seen)
        self.assertNotIn(b"another", self.pair.seen)
        self.assertNotIn(self.certificate.pem, self.pair.seen)
        self.lose()

    def test_onlyTls13(self) -> None:
        one, _ = self.tunnel()
        layer = one.transport._wire
        self.assertEqual(layer.getHandle().get_protocol_version_name(), "TLSv1.3")
        self.lose()

    def test_wrongFingerprint(self) -> None:
        trust = TlsOptions(fingerprint="0" * 64)
        one, other = self.connect(self.calling(trust), self.serving())
        problem = self.fails(one)
        self.assertRegex(
            str(problem),
            r"\ATLS verification failed: the far end's fingerprint is [0-9A-F:]{95}, not that of "
            r"--end-fingerprint\Z",
        )
        self.assertFalse(problem.isTransient)
        self.lose()

    def test_authority(self) -> None:
        authority = Certificate([], isAuthority=True)
        certificate = Certificate([UUID], issuer=authority)
        trust = TlsOptions(ca=authority.pem)
        one, _ = self.connect(self.calling(trust, UUID), self.serving(certificate))
        self.successResultOf(one)
        self.lose()

    def test_otherName(self) -> None:
        authority = Certificate([], isAuthority=True)
        certificate = Certificate(["other.example.org"], issuer=authority)
        trust = TlsOptions(ca=authority.pem)
        one, _ = self.connect(self.calling(trust, UUID), self.serving(certificate))
        self.assertEqual(
            str(self.fails(one)),
            f"TLS verification failed: the certificate is not for {UUID}",
        )
        self.lose()

    def test_otherAuthority(self) -> None:
        trust = TlsOptions(ca=Certificate([], isAuthority=True).pem)
        one, other = self.connect(self.calling(trust, UUID), self.serving())
        problem = self.fails(one)
        self.assertIn("for a certificate of its own give its --end-fingerprint", str(problem))
        self.assertFalse(problem.isTransient)
        self.assertIn("the encryption from end to end failed: ", str(self.fails(other)))

    def test_noName(self) -> None:
        trust = TlsOptions(ca=Certificate([], isAuthority=True).pem)
        for host in ("", "bücher.example"):
            self.assertRaises(ValueError, self.calling, trust, host)

    def test_otherServer(self) -> None:
        """The proxy leads to another service of the same machine, with the same certificate."""
        agreed = agreedName(UUID.replace("6", "7"), None)
        for result in self.connect(self.calling(), self.serving(agreed=agreed)):
            problem = self.fails(result)
            self.assertIn("perhaps it is another server or partner", str(problem))
            self.assertFalse(problem.isTransient)

    def test_bothCall(self) -> None:
        for result in self.connect(self.calling(), self.calling()):
            self.assertIn("both ends have --end-fingerprint or --end-ca", str(self.fails(result)))

    def test_bothServe(self) -> None:
        one, other = self.connect(self.serving(), self.serving())
        self.clock.advance(HANDSHAKE_TIMEOUT - 0.1)
        self.assertNoResult(one)
        self.clock.advance(0.1)
        self.pair.pump()
        for result in (one, other):
            problem = self.fails(result)
            self.assertIn("it needs --end-fingerprint or --end-ca", str(problem))

    def test_silence(self) -> None:
        """An end that does not even close has no more than its time."""
        self.connect(self.calling(), self.serving())
        self.lose()
        self.pair = Pair(self.clock)
        one, half = self.begin(self.calling())
        self.clock.advance(HANDSHAKE_TIMEOUT)
        self.assertTrue(half.line.disconnecting)
        self.clock.advance(LAST_WORDS_TIMEOUT)
        self.assertTrue(half.line.aborted)
        half.line.lose()
        problem = self.fails(one)
        self.assertEqual(
            str(problem), "no handshake with the far end within 30 s; it needs --end-to-end"
        )
        self.assertTrue(problem.isTransient)

    def begin(self, side: Side) -> tuple[Deferred[Any], Any]:
        """Connect one end, and return what stands for the other."""
        endpoint: Any = self.pair.halves[0]
        return EncryptedEndpoint(endpoint, self.clock, side).connect(recording()), endpoint

    def test_plainFarEnd(self) -> None:
        """Its end is told in clear what is wrong, if it is the one without a certificate."""
        for side, said in ((self.calling(), b""), (self.serving(), REFUSAL)):
            self.pair = Pair(self.clock)
            result, half = self.begin(side)
            half.line.take()
            half.tunnel.deliver(b"SSH-2.0-OpenSSH_9.2\r\n")
            half.tunnel.deliver(b"and more")
            self.assertEqual(half.line.take(), said)
            half.line.lose()
            problem = self.fails(result)
            self.assertIn("the far end speaks no TLS; it needs --end", str(problem))
            self.assertFalse(problem.isTransient)

    def test_refused(self) -> None:
        result, half = self.begin(self.calling())
        half.tunnel.deliver(REFUSAL)
        half.line.lose()
        problem = self.fails(result)
        self.assertIn("does not encrypt from end to end; it needs --end-to-end", str(problem))
        self.assertFalse(problem.isTransient)

    def test_endlessHandshake(self) -> None:
        """Of what an end sends before it is known no more is kept than a handshake may have."""
        result, half = self.begin(self.calling())
        record = b"\x16\x03\x03\x40\x00" + b"\x0b\xff\xff\xff".ljust(1 << 14, b"x")
        hello = b"\x16\x03\x03\x40\x00" + b"\x02\x00\xff\xff".ljust(1 << 14, b"x")
        for _ in range(MAX_HANDSHAKE // len(record) + 1):
            if not half.line.disconnecting:
                half.tunnel.deliver(hello)
        self.assertTrue(half.line.disconnecting)
        half.line.lose()
        self.fails(result)

    def test_goneInTheHandshake(self) -> None:
        result, half = self.begin(self.calling())
        half.line.lose()
        problem = self.fails(result)
        self.assertIn("gone before the handshake; does it have --end-to-end?", str(problem))
        self.assertTrue(problem.isTransient)

    def test_tunnelBreaksInTheHandshake(self) -> None:
        result, half = self.begin(self.calling())
        half.line.lose(ConnectionLost("the proxy has been silent for 30 s"))
        self.assertTrue(self.fails(result).isTransient)

    def test_cancelled(self) -> None:
        result, half = self.begin(self.calling())
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(half.line.aborted)
        half.line.lose()

    def test_cancelledWithoutTunnel(self) -> None:
        endpoint: Any = Endpoint()
        result = EncryptedEndpoint(endpoint, self.clock, self.calling()).connect(recording())
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(endpoint.cancelled, 1)

    def test_noProtocol(self) -> None:
        one, other = self.pair.halves
        endpoints: Any = one, other
        result = EncryptedEndpoint(endpoints[0], self.clock, self.calling()).connect(_Nobody())
        encrypted = EncryptedEndpoint(endpoints[1], self.clock, self.serving())
        encrypted.connect(recording()).addErrback(lambda _: None)
        self.pair.pump()
        self.failureResultOf(result, NoProtocol)
        self.lose()

    def test_end(self) -> None:
        """What was written before the end arrives, and so does what the other had written."""
        one, other = self.tunnel()
        one.transport.write(b"question" * 10_000)
        one.transport.loseConnection()
        other.transport.write(b"answer" * 10_000)
        self.pair.pump()
        self.assertEqual(other.data, b"question" * 10_000)
        self.assertEqual(one.data, b"answer" * 10_000)
        for end in (one, other):
            self.assertIsInstance(self.successResultOf(end.lost), ConnectionDone)

    def test_loseWriteConnection(self) -> None:
        """Both ways, and never below TLS, as Twisted's own would."""
        one, other = self.tunnel()
        one.transport.write(b"last")
        one.transport.loseWriteConnection()
        self.pair.pump()
        self.assertEqual(other.data, b"last")
        self.assertIsInstance(self.successResultOf(other.lost), ConnectionDone)

    def test_cutOff(self) -> None:
        """Whoever is between the ends cannot pass that off as the other's own decision."""
        ends = self.tunnel()
        self.lose()
        for end in ends:
            lost: Any = self.successResultOf(end.lost)
            self.assertIsInstance(lost, ConnectionLost)
            self.assertEqual(lost.args, ("it was cut off, the far end has not ended it",))

    def test_brokenTunnel(self) -> None:
        one, _ = self.tunnel()
        self.pair.halves[0].line.lose(ConnectionLost("the proxy has been silent for 30 s"))
        lost: Any = self.successResultOf(one.lost)
        self.assertEqual(lost.args, ("the proxy has been silent for 30 s",))
        self.lose()

    def test_changed(self) -> None:
        """One bit on the way ends the tunnel, and what it is in never arrives."""
        one, other = self.tunnel()
        one.transport.write(b"first")
        self.pair.pump()
        one.transport.write(b"second")
        record = bytearray(self.pair.halves[0].line.take())
        record[-1] ^= 1
        self.pair.halves[1].tunnel.deliver(bytes(record))
        self.pair.pump()
        self.assertEqual(other.data, b"first")
        lost: Any = self.successResultOf(other.lost)
        self.assertIsInstance(lost, ConnectionLost)
        self.assertIn("the encryption from end to end failed: ", str(lost))

    def test_lostRecord(self) -> None:
        one, other = self.tunnel()
        one.transport.write(b"first")
        self.pair.halves[0].line.take()
        one.transport.write(b"second")
        self.pair.pump()
        self.assertEqual(other.data, b"")
        self.assertIsInstance(self.successResultOf(other.lost), ConnectionLost)

    def test_pause(self) -> None:
        """Who pauses gets nothing, and nothing is read for it; later it gets everything."""
        one, other = self.tunnel()
        data = os.urandom(200_000)
        other.transport.pauseProducing()
        self.assertTrue(self.pair.halves[1].line.isPaused)
        one.transport.write(data)
        self.pair.pump()
        self.assertEqual(other.data, b"")
        other.transport.resumeProducing()
        self.clock.pump([0, 0, 0])
        self.assertEqual(other.data, data)
        self.assertFalse(self.pair.halves[1].line.isPaused)
        self.lose()

    def test_backPressure(self) -> None:
        """A producer is paused and resumed as if there were no encryption."""
        one, _ = self.tunnel()
        told: list[str] = []

        class Producer:
            def pauseProducing(self) -> None:
                told.append("pause")

            def resumeProducing(self) -> None:
                told.append("resume")

            def stopProducing(self) -> None:
                told.append("stop")

        one.transport.registerProducer(Producer(), True)
        line = self.pair.halves[0].line
        line.full = True
        one.transport.write(b"x")
        self.assertEqual(told, ["pause"])
        line.drain()
        self.assertEqual(told, ["pause", "resume"])
        self.lose()

    def test_endWhileAProducerIsPaused(self) -> None:
        """The far end leaves, and what a paused producer still has to say keeps nobody."""
        one, other = self.tunnel()

        class Paused:
            def pauseProducing(self) -> None: ...

            def resumeProducing(self) -> None: ...

        one.transport.registerProducer(Paused(), True)
        line = self.pair.halves[0].line
        line.full = True
        one.transport.write(b"x")
        other.transport.loseConnection()
        self.pair.pump()
        self.assertIsInstance(self.successResultOf(one.lost), ConnectionDone)
        self.assertIsNone(line.producer)

    def test_onePiece(self) -> None:
        """What is written at once goes out at once: over WebSocket it is one message."""
        one, other = self.tunnel()
        written: list[bytes] = []
        self.patch(self.pair.halves[0].line, "write", written.append)
        data = os.urandom(100_000)
        one.transport.write(data)
        self.assertEqual(len(written), 1)
        self.pair.halves[1].tunnel.deliver(written[0])
        self.assertEqual(other.data, data)
        self.lose()

    def test_sidesOfCertificates(self) -> None:
        """What is no certificate for OpenSSL is one line."""
        identity = readCertificateAndKey(CertificateFiles(*write(self.certificate, self.directory)))
        wrong = type(identity)(identity.own, identity.chain, b"no key")
        self.assertRaises(ValueError, ServingSide, wrong, name())
