"""Where links of other machines come in."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.cluster.accepting import LINK_BACKLOG
from nymearemoteproxy.connections.records import TCP
from nymearemoteproxy.listening import listeners
from nymearemoteproxy.listening.listeners import ListenerError, parseListener
from nymearemoteproxy.running.linkplace import listenForLinks, placeOf


class ListeningTests(SynchronousTestCase):
    """On a reactor in memory."""

    def listen(self, description: str) -> tuple[Any, ...]:
        """Return what was listened with: the port, factory, backlog and interface."""
        reactor: Any = MemoryReactorClock()
        listenForLinks(reactor, parseListener(description, TCP), Factory())
        (server,) = reactor.tcpServers
        return tuple(server)

    @given(st.integers(1, 65535), st.sampled_from(("", ":interface=127.0.0.1", ":127.0.0.1")))
    def test_manyAtOnce(self, port: int, interface: str) -> None:
        """The kernel holds more of them than Twisted's fifty, wherever it is."""
        listened = self.listen(f"tcp:{port}{interface}")
        self.assertEqual((listened[0], listened[2]), (port, LINK_BACKLOG))

    def test_saidOtherwise(self) -> None:
        """What the operator says counts more."""
        self.assertEqual(self.listen("tcp:1:backlog=7")[2], 7)


class PlaceTests(TestCase):
    """On real ports."""

    def listen(self, description: str) -> Any:
        """Listen."""
        from twisted.internet import reactor

        return listenForLinks(reactor, parseListener(description, TCP), Factory())

    def test_place(self) -> None:
        """Host and port are those that were got."""
        port = self.listen("tcp:0:interface=127.0.0.1")
        self.addCleanup(port.stopListening)
        host, number = placeOf(port)
        self.assertEqual((host, number), ("127.0.0.1", port.getHost().port))
        self.assertGreater(number, 0)

    def test_local(self) -> None:
        """A Unix socket is no place for other machines: it is said so, and nothing is left."""
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        error = self.assertRaises(ListenerError, self.listen, f"unix:{directory}/socket")
        self.assertIn("TCP", str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(os.listdir(directory), [])

    def test_localOfSystemd(self) -> None:
        """A socket that was given may be any."""
        given = socket.socket(socket.AF_UNIX)
        self.addCleanup(given.close)
        given.bind("")
        given.listen()
        self.patch(listeners, "takeSocket", lambda *_details: os.dup(given.fileno()))
        error = self.assertRaises(ListenerError, self.listen, "systemd:index=0")
        self.assertIn("TCP", str(error))

    def test_taken(self) -> None:
        """One line says why it cannot be."""
        port = self.listen("tcp:0:interface=127.0.0.1")
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        self.assertRaises(ListenerError, self.listen, f"tcp:{number}:interface=127.0.0.1")
