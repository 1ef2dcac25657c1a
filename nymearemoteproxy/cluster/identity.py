"""How a member proves to another that it is one, and which: certificates made from the secret.

Owns the keys, certificates and contexts of TLS. Knows nothing of connections, nor of where the
secret comes from.

Theory of operation
-------------------

The key of the certificate authority is derived from the cluster's secret. So each member makes
the same authority, and with it a certificate for itself; whoever does not know the secret can make
none. Nothing about it is in the directory: who can write there can lead members astray, but pose as
none of them. Fingerprints in the directory, the other way to do it, would have to be looked up
before each handshake, would trust the directory, and Python's `ssl` gives no say in what OpenSSL
verifies. Here that is the ordinary way, on both sides, and it holds for a connection that is
resumed: the session of one is known only to two who have proven themselves.

A certificate is for one host name, the member's id as hexadecimal digits. The connecting side asks
for the member that it means (the name is in the first message of TLS, so it is no secret), and a
server that is asked for another name shows nothing at all, its certificate included. That is what a
stranger gets, who knows no id, and it comes before all that is expensive.

Who does see a certificate, as a member's neighbour in the network can who has read the name, can
use it to test guesses of the secret at leisure. So the secret must be random, and long.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nymearemoteproxy.common.openssl import GROUP, inMemory
from nymearemoteproxy.wires.tlsclient import TlsSessions

SMALLEST_SECRET = 16
"""Bytes below which a secret could be guessed, for it can be tested without asking anybody."""

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2 section 2.4.2): a private key is a number from 1 to one less."""

_KEY_INFO = b"nymea-remoteproxy cluster: certificate authority 1"
"""Keeps this key apart from whatever else is derived from the secret."""

_AUTHORITY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nymea-remoteproxy cluster")])
_MEMBER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nymea-remoteproxy member")])

_BEGIN = datetime.datetime(1970, 1, 1)
_END = datetime.datetime(9999, 12, 31, 23, 59, 59)
"""Without an end (RFC 5280 section 4.1.2.5): who restarts has a new certificate, and a clock that
is wrong keeps nobody out."""


class MemberIdentity:
    """What one member proves itself with, and checks others by, as long as the secret is the same.

    :param secret: `SMALLEST_SECRET` random bytes or more, the same in all members.
    :param id: this member's.
    :ivar id: this member's.
    :ivar serverContext: for links that others make to us.
    :ivar clientContext: for links that we make.
    :ivar sessions: of `clientContext`.
    :raises ValueError: the secret is too short.
    """

    def __init__(self, secret: bytes, id: bytes) -> None:
        if len(secret) < SMALLEST_SECRET:
            raise ValueError(f"a cluster's secret needs {SMALLEST_SECRET} bytes or more")
        self.id = id
        key = _authorityKey(secret)
        authority = _pem(_authority(key))
        own = ec.generate_private_key(ec.SECP256R1())
        name = nameOf(id)
        certificate = _pem(_certificate(name, own.public_key(), key)).encode()
        private = own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        # Were the authority missing here, OpenSSL would look for it in each handshake anew, and
        # verify our own certificate.
        bundle = certificate + authority.encode() + private
        self.serverContext = _context(ssl.PROTOCOL_TLS_SERVER, authority, bundle)
        self.serverContext.num_tickets = 1  # it can be used several times
        self.serverContext.sni_callback = _only(name)
        self.clientContext = _context(ssl.PROTOCOL_TLS_CLIENT, authority, bundle)
        self.sessions = TlsSessions()


def nameOf(id: bytes) -> str:
    """Return the host name that the certificate of a member is for."""
    return id.hex()


def _only(own: str) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], int | None]:
    """Return what refuses whoever asks for another name, or for none."""

    def check(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        return None if name == own else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    return check


def _context(protocol: int, authority: str, bundle: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED  # a client's context checks the name, too
    context.set_ecdh_curve(GROUP)
    context.load_verify_locations(cadata=authority)
    with inMemory(bundle) as path:
        context.load_cert_chain(path)
    return context


def _authorityKey(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """Derive the key: 16 bytes more than it has, or some keys would be likelier than others."""
    derived = HKDF(hashes.SHA256(), 32 + 16, salt=None, info=_KEY_INFO).derive(secret)
    number = 1 + int.from_bytes(derived, "big") % (ORDER - 1)
    return ec.derive_private_key(number, ec.SECP256R1())


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the authority's certificate.

    Its signature is a different one each time, which nobody looks at: others know it by its name
    and key.
    """
    return (
        _builder(_AUTHORITY, key.public_key())
        .serial_number(1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(isAuthority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    name: str, public: ec.EllipticCurvePublicKey, authority: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(_MEMBER, public)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(isAuthority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority, hashes.SHA256())
    )


def _builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_AUTHORITY)
        .public_key(public)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
    )


def _usage(isAuthority: bool) -> x509.KeyUsage:
    """Sign certificates, or handshakes, and nothing else."""
    return x509.KeyUsage(
        digital_signature=not isAuthority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=isAuthority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
