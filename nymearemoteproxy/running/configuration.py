"""What the server is to do, worked out from the settings and the command line.

Owns the defaults that depend on something else, and the checks that need more than one setting.
Everything that can be wrong is found here, before anything listens. When it is worked out anew,
every file that is broken by then leaves its part as it was.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from twisted.internet.endpoints import quoteStringArgument

from nymearemoteproxy.authentication.tokens import parseTokens
from nymearemoteproxy.common.files import Files, Read, readFile
from nymearemoteproxy.common.lists import parseEntries, parseSecret, parseUsers
from nymearemoteproxy.common.openfiles import raiseFileLimit
from nymearemoteproxy.common.paths import logsDirectory, stateDirectory
from nymearemoteproxy.connections.limits import QUESTIONS, RESERVED_FILES, Bounds
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.listening.descriptions import problemOf
from nymearemoteproxy.listening.listeners import (
    Listener,
    ListenerError,
    parseListener,
    tcpDescription,
)
from nymearemoteproxy.listening.tls import (
    CertificateError,
    CertificateFiles,
    beginning,
    fingerprint,
    loadCertificate,
    selfSigned,
)
from nymearemoteproxy.protocol.registration import parseUuids
from nymearemoteproxy.running.settings import FileError, Settings, SettingsError, isText
from nymearemoteproxy.tunnelproxy.switchboard import Terms

LOG_FILE = "nymea-remoteproxy.log"
"""As the C++ server calls it."""

FIRST_STREAM_PORT = 80
"""What the file that came with the C++ server 0.1 has in [TcpServer]."""

FEW_CONNECTIONS = 100
"""Fewer than a small household needs with room for strangers: surely not what was meant."""


@contextlib.contextmanager
def _readable(what: str, path: str) -> Iterator[None]:
    """Say in one line what is wrong with a file."""
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot read the {what} {path}: {error.strerror}") from None
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else error
        raise FileError(f"cannot use the {what} {path}: {reason}") from None


@dataclass(frozen=True)
class TokenSource:
    """Where the tokens come from that this server knows by itself."""

    tokens: Sequence[str] = field(default=(), repr=False)
    files: Sequence[str] = ()

    def read(self, read: Read = readFile) -> list[str]:
        """Return all tokens.

        :raises FileError: a file cannot be read.
        """
        tokens = list(self.tokens)
        for path in self.files:
            with _readable("token file", path):
                tokens += parseTokens(read(path))
        return tokens


def readServerUuids(path: str, read: Read) -> frozenset[UUID]:
    """Return the uuids of the servers that may register.

    :raises FileError: the file cannot be read, or something in it is no uuid.
    """
    with _readable("list of server uuids", path):
        return parseUuids(parseEntries(read(path)))


MISTAKES = (SettingsError, ListenerError, CertificateError)
"""Errors that are the operator's; the text is one line."""

Part = TypeVar("Part")


class Reading:
    """Reads the parts that are in files.

    :param previous: what to keep where a file is broken; None at the start, when nothing may be.
    :param read: reads a file; by default each only once, and waits for none but at the start.
    :ivar problems: why what stays as it was, one line each.
    """

    def __init__(self, previous: Configuration | None = None, read: Read | None = None) -> None:
        self.previous = previous
        self.problems: list[str] = []
        self.read = read or Files(mayWait=previous is None).read

    def part(
        self, what: str, read: Callable[[], Part], keep: Callable[[Configuration], Part]
    ) -> Part:
        """Return a part as it is in its file now, else as it was.

        :param what: to say of it in that case.
        """
        try:
            return read()
        except MISTAKES as error:
            if self.previous is None:
                raise
            self.problems.append(f"{what}: {error}")
            return keep(self.previous)


