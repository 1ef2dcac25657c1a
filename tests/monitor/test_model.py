"""What the monitor makes of several samples: its tables, and its text page."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.monitor.columns import CLIENTS, GAP, SERVERS, TABLES, TUNNELS, Column, Table
from nymearemoteproxy.monitor.model import ROW_HISTORY, Model, arrange
from nymearemoteproxy.monitor.page import line, page
from nymearemoteproxy.monitor.sample import read
from nymearemoteproxy.monitor.text import width
from tests.support.monitored import NOW, client, message, served, server

PROPERTY = settings(max_examples=100, deadline=None, database=None)


def update(model: Model, time: float, *parts: Any, **more: Any) -> None:
    """Give the model a sample with the parts of `message`."""
    model.update(read(message(*parts, **more)), time)


def columnOf(table: Table, title: str) -> Column:
    return table.columns[table.position(title)]


class RateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.model = Model()

    def test_fromTheDifference(self) -> None:
        update(self.model, 10.0, [client(1, rxDataCount=100, txDataCount=1000)])
        (row,) = self.model.clients
        self.assertEqual((row.rateIn, row.rateOut, list(row.history)), (None, None, []))
        update(self.model, 12.0, [client(1, rxDataCount=300, txDataCount=2000)])
        self.assertIs(self.model.clients[0], row)
        self.assertEqual((row.rateIn, row.rateOut, list(row.history)), (100, 500, [600]))
        update(self.model, 13.0, [client(1, rxDataCount=300, txDataCount=2000)])
        self.assertEqual((row.rateIn, row.rateOut, list(row.history)), (0, 0, [600, 0]))

    def test_samplesInQuickSuccession(self) -> None:
        """What is known changes at once, the rate only when there is time enough to tell."""
        update(self.model, 10.0, [client(1, rxDataCount=0)])
        update(self.model, 10.1, [client(1, rxDataCount=100, name="new")])
        (row,) = self.model.clients
        self.assertEqual((row.rateIn, row.peer.name, row.peer.received), (None, "new", 100))
        update(self.model, 11.0, [client(1, rxDataCount=200)])
        self.assertEqual(row.rateIn, 200)

    def test_countsThatGoBack(self) -> None:
        update(self.model, 10.0, [client(1, rxDataCount=500)])
        update(self.model, 11.0, [client(1, rxDataCount=100)])
        self.assertEqual(self.model.clients[0].rateIn, 0)

    def test_sameIdIsAnotherConnection(self) -> None:
        update(self.model, 10.0, [client(1, timestamp=NOW)])
        update(self.model, 11.0, [client(1, timestamp=NOW + 1, rxDataCount=9999)])
        self.assertIsNone(self.model.clients[0].rateIn)

    def test_sameIdTwice(self) -> None:
        for time in (10.0, 11.0):
            update(self.model, time, [client(1), client(1)])
            self.assertEqual(len(self.model.clients), 2)

    def test_leftAndReturned(self) -> None:
        update(self.model, 10.0, [client(1)])
        update(self.model, 11.0, [])
        self.assertEqual(self.model.clients, [])
        update(self.model, 12.0, [client(1)])
        self.assertIsNone(self.model.clients[0].rateIn)

    def test_restart(self) -> None:
        """Another server may give the same ids; what was the throughput is kept."""
        update(self.model, 10.0, [client(1)], [("1", "2")], [server(1)])
        self.model.restart()
        update(self.model, 11.0, [client(1)], [("1", "2")], [server(1)])
        rows = (self.model.clients[0], self.model.tunnels[0], self.model.servers[0])
        self.assertEqual([row.rateIn for row in rows], [None] * 3)
        self.assertEqual(list(self.model.history), [2000, 2000])

    def test_historyIsBounded(self) -> None:
        for second in range(1000):
            update(self.model, second, [client(1), client(2)], [("1", "2")])
        self.assertEqual(len(self.model.clients[0].history), ROW_HISTORY)
        self.assertEqual(len(self.model.tunnels[0].history), ROW_HISTORY)
        self.assertEqual(len(self.model.history), 500)

    def test_tunnel(self) -> None:
        """Its traffic is what its clients send."""
        for time, count in ((10.0, 100), (11.0, 300)):
            both = [
                client(1, rxDataCount=count, txDataCount=0),
                client(2, rxDataCount=10 * count, txDataCount=0),
            ]
            update(self.model, time, both, [("1", "2")])
        (row,) = self.model.tunnels
        self.assertEqual((row.rateIn, row.rateOut, row.traffic), (200, 2000, 3300))
        self.assertEqual(list(row.history), [2200])

    def test_tunnelOfUnknownClients(self) -> None:
        update(self.model, 10.0, [client(1)], [("1", "2")])
        update(self.model, 11.0, [client(1)], [("1", "2")])
        update(self.model, 12.0, [], [("1", "2")])
        (row,) = self.model.tunnels
        self.assertEqual((row.rateIn, row.rateOut, row.traffic), (None, None, 0))
        cells = [column.cell(row, NOW, True) for column in TUNNELS.columns]
        self.assertEqual(cells[:5], ["1", "2", "1m30s", "-", "-"])

    def test_servers(self) -> None:
        for time, count in ((10.0, 0), (11.0, 50)):
            phone = served(2, rxDataCount=count, txDataCount=2 * count)
            update(self.model, time, [], [], [server(1, phone, rxDataCount=10 * count)])
        (house,) = self.model.servers
        (phone_,) = house.children
        self.assertEqual((house.rateIn, phone_.rateIn, phone_.rateOut), (500, 50, 100))

    def test_throughputThatTheServerDoesNotTell(self) -> None:
        """Then it is what the rows received."""
        for time, count in ((10.0, 0), (11.0, 50)):
            content = message(
                [client(1, rxDataCount=count)],
                [],
                [server(1, served(2, rxDataCount=count), rxDataCount=count)],
            )
            del content["proxyStatistic"]["troughput"]
            del content["tunnelProxyStatistic"]["troughput"]
            self.model.update(read(content), time)
            self.assertEqual(self.model.throughput, 150 if count else None)
        self.assertEqual(list(self.model.history), [150])


class ArrangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.model = Model()

    def names(self, table: Table, title: str, isReverse: bool, wanted: str = "") -> list[str]:
        column = columnOf(table, title)
        rows = arrange(
            table.rows(self.model),
            column.value,
            isReverse,
            lambda row: table.matches(row, wanted.casefold()),
        )
        return [depth * "  " + table.columns[0].show(row, NOW) for row, depth in rows]

    def test_anyColumnBothDirections(self) -> None:
        for time in (0, 1, 2):
            update(
                self.model,
                time,
                [client(n, name=f"n{n}", rxDataCount=n * n * time, id=str(n)) for n in range(9)],
                [(str(n), str(n + 1)) for n in range(0, 8, 2)],
                [server(n, served(n), served(n + 1)) for n in range(4)],
            )
        for table in TABLES:
            for column in table.columns:
                values = []
                for isReverse in (False, True):
                    rows = [
                        row
                        for row, depth in arrange(table.rows(self.model), column.value, isReverse)
                        if not depth
                    ]
                    values.append([column.value(row) for row in rows])
                self.assertEqual(values[0], sorted(values[0]), column.title)
                self.assertEqual(values[1], sorted(values[1], reverse=True), column.title)

    def test_wordsWithoutCase(self) -> None:
        update(self.model, 0, [client(n, name=name) for n, name in enumerate("bCaD")])
        self.assertEqual(self.names(CLIENTS, "Name", False), ["a", "b", "C", "D"])

    def test_numbersByValue(self) -> None:
        counts = (900, 2_000_000, 10_000)
        update(self.model, 0, [client(n, rxDataCount=n, name=str(n)) for n in counts])
        self.assertEqual(self.names(CLIENTS, "In", True), ["2000000", "10000", "900"])

    def test_age(self) -> None:
        update(self.model, 0, [client(n, name=str(n)) for n in (3, 1, 2)])
        self.assertEqual(self.names(CLIENTS, "Age", True), ["3", "2", "1"])

    def test_belowServers(self) -> None:
        """Their clients stay with them, in the same order."""
        houses = [server(1, served(1), served(3), served(2)), server(2, served(4))]
        update(self.model, 0, [], [], houses)
        self.assertEqual(
            self.names(SERVERS, "Name", True),
            ["house 2", "  phone 4", "house 1", "  phone 3", "  phone 2", "  phone 1"],
        )

    def test_filterMatchesEveryColumnWithWords(self) -> None:
        odd = client(
            2,
            id="xId",
            name="xName",
            userName="xUser",
            uuid="xUuid",
            address="xAddress",
            tunnelConnected=False,
        )
        update(self.model, 0, [client(1), odd])
        for wanted in ("xid", "XNAME", "xuser", "xuuid", "xaddr", "waiting"):
            self.assertEqual(self.names(CLIENTS, "Name", False, wanted), ["xName"], wanted)
        self.assertEqual(self.names(CLIENTS, "Name", False, "nobody"), [])
        self.assertEqual(len(self.names(CLIENTS, "Name", False, "")), 2)

    def test_filterOfTunnels(self) -> None:
        """By what is known of either client."""
        update(self.model, 0, [client(n) for n in range(4)], [("0", "1"), ("2", "3")])
        for wanted in ("client 3", "192.0.2.3", "user 2", "000003}"):
            self.assertEqual(self.names(TUNNELS, "One", False, wanted), ["client 2"])

    def test_filterOfServers(self) -> None:
        """A server comes with its clients, a client with its server."""
        houses = [server(1, served(1), served(2)), server(2, served(3)), server(3)]
        update(self.model, 0, [], [], houses)
        for wanted, names in (
            ("house 1", ["house 1", "  phone 1", "  phone 2"]),
            ("phone 2", ["house 1", "  phone 2"]),
            ("phone 3", ["house 2", "  phone 3"]),
        ):
            self.assertEqual(self.names(SERVERS, "Name", False, wanted), names)


class LayoutTests(SynchronousTestCase):
    @PROPERTY
    @given(st.sampled_from(TABLES), st.integers(0, 500), st.data())
    def test_fits(self, table: Table, columns: int, data: st.DataObject) -> None:
        hasWorkers = data.draw(st.booleans())
        present = table.present(hasWorkers)
        first = data.draw(st.integers(0, len(present) - 1))
        layout = table.layout(columns, first, hasWorkers)
        self.assertLessEqual(sum(size for _, size in layout) + GAP * (len(layout) - 1), columns)
        for column, size in layout:
            self.assertTrue(column.least <= size <= column.most)
        order = [table.position(column.title) for column, _ in layout]
        self.assertEqual(order, sorted(order))
        if columns >= 60:
            self.assertIn(first, order)
        if columns >= 500:
            self.assertEqual([column for column, _ in layout], list(present))

    def test_workers(self) -> None:
        """Their column is there when the server says which, and is the last one."""
        model = Model()
        update(model, 0, [client(1), client(2)], [("1", "2")], [server(1, served(1))])
        for table in TABLES:
            self.assertNotIn("Worker", page(model, NOW))
            self.assertFalse(any(column.isOfWorkers for column in table.present(model.hasWorkers)))
        clients = [client(1, worker=3), client(2, worker=1)]
        update(model, 1, clients, [("1", "2")], [server(1, served(1, worker=2), worker=1)])
        for table, cells in ((CLIENTS, ["3", "1"]), (TUNNELS, ["3, 1"]), (SERVERS, ["1"])):
            column = table.present(model.hasWorkers)[-1]
            self.assertTrue(column.isOfWorkers)
            rows = table.rows(model)
            self.assertEqual([column.cell(row, NOW, True) for row in rows], cells)
            self.assertIn(column, [each for each, _ in table.layout(100, 0, True)])
        rows = sorted(model.clients, key=columnOf(CLIENTS, "Worker").value)
        self.assertEqual([row.peer.id for row in rows], ["2", "1"])
        self.assertIn("Worker", page(model, NOW))

    def test_whatMattersIsThereInAnOrdinaryTerminal(self) -> None:
        for table, titles in (
            (CLIENTS, ["Name", "State", "Address", "Age", "In/s", "Out/s", "Traffic"]),
            (TUNNELS, ["One", "Two", "Age", "1 to 2/s", "2 to 1/s", "Traffic", "Total"]),
            (SERVERS, ["Name", "Clients", "Address", "Age", "In/s", "Out/s", "Traffic"]),
        ):
            layout = table.layout(78, table.position("Traffic"))
            self.assertEqual([column.title for column, _ in layout], titles)

    def test_titlesFitTheirColumns(self) -> None:
        for table in TABLES:
            for column in table.columns:
                self.assertLessEqual(len(column.title), column.least)
            self.assertEqual(
                len({column.rank for column in table.columns}), len(table.columns), table.title
            )

    def test_historyInASparkline(self) -> None:
        model = Model()
        for time, count in ((0, 0), (1, 0), (2, 700)):
            update(model, time, [client(1, rxDataCount=count, txDataCount=0)])
        cell = columnOf(CLIENTS, "Traffic").cell(model.clients[0], NOW, True)
        self.assertEqual(cell, "        ▁█")


class PageTests(SynchronousTestCase):
    def test_page(self) -> None:
        model = Model()
        update(
            model,
            0,
            [client(1), client(2, tunnelConnected=False, name="客厅", userName="")],
            [("1", "2")],
            [server(1, served(1))],
        )
        # It is what a person sees, so it is here as it is seen.
        self.assertEqual(
            page(model, NOW),
            """\
