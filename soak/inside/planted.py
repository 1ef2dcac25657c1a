"""Faults that a server is given, so that it can be seen that each is found.

Owns what they are. Each happens once in a while, as faults do. Knows nothing of who finds them.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

from soak.inside.names import PLANTED

RARE = 20
"""A fault happens each so many times."""
NOBODY = 40000
"""An address of the tunnel proxy that no client has: they are given from 1 on."""


def install() -> None:
    """Give this process the fault that the environment names."""
    name = os.environ.get(PLANTED)
    if name:
        FAULTS[name]()


def _patch(kind: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(kind, name, make(getattr(kind, name)))


def _seldom(fault: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return what takes the place of a method: seldom the fault, given the method first."""

    def make(method: Any) -> Any:
        numbers = itertools.count(1)

        def patched(*arguments: Any) -> Any:
            if next(numbers) % RARE:
                return method(*arguments)
            return fault(method, *arguments)

        return patched

    return make


def _lostByte() -> None:
    """What a stream is sent lacks a byte."""
    from nymearemoteproxy.wires.stream import StreamLeg

    _patch(StreamLeg, "sendBytes", _seldom(lambda send, leg, data: send(leg, data[1:])))


def _wrongPartner() -> None:
    """What a stream is sent gets another one."""
    from nymearemoteproxy.wires.stream import StreamLeg

    last: list[Any] = []

    def make(send: Any) -> Any:
        numbers = itertools.count(1)

        def patched(leg: Any, data: bytes) -> None:
            isDue = not next(numbers) % RARE and last and not last[0].finished
            send(last[0] if isDue else leg, data)
            last[:] = [leg]

        return patched

    _patch(StreamLeg, "sendBytes", make)


def _lostEnd() -> None:
    """What waited for a client when its partner left is not sent."""
    from nymearemoteproxy.wires.leg import Leg

    def abort(_finish: Any, leg: Any, _outcome: Any) -> None:
        leg.abort()

    _patch(Leg, "finish", _seldom(abort))


def _lostLine() -> None:
    """The end of a connection is not logged."""
    from nymearemoteproxy.connections.registry import Registry

    def silently(_ended: Any, registry: Any, record: Any) -> None:
        registry.gate.leave(record.ticket)
        registry.ends(record)

    _patch(Registry, "ended", _seldom(silently))


def _uncounted() -> None:
    """What a connection has carried is not counted."""
    from nymearemoteproxy.connections.counters import Counters

    _patch(Counters, "carried", _seldom(lambda _carried, _counters, _record: None))


def _unaccounted() -> None:
    """A tunnel is not written down."""
    from nymearemoteproxy.accounting.bookkeeping import TunnelLog

    _patch(TunnelLog, "tunnelEnded", _seldom(lambda _ended, *_arguments: None))


def _descriptor() -> None:
    """A file stays open."""
    from nymearemoteproxy.connections.registry import Registry

    def leak(ended: Any, registry: Any, record: Any) -> None:
        os.dup(0)
        ended(registry, record)

    _patch(Registry, "ended", _seldom(leak))


def _object() -> None:
    """An object stays alive."""
    from nymearemoteproxy.connections.registry import Registry

    kept = []

    def keep(ended: Any, registry: Any, record: Any) -> None:
        kept.append(record)
        ended(registry, record)

    _patch(Registry, "ended", _seldom(keep))


def _memory() -> None:
    """Memory is kept for each connection."""
    from nymearemoteproxy.connections.registry import Registry

    kept = []

    def keep(ended: Any, registry: Any, record: Any) -> None:
        kept.append(b"x" * (4 << 20))  # written to, or it would be none
        ended(registry, record)

    _patch(Registry, "ended", _seldom(keep))


def _token() -> None:
    """A token gets into the log."""
    from nymearemoteproxy.authentication import http
    from nymearemoteproxy.common.logs import ProxyLogger

    log = ProxyLogger(http.__name__)

    def tell(authenticate: Any, backend: Any, token: str) -> Any:
        log.info("asked for {token}", token=token)
        return authenticate(backend, token)

    _patch(http.HttpAuthenticator, "authenticate", _seldom(tell))


def _traceback() -> None:
    """An exception is not handled."""
    from nymearemoteproxy.wires.stream import StreamLeg

    def fail(_method: Any, _leg: Any) -> None:
        raise ValueError("planted")

    _patch(StreamLeg, "readConnectionLost", _seldom(fail))


def _stderr() -> None:
    """An exception goes past the log."""
    from nymearemoteproxy.connections.registry import Registry

    def tell(ended: Any, registry: Any, record: Any) -> None:
        os.write(2, b"Traceback (most recent call last): planted\n")
        ended(registry, record)

    _patch(Registry, "ended", _seldom(tell))


def _death() -> None:
    """The process is gone, without a word."""
    from nymearemoteproxy.connections.registry import Registry

    _patch(Registry, "ended", _seldom(lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL)))


def _address() -> None:
    """A registered server gets a packet of somebody who was never announced."""
    from nymearemoteproxy.tunnelproxy.serverend import ServerEnd

    def mistake(_relay: Any, end: Any, _client: Any, data: bytes) -> None:
        end._send(end._encode(NOBODY, data))

    _patch(ServerEnd, "relay", _seldom(mistake))


def _shortCount() -> None:
    """One byte less is counted than a connection has carried."""
    from nymearemoteproxy.connections.registry import Registry

    def miscount(ended: Any, registry: Any, record: Any) -> None:
        record.received -= 1
        ended(registry, record)

    _patch(Registry, "ended", _seldom(miscount))


FAULTS = {
    "lost-byte": _lostByte,
    "wrong-partner": _wrongPartner,
    "lost-end": _lostEnd,
    "lost-line": _lostLine,
    "uncounted": _uncounted,
    "unaccounted": _unaccounted,
    "descriptor": _descriptor,
    "object": _object,
    "memory": _memory,
    "token": _token,
    "traceback": _traceback,
    "stderr": _stderr,
    "death": _death,
    "address": _address,
    "short-count": _shortCount,
}
"""By name, for ``--planted``."""
