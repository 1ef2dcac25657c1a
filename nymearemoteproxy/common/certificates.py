"""Certificates in files: reading them, and making one where there is none.

Owns what a certificate and its key must be like to be used, and how one's own is made and kept.
Knows nothing of TLS contexts, listeners or connections.
"""

from __future__ import annotations

import datetime
import ipaddress
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nymearemoteproxy.common.files import Read, readFile

SELF_SIGNED_NAME = "certificate.pem"
"""The file with the proxy's own certificate."""

SELF_SIGNED_DAYS = 3650
"""A made certificate is pinned by its fingerprint, so that renewing it would only break pins."""

_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"
_PEM_END = b"-----END CERTIFICATE-----"
_KEY_BEGIN = b"PRIVATE KEY-----"


class CertificateError(Exception):
    """The certificate or key cannot be used; the text is one line for the operator."""


@dataclass(frozen=True)
class CertificateFiles:
    """Where a certificate is.

    :ivar certificate: PEM; may hold the chain, and the key if `key` is empty.
    :ivar key: PEM.
    :ivar chain: PEM, the certificates between ours and the root; may be empty.
    :ivar keyOption: what the key is given with, for people.
    """

    certificate: str
    key: str = ""
    chain: str = ""
    keyOption: str = "--certificate-key or [SSL] certificateKey"


def _read(path: str, what: str, read: Read) -> bytes:
    try:
        return read(path)
    except OSError as error:
        raise CertificateError(f"cannot read the {what} {path}: {error.strerror}") from None


def _certificates(path: str, what: str, read: Read) -> list[x509.Certificate]:
    blocks = _read(path, what, read).split(_PEM_END)[:-1]
    if not blocks:
        raise CertificateError(
            f"the {what} {path} holds no PEM certificate, which begins with "
            "-----BEGIN CERTIFICATE-----"
        )
    try:
        return [_certificate(block) for block in blocks]
    except (ValueError, x509.InvalidVersion):
        raise CertificateError(f"the {what} {path} is damaged") from None


def _certificate(block: bytes) -> x509.Certificate:
    """Read the certificate at the end of a text, of which only its last line is missing."""
    _before, begin, content = block.partition(_PEM_BEGIN)
    return x509.load_pem_x509_certificate(begin + content + _PEM_END)


def _key(files: CertificateFiles, read: Read) -> tuple[bytes, Any]:
    """Return the private key as it is in its file, and read."""
    path = files.key or files.certificate
    content = _read(path, "certificate key", read)
    if _KEY_BEGIN not in content:
        if not files.key:
            raise CertificateError(
                f"the certificate {path} comes without its private key; say where that is with "
                f"{files.keyOption}, or put it into the same file"
            )
        raise CertificateError(
            f"the certificate key {path} is damaged or something else: it holds no PEM private "
            "key, whose first line ends with PRIVATE KEY-----"
        )
    try:
        return content, serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError(
            f"the certificate key {path} is damaged, or encrypted with a passphrase"
        ) from None


@dataclass(frozen=True)
class CertificateAndKey:
    """A certificate with its key, read and found to belong together.

    :ivar own: the certificate.
    :ivar chain: those between it and the root.
    :ivar key: the private key as it is in its file, PEM.
    """

    own: x509.Certificate
    chain: list[x509.Certificate]
    key: bytes


def readCertificateAndKey(files: CertificateFiles, read: Read = readFile) -> CertificateAndKey:
    """Read a certificate and its key.

    :raises CertificateError: a file is missing or damaged, the key does not belong to the
        certificate, or the certificate has expired.
    """
    own, *chain = _certificates(files.certificate, "certificate", read)
    if files.chain:
        chain += _certificates(files.chain, "certificate chain", read)
    keyContent, key = _key(files, read)
    if _publicKey(own) != _publicKey(key):
        raise CertificateError(
            f"the key {files.key or files.certificate} does not belong to the certificate "
            f"{files.certificate}"
        )
    if validity(own)[1] < datetime.datetime.now(datetime.UTC):
        raise CertificateError(f"the certificate {files.certificate} has expired")
    return CertificateAndKey(own, chain, keyContent)


def _publicKey(holder: Any) -> bytes:
    """Return the public key of a certificate or private key, to be compared."""
    encoded: bytes = holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def fingerprint(files: CertificateFiles, read: Read = readFile) -> str:
    """Return the SHA-256 fingerprint of the certificate, as hexadecimal digits with colons."""
    return fingerprintOf(_certificates(files.certificate, "certificate", read)[0])


def fingerprintOf(certificate: x509.Certificate) -> str:
    """Return the same of a certificate that was read."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def beginning(files: CertificateFiles, read: Read = readFile) -> datetime.datetime:
    """Return when the certificate begins to be valid, in UTC.

    :raises CertificateError: it cannot be read.
    """
    return validity(_certificates(files.certificate, "certificate", read)[0])[0]


def validity(certificate: x509.Certificate) -> tuple[datetime.datetime, datetime.datetime]:
    """Return from when to when it is valid, in UTC."""
    if hasattr(certificate, "not_valid_before_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    # Debian 12's cryptography: UTC as well, but without saying so.
    return (
        certificate.not_valid_before.replace(tzinfo=datetime.UTC),
        certificate.not_valid_after.replace(tzinfo=datetime.UTC),
    )


def firstName(certificate: x509.Certificate) -> str | None:
    """Return the first host name or address that a certificate is for; None if it names none.

    A name with a wildcard stands for others, and is none itself.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):  # one that cannot be read names nothing
        return None
    for name in extension.value:
        if isinstance(name, x509.DNSName | x509.IPAddress) and "*" not in str(name.value):
            return str(name.value)
    return None


def selfSigned(
    directory: Path, name: str = SELF_SIGNED_NAME, option: str = "--certificate"
) -> CertificateFiles:
    """Return the self-signed certificate in `directory`; make it if it is not there.

    :param name: of the file.
    :param option: what another one is given with, for people.
    :raises CertificateError: it can be neither seen nor written.
    """
    files = selfSignedFiles(directory, name)
    path = Path(files.certificate)
    try:
        if not path.exists():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(path, _make())
    except OSError as error:
        raise CertificateError(
            f"cannot keep a self-signed certificate in {path}: {error.strerror}; "
            f"give one with {option}"
        ) from None
    return files


def selfSignedFiles(directory: Path, name: str = SELF_SIGNED_NAME) -> CertificateFiles:
    """Return where `selfSigned` keeps it in `directory`, be it there or not."""
    return CertificateFiles(str(directory / name))


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, all of it or nothing.

    When another process was faster, its file stays.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        unfinished = Path(file.name)
        try:
            file.write(content)
            file.flush()
            path.hardlink_to(unfinished)
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()


def _make() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nymea-remoteproxy")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
