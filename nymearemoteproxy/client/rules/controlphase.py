"""What every control phase has in common: requests, and the answer that opens the tunnel.

Owns where the control phase ends, who the partner is then, and that no text repeats a secret. Knows
nothing of what any message means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.client.rules.errors import TunnelError, oneLine, stranger
from nymearemoteproxy.client.rules.messages import REQUEST_ID, Messages, call

MIN_SECRET_LENGTH = 8
"""A secret shorter than this is none, and blotting it out would mangle ordinary words in the
server's texts."""


@dataclass(frozen=True)
class Partner:
    """Who is at the tunnel's other end: a stranger's own words, escape them to show them.

    :ivar isLengthPrefixed: it is a proxy, and its packets have their length in front.
    :ivar pausesClients: it is a proxy, and can be told not to read from a client.
    """

    name: str
    uuid: str
    isLengthPrefixed: bool = False
    pausesClients: bool = False

    @property
    def shown(self) -> str:
        """One line that is safe on a terminal; a server that was called by its uuid has no name."""
        name = [ascii(self.name)] if self.name or not self.uuid else []
        return " ".join(oneLine(part) for part in [*name, self.uuid])


class ControlPhase:
    """One client's way through the control phase.

    :param secrets: that no text may repeat.
    :ivar request: what to send first.
    :ivar further: what to send next; whoever has sent it empties it.
    :ivar waiting: the server has consented, and the partner is waited for.
    :ivar partner: who is at the other end, once the tunnel is up.
    """

    def __init__(
        self, method: str, params: Mapping[str, Any], secrets: Iterable[str | None] = ()
    ) -> None:
        self._secrets = [each for each in secrets if each and len(each) >= MIN_SECRET_LENGTH]
        self.request = call(REQUEST_ID, method, params)
        self.further = b""
        self.waiting = False
        self.partner: Partner | None = None
        self._messages = Messages(self.stranger)

    def receive(self, data: bytes) -> bytes:
        """Take in what the server sent, and return what follows the control phase.

        That message's newline, which set `partner`, is not taken off: only a byte stream has one to
        look for.

        :returns: the part of `data` behind that message; nothing while `partner` is not set.
        :raises TunnelError: the server refused, or it does not speak this protocol.
        """
        self._messages.feed(data)
        while self.partner is None:
            message = self._messages.take()
            if message is None:
                return b""
            self._handle(message)
        return self._messages.rest()

    def redacted(self, text: object) -> str:
        """Return a server's `text` as one safe line that repeats none of our secrets."""
        plain = str(text)
        for secret in self._secrets:
            plain = plain.replace(secret, "…")
        return oneLine(plain)

    def stranger(self, why: object, isTransient: bool = False) -> TunnelError:
        """Return the error for a server that behaves like no nymea-remoteproxy."""
        return stranger(self.redacted(why), isTransient)

    def _handle(self, message: dict[str, Any]) -> None:
        raise NotImplementedError
