"""The stream of a registered server, as the proxy's end of its tunnel reads it.

The promises: what each client gets, and what the server is answered, do not depend on how the
stream is cut, but for what comes behind a fault;
every answer is a whole message in a whole packet; all of it is what a plain reading
of SLIP gives; and when all have left, nothing is left of them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.unescaping import END
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.packets import Reference
from tests.support.switchboards import Heard, World, packet

CLIENTS = 3

Relayed = tuple[list[bytes], list[Heard], Outcome | None]
"""What each client got, what the server heard, and how its connection ended."""

_CASE = SynchronousTestCase()


def check(data: bytes) -> None:
    how, data = taken(data)
    # In front of it, since a line end there may belong to the request.
    data = END + data
    got, heard, outcome = _relay([data])
    gotByPieces, *same = _relay(pieces(data, how))
    assert [heard, outcome] == same, "it depends on how it is cut"
    for one, other in zip(got, gotByPieces, strict=True):
        # What comes with a fault in one read may still be delivered.
        assert one == other if outcome is None else one.startswith(other), "a client got less"
    reference = Reference().read(data)
    for address, received in enumerate(got, 1):
        meant = b"".join(content for to, content in reference.packets if to == address)
        assert meant.startswith(received), "a client got something else"
        if not any(to == 0 for to, _content in reference.packets):
            assert (received, outcome) == (meant, None), "something is lost"


def _relay(parts: list[bytes]) -> Relayed:
    world = World(Terms())
    server = world.server()
    clients = [world.client(server) for _ in range(CLIENTS)]
    server.take()
    for part in parts:
        if server.outcome is not None:
            break
        server.receive(part)
        while not server.reading:
            world.clock.advance(0)
    heard = server.heard()
    for client in clients:
        client.receive(b"\xc0")
        client.leave()
    relayed = [client.take() for client in clients], heard, server.outcome
    world.check(_CASE)
    return relayed


TARGET = Target(
    check,
    covers=(
        "protocol.dialogue",
        "tunnelproxy.serverend",
        "tunnelproxy.switchboard",
    ),
    planted=(
        Planted(
            "tunnelproxy/serverend.py",
            "waiting.setdefault(address, []).append(payload)",
            "waiting[address] = [payload]",
        ),
        Planted(
            "tunnelproxy/serverend.py",
            "                self._deliver(waiting)\n                waiting = {}\n",
            "",
        ),
        Planted("tunnelproxy/serverend.py", 'b"".join(payloads))', "payloads[0])"),
        Planted("protocol/dialogue.py", "if method is AUTHENTICATE:", "if method is None:"),
    ),
    words=(
        packet(0, b'{"id":1,"method":"TunnelProxy.DisconnectClient","params":{"socketAddress":2}}'),
        packet(0, b'{"id":1,"method":"TunnelProxy.PauseClient","params":{"socketAddress":1}}'),
        packet(0, b'{"id":1,"method":"TunnelProxy.ResumeClient","params":{"socketAddress":1}}'),
        packet(0, b'{"id":1,"method":"RemoteProxy.Hello"}'),
        packet(0, b'{"id":1,"method":"TunnelProxy.Ping","params":{"timestamp":1}}'),
        packet(1, b"one"),
        packet(2, b"two"),
    ),
)
