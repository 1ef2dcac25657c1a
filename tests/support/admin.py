"""A proxy with connections, and an admin endpoint on it, all in memory."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.common.unixpeers import UnixPeer
from nymearemoteproxy.connections.limits import Bounds, Ticket
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import TCP, WEBSOCKET, Record
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.configuring import configure
from nymearemoteproxy.running.configuration.front import hasFront
from nymearemoteproxy.running.settings.values import Settings
from nymearemoteproxy.running.watchers import makeAdmin
from nymearemoteproxy.watching.admin.web import Answer, Question
from nymearemoteproxy.watching.pulse import Pulse
from nymearemoteproxy.watching.watched import Entrance, Watched
from tests.support.acting import ActedOn
from tests.support.parts import makeProxy

NOW = 1_700_000_000.0
"""When the tests begin."""


class Client:
    """Stands for a connection's protocol."""

    def __init__(self, stage: str) -> None:
        self.stage = stage


def add(
    proxy: Proxy,
    state: str = "tunneled",
    transport: str = WEBSOCKET,
    received: int = 0,
    name: str = "",
    role: Role | None = None,
    uuid: str = "",
    serverUuid: str = "",
) -> Record:
    """Add an open connection."""
    proxy.registry._number += 1
    number = proxy.registry._number
    address = f"192.0.2.1:{number}"
    record = Record(
        number, transport, False, address, address, "192.0.2.1", Ticket(None), proxy.clock.seconds()
    )
    record.client = Client(state)
    record.received, record.sent = received, 2 * received
    record.name, record.uuid, record.serverUuid = name, uuid, serverUuid
    record.role = role
    if role is not None:
        record.joined = record.started
    proxy.registry._records[number] = record
    proxy.registry.counters.totals.connections += 1
    return record


def addTunnel(proxy: Proxy, one: str = "one", other: str = "other", received: int = 0) -> Record:
    """Add two partners; return the first."""
    first = add(proxy, role=Role.PARTNER, name=one, received=received)
    second = add(proxy, role=Role.PARTNER, name=other, transport=TCP)
    first.partner, second.partner = second, first
    return first


def remove(proxy: Proxy, record: Record) -> None:
    """A connection is gone."""
    del proxy.registry._records[record.number]
    record.client = None


class Port:
    """A port that listens."""

    def __init__(self, address: Any) -> None:
        self.getHost = lambda: address


class AdminInMemory:
    """An admin endpoint that is asked without HTTP.

    :param company: see `Watched`.
    :ivar server: on which something is done, and which has a condition.
    :ivar epoch: Unix time at the clock's 0.
    """

    def __init__(
        self,
        endpoint: str = "tcp:1:interface=127.0.0.1",
        proxy: Proxy | None = None,
        clock: Any = None,
        company: Any = None,
        **settings: str,
    ) -> None:
        self.clock = clock or Clock()
        if clock is None:
            self.clock.advance(NOW)
        self.proxy = proxy or makeProxy(self.clock, Bounds(100, 100))
        self.pulse = Pulse(self.clock, self.proxy.registry.counters)
        self.server = ActedOn(self.clock, self.proxy.registry)
        self.epoch = 0.0
        self.places: list[Entrance] = []
        given = Settings()
        given.set("Admin.endpoint", endpoint)
        for name, value in settings.items():
            given.set(name.replace("_", "."), value)
        self.configuration = configure(given, CommandLine(tokens=["t"]))
        calendar = Calendar(self.clock, lambda: self.clock.seconds() + self.epoch)
        watched = Watched(
            self.proxy,
            self.pulse,
            calendar,
            lambda: self.server.condition,
            self.server.actions,
            company,
            lambda: self.server.lastReload,
            lambda: self.places,
            hasFront(given),
        )
        made = makeAdmin(self.clock, self.configuration, watched)
        assert made is not None
        self.admin = made

    def ask(
        self,
        path: str,
        method: str = "GET",
        query: dict[str, str] | None = None,
        host: str = "192.0.2.9",
        body: bytes = b"",
        peer: UnixPeer | None = None,
        **headers: str,
    ) -> Answer:
        """Return an answer; in a header's name an underscore stands for a hyphen."""
        given = {"host": "localhost"}
        given.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self.answer(Question(method, path, query or {}, given, host, body, peer))

    def answer(self, question: Question) -> Answer:
        """Return an answer, however many turns of the reactor it takes."""
        answers: list[Any] = []
        maybeDeferred(self.admin.answer, question).addBoth(answers.append)
        self.clock.advance(0)
        (answer,) = answers
        assert isinstance(answer, Answer)
        return answer


class JsonCase(SynchronousTestCase):
    """An admin endpoint that is asked for JSON."""

    def setUp(self) -> None:
        self.made = AdminInMemory(ProxyServer_name="Büro <b>")
        self.proxy, self.clock = self.made.proxy, self.made.clock

    def get(self, path: str, **query: str) -> Any:
        answer = self.made.ask(path, query=query)
        self.assertEqual((answer.status, answer.contentType), (200, "application/json"))
        return json.loads(answer.body)
