"""Owns the checks of what is written down: which lines, when, and what privacy leaves of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.accounting import bookkeeping as accounting
from nymearemoteproxy.accounting.bookkeeping import AccountingError, Bookkeeping, Books, TunnelLog
from nymearemoteproxy.accounting.entries import MAX_NAME, EndedTunnel, Interval
from nymearemoteproxy.accounting.linefile import LAST_WORDS, LineFile
from nymearemoteproxy.authentication.backend import Verdict
from nymearemoteproxy.common import paths, turns
from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections.limits import Ticket
from nymearemoteproxy.connections.records import Load, Record, Totals
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.watching.pulse import Pulse
from tests.support.inmemory import InMemory
from tests.support.memory import Pipe

SERVER = "6f4ff7c5-41b1-4a3c-9f3f-3f0f5b0f6b6a"
CLIENT = "0f4ff7c5-41b1-4a3c-9f3f-3f0f5b0f6b6b"
START = 1_700_000_000.0
NOW = START + 61.5


def record(number: int, role: Role = Role.PARTNER, **more: Any) -> Record:
    """Return a connection that is closed."""
    host = more.pop("host", "203.0.113.77")
    address = f"{host}:4242" if host else "unix"
    made = Record(number, "TCP", True, address, "not to be used", host, Ticket(None), START - 5)
    made.role = role
    made.joined = START
    made.outcome = Outcome.CLIENT_LEFT
    for name, value in more.items():
        setattr(made, name, value)
    return made


def digest(uuid: str) -> str:
    """Return what stands for a uuid."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:16]


