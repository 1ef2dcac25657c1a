"""No file descriptor is left for anything that the real server opens, and then there are some."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.support.endtoend import (
    BACKEND_ERROR,
    FIRST,
    STREAM,
    TLS_STREAM,
    Backend,
    Certificate,
    EndToEnd,
    Server,
    Stream,
    accepted,
    authenticate,
    call,
    connect,
    failed,
    inThread,
    secret,
    tunnel,
)
from tests.support.lives import errors, fingerprint, hello, reload

CROWD = 50
"""Connections that there is no descriptor for."""


class DescriptorTests(EndToEnd):
    """RLIMIT_NOFILE is lowered to what the server has open already."""

    @inThread
    def setUp(self) -> None:
        self.folder = self.temporary()
        self.certificate = Certificate(str(self.folder / "certificate"))
        self.other = Certificate(str(self.folder / "other"))
        self.token = secret()
        self.tokens = Path(self.file(self.token))
        self.backend = Backend()
        self.backend.listen()
        self.addCleanup(deferToThread, self.backend.stop)

    def launch(self, *arguments: str) -> Server:
        """Start a server that has reasons to open files while it runs."""
        return self.start(
            *("--websocket", STREAM, "--stream", STREAM, "--stream", TLS_STREAM),
            *("--certificate", self.certificate.certificate),
            *("--certificate-key", self.certificate.key, "--token-file", str(self.tokens)),
            *("--server", f"http://127.0.0.1:{self.backend.port}/"),
            *arguments,
            listeners=3,
        )

    @contextlib.contextmanager
    def limited(self, pid: int) -> Iterator[None]:
        """Let a process open nothing more."""
        taken = {int(each) for each in os.listdir(f"/proc/{pid}/fd")}
        free = next(number for number in itertools.count() if number not in taken)
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    def refuses(self, server: Server, one: Stream, two: Stream, asking: Stream, mark: int) -> None:
        """What is relayed needs no descriptor; what does is refused, and stays as it was."""
        crowd = [Stream(server.url("tcp")) for _ in range(CROWD)]
        self.keep(*crowd)
        server.waitFor("no connection can be accepted", mark)
        one.send(b"x" * 100_000)
        self.assertEqual(len(two.read(100_000)), 100_000)
        asking.send(authenticate(secret("unknown")))
        self.assertEqual(asking.message(), failed(FIRST, "", BACKEND_ERROR))
        for name in "certificate", "key":
            Path(getattr(self.other, name)).replace(getattr(self.certificate, name))
        self.tokens.write_text(secret("new"))
        reload(server, "reloaded, but not everything")
        for part in "the certificate stays as it was", "the tokens stay as they were":
            server.waitFor(f"{part}: .*: Too many open files", mark)
        self.assertEqual(len(server.find("no connection can be accepted|could not be", mark)), 1)

    @inThread
    def testServer(self) -> None:
        """Tunnels go on, all else is refused in order and told of in a few lines; it recovers."""
        server = self.launch()
        url = server.url("tcp")
        one, two = tunnel(url, self.token)
        asking = connect(url)
        self.keep(one, two, asking)
        asking.send(call("RemoteProxy.Hello"))
        asking.line()
        mark = server.mark()
        with self.limited(server.pid):
            self.refuses(server, one, two, asking, mark)
        self.assertEqual(errors(server, reload(server, "reloaded: 1 token")), [])
        self.assertEqual(fingerprint(server.url("tls")), self.other.fingerprint)
        one.send(b"still here")
        self.assertEqual(two.read(10), b"still here")
        newcomer = connect(url)
        self.keep(newcomer)
        newcomer.send(authenticate(secret("unknown")))
        self.assertEqual(newcomer.message(), accepted(FIRST))

    @inThread
    def testWorkers(self) -> None:
        """Of those whom they cannot serve the connection ends; others stay."""
        server = self.launch("--workers", "2")
        server.waitFor(r"worker \d serves", count=2)
        one, two = tunnel(server.url("tcp"), self.token)
        self.keep(one, two)
        with contextlib.ExitStack() as limits:
            for worker in server.find(r"worker \d serves, it is process (\d+)"):
                limits.enter_context(self.limited(int(worker[1])))
            crowd = [Stream(server.url("tcp")) for _ in range(CROWD)]
            self.keep(*crowd)
            for client in crowd:
                self.assertEqual(client.rest(), b"")
            one.send(b"still here")
            self.assertEqual(two.read(10), b"still here")
        hello(server.url("tcp"))
        server.waitFor("a connection cannot be served: Too many open files", count=2)
        self.assertEqual(server.find("EMFILE"), [])
