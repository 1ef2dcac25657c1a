"""The stream of a proxy to a registered server, with the connections to its service.

The promises: who is connected, and what the service gets from each, does not depend on how the
stream is cut; of each client it is what a plain reading of SLIP gives; what is no such stream ends
the connection, with a line that says why.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from twisted.internet.task import Clock

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.client.connecting.retrying import Reports
from nymearemoteproxy.client.local.delivering import Destination
from nymearemoteproxy.client.local.refusals import Refusals
from nymearemoteproxy.client.local.serving import LocalService, Serving
from nymearemoteproxy.client.rules.calling import Calls, ClientConnected, ClientDisconnected
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.protocol.packets import PROXY
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
    assert served[0] == _expected(data), "the service got something else from a client"
    assert all(map(isLine, served[2])), "no text to be shown"


def _serve(parts: list[bytes]) -> Served:
    clock = Clock()
    services: Any = Endpoint()
    said: list[str] = []
    service = LocalService(Destination(services, "127.0.0.1:22"), MOST_CLIENTS)
    reports: defaultdict[str, Reports] = defaultdict(lambda: Reports(said.append))
    serving: Any = Serving(clock, service, reports, said.append, Refusals(clock, said.append))
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


@dataclass
class _Client:
    """One client, as the proxy tells of it."""

    address: int
    sent: bytes = b""
    hasLeft: bool = False

    @property
    def counts(self) -> bool:
        """It is there, or the service has yet to get what it sent."""
        return bool(self.sent) or not self.hasLeft


def _expected(data: bytes) -> list[tuple[bytes, bool]]:
    """Return what the service gets from each client, by a plain reading."""
    clients: list[_Client] = []
    calls = Calls()
    try:
        for address, content in Reference().read(data).packets:
            if address != PROXY:
                for client in _present(clients, address):
                    client.sent += content
                continue
            for event in calls.receive(content):
                if isinstance(event, ClientConnected | ClientDisconnected):
                    for client in _present(clients, event.address):
                        client.hasLeft = True
                count = sum(client.counts for client in clients)
                if isinstance(event, ClientConnected) and count < MOST_CLIENTS:
                    clients.append(_Client(event.address))
    except TunnelError:
        for client in clients:
            client.hasLeft = True
    return [(client.sent, client.hasLeft) for client in clients if client.counts]


def _present(clients: list[_Client], address: int) -> list[_Client]:
    """Return the client with this address, if there is one."""
    return [each for each in clients if each.address == address and not each.hasLeft]


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
            "self._clients[address].deliver(payload)",
            "self._clients[min(self._clients)].deliver(payload)",
        ),
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
