"""How two clients come together: each kind of server has its own way.

Owns what is said until the tunnel stands. Knows nothing of what goes through it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import ssl
import uuid
from typing import Any, Protocol

from benchmarks.wires import Wire, connect, listen

Tunnel = tuple[Wire, Wire]
Address = tuple[str, int]

SECONDS = 30.0
"""Until a tunnel must stand; far more than any server needs, even when 20 come at once."""


class Meeting(Protocol):
    """A way to come together; as a string it can be given to a helper process."""

    async def open(self, transport: str, address: Address, source: str | None = None) -> Tunnel:
        """Open one tunnel."""
        ...


async def pair(meeting: Meeting, transport: str, address: Address, source: str = "") -> Tunnel:
    """Open one tunnel, or fail in time."""
    async with asyncio.timeout(SECONDS):
        return await meeting.open(transport, address, source or None)


class TokenMeeting:
    """API 0.3 of nymea-remoteproxy: both show the same token and nonce.

    :param partners: where the second one connects to, by where the first one does; to the same
        address if nothing is said.
    """

    def __init__(self, token: str, partners: dict[Address, Address] | None = None) -> None:
        self._token = token
        self._partners = partners or {}

    def __str__(self) -> str:
        return f"token:{self._token}"

    async def open(self, transport: str, address: Address, source: str | None = None) -> Tunnel:
        nonce = secrets.token_hex(8)
        first, second = await asyncio.gather(
            self._join(transport, address, source, nonce),
            self._join(transport, self._partners.get(address, address), source, nonce),
        )
        return first, second

    async def _join(self, transport: str, address: Address, source: str | None, nonce: str) -> Wire:
        wire = await connect(transport, address, source)
        request = {
            "id": 1,
            "method": "Authentication.Authenticate",
            "params": {
                "uuid": str(uuid.uuid4()),
                "name": "benchmark",
                "token": self._token,
                "nonce": nonce,
            },
        }
        wire.send(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await wire.line())
        if answer.get("params", {}).get("authenticationError") != "AuthenticationErrorNoError":
            raise ConnectionError(f"the server refuses: {answer}")
        notification: dict[str, Any] = json.loads(await wire.line())
        if notification.get("notification") != "RemoteProxy.TunnelEstablished":
            raise ConnectionError(f"the server says: {notification}")
        return wire


class TransitMeeting:
    """magic-wormhole-transit-relay: both name the same channel, each for its own side."""

    def __str__(self) -> str:
        return "transit"

    async def open(self, transport: str, address: Address, source: str | None = None) -> Tunnel:
        channel = secrets.token_hex(32)
        first, second = await asyncio.gather(
            self._join(transport, address, source, channel),
            self._join(transport, address, source, channel),
        )
        return first, second

    async def _join(
        self, transport: str, address: Address, source: str | None, channel: str
    ) -> Wire:
        wire = await connect(transport, address, source)
        side = secrets.token_hex(8)
        wire.send(f"please relay {channel} for side {side}\n".encode())
        if (answer := await wire.line()) != b"ok":
            raise ConnectionError(f"the relay says: {answer!r}")
        return wire


class ForwardMeeting:
    """haproxy: one connects to it, and it connects to a listening socket of ours.

    Which of the connections from haproxy belongs to which of those to it is told by the first
    line, which is answered, so that a helper process too knows when its tunnel stands.

    :ivar ports: where haproxy has to connect to, by transport.
    """

    def __init__(self) -> None:
        self._number = itertools.count()
        self._expected: dict[bytes, asyncio.Future[Wire]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.ports: dict[str, int] = {}

    def __str__(self) -> str:
        return "forward"

    async def listen(self, context: ssl.SSLContext) -> None:
        """Wait for haproxy's connections."""
        for transport, secure in (("tcp", None), ("tls", context)):
            server = await listen(secure, self._accepted)
            self.ports[transport] = server.sockets[0].getsockname()[1]

    def _accepted(self, wire: Wire) -> None:
        task = asyncio.get_running_loop().create_task(self._greet(wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _greet(self, wire: Wire) -> None:
        try:
            hello = await wire.line()
        except ConnectionError:
            return  # somebody only tried whether haproxy listens
        wire.send(b"ok\n")
        expected = self._expected.pop(hello, None)
        if expected is not None:  # otherwise a helper process holds the other end
            expected.set_result(wire)

    async def open(self, transport: str, address: Address, source: str | None = None) -> Tunnel:
        hello = f"{os.getpid()}-{next(self._number)}".encode()
        partner: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        isListening = bool(self.ports)  # otherwise this is a helper, which has one end only
        if isListening:
            self._expected[hello] = partner
        wire = await connect(transport, address, source)
        wire.send(hello + b"\n")
        if (answer := await wire.line()) != b"ok":
            raise ConnectionError(f"behind haproxy answers {answer!r}")
        return wire, (await partner if isListening else wire)


def meeting(how: str) -> Meeting:
    """Return the meeting that is so written."""
    kind, _colon, token = how.partition(":")
    if kind == "token":
        return TokenMeeting(token)
    return TransitMeeting() if kind == "transit" else ForwardMeeting()
