"""What a link between machines begins with, before TLS.

The promises: only what a member made for this one is taken, once, however it is cut, and what is
behind it is passed on; all else is refused in one line.
"""

from __future__ import annotations

from typing import Any

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.cluster.identity import PREFACE_SIZE, MemberIdentity
from nymearemoteproxy.cluster.preface import Preface

_SECRET = bytes(range(32))
_OURS = MemberIdentity(_SECRET, bytes(16))
_OTHER = MemberIdentity(_SECRET, bytes(range(16)))


def check(data: bytes) -> None:
    how, data = taken(data)
    refused, rest = _begin([data])
    assert (refused, rest) == _begin(pieces(data, how)), "it depends on how it is cut"
    assert not rest, "a stranger is let in"
    made = _OTHER.prefaceTo(_OURS.id)
    place, change = how % PREFACE_SIZE, data[:1] or b"\0"
    if made[place : place + 1] != change:
        wrong = made[:place] + change + made[place + 1 :]
        assert _begin([wrong])[0], "somebody has changed it"
    assert _begin(pieces(made + data, how)) == ("", data), "a member is not let in"
    assert _begin([made])[0], "it is taken twice"


class _Wire:
    """Stands for the transport, for who has the connection, and for what follows."""

    def __init__(self) -> None:
        self.refused = ""
        self.rest = b""
        self.protocol: Any = Preface(_OURS, self, self._refuse)

    def _refuse(self, reason: str) -> None:
        assert isLine(reason), "no text to be shown"
        self.refused = self.refused or reason

    def makeConnection(self, transport: object) -> None:
        """Has the connection."""

    def switchProtocol(self, protocol: object) -> None:
        """Another one has it."""
        self.protocol = protocol

    def prefaced(self, _wantsTicket: bool) -> Any:
        """It is from a member."""
        return self

    def dataReceived(self, data: bytes) -> None:
        """Something is behind it."""
        self.rest += data


def _begin(parts: list[bytes]) -> tuple[str, bytes]:
    """Return why it is refused, or what is behind it."""
    wire = _Wire()
    wire.protocol.makeConnection(wire)
    for part in parts:
        if not wire.refused:
            wire.protocol.dataReceived(part)
    return wire.refused, wire.rest


TARGET = Target(
    check,
    covers=("cluster.identity", "cluster.preface"),
    planted=(
        Planted("cluster/identity.py", "if not self._replays.use(series, number):", "if False:"),
        Planted(
            "cluster/identity.py",
            "if not hmac.compare_digest(seal, self._sealedPreface(content)):",
            "if False:",
        ),
        Planted("cluster/preface.py", "self._read += data", "self._read = data"),
    ),
    words=(bytes(16).hex().encode(),),
)
