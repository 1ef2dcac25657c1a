"""The full-screen view, in memory: what is shown, and what keys do."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.monitor import columns as columnsModule
from nymearemoteproxy.monitor.columns import Column
from nymearemoteproxy.monitor.model import Model
from nymearemoteproxy.monitor.orders import Order
from nymearemoteproxy.monitor.sample import read
from nymearemoteproxy.monitor.text import width
from nymearemoteproxy.monitor.view import KEYS, SELECTED, SORTED, TAB, TROUBLE, View
from tests.support.monitored import NOW, client, crowd, message, served, server

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "monitor.rst"

PROPERTY = settings(max_examples=100, deadline=None, database=None)

ALL_KEYS = [
    *"123kj<>r/a?hq xyRD",
    *("tab", "backtab", "up", "down", "left", "right", "pageup", "pagedown", "home", "end"),
    *("enter", "escape", "backspace", "another"),
]
NAMES = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["\x1b]0;owned\x07", "客厅客厅客厅客厅客厅客厅", "u\u0308" * 30, "", "\u0316" * 9, "x" * 300]
)


class ViewCase(SynchronousTestCase):
    """A view with a model behind it."""

    def setUp(self) -> None:
        self.model = Model()
        self.seconds = 0
        self.printsAll: list[bool] = []
        self.orders: list[Order] = []
        self.view = self.makeView()

    def makeView(self, **more: Any) -> View:
        return View(
            self.model,
            lambda: NOW,
            onPrintAll=self.printsAll.append,
            onOrder=self.orders.append,
            **more,
        )

    def update(self, *parts: Any, **more: Any) -> None:
        """A sample, a second after the last."""
        self.seconds += 1
        self.model.update(read(message(*parts, **more)), self.seconds)
        self.view.update()

    def keys(self, *names: str) -> None:
        for name in names:
            self.view.key(name)

    def screen(self, columns: int = 80, rows: int = 24) -> list[str]:
        """Return the lines without looks."""
        lines = self.view.lines(columns, rows)
        return ["".join(text for _, text in line).rstrip() for line in lines]

    def styled(self, style: int, columns: int = 80, rows: int = 24) -> list[str]:
        """Return the texts of a style, joined where they are next to each other in a line."""
        found = []
        for line in self.view.lines(columns, rows):
            texts = [text for one, text in line if one == style]
            if texts:
                found.append("".join(texts).strip())
        return found

    def names(self, columns: int = 80, rows: int = 24) -> list[str]:
        """Return the first cells of the table's rows."""
        return [line[1:14].strip() for line in self.screen(columns, rows)[6:-1] if line]


