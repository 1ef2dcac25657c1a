"""Works out what the server is to do.

Owns the order in which mistakes are found. When it is worked out anew, every file that is broken by
then leaves its part as it was. Knows nothing of how anything is decided.
"""

from __future__ import annotations

import os

from nymearemoteproxy.common.paths import logsDirectory
from nymearemoteproxy.running.configuration.administration import adminListener, readUsers
from nymearemoteproxy.running.configuration.books import makeBooks
from nymearemoteproxy.running.configuration.bounds import countWorkers, makeBounds, makeTiming
from nymearemoteproxy.running.configuration.certificates import loadCertificates
from nymearemoteproxy.running.configuration.clustering import makeCluster
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.parts import Parts
from nymearemoteproxy.running.configuration.places import clientListeners, refuseStrangers
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.configuration.tokensources import (
    checkPairing,
    readCredentials,
    readTokens,
)
from nymearemoteproxy.running.configuration.tunnelproxy import makeTerms, readAllowedServers
from nymearemoteproxy.running.settings.values import Settings

LOG_FILE = "nymea-remoteproxy.log"
"""As the C++ server calls it."""


def configure(
    settings: Settings, given: CommandLine | None = None, parts: Parts | None = None
) -> Configuration:
    """Work out what to do.

    :param parts: when this is not the start: with what was before.
    :raises SettingsError: something is missing, or does not go together.
    :raises ListenerError: a place to listen on cannot be used.
    :raises CertificateError: a certificate cannot be used.
    """
    given, parts = given or CommandLine(), parts or Parts()
    warnings = list(settings.warnings)
    warn = warnings.append
    terms = makeTerms(settings)
    isTunnelProxyOn = terms is not None
    listeners = clientListeners(settings, given, isTunnelProxyOn, warn)
    adminUsers = readUsers(settings, parts)
    admin = adminListener(settings, adminUsers is not None, warn)
    allListeners = listeners if admin is None else [*listeners, admin]
    certificates, fingerprint = loadCertificates(settings, allListeners, parts, warn)
    tokens = readTokens(settings, given, isTunnelProxyOn, parts, warn)
    allowed = readAllowedServers(settings, isTunnelProxyOn, listeners, parts, warn)
    if given.acceptAnyToken:
        refuseStrangers(listeners)
    checkPairing(settings, given, tokens)
    workers = countWorkers(settings.proxyServer.workers)
    bounds = makeBounds(settings, workers, warn)
    cluster = makeCluster(settings, parts, warn)
    warnings += settings.doubts()
    return Configuration(
        settings=settings,
        listeners=listeners,
        certificates=certificates,
        timing=makeTiming(settings.proxyServer),
        bounds=bounds,
        acceptedTokens=tokens.accepted,
        terms=terms,
        allowedServers=allowed,
        credentials=readCredentials(settings, parts),
        admin=admin,
        adminUsers=adminUsers,
        books=makeBooks(settings),
        cluster=cluster,
        acceptAnyToken=given.acceptAnyToken,
        generatedToken=tokens.generated,
        fingerprint=fingerprint,
        logFile=_logFile(settings, given),
        verbosity=given.verbosity,
        inBackground=given.inBackground,
        workers=workers,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _logFile(settings: Settings, given: CommandLine) -> str | None:
    if given.logFile is not None or not settings.proxyServer.writeLogs:
        return given.logFile
    return settings.proxyServer.logFile or os.path.join(logsDirectory(), LOG_FILE)
