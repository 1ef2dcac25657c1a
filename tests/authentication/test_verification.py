"""Whom the authentication backend trusts over HTTPS."""

from __future__ import annotations

import ipaddress

from cryptography import x509
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
from tests.support.certificates import issue, pem


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

    timeout = 300

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

    def test_rightAddressOfIPv6(self) -> Deferred[None]:
        address = x509.IPAddress(ipaddress.ip_address("::1"))
        return self.connect("::1", [address])

    def test_rightNameWithTheDotOfTheRoot(self) -> Deferred[None]:
        return self.connect("localhost.", [x509.DNSName("localhost")])

    def test_wrongAddressOfIPv6(self) -> Deferred[SSL.Error]:
        address = x509.IPAddress(ipaddress.ip_address("::2"))
        return self.assertFailure(self.connect("::1", [address]), SSL.Error)

    def test_wrongName(self) -> Deferred[SSL.Error]:
        connected = self.connect("localhost", [x509.DNSName("example.org")])
        return self.assertFailure(connected, SSL.Error)

    def test_noNameAtAll(self) -> Deferred[SSL.Error]:
        """A trusted certificate that names nobody; Twisted 26.10's own policy accepts it."""
        return self.assertFailure(self.connect("localhost", None), SSL.Error)

    def test_untrusted(self) -> Deferred[SSL.Error]:
        connected = self.connect("localhost", [x509.DNSName("localhost")], trusted=False)
        return self.assertFailure(connected, SSL.Error)