class TunnelEntryTests(SynchronousTestCase):
    """A line of JSON about a tunnel."""

    def read(
        self, first: Record, second: Record | None, privacy: Privacy = Privacy.FULL
    ) -> dict[str, Any]:
        """Return what the line says, which is ASCII."""
        line = EndedTunnel.of(NOW, first, second).asJson(privacy)
        self.assertTrue(line.isascii())
        self.assertNotIn("\n", line)
        read: dict[str, Any] = json.loads(line)
        return read

    def test_token(self) -> None:
        """Everything, in the order in which the two came, not in which they left."""
        one = record(
            7,
            name="Käthe",
            uuid=f"{{{CLIENT.upper()}}}",
            subject="kaethe@example.org",
            received=10,
            sent=3,
        )
        two = record(9, host="2001:db8::1", received=3, sent=10, secure=False)
        two.address = "[2001:db8::1]:99"
        two.outcome = Outcome.PARTNER_LEFT
        for first, second in ((one, two), (two, one)):
            self.assertEqual(
                self.read(first, second),
                {
                    "time": "2023-11-14T22:14:21.500Z",
                    "started": "2023-11-14T22:13:20.000Z",
                    "duration": 61.5,
                    "kind": "token",
                    "sides": [
                        {
                            "connection": 7,
                            "address": "203.0.113.77:4242",
                            "transport": "TCP",
                            "secure": True,
                            "name": "Käthe",
                            "uuidDigest": digest(CLIENT),
                            "subject": "kaethe@example.org",
                            "received": 10,
                            "sent": 3,
                            "outcome": "client-left",
                        },
                        {
                            "connection": 9,
                            "address": "[2001:db8::1]:99",
                            "transport": "TCP",
                            "secure": False,
                            "name": "",
                            "uuidDigest": None,
                            "subject": None,
                            "received": 3,
                            "sent": 10,
                            "outcome": "partner-left",
                        },
                    ],
                },
            )

    def test_tunnelProxy(self) -> None:
        """A server's uuid opens its door, so that a digest stands for it, the same everywhere."""
        server = record(1, Role.SERVER, name="core", uuid=SERVER)
        client = record(2, Role.CLIENT, name="app", uuid=CLIENT, serverUuid=SERVER)
        read = self.read(server, None)
        self.assertEqual((read["kind"], read["server"]), ("tunnel-proxy-server", digest(SERVER)))
        (side,) = read["sides"]
        self.assertEqual((side["name"], side["uuidDigest"]), ("core", digest(SERVER)))
        self.assertNotIn(SERVER, str(read))
        read = self.read(client, None)
        self.assertEqual((read["kind"], read["server"]), ("tunnel-proxy-client", digest(SERVER)))
        (side,) = read["sides"]
        self.assertEqual((side["name"], side["uuidDigest"]), ("app", digest(CLIENT)))
        self.assertNotIn(SERVER, str(read))

    def test_privacy(self) -> None:
        """What tells one household from the next is left out with the address."""
        personal = {"name": "Käthe", "uuid": CLIENT, "subject": "kaethe"}
        tunnels = (
            (record(1, **personal), record(2, **personal)),
            (record(1, Role.SERVER, **personal), None),
            (record(1, Role.CLIENT, serverUuid=SERVER, **personal), None),
        )
        rest = {"connection", "transport", "secure", "received", "sent", "outcome"}
        for first, second in tunnels:
            read = self.read(first, second, Privacy.SHORTENED)
            self.assertNotIn("server", read)
            for side in read["sides"]:
                self.assertEqual(side.keys(), rest | {"address"})
                self.assertEqual(side["address"], "203.0.113.0")
            read = self.read(first, second, Privacy.NONE)
            self.assertNotIn("server", read)
            for side in read["sides"]:
                self.assertEqual(side.keys(), rest)
            self.assertNotIn("203", str(read["sides"]))

    def test_unix(self) -> None:
        """Who has no address needs no protection of it."""
        for privacy, address in ((Privacy.FULL, "unix"), (Privacy.SHORTENED, "unix")):
            read = self.read(record(1, host=""), record(2, host=""), privacy)
            self.assertEqual(read["sides"][0]["address"], address)

    def test_longNames(self) -> None:
        """Clients choose them."""
        long = "\N{PILE OF POO}" * 5000
        line = EndedTunnel.of(NOW, record(1, name=long, uuid=long), record(2)).asJson(Privacy.FULL)
        self.assertLess(len(line), MAX_NAME * len(r"\ud83d\udca9") + 1000)
        self.assertEqual(json.loads(line)["sides"][0]["name"], long[:MAX_NAME])

    @given(st.text(st.characters()))
    def test_anyName(self, name: str) -> None:
        """None breaks the line, not even half a surrogate pair."""
        read = self.read(record(1, name=name, uuid=name, subject=name), record(2))
        side = read["sides"][0]
        self.assertEqual(side["name"], name[:MAX_NAME])
        self.assertEqual(side["subject"], name)

    def test_noOutcome(self) -> None:
        """It is what the log says then."""
        read = self.read(record(1, outcome=None), record(2))
        self.assertEqual(read["sides"][0]["outcome"], "connection-lost")


