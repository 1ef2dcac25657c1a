"""What the status page is told of connections, and how long others wait for it."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import turns
from nymearemoteproxy.connections import records
from nymearemoteproxy.connections.records import FRONT, FRONT_HTTP, TCP, Load, Totals
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.admin import rows
from nymearemoteproxy.watching.admin.web import Answer, Question
from nymearemoteproxy.watching.pulse import Reading
from tests.support.admin import AdminInMemory, JsonCase, add, addTunnel, remove
from tests.support.memory import oneTurn


class RowsTests(JsonCase):
    """The lists, as JSON."""

    def test_tunnels(self) -> None:
        """A tunnel is shown once, with both ends."""
        first = addTunnel(self.proxy, "Anna", "Otto", received=500)
        first.subject, first.uuid, first.secure = "anna@example", "{1}", True
        self.clock.advance(10)
        seen = self.get("/api/tunnels")
        (row,) = seen["rows"]
        self.assertEqual((seen["all"], seen["matching"]), (1, 1))
        self.assertEqual((row["duration"], row["rate"], row["traffic"]), (10, 50, 500))
        self.assertEqual(
            row["ends"][0],
            {
                "number": 1,
                "name": "Anna",
                "uuid": "{1}",
                "account": "anna@example",
                "address": "192.0.2.1:1",
                "transport": "WebSocket",
                "secure": True,
                "duration": 10,
                "received": 500,
                "rate": 50,
            },
        )
        self.assertEqual(row["ends"][1]["name"], "Otto")

    def test_waiting(self) -> None:
        """Who has a valid token and no partner, since then; the longest comes first."""
        addTunnel(self.proxy)
        add(self.proxy, "unauthenticated")
        for name, since in (("short", 5), ("long", 9)):
            client = add(self.proxy, "waiting", name=name)
            client.started -= 10
            client.trusted = self.clock.seconds() - since
            client.worker = 2
        seen = self.get("/api/waiting")
        self.assertEqual((seen["all"], seen["matching"]), (2, 2))
        told = [(row["ends"][0]["name"], row["duration"]) for row in seen["rows"]]
        self.assertEqual(told, [("long", 9), ("short", 5)])
        self.assertEqual(seen["rows"][0]["ends"][0]["worker"], 2)
        self.assertEqual(seen["rows"][0]["ends"][0]["duration"], 10)
        (row,) = self.get("/api/waiting", filter="SHO")["rows"]
        self.assertEqual(row["ends"][0]["name"], "short")
        names = [
            row["ends"][0]["name"]
            for row in self.get("/api/waiting", sort="duration", order="up")["rows"]
        ]
        self.assertEqual(names, ["short", "long"])

    def test_manyWait(self) -> None:
        """The answer has a bound."""
        for _number in range(rows.MOST_ROWS + 1):
            add(self.proxy, "waiting")
        seen = self.get("/api/waiting", rows="10000")
        self.assertEqual((seen["all"], len(seen["rows"])), (rows.MOST_ROWS + 1, rows.MOST_ROWS))

    def test_onlyTunnels(self) -> None:
        """What waits, or belongs to the tunnel proxy, is none."""
        add(self.proxy, "waiting")
        add(self.proxy, role=Role.SERVER)
        halfWay = add(self.proxy, role=Role.PARTNER)
        halfWay.joined = None
        self.assertEqual(self.get("/api/tunnels")["all"], 0)

    def test_aTunnelThatEnds(self) -> None:
        """It is shown as long as one end is there, whichever it is."""
        for gone in (0, 1):
            first = addTunnel(self.proxy, "a", "b")
            second = first.partner
            assert second is not None
            remove(self.proxy, (first, second)[gone])
            rows = self.get("/api/tunnels")["rows"]
            self.assertEqual(len(rows), 1)
            stays = (second, first)[gone]
            self.assertIn(stays.name, [end["name"] for end in rows[0]["ends"]])
            remove(self.proxy, stays)

    def test_oneEnd(self) -> None:
        """A tunnel whose other end is not known any more is shown with one."""
        first = addTunnel(self.proxy)
        assert first.partner is not None
        remove(self.proxy, first.partner)
        first.partner = None
        (row,) = self.get("/api/tunnels")["rows"]
        self.assertEqual(len(row["ends"]), 1)

    def test_rates(self) -> None:
        """Over the time since it was asked before, and no more often than once a second."""
        first = addTunnel(self.proxy, received=1000)
        self.clock.advance(10)
        self.assertEqual(self.get("/api/tunnels")["rows"][0]["rate"], 100)
        first.received += 900
        self.clock.advance(0.5)
        self.assertEqual(self.get("/api/tunnels")["rows"][0]["rate"], 100)
        self.clock.advance(2.5)
        self.assertEqual(self.get("/api/tunnels")["rows"][0]["rate"], 300)
        addTunnel(self.proxy, "new", received=1)  # not seen before it is asked again
        self.assertEqual(self.get("/api/tunnels")["matching"], 2)

    def test_gone(self) -> None:
        """Nothing is remembered of a connection that is gone."""
        first = addTunnel(self.proxy)
        self.get("/api/tunnels")
        assert first.partner is not None
        remove(self.proxy, first.partner)
        remove(self.proxy, first)
        self.clock.advance(5)
        self.get("/api/tunnels")
        self.assertEqual(self.made.admin._rows._rates._received, {})

    def order(self, path: str = "/api/tunnels", **query: str) -> list[str]:
        """Return the first name of each row."""
        return [row["ends"][0]["name"] for row in self.get(path, **query)["rows"]]

    def test_sorting(self) -> None:
        for name, received in (("b", 30), ("C", 10), ("a", 20)):
            addTunnel(self.proxy, name, received=received)
            self.clock.advance(10)
        self.assertEqual(self.order(sort="traffic"), ["b", "a", "C"])
        self.assertEqual(self.order(sort="traffic", order="up"), ["C", "a", "b"])
        self.assertEqual(self.order(sort="name", order="up"), ["a", "b", "C"])
        self.assertEqual(self.order(sort="duration"), ["b", "C", "a"])
        self.assertEqual(self.order(sort="rate"), ["a", "b", "C"])
        self.assertEqual(self.order(sort="nonsense"), ["a", "b", "C"])
        self.assertEqual(self.order(), ["a", "b", "C"])

    def test_filter(self) -> None:
        """It looks at both ends, all rows, and does not mind capitals."""
        first = addTunnel(self.proxy, "Küche", "phone")
        first.subject, first.uuid = "anna", "{abc}"
        addTunnel(self.proxy, "x", "y")
        for wanted in ("KÜCHE", "Phone", "anna", "{AB", "192.0.2.1:2"):
            seen = self.get("/api/tunnels", filter=wanted)
            self.assertEqual(self.order(filter=wanted), ["Küche"], wanted)
            self.assertEqual((seen["all"], seen["matching"]), (2, 1))
        self.assertEqual(self.order(filter="<script>"), [])
        self.assertEqual(len(self.order(filter="")), 2)

    def test_filterLongNames(self) -> None:
        """It looks at what is shown, so that long names take no longer."""
        addTunnel(self.proxy, "x" * (records.MOST_TEXT - 1) + "abc")
        self.assertEqual(self.get("/api/tunnels", filter="xxa")["matching"], 1)
        self.assertEqual(self.get("/api/tunnels", filter="abc")["matching"], 0)

    def test_rows(self) -> None:
        """So many as are asked for, up to a number; the rest is counted."""
        for number in range(300):
            addTunnel(self.proxy, f"n{number}")
        for asked, given_ in (("7", 7), ("", 50), ("9999", 200), ("-1", 50), ("x", 50), ("0", 0)):
            seen = self.get("/api/tunnels", rows=asked)
            self.assertEqual((len(seen["rows"]), seen["matching"]), (given_, 300), asked)
        self.assertEqual(len(self.get("/api/tunnels", rows="9" * 5000)["rows"]), 50)

    def test_servers(self) -> None:
        """Each with its clients, the busiest of them first."""
        add(self.proxy, "waiting", name="no server")
        add(self.proxy, role=Role.SERVER, name="other", uuid="v")
        server = add(self.proxy, role=Role.SERVER, name="core", uuid="u", received=5)
        for number in range(30):
            add(
                self.proxy,
                role=Role.CLIENT,
                name=f"c{number}",
                serverUuid="u",
                received=number * 100,
            )
        add(self.proxy, role=Role.CLIENT, name="lost", serverUuid="gone")
        self.clock.advance(2)
        seen = self.get("/api/servers", sort="clients")
        row = seen["rows"][0]
        self.assertEqual([each["ends"][0]["name"] for each in seen["rows"]], ["core", "other"])
        self.assertEqual(row["number"], server.number)
        self.assertEqual((row["clients"], len(row["ends"])), (30, 21))
        self.assertEqual([end["name"] for end in row["ends"][1:4]], ["c29", "c28", "c27"])
        self.assertEqual(row["traffic"], 5 + sum(range(30)) * 100)
        self.assertEqual(self.order("/api/servers", filter="c17"), ["core"])
        self.assertEqual(self.order("/api/servers", filter="lost"), [])

    def test_visitors(self) -> None:
        """A server tells how many of its clients they are, and is found by them."""
        for uuid, transports in (("u", [TCP, FRONT, FRONT_HTTP]), ("v", [TCP]), ("w", [])):
            add(self.proxy, role=Role.SERVER, name=f"core {uuid}", uuid=uuid)
            for transport in transports:
                name = "app" if transport is TCP else "front"
                add(self.proxy, transport=transport, role=Role.CLIENT, name=name, serverUuid=uuid)
        rows = self.get("/api/servers", sort="clients")["rows"]
        counts = [(row["clients"], row["visitors"]) for row in rows]
        self.assertEqual(counts, [(3, 2), (1, 0), (0, 0)])
        self.assertEqual(self.order("/api/servers", filter="front"), ["core u"])

    @given(st.text(st.characters()))
    def test_anyName(self, name: str) -> None:
        """Whatever a name is, even half a character, it arrives as it is, cut."""
        made = AdminInMemory()
        addTunnel(made.proxy, name, name * 3)
        answer = made.ask("/api/tunnels", query={"sort": "name", "filter": ""})
        ends = json.loads(answer.body)["rows"][0]["ends"]
        for end, full in zip(ends, (name, name * 3), strict=True):
            self.assertLessEqual(len(end["name"]), records.MOST_TEXT)
            self.assertTrue(full.startswith(end["name"].removesuffix("…")) or end["name"] == full)

    def test_longNames(self) -> None:
        """Even the longest list has a bound."""
        for _number in range(300):
            first = addTunnel(self.proxy, "\U0001f600" * 10000, "x" * 10000)
            first.uuid = first.subject = "\U0001f600" * 10000
        body = self.made.ask("/api/tunnels", query={"rows": "200"}).body
        self.assertLess(len(body), 2_000_000)

    def test_isCheap(self) -> None:
        """A thousand tunnels: a page that polls every three seconds does not make us sluggish."""
        for number in range(1000):
            addTunnel(self.proxy, f"client {number}", received=number)
        spent = []
        for _time in range(10):
            self.clock.advance(3)
            begin = time.process_time()
            for path in ("/api/status", "/api/tunnels", "/api/waiting", "/api/history"):
                self.get(path, filter="client")
            spent.append(time.process_time() - begin)
        self.assertLess(min(spent), 0.1)


class TurnsTests(SynchronousTestCase):
    """However many connections there are, nobody is held up by those who ask for them."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(turns, "TURN", 0)  # one piece in a turn

    def begin(self, path: str, **query: str) -> Deferred[Answer]:
        """Return an answer that is to be made."""
        made = self.made.admin.answer(Question("GET", path, query, {"host": "localhost"}))
        assert isinstance(made, Deferred)
        return made

    def turns(self, path: str, **query: str) -> int:
        """Return how many turns of the reactor an answer takes."""
        answers: list[Answer] = []
        self.begin(path, **query).addCallback(answers.append)
        clock, turns = self.made.clock, 0
        while not answers:
            oneTurn(clock)
            turns += 1
        self.assertEqual(answers[0].status, 200)
        return turns

    def test_pieces(self) -> None:
        """One for so many connections."""
        self.patch(records, "RECORDS_A_TURN", 10)
        self.patch(rows, "RECORDS_A_TURN", 10)
        paths = ("/metrics", "/api/status", "/api/tunnels", "/api/servers", "/api/waiting")
        self.made = AdminInMemory()
        few = [self.turns(path, filter="a") for path in paths]
        for number in range(100):
            addTunnel(self.made.proxy, "a", "b")
            add(self.made.proxy, role=Role.SERVER, uuid=str(number), name="a")
            add(self.made.proxy, role=Role.CLIENT, serverUuid=str(number))
        self.made.clock.advance(5)
        many = [self.turns(path, filter="a") for path in paths]
        for before, after in zip(few, many, strict=True):
            self.assertGreater(after, before + 35)

    def test_oneServerWithAll(self) -> None:
        """Of all its clients the busiest are shown, and no more are kept."""
        self.patch(records, "RECORDS_A_TURN", 10)
        self.patch(rows, "RECORDS_A_TURN", 10)
        self.made = AdminInMemory()
        add(self.made.proxy, role=Role.SERVER, uuid="u", name="core")
        for number in range(200):
            add(self.made.proxy, role=Role.CLIENT, serverUuid="u", received=number)
        self.made.clock.advance(5)
        self.assertGreater(self.turns("/api/servers"), 60)
        (row,) = json.loads(self.made.ask("/api/servers").body)["rows"]
        self.assertEqual((row["clients"], row["traffic"]), (200, sum(range(200))))
        shown = [end["received"] for end in row["ends"][1:]]
        self.assertEqual(shown, list(range(199, 199 - rows.MOST_CLIENTS, -1)))

    def fill(self) -> None:
        """Let there be so many connections that a list takes several turns."""
        self.patch(records, "RECORDS_A_TURN", 10)
        self.made = AdminInMemory()
        for _number in range(50):
            addTunnel(self.made.proxy)

    def test_sideBySide(self) -> None:
        """One list is made after the other: nothing is kept for those that are not begun."""
        self.fill()
        alone = self.turns("/api/tunnels")
        done: list[int] = []
        for number in range(3):
            self.begin("/api/tunnels").addCallback(
                lambda _answer, number=number: done.append(number)
            )
        for finished in range(3):
            self.assertEqual(len(done), finished)
            for _turn in range(alone):
                oneTurn(self.made.clock)
        self.assertEqual(done, [0, 1, 2])

    def test_gone(self) -> None:
        """Who has left, before or while his list is made, holds up nobody."""
        self.fill()
        asked = [self.begin("/api/tunnels") for _number in range(3)]
        for _turn in range(3):
            oneTurn(self.made.clock)
        for each in asked:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertGreater(self.turns("/api/tunnels"), 3)

    def test_history(self) -> None:
        """An hour is many numbers, too."""
        self.made = AdminInMemory()
        few = self.turns("/api/history")
        for _ in range(3600):
            self.made.clock.rightNow += 1
            self.made.admin._history.add(
                Reading(self.made.clock.rightNow, Load(Totals()), 1e6, 1e6, 0)
            )
        self.assertGreater(self.turns("/api/history"), few + 70)

    def test_goneMeanwhile(self) -> None:
        """A tunnel that ends while the list is made is in it once, or not at all."""
        self.patch(records, "RECORDS_A_TURN", 1)
        for leaves in range(8):
            self.made = AdminInMemory()
            first = addTunnel(self.made.proxy)
            addTunnel(self.made.proxy)
            answers: list[Any] = []
            question = Question("GET", "/api/tunnels", {}, {"host": "localhost"})
            made = self.made.admin.answer(question)
            assert isinstance(made, Deferred)
            made.addCallback(answers.append)
            clock = self.made.clock
            for turn in range(50):
                if turn == leaves:
                    remove(self.made.proxy, first)
                if clock.calls:
                    call = clock.calls.pop(0)
                    call.called = 1
                    call.func(*call.args, **call.kw)
            seen = json.loads(answers[0].body)
            self.assertEqual((seen["all"], len(seen["rows"])), (2, 2))

    def test_serverGoneMeanwhile(self) -> None:
        """A server that leaves while the list is made is in it once, or not at all."""
        self.patch(records, "RECORDS_A_TURN", 1)
        counts = set()
        for leaves in range(8):
            self.made = AdminInMemory()
            add(self.made.proxy, role=Role.SERVER, uuid="stays")
            leaving = add(self.made.proxy, role=Role.SERVER, uuid="leaves")
            question = Question("GET", "/api/servers", {}, {"host": "localhost"})
            answers: list[Any] = []
            made = self.made.admin.answer(question)
            assert isinstance(made, Deferred)
            made.addCallback(answers.append)
            turn = 0
            while not answers:
                if turn == leaves:
                    remove(self.made.proxy, leaving)
                oneTurn(self.made.clock)
                turn += 1
            uuids = [row["ends"][0]["uuid"] for row in json.loads(answers[0].body)["rows"]]
            self.assertEqual(sorted(uuids)[-1], "stays")
            counts.add(len(uuids))
        self.assertEqual(counts, {1, 2})
