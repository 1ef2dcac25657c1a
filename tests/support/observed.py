"""A proxy to which clients come that are none, and who is told of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from nymearemoteproxy.connections.observers import IObserver
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.session import Role
from tests.support.memory import Guest
from tests.support.parts import makeProxy


@implementer(IObserver)
class Observer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.ended: list[tuple[Record, Record | None]] = []
        self.seconds: list[float] = []

    def authenticated(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def tunnelEnded(self, first: Record, second: Record | None) -> None:
        self.ended.append((first, second))


class ProxyCase(SynchronousTestCase):
    """A proxy to which clients come that are none."""

    def setUp(self) -> None:
        self.make()

    def make(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.proxy = makeProxy(self.clock, registry=self.makeRegistry())
        self.observer = Observer()
        self.proxy.registry.observers.append(self.observer)

    def makeRegistry(self) -> Any:
        """Return another registry than usual, if there is one."""
        return None

    def join(self) -> tuple[Guest, Guest]:
        """Return two clients with a tunnel."""
        one, two = Guest(self.proxy, Role.PARTNER), Guest(self.proxy, Role.PARTNER)
        self.proxy.registry.joined(one.record, two.record)
        self.proxy.registry.joined(two.record, one.record)
        return one, two

    def register(self, role: Role, uuid: str, serverUuid: str = "") -> Guest:
        """Return a server or client of the tunnel proxy."""
        guest = Guest(self.proxy, role, uuid, serverUuid)
        self.proxy.registry.joined(guest.record, None)
        return guest
