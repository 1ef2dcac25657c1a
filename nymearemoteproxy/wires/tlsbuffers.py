"""OpenSSL's connections, all by way of the same two buffers.

Owns the buffers, and that both are empty whenever nobody is in here. Knows nothing of transports,
nor of when TLS begins and ends.

Theory of operation
-------------------

OpenSSL reads from one buffer of memory and writes to another. Each keeps the size of the most that
it ever held, so that buffers of its own cost an idle connection 4 KiB. It needs none while nothing
happens: what OpenSSL says is taken at once, and what it is given it takes at once. Of a record that
is not there as a whole it keeps the beginning itself; it asks for more only when the buffer is
empty. What it leaves, behind close_notify or a fault, is of no use to anybody.

So every function here leaves both buffers empty, whatever happens, and calls nothing but OpenSSL,
which calls nobody back but the cluster's `sni_callback`. That must not write to any connection.
Bytes that were left would be taken for another connection's. They are encrypted for, or by, one
client, so nobody could read them, but the other connection would break.

Only one thread may come here, the reactor's: OpenSSL works without Python's lock.
"""

from __future__ import annotations

import contextlib
import ssl

from nymearemoteproxy.protocol.clienthello import RECORD_SIZE

Progress = tuple[bytes, bool, ssl.SSLError | None]
"""What is to be sent, which TLS says by itself; whether the other side has sent close_notify; and
what it did wrong."""

_INCOMING = ssl.MemoryBIO()
_OUTGOING = ssl.MemoryBIO()


def beginAsServer(context: ssl.SSLContext) -> ssl.SSLObject:
    """Return the server's end of a new connection."""
    return context.wrap_bio(_INCOMING, _OUTGOING, server_side=True)


def beginAsClient(
    context: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> ssl.SSLObject:
    """Return the client's end of a new connection.

    :param name: the host name that the server must have a certificate for.
    :param session: what it is to be resumed with.
    """
    return context.wrap_bio(_INCOMING, _OUTGOING, server_hostname=name, session=session)


def shakeHands(tls: ssl.SSLObject, data: bytes) -> tuple[bytes, bytes | None, ssl.SSLError | None]:
    """Go on with the handshake.

    :param data: that arrived.
    :returns: what is to be sent; what arrived behind the handshake, None while that is not done;
        and what the other side did wrong.
    """
    rest = fault = None
    try:
        _INCOMING.write(data)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            fault = error.with_traceback(None)  # which refers to this very frame
        else:
            rest = _INCOMING.read()
        return _OUTGOING.read(), rest, fault
    finally:
        _empty()


def decrypt(tls: ssl.SSLObject, data: bytes | memoryview, records: list[bytes]) -> Progress | None:
    """Read.

    :param data: that arrived.
    :param records: what it completes is added here.
    :returns: None if that is all, as nearly always: records that have arrived whole.
    """
    isClosed, fault = False, None
    incoming, outgoing, read = _INCOMING, _OUTGOING, tls.read
    try:
        incoming.write(data)
        while record := read(RECORD_SIZE):
            records.append(record)
            if not incoming.pending:
                break
        else:
            isClosed = True
        if not (isClosed or outgoing.pending):
            return None
    except ssl.SSLWantReadError:
        pass  # a record that has not arrived whole, or one of TLS's own
    except ssl.SSLZeroReturnError:
        isClosed = True
    except ssl.SSLError as error:
        fault = error.with_traceback(None)  # which refers to this very frame
    except BaseException:
        _empty()
        raise
    try:
        return outgoing.read(), isClosed, fault
    finally:
        _empty()


def encrypt(tls: ssl.SSLObject, data: bytes) -> bytes:
    """Return the records that these bytes become.

    :raises ssl.SSLError: OpenSSL failed.
    """
    try:
        sealed = tls.write(data)
        if sealed < len(data):  # which OpenSSL does if it is asked to, and Python does not ask
            rest = memoryview(data)
            while rest := rest[sealed:]:
                sealed = tls.write(rest)
        return _OUTGOING.read()
    finally:
        if _OUTGOING.pending:
            _empty()


def sayGoodbye(tls: ssl.SSLObject) -> bytes:
    """Return our close_notify, which is nothing if the other side broke TLS."""
    try:
        # It fails as long as theirs is missing, and if they broke TLS, which reading tells.
        with contextlib.suppress(ssl.SSLError):
            tls.unwrap()
        return _OUTGOING.read()
    finally:
        _empty()


def _empty() -> None:
    """Leave nothing for others."""
    _INCOMING.read()
    _OUTGOING.read()
