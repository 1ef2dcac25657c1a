"""How a member proves to another that it is one, and which: by what is made from the secret.

Owns the keys, certificates and contexts of TLS, and the proof of who asks. Knows nothing of
connections, nor of where the secret comes from.

Theory of operation
-------------------

The key of the certificate authority is derived from the cluster's secret. So each member makes
the same authority, and with it a certificate for itself; whoever does not know the secret can make
none. Nothing about it is in the directory: who can write there can lead members astray, but pose as
none of them. Fingerprints in the directory, the other way to do it, would have to be looked up
before each handshake, would trust the directory, and Python's `ssl` gives no say in what OpenSSL
verifies.

A certificate is for one host name, the member's id as hexadecimal digits. The connecting side asks
for the member that it means (the name is in the first message of TLS, so it is no secret), and a
server that is asked for another name shows nothing at all, its certificate included. A stranger
does not get that far, see `preface`.

The side that connects has no certificate. Its first bytes inside TLS are its id and an HMAC of both
ids, whose key comes from the secret, too. That proves as much as a certificate of the authority:

- Both are made by who knows the secret, and by nobody else. A member that poses as another can do
  so with either: it has the authority's key.
- The proof is sent to nobody but the member that is meant, when its certificate has been verified,
  and in the keys of that very connection. Who has the traffic, or stands in between, has no proof;
  and what that member is told it could make itself.
- It is good for one asker at one member, whose ids are new at each start: replayed to another
  member it is wrong. The first connection's bytes, replayed, are of no use in another's keys.

It is there for the cost. OpenSSL 3.0 reads a certificate anew with each use of a session, which
takes it some 200 µs, and keeps all of a connection's. Measured with both ends, TCP included: with
certificates on both sides a link took 3.7 ms of CPU and 78 KiB of memory, resumed 2.55 ms and
64 KiB; now it takes 2.2 ms and 54 KiB, resumed 1.6 ms and 39 KiB. A good part of that is that only
the asker's first link gets a ticket to resume from: OpenSSL keeps 16 KiB in whoever was sent one.
A ticket proves nothing of the asker, so each link has the proof. Of the one that is asked it does:
it can be read by the process only that gave it, when it had proven itself.

Who sees the beginning of a link, or a certificate, as a member's neighbour in the network can, can
use it to test guesses of the secret at leisure. So the secret must be random, and long.
"""

from __future__ import annotations

import contextlib
import datetime
import hmac
import itertools
import secrets
import ssl
from collections.abc import Callable
from struct import Struct

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nymearemoteproxy.cluster.directory import MEMBER_SIZE, NAME_SIZE
from nymearemoteproxy.cluster.replays import Replays
from nymearemoteproxy.common.openssl import inMemory
from nymearemoteproxy.wires.tlsclient import TlsSessions

