"""Stories of the cluster: what must hold whatever becomes of a member, a link or the directory."""

from __future__ import annotations

from uuid import UUID

from tests.support.stories import Client, Node, StoryCase

SERVER, APP = UUID(int=1), UUID(int=2)
UUIDS = ("{11111111-2222-3333-4444-55555555aaaa}", "{11111111-2222-3333-4444-55555555bbbb}")


class MeetingStories(StoryCase):
    """Clients that come to different members."""

    def test_meet(self) -> None:
        """Whoever comes first waits, the second meets it; a third one is refused everywhere."""
        first = self.land.join(self.one, "k")
        self.assertWaits(first)
        second = self.land.join(self.two, "k")
        self.assertTunnel(first, second)
        for node in (self.one, self.two, self.three):
            self.assertTold(self.land.join(node, "k"), "tunnel-exists")
        self.assertTunnel(first, second)

    def test_commands(self) -> None:
        """A tunnel costs the directory four commands at most."""
        self.land.advance(1)
        before = self.land.commands
        first, second = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        first.leave()
        second.leave()
        self.land.advance(1)
        self.assertLessEqual(self.land.commands - before, 5)  # the address is asked for once

    def test_freeAtOnce(self) -> None:
        """A key is free everywhere as soon as one of the two has left."""
        nodes = (self.one, self.two, self.three)
        for leaver in (0, 1):
            for node in nodes:
                pair = [self.land.join(self.one, "k"), self.land.join(self.two, "k")]
                pair[leaver].leave()
                again = self.land.join(node, "k")
                self.assertWaits(again)
                self.assertTunnel(again, self.land.join(self.three, "k"))
                again.leave()
                self.land.advance(6)

    def test_sameClientTwice(self) -> None:
        """One uuid at two members: both are refused, and the key is free."""
        first = self.land.join(self.one, "k", uuid=UUIDS[0])
        second = self.land.join(self.two, "k", uuid=UUIDS[0])
        self.land.advance(1)
        self.assertTold(first, "duplicate-client-uuid")
        self.assertTold(second, "duplicate-client-uuid")
        self.assertWaits(self.land.join(self.three, "k", uuid=UUIDS[0]))

    def test_deadClientComesBackElsewhere(self) -> None:
        """It is found out that its old connection is dead; then it waits where it came to."""
        first = self.land.join(self.one, "k", uuid=UUIDS[0])
        first.loseContact()
        second = self.land.join(self.two, "k", uuid=UUIDS[0])
        self.land.advance(4)
        self.assertTold(first, "ping-timeout")
        self.assertWaits(second)
        self.assertTunnel(second, self.land.join(self.three, "k", uuid=UUIDS[1]))

    def test_waiterLeavesWhileOffered(self) -> None:
        """Whoever was offered it takes the place."""
        first = self.land.join(self.one, "k")
        self.land.cut(self.one, self.two)
        second = self.land.join(self.two, "k")
        first.leave()
        self.land.heal()
        self.land.advance(3)
        self.assertWaits(second)
        self.assertTunnel(second, self.land.join(self.one, "k"))

    def test_bothLeaveWhileAsking(self) -> None:
        """Nothing is left, at any moment."""
        for moment in (0.5, 2.5, 3.2):
            first = self.land.join(self.one, "k")
            self.land.cut(self.one, self.two)
            second = self.land.join(self.two, "k")
            self.land.advance(moment)
            second.leave()
            self.land.heal()
            self.land.advance(5)
            self.assertWaits(first)
            first.leave()

    def test_manyAtOnce(self) -> None:
        """Of seven that come at the same moment two meet, and the others are refused."""
        nodes = (self.one, self.two, self.three)
        with self.land.atOnce():
            clients = [self.land.join(nodes[n % 3], "k") for n in range(7)]
        self.land.advance(3)
        up = [client for client in clients if client.isUp]
        self.assertEqual(len(up), 2)
        self.assertTunnel(*up)
        for client in clients:
            if client not in up:
                self.assertTold(client, "tunnel-exists")


