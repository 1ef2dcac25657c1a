"""Owns the checks of certificates made from a secret: who is taken for whom, in memory."""

from __future__ import annotations

import datetime
import ssl
from typing import Any

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.identity import SMALLEST_SECRET, MemberIdentity, nameOf
from nymearemoteproxy.common.openssl import GROUP, inMemory
from nymearemoteproxy.listening.tls import validity
from tests.support.identities import Identity
from tests.support.links import ELSEWHERE, HERE, OTHER_SECRET, SECRET, THERE, shaken

AUTHORITY = "9e559f5b84debd8b1a35d7a888a372528b6860e2"
"""The key identifier of the authority that `SECRET` makes: members of all versions must agree."""


DISTRUSTED = "self-signed certificate in certificate chain"
"""OpenSSL's words for an authority that it does not know."""


class Meeting:
    """A handshake in memory.

    :param client: a context.
    :param server: another one.
    :param name: what the client asks for.
    """

    def __init__(
        self,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        name: str | None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.pipes = [ssl.MemoryBIO() for _ in range(4)]
        clientIn, clientOut, serverIn, serverOut = self.pipes
        self.client = client.wrap_bio(clientIn, clientOut, server_hostname=name, session=session)
        self.server = server.wrap_bio(serverIn, serverOut, server_side=True)

    def shake(self) -> tuple[bytes, bytes]:
        """Shake hands; return what the client and the server said."""
        return shaken(self.client, self.server, self.pipes)

    def ticket(self) -> ssl.SSLSession:
        """Return what the client can resume it with."""
        self.server.write(b"data")
        self.pipes[0].write(self.pipes[3].read())
        assert self.client.read() == b"data"
        session = self.client.session
        assert session is not None and session.has_ticket
        return session


def stranger() -> ssl.SSLContext:
    """Return a client that trusts everybody, and has no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ecdh_curve(GROUP)
    return context


class ProofTests(SynchronousTestCase):
    """Two members, each with a certificate that it has made for itself."""

    def setUp(self) -> None:
        self.here = MemberIdentity(SECRET, HERE)
        self.there = MemberIdentity(SECRET, THERE)

    def meet(self, here: MemberIdentity, there: MemberIdentity, id: bytes = THERE) -> Meeting:
        return Meeting(here.clientContext, there.serverContext, nameOf(id))

    def certificate(self, tls: ssl.SSLObject) -> x509.Certificate:
        """Return the peer's."""
        encoded = tls.getpeercert(True)
        assert encoded is not None
        return x509.load_der_x509_certificate(encoded)

    def assertFails(self, meeting: Meeting, *words: str) -> None:
        error = self.assertRaises(ssl.SSLError, meeting.shake)
        for word in words:
            self.assertIn(word, str(error).lower().replace("_", " "))

    def test_bothProven(self) -> None:
        meeting = self.meet(self.here, self.there)
        meeting.shake()
        self.assertEqual(meeting.client.version(), "TLSv1.3")
        for tls, id in ((meeting.client, THERE), (meeting.server, HERE)):
            names: Any = tls.getpeercert()
            self.assertEqual(names["subjectAltName"], (("DNS", id.hex()),))

    def test_strict(self) -> None:
        """The certificates are what RFC 5280 wants."""
        for context in (self.here.clientContext, self.there.serverContext):
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        self.meet(self.here, self.there).shake()

    def test_authority(self) -> None:
        """It is the same in each version of this program, or a rolling upgrade fails."""
        meeting = self.meet(self.here, self.there)
        meeting.shake()
        extensions = self.certificate(meeting.client).extensions
        found = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        self.assertEqual((found.key_identifier or b"").hex(), AUTHORITY)

    def test_datesDoNotCount(self) -> None:
        meeting = self.meet(self.here, self.there)
        meeting.shake()
        begin, end = validity(self.certificate(meeting.client))
        self.assertEqual(begin, datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
        self.assertEqual(end.year, 9999)

    def test_otherSecret(self) -> None:
        """On either side."""
        stranger = MemberIdentity(OTHER_SECRET, HERE)
        self.assertFails(self.meet(stranger, self.there), DISTRUSTED)
        stranger = MemberIdentity(OTHER_SECRET, THERE)
        self.assertFails(self.meet(self.here, stranger), DISTRUSTED)

    def test_serverAlsoChecks(self) -> None:
        """One that has a certificate of another cluster's, and takes anybody."""
        stranger = MemberIdentity(OTHER_SECRET, HERE)
        stranger.clientContext.check_hostname = False
        stranger.clientContext.verify_mode = ssl.CERT_NONE
        meeting = self.meet(stranger, self.there)
        self.assertFails(meeting, "certificate verify failed")

    def test_noCertificate(self) -> None:
        """One that knows the id, and nothing else."""
        meeting = Meeting(stranger(), self.there.serverContext, nameOf(THERE))
        self.assertFails(meeting, "peer did not return a certificate")

    def test_forged(self) -> None:
        """A certificate that looks like a member's, by an authority that looks like ours."""
        authority = Identity("nymea-remoteproxy cluster")
        own = Identity(nameOf(HERE), authority)
        context = stranger()
        with inMemory(own.pem + own.keyPem) as path:
            context.load_cert_chain(path)
        meeting = Meeting(context, self.there.serverContext, nameOf(THERE))
        self.assertFails(meeting, "certificate verify failed")

    def test_notTheOneThatWasMeant(self) -> None:
        """A member that poses as another is found out by its certificate."""
        self.there.serverContext.sni_callback = None  # it does not mind what it is asked for
        self.assertFails(self.meet(self.here, self.there, ELSEWHERE), "hostname mismatch")

    def test_nothingIsShown(self) -> None:
        """Who asks for another member, or for none, sees an alert and nothing else."""
        for name in (nameOf(ELSEWHERE), "localhost", None):
            meeting = Meeting(stranger(), self.there.serverContext, name)
            self.assertFails(meeting, "callback failed")
            # It is waiting in the client's pipe: fatal, unrecognized_name (RFC 6066 section 3)
            self.assertEqual(meeting.pipes[0].read(), b"\x15\x03\x03\x00\x02\x02\x70")

    def test_onlyTls13(self) -> None:
        context = stranger()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        meeting = Meeting(context, self.there.serverContext, nameOf(THERE))
        self.assertFails(meeting, "unsupported protocol")

    def test_resumed(self) -> None:
        """Several times; the client's certificate is known then, too."""
        first = self.meet(self.here, self.there)
        whole = first.shake()
        ticket = first.ticket()
        for _ in range(2):
            again = Meeting(
                self.here.clientContext, self.there.serverContext, nameOf(THERE), ticket
            )
            short = again.shake()
            self.assertTrue(again.client.session_reused and again.server.session_reused)
            self.assertLess(sum(map(len, short)), sum(map(len, whole)) * 0.7)
            names: Any = again.server.getpeercert()
            self.assertEqual(names["subjectAltName"], (("DNS", HERE.hex()),))

    def test_notResumedWithAnother(self) -> None:
        """A ticket is good with the one that gave it, as long as its secret is the same."""
        first = self.meet(self.here, self.there)
        first.shake()
        ticket = first.ticket()
        anew = MemberIdentity(SECRET, THERE)
        again = Meeting(self.here.clientContext, anew.serverContext, nameOf(THERE), ticket)
        again.shake()
        self.assertFalse(again.client.session_reused or again.server.session_reused)
        anew = MemberIdentity(OTHER_SECRET, THERE)
        again = Meeting(self.here.clientContext, anew.serverContext, nameOf(THERE), ticket)
        self.assertFails(again, DISTRUSTED)

    def test_shortSecret(self) -> None:
        self.assertRaises(ValueError, MemberIdentity, bytes(SMALLEST_SECRET - 1), HERE)
        MemberIdentity(bytes(SMALLEST_SECRET), HERE)


class AnySecretTests(SynchronousTestCase):
    """Whatever the secret and the ids are."""

    @settings(max_examples=25, deadline=None, database=None)
    @given(st.binary(min_size=16, max_size=80), st.binary(min_size=16, max_size=16))
    def test_agree(self, secret: bytes, id: bytes) -> None:
        """Also an id that looks like a number or an address."""
        one, other = MemberIdentity(secret, HERE), MemberIdentity(secret, id)
        Meeting(one.clientContext, other.serverContext, nameOf(id)).shake()
        Meeting(other.clientContext, one.serverContext, nameOf(HERE)).shake()
