"""Whom we trust over HTTPS: a server whose certificate is for its name, and nobody else.

Owns the check of the authentication server's certificate. Twisted 26.10's own policy lets a
certificate pass that has a trusted issuer but names nobody (its callback logs the exception and
keeps OpenSSL's verdict on the chain); what decides who may in has to fail closed.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer


@implementer(IOpenSSLClientConnectionCreator)
class _NameCheck:
    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host
        self._isAddress = isIPAddress(host) or isIPv6Address(host)

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not self._isAddress:
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verdict)
        return connection

    def _verdict(
        self, connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int
    ) -> bool:
        if depth or not ok:
            return bool(ok)
        verify = verify_certificate_ip_address if self._isAddress else verify_certificate_hostname
        try:
            verify(certificate.to_cryptography(), self._host)
        except Exception:
            return False  # a certificate that cannot be understood proves nothing
        return True


@implementer(IPolicyForHTTPS)
class VerifiedHttps:
    """TLS 1.2 or 1.3 with a server that proves its name or address.

    :param trustRoot: the authorities to trust, such as `twisted.internet.ssl.platformTrust`.
    """

    def __init__(self, trustRoot: Any) -> None:
        options = CertificateOptions(trustRoot=trustRoot, raiseMinimumTo=TLSVersion.TLSv1_2)
        self._context = options.getContext()

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        # A URL may have the dot of the root behind a name. No certificate has it, and the handshake
        # must not (RFC 6066 section 3).
        host = hostname.decode("ascii").strip("[]").removesuffix(".")
        return _NameCheck(self._context, host)
