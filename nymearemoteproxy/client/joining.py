"""Owns the control phase as a client sees it: what to send, and what the answers mean.

Pure rules: it must not know Twisted, sockets, clocks or WebSocket.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

# The server's longest message is a notification with a partner's name: the name came in a request
# of at most 10 KiB, and escaping it as \uXXXX makes it at most six times as long.
MAX_CONTROL_SIZE = 64 * 1024

# A secret shorter than this is none, and blotting it out would mangle ordinary words in the
# server's texts.
MIN_SECRET_LENGTH = 8

_REQUEST_ID = 1
_NO_ERROR = "AuthenticationErrorNoError"
_WHITE_SPACE = b" \t\r\n"
_MAX_LINE = 240


class TunnelError(Exception):
    """A tunnel could not be had; ``str()`` is one readable line that says why."""


@dataclass(frozen=True)
class Partner:
    """Who is at the tunnel's other end: a stranger's own words, escape them to show them."""

    name: str
    uuid: str


def oneLine(text: object) -> str:
    """Return ``text`` as one line that is safe on a terminal: escaped, and cut when long."""
    flat = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in flat)
    return shown if len(shown) <= _MAX_LINE else shown[: _MAX_LINE - 1] + "…"


class Joining:
    """One client's way through the control phase.

    ``waiting`` becomes true with the server's consent, ``partner`` is set once the tunnel is up.
    """

    def __init__(self, token: str, nonce: str | None, name: str, uuid: str) -> None:
        self.waiting = False
        self.partner: Partner | None = None
        self._secrets = [s for s in (token, nonce) if s and len(s) >= MIN_SECRET_LENGTH]
        params = {"uuid": uuid, "name": name, "token": token}
        if nonce is not None:
            params["nonce"] = nonce
        request = {"id": _REQUEST_ID, "method": "Authentication.Authenticate", "params": params}
        self.request = json.dumps(request).encode("ascii") + b"\n"
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._inString = False
        self._escaped = False

    def receive(self, data: bytes) -> bytes:
        """Take in what the server sent and return the part of ``data`` that follows the
        notification.

        Empty while ``partner`` is not set. The notification's newline is not taken off: only a byte
        stream has one to look for.

        Raises:
            TunnelError: the server refused, or it does not speak this protocol.
        """
        self._buffer += data
        while self.partner is None:
            end = self._objectEnd()
            if end is None:
                if len(self._buffer) > MAX_CONTROL_SIZE:
                    raise self.stranger("it sent an endless message")
                return b""
            message = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._scanned = 0
            self._handle(message)
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def redacted(self, text: object) -> str:
        """Return a server's ``text`` as one safe line that repeats neither token nor nonce."""
        plain = str(text)
        for secret in self._secrets:
            plain = plain.replace(secret, "…")
        return oneLine(plain)

    def stranger(self, why: object) -> TunnelError:
        """Return the error for a server that behaves like no nymea-remoteproxy."""
        return TunnelError(f"not a nymea-remoteproxy: {self.redacted(why)}")

    def _objectEnd(self) -> int | None:
        # Every byte is looked at once, however the stream is cut: the scan's state is kept between
        # reads.
        if self._depth == 0:
            start = len(self._buffer) - len(self._buffer.lstrip(_WHITE_SPACE))
            del self._buffer[:start]
            if self._buffer and self._buffer[0] != ord("{"):
                begin = bytes(self._buffer[:40]).decode("utf-8", "backslashreplace")
                raise self.stranger(f"it says {begin!r}")
        for index in range(self._scanned, len(self._buffer)):
            byte = self._buffer[index]
            if self._inString:
                if self._escaped:
                    self._escaped = False
                elif byte == ord("\\"):
                    self._escaped = True
                elif byte == ord('"'):
                    self._inString = False
            elif byte == ord('"'):
                self._inString = True
            elif byte == ord("{"):
                self._depth += 1
            elif byte == ord("}"):
                self._depth -= 1
                if self._depth == 0:
                    return index + 1
        self._scanned = len(self._buffer)
        return None

    def _handle(self, text: bytes) -> None:
        try:
            message = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError):
            raise self.stranger("it sent invalid JSON") from None
        params = message.get("params")
        if not isinstance(params, dict):
            params = {}
        if "notification" in message:
            if message["notification"] == "RemoteProxy.TunnelEstablished":
                if not self.waiting:
                    raise self.stranger("it announced a tunnel before it answered")
                name, uuid = str(params.get("name", "")), str(params.get("uuid", ""))
                self.partner = Partner(name, uuid)
        elif "status" not in message:
            raise self.stranger("its answer has no status")
        elif message["status"] == "success" and params.get("authenticationError") == _NO_ERROR:
            self.waiting = True
        else:
            reason = message.get("error") or params.get("authenticationError") or "no reason given"
            raise TunnelError(f"refused by the server: {self.redacted(reason)}")
