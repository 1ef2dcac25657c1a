"""Helpers of the monitor's tests: what a server says, and a server that says it.

The messages are written from the description of the monitor socket, not from the code of either
side. As a program, ``python -m tests.support.monitored SOCKET CLIENTS``, it is a server whose
clients move data: for looking at the monitor, and for measuring it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOW = 1_800_000_000
"""The Unix time in the tests that do not run a process."""


def client(number: int, **more: Any) -> dict[str, Any]:
    """Return a client of a token tunnel."""
    return {
        "id": str(number),
        "address": f"192.0.2.{number % 250}:{40000 + number % 20000}",
        "timestamp": NOW - 60 * number,
        "authenticated": True,
        "tunnelConnected": True,
        "name": f"client {number}",
        "userName": f"user {number % 7}",
        "uuid": f"{{5f0ac2b2-5f4f-4d0c-9e2b-{number:012}}}",
        "rxDataCount": 1000 * number,
        "txDataCount": 2000 * number,
        **more,
    }


def served(number: int, **more: Any) -> dict[str, Any]:
    """Return a client of a server behind the tunnel proxy."""
    return {
        "id": f"c{number}",
        "address": f"198.51.100.{number % 250}:{50000 + number % 10000}",
        "timestamp": NOW - number,
        "name": f"phone {number}",
        "clientUuid": f"{{b7a3f5de-3a86-4c7e-9a39-{number:012}}}",
        "rxDataCount": 10 * number,
        "txDataCount": 20 * number,
        **more,
    }


def server(number: int, *clients: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a server behind the tunnel proxy."""
    return {
        "id": f"s{number}",
        "address": f"203.0.113.{number % 250}:{30000 + number % 10000}",
        "timestamp": NOW - 3600 * number,
        "name": f"house {number}",
        "serverUuid": f"{{5d0c1c50-9b1f-4d0e-8d8c-{number:012}}}",
        "rxDataCount": 100 * number,
        "txDataCount": 200 * number,
        "clientConnections": list(clients),
        **more,
    }


def message(
    clients: list[dict[str, Any]] | None = None,
    tunnels: list[tuple[str, str]] | None = None,
    servers: list[dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a message."""
    clients, tunnels, servers = clients or [], tunnels or [], servers or []
    connected = sum(len(one["clientConnections"]) for one in servers)
    return {
        "serverName": "home proxy",
        "serverVersion": "1.2.3",
        "apiVersion": "5",
        "proxyStatistic": {
            "clientCount": len(clients),
            "tunnelCount": len(tunnels),
            "troughput": 1500,
            "total": {"totalClientCount": 70, "totalTunnelCount": 30, "totalTraffic": 5_000_000},
            "clients": clients,
            "tunnels": [
                {"clientOne": one, "clientTwo": two, "timestamp": NOW - 90} for one, two in tunnels
            ],
        },
        "tunnelProxyStatistic": {
            "totalClientCount": len(servers) + connected,
            "serverConnectionsCount": len(servers),
            "clientConnectionsCount": connected,
            "transports": {"WebSocket": len(servers), "TCP": connected, "unix": 0},
            "troughput": 500,
            "tunnelConnections": servers,
        },
        **more,
    }


def crowd(clients: int, servers: int = 0) -> dict[str, Any]:
    """Return a message with so many clients, all of them in tunnels, and so many servers."""
    return message(
        [client(number) for number in range(clients)],
        [(str(number), str(number + 1)) for number in range(0, clients - 1, 2)],
        [server(number, served(number)) for number in range(servers)],
    )


def encoded(content: dict[str, Any]) -> bytes:
    """Return a message as the server sends it."""
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


class FakeServer:
    """A server's monitor socket, which answers from threads of its own.

    :ivar path: where it is.
    :ivar answer: returns the bytes that a request is answered with.
    :ivar requests: all so far, decoded.
    """

    def __init__(self, path: str, answer: Callable[[dict[str, Any]], bytes]) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        self._serving: list[tuple[socket.socket, threading.Thread]] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        """Close everything, and remove the socket as a server does."""
        self._end(self._socket, self._accepting)
        for connection, thread in self._serving:
            self._end(connection, thread)
        Path(self.path).unlink()

    @staticmethod
    def _end(one: socket.socket, thread: threading.Thread) -> None:
        with contextlib.suppress(OSError):  # the other end was quicker
            one.shutdown(socket.SHUT_RDWR)
        thread.join()
        one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._serving.append((connection, thread))

    def _serve(self, connection: socket.socket) -> None:
        received = b""
        while True:
            try:
                data = connection.recv(4096)
                received += data
                while b"\n" in received:
                    request, _, received = received.partition(b"\n")
                    self.requests.append(json.loads(request))
                    connection.sendall(self.answer(self.requests[-1]))
            except OSError:
                return
            if not data:
                return


def _moving(count: int) -> Callable[[dict[str, Any]], bytes]:
    """Return answers of a server whose clients move data, each at a pace of its own."""
    started = time.time()

    def answer(request: dict[str, Any]) -> bytes:
        passed = time.time() - started
        content = crowd(count, min(count // 10, 200))
        for number, one in enumerate(content["proxyStatistic"]["clients"]):
            one["timestamp"] = int(started) - 60 * number
            one["rxDataCount"] = int((number % 17) * 1000 * passed * (1 + number % 3))
            one["txDataCount"] = int((number % 13) * 700 * passed)
        for one in content["proxyStatistic"]["tunnels"]:
            one["timestamp"] = int(started)
        for one in content["tunnelProxyStatistic"]["tunnelConnections"]:
            for peer in (one, *one["clientConnections"]):
                peer["timestamp"] = int(started) - 40
                peer["rxDataCount"] = int(passed * 2500)
        content["proxyStatistic"]["troughput"] = int(1_000_000 * (1 + abs(passed * 7 % 10 - 5)))
        return encoded(content)

    return answer


if __name__ == "__main__":
    FakeServer(sys.argv[1], _moving(int(sys.argv[2])))
    print(f"process {os.getpid()} listens on {sys.argv[1]}", flush=True)
    threading.Event().wait()
