"""Who is told to leave when the server drains or stops, and when."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from nymearemoteproxy.connections import dismissal
from nymearemoteproxy.connections.dismissal import ABORT_TIMEOUT
from nymearemoteproxy.protocol.session import Role
from tests.support.memory import Guest
from tests.support.observed import ProxyCase

PROPERTY = settings(max_examples=200, deadline=None, database=None)


class DrainTests(ProxyCase):
    """Who is told to leave, and when."""

    def test_nobody(self) -> None:
        """All are gone at once."""
        self.successResultOf(self.proxy.registry.dismissal.dismissIdle())

    def test_tokens(self) -> None:
        """Who has a tunnel is not disturbed, and who has none is told at once."""
        one, two = self.join()
        other = Guest(self.proxy)
        gone = self.proxy.registry.dismissal.dismissIdle()
        self.assertEqual([each.asked for each in (one, two, other)], [[], [], ["shutDown"]])
        other.leave()
        one.leave()
        self.assertNoResult(gone)
        two.leave()
        self.successResultOf(gone)
        self.assertEqual([each.asked for each in (one, two)], [[], []])

    def test_servers(self) -> None:
        """A server is told when its last client has left."""
        idle = self.register(Role.SERVER, "idle")
        busy = self.register(Role.SERVER, "busy")
        first, second = (self.register(Role.CLIENT, uuid, "busy") for uuid in "ab")
        gone = self.proxy.registry.dismissal.dismissIdle()
        self.assertEqual([idle.asked, busy.asked], [["shutDown"], []])
        first.leave()
        self.assertEqual(busy.asked, [])
        second.leave()
        self.assertEqual(busy.asked, ["shutDown"])
        busy.leave()
        self.assertNoResult(gone)
        idle.leave()
        self.successResultOf(gone)

    def test_serverLeavesFirst(self) -> None:
        """Nobody is told twice, or told when gone."""
        server = self.register(Role.SERVER, "s")
        client = self.register(Role.CLIENT, "c", "s")
        gone = self.proxy.registry.dismissal.dismissIdle()
        server.leave()
        client.leave()
        self.successResultOf(gone)
        self.assertEqual((server.asked, client.asked), ([], []))

    def test_leftMeanwhile(self) -> None:
        """One that leaves as another is told is not told any more."""
        one, two = Guest(self.proxy), Guest(self.proxy)
        one.shutDown = two.leave  # type: ignore[method-assign]
        gone = self.proxy.registry.dismissal.dismissIdle()
        self.assertEqual(two.asked, [])
        one.leave()
        self.successResultOf(gone)

    def test_stoppedMeanwhile(self) -> None:
        """Both who drains and who stops hear that all are gone."""
        one, two = self.join()
        drained = self.proxy.registry.dismissal.dismissIdle()
        self.assertIs(self.proxy.registry.dismissal.isForAll, False)
        stopped = self.proxy.registry.dismissal.dismissAll()
        self.assertIs(self.proxy.registry.dismissal.isForAll, True)
        self.assertEqual((one.asked, two.asked), (["shutDown"], ["shutDown"]))
        one.leave()
        two.leave()
        self.successResultOf(drained)
        self.successResultOf(stopped)

    def test_oneFails(self) -> None:
        """A fault of one, even in being cut off, keeps no other from being told."""

        def fail() -> None:
            raise ZeroDivisionError

        one, two, three = (Guest(self.proxy) for _ in range(3))
        one.shutDown = two.shutDown = two.abort = fail  # type: ignore[method-assign]
        gone = self.proxy.registry.dismissal.dismissAll()
        self.assertEqual([each.asked for each in (one, two, three)], [["abort"], [], ["shutDown"]])
        self.proxy.registry.dismissal.abortAll()
        self.assertEqual(three.asked, ["shutDown", "abort"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        self.clock.advance(ABORT_TIMEOUT)
        self.successResultOf(gone)

    def test_lastServerFails(self) -> None:
        """Its last client leaves all the same."""
        server = self.register(Role.SERVER, "s")
        client = self.register(Role.CLIENT, "c", "s")
        self.proxy.registry.dismissal.dismissIdle()

        def fail() -> None:
            raise ZeroDivisionError

        server.shutDown = fail  # type: ignore[method-assign]
        client.leave()
        self.assertEqual(server.asked, ["abort"])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_stubborn(self) -> None:
        """Who does not leave, however asked, keeps nobody waiting."""
        guest = Guest(self.proxy)
        gone = self.proxy.registry.dismissal.dismissIdle()
        self.proxy.registry.dismissal.abortAll()
        self.assertEqual(guest.asked, ["shutDown", "abort"])
        self.clock.advance(ABORT_TIMEOUT)
        self.successResultOf(gone)

    def test_abortedWithAnother(self) -> None:
        """Who leaves since another one is cut off is not asked to."""
        one, two = self.join()
        one.abort = two.leave  # type: ignore[method-assign]
        self.proxy.registry.dismissal.abortAll()
        self.assertEqual(two.asked, [])

    def test_nobodyWaits(self) -> None:
        """Then there is nothing to be done later."""
        self.proxy.registry.dismissal.abortAll()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_inTurns(self) -> None:
        """Many are told over several turns, and those who get a tunnel meanwhile stay."""
        self.patch(dismissal, "GOODBYES_A_TURN", 1)
        waiting = [Guest(self.proxy) for _ in range(4)]
        idle, found = (self.register(Role.SERVER, uuid) for uuid in ("idle", "found"))
        gone = self.proxy.registry.dismissal.dismissIdle()
        self.assertEqual([each.asked for each in waiting], [["shutDown"], [], [], []])
        one, two = waiting[2:]
        one.record.role = two.record.role = Role.PARTNER
        self.proxy.registry.joined(one.record, two.record)
        self.proxy.registry.joined(two.record, one.record)
        client = self.register(Role.CLIENT, "c", "found")
        self.clock.advance(0)
        self.assertEqual(
            [each.asked for each in (*waiting, idle, found)],
            [["shutDown"], ["shutDown"], [], [], ["shutDown"], []],
        )
        client.leave()
        self.assertEqual(found.asked, ["shutDown"])
        for guest in (*waiting, idle, found):
            self.assertNoResult(gone)
            guest.leave()
        self.successResultOf(gone)

    def test_raises(self) -> None:
        """Whoever cannot be told keeps nobody else from being told."""
        one, two = Guest(self.proxy), Guest(self.proxy)
        one.shutDown = None  # type: ignore[assignment]
        self.proxy.registry.dismissal.dismissAll()
        self.assertEqual(two.asked, ["shutDown"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    @PROPERTY
    @given(st.data())
    def test_anyOrder(self, data: Any) -> None:
        """However many there are, and however they leave: servers go last, and all have gone."""
        self.checkAnyOrder(data)

    def checkAnyOrder(self, data: Any) -> None:
        """Check it; Hypothesis wants a test to be of one class."""
        self.make()
        servers = {
            uuid: self.register(Role.SERVER, uuid)
            for uuid in data.draw(st.lists(st.sampled_from("stuv"), unique=True))
        }
        guests = [*servers.values()]
        clients: dict[str, list[Guest]] = {uuid: [] for uuid in servers}
        if servers:
            for number, uuid in enumerate(data.draw(st.lists(st.sampled_from(sorted(servers))))):
                client = self.register(Role.CLIENT, f"c{number}", uuid)
                clients[uuid].append(client)
                guests.append(client)
        for _ in range(data.draw(st.integers(0, 2))):
            guests += self.join()
        guests += [Guest(self.proxy) for _ in range(data.draw(st.integers(0, 2)))]
        left: set[Guest] = set()
        gone: Deferred[None] | None = None
        drainAt = data.draw(st.integers(0, len(guests)))
        for number, guest in enumerate(data.draw(st.permutations(guests))):
            if number == drainAt:
                gone = self.proxy.registry.dismissal.dismissIdle()
            guest.leave()
            left.add(guest)
            if gone is None:
                continue
            for uuid, server in servers.items():
                if server not in left:
                    hasClients = any(each not in left for each in clients[uuid])
                    self.assertEqual(server.asked, [] if hasClients else ["shutDown"])
            self.assertEqual(gone.called, len(left) == len(guests))
        if gone is None:
            gone = self.proxy.registry.dismissal.dismissIdle()
        self.successResultOf(gone)
        for some in clients.values():
            self.assertFalse(any(client.asked for client in some))