class LateNewsStories(StoryCase):
    """A client leaves, and who holds its key has not heard of it yet."""

    def leaveBehindData(self) -> tuple[Client, Client]:
        """The home's client takes nothing, so that the end is behind what the other one sent."""
        home, guest = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        home.pipe.full = True
        for _ in range(5):
            guest.send(b"x" * 60_000 + b"\n")
        guest.leave()
        self.land.network.run()
        self.assertEqual(self.one.rendezvous.tunnels, 1)  # it has not heard
        return home, guest

    def test_comesBack(self) -> None:
        """To whichever member it comes back, its key is free, and the old partner loses nothing."""
        for node in (self.one, self.two, self.three):
            home, _guest = self.leaveBehindData()
            again = self.land.join(node, "k")
            self.land.advance(0.1)
            self.assertWaits(again)
            self.assertTunnel(again, self.land.join(self.three, "k"))
            home.pipe.full = False
            home.pipe.flush()
            self.land.advance(0.1)
            self.assertEqual(len(home.heard()), 5)
            self.assertTold(home, "partner-left")
            again.leave()
            self.land.advance(1)

    def test_isStillThere(self) -> None:
        """Then the third one is refused, all that came in line with it, and no tunnel suffers."""
        home, guest = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        thirds = [Client(self.land, node, "k") for node in (self.one, self.two, self.three)]
        for third in thirds:
            third.call("Authentication.Authenticate", token="k")
        self.land.advance(0.1)
        for third in thirds:
            self.assertTold(third, "tunnel-exists")
        self.assertTunnel(home, guest)

    def test_cannotBeAsked(self) -> None:
        """Nobody takes the place of one that cannot be asked: refused, and in bounded time."""
        home, guest = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        self.two.freeze()
        thirds = [self.land.join(node, "k") for node in (self.one, self.three)]
        self.land.advance(5)
        for third in thirds:
            self.assertTold(third, "tunnel-exists")
        self.two.thaw()
        self.assertTunnel(home, guest)

    def test_endsWhileAsked(self) -> None:
        """The tunnel ends while it is looked: who came has the key, and nobody is disturbed."""
        home, guest = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        self.two.freeze()
        third, fourth = self.land.join(self.one, "k"), self.land.join(self.three, "k")
        home.leave()
        self.land.advance(0.1)
        self.assertTunnel(third, fourth)
        self.two.thaw()
        self.land.advance(3)
        self.assertTold(guest, "partner-left")
        self.assertTunnel(third, fourth)


class DyingStories(StoryCase):
    """A member is killed: it costs its own connections and nothing else."""

    def test_whileItsClientWaits(self) -> None:
        """The place is free at once."""
        first = self.land.join(self.one, "k")
        self.one.die()
        second = self.land.join(self.two, "k")
        self.land.advance(0.1)
        self.assertWaits(second)
        self.assertFalse(first.isWaiting)
        self.assertTunnel(second, self.land.join(self.three, "k"))

    def test_whileItClaims(self) -> None:
        """Its claim comes true for nobody: the next one takes it."""
        self.land.isHanging = True
        self.land.join(self.one, "k")
        self.one.die()
        for _node, arrive in self.land.late:
            arrive()
        self.land.late.clear()
        self.land.isHanging = False
        self.assertEqual(len(self.land.listed()), 1)
        second, third = self.land.join(self.two, "k"), self.land.join(self.three, "k")
        self.land.advance(0.1)
        self.assertTunnel(second, third)

    def test_inTunnels(self) -> None:
        """The partners elsewhere are closed within 5 s, be they read from or not."""
        for victim in (self.one, self.two):
            other = self.three
            dying = [self.land.join(victim, f"{victim.number}{n}") for n in range(4)]
            left = [self.land.join(other, f"{victim.number}{n}") for n in range(4)]
            left[1].pipe.full = True
            dying[1].send(b"x" * 60_000 + b"\n")
            one, two = self.land.join(other, "other"), self.land.join(other, "other")
            victim.die()
            self.land.advance(5)
            for client in left:
                self.assertTold(client, "link-lost")
            self.assertTunnel(one, two)
            one.leave()
            self.land.advance(1)
            for client in left:
                self.assertWaits(self.land.join(other, client.key))

    def test_asker(self) -> None:
        """One that has been offered a partner is killed: who waits waits on."""
        first = self.land.join(self.one, "k")
        self.two.freeze()
        second = Client(self.land, self.two, "k")
        second.call("Authentication.Authenticate", token="k")
        self.two.die()
        self.land.advance(1)
        self.assertWaits(first)
        self.assertTunnel(first, self.land.join(self.three, "k"))

    def test_comesBackWithAnotherId(self) -> None:
        """It holds nothing of what it held."""
        self.land.join(self.one, "k")
        self.one.die()
        back = self.land.add()
        first = self.land.join(back, "k")
        self.assertWaits(first)
        self.assertTunnel(first, self.land.join(self.two, "k"))

    def test_server(self) -> None:
        """Its clients are closed; it registers elsewhere, where all find it."""
        self.land.serve(self.one, SERVER)
        app = self.land.visit(self.two, SERVER, APP)
        self.assertTrue(app.isUp, app.pipe.value())
        self.one.die()
        self.land.advance(5)
        self.assertTrue(app.isTold)
        server = self.land.serve(self.two, SERVER)
        self.assertTrue(server.isUp, server.outcome)
        for node in (self.one, self.two, self.three)[1:]:
            app = self.land.visit(node, SERVER, APP)
            self.assertTrue(app.isUp, (app.outcome, app.pipe.value()))
            app.leave()

    def test_memberOfClients(self) -> None:
        """A client of a dead member comes back elsewhere at once, under its uuid."""
        server = self.land.serve(self.one, SERVER)
        self.land.visit(self.two, SERVER, APP)
        self.two.die()
        app = self.land.visit(self.three, SERVER, APP)
        self.land.advance(0.1)
        self.assertTrue(app.isUp, (app.outcome, app.pipe.value()))
        self.assertTrue(server.isUp)

    def test_frozenForGood(self) -> None:
        """One that neither lives nor dies: its places are free within 15 s and two questions."""
        self.land.join(self.one, "k")
        self.land.advance(4)
        self.one.freeze()
        second = self.land.join(self.two, "k")
        self.land.advance(20)
        self.assertWaits(second)
        self.assertTunnel(second, self.land.join(self.three, "k"))


