"""Owns the checks of how visitors are counted, shown to monitors, and written down."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ConnectionDone
from zope.interface import implementer

from nymearemoteproxy.accounting.entries import EndedTunnel
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections.observers import IObserver
from nymearemoteproxy.connections.records import CLOSING, FRONT, FRONT_HTTP, Record
from nymearemoteproxy.wires.fronthttp import FrontHttp
from tests.accounting.test_bookkeeping import digest
from tests.support.fronts import HOME, NAMED, VISITOR_ADDRESS, AtTheFront
from tests.support.hellos import helloTo
from tests.support.memory import Pipe
from tests.watching.test_monitorsocket import ALL, CLIENT, WatchedCase
from tests.wires.test_fronthttp import ASKED


@implementer(IObserver)
class Book:
    """Keeps what is written of tunnels that ended."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def authenticated(self, seconds: float) -> None:
        """Of no interest here."""

    def tunnelEnded(self, first: Record, second: Record | None) -> None:
        self.entries.append(json.loads(EndedTunnel.of(0, first, second).asJson(Privacy.FULL)))


class FrontShownCase(AtTheFront):
    """A home, its visitors, and a client of its own kind."""

    def reach(self) -> Pipe:
        """Let a client connect that is no visitor."""
        pipe = self.open("TCP")
        about = {"clientUuid": CLIENT, "clientName": "app", "serverUuid": str(HOME)}
        self.call(pipe, "TunnelProxy.RegisterClient", **about)
        self.settle()
        self.assertIn(b"TunnelProxyErrorNoError", pipe.take())
        return pipe


class CountedTests(FrontShownCase):
    """In the proxy that they have come to, or all of these together."""

    def assertThere(self, clients: int, visitors: int) -> None:
        """So many are connected to homes, and so many of them by the front door."""
        load = self.proxy.registry.counters.load()
        self.assertEqual((load.clients, load.visitors), (clients, visitors))

    def test_visitors(self) -> None:
        """They are clients, too, as long as they are at a home."""
        self.register()
        self.reach()
        first, second = (self.visit(helloTo(NAMED)) for _ in range(2))
        self.assertThere(3, 2)
        self.visit(helloTo("nobody.example.com"))
        self.come()
        self.assertThere(3, 2)
        for visitor, left in ((first, 1), (second, 0)):
            visitor.lose(ConnectionDone())
            self.settle()
            self.assertThere(1 + left, left)

    def test_written(self) -> None:
        """A visit is a client's, which says by its transport what it is, and whose home it was."""
        book = Book()
        for proxy in self.allProxies():
            proxy.registry.observers.append(book)
        self.register()
        self.visit(helloTo(NAMED)).lose(ConnectionDone())
        self.visit(helloTo("nobody.example.com")).lose(ConnectionDone())
        self.settle()
        (entry,) = book.entries
        self.assertEqual(
            (entry["kind"], entry["server"]), ("tunnel-proxy-client", digest(str(HOME)))
        )
        (side,) = entry["sides"]
        self.assertEqual((side["transport"], side["name"], side["secure"]), (FRONT, "front", False))
        self.assertEqual(side["address"], f"{VISITOR_ADDRESS}:1")
        self.assertEqual(side["received"], len(helloTo(NAMED)))


class StateTests(AtTheFront):
    """Where they stand."""

    def test_turnedAway(self) -> None:
        """One that is told so is about to leave, and not about to come."""
        self.visit(helloTo("nobody.example.com"))
        self.assertEqual(self.proxy.registry.counters.load().connections, {(FRONT, CLOSING): 1})


class MonitorTests(WatchedCase, FrontShownCase):
    """What monitors are told, which may be older than the front door."""

    def test_transports(self) -> None:
        """They know of three, and a visitor comes by TCP."""
        self.register()
        self.reach()
        self.visit(helloTo(NAMED))
        self.builders[FRONT_HTTP] = FrontHttp
        self.accept(FRONT_HTTP).receive(ASKED)
        told = self.ask(ALL)["tunnelProxyStatistic"]
        self.assertEqual(told["transports"], {"WebSocket": 0, "TCP": 4, "unix": 0})
        self.assertEqual((told["totalClientCount"], told["clientConnectionsCount"]), (4, 3))
        (server,) = told["tunnelConnections"]
        names = [client["name"] for client in server["clientConnections"]]
        self.assertEqual(names, ["app", "front", "front"])
