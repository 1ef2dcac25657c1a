"""TLS on a connection, by the standard library's `ssl` over memory buffers.

It takes the place of Twisted's TLS, which goes through pyOpenSSL and cffi and costs three times as
much for a small record. Owns the handshake, what is delivered when, and the end of both directions
(RFC 8446, RFC 5246). Knows nothing of certificates, of how bytes get to OpenSSL, nor of what is
spoken above it.
"""

from __future__ import annotations

import ssl
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IPushProducer,
)
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.protocol.clienthello import RECORD_SIZE
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.introduction import IIntroductionListener
from nymearemoteproxy.wires.tlsbuffers import (
    Progress,
    decrypt,
    encrypt,
    sayGoodbye,
    shakeHands,
)

log = ProxyLogger()

SLICE_SIZE = RECORD_SIZE + 22
"""Bytes given to OpenSSL at a time, between which others may get their turn. It is one full record
of TLS 1.3 (RFC 8446 section 5.2: header, content type, tag), for a record that is cut costs an
exception."""

RECORDS_AT_ONCE = 256
"""Records after which others get their turn, if more than one slice has arrived. Each takes some
microseconds; a read has fewer when they are of more than 350 bytes."""

MAX_UNSENT_ANSWERS = 1 << 14
"""Bytes of TLS's own answers, say to renegotiation attempts, that a client does not take."""


class IFarewellListener(Interface):
    """A protocol that wants to know at once when the client has sent close_notify."""

    def clientLeft() -> None:
        """Nothing more will come. The connection is closed when the client has taken what waits."""


