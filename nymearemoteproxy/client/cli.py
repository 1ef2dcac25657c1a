"""Owns the command ``nymea-remoteproxy-client``: options, what they lead to, exit status.

It must not know how a tunnel is made; that is ``endpoint``'s business.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatEventAsClassicLogText,
    globalLogBeginner,
)
from twisted.python import usage
from twisted.python.failure import Failure

from nymearemoteproxy import __version__
from nymearemoteproxy.client.controlphase import TunnelError, oneLine
from nymearemoteproxy.client.copying import Relay, SharedFiles
from nymearemoteproxy.client.endpoint import (
    DEFAULT_NAME,
    ClientEndpoint,
    ProxyEndpoint,
    ServerEndpoint,
    TunnelEndpoint,
)
from nymearemoteproxy.client.forwarding import Forwarder
from nymearemoteproxy.client.publishing import Publisher
from nymearemoteproxy.client.retrying import (
    MAX_DELAY_WAITED_FOR,
    Backoff,
    Reports,
    RetryingEndpoint,
)
from nymearemoteproxy.client.serving import Service
from nymearemoteproxy.client.trust import TlsOptions
from nymearemoteproxy.client.urls import Address, parseListen, parseService
from nymearemoteproxy.common.files import readFile
from nymearemoteproxy.common.lists import parseList, parseSecret
from nymearemoteproxy.common.logs import LogEvent, LogStream
from nymearemoteproxy.common.openfiles import raiseFileLimit

PROGRAM = "nymea-remoteproxy-client"
TOKEN_VARIABLE = "NYMEA_REMOTEPROXY_TOKEN"

# Open files kept for all but clients: standard ones, the proxy, the reactor, names being looked up,
# second attempts at the other address of a name.
RESERVED_FILES = 64

# An option, and the one it makes no sense without.
_NEEDED = (("serve", "forward"), ("forward", "serve"), ("listen", "server-uuid"))

# An option, and those that make no sense with it. Every connection to a listening port is a client
# of its own, so it needs a uuid of its own.
_EXCLUDED = {
    "serve": ("server-uuid", "listen", "uuid", "token", "token-file", "nonce"),
    "server-uuid": ("token", "token-file", "nonce"),
    "listen": ("uuid",),
    "token": ("token-file",),
}


class Options(usage.Options):
    """The command line."""

    synopsis = f"Usage: {PROGRAM} --url URL [options]"
    longdesc = (
        "With a token: joins a tunnel of a nymea-remoteproxy, then copies standard input to the "
        "partner and what the partner sends to standard output. The token is taken from --token, "
        f"--token-file or the variable {TOKEN_VARIABLE}; other users can read the command line. "
        "Ctrl-D at a terminal leaves at once. At the end of other input it leaves as soon as the "
        "partner has been silent for a second; without any input it waits until the partner "
        "leaves. Exit status 0: there was a tunnel. 1: there was none, it broke, or the service at "
        "its other end closed it without a word. "
        "With --serve and --forward: makes a local service reachable through the proxy's tunnel "
        "proxy under a uuid, for ever; it reconnects whenever the connection is lost. "
        "With --server-uuid: the other end of such a service is standard input and output, or with "
        "--listen a local port, each connection to which is one to the service. Whoever wants to "
        "connect waits up to a minute for a proxy or a server that is away."
    )
    optParameters = [
        ["url", None, None, "ws://HOST:PORT[/path], wss://..., tcp://..., tls://... or unix:PATH"],
        ["token", None, None, "the token that the server accepts and the partner knows too"],
        ["token-file", None, None, "file with the token: its first line that is no # comment"],
        ["nonce", None, None, "keeps several tunnels with the same token apart"],
        ["serve", None, None, "be the server with this uuid, for clients of the tunnel proxy"],
        ["forward", None, None, "the service that --serve offers: HOST:PORT or unix:PATH"],
        ["server-uuid", None, None, "be a client of the server with this uuid"],
        [
            "listen",
            None,
            None,
            "a local port whose connections are clients: PORT or ADDRESS:PORT; 0 picks a free one",
        ],
        ["name", None, DEFAULT_NAME, "what the partner sees as our name"],
        ["uuid", None, None, "what the partner sees as our uuid; default: a new random one"],
        [
            "ca",
            None,
            None,
            "file with PEM certificates to trust instead of the system's authorities",
        ],
        ["fingerprint", None, None, "SHA-256 of the server's certificate, to trust that one only"],
    ]
    optFlags = [
        ["insecure", None, "do not verify the server's certificate"],
        ["verbose", "v", "more detail on standard error"],
    ]

    def opt_version(self) -> None:
        """show the version"""
        print(PROGRAM, __version__)
        raise SystemExit(0)

    opt_V = opt_version
    opt_h = usage.Options.opt_help

    def postOptions(self) -> None:
        """Complete and check the options together."""
        if not self["url"]:
            raise usage.UsageError("--url is missing")
        for option, needed in _NEEDED:
            if self[option] is not None and self[needed] is None:
                raise usage.UsageError(f"--{option} needs --{needed}")
        for option, excluded in _EXCLUDED.items():
            for other in excluded:
                if self[option] is not None and self[other] is not None:
                    raise usage.UsageError(f"--{option} and --{other} exclude each other")
        self._parse("forward", parseService)
        self._parse("listen", parseListen)
        if self["serve"] is None and self["server-uuid"] is None:
            self._completeToken()

    def endpoint(self, reactor: Any, say: Callable[[str], None]) -> ProxyEndpoint:
        """Return the endpoint that the options describe.

        Raises:
            ValueError, twisted.python.usage.UsageError: they are wrong; the text is one line.
        """
        tls = None
        if self["ca"] is not None or self["fingerprint"] is not None or self["insecure"]:
            ca = None if self["ca"] is None else _read("ca", self["ca"])
            tls = TlsOptions(ca, self["fingerprint"], bool(self["insecure"]))
        url, name, uuid = self["url"], self["name"], self["uuid"]
        if self["serve"] is not None:
            return ServerEndpoint(reactor, url, self["serve"], name=name, tls=tls)
        if self["server-uuid"] is not None:
            return ClientEndpoint(reactor, url, self["server-uuid"], name=name, uuid=uuid, tls=tls)
        return TunnelEndpoint(
            reactor,
            url,
            self["token"],
            nonce=self["nonce"],
            name=name,
            uuid=uuid,
            tls=tls,
            onWaiting=lambda: say("waiting for the partner"),
        )

    def _parse(self, option: str, parse: Callable[[str], Address]) -> None:
        if self[option] is not None:
            try:
                self[option] = parse(self[option])
            except ValueError as problem:
                raise usage.UsageError(f"--{option}: {problem}") from None

    def _completeToken(self) -> None:
        if self["token-file"] is not None:
            self["token"] = self._tokenOfFile()
        elif self["token"] is None:
            self["token"] = _tokenOfVariable()
        if not self["token"]:
            raise usage.UsageError(
                f"no token: give --token-file, {TOKEN_VARIABLE} or --token; "
                "or --serve or --server-uuid, which need none"
            )

    def _tokenOfFile(self) -> str:
        try:
            tokens = parseList(_read("token-file", self["token-file"]))
        except UnicodeDecodeError:
            raise usage.UsageError("--token-file: not UTF-8") from None
        except ValueError as problem:
            raise usage.UsageError(f"--token-file: {problem}") from None
        return tokens[0] if tokens else ""


class StandardError:
    """Takes what the command has to say.

    It may be a pipe that nobody reads, which must not keep a service from being reached.
    """

    def __init__(self) -> None:
        # print() would take a missing stderr for stdout.
        self._stream = None if sys.stderr is None else LogStream(sys.stderr.fileno(), _asLine)

    def start(self) -> None:
        """From now on nobody waits until it is written, but for a moment the end of the process."""
        if self._stream is not None:
            self._stream.start()

    def say(self, text: str) -> None:
        """Write one line."""
        self._write(f"{PROGRAM}: {text}\n")

    def log(self, event: LogEvent) -> None:
        """Write an event as Twisted does."""
        self._write(formatEventAsClassicLogText(event) or "")

    def refuse(self, reason: str) -> int:
        """Say why there is no run; return the exit status."""
        self.say(reason)
        return 1

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)


class Session:
    """One run of the command.

    Args:
        write: writes one line to standard error.

    Attributes:
        status: the exit status.
        reason: the line to say at the end, if any.
        isOver: the reactor is being stopped; what it closes meanwhile is no news.
    """

    def __init__(self, reactor: Any, options: Options, write: Callable[[str], None]) -> None:
        self.reactor = reactor
        self.status = 0
        self.reason: str | None = None
        self.isOver = False
        self._options = options
        self._write = write
        self._endpoint = options.endpoint(reactor, self.say)

    def say(self, text: str) -> None:
        """Write one line to standard error."""
        if not self.isOver:
            self._write(text)

    def start(self) -> None:
        """Begin what the options ask for; to be called once the reactor runs."""
        if self._options["insecure"]:
            self.say("warning: the server's certificate is not verified")
        if self._options["verbose"]:
            self.say(f"connecting to {self._endpoint.url.where}")
        if self._options["forward"] is not None:
            self._publish(self._options["forward"])
        elif self._options["listen"] is not None:
            self._listen(self._options["listen"])
        elif self._options["server-uuid"] is not None:
            self._join(self._retrying(Reports(self.say)))
        else:
            self._join(self._endpoint)

    def stop(self, status: int | None = None, reason: str | None = None) -> None:
        """End the run, with another ``status`` and ``reason`` than so far if ``status`` is given.

        The first end counts.
        """
        if self.isOver:
            return
        self.isOver = True
        if status is not None:
            self.status, self.reason = status, reason
        self.reactor.stop()

    def signalled(self, number: int, _: object) -> None:
        """End the run as the shell expects of a program that was ended by a signal."""
        self.reactor.callFromThread(self.stop, 128 + number)

    def _join(self, endpoint: IStreamClientEndpoint) -> None:
        isService = self._options["server-uuid"] is not None
        joined = endpoint.connect(Factory.forProtocol(lambda: Relay(self, isService)))
        joined.addErrback(self._failed)

    def _publish(self, address: Address) -> None:
        uuid = self._options["serve"]
        service = Service(_connector(self.reactor, address), address.where, _filesLeft())
        publisher = Publisher(self.reactor, self._endpoint, service, uuid, self.say)
        publisher.start().addErrback(self._failed)

    def _listen(self, address: Address) -> None:
        reports = Reports(self.say)
        # Each takes two, its own and the proxy's.
        most = _filesLeft() // 2
        forwarder = Forwarder(self.reactor, self._retrying(reports), reports, self._failed, most)
        try:
            port = self.reactor.listenTCP(address.port, forwarder, interface=address.host)
        except CannotListenError as problem:
            words = getattr(problem.socketError, "strerror", None) or problem.socketError
            self.stop(1, f"cannot listen on {address.where}: {oneLine(words)}")
        else:
            self.say(f"listening on {Address(address.host, port.getHost().port).where}")
            self._check()

    def _check(self) -> None:
        """Find out now, and not with the first connection, that there can be none."""
        assert isinstance(self._endpoint, ClientEndpoint)
        self._endpoint.probe().addErrback(self._checked)

    def _checked(self, failure: Failure) -> None:
        problem = failure.value
        if not isinstance(problem, TunnelError) or not problem.isTransient:
            self._failed(failure)

    def _retrying(self, reports: Reports) -> RetryingEndpoint:
        return RetryingEndpoint(
            self._endpoint, self.reactor, reports, lambda: Backoff(most=MAX_DELAY_WAITED_FOR)
        )

    def _failed(self, failure: Failure) -> None:
        problem = failure.value
        self.stop(1, str(problem) if isinstance(problem, TunnelError) else oneLine(repr(problem)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, else the process's arguments; return its exit status."""
    standardError = StandardError()
    # A missing descriptor's number would be given to the reactor's own files.
    if sys.stdin is None or sys.stdout is None:
        return standardError.refuse("standard input or standard output is closed")
    try:
        options = Options()
        options.parseOptions(list(sys.argv[1:] if argv is None else argv))
        from twisted.internet import reactor as globalReactor

        reactor: Any = globalReactor
        # Deadlines and pauses must not follow the date, which may be set.
        reactor.seconds = time.monotonic
        session = Session(reactor, options, standardError.say)
    except (usage.UsageError, ValueError) as problem:
        return standardError.refuse(oneLine(problem))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    _beginLogging(standardError.log if options["verbose"] else None)
    standardError.start()
    files = SharedFiles()
    for numbers, handler in (
        ((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), session.signalled),
        ((signal.SIGQUIT, signal.SIGTSTP), files.handOver),
    ):
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)
    reactor.callWhenRunning(session.start)
    try:
        # Twisted's own handlers would replace ours.
        reactor.run(installSignalHandlers=False)
    finally:
        files.restore()
    if session.reason is not None:
        standardError.say(session.reason)
    return session.status


