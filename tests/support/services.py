"""The service on a reactor in memory."""

from __future__ import annotations

import os
import signal
import sys
from io import StringIO
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.service import ProxyService, makeService


class ServiceCase(SynchronousTestCase):
    """A service on a reactor in memory."""

    def setUp(self) -> None:
        # A file of totals that another test has at the moment would keep this one waiting.
        state = os.path.abspath(self.mktemp())
        self.patch(os, "environ", {**os.environ, "STATE_DIRECTORY": state})
        self.reactor: Any = MemoryReactorClock()
        self.installed: dict[int, Any] = {}
        self.patch(signal, "signal", self.installed.__setitem__)
        self.terminal = StringIO()
        self.patch(sys, "__stderr__", self.terminal)

    def make(self, *arguments: str) -> ProxyService:
        """Make the service for a command line."""
        options = ServerOptions()
        options.parseOptions(["--websocket", "tcp:1:interface=127.0.0.1", *arguments])
        made = makeService(options, self.reactor)
        assert isinstance(made, ProxyService)
        return made

    def start(self, made: ProxyService) -> None:
        """Start the service, and let the reactor run."""
        made.privilegedStartService()
        made.startService()
        self.reactor.running = False
        self.reactor.run()
