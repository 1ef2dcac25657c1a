"""Where the server listens: endpoint descriptions, with our own TLS.

Owns the reading of descriptions. TLS is ours, whoever asks for it, so that every listener has the
same versions and ciphers, and so are PROXY headers and the sockets of systemd; all the rest is
Twisted's `serverFromString`. Knows nothing of what is spoken on a connection.
"""

from __future__ import annotations

import re
import socket
import stat
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorCore,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure

from nymearemoteproxy.common.certificates import CertificateFiles
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.loopback import isLoopback
from nymearemoteproxy.listening.adoption import AdoptedEndpoint, takeSocket
from nymearemoteproxy.listening.descriptions import whyNot
from nymearemoteproxy.listening.dualstack import DualStack
from nymearemoteproxy.listening.locks import disown

log = ProxyLogger()

_PROXY_PREFIX = "haproxy:"
_TLS_PREFIX = "tls:"
_SSL_PREFIX = "ssl:"
_SYSTEMD_PREFIX = "systemd:"
BACKLOG = 1024
"""Connections the kernel holds until they are accepted; Twisted's 50 is too few for a burst."""

SOCKET_MODE = 0o660
"""Of a Unix socket, unless its description has another, and whatever the umask. By default Twisted
lets every user of the machine in."""

_COLON = re.compile(r"(?<!\\):")
_EQUALS_SIGN = re.compile(r"(?<!\\)=")


class ListenerError(Exception):
    """A description cannot be used; the text is one line for the operator."""


@dataclass(frozen=True)
class Listener:
    """One place to listen on.

    :ivar description: as it was given, for people.
    :ivar plain: the description without TLS and PROXY header; but for ``systemd:``, Twisted's.
    :ivar transport: of its connections, as in `Record`; those of a stream may be a Unix socket's.
    :ivar secure: TLS is spoken, and ends here.
    :ivar files: the certificate of this listener; None = the server's own.
    :ivar behindProxy: every connection begins with a PROXY header.
    """

    description: str
    plain: str
    transport: str
    secure: bool = False
    files: CertificateFiles | None = None
    behindProxy: bool = False

    @property
    def isLocal(self) -> bool:
        """True when only this machine's can come: a Unix socket, or a loopback address.

        Those that a reverse proxy sends come from anywhere.
        """
        if self.behindProxy:
            return False
        kind, *arguments = _COLON.split(self.plain)
        if kind == "unix":
            return True
        if kind not in ("tcp", "tcp6"):
            return False
        hosts = _given(arguments, "interface", 1)
        return bool(hosts) and all(isLoopback(host.replace("\\", "")) for host in hosts)

    @property
    def socketPath(self) -> str | None:
        """The path of a Unix socket that is to be made."""
        kind, *arguments = _COLON.split(self.plain)
        paths = _given(arguments, "address", 0) if kind == "unix" else []
        return re.sub(r"\\(.)", r"\1", paths[0]) if paths else None

    @property
    def isPrivate(self) -> bool:
        """True for a Unix socket whose file is not for every user of the machine."""
        kind, *arguments = _COLON.split(self.plain)
        isUnix = kind == "unix" and not self.behindProxy
        return isUnix and not any(map(_isForOthers, _given(arguments, "mode", 1)))

    @property
    def isShared(self) -> bool:
        """True when the socket is systemd's, who may give it to another process as well."""
        return self.plain.startswith(_SYSTEMD_PREFIX)

    def endpoint(self, reactor: IReactorCore) -> IStreamServerEndpoint:
        """Return the Twisted endpoint.

        :raises ListenerError: the description cannot be understood, there is no such socket, or
            another server has it.
        """
        if self.socketPath is not None and not disown(self.socketPath):
            raise ListenerError(f"cannot listen on {self.description}: another server does")
        try:
            if self.isShared:
                return _systemdEndpoint(reactor, self.plain)
            endpoint: IStreamServerEndpoint = serverFromString(
                DualStack(reactor), _withMode(self.plain)
            )
            return endpoint
        except Exception as error:
            # Parsers raise whatever their conversions happen to raise.
            reason = str(error).replace("\n", " ") or type(error).__name__
            raise ListenerError(
                f'"{self.description}" is no endpoint description that can be listened on: {reason}'
            ) from None


def _withMode(plain: str) -> str:
    """Return a description with a mode, if it is one of a Unix socket and has none of its own."""
    kind, *arguments = _COLON.split(plain)
    if kind != "unix" or _given(arguments, "mode", 1):
        return plain
    return f"{plain}:mode={SOCKET_MODE:o}"


