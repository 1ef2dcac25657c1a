"""Owns the command ``nymea-remoteproxy-client``: options, standard input and output, exit status.

It must not know how a tunnel is made; that is ``endpoint``'s business.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import error
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python import usage
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy import __version__
from nymearemoteproxy.client.endpoint import DEFAULT_NAME, TunnelEndpoint
from nymearemoteproxy.client.joining import TunnelError, oneLine
from nymearemoteproxy.client.tls import TlsOptions

PROGRAM = "nymea-remoteproxy-client"
TOKEN_VARIABLE = "NYMEA_REMOTEPROXY_TOKEN"

# Seconds. What the partner still has on its way after the end of our input has come by then, unless
# it pauses; and nobody minds waiting that long.
SILENCE = 1.0

_STDIN = 0
_STDOUT = 1


class Options(usage.Options):
    """The command line."""

    synopsis = f"Usage: {PROGRAM} --url URL [options]"
    longdesc = (
        "Joins a tunnel of a nymea-remoteproxy, then copies standard input to the partner and what "
        "the partner sends to standard output. The token is taken from --token, --token-file or "
        f"the variable {TOKEN_VARIABLE}; other users can read the command line. At the end of "
        "standard input it leaves as soon as the partner has been silent for a second; without any "
        "input it waits until the partner leaves. Exit status 0: there was a tunnel. 1: there was "
        "none, or it broke."
    )
    optParameters = [
        ["url", None, None, "ws://HOST:PORT[/path], wss://..., tcp://..., tls://... or unix:PATH"],
        ["token", None, None, "the token that the server accepts and the partner knows too"],
        ["token-file", None, None, "file with the token: its first line that is no # comment"],
        ["nonce", None, None, "keeps several tunnels with the same token apart"],
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
        if self["token"] is not None and self["token-file"] is not None:
            raise usage.UsageError("--token and --token-file exclude each other")
        if self["token-file"] is not None:
            self["token"] = self._tokenOfFile()
        elif self["token"] is None:
            self["token"] = os.environ.get(TOKEN_VARIABLE)
        if not self["token"]:
            raise usage.UsageError(f"no token: give --token-file, {TOKEN_VARIABLE} or --token")

    def endpoint(self, reactor: Any, say: Any) -> TunnelEndpoint:
        """Return the endpoint that the options describe.

        Raises:
            ValueError, twisted.python.usage.UsageError: they are wrong; the text is one line.
        """
        tls = None
        if self["ca"] is not None or self["fingerprint"] is not None or self["insecure"]:
            ca = None if self["ca"] is None else _read("ca", self["ca"])
            tls = TlsOptions(ca, self["fingerprint"], bool(self["insecure"]))
        return TunnelEndpoint(
            reactor,
            self["url"],
            self["token"],
            nonce=self["nonce"],
            name=self["name"],
            uuid=self["uuid"],
            tls=tls,
            onWaiting=lambda: say("waiting for the partner"),
        )

    def _tokenOfFile(self) -> str:
        try:
            text = _read("token-file", self["token-file"]).decode("utf-8")
        except UnicodeDecodeError:
            raise usage.UsageError("--token-file: not UTF-8") from None
        lines = (line.strip() for line in text.splitlines())
        return next((line for line in lines if line and not line.startswith("#")), "")


@implementer(IPushProducer)
class Relay(Protocol):
    """The tunnel's end: starts the copying and brings it to an end, once.

    The end of the input does not end the tunnel at once, since most transports can only close both
    ways: whoever has sent something leaves when the partner has been silent for `SILENCE`, and
    whoever has nothing to send waits until the partner leaves.
    """

    transport: Any

    def __init__(self, session: Session) -> None:
        self.session = session
        self.stdio: _Stdio | None = None
        self._hasSent = False
        self._hasHeard = False
        self._inputEnded = False
        self._isPaused = False
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        partner = self.transport.partner
        self.session.say(
            f"tunnel established with {oneLine(ascii(partner.name))} {oneLine(partner.uuid)}"
        )
        self.stdio = _Stdio(self)
        # mypy takes the signature of Windows.
        standardIO: Any = StandardIO
        standardIO(self.stdio, stdin=_STDIN, stdout=_STDOUT, reactor=self.session.reactor)

    def dataReceived(self, data: bytes) -> None:
        assert self.stdio is not None
        self._hasHeard = True
        self.stdio.write(data)

    def send(self, data: bytes) -> None:
        """Standard input brought this."""
        self._hasSent = True
        self.transport.write(data)

    def inputEnded(self) -> None:
        """Standard input is at its end."""
        self._inputEnded = True
        self.transport.unregisterProducer()
        if self._hasSent:
            self._awaitSilence()

    def _awaitSilence(self) -> None:
        self._hasHeard = False
        self._timer = self.session.reactor.callLater(SILENCE, self._silenceOver)

    def _silenceOver(self) -> None:
        self._timer = None
        if self._hasHeard or self._isPaused:
            self._awaitSilence()
        else:
            self.transport.loseWriteConnection()

    def pauseProducing(self) -> None:
        self._isPaused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._isPaused = False
        self._hasHeard = True
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.transport.stopProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.stdio is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.session.isOver:
            return
        if not reason.check(error.ConnectionDone):
            lost: Any = reason.value
            words = oneLine(lost.args[0] if lost.args else "the connection broke off")
            self.session.status, self.session.reason = 1, f"the tunnel was lost: {words}"
        elif not self.transport.disconnecting:
            unsent = self._hasSent and not self._inputEnded
            self.session.say(
                "partner left before the end of standard input" if unsent else "partner left"
            )
        self.stdio.finish()


@implementer(IHalfCloseableProtocol)
class _Stdio(Protocol):
    """Standard input and output's end."""

    transport: Any

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._isFinishing = False

    def connectionMade(self) -> None:
        self._relay.transport.registerProducer(self.transport, True)
        self.transport.registerProducer(self._relay, True)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def finish(self) -> None:
        """The tunnel is gone: end when everything it brought has been written."""
        self._isFinishing = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._relay.send(data)

    def readConnectionLost(self) -> None:
        if not self._isFinishing:
            self._relay.inputEnded()

    def writeConnectionLost(self) -> None:
        self._outputLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Twisted 22.4 reports a lost output here, later ones do so only after loseConnection.
        if reason.check(error.ConnectionDone):
            self._relay.session.stop()
        else:
            self._outputLost()

    def _outputLost(self) -> None:
        # Who closed a pipe knows about it; a full disk is news.
        reason = None if _isPipe(_STDOUT) else "cannot write to standard output"
        self._relay.session.stop(1, reason)


