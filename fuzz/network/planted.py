"""Faults that a server can be given, to see that the fuzzer finds them.

    python -m fuzz.network --planted NAME

As a program, ``python -m fuzz.network.planted NAME PYTHON -m MODULE…``, it becomes the server that
the rest of its command line starts, with that fault. Owns the faults, each of another kind.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.dismissal import Dismissal
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.proxyheader import ProxyHeader, ProxyHeaderError
from nymearemoteproxy.protocol.session import PairingKeys
from nymearemoteproxy.protocol.slip import PacketReader
from nymearemoteproxy.wires.stream import StreamLeg
from nymearemoteproxy.wires.upgrade import Upgrade

log = ProxyLogger()


def _instead(owner: type, name: str, wrong: Callable[..., Any]) -> None:
    """Have a method called by another one, which gets it as its first argument."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *arguments: wrong(original, *arguments))


def crash() -> None:
    """A wrong escape in a packet is something that nobody has thought of."""

    def receive(original: Any, reader: Any, data: bytes) -> Any:
        if b"\xdbx" in data:
            raise ZeroDivisionError
        return original(reader, data)

    _instead(PacketReader, "receive", receive)


def leak() -> None:
    """A PROXY header that is wrong leaves a descriptor open."""

    def feed(original: Any, header: Any, data: bytes) -> Any:
        try:
            return original(header, data)
        except ProxyHeaderError:
            os.open("/dev/null", os.O_RDONLY)
            raise

    _instead(ProxyHeader, "feed", feed)


def mixUp() -> None:
    """A byte in the middle of what a stream is sent is another one, once in a while."""
    count = 0

    def sendBytes(original: Any, leg: Any, data: bytes) -> None:
        nonlocal count
        count += 1
        if not count % 20:
            data = data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :]
        original(leg, data)

    _instead(StreamLeg, "sendBytes", sendBytes)


def hang() -> None:
    """The time for the upgrade to WebSocket has no end."""
    _instead(Upgrade, "deadlinePassed", lambda _original, _upgrade: None)


def forget() -> None:
    """One outcome is not logged."""

    def ended(original: Any, registry: Any, record: Any) -> None:
        if record.outcome is Outcome.WEBSOCKET_PROTOCOL_ERROR:
            registry.gate.leave(record.ticket)
            registry.ends(record)
        else:
            original(registry, record)

    _instead(Registry, "ended", ended)


def tell() -> None:
    """A nonce is logged."""

    def key(original: Any, keys: Any, token: str, subject: str | None, nonce: str) -> Any:
        log.info("a client has the nonce {nonce}", nonce=nonce)
        return original(keys, token, subject, nonce)

    _instead(PairingKeys, "key", key)


def stay() -> None:
    """Whoever is there when the server is stopped keeps it from ending."""
    _instead(Dismissal, "dismissAll", lambda _original, _dismissal: Deferred())
    _instead(Dismissal, "abortAll", lambda _original, _dismissal: None)


def hoard() -> None:
    """Sixteen MiB stay of each connection that is closed for its frames."""
    hoarded = []

    def endsWith(original: Any, record: Any, outcome: Any) -> None:
        if outcome is Outcome.WEBSOCKET_PROTOCOL_ERROR:
            hoarded.append(b"x" * (1 << 24))
        original(record, outcome)

    _instead(Record, "endsWith", endsWith)


FAULTS: Mapping[str, Callable[[], None]] = {
    each.__name__: each for each in (crash, leak, mixUp, hang, forget, tell, stay, hoard)
}


def main() -> None:
    """Plant the fault, and become the server."""
    _program, name, _python, _m, module, *arguments = sys.argv
    FAULTS[name]()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