def _given(arguments: list[str], name: str, place: int) -> list[str]:
    """Return the values that a description has for an argument, escaped as they are there.

    As Twisted reads them: it has its name, or its place among those that have none.
    """
    named = [each.partition("=")[2] for each in arguments if each.startswith(f"{name}=")]
    unnamed = [each for each in arguments if not _EQUALS_SIGN.search(each)]
    return named + unnamed[place : place + 1]


def _isForOthers(mode: str) -> bool:
    """Tell whether a mode, in octal digits, is for others than user and group."""
    try:
        return bool(int(mode, 8) & stat.S_IRWXO)
    except ValueError:
        return True


def _hasIPv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def tcpDescription(host: str, port: int) -> str:
    """Return the description of a TCP listener; an empty host means every interface."""
    if host:
        interface = quoteStringArgument(host)
    else:
        interface = quoteStringArgument("::") if _hasIPv6() else "0.0.0.0"  # :: takes IPv4 too
    return f"tcp:{port}:interface={interface}:backlog={BACKLOG}"


def parseListener(description: str, transport: str) -> Listener:
    """Read one description.

    Besides Twisted's own kinds there is ``tls:`` before any of them, which speaks TLS with the
    server's certificate, and ``ssl:`` takes that one too when it names no key.

    :param transport: of its connections.
    :raises ListenerError: it cannot be read.
    """
    rest = description
    secure = behindProxy = False
    files = None
    while rest.startswith((_PROXY_PREFIX, _TLS_PREFIX)):
        behindProxy = behindProxy or rest.startswith(_PROXY_PREFIX)
        secure = secure or rest.startswith(_TLS_PREFIX)
        rest = rest.partition(":")[2]
    if rest.startswith(_SSL_PREFIX):
        secure = True
        rest, files = _splitSsl(description, rest)
    return Listener(description, rest, transport, secure, files, behindProxy)


def _splitSsl(description: str, rest: str) -> tuple[str, CertificateFiles | None]:
    """Split Twisted's ssl: description into its tcp: part and its certificate."""
    arguments: list[str] = []
    files: dict[str, str] = {}
    for argument in _COLON.split(rest)[1:]:
        name, equals, value = argument.partition("=")
        if equals and name in ("privateKey", "certKey", "extraCertChain"):
            files[name] = re.sub(r"\\(.)", r"\1", value)
        elif equals and name in ("sslmethod", "dhParameters"):
            raise ListenerError(f'"{description}": {name} is not supported, TLS is 1.2 or 1.3')
        else:
            arguments.append(argument)
    tcp = ":".join(["tcp", *arguments])
    if not files:
        return tcp, None
    if "privateKey" not in files:
        raise ListenerError(f'"{description}" names a certificate but no privateKey')
    key = files["privateKey"]
    certificate = files.get("certKey", key)
    return tcp, CertificateFiles(certificate, key, files.get("extraCertChain", ""))


_SYSTEMD_ARGUMENTS = ("domain", "index", "name")
"""As Twisted has them: without its name, the first one is the domain, and so on."""


def _systemdEndpoint(reactor: IReactorCore, plain: str) -> IStreamServerEndpoint:
    """Return the endpoint of a systemd: description.

    The domain may be left out, and decides nothing: the socket knows its own.

    :raises LookupError: systemd passed no such socket.
    :raises ValueError: it cannot be understood.
    """
    given: dict[str, str] = {}
    unnamed = iter(_SYSTEMD_ARGUMENTS)
    for argument in _COLON.split(plain)[1:]:
        name, equals, value = argument.partition("=")
        if not equals:
            name, value = next(unnamed, ""), argument
        if name not in _SYSTEMD_ARGUMENTS:
            raise ValueError(f'"{argument}" is neither index=NUMBER nor name=NAME')
        given[name] = re.sub(r"\\(.)", r"\1", value)
    return AdoptedEndpoint(reactor, takeSocket(given.get("index"), given.get("name")))


@inlineCallbacks
def close(port: IListeningPort) -> Any:
    """Listen no longer; what goes wrong keeps nobody from going on.

    Of a Unix socket whose file somebody has removed, Twisted cannot remove it once more.
    """
    try:
        yield port.stopListening()
    except Exception as error:
        log.warn("a listener was not closed in order: {reason}", reason=str(error))


def listen(
    place: str, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
) -> IListeningPort:
    """Listen on an endpoint, at once.

    :param place: what the operator calls it.
    :raises ListenerError: it cannot be listened on.
    """
    results: list[Any] = []
    try:
        endpoint.listen(factory).addBoth(results.append)
        if not results:
            raise ListenerError("it does not listen at once")
        if isinstance(results[0], Failure):
            results[0].raiseException()
    except (CannotListenError, OSError, OverflowError) as error:
        place = place.removesuffix(f":backlog={BACKLOG}")
        raise ListenerError(f"cannot listen on {place}: {whyNot(error)}") from None
    port: IListeningPort = results[0]
    return port