class Session:
    """One run of the command.

    Attributes:
        status: the exit status.
        reason: the line to say at the end, if any.
        isOver: the reactor is being stopped; what it closes meanwhile is no news.
    """

    def __init__(self, reactor: Any, options: Options) -> None:
        self.reactor = reactor
        self.status = 0
        self.reason: str | None = None
        self.isOver = False
        self._options = options
        self._endpoint = options.endpoint(reactor, self.say)

    def say(self, text: str) -> None:
        """Write one line to standard error."""
        _say(text)

    def start(self) -> None:
        """Join; to be called once the reactor runs."""
        if self._options["insecure"]:
            self.say("warning: the server's certificate is not verified")
        if self._options["verbose"]:
            self.say(f"connecting to {self._endpoint.url.where}")
        joined = self._endpoint.connect(Factory.forProtocol(lambda: Relay(self)))
        joined.addErrback(self._notJoined)

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

    def _notJoined(self, failure: Failure) -> None:
        problem = failure.value
        self.stop(1, str(problem) if isinstance(problem, TunnelError) else oneLine(repr(problem)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, else the process's arguments; return its exit status."""
    # A missing descriptor's number would be given to the reactor's own files.
    if sys.stdin is None or sys.stdout is None:
        return _refuse("standard input or standard output is closed")
    try:
        options = Options()
        options.parseOptions(list(sys.argv[1:] if argv is None else argv))
        from twisted.internet import reactor as globalReactor

        reactor: Any = globalReactor
        session = Session(reactor, options)
    except (usage.UsageError, ValueError) as problem:
        return _refuse(oneLine(problem))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    _beginLogging(options["verbose"])
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, session.signalled)
    # They may be a terminal that others use after us.
    blocking = {fd: os.get_blocking(fd) for fd in (_STDIN, _STDOUT)}
    reactor.callWhenRunning(session.start)
    try:
        # Twisted's own handlers would replace ours.
        reactor.run(installSignalHandlers=False)
    finally:
        for fd, wasBlocking in blocking.items():
            os.set_blocking(fd, wasBlocking)
    if session.reason is not None:
        _say(session.reason)
    return session.status


def _refuse(reason: str) -> int:
    _say(reason)
    return 1


def _say(text: str) -> None:
    # print() would take a missing stderr for stdout, and a status line is not worth dying for.
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"{PROGRAM}: {text}\n")
            sys.stderr.flush()
        except OSError:
            pass


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as problem:
        words = getattr(problem, "strerror", None) or problem
        raise usage.UsageError(f"--{option}: {oneLine(path)}: {words}") from None


def _isPipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _beginLogging(isVerbose: bool) -> None:
    # Without any observer Twisted shows critical events, tracebacks, on standard error.
    observer: Any = lambda event: None  # noqa: E731
    if isVerbose:
        observer = FilteringLogObserver(
            textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.info)]
        )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


if __name__ == "__main__":
    sys.exit(main())
