"""A web page that is to be reached behind NAT.

Owns what it says, and how it is served and read. Knows nothing of the way to it.
"""

from __future__ import annotations

import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from twisted.trial.unittest import TestCase

from tests.support.endtoend import PATIENCE


class HomePage(BaseHTTPRequestHandler):
    """Says the same to everybody."""

    def content(self) -> bytes:
        """Return what it says."""
        return b"at home"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serveHome(test: TestCase, page: type[HomePage] = HomePage) -> int:
    """Serve it on loopback until the test ends; return the port."""
    service = ThreadingHTTPServer(("127.0.0.1", 0), page)
    test.addCleanup(service.server_close)
    test.addCleanup(service.shutdown)
    Thread(target=service.serve_forever, daemon=True).start()
    return service.server_port


def readHome(address: str) -> bytes:
    """Return what is served there."""
    with urllib.request.urlopen(f"http://{address}/", timeout=PATIENCE) as answer:
        content: bytes = answer.read()
        return content
