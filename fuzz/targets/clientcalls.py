"""What a proxy tells a registered server: calls and notifications, in SLIP.

The promises: what is told does not depend on how it is cut; addresses are those of clients; what
names them is safe on a terminal; wherever they come from, there is a PROXY header of it, which the
server's reader understands; all else is a `TunnelError` in one line.
"""

from __future__ import annotations

from ipaddress import ip_address

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.client.rules.calling import Calls, ClientConnected, ClientEvent
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.proxyheader import proxyHeader
from nymearemoteproxy.protocol.packets import HIGHEST_ADDRESS
from nymearemoteproxy.protocol.proxyheader import ProxyHeader


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
            if isinstance(event, ClientConnected):
                assert isLine(event.shown)
                _checkHeader(event.peer)
        told += events
    return told, False


def _checkHeader(peer: str) -> None:
    header = ProxyHeader()
    assert header.feed(proxyHeader(peer)) == b"", "no PROXY header"
    try:
        address = ip_address(ip_address(peer).packed)  # without a zone
    except ValueError:
        assert header.source is None, "an address of nobody"
    else:
        mapped = getattr(address, "ipv4_mapped", None)
        assert header.source == (str(mapped or address), 0), "another address"


TARGET = Target(
    check,
    covers=("client.rules.calling", "client.rules.proxyheader"),
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
        Planted("client/rules/proxyheader.py", "if address.version == 4", "if address.packed"),
    ),
    words=(
        b'{"id":1,"status":"success"}',
        *(
            b'{"id":1,"notification":"TunnelProxy.Client%b","params":{"socketAddress":1' % what
            for what in (b"Connected", b"Disconnected", b"Paused", b"Resumed")
        ),
        b'"clientName":"\\u001b"',
        b'"clientPeerAddress":"\\n"',
        b'"clientPeerAddress":"::1"',
        b'"clientUuid":"u"',
        b"65535",
    ),
)
