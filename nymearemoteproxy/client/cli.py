"""The command ``nymea-remoteproxy-client``.

Owns the life of one run: what the options lead to, what is said of it, and the exit status. Knows
nothing of how a tunnel is made.
"""

from __future__ import annotations

import os
import signal
import sys
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

from nymearemoteproxy.client.connecting.endtoend import EncryptedEndpoint
from nymearemoteproxy.client.connecting.retrying import (
    MAX_DELAY_WAITED_FOR,
    Backoff,
    Reports,
    RetryingEndpoint,
)
from nymearemoteproxy.client.endpoints import ClientEndpoint
from nymearemoteproxy.client.local.copying import CopyingEnd, SharedFiles
from nymearemoteproxy.client.local.delivering import Destination
from nymearemoteproxy.client.local.forwarding import Forwarder
from nymearemoteproxy.client.local.publishing import Publisher
from nymearemoteproxy.client.local.serving import LocalService
from nymearemoteproxy.client.options import PROGRAM, ClientOptions
from nymearemoteproxy.client.rules.errors import TunnelError, oneLine
from nymearemoteproxy.client.rules.urls import Address
from nymearemoteproxy.common.certificates import CertificateError
from nymearemoteproxy.common.clocks import useMonotonicClock
from nymearemoteproxy.common.journal import isJournal, withPriority
from nymearemoteproxy.common.logs import LogEvent, LogStream
from nymearemoteproxy.common.openfiles import raiseFileLimit

WRONG_CONFIGURATION = 2
"""Exit status: what the configuration file says can never be right."""

RESERVED_FILES = 64
"""Open files kept for all but clients: standard ones, the proxy, the reactor, names being looked
up, second attempts at the other address of a name."""


class StandardError:
    """Takes what the command has to say.

    It may be a pipe that nobody reads, which must not keep a service from being reached.
    """

    def __init__(self) -> None:
        # print() would take a missing stderr for stdout.
        self._stream = None if sys.stderr is None else LogStream(sys.stderr.fileno(), _asLine)
        self._isJournal = self._stream is not None and isJournal(os.environ, sys.stderr.fileno())

    def start(self) -> None:
        """From now on nobody waits until it is written, but for a moment the end of the process."""
        if self._stream is not None:
            self._stream.start()

    def say(self, text: str, level: Any = LogLevel.info) -> None:
        """Write one line."""
        line = f"{PROGRAM}: {text}\n"
        self._write(withPriority(line, level) if self._isJournal else line)

    def log(self, event: LogEvent) -> None:
        """Write an event as Twisted does."""
        self._write(formatEventAsClassicLogText(event) or "")

    def refuse(self, reason: str, status: int = 1) -> int:
        """Say why there is no run; return the exit status."""
        self.say(reason, LogLevel.error)
        return status

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)


class ClientRun:
    """One run of the command.

    :param write: writes one line to standard error.
    :ivar status: the exit status.
    :ivar reason: the line to say at the end, if any.
    :ivar isOver: the reactor is being stopped; what it closes meanwhile is no news.
    """

    def __init__(self, reactor: Any, options: ClientOptions, write: Callable[[str], None]) -> None:
        self.reactor = reactor
        self.status = 0
        self.reason: str | None = None
        self.isOver = False
        self._options = options
        self._write = write
        self._endpoint = options.endpoint(reactor, self.say)
        self._side = options.side()
        self._tunnels: IStreamClientEndpoint = self._endpoint
        if self._side is not None:
            self._tunnels = EncryptedEndpoint(self._endpoint, reactor, self._side)

    def say(self, text: str) -> None:
        """Write one line to standard error."""
        if not self.isOver:
            self._write(text)

    def start(self) -> None:
        """Begin what the options ask for; to be called once the reactor runs."""
        for warning in self._options.warnings():
            self.say(f"warning: {warning}")
        if self._options["insecure"]:
            self.say("warning: the server's certificate is not verified")
        if self._options["end-to-end"]:
            self.say(self._options.toBeGiven())
        if self._options["verbose"]:
            self.say(f"connecting to {self._endpoint.route.where}")
        if self._options["forward"] is not None:
            self._publish(self._options["forward"])
        elif self._options["listen"] is not None:
            self._listen(self._options["listen"])
        elif self._options["server-uuid"] is not None:
            self._join(self._retrying(Reports(self.say)))
        else:
            self._join(self._tunnels)

    def stop(self, status: int | None = None, reason: str | None = None) -> None:
        """End the run, with another `status` and `reason` than so far if `status` is given.

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
        joined = endpoint.connect(Factory.forProtocol(lambda: CopyingEnd(self, isService)))
        joined.addErrback(self._failed)

    def _publish(self, address: Address) -> None:
        uuid, http = self._options["serve"], self._options["forward-http"]
        service = LocalService(
            _destination(self.reactor, address),
            _filesLeft(),
            self._side,
            getsHeader=bool(self._options["proxy-protocol"]),
            http=None if http is None else _destination(self.reactor, http),
        )
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
            self._tunnels, self.reactor, reports, lambda: Backoff(most=MAX_DELAY_WAITED_FOR)
        )

    def _failed(self, failure: Failure) -> None:
        problem = failure.value
        self.stop(1, str(problem) if isinstance(problem, TunnelError) else oneLine(repr(problem)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`, else the process's arguments; return its exit status."""
    standardError = StandardError()
    # A missing descriptor's number would be given to the reactor's own files.
    if sys.stdin is None or sys.stdout is None:
        return standardError.refuse("standard input or standard output is closed")
    options = ClientOptions()
    try:
        options.parseOptions(list(sys.argv[1:] if argv is None else argv))
        from twisted.internet import reactor as globalReactor

        reactor: Any = globalReactor
        useMonotonicClock(reactor)
        run = ClientRun(reactor, options, standardError.say)
    except (usage.UsageError, CertificateError, ValueError) as problem:
        # Of a service, systemd shows the number.
        isOfFile = options["configuration"] is not None
        return standardError.refuse(oneLine(problem), WRONG_CONFIGURATION if isOfFile else 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    _beginLogging(standardError.log if options["verbose"] else None)
    standardError.start()
    files = SharedFiles()
    for numbers, handler in (
        ((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), run.signalled),
        ((signal.SIGQUIT, signal.SIGTSTP), files.handOver),
    ):
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)
    reactor.callWhenRunning(run.start)
    try:
        # Twisted's own handlers would replace ours.
        reactor.run(installSignalHandlers=False)
    finally:
        files.restore()
    if run.reason is not None:
        standardError.say(run.reason, LogLevel.error)
    return run.status


def _asLine(event: LogEvent) -> str:
    return f"{PROGRAM}: {formatEvent(event)}\n"


def _filesLeft() -> int:
    return max(2, raiseFileLimit() - RESERVED_FILES)


def _destination(reactor: Any, address: Address) -> Destination:
    endpoint: IStreamClientEndpoint
    if address.path:
        endpoint = UNIXClientEndpoint(reactor, address.path)
    else:
        endpoint = HostnameEndpoint(reactor, address.host, address.port)
    return Destination(endpoint, address.where)


def _beginLogging(log: Any) -> None:
    # Without any observer Twisted shows critical events, tracebacks, on standard error.
    observer: Any = lambda event: None  # noqa: E731
    if log is not None:
        observer = FilteringLogObserver(log, [LogLevelFilterPredicate(LogLevel.info)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


if __name__ == "__main__":
    sys.exit(main())
