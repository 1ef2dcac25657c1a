"""The service: puts the parts together, listens, reloads, drains and stops.

Owns the life of the server process. Knows nothing of how anything in it works, which is made
elsewhere.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import globalLogPublisher

from nymearemoteproxy import __version__
from nymearemoteproxy.accounting.bookkeeping import AccountingError, Bookkeeping
from nymearemoteproxy.accounting.linefile import RunInThread
from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.common.logs import FORMATS, LogFile, ProxyLogger, setVerbose
from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.common.words import counted
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import VISITORS
from nymearemoteproxy.listening.listeners import ListenerError, close, listen
from nymearemoteproxy.listening.shortage import Shortage
from nymearemoteproxy.running.announcing import essentials, showToken, url
from nymearemoteproxy.running.assembly import Authenticators, apply, makeProxy
from nymearemoteproxy.running.configuration.front import hasFront
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.factories import ListenerFactories
from nymearemoteproxy.running.memory import Memory
from nymearemoteproxy.running.options import ServerOptions, refused
from nymearemoteproxy.running.systemd import Notifier
from nymearemoteproxy.running.watchers import Watchers
from nymearemoteproxy.watching.actions import Actions
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.lastreload import LastReload
from nymearemoteproxy.watching.pulse import Pulse
from nymearemoteproxy.watching.watched import Entrance, Watched

if TYPE_CHECKING:
    from nymearemoteproxy.running.clustering import Clustering
    from nymearemoteproxy.running.staff import Staff

log = ProxyLogger()

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""Those that are handled."""


ACCOUNTS_INTERVAL = 1.0
"""Seconds between two looks at what accounts have sent."""


class StartError(Exception):
    """The service cannot start; the text is one line for the operator."""


