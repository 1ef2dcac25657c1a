"""The certificates that the listeners need.

Owns which are loaded, and that one is made when none is given. Knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from nymearemoteproxy.common.certificates import (
    CertificateError,
    CertificateFiles,
    beginning,
    fingerprint,
    selfSigned,
    selfSignedFiles,
)
from nymearemoteproxy.common.files import Read
from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.common.paths import stateDirectory
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.listening.tls import loadCertificate
from nymearemoteproxy.running.configuration.parts import Parts
from nymearemoteproxy.running.configuration.result import Certificates
from nymearemoteproxy.running.settings.errors import MissingError, SettingsError
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

    What cannot be used is told to the mistakes of the parts, and is not among what is returned.
    """
    mistakes = parts.mistakes
    wanted = {listener.files for listener in listeners if listener.secure}
    isNeeded = None in wanted or settings.ssl.enabled
    given = settings.ssl
    madePrint = None
    certificates: dict[CertificateFiles | None, ServerContexts] = {}

    def load(key: CertificateFiles | None, files: CertificateFiles) -> None:
        contexts = mistakes.attempt(
            lambda: parts.part(
                _IT_STAYS,
                partial(_load, files, parts.read, warn),
                lambda previous: previous.certificates.get(key),
            ),
            None,
        )
        if contexts is not None:  # there may have been none that no listener needs
            certificates[key] = contexts

    for files in wanted:
        if files is not None:
            load(files, files)
    if given.certificate and isNeeded:
        with mistakes.collecting():
            _refuseIni(given.certificate, parts.read)
            # Loaded even if no listener uses it: who names one wants to know if it is bad.
            load(
                None,
                CertificateFiles(given.certificate, given.certificateKey, given.certificateChain),
            )
    elif given.certificateKey and isNeeded:
        mistakes.add(
            MissingError(
                "a certificate key is given, but no certificate; name that with --certificate or "
                "[SSL] certificate"
            )
        )
    elif None in wanted:
        with mistakes.collecting():
            made = parts.part(
                _IT_STAYS,
                lambda: _selfSignedUnlessGivenBefore(parts),
                lambda previous: (previous.certificates[None], previous.fingerprint),
            )
            if made is not None:
                certificates[None], madePrint = made
    return certificates, madePrint


def fingerprints(
    settings: Settings, listeners: Sequence[Listener], read: Read
) -> Sequence[tuple[str, str]]:
    """Return the SHA-256 fingerprint of each certificate that clients see, and its file.

    No key is needed for that, so that who must not read one can find out, too.

    :raises CertificateError: a certificate cannot be read, or is not made yet.
    """
    wanted = {each.files or _ownFiles(settings) for each in listeners if each.secure}
    paths = sorted(each.certificate for each in wanted)
    return [(fingerprint(CertificateFiles(path), read), path) for path in dict.fromkeys(paths)]


def _ownFiles(settings: Settings) -> CertificateFiles:
    """Return where the server's own certificate is: the one that is given, or the one it made."""
    if settings.ssl.certificate:
        return CertificateFiles(settings.ssl.certificate)
    files = selfSignedFiles(_stateDirectory())
    if not Path(files.certificate).exists():
        raise CertificateError(
            f"there is no {files.certificate} yet: the server makes it when it starts; if its "
            "state is elsewhere, set STATE_DIRECTORY as for the server"
        )
    return files


def _selfSignedUnlessGivenBefore(parts: Parts) -> tuple[ServerContexts, str | None] | None:
    """Return the self-signed one. No client would accept it that knows the one which was given.

    :raises MissingError: one was given before.
    """
    previous = parts.previous
    if previous is not None and None in previous.certificates and previous.fingerprint is None:
        raise MissingError("none is given any more")
    return _loadSelfSigned(parts)


def _load(files: CertificateFiles, read: Read, warn: Callable[[str], object]) -> ServerContexts:
    contexts = loadCertificate(files, read)
    begins = beginning(files, read)
    if begins > datetime.now(UTC):
        warn(
            f"the certificate {files.certificate} is not valid before "
            f"{begins:%Y-%m-%d %H:%M:%S} UTC, and clients refuse it until then; is the clock "
            "right?"
        )
    return contexts


def _refuseIni(path: str, read: Read) -> None:
    """Tell who gives the configuration as the C++ server took it, with -c."""
    with contextlib.suppress(OSError):  # the loading tells of it
        if _INI_BEGIN.match(read(path)):
            raise SettingsError(
                f"{path} is an INI file and no certificate: give it with -C or --configuration; "
                "-c, which was the C++ server's configuration, is --certificate here"
            )


def _stateDirectory() -> Path:
    try:
        return stateDirectory()
    except RuntimeError:  # the user has no home, as in a container
        raise CertificateError(
            "there is no state directory to keep a self-signed certificate in; give a certificate, "
            "or set STATE_DIRECTORY"
        ) from None


def _loadSelfSigned(parts: Parts) -> tuple[ServerContexts, str | None] | None:
    """Return it with its fingerprint; None if there is none, and nothing is going to run now."""
    read, directory = parts.read, _stateDirectory()
    files = selfSignedFiles(directory)
    if parts.isCheck or parts.mistakes:
        if not Path(files.certificate).exists():
            return None
    elif parts.inherited is None:
        # Otherwise the parent of this process has made it, perhaps with rights that are gone.
        selfSigned(directory)
    try:
        return loadCertificate(files, read), fingerprint(files, read)
    except CertificateError as error:
        raise CertificateError(
            f"{error}; this server once made that file itself: remove it, and a new one is made, "
            "whose fingerprint clients have to be told, or give a certificate with --certificate"
        ) from None