class ScreenTests(ViewCase):
    def test_everything(self) -> None:
        for count in (0, 1):
            self.update(
                [
                    client(1, rxDataCount=1500 * count, txDataCount=0),
                    client(2, name="客厅", tunnelConnected=False, txDataCount=500 * count),
                ],
                [("1", "2")],
                [server(1, served(1))],
            )
        self.assertEqual(
            self.screen(80, 12),
            [
                " nymea-remoteproxy-monitor  home proxy 1.2.3 (API 5)",
                " Token tunnels: 2 clients, 1 tunnel; so far 70 clients, 30 tunnels, 5.00 MB",
                " Tunnel proxy:  1 server, 1 client (WebSocket 1, TCP 1)",
                " Throughput:    2.00 kB/s" + 52 * " " + "██",
                "  1 Clients 2   2 Tunnels 1   3 Servers 1",
                " Name           State   Address                  Age    In/s   Out/s    Traffic↓",
                " client 1       tunnel  192.0.2.1:40001        1m00s 1.50 kB     0 B          █",
                " 客厅           waiting 192.0.2.2:40002        2m00s     0 B   500 B          █",
                "",
                "",
                "",
                " q quit  ? help  Tab table  ←→ sort  r reverse  / filter  ↑↓ select  … 1-2 of 2",
            ],
        )

    def test_tables(self) -> None:
        self.update([client(1), client(2)], [("1", "2")], [server(1, served(1)), server(2)])
        for key, tab, names in (
            ("1", "1 Clients 2", ["client 1", "client 2"]),
            ("2", "2 Tunnels 1", ["client 1"]),
            ("3", "3 Servers 2", ["house 1", "└ phone 1", "house 2"]),
            ("tab", "1 Clients 2", ["client 1", "client 2"]),
            ("backtab", "3 Servers 2", ["house 1", "└ phone 1", "house 2"]),
        ):
            self.keys(key)
            self.assertEqual(self.styled(TAB), [tab])
            self.assertEqual(self.names(), names)

    def test_empty(self) -> None:
        for key, text in (("1", "no clients"), ("2", "no tunnels"), ("3", "no servers")):
            self.keys(key)
            self.assertIn(f" {text}", self.screen())
            self.assertTrue(self.screen()[-1].endswith("0-0 of 0"))

    def test_wide(self) -> None:
        """Whatever there is has room in a wide terminal."""
        self.update([client(1)])
        (row,) = (line for line in self.screen(250) if "client 1" in line)
        for text in ("user 1", "{5f0ac2b2-5f4f-4d0c-9e2b-000000000001}", "1.00 kB", "2.00 kB"):
            self.assertIn(text, row)

    def test_small(self) -> None:
        self.update([client(1)])
        for columns, rows in ((39, 24), (80, 9), (1, 1), (5, 3)):
            lines = self.screen(columns, rows)
            self.assertEqual(len(lines), rows)
            self.assertTrue(lines[0].startswith("needs 40x10"[: columns - 1]), lines)
        self.assertEqual(self.screen(80, 0), [])

    def test_trouble(self) -> None:
        self.update([client(1)])
        self.view.trouble = "the server has closed the connection\x1b"
        self.assertEqual(self.styled(TROUBLE), [r"the server has closed the connection\x1b"])
        self.assertEqual(self.names(), ["client 1"])
        self.view.trouble = ""
        self.assertEqual(self.styled(TROUBLE), [])

    def test_ascii(self) -> None:
        self.view = self.makeView(isUnicode=False)
        self.update([client(1, name="Süd")], [], [server(1, served(1))])
        self.update([client(1, name="Süd")], [], [server(1, served(1))])
        for keys in ((), ("?",), ("?", "3"), ("enter",), ("/", "ü")):
            self.keys(*keys)
            shown = "\n".join(self.screen())
            self.assertTrue(shown.isascii(), shown)

    @PROPERTY
    @given(
        st.lists(st.tuples(NAMES, NAMES, NAMES), max_size=6),
        st.lists(st.sampled_from(ALL_KEYS), max_size=12),
        st.integers(0, 150),
        st.integers(0, 40),
        st.booleans(),
    )
    def test_alwaysFillsTheScreenAndNothingElse(
        self,
        texts: list[tuple[str, str, str]],
        keys: list[str],
        columns: int,
        rows: int,
        isUnicode: bool,
    ) -> None:
        self.setUp()
        self.view = self.makeView(isUnicode=isUnicode)
        clients = [
            client(n, name=name, address=address, userName=user)
            for n, (name, address, user) in enumerate(texts)
        ]
        houses = [
            server(n, served(n, name=name), name=user) for n, (name, _, user) in enumerate(texts)
        ]
        self.update(
            clients, [("0", "1"), ("2", "99")], houses, serverName=texts[0][0] if texts else ""
        )
        for key in keys:
            self.keys(key)
            lines = self.view.lines(columns, rows)
            self.assertEqual(len(lines), rows)
            for line in lines:
                self.assertEqual(sum(width(text) for _, text in line), columns)
                for character in "".join(text for _, text in line):
                    self.assertTrue(
                        character == " " or unicodedata.category(character)[0] in "LMNPS",
                        character,
                    )
        self.update([], [], [])
        self.view.lines(columns, rows)

    def test_onlyVisibleRowsAreSpelledOut(self) -> None:
        spelled = 0
        cell = Column.cell

        def counting(self: Column, *arguments: Any) -> str:
            nonlocal spelled
            spelled += 1
            return cell(self, *arguments)

        self.patch(columnsModule.Column, "cell", counting)
        self.model.update(read(crowd(5000)), 1)
        self.view.update()
        self.screen(80, 24)
        self.assertEqual(spelled, 7 * 17)


