"""TLS for the listeners.

Owns which versions and ciphers are spoken. Knows nothing of listeners or connections, nor of what a
certificate must be like.
"""

from __future__ import annotations

import ssl

from cryptography.hazmat.primitives import serialization

from nymearemoteproxy.common.certificates import (
    CertificateError,
    CertificateFiles,
    readCertificateAndKey,
)
from nymearemoteproxy.common.files import Read, readFile
from nymearemoteproxy.common.openssl import ServerContexts, inMemory, serverContexts

TICKETS = 1
"""That a client of TLS 1.3 is sent to resume its session with. OpenSSL sends two, for clients that
connect twice at once; those of a rendezvous do not, and each costs the server some 20 µs."""

FORWARD_SECRET = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Cipher suites of TLS 1.2 with forward secrecy and authenticated encryption; all of TLS 1.3's
are such."""


def loadCertificate(files: CertificateFiles, read: Read = readFile) -> ServerContexts:
    """Load a certificate and its key, ready to serve.

    :raises CertificateError: a file is missing or damaged, the key does not belong to the
        certificate, or the certificate has expired.
    """
    identity = readCertificateAndKey(files, read)
    contexts = serverContexts(_makeContext)
    certificates = (identity.own, *identity.chain)
    bundle = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)
    try:
        with inMemory(bundle) as certificatePath, inMemory(identity.key) as keyPath:
            for context in contexts:
                context.load_cert_chain(certificatePath, keyPath)
    except ssl.SSLError as error:
        raise CertificateError(
            f"OpenSSL does not accept the certificate {files.certificate}: {error.reason}"
        ) from None
    except OSError as error:
        raise CertificateError(
            f"cannot hand the certificate {files.certificate} to OpenSSL through /proc: "
            f"{error.strerror}"
        ) from None
    return contexts


def _makeContext() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(FORWARD_SECRET)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = TICKETS
    return context
