"""What the monitor reads: where a message ends, and what it says."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.monitor.framing import Framing, NonsenseError
from nymearemoteproxy.monitor.sample import Pair, Peer, decode, read
from tests.support.monitored import NOW, client, encoded, message, served, server

PROPERTY = settings(max_examples=200, deadline=None, database=None)

# Texts that are full of what matters to framing.
TRICKY = st.text(st.sampled_from('{}"\\ \n\tä[]:,x'), max_size=12)
OBJECTS = st.dictionaries(
    TRICKY,
    st.recursive(
        st.none() | st.booleans() | st.integers() | TRICKY,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


def cutAt(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut `data` at the given places, wherever they lie."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in zip(places, places[1:], strict=False)]


class FramingTests(SynchronousTestCase):
    def feed(self, pieces: list[bytes]) -> list[bytes]:
        framing = Framing()
        return [found for piece in pieces for found in framing.feed(piece)]

    @PROPERTY
    @given(
        st.lists(st.tuples(OBJECTS, st.booleans(), st.sampled_from(("\n", "", " \r\n\t")))),
        st.lists(st.integers(0, 5000), max_size=12),
    )
    @example([({'"': "\\"}, False, "\n"), ({"\\": '"'}, True, "")], [])
    def test_anyObjectsAtAnyCut(
        self, objects: list[tuple[dict[str, Any], bool, str]], cuts: list[int]
    ) -> None:
        """Compact ones as from this server, indented ones as from the C++ server."""
        texts = [
            (json.dumps(one, indent=4 if isIndented else None), end)
            for one, isIndented, end in objects
        ]
        stream = "".join(text + end for text, end in texts).encode()
        wanted = [text.encode() for text, _ in texts]
        self.assertEqual(self.feed(cutAt(stream, cuts)), wanted)

    def test_everyByteAlone(self) -> None:
        text = json.dumps({"a": '}\\"{', "b": [{"c": "\\\\"}, {}]}, indent=2).encode()
        stream = text + b"\n" + text
        self.assertEqual(self.feed([bytes([byte]) for byte in stream]), [text, text])

    def test_manyStringsBetweenBraces(self) -> None:
        """More than the patterns take at once."""
        text = json.dumps({"a": ["x"] * 5000, "b": "\\n" * 5000, "c": "ä\n" * 5000}).encode()
        self.assertEqual(self.feed([text]), [text])

    def test_asSoonAsTheBraceArrives(self) -> None:
        framing = Framing()
        self.assertEqual(list(framing.feed(b'{"a":{}')), [])
        self.assertEqual(list(framing.feed(b"}")), [b'{"a":{}}'])

    def test_noObject(self) -> None:
        for stream in (b"[1]", b"HTTP/1.1 400 Bad Request", b" \n}", b'{"a":1},', b"\x00"):
            with self.assertRaisesRegex(NonsenseError, "no JSON object begins"):
                self.feed([stream])

    def test_limit(self) -> None:
        text = b'{"a":"%s"}' % (b"x" * 92)
        self.assertEqual(list(Framing(100).feed(text * 2 + text[:99])), [text, text])
        for tooMuch in (b'{"a":"%s"}' % (b"x" * 93), b"{" + b" " * 100):
            with self.assertRaisesRegex(NonsenseError, "more than 100 bytes"):
                list(Framing(100).feed(tooMuch))

    def test_timeIsLinear(self) -> None:
        """Ten times as large must not take a hundred times as long, whatever it is made of."""

        def measured(text: bytes) -> float:
            framing = Framing()
            started = time.process_time()
            for start in range(0, len(text), 65536):
                list(framing.feed(text[start : start + 65536]))
            return time.process_time() - started

        # A string without an end, escapes, strings, and a list of many small objects.
        for start, part in ((b'{"', b"x"), (b'{"', b"\\n"), (b"{", b'""'), (b"{", b'{"a":1},')):
            small = min(measured(start + part * (200_000 // len(part))) for _ in range(3))
            large = min(measured(start + part * (2_000_000 // len(part))) for _ in range(3))
            self.assertLess(large, 40 * small + 0.01, part)


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
