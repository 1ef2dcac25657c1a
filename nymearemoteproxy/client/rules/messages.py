"""The JSON messages between a client and a proxy.

Owns how they are written, and how they are found in a stream of bytes. Knows nothing of what any of
them means.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from nymearemoteproxy.client.rules.errors import TunnelError, stranger
from nymearemoteproxy.protocol.jsonobjects import Fault, ObjectError, ObjectSplitter
from nymearemoteproxy.protocol.jsonrpc import MessageError, decodeObject

MAX_CONTROL_SIZE = 64 * 1024
"""The server's longest message is a notification with a partner's name: the name came in a request
of at most 10 KiB, and escaping it as \\uXXXX makes it at most six times as long."""

REQUEST_ID = 1


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

    :param stranger: makes the error for what is no message.
    """

    def __init__(self, stranger: Callable[[object], TunnelError] = stranger) -> None:
        self._stranger = stranger
        self._splitter = ObjectSplitter(MAX_CONTROL_SIZE)
        self._latest = b""

    def feed(self, data: bytes) -> None:
        """Add bytes; `take` then returns what they completed."""
        self._latest = data
        self._splitter.feed(data)

    def take(self) -> dict[str, Any] | None:
        """Return the next complete message, None when there is none yet.

        :raises TunnelError: this is no message.
        """
        try:
            raw = self._splitter.take()
        except ObjectError as error:
            if error.fault is Fault.TOO_LARGE:
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