class TunnelTextTests(SynchronousTestCase):
    """A line of the C++ server."""

    def text(self, first: Record, second: Record, privacy: Privacy = Privacy.FULL) -> str:
        line = EndedTunnel.of(NOW, first, second).asText(privacy)
        assert line is not None
        return line

    def test_fields(self) -> None:
        """Now, beginning, user, two addresses without port, traffic of the first client."""
        one = record(1, subject="user@example.org", received=100, sent=23)
        two = record(2, host="2001:db8::1", received=999, sent=999)
        expected = "1700000061 1700000000 user@example.org 203.0.113.77 2001:db8::1 123"
        self.assertEqual(self.text(two, one), expected)
        self.assertEqual(self.text(one, two), expected)

    def test_user(self) -> None:
        """The first client's; the other's if it has none; always one field."""
        for subjects, user in (
            (("one", "two"), "one"),
            ((None, "two"), "two"),
            (("", None), "-"),
            (("a b\tc\n%", None), "a%20b%09c%0A%25"),
            (("Käthe", None), "K%C3%A4the"),
        ):
            one, two = record(1, subject=subjects[0]), record(2, subject=subjects[1])
            self.assertEqual(self.text(one, two).split(" ")[2], user)

    def test_privacy(self) -> None:
        one, two = record(1, subject="user"), record(2, host="2001:db8:1:2::1")
        self.assertEqual(
            self.text(one, two, Privacy.SHORTENED),
            "1700000061 1700000000 - 203.0.113.0 2001:db8:1:: 0",
        )
        self.assertEqual(
            self.text(one, two, Privacy.NONE), "1700000061 1700000000 - hidden hidden 0"
        )

    @given(st.text(st.characters()), st.text(st.characters()), st.sampled_from(Privacy))
    def test_sixFields(self, subject: str, host: str, privacy: Privacy) -> None:
        """Whatever they say."""
        line = self.text(record(1, subject=subject, host=host), record(2), privacy)
        self.assertTrue(line.isascii())
        self.assertTrue(line.isprintable())
        self.assertEqual(len(line.split(" ")), 6)
        self.assertNotIn("", line.split(" "))

    def test_tokenTunnelsOnly(self) -> None:
        for role in (Role.SERVER, Role.CLIENT):
            tunnel = EndedTunnel.of(NOW, record(1, role), None)
            self.assertIsNone(tunnel.asText(Privacy.FULL))


class IntervalTests(SynchronousTestCase):
    """A line about an interval."""

    def setUp(self) -> None:
        before = Load(
            Totals(10, 5, 1000, 2, 3, 500),
            received=Counter({"TCP": 1000}),
            sent=Counter({"TCP": 900}),
        )
        load = Load(
            Totals(17, 8, 1600, 3, 7, 900),
            connections=Counter(
                {("WebSocket", "tunneled"): 4, ("TCP", "waiting"): 1, ("TCP", "tunneled"): 3}
            ),
            tunnels=2,
            servers=1,
            clients=3,
            received=Counter({"TCP": 1500, "WebSocket": 500}),
            sent=Counter({"TCP": 1400, "WebSocket": 450}),
        )
        outcomes = Counter({Outcome.CLIENT_LEFT: 3, Outcome.ALONE_TIMEOUT: 1})
        self.interval = Interval(NOW, 2.5, before, load, outcomes, 0.0314159)

    def test_json(self) -> None:
        self.assertEqual(
            json.loads(self.interval.asJson()),
            {
                "time": "2023-11-14T22:14:21.500Z",
                "interval": 2.5,
                "connections": {"TCP": {"tunneled": 3, "waiting": 1}, "WebSocket": {"tunneled": 4}},
                "tunnels": 2,
                "servers": 1,
                "clients": 3,
                "newConnections": 7,
                "newTunnels": 3,
                "newServers": 1,
                "newClients": 4,
                "received": 1000,
                "sent": 950,
                "throughput": 400,
                "outcomes": {"client-left": 3, "alone-timeout": 1},
                "delay": 0.031,
            },
        )

    def test_text(self) -> None:
        """Time, tunnels, connections without the tunnel proxy's, bytes per second."""
        self.assertEqual(self.interval.asText(), "1700000061 2 4 240")

    def test_textNeverNegative(self) -> None:
        """A connection that registers takes its first bytes along."""
        self.interval.load.totals.traffic = 900
        self.assertEqual(self.interval.asText(), "1700000061 2 4 0")


class DocumentationTests(SynchronousTestCase):
    """docs/accounting.rst tells what each field means."""

    def test_fields(self) -> None:
        page = Path(__file__).resolve().parents[2] / "docs" / "accounting.rst"
        terms = re.findall(r"^(?:``\w+``(?:, )?)+$", page.read_text(encoding="utf-8"), re.MULTILINE)
        documented = {name for term in terms for name in re.findall(r"``(\w+)``", term)}
        client = record(1, Role.CLIENT, uuid=CLIENT, serverUuid=SERVER)
        tunnel = json.loads(EndedTunnel.of(NOW, client, None).asJson(Privacy.FULL))
        interval = json.loads(
            Interval(NOW, 1, Load(Totals()), Load(Totals()), Counter(), 0).asJson()
        )
        self.assertEqual(documented, {*tunnel, *tunnel["sides"][0], *interval})


