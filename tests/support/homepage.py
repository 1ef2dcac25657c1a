"""A web page that is to be reached behind NAT.

Owns what it says. Knows nothing of the way to it.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler


class HomePage(BaseHTTPRequestHandler):
    """Says the same to everybody."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"at home")

    def log_message(self, *_: object) -> None:
        """Say nothing."""
