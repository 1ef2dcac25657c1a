"""Works out what the server is to do.

Owns the order in which mistakes are found. When it is worked out anew, every file that is broken by
then leaves its part as it was. Knows nothing of how anything is decided.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from nymearemoteproxy.common.paths import logsDirectory
from nymearemoteproxy.connections.denylist import DenyList
from nymearemoteproxy.protocol.frontnames import FrontNames
from nymearemoteproxy.running.configuration.administration import adminListener, readUsers
from nymearemoteproxy.running.configuration.books import makeBooks
from nymearemoteproxy.running.configuration.bounds import (
    countWorkers,
    makeAccountBounds,
    makeBounds,
    makeTiming,
    makeTunnelLimits,
    readDenyList,
)
from nymearemoteproxy.running.configuration.certificates import fingerprints, loadCertificates
from nymearemoteproxy.running.configuration.clustering import makeCluster
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.front import readNames
from nymearemoteproxy.running.configuration.parts import Parts
from nymearemoteproxy.running.configuration.places import clientListeners, refuseStrangers
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.configuration.secrecy import warnOfOpenFiles
from nymearemoteproxy.running.configuration.tokensources import (
    Tokens,
    checkPairing,
    readCredentials,
    readTokens,
)
from nymearemoteproxy.running.configuration.tunnelproxy import (
    makeTerms,
    readAllowedServers,
    whoIsProven,
)
from nymearemoteproxy.running.configuration.webtokens import readWebTokens
from nymearemoteproxy.running.configuration.written import checkSockets, checkWritten
from nymearemoteproxy.running.settings.values import Settings

LOG_FILE = "nymea-remoteproxy.log"
"""As the C++ server calls it."""


def configure(
    settings: Settings, given: CommandLine | None = None, parts: Parts | None = None
) -> Configuration:
    """Work out what to do.

    :param parts: when this is not the start: with what was before. Perhaps some mistakes were found
        already; they are told with those that are found here.
    :raises SettingsError: something is missing, or does not go together.
    :raises ListenerError: a place to listen on cannot be used.
    :raises CertificateError: a certificate cannot be used.
    :raises SeveralMistakes: more than one of that.
    """
    given, parts = given or CommandLine(), parts or Parts()
    warnings = list(settings.warnings)
    warn = warnings.append
    terms = makeTerms(settings)
    isTunnelProxyOn = terms is not None
    mistakes = parts.mistakes
    listeners = clientListeners(settings, given, isTunnelProxyOn, mistakes, warn)
    users: Mapping[str, str] | None = {}  # a file that cannot be read is given all the same
    adminUsers = mistakes.attempt(lambda: readUsers(settings, parts), users)
    admin = mistakes.attempt(lambda: adminListener(settings, adminUsers is not None, warn), None)
    allListeners = listeners if admin is None else [*listeners, admin]
    certificates, fingerprint = loadCertificates(settings, allListeners, parts, warn)
    worksWithoutTokens = isTunnelProxyOn and not whoIsProven(settings)
    tokens = mistakes.attempt(
        lambda: readTokens(settings, given, worksWithoutTokens, parts, warn), Tokens()
    )
    webTokens = mistakes.attempt(lambda: readWebTokens(settings, parts, warn), None)
    allowed = mistakes.attempt(
        lambda: readAllowedServers(settings, isTunnelProxyOn, listeners, parts, warn), None
    )
    names = mistakes.attempt(
        lambda: readNames(settings, isTunnelProxyOn, parts, warn), FrontNames()
    )
    if given.acceptAnyToken:
        refuseStrangers(listeners, mistakes)
    with mistakes.collecting():
        checkPairing(settings, given, tokens)
    credentials = mistakes.attempt(lambda: readCredentials(settings, parts), None)
    workers = countWorkers(settings.proxyServer.workers)
    bounds = makeBounds(settings, workers, warn)
    denied = mistakes.attempt(lambda: readDenyList(settings, parts), DenyList())
    accountBounds = makeAccountBounds(settings, warn)
    cluster = mistakes.attempt(lambda: makeCluster(settings, parts, warn), None)
    books, logFile = makeBooks(settings), _logFile(settings, given)
    if parts.isCheck:
        checkWritten(books, logFile, mistakes)
        places = [each.socketPath for each in allListeners]
        checkSockets([*places, settings.proxyServer.monitorSocket], mistakes)
    mistakes.refuse()
    warnOfOpenFiles(settings, given, allListeners, warn)
    warnings += settings.doubts()
    return Configuration(
        settings=settings,
        listeners=listeners,
        certificates=certificates,
        timing=makeTiming(settings, tokens.generated is not None),
        bounds=bounds,
        tunnelLimits=makeTunnelLimits(settings, workers),
        accountBounds=accountBounds,
        denied=denied,
        acceptedTokens=tokens.accepted,
        webTokens=webTokens,
        terms=terms,
        allowedServers=allowed,
        names=names,
        credentials=credentials,
        admin=admin,
        adminUsers=adminUsers,
        books=books,
        cluster=cluster,
        acceptAnyToken=given.acceptAnyToken,
        generatedToken=tokens.generated,
        fingerprint=fingerprint,
        logFile=logFile,
        verbosity=given.verbosity,
        inBackground=given.inBackground,
        workers=workers,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def findFingerprints(
    settings: Settings, given: CommandLine, parts: Parts
) -> Sequence[tuple[str, str]]:
    """Return the SHA-256 fingerprint of each certificate that the server would show, and its file.

    Nothing but certificates is read.

    :param parts: perhaps some mistakes were found already; they are told.
    :raises SettingsError: a setting cannot be used.
    :raises ListenerError: a place to listen on cannot be used.
    :raises CertificateError: a certificate cannot be read.
    :raises SeveralMistakes: more than one of that.
    """

    def ignore(_warning: str) -> None:
        """A start tells it."""

    mistakes = parts.mistakes
    isTunnelProxyOn = makeTerms(settings) is not None
    listeners = clientListeners(settings, given, isTunnelProxyOn, mistakes, ignore)
    admin = mistakes.attempt(lambda: adminListener(settings, True, ignore), None)
    if admin is not None:
        listeners.append(admin)
    found: Sequence[tuple[str, str]] = ()
    found = mistakes.attempt(lambda: fingerprints(settings, listeners, parts.read), found)
    mistakes.refuse()
    return found


def _logFile(settings: Settings, given: CommandLine) -> str | None:
    if given.logFile is not None or not settings.proxyServer.writeLogs:
        return given.logFile
    return settings.proxyServer.logFile or os.path.join(logsDirectory(), LOG_FILE)
