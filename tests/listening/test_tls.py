"""Owns the checks of TLS: which certificates are taken, what is said of the others, and our own."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import ssl
import stat
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import files as files_
from nymearemoteproxy.common.certificates import (
    CertificateError,
    CertificateFiles,
    fingerprint,
    firstName,
    selfSigned,
    validity,
)
from nymearemoteproxy.common.files import Files
from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.listening.tls import loadCertificate
from tests.support.certificates import withNames
from tests.support.identities import DAY, NOW, Identity, clientContext


def shake(server: ServerContexts, client: SSL.Context) -> SSL.Connection:
    """Perform a handshake in memory; return the client's end.

    :raises SSL.Error: the server refuses.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    serverEnd = server.default.wrap_bio(incoming, outgoing, server_side=True)
    clientEnd = SSL.Connection(client, None)
    clientEnd.set_connect_state()
    for _ in range(4):
        with contextlib.suppress(SSL.WantReadError):
            clientEnd.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            incoming.write(clientEnd.bio_read(1 << 20))
        with contextlib.suppress(ssl.SSLError):
            serverEnd.do_handshake()
        if outgoing.pending:
            clientEnd.bio_write(outgoing.read())
    return clientEnd


class TlsCase(SynchronousTestCase):
    """Helpers for the checks with files."""

    def write(self, *parts: bytes) -> str:
        """Write a file, return its path."""
        path = self.mktemp()
        Path(path).write_bytes(b"".join(parts))
        return path

    def assertServes(self, files: CertificateFiles, *identities: Identity) -> None:
        """A server with these files shows exactly these certificates."""
        for context in loadCertificate(files):
            client = shake(ServerContexts(context), SSL.Context(SSL.TLS_CLIENT_METHOD))
            shown = [certificate.to_cryptography() for certificate in client.get_peer_cert_chain()]
            self.assertEqual(shown, [identity.certificate for identity in identities])

    def assertFails(self, files: CertificateFiles, *words: str) -> None:
        """The files cannot be used, and one line says so."""
        text = str(self.assertRaises(CertificateError, loadCertificate, files))
        self.assertNotIn("\n", text)
        for word in words:
            self.assertIn(word, text)


