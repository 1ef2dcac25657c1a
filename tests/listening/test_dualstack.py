"""Owns the checks that ``::`` is every address, also where the kernel is told that it is not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.connections.records import WEBSOCKET
from nymearemoteproxy.listening.dualstack import DualStack
from nymearemoteproxy.listening.listeners import parseListener
from tests.support.endtoend import environmentOfPrograms

ALONE = ("unshare", "--net")
"""In a network of its own, whose settings are nobody else's."""

LISTEN_ALONE = """
import json, socket, sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from nymearemoteproxy.connections.records import WEBSOCKET
from nymearemoteproxy.listening.listeners import parseListener, tcpDescription

Path("/proc/sys/net/ipv6/bindv6only").write_text("1")
reached = {}
for description in ["tls:" + tcpDescription("", 0), *json.loads(sys.argv[1])]:
    results = []
    endpoint = parseListener(description, WEBSOCKET).endpoint(reactor)
    endpoint.listen(Factory()).addBoth(results.append)
    port = results[0].getHost().port
    reached[description] = []
    for address in "127.0.0.1", "::1":
        try:
            socket.create_connection((address, port)).close()
        except OSError:
            continue
        reached[description].append(address)
print(json.dumps(reached))
"""


def _reasonToSkip() -> str | None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "unshare or ip is not installed"
    if os.geteuid() or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        return "a network namespace cannot be made"
    return None


class ListenTests(TestCase):
    """Which sockets are listened on."""

    def test_otherAddresses(self) -> None:
        """They are Twisted's business, and so is all else that a reactor does."""
        memory = MemoryReactorClock()
        for description in (
            "tcp:1",
            "tcp:2:interface=127.0.0.1",
            "tcp:3:interface=\\:\\:1:backlog=7",
        ):
            parseListener(description, WEBSOCKET).endpoint(memory).listen(Factory())
        self.assertEqual(
            [(port, backlog, interface) for port, _, backlog, interface in memory.tcpServers],
            [(1, 50, ""), (2, 50, "127.0.0.1"), (3, 7, "::1")],
        )
        parseListener("unix:/run/x", WEBSOCKET).endpoint(memory).listen(Factory())
        self.assertEqual(memory.unixServers[0][0], "/run/x")
        self.assertEqual(DualStack(memory).seconds(), 0)

    def test_everyAddress(self) -> None:
        """It is said before the socket is bound, however :: is spelled."""
        said: list[Any] = []

        class Socket(socket.socket):
            def setsockopt(self, *option: Any) -> None:
                said.append(option)
                super().setsockopt(*option)

            def bind(self, address: Any) -> None:
                said.append("bound")
                super().bind(address)

        self.patch(socket, "socket", Socket)
        for interface in "\\:\\:", "\\:\\:0", "0\\:0\\:\\:0":
            said.clear()
            endpoint = parseListener(f"tcp:0:interface={interface}", WEBSOCKET).endpoint(
                globalReactor
            )
            try:
                port = self.successResultOf(endpoint.listen(Factory()))
            except self.failureException:
                self.skipTest("no IPv6 here")
            self.addCleanup(port.stopListening)
            option = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.assertLess(said.index(option), said.index("bound"))


class KernelSettingTests(SynchronousTestCase):
    """net.ipv6.bindv6only = 1."""

    skip = _reasonToSkip()

    def test_reached(self) -> None:
        """The main listener, and any :: that is given, take IPv4 all the same."""
        given = ["tcp:0:interface=\\:\\:", "haproxy:tcp:0:interface=\\:\\:", "tcp:0", "tcp6:0"]
        program = [sys.executable, "-c", LISTEN_ALONE, json.dumps(given)]
        shell = 'ip link set lo up && exec "$@"'
        done = subprocess.run(
            [*ALONE, "sh", "-c", shell, "sh", *program],
            env=environmentOfPrograms(),
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        reached = json.loads(done.stdout)
        self.assertEqual(reached.pop("tcp:0"), ["127.0.0.1"])
        self.assertEqual(len(reached), 4)
        for description, addresses in reached.items():
            self.assertEqual(addresses, ["127.0.0.1", "::1"], description)
