"""Settings at their ends, in the real server process: whatever can be set has to work."""

from __future__ import annotations

import socket
import stat

from nymearemoteproxy.running.settings.sections import SETTINGS
from tests.support.cores import Core, anyUuid, visit
from tests.support.endtoend import (
    PING,
    SIGTERM,
    TEXT,
    Certificate,
    EndToEnd,
    Server,
    Stream,
    WebSocket,
    inThread,
    secret,
    tunnel,
)

NUMBERS = {each.name: each.notation.range for each in SETTINGS if each.notation.range}

SHORTEST = {
    name: number.lowest
    for name, number in NUMBERS.items()
    if number.unit == "milliseconds" and number.lowest == 1
}
"""Times so short that no client can be in time."""

PLACES = {name for name in NUMBERS if name.endswith(".port")}


class ExtremeTests(EndToEnd):
    """All numbers at one end, at once."""

    def launch(self, numbers: dict[str, int], *more: str) -> Server:
        """Start a server with every kind of listener, and everything that can be switched on."""
        self.directory = self.temporary()
        self.tokens = [secret() for _ in range(5)]
        certificate = Certificate(str(self.directory))
        where = "interface=127.0.0.1"
        settings = {
            "ProxyServer.monitorSocket": f"{self.directory}/monitor",
            "Accounting.statisticsLog": f"{self.directory}/statistics",
            "Limits.exemptNetworks": "",
            **numbers,
        }
        return self.start(
            *("-c", certificate.both, "--websocket", f"tcp:0:{where}"),
            *("--websocket", f"tls:tcp:0:{where}", "--stream", f"tcp:0:{where}"),
            *("--stream", f"tls:tcp:0:{where}", "--stream", f"unix:{self.directory}/clients"),
            *("--tunnelproxy", *(f"--token={each}" for each in self.tokens), *more),
            *(f"--set={name}={value}" for name, value in settings.items()),
            listeners=5,
        )

    def assertWorks(self, server: Server) -> None:
        """Tunnels of both kinds, over every listener, and an end in order."""
        for url, token in zip(server.urls, self.tokens, strict=True):
            one, two = tunnel(url, token)
            if isinstance(one, WebSocket):
                self.assertEqual(
                    (one.sendMessage(b"x"), self.nextMessage(two)), (None, (TEXT, b"x"))
                )
            else:
                one.send(b"x")
                self.assertEqual(two.read(1), b"x")
            core = Core(url, uuid := anyUuid())
            client, said = visit(url, uuid)
            self.assertEqual(said, "TunnelProxyErrorNoError")
            address = core.message()["params"]["socketAddress"]
            client.sendMessage(b"y" * 100_000)
            self.assertEqual(core.take(address, 100_000), b"y" * 100_000)
            for each in one, two, client, core.stream:
                each.close()
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertNotIn(" error ", server.text())
        self.assertNotIn(" critical ", server.text())

    def nextMessage(self, client: Stream) -> tuple[int, bytes]:
        """Return what comes behind pings."""
        assert isinstance(client, WebSocket)
        while (frame := client.frame())[0] == PING:
            pass
        return frame

    @inThread
    def testHighest(self) -> None:
        """Nothing that they are used for refuses them."""
        highest = {name: number.highest for name, number in NUMBERS.items() if name not in PLACES}
        highest["ProxyServer.notificationGap"] = 100  # this test is in no mood to wait longer
        highest["ProxyServer.workers"] = 2  # hundreds of processes would start, one after another
        self.assertWorks(self.launch(highest))

    @inThread
    def testHighestPort(self) -> None:
        """Also at the end of the day."""
        port = NUMBERS["TcpServer.port"].highest
        places = ["TcpServer.host=127.0.0.77", f"TcpServer.port={port}"]
        server = self.start(
            *("-p", "0", "--token", secret(), "--set=SSL.enabled=no"),
            *(f"--set={place}" for place in places),
            listeners=2,
        )
        socket.create_connection(("127.0.0.77", port)).close()
        self.assertIn(f"tcp://127.0.0.77:{port}", server.urls)

    @inThread
    def testLowest(self) -> None:
        """0 is none, for ever or never; sizes are large enough; one question at a time will do."""
        lowest = {name: each.lowest for name, each in NUMBERS.items() if name not in PLACES}
        server = self.launch(
            {name: value for name, value in lowest.items() if name not in SHORTEST},
            "--set=ProxyServer.monitorSocketMode=0",
        )
        mode = (self.directory / "monitor").stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0)
        self.assertWorks(server)

    @inThread
    def testShortest(self) -> None:
        """A millisecond is hardly enough for anything, but what happens is what is meant."""
        server = self.launch(
            {**SHORTEST, "ProxyServer.pingInterval": 1, "TunnelProxy.serverTimeout": 1}
        )
        outcomes = set()
        for url in server.urls:
            client = Stream(url, tls=False)
            client.goodbye()
            if client.peer != "unix":
                outcomes.add(server.ended(client))
        self.assertEqual(
            outcomes, {"inactive-timeout", "tls-handshake-timeout", "websocket-handshake-timeout"}
        )
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertNotIn(" error ", server.text())