def _asLine(event: LogEvent) -> str:
    return f"{PROGRAM}: {formatEvent(event)}\n"


def _filesLeft() -> int:
    return max(2, raiseFileLimit() - RESERVED_FILES)


def _connector(reactor: Any, address: Address) -> IStreamClientEndpoint:
    if address.path:
        return UNIXClientEndpoint(reactor, address.path)
    return HostnameEndpoint(reactor, address.host, address.port)


def _read(option: str, path: str) -> bytes:
    try:
        return readFile(path)
    except (OSError, ValueError) as problem:
        words = getattr(problem, "strerror", None) or problem
        raise usage.UsageError(f"--{option}: {oneLine(path)}: {words}") from None


def _tokenOfVariable() -> str | None:
    content = os.environb.get(TOKEN_VARIABLE.encode())
    try:
        return parseSecret(content) if content else None
    except UnicodeDecodeError:
        raise usage.UsageError(f"{TOKEN_VARIABLE}: not UTF-8") from None
    except ValueError:
        return None  # there are blanks only


def _beginLogging(log: Any) -> None:
    # Without any observer Twisted shows critical events, tracebacks, on standard error.
    observer: Any = lambda event: None  # noqa: E731
    if log is not None:
        observer = FilteringLogObserver(log, [LogLevelFilterPredicate(LogLevel.info)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


if __name__ == "__main__":
    sys.exit(main())
