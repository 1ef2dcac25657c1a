"""Whom we trust over HTTPS: a server whose certificate is for its name, and nobody else.

Owns the check of the authentication server's certificate, in which ``common.servernames`` takes the
place of Twisted's own policy: what decides who may in has to fail closed. Knows nothing of what is
asked.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from nymearemoteproxy.common.servernames import ServerName


@implementer(IOpenSSLClientConnectionCreator)
class _NameCheck:
    def __init__(self, context: SSL.Context, name: ServerName) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name.indication is not None:
            connection.set_tlsext_host_name(self._name.indication)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verdict)
        return connection

    def _verdict(
        self, connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int
    ) -> bool:
        if depth or not ok:
            return bool(ok)
        try:
            self._name.check(certificate.to_cryptography())
        except Exception:
            return False  # whatever it is: pyOpenSSL would log it and take the certificate
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
        return _NameCheck(self._context, ServerName(hostname.decode("ascii").strip("[]")))