class FrozenStories(StoryCase):
    """A member is stopped for a while: it freezes nobody, and looks before it acts."""

    def test_home(self) -> None:
        """While its lease lasts it is asked again; when it goes on the two meet."""
        first = self.land.join(self.one, "k")
        self.one.freeze()
        second = self.land.join(self.two, "k")
        self.land.advance(8)
        self.assertWaits(second)
        self.one.thaw()
        self.land.advance(2)
        self.assertTunnel(first, second)

    def test_homeTooLong(self) -> None:
        """Its place is taken meanwhile: its client joins the winner at once when it goes on."""
        first = self.land.join(self.one, "k")
        self.one.freeze()
        second = self.land.join(self.two, "k")
        self.land.advance(22)
        self.assertWaits(second)
        self.assertTrue(next(iter(self.land.listed().values())).member == self.two.id)
        self.one.thaw()
        self.land.advance(0.1)
        self.assertTunnel(first, second)
        self.assertEqual(self.one.places.losses, 1)

    def test_tunnelOfAWinner(self) -> None:
        """Who is in a tunnel with its key when it goes on stays there: it only is not listed."""
        pair = [self.land.join(self.one, "k"), self.land.join(self.one, "k")]
        self.one.freeze()
        others = [self.land.join(self.two, "k"), self.land.join(self.three, "k")]
        self.land.advance(25)
        self.assertTunnel(*others)
        self.one.thaw()
        self.land.advance(1)
        self.assertTunnel(*pair)
        self.assertTunnel(*others)
        self.assertEqual((self.one.places.losses, self.one.places.unlisted), (1, 1))
        others[0].leave()
        self.land.advance(6)
        self.assertEqual((self.one.places.held, self.one.places.unlisted), (1, 0))
        self.assertTold(self.land.join(self.three, "k"), "tunnel-exists")
        self.assertTunnel(*pair)

    def meetUntil(self, word: str, node: Node) -> tuple[Client, Client]:
        """Have two clients meet until a word comes to a member, which is stopped then."""
        first = self.land.join(self.one, "k")
        second = Client(self.land, self.two, "k")
        network, run = self.land.network, self.land.network.run
        network.run = lambda: None  # type: ignore[method-assign]
        second.call("Authentication.Authenticate", token="k")
        self.two.clock.advance(0)
        while not any(f'"{word}"'.encode() in strand.inbox for strand in node.strands):
            network._events.popleft()()
        node.freeze()
        network.run = run  # type: ignore[method-assign]
        return first, second

    def test_askerAfterAnOffer(self) -> None:
        """It says too late that its client is there: nobody is told, and it asks again."""
        first, second = self.meetUntil("offer", self.two)
        self.land.advance(3)
        self.assertWaits(first)
        self.assertFalse(first.isMet)
        self.two.thaw()
        self.land.advance(1.5)
        self.assertTunnel(first, second)

    def test_homeAfterItsOffer(self) -> None:
        """It does not say its last word in time: who asks again is not refused for that."""
        first, second = self.meetUntil("here", self.one)
        self.land.advance(4)
        self.assertWaits(second)
        self.one.thaw()
        self.land.advance(1.5)
        if first.isTold:  # it was joined with the first try, which is over
            self.assertWaits(second)
            self.assertTunnel(second, self.land.join(self.three, "k"))
        else:
            self.assertTunnel(first, second)

    def test_tunnelOutlivesShortFreeze(self) -> None:
        """Ten seconds harm nobody."""
        first, second = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        for node in (self.one, self.two):
            node.freeze()
            self.land.advance(10)
            node.thaw()
            self.land.advance(1)
            self.assertTunnel(first, second)

    def test_allSleep(self) -> None:
        """The machine slept: nobody takes the others for dead."""
        first, second = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        third = self.land.join(self.three, "l")
        for node in self.land.living:
            node.freeze()
        self.land.advance(3600)
        for node in self.land.living:
            node.thaw()
        self.land.advance(0.5)
        self.assertTunnel(first, second)
        self.assertTrue(third.isTold or third.isWaiting)
        self.land.advance(20)
        self.assertTunnel(first, second)

    def test_partnersOfAFrozenOne(self) -> None:
        """After 15 s of silence they are closed."""
        pairs = [
            (self.land.join(self.one, "k"), self.land.join(self.two, "k")),
            (self.land.join(self.two, "l"), self.land.join(self.one, "l")),
        ]
        self.one.freeze()
        self.land.advance(21)
        self.assertTold(pairs[0][1], "link-lost")
        self.assertTold(pairs[1][0], "link-lost")
        self.one.thaw()
        self.land.advance(6)
        for pair in pairs:
            for client in pair:
                self.assertTrue(client.isTold)

    def test_serverTakenMeanwhile(self) -> None:
        """Of two servers with one uuid the one without the place is closed within 5 s."""
        old = self.land.serve(self.one, SERVER)
        self.one.freeze()
        self.land.advance(16)
        new = self.land.serve(self.two, SERVER)
        self.land.advance(6)
        self.assertTrue(new.isUp, (new.outcome, new.pipe.value()))
        self.one.thaw()
        self.land.advance(5)
        self.assertTold(old, "place-lost")
        self.assertTrue(new.isUp)
        for node in (self.one, self.two, self.three):
            app = self.land.visit(node, SERVER, APP)
            self.assertTrue(app.isUp, app.outcome)
            app.leave()


