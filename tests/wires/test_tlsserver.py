"""Owns the checks of which group a client gets, also of OpenSSL's own client."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nymearemoteproxy.common.openssl import P256, X25519
from nymearemoteproxy.wires.direct import DirectFactory
from nymearemoteproxy.wires.tlsserver import TlsFactory
from tests.support.tlssessions import Recorder, Session, TlsCase, serverContext
from tests.support.wires import Inline

reactor: Any = globalReactor

NAMES = {X25519: "X25519", P256: "prime256v1"}


class PythonClient:
    """The client of a session, by `ssl`.

    :param groups: the only one that it has; None = all that OpenSSL has.
    :ivar flights: how often it had to speak before the handshake was done for the server.
    """

    def __init__(
        self,
        group: int | None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        context: ssl.SSLContext | None = None,
        ticket: ssl.SSLSession | None = None,
    ) -> None:
        self.context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.maximum_version = version
        if group is not None:
            self.context.set_ecdh_curve(NAMES[group])
        self.session = Session()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self.incoming, self.outgoing, session=ticket)
        self.flights = 0

    def said(self) -> bytes:
        """Return what it says next in the handshake."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def shaken(self) -> PythonClient:
        """Shake hands, and get the ticket."""
        while not self.session.protocol.handshakes:
            self.session.receive(self.said())
            self.incoming.write(self.session.lower.take())
            self.flights += 1
        self.tls.do_handshake()
        self.session.transport.write(b"done")
        self.incoming.write(self.session.lower.take())
        assert self.tls.read() == b"done"
        return self

    @property
    def group(self) -> int:
        """Whose context served."""
        [group] = [
            group
            for group, context in serverContext().byGroup.items()
            if self.session.transport._tls.context is context
        ]
        return group


def needTwo() -> None:
    """Skip where one context is for all clients."""
    if not serverContext().byGroup:
        raise SkipTest("this Python's contexts take all groups that we want, or only P-256")


class GroupTests(TlsCase):
    """Which group the server takes."""

    def setUp(self) -> None:
        needTwo()

    def test_begunWith(self) -> None:
        """The one that the client has sent a key for: nobody has to begin anew."""
        for group in NAMES:
            client = PythonClient(group).shaken()
            self.assertEqual((client.group, client.flights), (group, 2))

    def test_ofToday(self) -> None:
        """OpenSSL's clients, as others of today, begin with X25519."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = PythonClient(None, version).shaken()
            self.assertEqual((client.group, client.flights), (X25519, 2))

    def test_bytewise(self) -> None:
        client = PythonClient(X25519)
        for octet in client.said():
            self.assertEqual(client.session.lower.value(), b"")
            client.session.receive(bytes([octet]))
        client.incoming.write(client.session.lower.take())
        self.assertEqual(client.shaken().group, X25519)

    def test_resumed(self) -> None:
        """A session is resumed by who begins with the same group again."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for group in (None, *NAMES):
                if version == ssl.TLSVersion.TLSv1_2 and group == X25519:
                    continue  # it would not take our certificate, which is of P-256
                first = PythonClient(group, version).shaken()
                again = PythonClient(group, version, first.context, first.tls.session).shaken()
                self.assertEqual((again.tls.session_reused, again.group), (True, first.group))

    def test_resumedWithAnother(self) -> None:
        """Who then begins with another one gets a whole handshake, and a session of that."""
        for group, other in ((X25519, P256), (P256, X25519)):
            first = PythonClient(group).shaken()
            again = PythonClient(other, context=first.context, ticket=first.tls.session).shaken()
            self.assertEqual((again.tls.session_reused, again.group), (False, other))
            third = PythonClient(other, context=first.context, ticket=again.tls.session).shaken()
            self.assertTrue(third.tls.session_reused)

    def test_oneTicket(self) -> None:
        for context in serverContext():
            self.assertEqual(context.num_tickets, 1)


