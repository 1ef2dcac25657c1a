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
from pathlib import Path
from typing import Any, Protocol

from benchmarks import syncthing
from benchmarks.visitor import clientHello
from benchmarks.wires import Wire, clientContext, connect, listen

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
    """haproxy and its like: one connects to it, and it connects to a listening socket of ours.

    Which of the connections from it belongs to which of those to it is told by the first line,
    which is answered, so that a helper process too knows when its tunnel stands.

    :ivar ports: where it has to connect to, by transport.
    """

    def __init__(self) -> None:
        self._number = itertools.count()
        self._expected: dict[bytes, asyncio.Future[Wire]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.ports: dict[str, int] = {}

    def __str__(self) -> str:
        return "forward"

    async def listen(self, transport: str, context: ssl.SSLContext | None) -> None:
        """Wait for haproxy's connections."""
        server = await listen(context, self._accepted)
        self.ports[transport] = server.sockets[0].getsockname()[1]

    def _accepted(self, wire: Wire) -> None:
        task = asyncio.get_running_loop().create_task(self._greet(wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _greet(self, wire: Wire) -> None:
        try:
            hello = await self.greeting(wire)
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
        wire = await self.connect(transport, address, source)
        wire.send(hello + b"\n")
        if (answer := await wire.line()) != b"ok":
            raise ConnectionError(f"at the far end answers {answer!r}")
        return wire, (await partner if isListening else wire)

    async def connect(self, transport: str, address: Address, source: str | None) -> Wire:
        """Connect, so far that what is sent from now on goes through the tunnel."""
        return await connect(transport, address, source)

    async def greeting(self, wire: Wire) -> bytes:
        """Return the first line that came through the tunnel.

        :raises ConnectionError: none did.
        """
        return await wire.line()


class HomeMeeting(ForwardMeeting):
    """The tunnel proxy: a visitor connects to it, and the client at home to a service of ours.

    Every visitor begins with the first record of a TLS handshake, by which the proxy finds the
    home.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clientHello = clientHello()

    async def connect(self, transport: str, address: Address, source: str | None) -> Wire:
        wire = await super().connect(transport, address, source)
        wire.send(self._clientHello)
        return wire

    async def greeting(self, wire: Wire) -> bytes:
        await wire.take(len(self._clientHello))
        return await wire.line()


class SyncthingMeeting:
    """Syncthing's relay: one device has joined it, the other asks for a session with that one.

    The asking takes a connection over TLS for each session. Both devices are the same one, which
    the relay does not mind.

    :param certificate: the device's, PEM, with its key.
    """

    def __init__(self, certificate: Path) -> None:
        self._context = clientContext()
        self._context.load_cert_chain(certificate)
        self._context.set_alpn_protocols([syncthing.PROTOCOL])
        self._device = syncthing.deviceId(certificate.read_text())
        # An invitation does not say whose request it comes from.
        self._asking = asyncio.Lock()

    async def join(self, address: Address) -> None:
        """Let the first device be one that sessions can be had with.

        :raises ConnectionError: the relay does not take it.
        """
        self._joined = await connect("tls", address, context=self._context)
        self._joined.send(syncthing.message(syncthing.JOIN_RELAY))
        await syncthing.succeeded(self._joined.take)

    async def open(self, transport: str, address: Address, source: str | None = None) -> Tunnel:
        while True:  # until whoever wants the tunnel loses patience
            try:
                return await self._session(transport, address, source)
            except syncthing.FullError:
                # It says so, too, to one who comes while it is busy with the one before.
                continue

    async def _session(self, transport: str, address: Address, source: str | None) -> Tunnel:
        asking = await connect("tls", address, source, self._context)
        async with self._asking:
            asking.send(syncthing.message(syncthing.CONNECT, self._device))
            keys = [await syncthing.invitationKey(each.take) for each in (asking, self._joined)]
        asking.close()
        # One after the other, or the relay would be busy with the first one each time.
        first = await self._enter(transport, address, source, keys[0])
        try:
            second = await self._enter(transport, address, source, keys[1])
        except ConnectionError:
            first.transport.abort()
            raise
        # The relay tells nobody that the other one has gone, until it has something to send to it.
        first.closed.add_done_callback(lambda _closed: second.close())
        return first, second

    async def _enter(
        self, transport: str, address: Address, source: str | None, key: bytes
    ) -> Wire:
        wire = await connect(transport, address, source)
        wire.send(syncthing.message(syncthing.JOIN_SESSION, key))
        try:
            await syncthing.succeeded(wire.take)
        except ConnectionError:
            wire.transport.abort()
            raise
        return wire


def meeting(how: str) -> Meeting:
    """Return the meeting that is so written."""
    kind, _colon, token = how.partition(":")
    if kind == "token":
        return TokenMeeting(token)
    return TransitMeeting() if kind == "transit" else ForwardMeeting()
