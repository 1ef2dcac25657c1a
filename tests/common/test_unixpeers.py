"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.unixpeers import UnixPeer, peerOf


class PeerTests(SynchronousTestCase):
    def test_unix(self) -> None:
        one, other = socket.socketpair()
        with one, other:
            peer = peerOf(one)
        self.assertEqual(peer, UnixPeer(os.getpid(), os.geteuid()))

    def test_tcp(self) -> None:
        with socket.socket() as tcp:
            self.assertIsNone(peerOf(tcp))

    def test_words(self) -> None:
        self.assertEqual(str(UnixPeer(7, 0)), "root (uid 0, process 7)")
        self.assertEqual(str(UnixPeer(7, 54321)), "a user without a name (uid 54321, process 7)")