Server:        home proxy 1.2.3 (API 5)
Throughput:    2.00 kB/s
Token tunnels: 2 clients, 1 tunnel; so far 70 clients, 30 tunnels, 5.00 MB
Tunnel proxy:  1 server, 1 client (WebSocket 1, TCP 1)

CLIENTS
Name      State    Address            Age  In/s  Out/s       In      Out  User    \
Uuid                                    Id
client 1  tunnel   192.0.2.1:40001  1m00s     -      -  1.00 kB  2.00 kB  user 1  \
{5f0ac2b2-5f4f-4d0c-9e2b-000000000001}  1
客厅      waiting  192.0.2.2:40002  2m00s     -      -  2.00 kB  4.00 kB          \
{5f0ac2b2-5f4f-4d0c-9e2b-000000000002}  2

TUNNELS
One       Two     Age  1 to 2/s  2 to 1/s    Total  Address 1        Address 2        User 1  \
User 2  Uuid 1                                  Uuid 2
client 1  客厅  1m30s         -         -  3.00 kB  192.0.2.1:40001  192.0.2.2:40002  user 1  \
        {5f0ac2b2-5f4f-4d0c-9e2b-000000000001}  {5f0ac2b2-5f4f-4d0c-9e2b-000000000002}

SERVERS
Name       Clients  Address               Age  In/s  Out/s     In    Out  \
Uuid                                    Id
house 1          1  203.0.113.1:30001   1h00m     -      -  100 B  200 B  \
{5d0c1c50-9b1f-4d0e-8d8c-000000000001}  s1
└ phone 1           198.51.100.1:50001     1s     -      -   10 B   20 B  \
{b7a3f5de-3a86-4c7e-9a39-000000000001}  c1""",
        )

    def test_empty(self) -> None:
        model = Model()
        model.update(read({"proxyStatistic": {}}), 0)
        self.assertEqual(
            page(model, NOW).splitlines(),
            [
                "Server:        (API -)",
                "Throughput:    -/s",
                "Token tunnels: 0 clients, 0 tunnels; so far 0 clients, 0 tunnels, 0 B",
                "Tunnel proxy:  0 servers, 0 clients",
            ],
        )

    def test_ascii(self) -> None:
        model = Model()
        update(model, 0, [client(1, name="Süd")], [], [server(1, served(1))])
        shown = page(model, NOW, isUnicode=False)
        self.assertTrue(shown.isascii())
        self.assertIn(r"S\xfcd", shown)
        self.assertIn("` phone 1", shown)

    def test_everyTextIsMadeSafe(self) -> None:
        evil = "\x1b]0;owned\x07"
        texts = dict.fromkeys(("id", "address", "name", "userName", "uuid", "clientUuid"), evil)
        content = message(
            [client(1, **texts)],
            [(evil, evil)],
            [server(1, served(1, **texts), **texts, serverUuid=evil)],
            serverName=evil,
            serverVersion=evil,
            apiVersion=evil,
        )
        content["tunnelProxyStatistic"]["transports"] = {evil: 1}
        model = Model()
        model.update(read(content), 0)
        shown = page(model, NOW)
        self.assertEqual([c for c in shown if c != "\n" and not c.isprintable()], [])
        # Server 3, transport 1, client 5, tunnel 8, server and its client 4 each.
        self.assertEqual(shown.count(r"\x1b]0;owned\x07"), 3 + 1 + 5 + 8 + 4 + 4)

    def test_cellsAreNotEndless(self) -> None:
        model = Model()
        update(model, 0, [client(1, name="x" * 10_000)])
        self.assertLess(max(map(width, page(model, NOW).splitlines())), 250)


class LineTests(SynchronousTestCase):
    @PROPERTY
    @given(
        st.dictionaries(st.text(max_size=5), st.text(st.characters(), max_size=9) | st.integers())
    )
    def test_sameContentAndNothingToObey(self, content: dict[str, Any]) -> None:
        written = line(content)
        self.assertEqual(json.loads(written), content)
        self.assertTrue(written.isascii() and written.isprintable())

    def test_compact(self) -> None:
        self.assertEqual(line({"a": [1, 2], "b": "\x7fä"}), r'{"a":[1,2],"b":"\u007f\u00e4"}')