class CutOffStories(StoryCase):
    """Two members do not reach each other, or one the directory."""

    def test_fromEachOther(self) -> None:
        """Who waits is asked for until the end of its time, and nobody takes its place."""
        first = self.land.join(self.one, "k")
        self.land.cut(self.one, self.two)
        second = self.land.join(self.two, "k")
        self.land.advance(20)
        self.assertWaits(first, second)
        self.land.heal()
        self.land.advance(2)
        self.assertTunnel(first, second)

    def test_untilTheEnd(self) -> None:
        """It is told why."""
        self.land.cut(self.one, self.two)
        first = self.land.join(self.one, "k")
        second = self.land.join(self.two, "k")
        self.land.advance(31)
        self.assertTold(first, "alone-timeout")
        self.assertTold(second, "alone-timeout")

    def test_tunnels(self) -> None:
        """They are closed after 15 s of silence, on both sides."""
        pair = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        self.land.advance(3)
        self.land.cut(self.one, self.two)
        self.land.advance(21)
        for client in pair:
            self.assertTold(client, "link-lost")

    def test_fromTheDirectory(self) -> None:
        """Those who wait at one that does not reach it are found, and its tunnels stay."""
        first = self.land.join(self.one, "k")
        pair = self.land.join(self.one, "l"), self.land.join(self.two, "l")
        self.land.withoutDirectory.add(self.one)
        self.land.advance(20)
        second = self.land.join(self.two, "k")
        self.land.advance(0.1)
        self.assertTunnel(first, second)
        self.assertTunnel(*pair)
        local = self.land.join(self.one, "m"), self.land.join(self.one, "m")
        self.assertTunnel(*local)
        self.land.restore()
        self.land.advance(6)
        self.assertTunnel(*local)
        for node in (self.two, self.three):
            self.assertTold(self.land.join(node, "m"), "tunnel-exists")

    def test_serverSilent(self) -> None:
        """A client of a server that cannot be reached hears that, within two questions."""
        self.land.serve(self.one, SERVER)
        self.land.cut(self.one, self.two)
        app = self.land.visit(self.two, SERVER, APP)
        self.land.advance(4)
        self.assertTold(app, "member-silent")
        other = self.land.serve(self.two, SERVER)
        self.land.advance(4)
        self.assertTold(other, "member-silent")
        self.assertTrue(self.land.visit(self.three, SERVER, APP).isUp)


