"""A worker: serves the connections that its parent hands it.

Owns the life of a worker process. Knows nothing of how connections are served, nor of what its
parent does with what it is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import globalLogBeginner

from nymearemoteproxy.cluster.figures import Figures
from nymearemoteproxy.cluster.latencies import Latencies
from nymearemoteproxy.cluster.linking import LinkError
from nymearemoteproxy.common.clocks import useMonotonicClock
from nymearemoteproxy.common.logs import ProxyLogger, setVerbose
from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.listening.shortage import Shortage
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.running.assembly import Authenticators, Shared, apply, makeProxy
from nymearemoteproxy.running.epoll import takeReactor
from nymearemoteproxy.running.factories import ListenerFactories
from nymearemoteproxy.running.heritage import BEGIN, RELOAD, SERVE, inherit, readFiles
from nymearemoteproxy.running.memory import Memory
from nymearemoteproxy.running.neighbourhood import Neighbourhood
from nymearemoteproxy.watching.admin.delay import DELAY_BUCKETS, DelaySampler
from nymearemoteproxy.workers.adopting import adopt
from nymearemoteproxy.workers.channel import Message, MessageChannel
from nymearemoteproxy.workers.figuring import FiguresReporter
from nymearemoteproxy.workers.group import HEARTBEAT, MEMBER
from nymearemoteproxy.workers.groupcounts import AskedCounts
from nymearemoteproxy.workers.handing import Handed, Taking
from nymearemoteproxy.workers.linkdoor import LINKS
from nymearemoteproxy.workers.logpassing import LogSender
from nymearemoteproxy.workers.process import (
    ALIVE,
    CHANNEL,
    CONFIRM,
    CONFIRMED,
    HANDING,
    LEAVES,
    SERVES,
    STOP,
)
from nymearemoteproxy.workers.questions import Questions
from nymearemoteproxy.workers.reporting import JudgementReporter, ReportingRegistry

if TYPE_CHECKING:
    from nymearemoteproxy.running.clustering import Clustering

log = ProxyLogger()

PARENT_PATIENCE = 1.0
"""Seconds that the parent may take to hear that we leave, and to read our last words."""

ANSWER_TIMEOUT = 2.0
"""Seconds that the parent may take for an answer. A client waits for it, but when thousands come at
once the parent has much to do, and asking again would be more."""

FAILED = 1
"""Exit status: this worker could not start, or its parent is gone."""


class Worker:
    """The worker of this process.

    :ivar status: its exit status.
    """

    def __init__(self, reactor: Any) -> None:
        self.status = 0
        self._reactor = reactor
        self._crew: Crew | None = None
        self._isStopping = False
        self._isOrphan = False
        self._closed: Deferred[None] = Deferred()
        self._noMoreToTake: Deferred[None] = Deferred()
        self.channel = MessageChannel(reactor, self._received, self._lost)
        take = socket.socket(fileno=HANDING)
        self._taking = Taking(reactor, take, self._take, lambda: _fire(self._noMoreToTake))
        self._alive = Periodic(
            reactor, HEARTBEAT, lambda: self.channel.send([ALIVE]), "the parent hears nothing"
        )

    def start(self) -> None:
        """The reactor is about to run."""
        with socket.socket(fileno=CHANNEL) as own:
            own.setblocking(False)
            factory = Factory.forProtocol(lambda: self.channel)
            self._reactor.adoptStreamConnection(own.fileno(), socket.AF_UNIX, factory)
        self._reactor.callWhenRunning(self._handleSignal)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._shutDown)
        self._alive.start()

    def _handleSignal(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_details: self._reactor.callFromThread(self._stop))

    # What the parent says

    def _received(self, message: Message) -> None:
        try:
            self._obey(message)
        except (SystemExit, LinkError) as reason:
            self._fail("a worker cannot start: {reason}", str(reason))
        except Exception as error:
            log.failure("a worker cannot do what it is told")
            if message[0] in (BEGIN, SERVE):  # all else costs nobody a connection
                self._fail("a worker ends: {reason}", repr(error))

    def _fail(self, text: str, reason: str) -> None:
        log.error(text, reason=reason)
        self.status = FAILED
        self._stop()

    def _obey(self, message: Message) -> None:
        kind = message[0]
        if self._isStopping and self._crew is None:
            return
        if kind == BEGIN:
            self._crew = Crew(self._reactor, message[2], message[1], self.channel)
        elif kind == STOP:
            self._stop()
        elif kind == CONFIRM:
            self.channel.send([CONFIRMED])
        elif self._crew is not None:
            if kind == RELOAD:
                self._crew.reload(message[1])
            elif kind == SERVE:
                if not self._isStopping:
                    self._crew.ready()
                    self._taking.start()
                    self.channel.send([SERVES])
            else:
                self._crew.handlers[kind](*message[1:])

    def _take(self, handed: Handed, descriptor: int | None) -> None:
        assert self._crew is not None
        self._crew.take(handed, descriptor)

    # The end

    def _stop(self) -> None:
        if not self._isStopping:
            self._isStopping = True
            self._reactor.stop()

    def _lost(self) -> None:
        """The parent has closed the channel, or is gone."""
        _fire(self._closed)
        if not self._isStopping:
            self._isOrphan = True
            self.status = FAILED
            self._stop()

    @inlineCallbacks
    def _shutDown(self) -> Any:
        self._isStopping = True
        if self._crew is not None:
            if not self._isOrphan:
                # It closes its end then, and what it handed over before is still ours.
                self.channel.send([LEAVES])
                yield self._inTime(self._noMoreToTake)
            yield self._crew.leave(isOrphan=self._isOrphan)
        self._taking.close()
        self._alive.stop()
        self.channel.finish()
        yield self._inTime(self._closed)

    def _inTime(self, done: Deferred[None]) -> Deferred[None]:
        """Return what fires with it, or when the parent has taken too long."""
        timer = self._reactor.callLater(PARENT_PATIENCE, _fire, done)

        def over(_result: object) -> None:
            if timer.active():
                timer.cancel()

        return done.addBoth(over)


def _fire(done: Deferred[None]) -> None:
    if not done.called:
        done.callback(None)


class Crew:
    """What a worker serves with.

    :param index: which of the workers this one is.
    :param begin: what the parent has handed down.
    :ivar handlers: take the parent's messages about connections, and its answers.
    """

    def __init__(
        self, reactor: Any, begin: dict[str, Any], index: int, channel: MessageChannel
    ) -> None:
        self._options = options = inherit(begin)
        configuration = options.configuration
        setVerbose(configuration.verbosity > 0)
        self._reactor = reactor
        self._send = channel.send
        self._authenticators = Authenticators(reactor)
        turns = Turns(reactor)
        questions = Questions(reactor, channel.send, ANSWER_TIMEOUT)
        self._registry = ReportingRegistry(reactor, turns, index, channel.send)
        self.handlers = {**self._registry.handlers, **questions.handlers}
        self._proxy = makeProxy(
            reactor,
            configuration,
            self._authenticators,
            turns,
            Shared(
                self._registry,
                AskedCounts(questions, channel.send),
                bytes.fromhex(begin["keySecret"]),
            ),
        )
        self._links: IProtocolFactory | None = None
        self._directory: str = begin["directory"]
        self._membership = self._join(begin, questions, channel, f"worker {index}")
        self._delays = Latencies(DELAY_BUCKETS)
        self._delaySampler = DelaySampler(reactor, self._delays.add)
        self._figures = FiguresReporter(reactor, self._readFigures, channel.send)
        self._makers = ListenerFactories(reactor, self._proxy, configuration.certificates)
        self._factories = [self._makers.factory(each) for each in configuration.listeners]
        self._memory = Memory(reactor, lambda: len(self._registry.records))
        self._untaken = Tally(
            reactor,
            "a connection cannot be served: {reason}",
            "connection",
            "{more} could not be served in the last {interval:.0f} s",
        )

    def _join(
        self, begin: dict[str, Any], questions: Questions, channel: MessageChannel, name: str
    ) -> Neighbourhood | Clustering:
        """Become a member of the group, and of the cluster if there is one.

        :param name: what this worker is called.
        """
        plan, directory = self._options.configuration.cluster, self._directory
        if plan is None:
            secret = bytes.fromhex(begin["tableSecret"])
            neighbour = Neighbourhood(
                self._reactor, self._proxy, questions, secret, directory, name
            )
            channel.send([MEMBER, neighbour.id.hex()])
            return neighbour
        # Imported only where it is wanted, and there may be no client for the directory elsewhere.
        from nymearemoteproxy.running.clustering import Clustering

        host, port = begin["linksAt"]
        plan = replace(plan, name=f"{plan.name}, {name}")
        member = Clustering(self._reactor, self._proxy, plan, (host, port), directory)
        self._links = member.links
        channel.send([MEMBER, member.id.hex()])
        return member

    def _readFigures(self) -> Figures:
        delays = self._delays
        return replace(
            self._membership.figures(), delays=delays.buckets.copy(), delaySeconds=delays.seconds
        )

    def ready(self) -> None:
        """Connections may come."""
        self._proxy.waking.start()
        self._membership.start()
        self._registry.start()
        if self._options.configuration.admin is not None:
            self._delaySampler.start()
            self._registry.observers.append(JudgementReporter(self._send))
        self._figures.start()
        self._memory.start()

    def reload(self, files: dict[str, Any]) -> None:
        """The parent has read its files anew; what is to be told of it, the parent tells."""
        configuration, _problems = self._options.reread(readFiles(files).read)
        apply(self._proxy, configuration, self._authenticators)
        self._makers.change(configuration.certificates)

    def take(self, handed: Handed, descriptor: int | None) -> None:
        """Serve a connection; one with which that fails is told to be over.

        :param descriptor: None when too many files are open for it.
        """
        isLink = handed.listener == LINKS
        if not isLink:
            self._registry.expect(handed.number, handed.source)
        try:
            factory = self._links if isLink else self._factories[handed.listener]
            assert factory is not None
            if descriptor is None:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            adopt(self._reactor, handed, descriptor, factory)
        except OSError as error:  # too many files are open, or the client is gone already
            self._untaken.add(reason=error.strerror or str(error))
            outcome = Outcome.CONNECTION_LOST
        except Exception:
            log.failure("connection {number} cannot be served", number=handed.number)
            outcome = Outcome.INTERNAL_ERROR
        else:
            return
        if not isLink:
            self._registry.giveUp(handed.number, outcome)

    @inlineCallbacks
    def leave(self, isOrphan: bool) -> Any:
        """Say goodbye to all clients, and wait until they are gone.

        :param isOrphan: nobody is there who could say that they are gone: cut them off.
        """
        self._memory.stop()
        dismissal = self._registry.dismissal
        gone = dismissal.dismissAll()
        grace = 0.0
        if isOrphan:
            dismissal.abortAll()
        else:
            grace = self._options.configuration.settings.proxyServer.shutdownTimeout
        cutOff = self._reactor.callLater(grace, dismissal.abortAll)
        yield gone
        if cutOff.active():
            cutOff.cancel()
        self._registry.stop()
        self._proxy.waking.stop()
        self._delaySampler.stop()
        self._figures.stop()
        yield self._membership.stop()
        if isOrphan:
            # The last one of us that leaves does what the parent would have done.
            with contextlib.suppress(OSError):
                os.rmdir(self._directory)


def main() -> int:
    """Run the worker until its parent stops it, or is gone; return the exit status."""
    reactor = takeReactor()
    useMonotonicClock(reactor)
    Factory.noisy = False
    worker = Worker(reactor)
    sender = LogSender(worker.channel, reactor.callFromThread)
    globalLogBeginner.beginLoggingTo([sender, Shortage(reactor)], redirectStandardIO=False)
    worker.start()
    reactor.run()
    return worker.status