class AccountingCase(InMemory):
    """A proxy with accounting."""

    def setUp(self) -> None:
        super().setUp()
        self.clock.advance(START)
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.patch(os, "environ", {"STATE_DIRECTORY": str(self.directory / "state")})
        self.pulse = Pulse(self.clock, self.proxy.registry.counters)

    def make(self, **given: Any) -> Bookkeeping:
        """Make what is asked for with the parameters of `Books`."""
        calendar = Calendar(self.clock, self.clock.seconds)
        return Bookkeeping(self.clock, Books(**given), self.proxy, calendar)

    def start(self, **given: Any) -> Bookkeeping:
        """Make and start it; it stops with the test."""
        accounting = self.make(**given)
        accounting.start(self.pulse)
        self.pulse.start()
        self.addCleanup(self.stop, accounting)
        return accounting

    def stop(self, accounting: Bookkeeping) -> None:
        """Stop it."""
        self.successResultOf(accounting.stop())

    def path(self, name: str) -> str:
        """Return a path in the directory of this test."""
        return str(self.directory / name)

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file."""
        return (self.directory / name).read_text().splitlines()

    def entries(self, name: str) -> list[dict[str, Any]]:
        """Return what the lines of a file say."""
        return [json.loads(line) for line in self.lines(name)]

    def leave(self, pipe: Pipe) -> None:
        """Let a client leave, and its partner too."""
        pipe.lose(ConnectionDone())
        self.clock.advance(0)


class TunnelLogTests(AccountingCase):
    """Tunnels that end."""

    def endTunnel(self) -> None:
        """Let two clients have a tunnel for a second and a half."""
        one, two = self.join("TCP", "TCP")
        self.clock.advance(1.5)
        one.receive(b"payload")
        one.lose(ConnectionDone())
        two.lose(ConnectionDone())
        self.clock.advance(0)

    def test_line(self) -> None:
        self.start(tunnelLog=self.path("tunnels"))
        self.endTunnel()
        (entry,) = self.entries("tunnels")
        self.assertEqual(entry["duration"], 1.5)
        self.assertEqual([side["connection"] for side in entry["sides"]], [1, 2])
        self.assertEqual(
            [side["outcome"] for side in entry["sides"]], ["client-left", "partner-left"]
        )
        one, two = entry["sides"]
        self.assertEqual(one["address"], "127.0.0.1:1")
        self.assertGreater(one["received"], two["received"])

    def test_onlyTunnels(self) -> None:
        """Who never had a partner is not in it."""
        self.start(tunnelLog=self.path("tunnels"))
        pipe = self.open("TCP")
        self.authenticate(pipe)
        self.leave(pipe)
        self.assertEqual(self.lines("tunnels"), [])

    def test_noSecrets(self) -> None:
        """Neither token nor nonce, in any file."""
        self.start(
            tunnelLog=self.path("tunnels"),
            statisticsLog=self.path("statistics"),
            isText=True,
            textDirectory=str(self.directory),
        )
        one, two = self.open("TCP"), self.open("TCP")
        for pipe in (one, two):
            self.authenticate(pipe, nonce="secret nonce", name="n", uuid=f"u{id(pipe)}")
        self.leave(one)
        self.leave(two)
        self.clock.advance(60)
        self.assertEqual(len(self.lines("tunnels")), 1)
        for path in self.directory.iterdir():
            if path.is_file():
                self.assertNotIn("secret", path.read_text())

    def test_privacyAtOnce(self) -> None:
        """A stricter setting applies to the tunnels that are up, too."""
        self.start(tunnelLog=self.path("tunnels"))
        self.endTunnel()
        self.proxy.registry.privacy = Privacy.NONE
        self.endTunnel()
        first, second = self.lines("tunnels")
        self.assertIn("127.0.0", first)
        self.assertNotIn("127.0.0", second)

    def test_reopen(self) -> None:
        accounting = self.start(tunnelLog=self.path("tunnels"))
        self.endTunnel()
        os.rename(self.path("tunnels"), self.path("old"))
        accounting.reopen()
        self.endTunnel()
        self.assertEqual((len(self.lines("old")), len(self.lines("tunnels"))), (1, 1))

    def test_subject(self) -> None:
        """The authentication backend names the user."""
        self.backend.authenticate = lambda token: succeed(Verdict(True, "Käthe K"))  # type: ignore[method-assign]
        self.start(
            tunnelLog=self.path("tunnels"),
            isText=True,
            textDirectory=str(self.directory),
        )
        self.endTunnel()
        (entry,) = self.entries("tunnels")
        self.assertEqual(entry["sides"][0]["subject"], "Käthe K")
        (line,) = self.lines("nymea-remoteproxy-tunnels.log")
        self.assertEqual(line.split(" ")[2], "K%C3%A4the%20K")


class TunnelProxyLogTests(AccountingCase):
    """Servers and clients of the tunnel proxy."""

    terms = Terms()

    def test_lines(self) -> None:
        """One for each, when it ends; they name the same server."""
        self.start(
            tunnelLog=self.path("tunnels"),
            isText=True,
            textDirectory=str(self.directory),
        )
        server, client = self.open("TCP"), self.open("TCP")
        self.call(server, "TunnelProxy.RegisterServer", serverName="core", serverUuid=SERVER)
        uuids = {"clientUuid": CLIENT, "serverUuid": SERVER}
        self.call(client, "TunnelProxy.RegisterClient", clientName="app", **uuids)
        self.leave(client)
        self.clock.advance(2)
        self.leave(server)
        first, second = self.entries("tunnels")
        self.assertEqual(
            [first["kind"], second["kind"]], ["tunnel-proxy-client", "tunnel-proxy-server"]
        )
        self.assertEqual(first["server"], second["server"])
        self.assertEqual((first["duration"], second["duration"]), (0, 2))
        self.assertEqual(first["sides"][0]["uuidDigest"], digest(CLIENT))
        self.assertEqual(self.lines("nymea-remoteproxy-tunnels.log"), [])


class ManyTunnelsTests(AccountingCase):
    """They end all at once."""

    def end(self, count: int) -> None:
        """Let many tunnels end in one turn of the reactor."""
        for _ in range(count):
            one, two = self.join("TCP", "TCP")
            one.lose(ConnectionDone())
            two.lose(ConnectionDone())

    def test_slices(self) -> None:
        """A slice of them is written down in one turn, all in the end, in their order."""
        self.patch(turns, "TURN", 0)  # one piece in a turn
        self.patch(accounting, "TUNNELS_A_TURN", 3)
        self.start(tunnelLog=self.path("tunnels"))
        written: list[int] = []
        format = EndedTunnel.asJson
        (log,) = [each for each in self.proxy.registry.observers if isinstance(each, TunnelLog)]

        def look(tunnel: EndedTunnel, privacy: Privacy) -> str:
            written.append(tunnel.sides[0].number)
            return format(tunnel, privacy)

        log._format = look
        for number in range(8):
            log.tunnelEnded(record(number), record(number + 100))
        counts = []
        while log._isWriting:
            call = self.clock.calls.pop(0)
            call.called = 1
            call.func(*call.args, **call.kw)
            counts.append(len(written))
        self.assertEqual(sorted(set(counts)), [3, 6, 8])
        self.assertEqual(written, list(range(8)))

    def test_stop(self) -> None:
        """What is not written yet is written at the end."""
        accounting = self.start(tunnelLog=self.path("tunnels"))
        self.end(120)
        self.stop(accounting)
        self.assertEqual(len(self.entries("tunnels")), 120)

    def test_fault(self) -> None:
        """One that cannot be described keeps no other from being written down."""
        self.start(tunnelLog=self.path("tunnels"))
        self.end(2)
        (log,) = [each for each in self.proxy.registry.observers if isinstance(each, TunnelLog)]
        log._ended[0].sides[0].role = None
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(AssertionError)), 1)
        self.assertEqual(len(self.entries("tunnels")), 1)


class StatisticsLogTests(AccountingCase):
    """Intervals."""

    def startEvery(self, milliseconds: int, **more: str) -> Bookkeeping:
        """Write statistics so often."""
        return self.start(
            statisticsLog=self.path("statistics"),
            interval=milliseconds / 1000,
            **more,
        )

    def times(self) -> list[tuple[float, str]]:
        """Return length and end of each interval."""
        return [(entry["interval"], entry["time"][-10:-1]) for entry in self.entries("statistics")]

    def test_atIntervalEnds(self) -> None:
        """Not drifting, though the reactor is always a little late."""
        self.startEvery(10_000)
        for _ in range(103):
            self.clock.advance(0.3)
        ends = [float(end[3:]) for _, end in self.times()]
        self.assertEqual([round(end, -1) for end in ends], [30, 40, 50])
        self.assertLess(max(ends[0] - 30, ends[1] - 40, ends[2] - 50), 0.31)

    def test_busy(self) -> None:
        """When whole intervals are missed, one line is for all of them."""
        self.startEvery(10_000)
        self.clock.advance(35)
        self.clock.advance(5)
        self.clock.advance(0)
        self.assertEqual(self.times(), [(35, "13:55.000"), (5, "14:00.000")])

    def test_lastIsPartial(self) -> None:
        accounting = self.startEvery(10_000)
        self.clock.advance(10)
        self.clock.advance(2.5)
        self.open("TCP")
        self.stop(accounting)
        self.assertEqual([interval for interval, _ in self.times()], [10, 2.5])
        self.assertEqual(self.entries("statistics")[1]["newConnections"], 1)
        self.clock.advance(100)
        self.assertEqual(len(self.times()), 2)

    def test_whatHappened(self) -> None:
        """Each thing is in one interval."""
        self.startEvery(10_000)
        one, two = self.join("TCP", "WebSocket")
        self.clock.advance(10)
        one.receive(b"x" * 1000)
        self.clock.advance(1)
        self.leave(one)
        self.leave(two)
        self.clock.advance(9)
        self.clock.advance(10)
        entries = self.entries("statistics")
        self.assertEqual([entry["newConnections"] for entry in entries], [2, 0, 0])
        self.assertEqual([entry["newTunnels"] for entry in entries], [1, 0, 0])
        self.assertEqual([entry["tunnels"] for entry in entries], [1, 0, 0])
        self.assertEqual([entry["received"] for entry in entries][1:], [1000, 0])
        self.assertEqual([entry["throughput"] for entry in entries][1:], [100, 0])
        self.assertGreaterEqual(entries[1]["sent"], 1000)
        self.assertEqual(
            [entry["connections"] for entry in entries],
            [{"TCP": {"tunneled": 1}, "WebSocket": {"tunneled": 1}}, {}, {}],
        )
        self.assertEqual(entries[0]["outcomes"], {})
        self.assertEqual(sum(entries[1]["outcomes"].values()), 2)
        self.assertEqual(entries[2]["outcomes"], {})

    def test_delay(self) -> None:
        """The longest of the interval."""
        self.startEvery(10_000)
        self.clock.pump([1, 1, 1.5, 1, 1.25])
        self.clock.pump([1] * 5)
        self.clock.pump([1] * 10)
        self.assertEqual([entry["delay"] for entry in self.entries("statistics")], [0.5, 0])

    def test_connecting(self) -> None:
        """A WebSocket client that says nothing is counted like others."""
        self.startEvery(1000)
        self.accept("WebSocket")
        self.open("WebSocket")
        self.clock.advance(1)
        (entry,) = self.entries("statistics")
        self.assertEqual(
            entry["connections"], {"WebSocket": {"connecting": 1, "unauthenticated": 1}}
        )

    def test_stopWhileCounting(self) -> None:
        """The last interval is as long as it gets, and what is counted then is not written."""
        counting: Deferred[Load] = Deferred()
        accounting = self.startEvery(10_000)
        self.patch(self.proxy.registry.counters, "count", lambda: counting)
        self.pulse.stop()
        self.clock.advance(10)
        self.clock.advance(1)
        self.stop(accounting)
        counting.callback(self.proxy.registry.counters.load())
        self.clock.advance(0)
        self.assertEqual([interval for interval, _ in self.times()], [11])

    def test_faultAtTheEnd(self) -> None:
        """What cannot be written keeps nothing else from being kept."""
        accounting = self.startEvery(10_000)
        self.open("TCP")
        self.patch(LineFile, "write", lambda _file, _line: 1 // 0)
        self.stop(accounting)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        kept = json.loads((self.directory / "state" / "totals.json").read_text())
        self.assertEqual(kept["connections"], 1)

    def test_failureIsNotTheLast(self) -> None:
        """What goes wrong once need not go wrong again."""
        self.startEvery(1000)
        broken = self.patch(LineFile, "write", lambda _file, _line: 1 // 0)
        self.clock.pump([1, 1])
        broken.restore()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.times()), 1)

    def test_endsAsItBegins(self) -> None:
        accounting = self.startEvery(10_000)
        self.stop(accounting)
        self.assertEqual([interval for interval, _ in self.times()], [0.001])

    def test_fault(self) -> None:
        """A fault of ours ends this, and nothing else."""
        self.startEvery(10_000, totalsFile=self.path("totals"))
        self.patch(self.proxy.registry.counters, "outcomes", None)
        self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_totalsAreNotTraffic(self) -> None:
        """What was counted before this start is in no interval, and not in the pulse."""
        Path(self.path("totals")).write_text('{"traffic": 1000000, "connections": 5000}')
        accounting = self.make(
            statisticsLog=self.path("statistics"),
            totalsFile=self.path("totals"),
        )
        self.pulse = Pulse(self.clock, self.proxy.registry.counters)
        accounting.start(self.pulse)
        self.pulse.start()
        self.assertEqual(self.proxy.registry.counters.totals.connections, 5000)
        self.clock.advance(1)
        self.assertEqual(self.pulse.latest.throughput, 0)
        self.pulse.stop()
        self.stop(accounting)
        self.assertEqual(self.entries("statistics")[0]["newConnections"], 0)


class EngineLogTests(AccountingCase):
    """The text files of the C++ server."""

    def startEngine(self, directory: str) -> Bookkeeping:
        return self.start(
            isText=True,
            textDirectory=directory,
            interval=1.0,
        )

    def test_files(self) -> None:
        self.startEngine(str(self.directory))
        one, two = self.join("TCP", "TCP")
        self.clock.advance(1)
        self.leave(one)
        self.leave(two)
        (line,) = self.lines("nymea-remoteproxy-tunnels.log")
        self.assertRegex(line, r"^1700000001 1700000000 - 127\.0\.0\.1 127\.0\.0\.1 \d+$")
        (line,) = self.lines("nymea-remoteproxy-statistics.log")
        self.assertRegex(line, r"^1700000001 1 2 \d+$")

    def test_directory(self) -> None:
        """What systemd says, as far as nothing else is said."""
        os.environ["LOGS_DIRECTORY"] = f"{self.directory}:/nonexistent"
        self.start(isText=True)
        self.assertEqual(self.lines("nymea-remoteproxy-tunnels.log"), [])

    def test_defaultDirectory(self) -> None:
        """The C++ server's."""
        self.patch(paths, "LOGS_DIRECTORY", str(self.directory))
        for value in ({}, {"LOGS_DIRECTORY": ""}):
            os.environ.update(value)
            self.start(isText=True)
            self.assertEqual(self.lines("nymea-remoteproxy-tunnels.log"), [])
            os.unlink(self.path("nymea-remoteproxy-tunnels.log"))

    def test_cannotBeWritten(self) -> None:
        """A file of the C++ server loads and starts all the same; one warning says so."""
        os.mkdir(self.path("nymea-remoteproxy-statistics.log"))
        before = set(os.listdir("/proc/self/fd"))
        for directory, reason in (
            (self.path("nowhere"), "No such file or directory"),
            (str(self.directory), "Is a directory"),
        ):
            accounting = self.startEngine(directory)
            self.leave(self.open("TCP"))
            self.clock.advance(5)
            accounting.reopen()
            (warning,) = [event for event in self.events if event["log_level"].name != "info"]
            self.assertIn(directory, warning["directory"])
            self.assertEqual(warning["reason"], reason)
            self.assertEqual(self.proxy.registry.observers, [])
            self.events.clear()
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)

    def test_beside(self) -> None:
        """Both kinds of files at once."""
        self.start(
            isText=True,
            textDirectory=str(self.directory),
            statisticsLog=self.path("statistics"),
            interval=1.0,
        )
        self.clock.advance(1)
        self.assertEqual(len(self.lines("statistics")), 1)
        self.assertEqual(len(self.lines("nymea-remoteproxy-statistics.log")), 1)