class LoadTests(TlsCase):
    """Certificates that can be used."""

    def test_separate(self) -> None:
        """Certificate and key in files of their own."""
        own = Identity("own")
        self.assertServes(CertificateFiles(self.write(own.pem), self.write(own.keyPem)), own)

    def test_oneFile(self) -> None:
        """Both in one file, in either order; text around them does not matter."""
        own = Identity("own")
        for parts in (
            (own.keyPem, own.pem),
            (own.pem, own.keyPem),
            (b"hello\n", own.pem, b"\n", own.keyPem),
        ):
            self.assertServes(CertificateFiles(self.write(*parts)), own)

    def test_readOnce(self) -> None:
        """From what read them, which is asked for nothing twice, and not from the files."""
        own, root = Identity("own"), Identity("root")
        contents = {"a": own.pem, "b": own.keyPem, "c": root.pem, "d": own.keyPem + own.pem}
        for names, shown in (("ab", [own]), ("abc", [own, root]), ("d", [own])):
            left = dict(contents)
            cached = Files(mayWait=True)
            self.patch(files_, "readFile", lambda path, _mayWait, left=left: left.pop(path))
            client = shake(loadCertificate(CertificateFiles(*names), cached.read), clientContext())
            self.assertEqual(
                [each.to_cryptography() for each in client.get_peer_cert_chain()],
                [identity.certificate for identity in shown],
            )

    def test_noDescriptorIsLeft(self) -> None:
        """What is handed to OpenSSL is closed again, also when OpenSSL refuses it."""
        own = Identity("own")
        files = CertificateFiles(self.write(own.pem, own.keyPem))
        before = {*os.listdir("/proc/self/fd")}  # the collector may close some of other tests
        loadCertificate(files)
        self.assertLessEqual({*os.listdir("/proc/self/fd")}, before)

        def fails(*_details: object) -> None:
            error = ssl.SSLError(1, "no")
            error.reason = "no"
            raise error

        self.patch(ssl.SSLContext, "load_cert_chain", fails)
        self.assertFails(files, "OpenSSL does not accept")
        self.assertLessEqual({*os.listdir("/proc/self/fd")}, before)

    def test_chain(self) -> None:
        """The chain behind the certificate, in a file of its own, or in both."""
        root = Identity("root")
        middle = Identity("middle", root)
        own = Identity("own", middle)
        key = self.write(own.keyPem)
        for certificate, chain in (
            ((own.pem, middle.pem, root.pem), ()),
            ((own.pem,), (middle.pem, root.pem)),
            ((own.pem, middle.pem), (root.pem,)),
        ):
            files = CertificateFiles(
                self.write(*certificate), key, self.write(*chain) if chain else ""
            )
            self.assertServes(files, own, middle, root)

    def test_otherKeys(self) -> None:
        """RSA, and the older ways to write a key."""
        for key in (
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
        ):
            own = Identity("own", key=key)
            for format in (
                serialization.PrivateFormat.PKCS8,
                serialization.PrivateFormat.TraditionalOpenSSL,
            ):
                keyPem = own.encodeKey(serialization.NoEncryption(), format)
                self.assertServes(CertificateFiles(self.write(own.pem), self.write(keyPem)), own)

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken, nothing older."""
        own = Identity("own")
        options = loadCertificate(CertificateFiles(self.write(own.pem, own.keyPem)))
        client = shake(options, clientContext())
        self.assertEqual(client.get_protocol_version_name(), "TLSv1.3")
        client = shake(options, clientContext(SSL.TLS1_2_VERSION))
        self.assertEqual(client.get_protocol_version_name(), "TLSv1.2")
        for version in (SSL.TLS1_1_VERSION, SSL.TLS1_VERSION):
            old = clientContext(version, b"ALL:@SECLEVEL=0")
            self.assertRaises(SSL.Error, shake, options, old)

    def test_ciphers(self) -> None:
        """In TLS 1.2 only those with forward secrecy and authenticated encryption."""
        own = Identity("own", key=rsa.generate_private_key(65537, 2048))
        options = loadCertificate(CertificateFiles(self.write(own.pem, own.keyPem)))
        for good in (b"ECDHE-RSA-AES128-GCM-SHA256", b"ECDHE-RSA-CHACHA20-POLY1305"):
            client = shake(options, clientContext(SSL.TLS1_2_VERSION, good))
            self.assertEqual(client.get_cipher_name(), good.decode())
        for bad in (b"AES128-GCM-SHA256", b"ECDHE-RSA-AES128-SHA", b"DHE-RSA-AES128-GCM-SHA256"):
            context = clientContext(SSL.TLS1_2_VERSION, bad)
            self.assertRaises(SSL.Error, shake, options, context)


class MistakeTests(TlsCase):
    """Certificates that cannot be used."""

    def setUp(self) -> None:
        self.own = Identity("own")
        self.certificate = self.write(self.own.pem)
        self.key = self.write(self.own.keyPem)

    def test_missing(self) -> None:
        """The file that is missing is named, and what it should hold."""
        missing = self.mktemp()
        for files, what in (
            (CertificateFiles(missing, self.key), "certificate "),
            (CertificateFiles(self.certificate, missing), "certificate key"),
            (CertificateFiles(self.certificate, self.key, missing), "certificate chain"),
        ):
            self.assertFails(files, missing, what, "No such file or directory")

    def test_unreadable(self) -> None:
        """What cannot be read, such as a directory."""
        self.assertFails(CertificateFiles("/", self.key), "/", "directory")
        self.assertFails(CertificateFiles(self.certificate, "/"), "/", "directory")

    def test_noPem(self) -> None:
        """A file without a certificate: something else, or another format."""
        der = self.own.certificate.public_bytes(serialization.Encoding.DER)
        for content in (b"", b"hello", der, self.own.keyPem):
            path = self.write(content)
            self.assertFails(CertificateFiles(path, self.key), path, "no PEM certificate")
        chain = self.write(b"")
        self.assertFails(
            CertificateFiles(self.certificate, self.key, chain), chain, "no PEM certificate"
        )

    def test_damaged(self) -> None:
        """A certificate that was cut or changed, alone, in a chain, or behind a good one."""
        lines = self.own.pem.splitlines(keepends=True)
        for damaged in (
            b"".join(lines[:2] + lines[3:]),
            lines[0] + lines[-1],
            lines[0] + b"!" * 64 + b"\n" + b"".join(lines[2:]),
            b"".join(lines[1:]),
        ):
            path = self.write(damaged)
            self.assertFails(CertificateFiles(path, self.key), path, "damaged")
            both = self.write(self.own.pem, damaged)
            self.assertFails(CertificateFiles(both, self.key), both, "damaged")
            self.assertFails(
                CertificateFiles(self.certificate, self.key, path), path, "chain", "damaged"
            )

    def test_unknownVersion(self) -> None:
        """A certificate of a version that does not exist."""
        der = self.own.certificate.public_bytes(serialization.Encoding.DER)
        changed = der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"), 1)
        path = self.write(ssl.DER_cert_to_PEM_cert(changed).encode())
        self.assertFails(CertificateFiles(path, self.key), path, "damaged")

    def test_badKey(self) -> None:
        """A key that is damaged, no key, or a public one."""
        public = self.own.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for content in (b"", b"hello", self.own.pem, self.own.keyPem[:60], public):
            path = self.write(content)
            self.assertFails(CertificateFiles(self.certificate, path), path, "certificate key")

    def test_keyMissing(self) -> None:
        """No key is named, and the certificate's file holds none: that is said, and what to do."""
        self.assertFails(
            CertificateFiles(self.certificate),
            f"the certificate {self.certificate} comes without its private key",
            "--certificate-key or [SSL] certificateKey",
        )

    def test_noKey(self) -> None:
        """What is named as the key is something else, such as the certificate."""
        self.assertFails(
            CertificateFiles(self.certificate, self.certificate), "it holds no PEM private key"
        )

    def test_encryptedKey(self) -> None:
        """Nobody is asked for a passphrase."""
        encryption = serialization.BestAvailableEncryption(b"secret")
        for format in (
            serialization.PrivateFormat.PKCS8,
            serialization.PrivateFormat.TraditionalOpenSSL,
        ):
            path = self.write(self.own.encodeKey(encryption, format))
            self.assertFails(CertificateFiles(self.certificate, path), path, "encrypted")

    def test_mismatch(self) -> None:
        """The key belongs to another certificate, of the same kind or of another."""
        for key in (
            None,
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
        ):
            path = self.write(Identity("other", key=key).keyPem)
            self.assertFails(
                CertificateFiles(self.certificate, path),
                path,
                self.certificate,
                "does not belong",
            )

    def test_expired(self) -> None:
        """Its time is over."""
        old = Identity("old", start=NOW - 3 * DAY, end=NOW - DAY)
        path = self.write(old.pem, old.keyPem)
        self.assertFails(CertificateFiles(path), path, "expired")

    def test_noProc(self) -> None:
        """OpenSSL is given what was read through /proc, which may be missing."""

        def fails(*details: object) -> None:
            raise FileNotFoundError(2, "No such file or directory")

        self.patch(ssl.SSLContext, "load_cert_chain", fails)
        files = CertificateFiles(self.certificate, self.key)
        self.assertFails(files, self.certificate, "/proc", "No such file or directory")

    def test_weakKey(self) -> None:
        """A key that OpenSSL does not accept is not blamed for belonging to another."""
        weak = Identity("weak", key=rsa.generate_private_key(65537, 1024))
        path = self.write(weak.pem, weak.keyPem)
        try:
            loadCertificate(CertificateFiles(path))
        except CertificateError as error:
            self.assertNotIn("does not belong", str(error))