class KeyTests(ViewCase):
    def many(self, count: int = 100) -> None:
        """Clients whose names are in the order of the table, which is that of traffic."""
        self.update([client(n, name=f"n{n}", rxDataCount=0, txDataCount=0) for n in range(count)])
        self.update(
            [client(n, name=f"n{n}", rxDataCount=999 - n, txDataCount=0) for n in range(count)]
        )

    def selected(self) -> list[str]:
        return [text.split()[0] for text in self.styled(SELECTED)]

    def test_select(self) -> None:
        self.many()
        self.assertEqual(self.names()[0], "n0")
        self.assertEqual(self.selected(), [])
        for key, name in (
            ("down", "n0"),
            ("down", "n1"),
            ("j", "n2"),
            ("up", "n1"),
            ("k", "n0"),
            ("up", "n0"),
            ("pagedown", "n17"),
            ("pagedown", "n34"),
            ("pageup", "n17"),
            ("end", "n99"),
            ("down", "n99"),
            ("home", "n0"),
        ):
            self.keys(key)
            self.assertEqual(self.selected(), [name])

    def test_scrolling(self) -> None:
        """As little as is needed to see what is selected."""
        self.many()
        self.screen()
        self.keys("down", *["down"] * 16)
        self.assertEqual((self.names()[0], self.names()[-1]), ("n0", "n16"))
        self.keys("down")
        self.assertEqual((self.names()[0], self.names()[-1]), ("n1", "n17"))
        self.assertTrue(self.screen()[-1].endswith(" 2-18 of 100"))
        self.keys(*["up"] * 16)
        self.assertEqual(self.names()[0], "n1")
        self.keys("up")
        self.assertEqual(self.names()[0], "n0")
        self.keys("end")
        self.assertEqual(self.names()[-1], "n99")
        self.assertEqual(self.names(rows=40)[-1], "n99")  # a larger screen has more, not a gap
        self.assertEqual(len(self.names(rows=40)), 33)
        self.keys("escape")
        self.assertEqual((self.names()[0], self.selected()), ("n0", []))

    def test_selectionStaysWithItsRow(self) -> None:
        self.many(5)
        self.keys("down", "down", "down")
        self.assertEqual(self.selected(), ["n2"])
        clients = [client(n, name=f"n{n}", rxDataCount=999 - n) for n in range(5)]
        clients[2]["rxDataCount"] += 5000
        self.update(clients)
        self.assertEqual(self.names()[0], "n2")
        self.assertEqual(self.selected(), ["n2"])

    def test_selectedRowGoes(self) -> None:
        """Then the one that has its place is selected, or the last one, or none."""
        self.many(5)
        self.keys("end", "up")
        clients = [client(n, name=f"n{n}", rxDataCount=0, txDataCount=0) for n in range(5)]
        self.update([*clients[:3], clients[4]])
        self.assertEqual(self.selected(), ["n4"])
        self.update(clients[:2])
        self.assertEqual(self.selected(), ["n1"])
        self.update([])
        self.assertEqual(self.selected(), [])
        self.keys("down", "end", "enter")
        self.assertEqual(self.selected(), [])

    def test_sort(self) -> None:
        self.many(9)
        self.assertEqual(self.styled(SORTED), ["Traffic↓"])
        self.keys("r")
        self.assertEqual(self.styled(SORTED), ["Traffic↑"])
        self.assertEqual(self.names()[0], "n8")
        titles = []
        for key in [*["right"] * 5, ">"]:
            self.keys(key)
            titles += self.styled(SORTED)
        self.assertEqual(titles, ["In↑", "Out↑", "User↑", "Uuid↑", "Id↑", "Name↑"])
        self.assertEqual(self.names()[0], "n0")
        self.keys("<", "left")
        self.assertEqual(self.styled(SORTED), ["Uuid↑"])

    def test_sortByWorker(self) -> None:
        """The column comes and goes with the server's answers, and what was sorted by it stays."""
        self.update([client(n, name=f"n{n}", worker=2 - n % 2) for n in range(4)])
        self.keys(*["right"] * 6)
        self.assertEqual(self.styled(SORTED), ["Worker↓"])
        self.assertEqual({*self.names()[:2]}, {"n0", "n2"})
        self.many(4)
        self.assertEqual(self.styled(SORTED), ["Id↓"])

    def test_sortIsOfEachTable(self) -> None:
        self.many(2)
        self.keys("r", "2")
        self.assertEqual(self.styled(SORTED), ["Traffic↓"])
        self.keys("1")
        self.assertEqual(self.styled(SORTED), ["Traffic↑"])

    def test_filter(self) -> None:
        self.many(20)
        self.keys("/", *"N1x", "backspace")
        self.assertIn("filter: N1_", self.screen()[-1])
        self.assertIn("filter: N1 (11 shown)", self.screen()[4])
        self.assertEqual(self.names()[:3], ["n1", "n10", "n11"])
        self.keys("enter")
        self.assertTrue(self.screen()[-1].endswith("1-11 of 11"))
        self.keys("r")  # a command again
        self.assertEqual(self.names()[0], "n19")
        self.keys("/", "3")
        self.assertEqual(self.names(), ["n13"])
        self.keys("escape")
        self.assertEqual(len(self.names()), 17)
        self.keys("/", "q", "up", "enter")
        self.assertEqual(self.names(), ["no clients"])
        self.assertFalse(self.view.isOver)
        self.keys("escape")
        self.assertEqual(len(self.names()), 17)

    def test_filterIsBounded(self) -> None:
        self.keys("/", *"ab" * 200, "\x07")
        self.assertIn("filter: " + "ab" * 30 + "_", self.screen()[-1])

    def test_filteredServersCountWithoutTheirClients(self) -> None:
        self.update([], [], [server(1, served(1), served(2)), server(2)])
        self.keys("3", "/", *"house")
        self.assertIn("(2 shown)", self.screen()[2 + 2])

    def test_details(self) -> None:
        self.many(30)
        self.keys("enter")
        self.assertEqual(self.selected(), ["n0"])
        self.assertEqual(
            self.screen()[-5:-1],
            [
                " Selected",
                " Name: n0  State: tunnel  Address: 192.0.2.0:40000  Age: 0s  In/s: 999 B",
                " Out/s: 0 B  In: 999 B  Out: 0 B  User: user 0",
                " Uuid: {5f0ac2b2-5f4f-4d0c-9e2b-000000000000}  Id: 0",
            ],
        )
        self.keys("down")
        self.assertIn(" Name: n1 ", self.screen()[-4])
        self.assertIn("n1", self.names(80, 10))  # the table has the first right to a small screen
        self.keys("escape")
        self.assertNotIn(" Selected", self.screen())
        self.keys("enter", "enter")
        self.assertNotIn(" Selected", self.screen())
        self.assertEqual(self.selected(), ["n0"])

    def test_help(self) -> None:
        for key in ("?", "h"):
            self.keys(key)
            shown = "\n".join(self.screen())
            for keys, what in KEYS:
                self.assertIn(keys, shown)
                self.assertIn(what, shown)
            self.keys(key)
            self.assertNotIn(" Keys", self.screen())

    def test_keysAreDocumented(self) -> None:
        text = DOCUMENTATION.read_text(encoding="utf-8").replace("``", "")
        for keys, what in KEYS:
            self.assertRegex(text, rf"(?m)^{re.escape(keys)}  +{re.escape(what)}$")

    def test_printAll(self) -> None:
        self.keys("a", "a")
        self.assertEqual(self.printsAll, [True, False])
        self.view = self.makeView(isPrintingAll=True)
        self.keys("a")
        self.assertEqual(self.printsAll[2:], [False])

    def asked(self) -> str:
        """Return the question at the foot, without what can be answered."""
        foot = self.screen()[-1]
        self.assertTrue(foot.endswith("?  y yes, any other key no"), foot)
        self.assertEqual(self.styled(TROUBLE), [foot.strip()])
        return foot.removesuffix("?  y yes, any other key no").strip()

    def test_end(self) -> None:
        """The selected one, of each table, when somebody says yes."""
        self.update(
            [client(1, name="Anna"), client(2)],
            [("1", "2"), ("0", "2")],
            [server(1, served(1), id="11", name="house")],
        )
        for table, row, question, request in (
            ("1", "home", "End Anna, connection 1", "endConnection 1"),
            ("1", "end", "End client 2, connection 2", "endConnection 2"),
            ("2", "home", "End the tunnel of Anna, connection 1", "endTunnel 1"),
            ("2", "end", "End the tunnel of client 2, connection 2", "endTunnel 2"),
            ("3", "home", "End house, connection 11", "endConnection 11"),
            ("3", "end", "End phone 1, connection c1", "endConnection c1"),
        ):
            self.keys(table, row, "x")
            self.assertEqual(self.asked(), question)
            self.keys("y")
            order = self.orders.pop()
            self.assertEqual(f"{order.method} {order.id}", request)
            self.assertEqual(order.request["params"], {"id": order.id})
            self.assertIn("q quit", self.screen()[-1])

    def test_endNothing(self) -> None:
        """Nothing is selected, or there is nothing."""
        self.keys("x")
        self.assertIn("select a row first", self.screen()[-1])
        self.update([client(1)])
        self.keys("x", "y")
        self.assertEqual(self.orders, [])

    def test_noIsNo(self) -> None:
        """Every key but a y, and that key does nothing else."""
        self.update([client(1)])
        for key in ("n", "Y", "enter", "q", "escape", "x", "2", "R", "D", "up"):
            for question in (("home", "x"), ("R",), ("D",)):
                self.keys(*question)
                self.asked()
                self.keys(key)
                self.assertIn("nothing was done", self.screen()[-1])
        self.keys("escape")
        self.assertEqual((self.orders, self.view.isOver, self.names()), ([], False, ["client 1"]))

    def test_reloadAndDrain(self) -> None:
        for key, words, method in (
            ("R", "read its configuration anew", "reload"),
            ("D", "Drain the server", "drain"),
        ):
            self.keys(key)
            self.assertIn(words, self.asked())
            self.keys("y")
            self.assertEqual(self.orders.pop().request, {"method": method})

    def test_notice(self) -> None:
        """What came of it, until the next key."""
        self.view.notice = "only root \x1b]0;"
        self.assertIn("only root \\x1b]0;", self.screen()[-1])
        self.update()
        self.assertIn("only root", self.screen()[-1])
        self.keys("?")
        self.assertNotIn("only root", self.screen()[-1])

    def test_namesInQuestions(self) -> None:
        """They are a stranger's: the question stays one, and is seen to its end."""
        for name in ("\x1b]0;owned\x07", "客厅" * 300, "x" * 300, "", "?  y yes" + " " * 80):
            self.update([client(1, name=name)])
            self.keys("home", "x")
            self.asked()
            self.assertTrue(self.screen(40, 10)[-1].endswith("?  y yes, any other key no"))
            self.keys("n")

    def test_anotherServer(self) -> None:
        """A question about a server that is gone is dropped: the next one's ids mean others."""
        self.update([client(1)])
        self.keys("home", "x")
        self.view.trouble = "the server has closed the connection; trying again"
        self.view.update()
        self.keys("y")
        self.assertEqual(self.orders, [])
        self.keys("D")
        self.assertIn("there is no connection", self.screen()[-1])
        self.keys("y")
        self.assertEqual(self.orders, [])

    def test_condition(self) -> None:
        """It is shown as long as it is no ordinary one."""
        self.update([], condition="ready")
        self.assertNotIn("ready", self.screen()[0])
        self.update([], condition="draining")
        self.assertIn("home proxy 1.2.3 (API 5), draining", self.screen()[0])

    def test_quit(self) -> None:
        self.keys("x", "another")
        self.assertFalse(self.view.isOver)
        self.keys("q")
        self.assertTrue(self.view.isOver)