@dataclass(frozen=True)
class Configuration:
    """What the server is to do.

    :ivar certificates: for each secure listener's `Listener.files`, what it speaks TLS with.
    :ivar tokens: where tokens come from that this server knows by itself.
    :ivar acceptedTokens: what was read there.
    :ivar terms: of the tunnel proxy; None while it is switched off.
    :ivar allowedServers: which may register with it; None = any.
    :ivar credentials: client id and secret for the authentication server.
    :ivar admin: where the admin pages are served; None = nowhere.
    :ivar adminUsers: who may see them, with passwords; None = everybody who can connect.
    :ivar generatedToken: the one token that was made because none was given; to be shown.
    :ivar fingerprint: of the certificate that was made because none was given.
    :ivar inBackground: nobody looks at the terminal.
    """

    settings: Settings
    listeners: Sequence[Listener]
    certificates: dict[CertificateFiles | None, ssl.SSLContext]
    timing: Timing
    bounds: Bounds
    tokens: TokenSource | None
    acceptedTokens: Sequence[str] | None = field(repr=False)
    terms: Terms | None
    allowedServers: frozenset[UUID] | None
    credentials: tuple[str, str] | None = field(repr=False)
    admin: Listener | None
    adminUsers: Mapping[str, str] | None = field(repr=False)
    acceptAnyToken: bool
    generatedToken: str | None = field(repr=False)
    fingerprint: str | None
    logFile: str | None
    verbosity: int
    inBackground: bool = False
    warnings: Sequence[str] = field(default=())


def configure(
    settings: Settings,
    webSockets: Sequence[str] = (),
    streams: Sequence[str] = (),
    tokens: Sequence[str] = (),
    tokenFiles: Sequence[str] = (),
    acceptAnyToken: bool = False,
    logFile: str | None = None,
    verbosity: int = 0,
    inBackground: bool = False,
    toJournal: bool = False,
    reading: Reading | None = None,
) -> Configuration:
    """Work out what to do.

    :param tokenFiles: instead of the one that the settings name.
    :param inBackground: nobody would see a token that is shown.
    :param toJournal: a token that is shown would be kept, for others to read.
    :param reading: when this is not the start: what was before.
    :raises SettingsError: something is missing, or does not go together.
    :raises ListenerError: a place to listen on cannot be used.
    :raises CertificateError: a certificate cannot be used.
    """
    reading = reading or Reading()
    terms = _terms(settings)
    listeners = _listeners(settings, webSockets, streams, terms is not None)
    adminUsers = reading.part(
        "the users of the admin pages stay as they were",
        lambda: _adminUsers(settings, reading.read),
        lambda previous: previous.adminUsers,
    )
    admin = _admin(settings, adminUsers is not None)
    certificates, madePrint = _certificates(
        settings, [*listeners, *([admin] if admin else [])], reading
    )
    if not tokenFiles and settings["Authentication.tokenFile"]:
        tokenFiles = [settings["Authentication.tokenFile"]]
    source, accepted, generated = _tokens(
        settings,
        TokenSource(tokens, tokenFiles),
        acceptAnyToken,
        inBackground or toJournal,
        terms is not None,
        reading,
    )
    uuidFile = settings["TunnelProxy.serverUuidFile"]
    if terms is not None and not uuidFile and not all(each.isLocal for each in listeners):
        settings.warnings.append(
            "every server may register with the tunnel proxy; [TunnelProxy] serverUuidFile says "
            "which ones may"
        )
    allowed = reading.part(
        "the server uuids stay as they were",
        lambda: readServerUuids(uuidFile, reading.read) if uuidFile else None,
        lambda previous: previous.allowedServers,
    )
    if allowed is not None and not allowed:
        settings.warnings.append(
            f"no server may register with the tunnel proxy: {uuidFile} names none"
        )
    if acceptAnyToken:
        for listener in listeners:
            if not listener.isLocal:
                raise ListenerError(
                    f'--accept-any-token: "{listener.description}" is neither a loopback address '
                    "nor a Unix socket, so strangers could come in"
                )
    if settings["Authentication.pairing"] == "subject" and (
        not settings["Authentication.server"] or source is not None or acceptAnyToken
    ):
        raise SettingsError(
            "[Authentication] pairing = subject needs an authentication server and nothing else: "
            "only a server names the account that a token belongs to"
        )
    if logFile is None and settings["ProxyServer.writeLogs"]:
        logFile = settings["ProxyServer.logFile"] or os.path.join(logsDirectory(), LOG_FILE)
    bounds = _bounds(settings)
    settings.warnings += settings.doubts()
    # Each once, also when the same settings are used again, since a new file is broken.
    settings.warnings = list(dict.fromkeys(settings.warnings))
    return Configuration(
        settings=settings,
        listeners=listeners,
        certificates=certificates,
        timing=_timing(settings),
        bounds=bounds,
        tokens=source,
        acceptedTokens=accepted,
        terms=terms,
        allowedServers=allowed,
        credentials=reading.part(
            "the client secret stays as it was",
            lambda: _credentials(settings, reading.read),
            lambda previous: _keepCredentials(previous, settings),
        ),
        admin=admin,
        adminUsers=adminUsers,
        acceptAnyToken=acceptAnyToken,
        generatedToken=generated,
        fingerprint=madePrint,
        logFile=logFile,
        verbosity=verbosity,
        inBackground=inBackground,
        warnings=tuple(settings.warnings),
    )