class FingerprintTests(TlsCase):
    """What clients can pin."""

    def test_fingerprint(self) -> None:
        """SHA-256 of the certificate, the first one of its file."""
        own, other = Identity("own"), Identity("other")
        path = self.write(own.keyPem, own.pem, other.pem)
        digest = hashlib.sha256(own.certificate.public_bytes(serialization.Encoding.DER))
        shown = fingerprint(CertificateFiles(path))
        self.assertEqual(shown.replace(":", "").lower(), digest.hexdigest())
        self.assertEqual(len(shown), 32 * 3 - 1)


class FirstNameTests(SynchronousTestCase):
    """What a client can be told to connect to. More is in test_service."""

    def test_damaged(self) -> None:
        """Names that cannot be read are none."""
        self.assertIsNone(firstName(withNames(b"\x30\x05")))


class ValidityTests(SynchronousTestCase):
    """From when to when a certificate is valid."""

    def test_both(self) -> None:
        """In UTC, and to the second, which is what certificates have."""
        one = Identity("one", start=NOW - 3 * DAY, end=NOW + DAY).certificate
        whole = NOW.replace(microsecond=0)
        self.assertEqual(validity(one), (whole - 3 * DAY, whole + DAY))

    def test_oldLibrary(self) -> None:
        """Debian 12's cryptography says the time without its zone."""

        class Old:
            not_valid_before = datetime.datetime(2024, 1, 2)
            not_valid_after = datetime.datetime(2025, 6, 7)

        old: Any = Old
        self.assertEqual(
            validity(old),
            (
                datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
                datetime.datetime(2025, 6, 7, tzinfo=datetime.UTC),
            ),
        )


