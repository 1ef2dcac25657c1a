"""Keys with their certificates, and clients of TLS that take any of them."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Identity:
    """A key with its certificate, signed by itself or by another.

    :ivar pem: the certificate, in PEM.
    :ivar keyPem: the key, in PEM.
    """

    def __init__(
        self,
        name: str,
        issuer: Identity | None = None,
        start: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + DAY,
        key: Any = None,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.keyPem = self.encodeKey(serialization.NoEncryption())

    def encodeKey(
        self,
        encryption: serialization.KeySerializationEncryption,
        format: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    ) -> bytes:
        """Return the key in PEM."""
        encoded: bytes = self.key.private_bytes(serialization.Encoding.PEM, format, encryption)
        return encoded


def clientContext(highest: int | None = None, ciphers: bytes | None = None) -> SSL.Context:
    """Return a client that trusts everybody, and begins with the group that the server wants."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if highest is not None:
        context.set_min_proto_version(0)
        context.set_max_proto_version(highest)
    if ciphers is not None:
        context.set_cipher_list(ciphers)
    try:
        context.set_tmp_ecdh(ec.SECP256R1())
    except AttributeError:  # pyOpenSSL 23 has objects of its own
        context.set_tmp_ecdh(crypto.get_elliptic_curve("prime256v1"))
    return context
