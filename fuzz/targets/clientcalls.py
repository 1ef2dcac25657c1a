"""What a proxy tells a registered server: calls and notifications, in SLIP.

The promises: what is told does not depend on how it is cut; addresses are those of clients; what
names them is safe on a terminal; all else is a `TunnelError` in one line.
"""

from __future__ import annotations

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.client.rules.calling import Calls, ClientConnected, ClientEvent
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.protocol.packets import HIGHEST_ADDRESS


def check(data: bytes) -> None:
    how, data = taken(data)
    assert _tell([data]) == _tell(pieces(data, how)), "it depends on how it is cut"


def _tell(parts: list[bytes]) -> tuple[list[ClientEvent], bool]:
    """Return what was told before a fault, and whether there was one."""
    calls = Calls()
    told: list[ClientEvent] = []
    for part in parts:
        try:
            events = calls.receive(part)
        except TunnelError as error:
            assert isLine(str(error)), "no text to be shown"
            return [], True  # what came with the same read is lost with the connection
        for event in events:
            assert 0 < event.address <= HIGHEST_ADDRESS, "no client's address"
            assert not isinstance(event, ClientConnected) or isLine(event.shown)
        told += events
    return told, False


TARGET = Target(
    check,
    covers=("client.rules.calling",),
    planted=(
        Planted(
            "client/rules/calling.py",
            "not PROXY < address <= HIGHEST_ADDRESS",
            "not PROXY < address",
        ),
        Planted("client/rules/calling.py", "from {oneLine(peer)}", "from {peer}"),
        Planted(
            "client/rules/calling.py",
            "            if event is not None:\n                events.append(event)",
            "            if event is not None:\n                events = [event]",
        ),
    ),
    words=(
        b'{"id":1,"status":"success"}',
        *(
            b'{"id":1,"notification":"TunnelProxy.Client%b","params":{"socketAddress":1' % what
            for what in (b"Connected", b"Disconnected", b"Paused", b"Resumed")
        ),
        b'"clientName":"\\u001b"',
        b'"clientPeerAddress":"\\n"',
        b'"clientUuid":"u"',
        b"65535",
    ),
)
