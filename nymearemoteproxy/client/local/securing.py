"""One client's connection to the local service, encrypted between the client and us, or not.

Owns the end of TLS for that client, that the service hears of nobody before the handshake, and what
a client is told that wants encryption where there is none. Knows nothing of SLIP, addresses or the
proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.client.connecting.endtoend import EncryptedEnd, Side
from nymearemoteproxy.client.local.delivering import Destination, LocalConnection, Owner
from nymearemoteproxy.client.rules.endtoend import (
    REFUSAL,
    SERVING_OPTION,
    asksForEncryption,
    isUnfinished,
)
from nymearemoteproxy.client.rules.errors import TunnelError

MOST_HANDSHAKES = 64
"""Clients that may be shaking hands at a time. Each costs up to 200 KiB, for as long as it likes
within `HANDSHAKE_TIMEOUT`, and honest ones are done within two round trips."""


class PlainConnection(LocalConnection):
    """A client that is not encrypted; one that would like to be is told that it cannot.

    :param opening: what the service is told first.
    :param refused: is told in one line why a client is turned away.
    """

    def __init__(
        self, clock: Any, owner: Owner, opening: bytes, refused: Callable[[str], object]
    ) -> None:
        super().__init__(clock, owner, opening)
        self._refused = refused
        self._first: bytes | None = b""  # how it began, as long as it may still ask for encryption

    def deliver(self, data: bytes) -> None:
        if self._first is not None:
            data = self._first + data
            if isUnfinished(data):
                self._first = data
                return
            self._first = None
            if asksForEncryption(data):
                self._refused(f"it wants encryption from end to end; that needs {SERVING_OPTION}")
                self._owner.sent(self, REFUSAL)
                self.finish()
                return
        super().deliver(data)

    def finish(self, isWhole: bool = True) -> None:
        first, self._first = self._first, None
        if first:
            super().deliver(first)
        super().finish(isWhole)


class Handshakes:
    """Those who are shaking hands: the oldest one makes room where there are too many."""

    def __init__(self) -> None:
        self._underWay: dict[SecuredConnection, None] = {}

    def begin(self, client: SecuredConnection) -> None:
        """It is one of them."""
        self._underWay[client] = None
        if len(self._underWay) > MOST_HANDSHAKES:
            oldest = next(iter(self._underWay))
            self.end(oldest)
            oldest.refuse(
                TunnelError(f"more than {MOST_HANDSHAKES} clients are in the handshake at a time")
            )

    def end(self, client: SecuredConnection) -> None:
        """It no longer is, or never was."""
        self._underWay.pop(client, None)


class SecuredConnection(EncryptedEnd):
    """What a `LocalConnection` is, for a client whose bytes are encrypted.

    :param clock: measures time.
    :param owner: gets what is to be sent to the client, in one piece for what was read at once.
    :param opening: what the service is told first, before anything that was decrypted.
    :param side: has the certificate.
    :param handshakes: of all clients of the service.
    :param refused: told why, of a client that gets no connection or loses it by what it sent.
    """

    _destination: Destination

    def __init__(
        self,
        clock: Any,
        owner: Owner,
        opening: bytes,
        side: Side,
        handshakes: Handshakes,
        refused: Callable[[TunnelError], None],
    ) -> None:
        super().__init__(clock, side)
        self._owner = owner
        self._handshakes = handshakes
        self._refused = refused
        self._local = LocalConnection(clock, self, opening)
        self._wire = _ToClient()
        self._isFinishing = False
        self._isCut = False
        self._isReading = False
        self._isTold = False
        # Whether the service's connection is gone, and why there was none if it is.
        self._gone: tuple[Failure | None] | None = None

    @property
    def queued(self) -> int:
        """How many bytes wait for the service."""
        return self._local.queued

    @property
    def since(self) -> float:
        """When the service last took some of what waits."""
        return self._local.since

    @property
    def where(self) -> str:
        """The service's address, for people."""
        return self._local.where

    def connect(self, destination: Destination) -> None:
        """Await the handshake, then connect to the service."""
        self._destination = destination
        self.layer.makeConnection(self._wire)
        self._handshakes.begin(self)

    def deliver(self, data: bytes) -> None:
        """The client sent `data`."""
        if self.layer.connected:
            self._isReading = True
            self.layer.dataReceived(data)
            self._isReading = False
            self._settle()

    def finish(self) -> None:
        """The client is gone: close when all that it sent has been delivered."""
        self._isFinishing = True
        self._wire.isClosed = True
        self._settle()

    def cut(self) -> None:
        """Close at once; what waits is lost, and the client is not told of an orderly end."""
        self._isCut = True
        self._local.cut()

    def hold(self) -> None:
        """Read nothing from the service until `release`."""
        self._local.hold()

    def release(self) -> None:
        """Read from the service again."""
        self._local.release()

    # The client's side, for EncryptedEnd

    def established(self) -> None:
        """See `EncryptedEnd`."""
        self._handshakes.end(self)
        self._local.connect(self._destination)

    def dataReceived(self, data: bytes) -> None:
        self._local.deliver(data)

    def refuse(self, problem: TunnelError, alert: bytes = REFUSAL) -> None:
        """See `EncryptedEnd`."""
        super().refuse(problem, alert)
        self._settle()

    def failed(self, problem: TunnelError) -> None:
        """See `EncryptedEnd`."""
        self._handshakes.end(self)
        if not self._isFinishing:
            self._refused(problem)
        self._gone = (Failure(CancelledError()),)

    def ended(self, reason: Failure) -> None:
        """See `EncryptedEnd`."""
        if self._gone is not None:
            return
        if reason.check(ConnectionDone):
            self._local.finish()
        elif self._isFinishing:
            self._local.finish(isWhole=False)
        else:
            self._refused(TunnelError(str(reason.value)))
            self.cut()

    # The service's side, for LocalConnection

    def waits(self, local: LocalConnection, change: int) -> None:
        """More or less than before waits for the service."""
        self._owner.waits(self, change)

    def sent(self, local: LocalConnection, data: bytes) -> None:
        """The service sent `data`."""
        self.transport.write(data)
        self._settle()

    def gone(self, local: LocalConnection, failure: Failure | None) -> None:
        """The service's connection is closed, or there never was one: tell the client so."""
        self._gone = (failure,)
        if self.layer.connected and not self._isCut:
            self.transport.loseConnection()
        self._wire.isClosed = True
        self._settle()

    def _settle(self) -> None:
        """Send what TLS has written, and end what is at its end.

        Not from within TLS, which goes on with its own when it has written or closed.
        """
        if self._isReading:
            return
        data = self._wire.take()
        if data and not self._isFinishing:
            self._owner.sent(self, data)
        if self._wire.isClosed and self.layer.connected:
            self.layer.connectionLost(connectionDone)
        if self._gone is not None and not self._isTold:
            self._isTold = True
            self._owner.gone(self, *self._gone)


class _ToClient:
    """The transport of TLS: collects what it writes.

    :ivar isClosed: nothing more is to be written or read.
    """

    disconnecting = False

    def __init__(self) -> None:
        self.isClosed = False
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Add to what is to be sent."""
        self._pieces.append(data)

    def take(self) -> bytes:
        """Return what is to be sent, and forget it."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    def loseConnection(self) -> None:
        """TLS is at its end."""
        self.isClosed = True

    abortConnection = loseConnection

    def unregisterProducer(self) -> None:
        """There is none."""
