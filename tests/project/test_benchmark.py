"""What of the benchmark can be wrong and no measurement fails: tables, targets, messages."""

from __future__ import annotations

import asyncio
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import syncthing
from benchmarks.names import BEFORE, HAPROXY, OWN, SNITUN
from benchmarks.results import Figure, Results
from benchmarks.tables import render
from benchmarks.targets import judge

CHECKOUT = Path(__file__).resolve().parents[2]
QUICK = 120
"""Seconds in which a measurement over one transport must be done."""


def measured(**values: float) -> Results:
    """Return what a ping-pong over tcp took, by server."""
    results = Results(judged=[OWN])
    for peer, value in values.items():
        figure = Figure("ping-pong", "ping-pong", "CPU µs per round trip")
        results.add(figure, "tcp", peer.replace("_", "-"), value)
    return results


class TargetTests(SynchronousTestCase):
    """What is held to which limit."""

    def test_reached(self) -> None:
        texts = [each.text for each in judge(measured(nymea_remoteproxy=14, haproxy=10))]
        self.assertEqual(texts, ["yes"])

    def test_missed(self) -> None:
        texts = [each.text for each in judge(measured(nymea_remoteproxy=14.1, haproxy=10))]
        self.assertEqual(texts, ["no"])

    def test_otherIsNotThere(self) -> None:
        self.assertEqual(
            [each.text for each in judge(measured(nymea_remoteproxy=14))], ["not measured"]
        )

    def test_beforeCountsWhenItIsThere(self) -> None:
        results = measured(nymea_remoteproxy=72, haproxy=72, before=100)
        self.assertEqual(
            {each.target.overPeer: each.value for each in judge(results)},
            {HAPROXY: 1.0, BEFORE: 0.72},
        )


class TableTests(SynchronousTestCase):
    """Each ratio stands where its heading says."""

    def test_over(self) -> None:
        text = render(measured(nymea_remoteproxy=50, before=100))
        table = text.partition(f"**{OWN} over {BEFORE}**")[2]
        self.assertRegex(table, r"\nping-pong +– +– +0\.50 +–\n")

    def test_nothingToBeOver(self) -> None:
        self.assertNotIn(BEFORE, render(measured(nymea_remoteproxy=50, haproxy=100)))

    def test_latenciesAreNoCosts(self) -> None:
        results = Results(judged=[OWN])
        for peer in (OWN, BEFORE):
            results.add(Figure("quiet-max", "latency", "ms"), "tcp", peer, 1)
        self.assertNotIn("over", render(results))

    def test_eachBesideItsOwn(self) -> None:
        results = measured(nymea_remoteproxy=50, haproxy=100)
        for peer, value in ((OWN, 3), (SNITUN, 4)):
            results.add(Figure("visits-down", "download", "CPU s per GB"), "tcp", peer, value)
        text = render(results)
        first, second = text.split(f"**tcp, beside {SNITUN}**")
        self.assertRegex(first, rf"{OWN} / {HAPROXY}\n(.*\n)+ping-pong .* 0\.50\n")
        self.assertRegex(second, rf"{OWN} / {SNITUN}\n(.*\n)+download .* 0\.75\n")

    def test_withoutCounterpart(self) -> None:
        results = measured(nymea_remoteproxy=50, haproxy=100)
        results.add(Figure("other", "other", "ms"), "tcp", OWN, 5)
        self.assertRegex(render(results), r"\nother .* –\n")


def taking(data: bytes) -> syncthing.Take:
    """Return what takes from bytes, of which there must be enough."""
    rest = bytearray(data)

    async def take(count: int) -> bytes:
        assert len(rest) >= count, "it would wait for ever"
        taken = bytes(rest[:count])
        del rest[:count]
        return taken

    return take


def response(code: int, text: bytes) -> bytes:
    """Return a response, as in the specification."""
    content = struct.pack(">iI", code, len(text)) + text + bytes(-len(text) % 4)
    return struct.pack(">Iii", 0x9E79BC40, 4, len(content)) + content