class DirectoryStories(StoryCase):
    """The directory failing is not the relay failing."""

    def failures(self) -> list[str]:
        """All ways to fail."""
        return ["isFailing", "isHanging"]

    def test_tunnels(self) -> None:
        """They go on; the keys of those that end meanwhile are free when it is back."""
        for failure in self.failures():
            pair = self.land.join(self.one, "k"), self.land.join(self.two, "k")
            ending = self.land.join(self.one, "l"), self.land.join(self.two, "l")
            setattr(self.land, failure, True)
            self.land.advance(30)
            self.assertTunnel(*pair)
            ending[0].leave()
            self.land.advance(30)
            self.land.restore()
            self.land.advance(3)
            self.assertTunnel(*pair)
            self.assertEqual(len(self.land.listed()), 1)
            pair[0].leave()
            self.land.advance(6)

    def test_locally(self) -> None:
        """Clients of one member pair within 2 s, servers register, and nobody finds others."""
        for failure in self.failures():
            remote = self.land.serve(self.three, SERVER)
            setattr(self.land, failure, True)
            first, second = self.land.join(self.one, "k"), self.land.join(self.one, "k")
            self.land.advance(2)
            self.assertTunnel(first, second)
            server = self.land.serve(self.one, UUID(int=7))
            self.land.advance(2)
            self.assertTrue(server.isUp)
            app = self.land.visit(self.one, UUID(int=7), APP)
            self.assertTrue(app.isUp)
            lost = self.land.visit(self.one, SERVER, UUID(int=8))
            self.land.advance(2)
            self.assertTold(lost, "directory-unavailable")
            self.assertIn(b"InternalServerError", lost.pipe.value())
            waiting = self.land.join(self.one, "w")
            self.land.advance(31)
            self.assertTold(waiting, "alone-timeout")
            self.land.restore()
            self.land.advance(3)
            self.assertTrue(self.land.visit(self.two, UUID(int=7), UUID(int=9)).isUp)
            for client in (first, server, app, remote):
                client.leave()
            self.land.advance(6)

    def test_queuedBehindAClaim(self) -> None:
        """While the first claim hangs the second client waits no longer than that."""
        self.land.isHanging = True
        first, second = self.land.join(self.one, "k"), self.land.join(self.one, "k")
        self.assertWaits(first, second)
        self.land.advance(1.01)
        self.assertTunnel(first, second)
        third = self.land.join(self.one, "l")
        self.assertTunnel(third, self.land.join(self.one, "l"))  # no other claim is waited for

    def test_lateClaims(self) -> None:
        """What was given up and is done all the same harms nobody, and is not left."""
        self.land.isHanging = True
        first = self.land.join(self.one, "k")
        second = self.land.join(self.two, "k")
        self.land.advance(2)
        second.leave()
        self.land.advance(1)
        self.land.restore()
        self.land.advance(3)
        self.assertWaits(first)
        self.assertEqual([h.member for h in self.land.listed().values()], [self.one.id])
        self.assertTunnel(first, self.land.join(self.three, "k"))

    def test_doubledWaiters(self) -> None:
        """Those that waited at different members meet within 3 s of its return."""
        for failure in self.failures():
            setattr(self.land, failure, True)
            clients = [self.land.join(node, "k") for node in (self.one, self.two)]
            self.land.advance(2)
            self.assertWaits(*clients)
            self.land.restore()
            self.land.advance(3)
            self.assertTunnel(*clients)
            clients[0].leave()
            self.land.advance(6)

    def test_waitersWhoMeetWhenTheyAreLost(self) -> None:
        """Two that waited behind a dead one meet when it is gone: they go nowhere else."""
        self.land.isFailing = True
        winner = self.land.join(self.one, "k", uuid="w")
        clients = [self.land.join(self.two, "k", uuid=uuid) for uuid in ("a", "a", "b")]
        self.assertWaits(winner, *clients)
        self.land.isFailing = False
        for node in (self.one, self.two):
            node.do(node.directory.returned)
            self.land.network.run()
        self.assertTunnel(*clients[1:])
        self.assertTunnel(winner, clients[0])

    def test_leavesWhileClaimed(self) -> None:
        """What comes true for nobody is given back, be it a key or a uuid."""
        self.land.isHanging = True
        self.land.join(self.one, "k").leave()
        self.land.serve(self.one, SERVER).leave()
        self.land.advance(0.5)
        self.land.restore()
        self.assertEqual(self.land.listed(), {})

    def test_othersClaimIt(self) -> None:
        """Whoever leaves while a place is claimed takes it from nobody."""
        first = self.land.join(self.one, "k")
        self.land.isHanging = True
        second, third = self.land.join(self.two, "l"), self.land.join(self.two, "l")
        self.land.join(self.two, "k").leave()
        third.leave()
        self.land.advance(0.5)
        self.land.restore()
        self.assertWaits(first, second)
        self.assertEqual(len(self.land.listed()), 2)
        self.assertTunnel(second, self.land.join(self.three, "l"))

    def test_threeWaiters(self) -> None:
        """Two of them meet, the third one is refused as always."""
        self.land.isFailing = True
        clients = [self.land.join(node, "k") for node in (self.one, self.two, self.three)]
        self.land.advance(2)
        self.land.restore()
        self.land.advance(3)
        up = [client for client in clients if client.isUp]
        self.assertEqual(len(up), 2)
        self.assertTunnel(*up)
        for client in clients:
            if client not in up:
                self.assertTold(client, "tunnel-exists")

    def test_twoHomes(self) -> None:
        """Neither tunnel is disturbed; what is lost is counted, and claimed when it is free."""
        self.land.isFailing = True
        pairs = [
            (self.land.join(node, "k"), self.land.join(node, "k")) for node in (self.one, self.two)
        ]
        self.land.advance(2)
        for pair in pairs:
            self.assertTunnel(*pair)
        self.land.restore()
        self.land.advance(3)
        for pair in pairs:
            self.assertTunnel(*pair)
        places = [node.places for node in (self.one, self.two)]
        self.assertEqual(sum(each.losses for each in places), 1)
        winner = next(n for n, each in enumerate(places) if each.held)
        self.land.advance(20)
        self.assertEqual(sum(each.losses for each in places), 1)
        self.assertTold(self.land.join(self.three, "k"), "tunnel-exists")
        pairs[winner][0].leave()
        self.land.advance(6)
        self.assertEqual(places[1 - winner].held, 1)
        self.assertTunnel(*pairs[1 - winner])
        self.assertTold(self.land.join(self.three, "k"), "tunnel-exists")

    def test_loserWithAWaiter(self) -> None:
        """Who waits at the loser meets nobody if the winner has a tunnel, and is told so."""
        self.land.isFailing = True
        pair = self.land.join(self.one, "k"), self.land.join(self.one, "k")
        waiter = self.land.join(self.two, "k")
        self.land.advance(1)
        for node in (self.one, self.two):
            self.land.isFailing = False
            node.do(node.directory.returned)
            self.land.network.run()
        self.land.advance(1)
        self.assertTunnel(*pair)
        self.assertTold(waiter, "tunnel-exists")

    def test_twoServers(self) -> None:
        """The one without the place is closed within 5 s, and its clients with it."""
        self.land.isFailing = True
        servers = [self.land.serve(node, SERVER) for node in (self.one, self.two)]
        for number, node in enumerate((self.one, self.two), 10):
            self.assertTrue(self.land.visit(node, SERVER, UUID(int=number)).isUp)
        self.land.restore()
        self.land.advance(5)
        self.assertEqual(sorted(server.isUp for server in servers), [False, True])
        self.assertEqual([server.outcome for server in servers if server.isTold], ["place-lost"])
        for node in (self.one, self.two, self.three):
            app = self.land.visit(node, SERVER, APP)
            self.assertTrue(app.isUp)
            app.leave()

    def test_serverCameOver(self) -> None:
        """It stays, though its place stands there for the member where it was before."""
        for dies in (False, True):
            for home, other in ((self.one, self.two), (self.two, self.three)):
                old = self.land.serve(home, SERVER)
                self.land.isFailing = True
                if dies:
                    home.die()
                else:
                    old.leave()
                self.land.advance(7)
                server = self.land.serve(other, SERVER)
                app = self.land.visit(other, SERVER, APP)
                self.land.restore()
                self.land.advance(3)
                self.assertTrue(server.isUp, server.outcome)
                self.assertTrue(app.isUp, app.outcome)
                self.assertEqual((other.places.held, other.places.contested), (2, 0))
                server.leave()
                self.land.advance(1)

    def test_tunnelsCameOver(self) -> None:
        """The same with a key, and with a client's uuid."""
        self.land.serve(self.two, SERVER)
        self.land.visit(self.one, SERVER, APP)
        self.land.join(self.one, "k")
        self.land.join(self.one, "k")
        self.land.isFailing = True
        self.one.die()
        self.land.advance(15)
        app = self.land.visit(self.two, SERVER, APP)
        pair = self.land.join(self.two, "k"), self.land.join(self.two, "k")
        self.land.restore()
        self.land.advance(3)
        self.assertTrue(app.isUp, app.outcome)
        self.assertTunnel(*pair)
        self.assertEqual((self.two.places.held, self.two.places.contested), (3, 0))
        self.assertTold(self.land.join(self.three, "k"), "tunnel-exists")

    def test_serverCameOverFromAFrozenOne(self) -> None:
        """It stays as long as that does not answer; when its lease is over it has the place."""
        old = self.land.serve(self.one, SERVER)
        self.land.isFailing = True
        self.land.advance(6)
        self.one.freeze()
        server = self.land.serve(self.two, SERVER)
        self.land.restore()
        self.land.advance(5)
        self.assertTrue(server.isUp, server.outcome)
        self.assertEqual(self.two.places.contested, 1)
        self.land.advance(20)
        self.assertEqual((self.two.places.held, self.two.places.contested), (1, 0))
        self.one.thaw()
        self.land.advance(5)
        self.assertTold(old, "place-lost")
        self.assertTrue(server.isUp)

    def test_emptied(self) -> None:
        """All is claimed again; meanwhile nobody is disturbed."""
        pair = self.land.join(self.one, "k"), self.land.join(self.two, "k")
        waiter = self.land.join(self.one, "w")
        server = self.land.serve(self.two, SERVER)
        app = self.land.visit(self.three, SERVER, APP)
        self.land.empty()
        self.land.advance(5.1)
        self.assertEqual(len(self.land.listed()), 4)
        self.assertTunnel(*pair)
        self.assertTrue(server.isUp)
        self.assertTrue(app.isUp)
        self.assertTunnel(waiter, self.land.join(self.three, "w"))

    def test_newSecret(self) -> None:
        """All places have other names from then on."""
        waiter = self.land.join(self.one, "w")
        server = self.land.serve(self.two, SERVER)
        before = set(self.land.listed())
        self.land.empty()
        self.land.table.secret = b"another"
        for node in self.land.living:
            node.directory.renew()
            node.directory.tell()
        self.land.advance(0.1)
        self.assertEqual(len(self.land.listed()), 2)
        self.assertFalse(before & set(self.land.listed()))
        self.assertTrue(server.isUp)
        self.assertTrue(self.land.visit(self.three, SERVER, APP).isUp)
        self.assertTunnel(waiter, self.land.join(self.three, "w"))