_TUNNEL_PROXY_SECTIONS = (
    "WebSocketServerTunnelProxy",
    "TcpServerTunnelProxy",
    "UnixSocketServerTunnelProxy",
)


def _listeners(
    settings: Settings, webSockets: Sequence[str], streams: Sequence[str], tunnelProxy: bool
) -> list[Listener]:
    tls = "tls:" if settings["SSL.enabled"] else ""
    suffixes = ("", "TunnelProxy") if tunnelProxy else ("",)

    def tcp(section: str) -> str:
        host = settings[f"{section}.host"]
        if host is None:
            host = "" if tls and settings["SSL.certificate"] else "127.0.0.1"
        return tls + tcpDescription(host, settings[f"{section}.port"])

    def add(descriptions: list[str], description: str) -> None:
        # The C++ server's files may name the same place for both purposes.
        if description not in descriptions or ":0:" in description:
            descriptions.append(description)

    if _isOfFirstServer(settings):
        port = settings["TcpServer.port"]
        settings.warnings.append(
            f"[TcpServer] is listened on, at port {port}: the C++ server 0.1, whose file this seems"
            " to be, never did so; remove the section if no client is to come there"
        )
    further = tunnelProxy and settings.isGiven("WebSocketServerTunnelProxy.port")
    isMainGiven = settings.hasSection("WebSocketServer")
    webSockets, streams = list(webSockets), list(streams)
    if not webSockets and (isMainGiven or not further):
        add(webSockets, tcp("WebSocketServer"))
    if further:
        add(webSockets, tcp("WebSocketServerTunnelProxy"))
    for suffix in suffixes:
        if settings.isGiven(f"TcpServer{suffix}.port"):
            add(streams, tcp(f"TcpServer{suffix}"))
        if path := settings[f"UnixSocketServer{suffix}.unixSocketFileName"]:
            add(streams, "unix:" + quoteStringArgument(path).replace("=", "\\="))
    return [_listener("--websocket", description, True) for description in webSockets] + [
        _listener("--stream", description, False) for description in streams
    ]


def _listener(option: str, description: str, webSocket: bool) -> Listener:
    if problem := problemOf(description):
        raise ListenerError(f"{option}: {problem}")
    return parseListener(description, webSocket)


def _isOfFirstServer(settings: Settings) -> bool:
    """Tell whether the file is one of the C++ server 0.1.

    That has [AWS], as its authentication was, or its port, and no section that came with the
    streams, which only later ones really served.
    """
    later = ("UnixSocketServer", *_TUNNEL_PROXY_SECTIONS)
    return (
        settings.isGiven("TcpServer.port")
        and (settings.hasSection("AWS") or settings["TcpServer.port"] == FIRST_STREAM_PORT)
        and not any(settings.hasSection(section) for section in later)
    )


def _adminUsers(settings: Settings, read: Read) -> Mapping[str, str] | None:
    path = settings["Admin.passwordFile"]
    if not path:
        return None
    with _readable("password file", path):
        return parseUsers(read(path))


def _admin(settings: Settings, hasPassword: bool) -> Listener | None:
    description = settings["Admin.endpoint"]
    if not description:
        return None
    source = settings.source("Admin.endpoint")
    listener = _listener(source, description, False)
    if "unix:" in description and ":mode=" not in description:
        # By default Twisted lets every user of the machine in, to drain the server, too.
        listener = parseListener(f"{description}:mode=660", False)
    if not listener.isLocal:
        if not hasPassword:
            raise ListenerError(
                f'{source}: "{description}" is neither a loopback address, such as '
                "tcp:8080:interface=127.0.0.1, nor a Unix socket, so it needs [Admin] passwordFile"
            )
        if not listener.secure:
            settings.warnings.append(
                f"the passwords of the admin pages on {description} are sent in the clear; put "
                "tls: before it"
            )
    return listener


