"""No memory is left for what the real server has to hold (RLIMIT_AS), and then there is some."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.cores import Core, anyUuid, visit
from tests.support.endtoend import (
    MARK,
    SIGTERM,
    STREAM,
    TLS_STREAM,
    EndToEnd,
    Program,
    Server,
    Stream,
    inThread,
    secret,
    tunnel,
)

ROOM = 4 << 20
"""Bytes that are left, less than one client's backlog takes."""

PACKET = bytes(range(256)) * 128
"""What a registered server sends again and again to a client that reads nothing of it."""

MOST = 64 << 20
"""Bytes that are sent in that way at most: what the server may hold is less."""

CROWD = 1500
"""Clients that come at most, until there is no memory for one more; a process that was forked may
have some to spare."""


class MemoryTests(EndToEnd):
    """Whoever needs what there is not is cut off; others stay, and it recovers."""

    def assertDiscreet(self, program: Program, since: int = 0, more: Iterable[str] = ()) -> None:
        """There may be tracebacks, of nothing else; a thread needs memory, too."""
        text = program.text(since=since)
        self.assertNotIn(MARK, text)
        allowed = text.count("MemoryError") + text.count("can't start new thread")
        self.assertEqual(text.count("Traceback"), allowed, text)

    def launch(self) -> Server:
        """Start a server that would hold much for one client."""
        self.token = secret()
        limits = {"clientBacklog": MOST, "totalBacklog": 2 * MOST}
        return self.start(
            *("--websocket", STREAM, "--stream", STREAM, "--stream", TLS_STREAM),
            *("--tunnelproxy", "--token", self.token),
            *(f"--set=TunnelProxy.{name}={value}" for name, value in limits.items()),
            listeners=3,
        )

    @contextlib.contextmanager
    def limited(self, server: Server, room: int) -> Iterator[None]:
        """Let a server have hardly more memory than it has.

        :param room: bytes that are left.
        """
        status = Path(f"/proc/{server.pid}/status").read_text()
        size = int(status.partition("VmSize:")[2].split()[0]) << 10
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_AS)
        resource.prlimit(server.pid, resource.RLIMIT_AS, (size + room, hard))
        try:
            yield
        finally:
            resource.prlimit(server.pid, resource.RLIMIT_AS, (soft, hard))

    def check(self, server: Server, one: Stream, two: Stream) -> None:
        """The tunnel that was there is as it was, and there are new ones of every kind."""
        one.send(PACKET)
        self.assertEqual(two.read(len(PACKET)), PACKET)
        for url in server.urls:
            pair = tunnel(url, self.token, nonce=secret())
            self.keep(*pair)
        for client in one, two:
            client.close()
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)

    @inThread
    def testBacklog(self) -> None:
        """A client does not read what its server sends."""
        server = self.launch()
        url = server.url("tcp")
        one, two = tunnel(url, self.token)
        core = Core(url, uuid := anyUuid())
        client, _said = visit(url, uuid)
        address = core.message()["params"]["socketAddress"]
        self.keep(one, two, core.stream, client)
        mark = server.mark()
        with self.limited(server, ROOM):
            for _ in range(MOST // len(PACKET)):
                core.send(address, PACKET)
                if server.find("MemoryError", mark):
                    break
            server.waitFor("MemoryError", mark)
        core.stream.close()
        self.assertIn(server.ended(core.stream), ("internal-error", "connection-lost"))
        received = client.rest()
        self.assertEqual(received, (PACKET * (len(received) // len(PACKET) + 1))[: len(received)])
        self.check(server, one, two)

    @inThread
    def testCrowd(self) -> None:
        """Many come, with TLS: they are turned away one by one."""
        server = self.launch()
        one, two = tunnel(server.url("tcp"), self.token)
        self.keep(one, two)
        with self.limited(server, 0):
            for _ in range(CROWD):
                with contextlib.suppress(OSError):
                    self.keep(client := Stream(server.url("tls")))
                    client.send(b'{"' + b"x" * 10_000)
                if server.find(full := "ended: tls-handshake-failed|MemoryError"):
                    break
            server.waitFor(full)
        self.check(server, one, two)