class SelfSignedTests(TlsCase):
    """The certificate that is made when none is given."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())

    def certificate(self, files: CertificateFiles) -> x509.Certificate:
        """Return the certificate that was made."""
        return x509.load_pem_x509_certificate(
            Path(files.certificate).read_bytes().partition(b"-----END PRIVATE KEY-----\n")[2]
        )

    def test_mayNotLook(self) -> None:
        """A directory of somebody else's is told in one line.

        So it is after twistd has become another user.
        """

        def exists(_path: Path) -> bool:
            raise PermissionError(13, "Permission denied")

        self.patch(Path, "exists", exists)
        error = self.assertRaises(CertificateError, selfSigned, self.directory)
        self.assertIn("Permission denied; give one with --certificate", str(error))

    def test_made(self) -> None:
        """It can be used as it is; the directory is made, too."""
        files = selfSigned(self.directory / "deep" / "below")
        client = shake(loadCertificate(files), clientContext())
        shown = client.get_peer_certificate()
        assert shown is not None
        self.assertEqual(shown.digest("sha256").decode(), fingerprint(files))

    def test_private(self) -> None:
        """Only its owner may read it, however generous the umask; nothing else is left behind."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        files = selfSigned(self.directory)
        self.assertEqual(stat.S_IMODE(os.stat(files.certificate).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.directory).st_mode), 0o700)
        self.assertEqual(
            [path.name for path in self.directory.iterdir()], [Path(files.certificate).name]
        )

    def test_kept(self) -> None:
        """It is made once, so that its fingerprint stays the same."""
        first = selfSigned(self.directory)
        content = Path(first.certificate).read_bytes()
        self.assertEqual(selfSigned(self.directory), first)
        self.assertEqual(Path(first.certificate).read_bytes(), content)

    def test_each(self) -> None:
        """No two servers have the same."""
        pins = {fingerprint(selfSigned(self.directory / name)) for name in "ab"}
        self.assertEqual(len(pins), 2)

    def test_names(self) -> None:
        """It is for this machine, by name and by both addresses, and long-lived."""
        certificate = self.certificate(selfSigned(self.directory))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["localhost"])
        self.assertEqual(
            [str(address) for address in names.get_values_for_type(x509.IPAddress)],
            ["127.0.0.1", "::1"],
        )

    def test_notWritable(self) -> None:
        """It is told why, and what to do instead."""
        path = self.write(b"")
        error = self.assertRaises(CertificateError, selfSigned, Path(path) / "below")
        self.assertIn("--certificate", str(error))
        self.assertIn(path, str(error))
        self.assertIn("Not a directory", str(error))

    def test_anotherWasFaster(self) -> None:
        """The file that is there first stays."""
        self.directory.mkdir()
        first = selfSigned(self.directory)
        content = Path(first.certificate).read_bytes()
        self.patch(Path, "exists", lambda _path: False)
        self.assertEqual(selfSigned(self.directory), first)
        self.assertEqual(Path(first.certificate).read_bytes(), content)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["certificate.pem"])

    def test_afterACrash(self) -> None:
        """What a crash left behind does not stop the next start.

        In a container every run has the same process id.
        """
        self.directory.mkdir()

        def crash(*details: object) -> None:
            raise OSError(28, "No space left on device")

        link = self.patch(Path, "hardlink_to", crash)
        self.assertRaises(CertificateError, selfSigned, self.directory)
        link.restore()
        loadCertificate(selfSigned(self.directory))