class SwitchboardStories(StoryCase):
    """The tunnel proxy of all members."""

    def everywhere(self) -> tuple[Node, ...]:
        """All members."""
        return self.one, self.two, self.three

    def test_found(self) -> None:
        """From everywhere; a uuid is unique, whoever has it."""
        server = self.land.serve(self.one, SERVER)
        for number, node in enumerate(self.everywhere(), 10):
            self.assertTrue(self.land.visit(node, SERVER, UUID(int=number)).isUp)
        for node in self.everywhere():
            for taken in (SERVER, UUID(int=10), UUID(int=11), UUID(int=12)):
                others = self.land.serve(node, taken), self.land.visit(node, SERVER, taken)
                self.land.advance(0.2)
                for other in others:
                    self.assertTold(other, "already-registered")
            self.assertTold(self.land.visit(node, UUID(int=99), APP), "server-not-found")
        self.assertTrue(server.isUp)
        self.assertEqual(self.one.switchboard.clients, 3)

    def test_uuidIsFreeAtOnce(self) -> None:
        """Wherever whoever had it comes back."""
        self.land.serve(self.one, SERVER)
        for there in self.everywhere():
            for then in self.everywhere():
                app = self.land.visit(there, SERVER, APP)
                self.assertTrue(app.isUp, (app.outcome, there.number, then.number))
                app.leave()
        for there in self.everywhere():
            for then in self.everywhere():
                other = self.land.serve(there, APP)
                other.leave()
                other = self.land.serve(then, APP)
                self.assertTrue(other.isUp, other.outcome)
                other.leave()

    def test_lateNews(self) -> None:
        """The same while the server's member does not hear that the client has left."""
        server = self.land.serve(self.one, SERVER)
        for node in self.everywhere():
            app = self.land.visit(self.two, SERVER, APP)
            self.assertTrue(app.isUp, app.outcome)
            for strand in self.one.strands:
                strand.isHeld = strand.other is not None and strand.other.node is self.two
            app.leave()
            again = self.land.visit(node, SERVER, APP)
            self.land.advance(0.1)
            self.assertTrue(again.isUp, (again.outcome, node.number))
            again.leave()
            self.land.advance(1)
        self.assertTrue(server.isUp)

    def test_atTheSameMember(self) -> None:
        """The same where nobody else has to be asked."""
        self.land.serve(self.one, SERVER)
        with self.land.atOnce():
            apps = [self.land.visit(self.two, SERVER, APP) for _ in range(3)]
        self.land.advance(5)
        self.assertEqual(sorted(app.isUp for app in apps), [False, False, True])
        self.assertEqual(len(self.land.listed()), 2)

    def test_lateNewsTwice(self) -> None:
        """Two ask at once whether a client has left: what the second hears is about that one."""
        self.land.serve(self.one, SERVER)
        old = self.land.visit(self.two, SERVER, APP)
        for strand in self.one.strands:
            strand.isHeld = strand.other is not None and strand.other.node is self.two
        old.leave()
        self.land.advance(0.1)
        with self.land.atOnce():
            again = [self.land.visit(self.three, SERVER, APP)]
            for _ in range(8):
                again[0].node.clock.advance(0)
                if self.land.network._events:
                    self.land.network._events.popleft()()
            looks = [self.one.switchboard.origin(APP).look() for _ in range(2)]  # type: ignore[union-attr]
        self.land.advance(1)
        for look in looks:
            self.assertIs(self.successResultOf(look), False)
        self.assertTrue(again[0].isUp, again[0].outcome)

    def test_goesOverToAnother(self) -> None:
        """A dead client of a server here comes back for a server that is elsewhere."""
        self.land.serve(self.one, SERVER)
        self.land.serve(self.two, UUID(int=7))
        dead = self.land.visit(self.one, SERVER, APP)
        dead.loseContact()
        app = self.land.visit(self.one, UUID(int=7), APP)
        self.land.advance(4)
        self.assertTrue(app.isUp, (app.outcome, app.pipe.value()))
        self.assertTrue(dead.isTold)

    def test_deadClientOfAnother(self) -> None:
        """It is asked, by the member where it is, and found dead."""
        self.land.serve(self.one, SERVER)
        for there in self.everywhere():
            for then in self.everywhere():
                dead = self.land.visit(there, SERVER, APP)
                self.assertTrue(dead.isUp, dead.outcome)
                dead.loseContact()
                app = self.land.visit(then, SERVER, APP)
                self.land.advance(4)
                self.assertTrue(app.isUp, (app.outcome, there.number, then.number))
                self.assertTrue(dead.isTold)
                app.leave()

    def test_sameUuidAtTheServersMember(self) -> None:
        """Whoever is refused there since a client of another member has it takes it from nobody."""
        for trouble in (self.land.empty, lambda: setattr(self.land, "isFailing", True)):
            server = self.land.serve(self.three, SERVER)
            app = self.land.visit(self.one, SERVER, APP)
            trouble()
            refused = self.land.serve(self.three, APP)
            self.land.advance(1)
            self.assertTold(refused, "already-registered")
            self.land.restore()
            self.land.advance(12)
            self.assertTrue(app.isUp)
            places = self.one.places, self.three.places
            self.assertEqual([(each.held, each.contested) for each in places], [(1, 0), (1, 0)])
            self.assertEqual([each.losses for each in places], [0, 0])
            app.leave()
            server.leave()
            self.land.advance(1)

    def test_deadServerComesBack(self) -> None:
        """Here or elsewhere: it is listed where it is."""
        for then in (self.one, self.two):
            dead = self.land.serve(self.one, SERVER)
            dead.loseContact()
            server = self.land.serve(then, SERVER)
            self.land.advance(4)
            self.assertTrue(server.isUp, server.outcome)
            self.assertEqual([h.member for h in self.land.listed().values()], [then.id])
            server.leave()

    def test_atTheSameMoment(self) -> None:
        """Of several with one uuid one is registered."""
        with self.land.atOnce():
            servers = [self.land.serve(node, SERVER) for node in 3 * self.everywhere()]
        self.land.advance(5)
        self.assertEqual(sum(server.isUp for server in servers), 1)
        with self.land.atOnce():
            apps = [self.land.visit(node, SERVER, APP) for node in 3 * self.everywhere()]
        self.land.advance(5)
        self.assertEqual(sum(app.isUp for app in apps), 1)