class SettingsTests(AccountingCase):
    """What there is, and what is a mistake."""

    def test_nothing(self) -> None:
        """By default only the totals are kept, and the pulse has nobody to beat for."""
        self.start()
        self.assertEqual(self.pulse.listeners, [])
        self.assertEqual(self.proxy.registry.observers, [])
        self.leave(self.open("TCP"))
        self.clock.advance(5)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["state"])
        totals = json.loads((self.directory / "state" / "totals.json").read_text())
        self.assertEqual(totals["connections"], 1)

    def test_run(self) -> None:
        """No file is written but by what was given for that."""
        jobs: list[object] = []
        accounting = Bookkeeping(
            self.clock,
            Books(),
            self.proxy,
            Calendar(self.clock, self.clock.seconds),
            lambda: lambda job, _done: jobs.append(job),
        )
        accounting.start(self.pulse)
        self.leave(self.open("TCP"))
        self.clock.advance(5)
        self.assertEqual(len(jobs), 1)
        self.assertEqual(list(self.directory.iterdir()), [])
        accounting.stop()
        self.clock.advance(LAST_WORDS)

    def test_cannotBeWritten(self) -> None:
        """Whoever names a file wants it."""
        for name, what in (("tunnelLog", "tunnel log"), ("statisticsLog", "statistics log")):
            path = self.path("nowhere/file")
            mistake = self.assertRaises(AccountingError, self.make, **{name: path})
            self.assertEqual(
                str(mistake), f"cannot write the {what} {path}: No such file or directory"
            )

    def test_noHome(self) -> None:
        """As in a container whose user is only a number."""
        del os.environ["STATE_DIRECTORY"]

        def noHome() -> Path:
            raise RuntimeError("Could not determine home directory.")

        self.patch(Path, "home", noHome)
        self.start()
        (event,) = self.events
        self.assertEqual(event["log_level"].name, "warn")
        self.leave(self.open("TCP"))
        self.clock.advance(100)

    def test_authenticated(self) -> None:
        """Observers are told of it; here nothing follows."""
        self.start(tunnelLog=self.path("tunnels"))
        for each in self.proxy.registry.observers:
            each.authenticated(1.0)
        self.clock.advance(0)
        self.assertEqual(self.lines("tunnels"), [])
