"""The certificates that the listeners need.

Owns which are loaded, and that one is made when none is given. Knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from nymearemoteproxy.common.files import Read
from nymearemoteproxy.common.paths import stateDirectory
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.listening.tls import (
    CertificateError,
    CertificateFiles,
    beginning,
    fingerprint,
    loadCertificate,
    selfSigned,
    selfSignedFiles,
)
from nymearemoteproxy.running.configuration.parts import Parts
from nymearemoteproxy.running.configuration.result import Certificates
from nymearemoteproxy.running.settings.errors import SettingsError
from nymearemoteproxy.running.settings.values import Settings

_INI_BEGIN = re.compile(rb"(\xef\xbb\xbf)?(\s|[#;][^\n]*\n)*+\[[A-Za-z ]+\]\s")
"""Comments and a section header, with which no PEM file begins."""

_IT_STAYS = "the certificate stays as it was"


def loadCertificates(
    settings: Settings,
    listeners: Sequence[Listener],
    parts: Parts,
    warn: Callable[[str], object],
) -> tuple[Certificates, str | None]:
    """Load what the listeners need; return also the fingerprint of a self-signed one.

    :raises CertificateError: a certificate cannot be used.
    :raises SettingsError: a key is given and no certificate, or a file that is none at all.
    """
    wanted = {listener.files for listener in listeners if listener.secure}
    isNeeded = None in wanted or settings.ssl.enabled
    given = settings.ssl
    madePrint = None
    certificates: dict[CertificateFiles | None, ssl.SSLContext] = {}

    def load(key: CertificateFiles | None, files: CertificateFiles) -> None:
        context = parts.part(
            _IT_STAYS,
            partial(_load, files, parts.read, warn),
            lambda previous: previous.certificates.get(key),
        )
        if context is not None:  # there may have been none that no listener needs
            certificates[key] = context

    for files in wanted:
        if files is not None:
            load(files, files)
    if given.certificate and isNeeded:
        _refuseIni(given.certificate, parts.read)
        # Loaded even if no listener uses it: who names a certificate wants to know if it is bad.
        load(
            None,
            CertificateFiles(given.certificate, given.certificateKey, given.certificateChain),
        )
    elif given.certificateKey and isNeeded:
        raise SettingsError(
            "a certificate key is given, but no certificate; name that with --certificate or "
            "[SSL] certificate"
        )
    elif None in wanted:
        certificates[None], madePrint = parts.part(
            _IT_STAYS,
            lambda: _loadSelfSigned(parts),
            lambda previous: (previous.certificates[None], previous.fingerprint),
        )
    return certificates, madePrint


def _load(files: CertificateFiles, read: Read, warn: Callable[[str], object]) -> ssl.SSLContext:
    context = loadCertificate(files, read)
    begins = beginning(files, read)
    if begins > datetime.now(UTC):
        warn(
            f"the certificate {files.certificate} is not valid before "
            f"{begins:%Y-%m-%d %H:%M:%S} UTC, and clients refuse it until then; is the clock "
            "right?"
        )
    return context


def _refuseIni(path: str, read: Read) -> None:
    """Tell who gives the configuration as the C++ server took it, with -c."""
    with contextlib.suppress(OSError):  # the loading tells of it
        if _INI_BEGIN.match(read(path)):
            raise SettingsError(
                f"{path} is an INI file and no certificate: give it with -C or --configuration; "
                "-c, which was the C++ server's configuration, is --certificate here"
            )


def _loadSelfSigned(parts: Parts) -> tuple[ssl.SSLContext, str | None]:
    read = parts.read
    try:
        directory = stateDirectory()
    except RuntimeError:  # the user has no home, as in a container
        raise CertificateError(
            "there is no state directory to keep a self-signed certificate in; give a certificate, "
            "or set STATE_DIRECTORY"
        ) from None
    # The parent of this process has made it, and perhaps had rights that we do not have any more.
    files = selfSigned(directory) if parts.inherited is None else selfSignedFiles(directory)
    try:
        return loadCertificate(files, read), fingerprint(files, read)
    except CertificateError as error:
        raise CertificateError(
            f"{error}; this server once made that file itself: remove it, and a new one is made, "
            "whose fingerprint clients have to be told, or give a certificate with --certificate"
        ) from None
