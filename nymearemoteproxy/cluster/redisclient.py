"""A connection to a Redis that is made anew whenever it is lost.

Owns when the next attempt is, who we say we are, how many commands may be under way, and what is
counted of them. Knows nothing of what they are for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import platformTrust
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nymearemoteproxy.authentication.verification import VerifiedHttps
from nymearemoteproxy.cluster.directory import DirectoryError
from nymearemoteproxy.cluster.redisurl import RedisUrl
from nymearemoteproxy.cluster.rediswire import RedisRefusal, RedisWire, Reply, describe
from nymearemoteproxy.common.logs import ProxyLogger

log = ProxyLogger()

RETRY = 1.0
"""Seconds from the beginning of one attempt to that of the next, unless the first one takes longer:
a Redis that is back is noticed well within the 3 s after which all is claimed anew."""

MOST_COMMANDS = 1000
"""Under way at a time. A Redis that answers within a millisecond has a hundredth of that."""

HARMLESS = {"NOSCRIPT", "WRONGTYPE", "OOM", "MISCONF", "NOREPLICAS"}
"""Errors after which others may be answered well; after any other, a new connection may help: to
the new master, with the password that is now right, or when the data is loaded."""

Ask = Callable[..., Deferred[Reply]]
"""Sends a command, its words as bytes; `timeout`, in seconds, may shorten its deadline."""


def endpointOf(
    reactor: Any, url: RedisUrl, timeout: float, trustRoot: Any = None
) -> IStreamClientEndpoint:
    """Return the way to a Redis.

    The resolver has no deadline of ours: a new look-up while one is stuck would take another of
    Twisted's ten threads.

    :param timeout: seconds to connect to an address.
    :param trustRoot: the authorities to trust; None = the system's.
    """
    if url.path:
        return UNIXClientEndpoint(reactor, url.path, timeout=timeout)
    endpoint = HostnameEndpoint(reactor, url.host, url.port, timeout=timeout)
    if not url.isTls:
        return endpoint
    policy = VerifiedHttps(trustRoot or platformTrust())
    return wrapClientTLS(policy.creatorForNetloc(url.host.encode("ascii"), url.port), endpoint)


class RedisClient:
    """Connects, and stays connected.

    :param greet: speaks first on a new connection, by the `Ask` that it is given; as long as its
        Deferred has not fired, or when it fails, nobody else may speak.
    :param connected: is called when that is done.
    :param failed: is called with the reason when an attempt failed or a connection is lost.
    :param timeout: seconds for each command.
    :ivar isConnected: whether commands are sent; else they fail at once.
    :ivar localHost: our own address as the last connection has it; empty for a Unix socket.
    :ivar commands: how many were sent.
    :ivar failures: of those, how many failed.
    """

    def __init__(
        self,
        reactor: Any,
        url: RedisUrl,
        greet: Callable[[Ask], Deferred[Any]],
        connected: Callable[[], object],
        failed: Callable[[str], object],
        timeout: float,
        trustRoot: Any = None,
    ) -> None:
        self.isConnected = False
        self.localHost = ""
        self.commands = self.failures = 0
        self._reactor = reactor
        self._url = url
        self._endpoint = endpointOf(reactor, url, timeout, trustRoot)
        self._greet = greet
        self._connected = connected
        self._failed = failed
        self._timeout = timeout
        self._underWay = 0
        self._isRunning = False
        self._wire: RedisWire | None = None
        self._life: Deferred[None] | None = None

    def start(self) -> None:
        """Connect now."""
        self._isRunning = True
        self._life = self._live()

    def stop(self) -> Deferred[None]:
        """Connect no longer; fires when nothing is connected."""
        self._isRunning = self.isConnected = False
        life, self._life = self._life, None
        assert life is not None, "it was not started"
        life.addErrback(lambda failure: failure.trap(CancelledError) and None)
        if self._wire is None:
            life.cancel()
        else:
            self._wire.giveUp("it is not asked any more")
        return life

    def ask(self, *words: bytes, timeout: float | None = None) -> Deferred[Reply]:
        """Send a command; an `Ask`. It fails at once unless connected."""
        if not self.isConnected or self._wire is None:
            return fail(DirectoryError("it does not answer"))
        if self._underWay >= MOST_COMMANDS:
            self.failures += 1
            return fail(DirectoryError(f"{MOST_COMMANDS} commands are under way"))
        return self._askOn(self._wire, *words, timeout=timeout).addErrback(self._judge, self._wire)

    def giveUp(self, reason: str) -> None:
        """Cut the connection, if there is one, and make another."""
        if self.isConnected and self._wire is not None:
            self._wire.giveUp(reason)
            self._lost(reason)

    def _askOn(
        self, wire: RedisWire, *words: bytes, timeout: float | None = None
    ) -> Deferred[Reply]:
        self.commands += 1
        self._underWay += 1
        answered = wire.ask(self._timeout if timeout is None else timeout, *words)
        return answered.addBoth(self._count)

    def _count(self, result: Reply) -> Reply:
        self._underWay -= 1
        if isinstance(result, Failure) and getattr(result.value, "code", "") != "NOSCRIPT":
            self.failures += 1  # a script that is not known yet is sent
        return result

    def _judge(self, failure: Failure, wire: RedisWire) -> Failure:
        error = failure.value
        isFatal = isinstance(error, DirectoryError) and getattr(error, "code", "") not in HARMLESS
        if isFatal and wire is self._wire:
            self.giveUp(str(error))
        return failure

    def _lost(self, reason: str) -> None:
        self.isConnected = False
        if self._isRunning:
            self._failed(reason)

    @inlineCallbacks
    def _live(self) -> Generator[Deferred[Any], Any, None]:
        while self._isRunning:
            began = self._reactor.seconds()
            try:
                reason = yield self._connect()
            except Exception:  # whatever it is, it must not have been the last attempt
                reason = describe(Failure())
            self._wire = None
            self._lost(reason)
            if self._isRunning:
                pause = max(began + RETRY - self._reactor.seconds(), 0)
                yield deferLater(self._reactor, pause, lambda: None)

    @inlineCallbacks
    def _connect(self) -> Generator[Deferred[Any], Any, str]:
        """Connect; fire with the reason when that is over."""
        factory = Factory.forProtocol(lambda: RedisWire(self._reactor))
        factory.noisy = False
        wire = self._wire = yield self._endpoint.connect(factory)
        self.localHost = wire.localHost
        try:
            yield self._introduce(wire)
            yield self._greet(lambda *words, **given: self._askOn(wire, *words, **given))
        except DirectoryError as error:
            wire.giveUp(str(error))
        except Exception:
            log.failure("A fault of ours on a new connection to a directory")
            wire.giveUp("of a fault of ours")
        if not wire.trouble:
            self.isConnected = True
            self._connected()
        yield wire.whenLost
        return str(wire.trouble)

    @inlineCallbacks
    def _introduce(self, wire: RedisWire) -> Generator[Deferred[Any], Any, None]:
        if self._url.password is not None:
            names = [] if self._url.user is None else [self._url.user.encode()]
            try:
                yield self._askOn(wire, b"AUTH", *names, self._url.password.encode())
            except RedisRefusal as error:
                # Whatever else it says may quote the password.
                raise RedisRefusal(error.code, "to AUTH") from None
        if self._url.database:
            yield self._askOn(wire, b"SELECT", str(self._url.database).encode())
