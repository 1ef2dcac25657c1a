"""Whom a client trusts over TLS.

Owns the check of the server's certificate, and the words for why it is not trusted. Knows nothing
of what is sent over the connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from nymearemoteproxy.client.rules.errors import TunnelError, oneLine
from nymearemoteproxy.common.servernames import ServerName

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# X509_V_ERR_…: pyOpenSSL hands out the numbers only.
_NOT_YET_VALID = 9
_CHAIN_ERRORS = {
    _NOT_YET_VALID: "the certificate is not valid yet; is the clock right?",
    10: "the certificate has expired",
    18: "the certificate is self-signed and not trusted",
    19: "a self-signed certificate in the chain is not trusted",
    20: "the certificate's issuer is not known",
    21: "the certificate's issuer is not known",
    23: "the certificate is revoked",
}

# Those of certificates that nobody vouches for.
_OWN_ERRORS = (18, 19, 20, 21)

# What OpenSSL says of a server's first bytes when they are no TLS.
_NO_TLS = ("wrong version number", "packet length too long", "http request", "unknown protocol")


@dataclass(frozen=True)
class TlsOptions:
    """Whom to trust. Without any: the system's authorities, for the URL's host name or address.

    :ivar ca: PEM certificates to trust instead of the system's authorities.
    :ivar fingerprint: SHA-256 of the server's own certificate (DER), in hex, with or without
        colons. Nothing else is looked at then.
    :ivar insecure: trust everybody.
    :raises ValueError: more than one is given, or one cannot be read.
    """

    ca: bytes | None = None
    fingerprint: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.ca is not None) + (self.fingerprint is not None) + self.insecure > 1:
            raise ValueError("a CA, a fingerprint and 'insecure' exclude each other")
        self.authorities()
        if self.fingerprint is not None:
            digits = self.fingerprint.replace(":", "").strip().lower()
            if not re.fullmatch("[0-9a-f]{64}", digits):
                raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
            object.__setattr__(self, "fingerprint", digits)

    def authorities(self) -> list[Certificate]:
        """Return the certificates in `ca`; ValueError when there are none or one is broken."""
        if self.ca is None:
            return []
        try:
            read = [x509.load_pem_x509_certificate(pem) for pem in _PEM.findall(self.ca)]
            found = [Certificate.load(each.public_bytes(Encoding.DER)) for each in read]
        except Exception:  # OpenSSL has errors of its own for what only it refuses
            raise ValueError("a certificate of the CA file is broken") from None
        if not found:
            raise ValueError("the CA file holds no PEM certificate")
        return found


@implementer(IOpenSSLClientConnectionCreator)
class ServerCheck:
    """Makes the TLS side of one connection, and decides whether the server is the right one.

    The host is checked here after the handshake, not by Twisted's `optionsForClientTLS`: see
    `servernames`.

    :param host: what the certificate has to be for.
    :cvar minimum: the oldest version that is spoken.
    :cvar protocols: what is offered by ALPN, if anything.
    """

    minimum = TLSVersion.TLSv1_2
    protocols: list[bytes] | None = None

    # In what is said of it.
    _server = "the server"
    _fingerprintOption = "--fingerprint"
    _remedy = (
        "for a certificate of the proxy's own give its --fingerprint, or its authority as --ca"
    )
    _failed = "TLS failed"

    def __init__(self, options: TlsOptions, host: str) -> None:
        self._options = options
        self._name = ServerName(host)
        self._indication = self._name.indication
        self._chainError: int | None = None

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """Implement `IOpenSSLClientConnectionCreator`."""
        context: dict[str, Any] = {"raiseMinimumTo": self.minimum}
        if self._options.ca is not None:
            context["trustRoot"] = trustRootFromCertificates(self._options.authorities())
        elif self._verifiesChain:
            context["trustRoot"] = platformTrust()
        made: Any = CertificateOptions(**context).getContext()
        self.tune(made)
        connection = SSL.Connection(made, None)
        if self._indication is not None:
            connection.set_tlsext_host_name(self._indication)
        if self.protocols is not None:
            # Not by the options: Twisted's two worlds do it in two ways.
            connection.set_alpn_protos(self.protocols)
        if self._verifiesChain:
            connection.set_verify(SSL.VERIFY_PEER, self._chainVerdict)
        return connection

    def tune(self, context: SSL.Context) -> None:
        """Change what there is no option for."""

    def checkServer(self, connection: SSL.Connection) -> None:
        """Look at a finished handshake, before anything is sent.

        :raises TunnelError: the server's certificate is not the pinned one or not for the host.
        """
        if self._options.insecure:
            return
        certificate = connection.get_peer_certificate()
        if certificate is None:
            raise TunnelError(f"TLS verification failed: {self._server} has no certificate")
        if self._options.fingerprint is not None:
            # Not converted: nothing but its bytes is looked at, however strange it is.
            actual = certificate.digest("sha256").decode("ascii")
            if actual.replace(":", "").lower() != self._options.fingerprint:
                raise TunnelError(
                    f"TLS verification failed: {self._server}'s fingerprint is {actual}, not that "
                    f"of {self._fingerprintOption}"
                )
            return
        try:
            self._name.check(certificate.to_cryptography())
        except Exception as error:  # a certificate that cannot be understood proves nothing
            raise TunnelError(f"TLS verification failed: {oneLine(error)}") from error

    def explain(self, error: SSL.Error) -> TunnelError:
        """Return what an `error` of the handshake or of the connection after it means."""
        if self._chainError is not None:
            words = _CHAIN_ERRORS.get(self._chainError, f"OpenSSL's X509 error {self._chainError}")
            if self._chainError in _OWN_ERRORS:
                words += f"; {self._remedy}"
            return TunnelError(
                f"TLS verification failed: {words}",
                # A machine without a battery for its clock starts in the past.
                isTransient=self._chainError == _NOT_YET_VALID,
            )
        # A server that is stopped in the middle of the handshake looks like this, too.
        return TunnelError(f"{self._failed}: {oneLine(details(error))}", isTransient=True)

    @property
    def _verifiesChain(self) -> bool:
        return not self._options.insecure and self._options.fingerprint is None

    def _chainVerdict(
        self, connection: SSL.Connection, certificate: object, error: int, depth: int, ok: int
    ) -> bool:
        if not ok and self._chainError is None:
            self._chainError = error
        return bool(ok)


def isNoTls(error: Exception) -> bool:
    """Tell whether a handshake failed since the server speaks something else than TLS."""
    return isinstance(error, SSL.Error) and details(error) in _NO_TLS


def details(error: SSL.Error) -> object:
    """Return OpenSSL's words for an error."""
    words = error.args[0] if error.args else ""
    if isinstance(words, list) and words:
        words = words[-1][-1]
    return words or "no details"
