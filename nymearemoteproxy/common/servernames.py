"""Whether a certificate is for the server that was meant.

Owns what a client says of the server's name in a TLS handshake, and the check of the name
afterwards (RFC 9525). Twisted 26.10's own check lets a certificate pass that has a trusted issuer
but names nobody: its callback logs the exception and keeps OpenSSL's verdict on the chain. Knows
nothing of trust in issuers, and of connections.

Where a certificate has a common name and no others, Debian 12's ``service_identity`` still looks at
that one, and newer ones refuse it.
"""

from __future__ import annotations

from cryptography import x509
from service_identity import VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.abstract import isIPAddress, isIPv6Address


class ServerNameError(Exception):
    """A certificate does not prove the server's name; ``str()`` says why.

    It may quote the certificate, which is a stranger's.
    """


class ServerName:
    """The host name or IP address by which a client calls a server.

    :param host: in ASCII, international names as ``xn--…``, IPv6 addresses without brackets. The
        dot of the root behind a name is left out: no certificate has it, and the handshake must not
        (RFC 6066 section 3).
    :ivar indication: what the client says in the handshake; None for an address, which must not be
        said there.
    """

    def __init__(self, host: str) -> None:
        self._host = host.removesuffix(".")
        self._isAddress = isIPAddress(self._host) or isIPv6Address(self._host)
        self.indication = None if self._isAddress else self._host.encode("ascii")

    def check(self, certificate: x509.Certificate) -> None:
        """Return if a certificate is for this server. Its issuer is not looked at.

        :raises ServerNameError: it is for another one, or cannot be understood, which proves
            nothing.
        """
        verify = verify_certificate_ip_address if self._isAddress else verify_certificate_hostname
        try:
            verify(certificate, self._host)
        except VerificationError:
            raise ServerNameError(f"the certificate is not for {self._host}") from None
        except Exception as error:
            raise ServerNameError(str(error)) from error