def _terms(settings: Settings) -> Terms | None:
    """Return the terms of the tunnel proxy; None when it is not switched on."""
    enabled = settings["TunnelProxy.enabled"]
    if enabled is None:
        enabled = any(settings.hasSection(section) for section in _TUNNEL_PROXY_SECTIONS)
    if not enabled:
        return None
    return Terms(
        serverTimeout=settings.seconds("TunnelProxy.serverTimeout"),
        packetSize=settings["TunnelProxy.maxPacketSize"],
        messageSize=settings["Limits.maxControlMessageSize"],
        clientBacklog=settings["TunnelProxy.clientBacklog"],
        totalBacklog=settings["TunnelProxy.totalBacklog"],
        clientPatience=settings.seconds("TunnelProxy.clientPatience"),
        serversPerAddress=settings["Limits.maxServersPerAddress"],
        clientsPerAddress=settings["Limits.maxClientsPerAddress"],
        clientsPerServer=settings["Limits.maxClientsPerServer"],
    )


_INI_BEGIN = re.compile(rb"(\xef\xbb\xbf)?(\s|[#;][^\n]*\n)*+\[[A-Za-z ]+\]\s")
"""Comments and a section header, with which no PEM file begins."""

Certificates = dict[CertificateFiles | None, ssl.SSLContext]


def _certificates(
    settings: Settings, listeners: Sequence[Listener], reading: Reading
) -> tuple[Certificates, str | None]:
    """Load what the listeners need; return also the fingerprint of a self-signed one."""
    wanted = {listener.files for listener in listeners if listener.secure}
    needed = None in wanted or settings["SSL.enabled"]
    madePrint = None
    certificates: Certificates = {}
    itStays = "the certificate stays as it was"

    def loadNew(files: CertificateFiles) -> ssl.SSLContext:
        context = loadCertificate(files, reading.read)
        begins = beginning(files, reading.read)
        if begins > datetime.now(UTC):
            settings.warnings.append(
                f"the certificate {files.certificate} is not valid before "
                f"{begins:%Y-%m-%d %H:%M:%S} UTC, and clients refuse it until then; is the clock "
                "right?"
            )
        return context

    def load(key: CertificateFiles | None, files: CertificateFiles) -> None:
        context = reading.part(
            itStays,
            lambda: loadNew(files),
            lambda previous: previous.certificates.get(key),
        )
        if context is not None:  # there may have been none that no listener needs
            certificates[key] = context

    for files in wanted:
        if files is not None:
            load(files, files)
    if settings["SSL.certificate"] and needed:
        _refuseIni(settings["SSL.certificate"], reading.read)
        # Loaded even if no listener uses it: who names a certificate wants to know if it is bad.
        load(
            None,
            CertificateFiles(
                settings["SSL.certificate"],
                settings["SSL.certificateKey"],
                settings["SSL.certificateChain"],
            ),
        )
    elif settings["SSL.certificateKey"] and needed:
        raise SettingsError(
            "a certificate key is given, but no certificate; name that with --certificate or "
            "[SSL] certificate"
        )
    elif None in wanted:
        certificates[None], madePrint = reading.part(
            itStays,
            lambda: _loadSelfSigned(reading.read),
            lambda previous: (previous.certificates[None], previous.fingerprint),
        )
    return certificates, madePrint


def _refuseIni(path: str, read: Read) -> None:
    """Tell who gives the configuration as the C++ server took it, with -c."""
    with contextlib.suppress(OSError):  # the loading tells of it
        if _INI_BEGIN.match(read(path)):
            raise SettingsError(
                f"{path} is an INI file and no certificate: give it with -C or --configuration; "
                "-c, which was the C++ server's configuration, is --certificate here"
            )


def _loadSelfSigned(read: Read) -> tuple[ssl.SSLContext, str | None]:
    try:
        directory = stateDirectory()
    except RuntimeError:  # the user has no home, as in a container
        raise CertificateError(
            "there is no state directory to keep a self-signed certificate in; give a certificate, "
            "or set STATE_DIRECTORY"
        ) from None
    files = selfSigned(directory)
    try:
        return loadCertificate(files, read), fingerprint(files, read)
    except CertificateError as error:
        raise CertificateError(
            f"{error}; this server once made that file itself: remove it, and a new one is made, "
            "whose fingerprint clients have to be told, or give a certificate with --certificate"
        ) from None


