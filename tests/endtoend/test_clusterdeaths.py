"""One member that has everything is killed, or frozen for longer than its lease, and wakes up.

What it has: those who wait, tunnels with clients of others, within itself and under way to their
end, a registered server, and a client of another one's.
"""

from __future__ import annotations

import os
import threading

from tests.support.cores import anyUuid, error, visit
from tests.support.endtoend import authenticate, connect, inThread, secret
from tests.support.nodes import LEASE, LONG, ClusterCase, Node, Stopwatch

HEARTBEAT = 5
LINK_TIMEOUT = 2

MEGABYTES = os.urandom(8 << 20)


class Scene:
    """What there is when a member fails.

    :param failing: the member.
    """

    def __init__(self, case: ClusterCase, failing: Node, second: Node, third: Node) -> None:
        # Tunnels that the member has a part in, at home there and not.
        self.far = [
            case.pair(failing.ws, second.ws)[1],
            case.pair(failing.tcp, second.tcp)[1],
            case.pair(third.ws, failing.tcp)[0],
        ]
        self.others = [case.pair(second.ws, third.tcp), case.pair(second.tcp, second.ws)]
        # One that is about to end: far more is said than is read.
        self.talking, self.listening = case.pair(failing.tcp, third.tcp)
        self.speaker = threading.Thread(target=self.talking.send, args=(MEGABYTES,), daemon=True)
        self.speaker.start()
        # One who waits, and registered ones.
        self.nonce = secret("nonce")
        self.waiter = case.first(failing, self.nonce)
        self.uuids = anyUuid(), anyUuid()
        self.core = case.register(failing.tcp, self.uuids[0])
        self.farCore = case.register(second.tcp, self.uuids[1])
        self.app = case.visitor(second.ws, self.core, self.uuids[0])
        self.nearApp = case.visitor(third.ws, self.farCore, self.uuids[1])
        self.lostApp = case.visitor(failing.tcp, self.farCore, self.uuids[1])

    def stillWorks(self, case: ClusterCase) -> None:
        """Nobody else is disturbed."""
        for pair in self.others:
            case.moves(*pair)
        self.farCore.send(1, b"still here")
        case.assertEqual(case.read(self.nearApp, 10), b"still here")


class DeathTests(ClusterCase):
    """kill -9."""

    @inThread
    def testKill(self) -> None:
        """Partners are closed within 5 s, all places are free at once, nobody else notices."""
        self.startRedis()
        failing, second, third = self.launch()
        scene = Scene(self, failing, second, third)
        failing.kill()
        with self.within(0, "a key of a dead member is free"):
            two = self.waiter(second.ws, scene.nonce), self.waiter(third.tcp, scene.nonce)
            self.established(*two)
            self.moves(*two)
        with self.within(0, "a uuid of a dead member is free"):
            core = self.register(third.ws, scene.uuids[0])
            self.visitor(second.tcp, core, scene.uuids[0])
        with self.within(5, "partners are closed"):
            for client in (*scene.far, scene.app):
                self.cutOff(client)
            # That one is not read from: only the member knows.
            third.server.waitFor(rf"from {scene.listening.peer} ended: link-lost ")
        message = scene.farCore.message()
        self.assertEqual(message["notification"], "TunnelProxy.ClientDisconnected")
        self.cutOff(scene.listening)
        scene.stillWorks(self)


class FreezeTests(ClusterCase):
    """SIGSTOP for longer than a lease, and SIGCONT."""

    @inThread
    def testFreeze(self) -> None:
        """It counts as dead after 15 s; when it wakes up, it looks before it acts.

        Then two were at home in one place: neither tunnel is disturbed, who waits joins the winner,
        and of two servers the one that was frozen is sent away.
        """
        self.startRedis()
        failing, second, third = self.launch()
        scene = Scene(self, failing, second, third)
        shared, alone, late = secret("shared"), secret("alone"), secret("late")
        kept = self.pair(failing.tcp, failing.ws, shared)
        lonely = self.first(failing, alone)
        loser = self.first(failing, late)
        failing.freeze()
        frozen = Stopwatch()
        # Nobody waits for it who has nothing to do with it, and others are told in time.
        with self.within(2, "others meet"):
            self.moves(*self.pair(second.ws, third.tcp))
        with self.within(LINK_TIMEOUT, "a client of its server is told"):
            stranger, said = visit(third.ws, scene.uuids[0])
            self.assertEqual(said, error("InternalServerError"))
            stranger.close()
        asking = self.waiter(second.ws, scene.nonce), self.waiter(third.tcp, scene.nonce)
        twins = self.waiter(third.ws, shared), self.waiter(second.tcp, shared)
        winners = self.waiter(second.ws, late), self.waiter(third.ws, late)
        follower = self.waiter(second.ws, alone)
        scene.stillWorks(self)
        with self.within(LEASE, "partners are closed"):
            for client in (*scene.far, scene.app):
                self.cutOff(client)
            third.server.waitFor(rf"from {scene.listening.peer} ended: link-lost ", patience=LONG)
        self.cutOff(scene.listening)
        # An answer is waited for that long, and asked for again after a second.
        with self.within(LEASE + LINK_TIMEOUT + 1 - frozen.seconds, "places are free"):
            for pair in (asking, twins, winners):
                self.established(*pair)
        for pair in (asking, twins, winners):
            self.moves(*pair)
        core = self.register(third.ws, scene.uuids[0])
        # Its kernel takes connections. This one is there before it looks, and has the key of one
        # that waits there, and of a tunnel elsewhere.
        tooLate = connect(failing.tcp)
        self.keep(tooLate)
        tooLate.sendMessage(authenticate(self.token, nonce=late))
        failing.thaw()
        with self.within(5, "it has looked"):
            self.established(follower, lonely)
            for client, outcome in (
                (scene.core.stream, "place-lost"),
                (scene.waiter, "tunnel-exists"),
                (loser, "tunnel-exists"),
                (tooLate, "tunnel-exists"),
            ):
                client.rest()
                client.close()  # which is waited for before it is logged
                self.assertEqual(failing.server.ended(client), outcome)
        self.moves(follower, lonely)
        for pair in (asking, twins, winners, kept):
            self.moves(*pair)
        self.visitor(second.tcp, core, scene.uuids[0])
        self.visitor(failing.ws, core, scene.uuids[0])
        scene.stillWorks(self)