class ProxyService(Service):
    """The server.

    :param reactor: listens, and tells the time.
    :param options: where everything is read from, again with `reload`.
    :param logFile: is opened anew with `reload`; None if there is none.
    :ivar ports: where clients come in, in the order of the configuration's listeners.
    :ivar isDraining: no new client is let in; the process ends when the last tunnel has.
    :raises AccountingError: a file of the accounting cannot be written.
    """

    def __init__(
        self, reactor: Any, options: ServerOptions, logFile: LogFile | None = None
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._configuration = options.configuration
        self._logFile = logFile
        self._authenticators = Authenticators(reactor)
        self.proxy = makeProxy(reactor, self._configuration, self._authenticators)
        self._clustering = _makeClustering(reactor, self.proxy, self._configuration)
        calendar = Calendar(reactor, time.time)
        # Before the pulse, which would take the totals of earlier days for throughput.
        self._accounting = Bookkeeping(
            reactor,
            self._configuration.books,
            self.proxy,
            calendar,
            lambda: RunInThread(reactor),
        )
        self.pulse = Pulse(reactor, self.proxy.registry.counters)
        self.notifier = Notifier(reactor, os.environ, self._status, time.monotonic)
        self._staff = _makeStaff(reactor, options, self.proxy, self._served)
        others = self._staff or self._clustering
        self._company = None if others is None else others.company
        self._lastReload: LastReload | None = None
        actions = Actions(
            reactor,
            self.proxy.registry,
            self._condition,
            self.reload,
            self.drain,
            lambda: self._lastReload,
        )
        watched = Watched(
            self.proxy,
            self.pulse,
            calendar,
            self._condition,
            actions,
            self._company,
            lambda: self._lastReload,
            lambda: self._places if self.ports else (),
            hasFront(self._configuration.settings),
        )
        self._watchers = Watchers(reactor, self._configuration, watched)
        self._makers = ListenerFactories(reactor, self.proxy, self._configuration.certificates)
        self._accounts = Periodic(
            reactor,
            ACCOUNTS_INTERVAL,
            self.proxy.registry.countAccounts,
            "what accounts have sent is not counted",
        )
        self._stopping = False
        self.isDraining = False
        self._drainTimer: IDelayedCall | None = None
        self._memory = Memory(reactor, lambda: len(self.proxy.registry.records))
        self._shortage = Shortage(reactor)
        self.ports: list[IListeningPort] = []
        self._places: Sequence[Entrance] = ()

    # The beginning

    def privilegedStartService(self) -> None:
        """Listen on every listener.

        :raises SystemExit: one of them cannot be listened on; the text is one line that says why.
        :raises StartError: the same in the background, where twistd passes on exceptions only.
        """
        super().privilegedStartService()
        listeners = self._configuration.listeners
        try:
            endpoints = [listener.endpoint(self._reactor) for listener in listeners]
            for listener, endpoint in zip(listeners, endpoints, strict=True):
                port = listen(listener.description, endpoint, self._makers.factory(listener))
                self.ports.append(port)
            if self._clustering is not None:
                self._clustering.listen()
            if self._staff is not None:
                self._staff.listen()
            self._watchers.listen(self._makers.secured)
        except ListenerError as error:
            self._watchers.stop()
            if self._staff is not None:
                self._staff.stop(0)
            if self._clustering is not None:
                self._clustering.stop()
            for port in self.ports:
                close(port)
            self._warn()  # one of them may be about this very listener
            if self._configuration.inBackground:
                sys.tracebacklimit = 0  # it ends the process, and the log is to have one line of it
                raise StartError(str(error)) from None
            raise refused(str(error)) from None
        self._places = [
            Entrance(url(listener, port), listener.behindProxy, listener.transport in VISITORS)
            for listener, port in zip(listeners, self.ports, strict=True)
        ]
        if self._staff is not None:
            self._staff.accept(listeners, self.ports)

    def startService(self) -> None:
        super().startService()
        self._accounting.start(self.pulse)
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        """The reactor runs: signals are ours from now on, and clients may come."""
        configuration = self._configuration
        self._handleSignals()
        self._memory.start()
        self.proxy.waking.start()
        globalLogPublisher.addObserver(self._shortage)
        if self._clustering is not None:
            self._clustering.start()
        self._watchers.start()
        self.pulse.start()
        self._accounts.start()
        log.info("nymea-remoteproxy {version} runs", version=__version__)
        self._warn()
        for place in self._places:
            log.info("listening on {url}", url=place.url)
        for line in essentials(configuration):
            log.info("{line}", line=line)
        self._tellFingerprint()
        showToken(configuration, self.ports)
        if self._logFile is not None:
            self._logFile.start()
        try:
            if self._staff is not None:
                self._staff.start()
        except ListenerError as error:
            log.error("{reason}", reason=str(error))
            self.stop()
        else:
            if self._staff is None:
                self.notifier.ready()
            else:
                self.notifier.starting()

    def _served(self) -> None:
        """A worker serves."""
        if self.isReady:
            self.notifier.ready()

    def _warn(self) -> None:
        for warning in self._configuration.warnings:
            log.warn("{reason}", reason=warning)

    def _tellFingerprint(self) -> None:
        if self._configuration.fingerprint is not None:
            log.info(
                "the certificate is self-signed, its SHA-256 fingerprint is {fingerprint}",
                fingerprint=self._configuration.fingerprint,
            )

    def _handleSignals(self) -> None:
        """Have SIGTERM and Ctrl-C end the process with status 0, also under twistd."""
        self._onSignal(signal.SIGTERM, self.stop)
        self._onSignal(signal.SIGINT, self.stop)
        self._onSignal(signal.SIGHUP, self.reload)
        self._onSignal(signal.SIGUSR2, self.drain)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # now those that came at the start
        atexit.register(_ignoreSignals)

    def _onSignal(self, number: int, act: Callable[[], object]) -> None:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_details: self._reactor.callFromThread(act))

    @property
    def isReady(self) -> bool:
        """True while clients are let in."""
        isServed = self._staff is None or self._staff.serves
        return bool(self.ports) and isServed and not self._stopping

    def _condition(self) -> Condition:
        if self._stopping:
            return Condition.STOPPING
        if self.isDraining:
            return Condition.DRAINING
        return Condition.READY if self.isReady else Condition.STARTING

    def _status(self) -> str:
        connections = len(self.proxy.registry.records)
        parts = ["draining"] if self.isDraining else []
        parts.append(counted(connections, "connection"))
        if self._company is not None:
            parts.append(self._company().summary)
        if self._lastReload is not None:
            parts.append(self._lastReload.summary)
        return ", ".join(filter(None, parts))

    # Reload

    def reload(self) -> None:
        """Read the configuration and everything it names anew; no connection is touched.

        What is broken stays as it was, and the log says why.
        """
        if self._stopping:
            return
        self.notifier.reloading()
        try:
            self._reload()
        finally:
            self.notifier.reloaded()

    def _reload(self) -> None:
        madePrint, known = self._configuration.fingerprint, {*essentials(self._configuration)}
        self._configuration, problems = self._options.reread()
        apply(self.proxy, self._configuration, self._authenticators)
        self._makers.change(self._configuration.certificates)
        if self._staff is not None:
            self._staff.reload(hasProblems=bool(problems))
        self._watchers.change(self._configuration)
        if self._logFile is not None:
            self._logFile.reopen(self._cannotReopenLog)
        self._accounting.reopen()
        future = [f"the next start would fail: {each}" for each in self._options.startMistakes]
        for problem in problems + future:
            log.error("{problem}", problem=problem)
        self._warn()
        for line in essentials(self._configuration):
            if line not in known:
                log.info("{line}", line=line)
        if self._configuration.fingerprint != madePrint:
            self._tellFingerprint()
        self._lastReload = LastReload(self._reactor.seconds(), len(problems + future))
        names = f", {counted(len(self._configuration.names), 'name')} of homes"
        log.info(
            "reloaded{but}: {tokens}, {servers}, {certificates}{names}",
            but=", but not everything" if problems else "",
            tokens=counted(len(self._configuration.acceptedTokens or ()), "token"),
            servers=counted(len(self._configuration.allowedServers or ()), "server uuid"),
            certificates=counted(len(self._configuration.certificates), "certificate"),
            names=names if self._configuration.settings.front.namesFile else "",
        )

    def _cannotReopenLog(self, error: OSError) -> None:
        """Say so; called in any thread."""
        problem = f"the log goes on in the old file: {error.filename}: {error.strerror}"
        self._reactor.callFromThread(log.error, "{problem}", problem=problem)

    # The end

    @inlineCallbacks
    def drain(self) -> Any:
        """Let nobody in any more, and stop when the last tunnel has ended, or the time is over."""
        if self.isDraining or self._stopping:
            return
        self.isDraining = True
        timeout = self._configuration.settings.proxyServer.drainTimeout
        log.info(
            "draining: no new clients, the server stops when the last tunnel has ended{limit}",
            limit=f", in {timeout:.0f} s at the latest" if timeout else "",
        )
        self.notifier.changed()
        yield self._stopListening()
        # With a socket of systemd's, another process is going to listen on it.
        yield self._watchers.giveWay(any(each.isShared for each in self._configuration.listeners))
        if self._stopping:
            return
        if timeout:
            self._drainTimer = self._reactor.callLater(timeout, self.stop)
        yield self.proxy.registry.dismissal.dismissIdle()
        if not self._stopping:
            log.info("drained: the last tunnel has ended")
        self.stop()

    def stop(self) -> None:
        """Stop the process; asking twice does not hurry it."""
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop listening, say goodbye to every client, and wait until they are gone."""
        self._stopping = True
        log.info("stopping")
        self.notifier.stopping()
        self._memory.stop()
        globalLogPublisher.removeObserver(self._shortage)
        self.pulse.stop()
        self._accounts.stop()
        if self._drainTimer is not None and self._drainTimer.active():
            self._drainTimer.cancel()
        yield super().stopService()
        yield self._stopListening()
        grace = self._configuration.settings.proxyServer.shutdownTimeout
        if self._staff is not None:
            yield self._staff.stop(grace)
        gone = self.proxy.registry.dismissal.dismissAll()
        cutOff = self._reactor.callLater(grace, self.proxy.registry.dismissal.abortAll)
        yield gone
        if cutOff.active():
            cutOff.cancel()
        self.proxy.waking.stop()
        if self._clustering is not None:
            yield self._clustering.stop()
        yield self._watchers.stop()
        yield self._accounting.stop()
        self.notifier.stopped()
        log.info("stopped")

    @inlineCallbacks
    def _stopListening(self) -> Any:
        ports, self.ports = self.ports, []
        if self._staff is not None:
            self._staff.stopAccepting()
        for port in ports:
            yield close(port)


def _makeClustering(reactor: Any, proxy: Proxy, configuration: Configuration) -> Clustering | None:
    """Return how this process is a member of a cluster, unless its workers are."""
    if configuration.cluster is None or configuration.workers > 1:
        return None
    # Imported only where it is wanted, and there may be no client for the directory elsewhere.
    from nymearemoteproxy.running.clustering import Clustering

    return Clustering(reactor, proxy, configuration.cluster)


def _makeStaff(
    reactor: Any, options: ServerOptions, proxy: Proxy, served: Callable[[], object]
) -> Staff | None:
    """Return those who serve in the place of this process, if there are to be any.

    :param served: is called when one of them does.
    """
    if options.configuration.workers == 1:
        return None
    # Imported only where it is wanted.
    from nymearemoteproxy.running.staff import Staff

    return Staff(reactor, options, proxy, served)


def _ignoreSignals() -> None:
    """Let no second signal kill the process while Python takes it apart, as handlers go first."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def startLogging(configuration: Configuration) -> LogFile | None:
    """Log to the configured file, besides wherever the log goes already; return that file.

    :raises SystemExit: it cannot be opened.
    """
    setVerbose(configuration.verbosity > 0)
    Factory.noisy = False  # one line for every question to an authentication server
    if configuration.logFile is None:
        return None
    format = FORMATS[configuration.settings.proxyServer.logFormat]
    try:
        file = LogFile(configuration.logFile, format)
    except OSError as error:
        raise refused(
            f"cannot write the log file {configuration.logFile}: {error.strerror}"
        ) from None
    globalLogPublisher.addObserver(file)
    return file


def makeService(options: ServerOptions, reactor: Any = None) -> IService:
    """Return the service that `options` describe; what twistd calls."""
    if reactor is None:
        from twisted.internet import reactor
    logFile = startLogging(options.configuration)
    try:
        return ProxyService(reactor, options, logFile)
    except AccountingError as error:
        raise refused(str(error)) from None
