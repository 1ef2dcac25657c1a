"""A local service stays registered with a proxy: for ever, once it has been.

Owns when it is registered anew. Knows nothing of what goes over the connection.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from nymearemoteproxy.client.connecting.retrying import Backoff, Reports, RetryingEndpoint
from nymearemoteproxy.client.local.refusals import Refusals
from nymearemoteproxy.client.local.serving import LocalService, Serving

LASTED = 60.0
"""Seconds after which a registration counts as a success, so that the next attempt comes soon
again."""


class Publisher:
    """Registers, and registers again whenever the connection is lost.

    :param clock: measures time.
    :param endpoint: registers the server.
    :param service: the local service.
    :param uuid: the server's uuid, to be said.
    :param say: takes one line for every change.
    :param random: returns a number from 0 up to 1.
    """

    _registering: Deferred[Any]

    def __init__(
        self,
        clock: Any,
        endpoint: IStreamClientEndpoint,
        service: LocalService,
        uuid: str,
        say: Callable[[str], None],
        random: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._uuid = uuid
        self._say = say
        self._since = 0.0
        self._isOver = False
        self._backoff = Backoff(random)
        self._reports = Reports(say)
        self._endpoint = RetryingEndpoint(
            endpoint, clock, self._reports, lambda: self._backoff, patience=None
        )
        # Clients come and go while the service is away, whatever becomes of the proxy.
        services: defaultdict[str, Reports] = defaultdict(lambda: Reports(say))
        refusals = Refusals(clock, say)
        self._factory = Factory.forProtocol(
            lambda: Serving(clock, service, services, self._lost, refusals)
        )
        self._factory.noisy = False
        self._serving: Serving | None = None
        self._timer: Any = None
        self._result: Deferred[None] = Deferred(lambda _: self._stop())

    def start(self) -> Deferred[None]:
        """Begin.

        :returns: a Deferred that fails when it never worked and there is no sense in trying again;
            cancelling it ends all.
        """
        self._register()
        return self._result

    def _register(self) -> None:
        self._timer = None
        self._registering = self._endpoint.connect(self._factory)
        self._registering.addCallbacks(self._registered, self._failed)

    def _registered(self, serving: Serving) -> None:
        self._serving = serving
        self._since = self._clock.seconds()
        self._say(f"registered as server {self._uuid}")

    def _failed(self, failure: Failure) -> None:
        if not self._isOver:
            self._result.errback(failure)

    def _lost(self, why: str) -> None:
        self._serving = None
        if self._isOver:
            return
        if self._clock.seconds() - self._since >= LASTED:
            self._backoff.reset()
        delay = self._backoff.next()
        self._reports.trouble(f"connection lost: {why}", delay)
        self._timer = self._clock.callLater(delay, self._register)

    def _stop(self) -> None:
        self._isOver = True
        if self._timer is not None:
            self._timer.cancel()
        elif self._serving is not None:
            self._serving.transport.abortConnection()
        else:
            self._registering.cancel()