def invitation(*fields: bytes) -> bytes:
    """Return an invitation to a session: from, key, address; then port, and which end."""
    content = b"".join(
        struct.pack(">I", len(field)) + field + bytes(-len(field) % 4) for field in fields
    )
    content += struct.pack(">II", 22067, 1)
    return struct.pack(">Iii", 0x9E79BC40, 6, len(content)) + content


class SyncthingTests(SynchronousTestCase):
    """The messages of https://docs.syncthing.net/specs/relay-v1."""

    def run_(self, what: Callable[[syncthing.Take], Awaitable[object]], data: bytes) -> object:
        async def once() -> object:
            return await what(taking(data))

        return asyncio.run(once())

    def test_withoutContent(self) -> None:
        self.assertEqual(syncthing.message(2).hex(), "9e79bc400000000200000000")

    def test_withField(self) -> None:
        self.assertEqual(
            syncthing.message(3, b"abcde").hex(),
            "9e79bc40000000030000000c000000056162636465000000",
        )

    @given(st.binary(max_size=32), st.binary(max_size=32), st.binary(max_size=16))
    def test_key(self, device: bytes, key: bytes, address: bytes) -> None:
        data = invitation(device, key, address)
        self.assertEqual(self.run_(syncthing.invitationKey, data), key)

    @given(st.binary(max_size=20))
    def test_success(self, text: bytes) -> None:
        self.run_(syncthing.succeeded, response(0, text))

    @given(st.integers(-(1 << 31), (1 << 31) - 1).filter(bool), st.binary(max_size=20))
    def test_refusal(self, code: int, text: bytes) -> None:
        with self.assertRaises(syncthing.RelayError):
            self.run_(syncthing.succeeded, response(code, text))

    def test_full(self) -> None:
        with self.assertRaises(syncthing.FullError):
            self.run_(syncthing.succeeded, response(2, b"already connected"))

    def test_another(self) -> None:
        with self.assertRaises(syncthing.RelayError):
            self.run_(syncthing.invitationKey, response(1, b"not found"))

    def test_noMessage(self) -> None:
        for data in (bytes(12), b"HTTP/1.1 400", struct.pack(">Iii", 0x9E79BC40, 4, 1 << 30)):
            with self.assertRaises(syncthing.RelayError):
                self.run_(syncthing.succeeded, data)

    @given(st.integers(0, 27))
    def test_fieldThatEndsTooEarly(self, size: int) -> None:
        content = (struct.pack(">I", 32) + bytes(32))[: 4 + size]
        data = struct.pack(">Iii", 0x9E79BC40, 6, len(content)) + content
        with self.assertRaises(syncthing.RelayError):
            self.run_(syncthing.invitationKey, data)


class RunTests(SynchronousTestCase):
    """It measures real servers."""

    def setUp(self) -> None:
        for name in ("picows", "uvloop", "matplotlib"):
            if find_spec(name) is None:
                raise SkipTest(f"{name} is not installed (make benchmark does)")

    def quick(self, *arguments: str) -> str:
        """Return the tables of a run over tcp."""
        done = subprocess.run(
            (sys.executable, "-m", "benchmarks", "--quick", "--transport", "tcp", *arguments),
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=QUICK,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_strelaysrv(self) -> None:
        if shutil.which("strelaysrv") is None:
            raise SkipTest("strelaysrv is not there (see docs/development.rst)")
        text = self.quick("--peer", "strelaysrv", "--workload", "64KiB", "--workload", "set-up")
        self.assertRegex(text, r"\nset-up of 100 tunnels +CPU µs per tunnel +[1-9]")

    def test_before(self) -> None:
        text = self.quick(
            *("--over", str(CHECKOUT), "--peer", OWN, "--peer", BEFORE, "--workload", "ping-pong")
        )
        ratio = re.search(r"\nping-pong, 256 B +– +– +([\d.]+) +–\n", text)
        assert ratio is not None, text
        self.assertTrue(0.2 < float(ratio[1]) < 5, ratio[1])

    def test_visitors(self) -> None:
        text = self.quick("--peer", OWN, "--workload", "visits", "--workload", "visitors")
        self.assertRegex(text, r"\n50 visitors, set-up and first echo +CPU µs per visitor +[1-9]")
