"""The life of the service, as far as the end-to-end tests cannot see it."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import os
import re
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.accounting.linefile import runAtOnce
from nymearemoteproxy.connections.records import TCP, WEBSOCKET
from nymearemoteproxy.listening.listeners import Listener, parseListener
from nymearemoteproxy.running import service
from nymearemoteproxy.running.announcing import CLIENT, whereToTry
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.service import ProxyService, StartError, makeService
from nymearemoteproxy.watching.lastreload import LastReload
from nymearemoteproxy.wires.transports import isGivenUp, tuneTcp
from tests.support.certificates import issue, pem
from tests.support.memory import Guest
from tests.support.services import ServiceCase


class ServiceTests(ServiceCase):
    """Start, signals, and what is shown."""

    def test_signals(self) -> None:
        """What whoever started us wants ignored stays ignored, such as Ctrl-C in the background."""
        self.patch(
            signal,
            "getsignal",
            lambda number: signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL,
        )
        made = self.make("--token", "t")
        self.start(made)
        self.assertEqual(set(self.installed), {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2})

    def test_stopsOnce(self) -> None:
        """A second signal does nothing, not even in the same turn of the reactor."""
        made = self.make("--token", "t")
        self.start(made)
        stops: list[None] = []
        self.reactor.stop = lambda: stops.append(None)
        self.reactor.callFromThread = lambda act: act()
        stop = self.installed[signal.SIGTERM]
        stop(signal.SIGTERM, None)
        stop(signal.SIGTERM, None)
        self.assertEqual(len(stops), 1)

    def test_lastReload(self) -> None:
        """The status that systemd shows tells of mistakes until a reload finds none."""
        tokens = Path(self.mktemp())
        tokens.write_text("t")
        made = self.make("--token-file", str(tokens), "-p0")
        self.start(made)
        self.assertEqual(made._status(), "0 connections")
        tokens.write_text("")
        made.reload()
        self.assertEqual(
            made._status(), "0 connections, the last reload found 1 mistake, see the log"
        )
        tokens.write_text("t")
        made.reload()
        self.assertEqual(made._status(), "0 connections")
        self.assertEqual(made._lastReload, LastReload(self.reactor.seconds(), 0))

    def test_listensTooLate(self) -> None:
        """An endpoint that does not listen at once is a mistake, not a silent gap."""
        self.patch(Listener, "endpoint", lambda *_details: self)
        made = self.make("--token", "t")
        raised = self.assertRaises(SystemExit, made.privilegedStartService)
        self.assertIn("does not listen", str(raised))

    def listen(self, _factory: object) -> Deferred[None]:
        """Never listen; this test stands in for the endpoint."""
        return Deferred()

    def test_secondListenerFails(self) -> None:
        """Then the first one is closed again."""
        made = self.make("--token", "t", "--stream", "systemd:domain=INET:index=7")
        closed: list[Any] = []
        made.ports.append(
            SimpleNamespace(stopListening=lambda: closed.append(None))  # type: ignore[arg-type]
        )
        self.assertRaises(SystemExit, made.privilegedStartService)
        self.assertEqual(closed, [None])

    def test_warningsOfWhatFails(self) -> None:
        """They are told before the start fails, since they may be about what fails."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        made = self.make(
            "--token", "t", "--stream", "systemd:domain=INET:index=7", "--set", "AWS.region=x"
        )
        self.assertRaises(SystemExit, made.privilegedStartService)
        self.assertTrue(any("[AWS] is ignored" in str(event.get("reason")) for event in events))

    def test_commandToCopy(self) -> None:
        """It is the client beside this Python, since that works in any terminal."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.patch(sys, "executable", str(directory / "python3"))
        made = self.make()
        self.start(made)
        self.assertIn(f"    {CLIENT} --url ws://", self.terminal.getvalue())
        self.assertIn(" within 5 minutes, ", self.terminal.getvalue())
        (directory / CLIENT).touch()
        made = self.make()
        self.start(made)
        self.assertIn(f"    {directory / CLIENT} --url ws://", self.terminal.getvalue())

    def command(self, *arguments: str) -> str:
        """Return the options of the command that is shown, up to the token; empty if none is."""
        options = ServerOptions()
        options.parseOptions(arguments)
        self.terminal.seek(0)
        self.terminal.truncate()
        self.reactor = MemoryReactorClock()
        self.start(ProxyService(self.reactor, options))
        shown = re.search(rf"^    \S*{CLIENT} (.*) --token \S+$", self.terminal.getvalue(), re.M)
        return shown[1] if shown else ""

    def certificate(self, *parts: bytes) -> str:
        """Write a certificate and its key; return the option that gives it."""
        path = Path(self.mktemp()).absolute()
        path.write_bytes(b"".join(parts))
        return f"--certificate={path}"

    def test_commandForWildcards(self) -> None:
        """Nobody can connect to every address; on this machine there is one that always works."""
        listener = parseListener("tcp:1", WEBSOCKET)
        for host, shown in (
            ("0.0.0.0", "127.0.0.1"),
            ("::", "127.0.0.1"),
            ("127.0.0.2", "127.0.0.2"),
            ("::1", "[::1]"),
        ):
            address = (IPv6Address if ":" in host else IPv4Address)("TCP", host, 2212)
            self.assertEqual(whereToTry(listener, address, None), f"--url ws://{shown}:2212")

    def test_commandForUnixSockets(self) -> None:
        """They have a path."""
        listener = parseListener("unix:/run/x", TCP)
        self.assertEqual(whereToTry(listener, UNIXAddress("/run/x"), None), "--url unix:/run/x")

    def test_commandForCertificates(self) -> None:
        """A client that verifies the certificate has to connect to a name that it is for."""
        authority = issue("authority", None)
        here = x509.IPAddress(ipaddress.ip_address("2001:db8::1"))
        for names, url in (
            ([x509.DNSName("a.example"), x509.DNSName("b.example")], "wss://a.example:2212"),
            ([x509.DNSName("*.example"), x509.DNSName("c.example")], "wss://c.example:2212"),
            ([x509.RFC822Name("a@b.example"), here], "wss://[2001:db8::1]:2212"),
            ([x509.DNSName("*.example")], "wss://HOST:2212"),
            (None, "wss://HOST:2212"),
        ):
            option = self.certificate(pem(*issue("own", names, authority)))
            self.assertEqual(self.command(option, "--host=127.0.0.1"), f"--url {url}")

    def test_commandForSelfSigned(self) -> None:
        """A self-signed certificate is known by its fingerprint only, whatever it is for."""
        own, key = issue("own", [x509.DNSName("a.example")])
        digits = hashlib.sha256(own.public_bytes(serialization.Encoding.DER)).hexdigest()
        shown = self.command(self.certificate(pem(own, key)), "--host=127.0.0.1")
        url, pin = shown.split(" --fingerprint ")
        self.assertEqual(url, "--url wss://127.0.0.1:2212")
        self.assertEqual(pin.replace(":", "").lower(), digits)

    def test_commandWithoutTls(self) -> None:
        """Without TLS there is no certificate, also when another listener has one."""
        option = self.certificate(pem(*issue("own", None)))
        shown = self.command(option, "--websocket", "tcp:1:interface=127.0.0.1", "--stream=ssl:2")
        self.assertEqual(shown, "--url ws://127.0.0.1:1")

    def test_commandBehindReverseProxy(self) -> None:
        """It is for a listener that clients can use; the token is shown without one, too."""
        behind = ("--websocket", "haproxy:tcp:1:interface=127.0.0.1")
        shown = self.command(*behind, "--stream", "tcp:2:interface=127.0.0.1")
        self.assertEqual(shown, "--url tcp://127.0.0.1:2")
        for other in (), ("--front=tcp:3:interface=127.0.0.1",), ("--front-http=tcp:3",):
            self.assertEqual(self.command(*behind, *other), "")
        self.assertIn("The token of this run is ", self.terminal.getvalue())

    def test_cannotStartInTheBackground(self) -> None:
        """twistd tells who started it, and removes its pid file, for ordinary exceptions only."""
        options = ServerOptions()
        options.parent = {"nodaemon": False}
        options.parseOptions(["--websocket", "systemd:domain=INET:index=7", "--token", "t"])
        made = makeService(options, self.reactor)
        self.addCleanup(delattr, sys, "tracebacklimit")  # or other tests' failures are cut short
        self.assertIn("systemd", str(self.assertRaises(StartError, made.privilegedStartService)))

    def test_tunnelProxyInTheBackground(self) -> None:
        """It starts without tokens, and shows none."""
        options = ServerOptions()
        options.parent = {"nodaemon": False}
        options.parseOptions(["--websocket", "tcp:1:interface=127.0.0.1", "--tunnelproxy"])
        made = makeService(options, self.reactor)
        assert isinstance(made, ProxyService)
        self.start(made)
        self.assertEqual(self.terminal.getvalue(), "")
        self.assertIsNotNone(made.proxy.switchboard)
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_tunnelProxyIsOff(self) -> None:
        """Unless it is asked for."""
        self.assertIsNone(self.make("--token", "t").proxy.switchboard)

    def test_noTerminal(self) -> None:
        self.patch(sys, "__stderr__", None)
        made = self.make()
        self.start(made)
        self.assertEqual(self.terminal.getvalue(), "")


class DrainTests(ServiceCase):
    """Orders of events that processes cannot be made to produce."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(service, "RunInThread", lambda reactor: runAtOnce)
        self.made = self.make("--token", "t", "--set", "ProxyServer.drainTimeout=60000")
        self.stops: list[None] = []
        self.start(self.made)
        self.reactor.stop = lambda: self.stops.append(None)
        self.closing: list[Deferred[None]] = []
        for port in self.made.ports:
            self.patch(port, "stopListening", self.stopListening)

    def stopListening(self) -> Deferred[None]:
        """Close the port when the test likes."""
        self.closing.append(closed := Deferred())
        return closed

    def timers(self) -> list[float]:
        """Return in how many seconds something will happen."""
        now = self.reactor.seconds()
        return sorted(call.getTime() - now for call in self.reactor.getDelayedCalls())

    def test_ready(self) -> None:
        """From the start until it drains."""
        self.assertTrue(self.made.isReady)
        self.made.drain()
        self.assertFalse(self.made.isReady)
        self.assertTrue(self.made.isDraining)

    def test_nobody(self) -> None:
        """It stops as soon as the last port is closed, and not twice."""
        self.made.drain()
        self.made.drain()
        self.assertEqual(self.stops, [])
        (closed,) = self.closing
        closed.callback(None)
        self.assertEqual(len(self.stops), 1)
        self.made.stop()
        self.assertEqual(len(self.stops), 1)
        self.assertFalse(self.made.isReady)

    def test_stoppedWhileClosing(self) -> None:
        """What stops the server first does it; nothing is left to be done later."""
        self.made.drain()
        self.made.stop()
        self.assertEqual(len(self.stops), 1)
        self.successResultOf(self.made.stopService())
        self.closing.pop().callback(None)
        self.assertEqual(self.timers(), [])
        self.assertEqual(len(self.stops), 1)

    def test_timer(self) -> None:
        """It is gone when the server stops for another reason."""
        client = Guest(self.made.proxy)
        self.made.drain()
        self.closing.pop().callback(None)
        self.assertIn(60.0, self.timers())
        self.assertEqual(self.stops, [])
        self.made.stop()
        stopped = self.made.stopService()
        self.assertNotIn(60.0, self.timers())
        client.leave()
        self.successResultOf(stopped)
        self.assertEqual(self.timers(), [])

    def test_standsStill(self) -> None:
        """It is noticed as long as clients are there, who have time for their goodbyes."""
        client = Guest(self.made.proxy)
        waking = self.made.proxy.waking
        self.made.stop()
        stopped = self.made.stopService()
        self.closing.pop().callback(None)
        before = waking.seconds()
        self.reactor.advance(4)  # less than shutdownTimeout
        self.assertLess(waking.seconds(), before + 1)
        client.leave()
        self.successResultOf(stopped)
        self.assertEqual(self.timers(), [])

    def test_timeIsOver(self) -> None:
        """Then the server stops, which ends the tunnels."""
        client = Guest(self.made.proxy)
        self.made.drain()
        self.closing.pop().callback(None)
        self.reactor.advance(59)
        self.assertEqual(self.stops, [])
        self.reactor.advance(1)
        self.assertEqual(len(self.stops), 1)
        client.leave()
        self.assertEqual(len(self.stops), 1)

    def test_tooLate(self) -> None:
        """Nothing is read anew, and nothing drained, when the server is being stopped."""
        self.made.stop()
        self.made.reload()
        self.made.drain()
        self.assertFalse(self.made.isDraining)