class WaitingTests(TlsCase):
    """Before a client has said what it wants."""

    def setUp(self) -> None:
        needTwo()

    def test_silent(self) -> None:
        """OpenSSL holds nothing for who does not begin."""
        self.assertFalse(hasattr(Session().transport, "_tls"))

    def test_begun(self) -> None:
        """So it is for who has begun only."""
        client = PythonClient(X25519)
        for octet in client.said()[:-1]:
            client.session.receive(bytes([octet]))
            self.assertFalse(hasattr(client.session.transport, "_tls"))

    def test_empty(self) -> None:
        """A first message of no bytes is not waited for: OpenSSL says what is wrong with it."""
        session = Session()
        session.receive(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")
        self.assertEqual(session.lower.take()[-2:], b"\x02\x32")

    def test_leaves(self) -> None:
        """It goes, or has to go, in the middle of its first message."""
        client = PythonClient(X25519)
        client.session.receive(client.said()[:-1])
        client.session.lower.lose(ConnectionDone())
        self.assertLost(client.session, ConnectionLost)
        for leave in ("loseConnection", "abortConnection"):
            client = PythonClient(X25519)
            client.session.receive(client.said()[:-1])
            getattr(client.session.transport, leave)()
            self.assertTrue(client.session.lower.aborted)
            self.assertEqual(client.session.lower.take(), b"")

    def test_cutIntoRecords(self) -> None:
        """A first message that is cut into many records is OpenSSL's as it came."""
        for size in (1, 10, 100):
            client = PythonClient(None)
            hello = client.said()[5:]
            client.session.receive(
                b"".join(
                    b"\x16\x03\x01"
                    + len(hello[at : at + size]).to_bytes(2, "big")
                    + hello[at : at + size]
                    for at in range(0, len(hello), size)
                )
            )
            client.incoming.write(client.session.lower.take())
            self.assertEqual(client.shaken().tls.version(), "TLSv1.3")


class OpenSslTests(TestCase):
    """OpenSSL's own client, over real connections."""

    timeout = 300

    def setUp(self) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            raise SkipTest("openssl is not installed")
        factory = Factory.forProtocol(Recorder)
        factory.noisy = False
        below = DirectFactory(TlsFactory(serverContext(), factory))
        port = reactor.listenTCP(0, below, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        address = f"127.0.0.1:{port.getHost().port}"
        self.command = [openssl, "s_client", "-connect", address, "-msg"]

    def asked(self, *options: str) -> Any:
        """Fire with what it says, all at once, when it has left."""
        return deferToThread(
            subprocess.run,
            [*self.command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )

    @inlineCallbacks
    def test_taken(self) -> Inline:
        """What is taken, and how often the client had to say hello."""
        needTwo()
        for version in ("-tls1_3", "-tls1_2"):
            for groups, taken, hellos in (
                ("X25519", "X25519", 1),
                ("P-256", "prime256v1", 1),
                ("X25519:P-256", "X25519", 1),
                ("P-256:X25519", "prime256v1" if version == "-tls1_3" else "X25519", 1),
                ("P-384:P-256", "prime256v1", 2 if version == "-tls1_3" else 1),
                ("P-384:P-256:X25519", "X25519", 2 if version == "-tls1_3" else 1),
            ):
                if version == "-tls1_2" and groups == "X25519":
                    continue  # it would not take our certificate, which is of P-256
                done = yield self.asked(version, "-groups", groups)
                said = done.stdout
                self.assertEqual(done.returncode, 0, (version, groups, said))
                [key] = [line for line in said.splitlines() if "Temp Key: " in line]
                self.assertIn(taken, key, (version, groups))
                count = said.count("ClientHello\n")
                self.assertEqual(count, hellos, (version, groups, said))

    @inlineCallbacks
    def test_refused(self) -> Inline:
        """Larger ones are refused, of which some would cost the server a lot, and it is said so."""
        for version in ("-tls1_3", "-tls1_2"):
            for groups in ("P-384", "P-521", "ffdhe8192"):
                if version == "-tls1_2" and groups == "ffdhe8192":
                    continue  # it has no cipher for that which we take
                done = yield self.asked(version, "-groups", groups)
                self.assertNotEqual(done.returncode, 0, (version, groups))
                self.assertIn("handshake failure", done.stdout, (version, groups))