SMALLEST_SECRET = 16
"""Bytes below which a secret could be guessed, for it can be tested without asking anybody."""

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2 section 2.4.2): a private key is a number from 1 to one less."""

PROOF_SIZE = MEMBER_SIZE + 32
"""Bytes of a proof: an id and an HMAC-SHA256."""

_PREFACE = Struct(f">{NAME_SIZE}s?16sQ")
"""For which member it is, whether a ticket is wanted, and a number of a series: see `replays`."""

PREFACE_SIZE = _PREFACE.size + 32
"""Bytes of what a link begins with: that and an HMAC-SHA256."""

_KEY_INFO = b"nymea-remoteproxy cluster: certificate authority 1"
_PROOF_INFO = b"nymea-remoteproxy cluster: proof of the asker 1"
_PREFACE_INFO = b"nymea-remoteproxy cluster: preface 1"
_CHECK_INFO = b"nymea-remoteproxy cluster: check 1"
"""Keep these keys apart from each other, and from whatever else is derived from the secret."""

CHECK_SIZE = 2
"""Bytes of what shows in the directory whether two secrets are the same. It is this short on
purpose: one pair of secrets in 65,536 looks the same, and so do as many of the guesses of whoever
reads the directory, to whom it would else tell when one is right."""

_AUTHORITY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nymea-remoteproxy cluster")])
_MEMBER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nymea-remoteproxy member")])

_BEGIN = datetime.datetime(1970, 1, 1)
_END = datetime.datetime(9999, 12, 31, 23, 59, 59)
"""Without an end (RFC 5280 section 4.1.2.5): who restarts has a new certificate, and a clock that
is wrong keeps nobody out."""


class PrefaceRefused(Exception):
    """A link does not begin as it should; the text says why, for people."""


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
        own = ed25519.Ed25519PrivateKey.generate()  # 2 KiB less than one of P-256 in each link
        name = nameOf(id)
        certificate = _pem(_certificate(name, own.public_key(), key)).encode()
        private = own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        # The authority is not sent along: who connects has it.
        self.serverContext = _context(ssl.PROTOCOL_TLS_SERVER)
        self.serverContext.sni_callback = _only(name)
        with inMemory(certificate + private) as path:
            self.serverContext.load_cert_chain(path)
        self.clientContext = _context(ssl.PROTOCOL_TLS_CLIENT)  # it checks the name, too
        self.clientContext.load_verify_locations(cadata=authority)
        self._proofKey = _derive(secret, 32, _PROOF_INFO)
        self._prefaceKey = _derive(secret, 32, _PREFACE_INFO)
        self.sessions = TlsSessions()
        self._series = secrets.token_bytes(16)
        self._numbers = itertools.count()
        self._replays = Replays()

    def prefaceTo(self, server: bytes) -> bytes:
        """Return what one link to this member begins with, before TLS; see `preface`."""
        name = nameOf(server)
        wantsTicket = name not in self.sessions
        number = next(self._numbers)
        content = _PREFACE.pack(name.encode(), wantsTicket, self._series, number)
        return content + self._sealedPreface(content)

    def readPreface(self, preface: bytes) -> bool:
        """Return whether a link to us, which begins with this, wants a ticket.

        :param preface: of `PREFACE_SIZE`, and for us.
        :raises PrefaceRefused: no member has made it, or it was used before.
        """
        content, seal = preface[: _PREFACE.size], preface[_PREFACE.size :]
        if not hmac.compare_digest(seal, self._sealedPreface(content)):
            raise PrefaceRefused("it has another secret")
        _name, wantsTicket, series, number = _PREFACE.unpack(content)
        if not self._replays.use(series, number):
            raise PrefaceRefused("what it begins with was used before")
        return bool(wantsTicket)

    def _sealedPreface(self, content: bytes) -> bytes:
        return hmac.digest(self._prefaceKey, content, "sha256")

    def beginTicket(self, isWanted: bool) -> None:
        """Let the next TLS connection of `serverContext` give a ticket, or none."""
        self.serverContext.num_tickets = int(isWanted)  # OpenSSL copies it when one is made

    def proofTo(self, server: bytes) -> bytes:
        """Return what proves to a member that it is us who connects; for nobody else's eyes."""
        return self.id + self._sealed(server, self.id)

    def provenBy(self, proof: bytes) -> bytes | None:
        """Return the id of the member that made this proof, for us; None = it is none."""
        asker, seal = proof[:MEMBER_SIZE], proof[MEMBER_SIZE:]
        return asker if hmac.compare_digest(seal, self._sealed(self.id, asker)) else None

    def _sealed(self, server: bytes, asker: bytes) -> bytes:
        return hmac.digest(self._proofKey, server + asker, "sha256")


def checkOf(secret: bytes) -> bytes:
    """Return what shows in the directory whether two secrets are the same; see `CHECK_SIZE`."""
    return _derive(secret, CHECK_SIZE, _CHECK_INFO)


def nameOf(id: bytes) -> str:
    """Return how a member's id is written, also as the host name of its certificate."""
    return id.hex()


def _only(own: str) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], int | None]:
    """Return what refuses whoever asks for another name, or for none."""

    def check(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        return None if name == own else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    return check


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # P-256, that all clients have, costs both ends of a link 0.2 ms and 6 KiB more. Where this is
    # refused (Python 3.11.2, OpenSSL 1.1) the default begins with X25519, and takes others, too.
    with contextlib.suppress(ssl.SSLError):
        context.set_ecdh_curve("X25519")
    return context


def _derive(secret: bytes, size: int, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), size, salt=None, info=info).derive(secret)


def _authorityKey(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """Derive the key: 16 bytes more than it has, or some keys would be likelier than others."""
    number = 1 + int.from_bytes(_derive(secret, 32 + 16, _KEY_INFO), "big") % (ORDER - 1)
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
    name: str, public: ed25519.Ed25519PublicKey, authority: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH]
    return (
        _builder(_MEMBER, public)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(isAuthority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
) -> x509.CertificateBuilder:
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