def _tokens(
    settings: Settings,
    given: TokenSource,
    acceptAnyToken: bool,
    isService: bool,
    tunnelProxy: bool,
    reading: Reading,
) -> tuple[TokenSource | None, Sequence[str] | None, str | None]:
    """Return where tokens come from, what they are, and the one that was made if there is none."""
    isGiven = bool(given.tokens or given.files)
    for token in given.tokens:
        if not token or not isText(token):
            raise SettingsError(
                "--token: the token is empty, or not UTF-8; give one as in --token SECRET, or a "
                "file of them with --token-file"
            )
    if acceptAnyToken and (isGiven or settings["Authentication.server"]):
        raise SettingsError(
            "--accept-any-token lets everybody in, so it cannot go together with tokens or an "
            "authentication server"
        )
    if isGiven:
        accepted = reading.part(
            "the tokens stay as they were",
            lambda: given.read(reading.read),
            lambda previous: previous.acceptedTokens or [],
        )
        return given, accepted, None
    if settings["Authentication.server"] or acceptAnyToken:
        return None, None, None
    if isService and tunnelProxy:
        settings.warnings.append(
            "no authentication is given, so nobody is let in to token tunnels; the tunnel proxy "
            "needs none"
        )
        return None, [], None
    if reading.previous is not None:
        generated = reading.previous.generatedToken
        if generated is None:
            raise SettingsError("no authentication is given any more")
        return TokenSource([generated]), [generated], generated
    if isService:
        raise SettingsError(
            "no authentication is given, and nobody would see a generated token: use --server, "
            "--token-file or --token, or set [Authentication] server or tokenFile"
        )
    generated = secrets.token_urlsafe(24)
    return TokenSource([generated]), [generated], generated


def _credentials(settings: Settings, read: Read) -> tuple[str, str] | None:
    path = settings["Authentication.clientSecretFile"]
    user = settings["Authentication.clientId"]
    if bool(path) != bool(user):
        given, missing = "clientId", "clientSecretFile"
        if path:
            given, missing = missing, given
        raise SettingsError(f"[Authentication] {given} needs {missing}, too: they go together")
    if not path:
        return None
    with _readable("client secret", path):
        return user, parseSecret(read(path))


def _keepCredentials(previous: Configuration, settings: Settings) -> tuple[str, str] | None:
    """Return what was there, but not for a server that it was never meant for."""
    if settings["Authentication.server"] != previous.settings["Authentication.server"]:
        raise SettingsError("a new authentication server needs a client secret that can be read")
    return previous.credentials


def _timing(settings: Settings) -> Timing:
    def seconds(key: str) -> float:
        return settings.seconds(f"ProxyServer.{key}")

    return Timing(
        tlsHandshake=seconds("tlsHandshakeTimeout"),
        webSocketHandshake=seconds("webSocketHandshakeTimeout"),
        inactive=seconds("inactiveTimeout"),
        authentication=min(seconds("authenticationTimeout"), seconds("jsonRpcTimeout")),
        alone=seconds("aloneTimeout"),
        notificationGap=seconds("notificationGap"),
        ping=seconds("pingInterval"),
        pingAnswer=seconds("pingTimeout"),
        close=seconds("closeTimeout"),
    )


def _bounds(settings: Settings) -> Bounds:
    connections = settings["Limits.maxConnections"]
    questions = settings["Authentication.connections"]
    possible = max(1, raiseFileLimit() - RESERVED_FILES - max(0, questions - QUESTIONS))
    if connections is None:
        connections = possible
    elif connections > possible:
        settings.warnings.append(
            f"[Limits] maxConnections is {connections}, but the limit of open files "
            f"(ulimit -n, LimitNOFILE) leaves room for {possible}"
        )
    if possible < FEW_CONNECTIONS:
        settings.warnings.append(
            f"the limit of open files (ulimit -n, LimitNOFILE) leaves room for only {possible} "
            "connections"
        )
    unauthenticated = settings["Limits.maxUnauthenticated"]
    if unauthenticated is None:
        unauthenticated = (connections or possible) // 2
    return Bounds(
        connections=connections,
        unauthenticated=unauthenticated,
        connectionsPerAddress=settings["Limits.maxConnectionsPerAddress"],
        unauthenticatedPerAddress=settings["Limits.maxUnauthenticatedPerAddress"],
        attemptsPerSecondPerAddress=settings["Limits.attemptsPerSecondPerAddress"],
        exempt=settings["Limits.exemptNetworks"],
    )
