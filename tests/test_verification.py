"""Whom the authentication backend trusts over HTTPS."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from nymearemoteproxy.authentication.verification import VerifiedHttps


def issue(
    name: str,
    alternatives: list[x509.GeneralName] | None,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Make a certificate; self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return both in one PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@implementer(IHandshakeListener)
class Greeting(Protocol):
    """Fires with None when the handshake succeeded, with the reason when it did not."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def handshakeCompleted(self) -> None:
        self.done.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.errback(reason)


class VerificationTests(TestCase):
    """A server has to prove the name or address it was called by."""

    timeout = 20

    def setUp(self) -> None:
        self.authority = issue("authority", None)

    @inlineCallbacks
    def connect(self, host: str, alternatives: list[x509.GeneralName] | None, trusted: bool = True):
        from twisted.internet import reactor

        certificate, key = issue("nobody", alternatives, self.authority)
        options = PrivateCertificate.loadPEM(pem(certificate, key)).options()
        port = reactor.listenSSL(0, Factory.forProtocol(Protocol), options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        root = self.authority if trusted else issue("another", None)
        trust = trustRootFromCertificates([Certificate.loadPEM(pem(*root))])
        creator = VerifiedHttps(trust).creatorForNetloc(host.encode(), port.getHost().port)
        endpoint = wrapClientTLS(
            creator, TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        )
        greeting = yield endpoint.connect(Factory.forProtocol(Greeting))
        try:
            yield greeting.done
        finally:
            greeting.transport.abortConnection()

    def test_rightName(self) -> Deferred[None]:
        return self.connect("localhost", [x509.DNSName("localhost")])

    def test_rightAddress(self) -> Deferred[None]:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return self.connect("127.0.0.1", [address])

    def test_wrongName(self) -> Deferred[SSL.Error]:
        connected = self.connect("localhost", [x509.DNSName("example.org")])
        return self.assertFailure(connected, SSL.Error)

    def test_noNameAtAll(self) -> Deferred[SSL.Error]:
        """A trusted certificate that names nobody; Twisted 26.10's own policy accepts it."""
        return self.assertFailure(self.connect("localhost", None), SSL.Error)

    def test_untrusted(self) -> Deferred[SSL.Error]:
        connected = self.connect("localhost", [x509.DNSName("localhost")], trusted=False)
        return self.assertFailure(connected, SSL.Error)
