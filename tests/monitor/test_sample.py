"""What the monitor reads: what a message says."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.monitor.sample import NonsenseError, Pair, Peer, decode, read
from tests.support.monitored import NOW, client, encoded, message, served, server


class DecodeTests(SynchronousTestCase):
    def test_object(self) -> None:
        self.assertEqual(decode(b'{"a": "\xc3\xa4", "b": 1.5}'), {"a": "ä", "b": 1.5})

    def test_noJson(self) -> None:
        for data in (
            b"{1}",
            b'{"a": "\xff"}',
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b'{"a": 1e999}',
            b'{"a": ' + b"9" * 5000 + b"}",
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        ):
            with self.assertRaisesRegex(NonsenseError, "that is no JSON$"):
                decode(data)

    def test_noObject(self) -> None:
        with self.assertRaisesRegex(NonsenseError, "no JSON object"):
            decode(b"[]")


class ReadTests(SynchronousTestCase):
    def test_all(self) -> None:
        content = message(
            [client(1), client(2, tunnelConnected=False), client(3, tunnelConnected=False)],
            [("1", "2")],
            [server(5, served(6), served(7)), server(8)],
        )
        content["proxyStatistic"]["clients"][2]["authenticated"] = False
        sample = read(decode(encoded(content)))
        self.assertEqual(
            (sample.serverName, sample.serverVersion, sample.apiVersion),
            ("home proxy", "1.2.3", "5"),
        )
        first = Peer(
            "1",
            "192.0.2.1:40001",
            NOW - 60,
            "client 1",
            "{5f0ac2b2-5f4f-4d0c-9e2b-000000000001}",
            1000,
            2000,
            "user 1",
            "tunnel",
        )
        self.assertEqual(sample.clients[0], first)
        self.assertEqual([one.state for one in sample.clients], ["tunnel", "waiting", "new"])
        self.assertEqual(sample.tunnels, [Pair("1", "2", NOW - 90)])
        house, lonely = sample.servers
        self.assertEqual(
            (house.id, house.name, house.uuid, house.received, house.sent),
            ("s5", "house 5", "{5d0c1c50-9b1f-4d0e-8d8c-000000000005}", 500, 1000),
        )
        self.assertEqual([one.name for one in house.clients], ["phone 6", "phone 7"])
        self.assertEqual(house.clients[0].uuid, "{b7a3f5de-3a86-4c7e-9a39-000000000006}")
        self.assertEqual(lonely.clients, [])
        counts = sample.counts
        self.assertEqual((counts.clients, counts.tunnels, counts.throughput), (3, 1, 2000))
        self.assertEqual(
            (counts.everClients, counts.everTunnels, counts.everTraffic), (70, 30, 5_000_000)
        )
        self.assertEqual((counts.servers, counts.serverClients), (2, 2))
        self.assertEqual(counts.transports, {"WebSocket": 2, "TCP": 2, "unix": 0})

    def test_whatIsMissing(self) -> None:
        for content in (
            {"proxyStatistic": {}},
            {"tunnelProxyStatistic": {}},
            {"proxyStatistic": None, "serverName": None},
        ):
            sample = read(content)
            self.assertEqual((sample.serverName, sample.clients, sample.servers), ("", [], []))
            self.assertIsNone(sample.counts.throughput)
        sample = read({"proxyStatistic": {"clients": [{}], "tunnels": [{}], "troughput": 7}})
        self.assertEqual(sample.clients, [Peer("", "", 0, "", "", 0, 0, "", "new")])
        self.assertEqual(sample.tunnels, [Pair("", "", 0)])
        self.assertEqual(sample.counts.throughput, 7)

    def test_anotherSpelling(self) -> None:
        """Numbers as Qt may write them, and ids that are counted."""
        content = message([client(1, id=17, rxDataCount=2.0, txDataCount=-1, timestamp=1e300)])
        (one,) = read(content).clients
        self.assertEqual((one.id, one.received, one.sent, one.since), ("17", 2, 0, 2**63))

    def test_nonsense(self) -> None:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({}, "without statistics"),
            ({"id": 1, "status": "error", "error": "no"}, "without statistics"),
            ({"proxyStatistic": []}, "proxyStatistic is no object"),
            ({"proxyStatistic": {"clients": {}}}, "clients is no list"),
            ({"proxyStatistic": {"clients": [1]}}, "clients is no list of objects"),
            ({"proxyStatistic": {"clientCount": "7"}}, "clientCount is no number"),
            ({"proxyStatistic": {"clientCount": True}}, "clientCount is no number"),
            (message([client(1, name=["x"])]), "name is no text"),
            (message([client(1, name=True)]), "name is no text"),
            (message([client(1, tunnelConnected=1)]), "tunnelConnected is no flag"),
            ({"tunnelProxyStatistic": {"transports": {"\x1b" * 99: ""}}}, r"whose (\\x1b){20} is"),
        ]
        for content, text in wrong:
            with self.assertRaisesRegex(NonsenseError, text):
                read(content)
