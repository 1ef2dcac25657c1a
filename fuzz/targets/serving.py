"""The stream of a proxy to a registered server, with the connections to its service.

The promises: who is connected, and what the service gets from each, does not depend on how the
stream is cut; of each client it is what a plain reading of SLIP gives; what is no such stream ends
the connection, with a line that says why.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.client.connecting.retrying import Reports
from nymearemoteproxy.client.local.refusals import Refusals
from nymearemoteproxy.client.local.serving import LocalService, Serving
from tests.support.nearby import Endpoint, Line
from tests.support.packets import Reference
from tests.support.switchboards import packet

MOST_CLIENTS = 3

Served = tuple[list[tuple[bytes, bool]], bytes, list[str]]
"""What the service got from each client, and whether that has left; what was sent to the proxy; and
what was said."""


def check(data: bytes) -> None:
    how, data = taken(data)
    served = _serve([data])
    assert served == _serve(pieces(data, how)), "it depends on how it is cut"
    packets = Reference().read(data).packets
    meant = b"".join(content for address, content in packets if address)
    for got, _hasLeft in served[0]:
        assert _isWithin(got, meant), "the service got what nobody sent"
    assert all(map(isLine, served[2])), "no text to be shown"


def _serve(parts: list[bytes]) -> Served:
    clock = Clock()
    services: Any = Endpoint()
    said: list[str] = []
    service = LocalService(services, "127.0.0.1:22", MOST_CLIENTS)
    serving: Any = Serving(
        clock, service, Reports(said.append), said.append, Refusals(clock, said.append)
    )
    proxy = Line(serving)
    serving.makeConnection(proxy)
    for part in parts:
        serving.dataReceived(part)
    attempts = [at for at, (_factory, ended) in enumerate(services.attempts) if not ended.called]
    lines = [services.succeed(at) for at in attempts]
    got = [(line.value(), line.disconnecting) for line in lines]
    sent = proxy.take()
    for line in (*lines, proxy):
        line.lose()
    clock.advance(1000)
    assert not clock.getDelayedCalls(), "something is left"
    return got, sent, said


def _isWithin(some: bytes, others: bytes) -> bool:
    """Tell whether these bytes are among the others, in their order."""
    rest = iter(others)
    return all(octet in rest for octet in some)


def _notice(what: bytes, address: int) -> bytes:
    said = b'{"notification":"TunnelProxy.%b","params":{"socketAddress":%d}}' % (what, address)
    return packet(0, said)


TARGET = Target(
    check,
    covers=("client.local.serving", "client.local.delivering"),
    planted=(
        Planted("client/local/serving.py", "elif address in self._clients:", "else:"),
        Planted("client/local/serving.py", "del self._addresses[local]", "pass"),
        Planted(
            "client/local/serving.py",
            "except TunnelError as problem:",
            "except LookupError as problem:",
        ),
    ),
    words=(
        *(_notice(b"ClientConnected", address) for address in (1, 2)),
        *(_notice(b"ClientDisconnected", address) for address in (1, 2)),
        _notice(b"ClientPaused", 1),
        packet(1, b"one"),
        packet(2, b"two"),
    ),
)
