"""Owns the checks of what is made from a secret: who is taken for whom, in memory."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from typing import Any

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.directory import MEMBER_SIZE, NAME_SIZE
from nymearemoteproxy.cluster.identity import (
    PREFACE_SIZE,
    PROOF_SIZE,
    SMALLEST_SECRET,
    MemberIdentity,
    PrefaceRefused,
    nameOf,
)
from nymearemoteproxy.common.certificates import validity
from nymearemoteproxy.common.openssl import inMemory
from tests.support.identities import Identity
from tests.support.links import ELSEWHERE, HERE, OTHER_SECRET, SECRET, THERE, shaken

AUTHORITY = "9e559f5b84debd8b1a35d7a888a372528b6860e2"
"""The key identifier of the authority that `SECRET` makes: members of all versions must agree."""


DISTRUSTED = "unable to get local issuer certificate"
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


def mac(key: bytes, data: bytes) -> bytes:
    """Return what HMAC-SHA256 is (RFC 2104)."""
    inner, outer = (bytes(octet ^ pad for octet in key.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    return hashlib.sha256(outer + hashlib.sha256(inner + data).digest()).digest()


def derived(secret: bytes, info: bytes) -> bytes:
    """Return the first 32 bytes of HKDF-SHA256 without a salt (RFC 5869)."""
    return mac(mac(b"", secret), info + b"\1")


def stranger() -> ssl.SSLContext:
    """Return a client that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class CertificateTests(SynchronousTestCase):
    """Two members; the one that is asked has a certificate that it has made for itself."""

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

    def test_serverProven(self) -> None:
        meeting = self.meet(self.here, self.there)
        meeting.shake()
        self.assertEqual(meeting.client.version(), "TLSv1.3")
        names: Any = meeting.client.getpeercert()
        self.assertEqual(names["subjectAltName"], (("DNS", THERE.hex()),))

    def test_strict(self) -> None:
        """The certificates are what RFC 5280 wants."""
        self.here.clientContext.verify_flags |= ssl.VERIFY_X509_STRICT
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
        """On either side it is the asker that finds it out."""
        stranger = MemberIdentity(OTHER_SECRET, HERE)
        self.assertFails(self.meet(stranger, self.there), DISTRUSTED)
        stranger = MemberIdentity(OTHER_SECRET, THERE)
        self.assertFails(self.meet(self.here, stranger), DISTRUSTED)

    def test_forged(self) -> None:
        """A certificate that looks like a member's, by an authority that looks like ours."""
        authority = Identity("nymea-remoteproxy cluster")
        own = Identity(nameOf(THERE), authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with inMemory(own.pem + own.keyPem) as path:
            context.load_cert_chain(path)
        meeting = Meeting(self.here.clientContext, context, nameOf(THERE))
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

    def ticket(self, meeting: Meeting) -> ssl.SSLSession | None:
        """Shake hands; return what the client can resume it with."""
        meeting.shake()
        meeting.server.write(b"data")
        meeting.pipes[0].write(meeting.pipes[3].read())
        self.assertEqual(meeting.client.read(), b"data")
        session = meeting.client.session
        return session if session is not None and session.has_ticket else None

    def test_tickets(self) -> None:
        """Only who wants one gets it, for it costs memory; it is good several times."""
        self.there.beginTicket(True)
        wishing = self.meet(self.here, self.there)
        self.there.beginTicket(False)
        plain = self.meet(self.here, self.there)
        ticket = self.ticket(wishing)
        self.assertIsNotNone(ticket)
        self.assertIsNone(self.ticket(plain))
        self.assertIsNone(plain.server.getpeercert(True), "nor a certificate of who asks")
        for _ in range(2):
            again = Meeting(
                self.here.clientContext, self.there.serverContext, nameOf(THERE), ticket
            )
            again.shake()
            self.assertTrue(again.client.session_reused and again.server.session_reused)

    def test_notResumedWithAnother(self) -> None:
        """A ticket is good with the one that gave it, as long as its secret is the same."""
        self.there.beginTicket(True)
        ticket = self.ticket(self.meet(self.here, self.there))
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


class ProofTests(SynchronousTestCase):
    """What the one that asks proves itself with."""

    def setUp(self) -> None:
        self.here = MemberIdentity(SECRET, HERE)
        self.there = MemberIdentity(SECRET, THERE)

    def test_proven(self) -> None:
        proof = self.here.proofTo(THERE)
        self.assertEqual(len(proof), PROOF_SIZE)
        self.assertEqual(self.there.provenBy(proof), HERE)

    def test_sameInAllVersions(self) -> None:
        """Or a rolling upgrade fails. Calculated from RFC 5869 and RFC 2104 by other means."""
        key = derived(SECRET, b"nymea-remoteproxy cluster: proof of the asker 1")
        self.assertEqual(self.here.proofTo(THERE), HERE + mac(key, THERE + HERE))
        key = derived(SECRET, b"nymea-remoteproxy cluster: preface 1")
        for number in range(2):
            preface = self.here.prefaceTo(THERE)
            content = THERE.hex().encode() + b"\1" + preface[33:49] + number.to_bytes(8, "big")
            self.assertEqual(preface, content + mac(key, content))

    def test_prefaces(self) -> None:
        """Each is good once, in whatever order they come; those of a new start are others."""
        prefaces = [self.here.prefaceTo(THERE) for _number in range(5)]
        prefaces.append(MemberIdentity(SECRET, HERE).prefaceTo(THERE))
        for preface in reversed(prefaces):
            self.assertEqual(len(preface), PREFACE_SIZE)
            self.assertTrue(self.there.readPreface(preface))
        for preface in prefaces:
            with self.assertRaisesRegex(PrefaceRefused, "used before"):
                self.there.readPreface(preface)

    def test_changedPreface(self) -> None:
        """It is nobody's, and the true one is good all the same."""
        preface = self.here.prefaceTo(THERE)
        for place in range(PREFACE_SIZE * 8):
            changed = bytearray(preface)
            changed[place // 8] ^= 1 << place % 8
            with self.assertRaisesRegex(PrefaceRefused, "another secret"):
                self.there.readPreface(bytes(changed))
        self.assertTrue(self.there.readPreface(preface))

    @given(st.binary(min_size=MEMBER_SIZE, max_size=MEMBER_SIZE))
    def test_noCommand(self, id: bytes) -> None:
        """Who writes to the directory chooses the id and the address, but says nothing there."""
        preface = self.here.prefaceTo(id)
        self.assertRegex(preface[:NAME_SIZE].decode(), "^[0-9a-f]{32}$")

    def test_forAnotherMember(self) -> None:
        """Whoever has been given one cannot pass it on."""
        proof = self.here.proofTo(THERE)
        self.assertIsNone(MemberIdentity(SECRET, ELSEWHERE).provenBy(proof))
        self.assertIsNone(self.here.provenBy(proof))

    def test_otherSecret(self) -> None:
        self.assertIsNone(self.there.provenBy(MemberIdentity(OTHER_SECRET, HERE).proofTo(THERE)))

    def test_prefaceIsNoProof(self) -> None:
        """It goes in clear, and its key is another one."""
        for preface in (self.here.prefaceTo(THERE), self.there.prefaceTo(HERE)):
            for id in (HERE, THERE):
                self.assertIsNone(self.there.provenBy(id + preface[-32:]))

    def test_changed(self) -> None:
        """Any bit of it, the id's included; and too much or too little."""
        proof = self.here.proofTo(THERE)
        for place in range(PROOF_SIZE * 8):
            changed = bytearray(proof)
            changed[place // 8] ^= 1 << place % 8
            self.assertIsNone(self.there.provenBy(bytes(changed)))
        for wrong in (b"", proof[:-1], proof + b"\0", bytes(PROOF_SIZE)):
            self.assertIsNone(self.there.provenBy(wrong))


class AnySecretTests(SynchronousTestCase):
    """Whatever the secret and the ids are."""

    @settings(max_examples=25, deadline=None, database=None)
    @given(st.binary(min_size=16, max_size=80), st.binary(min_size=16, max_size=16))
    def test_agree(self, secret: bytes, id: bytes) -> None:
        """Also an id that looks like a number or an address."""
        one, other = MemberIdentity(secret, HERE), MemberIdentity(secret, id)
        Meeting(one.clientContext, other.serverContext, nameOf(id)).shake()
        Meeting(other.clientContext, one.serverContext, nameOf(HERE)).shake()
        self.assertEqual(other.provenBy(one.proofTo(id)), HERE)
        self.assertEqual(one.provenBy(other.proofTo(HERE)), id)
