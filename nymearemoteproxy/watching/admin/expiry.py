"""When the certificates expire that are in use.

Owns how that is found out: by asking the TLS context, as a client does, and not by reading a file,
which may have been replaced by one that is not in use yet. Knows nothing of who wants to know.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator, Mapping

from cryptography import x509
from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.certificates import CertificateFiles, validity
from nymearemoteproxy.common.openssl import ServerContexts

FRESH = 60.0
"""Seconds for which an answer is good: a handshake in memory costs a millisecond or two."""

_FLIGHTS = 4
"""Times that both sides get to speak; TLS 1.3 needs two, and one more when the client has to begin
with another key."""


def servedCertificate(contexts: ServerContexts) -> x509.Certificate | None:
    """Return the certificate that clients are shown; None when it cannot be had."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    toServer, toClient = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = contexts.default.wrap_bio(toServer, toClient, server_side=True)
    theirs = client.wrap_bio(toClient, toServer)
    for _flight in range(_FLIGHTS):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return None
        shown = theirs.getpeercert(binary_form=True) if theirs.version() else None
        if shown:
            return x509.load_der_x509_certificate(shown)
    return None


class Expiry:
    """Tells when each certificate expires."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._certificates: Mapping[CertificateFiles | None, ServerContexts] = {}
        self._own = ""
        self._asked: float | None = None
        self._answer: dict[str, float] = {}

    def replace(
        self, certificates: Mapping[CertificateFiles | None, ServerContexts], own: str
    ) -> None:
        """From now on these are in use.

        :param own: what to call the server's own certificate, which has no files of its own there.
        """
        self._certificates = certificates
        self._own = own
        self._asked = None

    def __call__(self) -> Mapping[str, float]:
        """Return when each expires, in Unix time, by the path of its file."""
        for _certificate in self.refresh():
            pass
        return self._answer

    def refresh(self) -> Generator[None, None, None]:
        """Find out anew, unless that was done just now; to be done in turns of the reactor."""
        now = self._clock.seconds()
        if self._asked is not None and 0 <= now - self._asked < FRESH:
            return
        certificates, answer = self._certificates, {}
        for files, contexts in certificates.items():
            certificate = servedCertificate(contexts)
            if certificate is not None:
                name = self._own if files is None else files.certificate
                answer[name] = validity(certificate)[1].timestamp()
            yield
        if certificates is self._certificates:  # they are still in use
            self._asked, self._answer = now, answer
