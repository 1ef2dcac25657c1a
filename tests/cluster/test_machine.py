"""Whatever happens to three members, in whatever order: what holds always, and when all is calm."""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.places import Kind, PlaceSeat, _State
from nymearemoteproxy.cluster.switchboard import seatOf
from tests.support.stories import TIMING, Client, Land, Node, checkEmpty

KEYS = ("a", "b")
UUIDS = (None, None, "{11111111-2222-3333-4444-55555555aaaa}", UUID(int=5))
SLOTS = st.integers(0, 2)
MOMENTS = (0.01, 0.3, 1.05, 2.1, 5.1, 16.0)
CALM = 12.0
"""Seconds until all is in order again: a lease's renewal, and looking again."""

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "40"))


class ClusterMachine(RuleBasedStateMachine):
    """Three members, of which each may die and come back with another id."""

    case: SynchronousTestCase

    def __init__(self) -> None:
        super().__init__()
        self.land = Land(3)
        self.slots: list[Node] = list(self.land.nodes.values())
        self.tokens: list[Client] = []
        self.labels: dict[str, Client] = {}
        self.names = 0

    # Clients

    @rule(slot=SLOTS, key=st.sampled_from(KEYS), uuid=st.sampled_from(UUIDS))
    def join(self, slot: int, key: str, uuid: Any) -> None:
        self.names += 1
        label = f"c{self.names}"
        client = Client(self.land, self.slots[slot], key, label)
        who = {} if uuid is None else {"uuid": str(uuid), "name": label}
        client.call("Authentication.Authenticate", token=key, **who)
        self.tokens.append(client)
        self.labels[label] = client
        self.land.advance(0)

    @rule(
        acts=st.lists(
            st.tuples(st.sampled_from("jjjjlsv"), SLOTS, st.integers(1, 3), st.integers(0, 9)),
            min_size=2,
            max_size=6,
        )
    )
    def burst(self, acts: list[tuple[str, int, int, int]]) -> None:
        """Several do something before all that is under way has arrived."""
        network = self.land.network
        run = network.run
        network.run = lambda: None  # type: ignore[method-assign]
        for act, slot, number, events in acts:
            node = self.slots[slot]
            if act == "j":
                self.join(slot, KEYS[number % 2], UUIDS[number] if number > 1 else None)
            elif act == "s":
                self.serve(slot, number)
            elif act == "v":
                self.visit(slot, number, number + 1)
            elif self.open():
                self.open()[-number % len(self.open())].leave()
            if not (node.isFrozen or node.isDead):
                node.clock.advance(0)
            for _ in range(events):
                if network._events:
                    network._events.popleft()()
        network.run = run  # type: ignore[method-assign]
        network.run()

    @rule(slot=SLOTS, server=st.integers(1, 2))
    def serve(self, slot: int, server: int) -> None:
        self.land.serve(self.slots[slot], UUID(int=server))

    @rule(slot=SLOTS, server=st.integers(1, 2), uuid=st.integers(2, 4))
    def visit(self, slot: int, server: int, uuid: int) -> None:
        self.land.visit(self.slots[slot], UUID(int=server), UUID(int=uuid))

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        data.draw(st.sampled_from(self.open())).leave()

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def block(self, data: Any) -> None:
        data.draw(st.sampled_from(self.open())).pipe.full = True

    @rule()
    def unblock(self) -> None:
        for client in self.open():
            if client.pipe.full:
                client.pipe.full = False
                client.pipe.flush()
        self.land.network.run()

    @rule(much=st.booleans())
    def speak(self, much: bool) -> None:
        for client in self.tokens:
            if client.isUp and not client.node.isFrozen:
                client.send(f"{client.label} {client.key}{'x' * 70_000 * much}\n".encode())
        self.land.network.run()

    def open(self) -> list[Client]:
        """Those that have not left."""
        return [c for c in self.land.clients if not (c.isGone or c.node.isDead)]

    # Members

    @rule(slot=SLOTS)
    def die(self, slot: int) -> None:
        if not self.slots[slot].isDead:
            self.slots[slot].die()

    @rule(slot=SLOTS)
    def replace(self, slot: int) -> None:
        if self.slots[slot].isDead:
            self.slots[slot] = self.land.add()
            self.land.network.run()

    @rule(slot=SLOTS)
    def freeze(self, slot: int) -> None:
        if not self.slots[slot].isDead:
            self.slots[slot].freeze()

    @rule(slot=SLOTS)
    def thaw(self, slot: int) -> None:
        if self.slots[slot].isFrozen:
            self.slots[slot].thaw()

    @rule(one=SLOTS, other=SLOTS)
    def cut(self, one: int, other: int) -> None:
        if one != other:
            self.land.cut(self.slots[one], self.slots[other])

    @rule()
    def heal(self) -> None:
        self.land.heal()

    # The directory

    @rule(hangs=st.booleans())
    def fail(self, hangs: bool) -> None:
        self.land.isHanging, self.land.isFailing = hangs, not hangs

    @rule(slot=SLOTS)
    def loseDirectory(self, slot: int) -> None:
        self.land.withoutDirectory.add(self.slots[slot])

    @rule()
    def restore(self) -> None:
        self.land.restore()

    @rule()
    def empty(self) -> None:
        self.land.empty()

    # Time

    @rule(moment=st.sampled_from(MOMENTS))
    def advance(self, moment: float) -> None:
        self.land.advance(moment)

    # What must hold

    @invariant()
    def noStrangers(self) -> None:
        for client in self.tokens:
            heard = {line.rstrip("x") for line in client.heard() if " " in line}
            assert len(heard) <= 1, f"{client.label} heard {heard}"
            for line in heard:
                assert line.endswith(f" {client.key}"), f"{client.label} heard {line}"
                assert not line.startswith(f"{client.label} "), "itself"

    @invariant()
    def nobodyWaitsForEver(self) -> None:
        for client in self.land.clients:
            isBlind = client.node.isFrozen or client.pipe.full  # it hears nothing
            if client.isWaiting and not isBlind and client.asked is not None:
                waited = self.land.now - client.asked
                assert waited <= TIMING.alone + 0.1, f"{client.label} waits for {waited} s"

    @rule()
    def calm(self) -> None:
        """All is well again, and soon everything is in order."""
        self.makeCalm()
        self.checkPlaces()
        for key in KEYS:
            waiting = [c.label for c in self.tokens if c.key == key and c.isWaiting]
            assert len(waiting) <= 1, f"{waiting} wait with {key}"
        self.checkTunnels()

    def checkTunnels(self) -> None:
        """Whoever thinks that it has a partner has one, which hears it."""
        up = [client for client in self.tokens if client.isUp]
        before = {client: len(client.heard()) for client in up}
        self.speak(False)
        self.land.advance(0.1)
        for client in up:
            news = client.heard()[before[client] :]
            assert len(news) == 1, f"{client.label} heard {news}"
        said = [client.heard()[-1] for client in up]
        assert len(set(said)) == len(said), said

    def makeCalm(self) -> None:
        for node in self.land.living:
            if node.isFrozen:
                node.thaw()
        self.unblock()
        self.land.heal()
        self.land.restore()
        self.land.advance(CALM)

    def checkPlaces(self) -> None:
        listed = self.land.listed()
        found = set()
        for node in self.land.living:
            places = node.places
            used = seatsOf(node)
            assert set(places._spots) == used, (node.number, set(places._spots), used)
            for seat, spot in places._spots.items():
                name = places.name(seat)
                assert places._seats[name] == seat
                holder = listed.get(name)
                if holder is None:
                    # Another member that had it, too, has left it since the last look.
                    assert spot.isContested, f"{name} of {node.number} is not listed"
                elif spot.state is _State.HELD:
                    assert holder == spot.holder, (name, node.number, holder)
                    found.add(name)
                else:
                    assert spot.state is _State.UNLISTED, (name, node.number, spot.state)
                    assert holder.member != node.id, (name, node.number)
        for name, holder in listed.items():
            assert name in found or self.land.nodes[holder.member].isDead, (name, holder)

    def teardown(self) -> None:
        self.unblock()
        checkEmpty(self.case, self.land)
        assert not self.case.flushLoggedErrors()


def seatsOf(node: Node) -> set[PlaceSeat]:
    """Return the places that somebody is at."""
    local, shared = node.rendezvous, node.membership.switchboard
    assert shared is not None
    keys = {*local._waiting, *local._tunnels, *local._behind}
    clients = node.switchboard._clients
    own = {uuid for uuid, end in clients.items() if type(end.origin).__name__ == "Origin"}
    uuids = {*shared._away, *node.switchboard._servers, *own}
    return {PlaceSeat(Kind.KEY, key) for key in keys} | {seatOf(uuid) for uuid in uuids}


class MachineTests(SynchronousTestCase):
    """Run it."""

    def test_machine(self) -> None:
        """For some hundred stories that nobody has thought of."""
        machine = type("Machine", (ClusterMachine,), {"case": self})
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                database=None,
                print_blob=True,
            ),
        )
