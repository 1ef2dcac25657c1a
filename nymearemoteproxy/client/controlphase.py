"""Owns what every control phase has in common: the proxy's messages, the errors, the words.

Pure rules: it must not know Twisted, sockets, clocks or WebSocket, nor what any message means.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.protocol.jsonrpc import MessageError, ObjectSplitter, decodeObject
from nymearemoteproxy.protocol.outcomes import Outcome

# The server's longest message is a notification with a partner's name: the name came in a request
# of at most 10 KiB, and escaping it as \uXXXX makes it at most six times as long.
MAX_CONTROL_SIZE = 64 * 1024

# A secret shorter than this is none, and blotting it out would mangle ordinary words in the
# server's texts.
MIN_SECRET_LENGTH = 8

REQUEST_ID = 1

_MAX_LINE = 240


class TunnelError(Exception):
    """A tunnel could not be had; ``str()`` is one readable line that says why.

    Attributes:
        isTransient: the same attempt may succeed later, although nobody corrects a mistake.
    """

    def __init__(self, text: str, isTransient: bool = False) -> None:
        super().__init__(text)
        self.isTransient = isTransient


@dataclass(frozen=True)
class Partner:
    """Who is at the tunnel's other end: a stranger's own words, escape them to show them."""

    name: str
    uuid: str

    @property
    def shown(self) -> str:
        """One line that is safe on a terminal; a server that was called by its uuid has no name."""
        name = [ascii(self.name)] if self.name or not self.uuid else []
        return " ".join(oneLine(part) for part in [*name, self.uuid])


def oneLine(text: object) -> str:
    """Return ``text`` as one line that is safe on a terminal: escaped, and cut when long."""
    flat = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in flat)
    return shown if len(shown) <= _MAX_LINE else shown[: _MAX_LINE - 1] + "…"


def stranger(why: object, isTransient: bool = False) -> TunnelError:
    """Return the error for a server that behaves like no nymea-remoteproxy."""
    return TunnelError(f"not a nymea-remoteproxy: {oneLine(why)}", isTransient)


def call(requestId: int, method: str, params: Mapping[str, Any]) -> bytes:
    """Return a request as it is sent."""
    request = {"id": requestId, "method": method, "params": params}
    return json.dumps(request).encode("ascii") + b"\n"


def paramsOf(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message's params, empty when it has none that are an object."""
    params = message.get("params")
    return params if isinstance(params, dict) else {}


class Messages:
    """Finds the proxy's messages in what it sends, however that is cut.

    Args:
        stranger: makes the error for what is no message.
    """

    def __init__(self, stranger: Callable[[object], TunnelError] = stranger) -> None:
        self._stranger = stranger
        self._splitter = ObjectSplitter(MAX_CONTROL_SIZE)
        self._latest = b""

    def feed(self, data: bytes) -> None:
        """Add bytes; ``take`` then returns what they completed."""
        self._latest = data
        self._splitter.feed(data)

    def take(self) -> dict[str, Any] | None:
        """Return the next complete message, None when there is none yet.

        Raises:
            TunnelError: this is no message.
        """
        try:
            raw = self._splitter.take()
        except MessageError as error:
            if error.outcome is Outcome.MESSAGE_TOO_LARGE:
                raise self._stranger("it sent an endless message") from None
            begin = self.rest()[:40].decode("utf-8", "backslashreplace")
            raise self._stranger(f"it says {begin!r}") from None
        try:
            return None if raw is None else decodeObject(raw)
        except MessageError:
            raise self._stranger("it sent invalid JSON") from None

    def rest(self) -> bytes:
        """Return the bytes behind the last message, all of which arrived with its end."""
        return self._latest[len(self._latest) - self._splitter.pending :]


class ControlPhase:
    """One client's way through the control phase.

    Attributes:
        request: what to send first.
        waiting: the server has consented, and the partner is waited for.
        partner: who is at the other end, once the tunnel is up.
    """

    def __init__(self, method: str, params: Mapping[str, Any]) -> None:
        self.request = call(REQUEST_ID, method, params)
        self.waiting = False
        self.partner: Partner | None = None
        self._messages = Messages(self.stranger)

    def receive(self, data: bytes) -> bytes:
        """Take in what the server sent and return the part of ``data`` that follows the message
        that set ``partner``.

        Empty while ``partner`` is not set. That message's newline is not taken off: only a byte
        stream has one to look for.

        Raises:
            TunnelError: the server refused, or it does not speak this protocol.
        """
        self._messages.feed(data)
        while self.partner is None:
            message = self._messages.take()
            if message is None:
                return b""
            self._handle(message)
        return self._messages.rest()

    def redacted(self, text: object) -> str:
        """Return a server's ``text`` as one safe line without our secrets, if there are any."""
        return oneLine(text)

    def stranger(self, why: object, isTransient: bool = False) -> TunnelError:
        """Return the error for a server that behaves like no nymea-remoteproxy."""
        return stranger(self.redacted(why), isTransient)

    def _handle(self, message: dict[str, Any]) -> None:
        raise NotImplementedError