@implementer(IIntroductionListener)
class TlsTransport:
    """One end of TLS: the protocol of a direct transport, the transport of a protocol.

    What is said here of the client holds for a server as well, where the other end is one.

    The protocol must not write before `handshakeCompleted`. A client that sends close_notify has
    ended the connection, in both directions; ours ends only what we send. With it comes the end of
    the stream, for many clients, Qt's among them, wait for that and answer no close_notify. It does
    not provide ISSLTransport: Autobahn would ask for what only Twisted's own has.

    :param tls: the connection as OpenSSL sees it, from `tlsbuffers`; None = a subclass makes it
        before the handshake goes on.
    :param protocol: the first one of the connection.
    :param turns: where it waits when it has been sent many small records; None = it does not.
    """

    __slots__ = (
        "_isPaused",
        "_rest",
        "_held",
        "_turns",
        "_transport",
        "_protocol",
        "_tls",
        "_established",
        "_closing",
        "_aborted",
        "_closedByUs",
        "_closedByClient",
        "_endWaits",
        "_fault",
    )

    _tls: ssl.SSLObject
    _transport: DirectTransport

    def __init__(
        self, tls: ssl.SSLObject | None, protocol: Any, turns: Turns | None = None
    ) -> None:
        self._protocol = protocol
        self._turns = turns
        self._rest = b""  # what has arrived and waits for its turn
        self._held = b""  # what TLS says by itself; it was sealed first, so it goes out first
        self._isPaused = False
        if tls is not None:
            self._tls = tls
        self._established = False
        self._closing = False
        self._aborted = False
        self._closedByUs = False
        self._closedByClient = False
        self._endWaits = False  # the client's end is to be told when it is read again
        self._fault: Failure | None = None

    def makeConnection(self, transport: DirectTransport) -> None:
        """The client is there, and will begin the handshake."""
        self._transport = transport
        self._protocol.makeConnection(self)

    def introduced(self) -> None:
        """Below TLS somebody said whose the connection is."""
        if IIntroductionListener.providedBy(self._protocol):
            self._protocol.introduced()

    def switchProtocol(self, protocol: Any) -> None:
        """Hand the connection to another protocol."""
        self._protocol = protocol
        protocol.makeConnection(self)

    # From the network

    def dataReceived(self, data: bytes) -> None:
        """Bytes of TLS arrived."""
        if self._established:
            self._decrypt(data)
        else:
            self._shakeHands(data)

    def _shakeHands(self, data: bytes) -> None:
        """Go on with the handshake."""
        answer, rest, fault = shakeHands(self._tls, data)
        answer = self._takeHeld() + answer
        if fault is not None:
            self._fail(fault, answer)
        elif rest is None:
            if answer:
                self._transport.write(answer)
        else:
            self._established = True
            self._held = answer + self._greet()
            self._decrypt(rest, isNew=True)

    def _greet(self) -> bytes:
        """Return what is to be sent, sealed, as soon as the handshake is done."""
        return b""

    def _decrypt(self, data: bytes, isNew: bool = False) -> None:
        """Deliver what these bytes complete.

        :param isNew: the handshake is done just now; the protocol hears of it when OpenSSL has read
            everything, so that it may close.
        """
        records: list[bytes] = []
        if self._rest:
            data = self._rest + data
            self._rest = b""
        # With nothing behind the handshake OpenSSL is not asked, which costs 10 µs.
        progress = self._read(data, records) if data else None
        if progress is None and not (isNew or self._held or self._aborted):
            self._protocol.dataReceived(b"".join(records))
        else:
            self._proceed(progress or (b"", False, None), records, isNew)

    def _proceed(self, progress: Progress, records: list[bytes], isNew: bool) -> None:
        """Deliver, and do what else is to be done."""
        answer, isClosed, fault = progress
        if isClosed:
            self._closedByClient = True
        if fault is not None:
            self._closing = True  # nothing can be sent any more
        if answer:
            self._held += answer
        if isNew and IHandshakeListener.providedBy(self._protocol):
            self._protocol.handshakeCompleted()  # the end of ours goes with what it writes
        if self._held:
            self._answer()
        if records and not self._aborted:
            self._protocol.dataReceived(b"".join(records))
        if fault is not None:
            self._fail(fault, b"")
        elif self._closedByClient:
            self._clientLeft()
        elif self._rest:
            self._transport.pauseProducing()
            self._awaitTurn()

    def _read(self, data: bytes, records: list[bytes]) -> Progress | None:
        """Do what `decrypt` does, as far as others need not get their turn before."""
        if len(data) <= SLICE_SIZE:
            return decrypt(self._tls, data, records)
        answers: list[bytes] = []
        isClosed, fault = False, None
        rest = memoryview(data)
        for count, start in enumerate(range(0, len(data), SLICE_SIZE)):
            progress = decrypt(self._tls, rest[start : start + SLICE_SIZE], records)
            if progress is not None:
                answer, isClosed, fault = progress
                answers.append(answer)
                if isClosed or fault is not None:
                    break
            # Where even full records would have been more, much is what TLS says by itself.
            isDear = len(records) > RECORDS_AT_ONCE or len(records) < count
            if isDear and self._turns is not None:
                self._rest = bytes(rest[start + SLICE_SIZE :])
                break
        return b"".join(answers), isClosed, fault

    def _clientLeft(self) -> None:
        """Both directions are over; who has left calls unread answers them first."""
        isListener = IFarewellListener.providedBy(self._protocol)
        self._endWaits = self._isPaused and not isListener
        if self._endWaits:
            return
        self._closing = True
        if isListener:
            self._protocol.clientLeft()
        self._sayGoodbye()

    def _awaitTurn(self) -> None:
        if self._isPaused or self._aborted:
            return
        if self._turns is None:
            self._takeTurn()
        else:
            self._turns.wait(self._takeTurn, self._failed, relays=True)

    def _takeTurn(self) -> None:
        if self._isPaused or self._aborted:
            return
        if self._rest:
            self._transport.resumeProducing()
            self._decrypt(b"")
        elif self._endWaits:
            self._clientLeft()

    def _failed(self, failure: Failure) -> None:
        log.failure("internal error below TLS", failure)
        self.abortConnection()

    def _answer(self) -> None:
        """Send what TLS has to say by itself, unless the client does not take anything."""
        if self._closedByUs:
            self._held = b""  # nothing may follow the goodbye
        elif not self._transport.blocked:
            self._transport.write(self._takeHeld())
        elif len(self._held) > MAX_UNSENT_ANSWERS:
            self.abortConnection()

    def _takeHeld(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def _fail(self, fault: ssl.SSLError, alert: bytes) -> None:
        """The client broke TLS; OpenSSL has made the alert that says so."""
        if self._aborted:
            return
        self._fault = self._fault or Failure(fault.with_traceback(None))
        self._closing = True
        if self._closedByUs:
            self._transport.loseConnection()  # no alert can follow
        elif self._transport.blocked:
            self.abortConnection()  # it would not take the alert
        else:
            if alert:
                self._transport.write(alert)
            self._transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """The connection is closed; without close_notify something may be missing."""
        if self._fault is not None:
            reason = self._fault
        elif reason.check(ConnectionDone) and not self._closedByClient:
            reason = Failure(ConnectionLost("closed without close_notify"))
        self._closing = self._aborted = True
        protocol = self._protocol
        del self._protocol
        protocol.connectionLost(reason)

    # From the protocol

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._closing:
            return
        try:
            sealed = encrypt(self._tls, data)
        except ssl.SSLError as error:
            self._fail(error, b"")
            return
        if self._held:
            sealed = self._takeHeld() + sealed
        self._transport.write(sealed)

    def loseWriteConnection(self) -> None:
        """Send what waits, then the end of what we send; what still comes is delivered."""
        if not self._established:
            self.abortConnection()
        elif not self._closing:
            self._closing = True
            self._sayGoodbye()

    def loseConnection(self) -> None:
        """The same: the connection is closed when the client does so."""
        self.loseWriteConnection()

    def _sayGoodbye(self) -> None:
        """Send close_notify and the end of the stream, at once; with the client's, close."""
        if self._aborted:
            return
        if not self._closedByUs:
            self._closedByUs = True
            self._transport.write(self._takeHeld() + sayGoodbye(self._tls))
        if self._closedByClient:
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()

    def abortConnection(self) -> None:
        """Close at once; nothing more is delivered."""
        self._closing = self._aborted = True
        self._transport.abortConnection()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Have a push producer paused while something waits to be sent."""
        self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Pause and resume nobody."""
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._isPaused = True
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again; first what has arrived."""
        self._isPaused = False
        if self._rest or self._endWaits:
            self._awaitTurn()
        else:
            self._transport.resumeProducing()

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self._transport.getPeer()

    def getHost(self) -> IAddress:
        """Our address."""
        return self._transport.getHost()

    @property
    def blocked(self) -> bool:
        """Something waits to be sent."""
        return self._transport.blocked

    @property
    def lowest(self) -> DirectTransport:
        """What is below TLS."""
        return self._transport
