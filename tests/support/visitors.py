"""Clients in memory, which see what real ones do: bytes, and the end of the stream.

What they send is up to the test. None of them ever answers the end of TLS.
"""

from __future__ import annotations

from tests.support.identities import clientContext
from tests.support.memory import Pipe
from tests.support.tlssessions import Client


class Visitor:
    """A client without TLS.

    :ivar pipe: the server's end of its connection.
    """

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def send(self, data: bytes) -> None:
        """Send data."""
        self.pipe.receive(data)

    def take(self) -> bytes:
        """Return what has arrived since."""
        return self.pipe.take()

    @property
    def isTold(self) -> bool:
        """Whether it got the end of the stream."""
        return self.pipe.halfClosed or self.pipe.disconnecting


class TlsVisitor(Visitor):
    """A client over TLS.

    :param version: of TLS, the only one that it speaks.
    """

    def __init__(self, pipe: Pipe, version: int) -> None:
        super().__init__(pipe)
        self._client = Client(clientContext(version))
        said = self._client.shakeHands()
        while said:
            pipe.receive(said)
            said = self._client.shakeHands(pipe.take())

    def encrypt(self, data: bytes) -> bytes:
        """Return what it sends on TCP for these data."""
        return self._client.encrypt(data)

    def send(self, data: bytes) -> None:
        self.pipe.receive(self.encrypt(data))

    def take(self) -> bytes:
        self._client.take(self.pipe.take())
        data, self._client.received = self._client.received, b""
        return data

    def leave(self) -> None:
        """Say goodbye in TLS, first."""
        self.pipe.receive(self._client.close())

    @property
    def isTold(self) -> bool:
        """Whether it got a close_notify, and with it the end of the stream."""
        return self._client.closed and self.pipe.halfClosed