class TuneTests(SynchronousTestCase):
    """TCP's own keepalive on stream clients."""

    def tuned(
        self, idle: float, timeout: float, family: socket.AddressFamily = socket.AF_INET
    ) -> dict[str, Any]:
        """Return what is set on a transport."""
        set_: dict[str, Any] = {}
        ofSocket = family

        class Transport:
            family = ofSocket

            @property
            def lowest(self) -> Any:
                return self

            def getHandle(self) -> Any:
                return self

            def setsockopt(self, level: int, option: int, value: int) -> None:
                if level == socket.IPPROTO_TCP and ofSocket == socket.AF_UNIX:
                    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
                set_[level, option] = value

        tuneTcp(Transport(), idle, timeout)
        return set_

    def test_on(self) -> None:
        self.assertEqual(
            self.tuned(30, 10),
            {
                (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 30,
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 3,
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 3,
            },
        )

    def test_off(self) -> None:
        """Probes are switched off, also where they were on for a moment."""
        self.assertEqual(
            self.tuned(0, 10),
            {
                (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 0,
            },
        )

    def test_family(self) -> None:
        """The socket itself decides: one that is none of TCP's has nothing to be tuned."""
        self.assertEqual(self.tuned(30, 10, socket.AF_INET6), self.tuned(30, 10))
        self.assertEqual(self.tuned(30, 10, socket.AF_UNIX), {})

    def test_givenUp(self) -> None:
        """Only TCP gives up; what a Unix socket has received can still be read."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            tcp = socket.create_connection(listening.getsockname()), listening.accept()[0]
        for one, two in tcp, socket.socketpair():
            self.addCleanup(one.close)
            handle = SimpleNamespace(getHandle=lambda one=one: one)
            transport = SimpleNamespace(lowest=handle)
            self.assertFalse(isGivenUp(transport))
            one.sendall(b"unread, so that closing resets the connection")
            two.sendall(b"some")
            two.close()
            self.assertEqual(isGivenUp(transport), one.family == socket.AF_INET)
        self.assertEqual(one.recv(4), b"some")
