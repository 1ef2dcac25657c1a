"""Writes down a conversation as somebody would hold it who keeps to the rules.

Owns how each door is entered, and how a message is framed behind it. Knows nothing of what
messages say.
"""

from __future__ import annotations

from random import Random

from fuzz.network.doors import DOORS, Kind
from fuzz.network.steps import Action, Conversation, Step
from tests.support.endtoend import UPGRADE
from tests.support.wires import maskedFrame

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9

PREFACE, PROOF, CLAIM = b"<the preface>", b"<the proof>", b'"claim":0'
"""Stand for what proves a member of the cluster, and for the number by which a place is held."""


def proxyHeader(random: Random) -> bytes:
    """Return one of either version, from an address that the limits count by itself."""
    host, port = random.randrange(1, 255), random.randrange(1, 65536)
    if random.random() < 0.5:
        return b"PROXY TCP4 198.18.%d.%d 192.0.2.1 %d 443\r\n" % (host, port & 255, port)
    addresses = bytes((198, 18, host, port & 255, 192, 0, 2, 1)) + port.to_bytes(2, "big")
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + addresses + (443).to_bytes(2, "big")


class Script:
    """Collects the steps.

    :param doors: by which each comes in.
    """

    def __init__(self, random: Random, *doors: str) -> None:
        self.random = random
        self.doors = doors
        self._opcodes = [random.choice((TEXT, BINARY)) for _door in doors]
        self._steps: list[Step] = []

    def _add(self, actor: int, action: Action, data: bytes = b"") -> None:
        self._steps.append(Step(actor, action, data))

    def connect(self, actor: int) -> None:
        """Come in."""
        door = DOORS[self.doors[actor]]
        self._add(actor, Action.CONNECT)
        if door.isProxied:
            self.send(actor, proxyHeader(self.random))
        if door.kind is Kind.LINK:
            self.send(actor, PREFACE)
        if door.isSecure:
            self._add(actor, Action.SECURE)
        if door.kind is Kind.LINK:
            self.send(actor, PROOF)
        if door.kind is Kind.WEBSOCKET:
            self.send(actor, UPGRADE)
            self.hear(actor)

    def send(self, actor: int, data: bytes) -> None:
        """Send these very bytes."""
        self._add(actor, Action.SEND, data)

    def say(self, actor: int, data: bytes, opcode: int | None = None) -> None:
        """Send a message, or payload."""
        if DOORS[self.doors[actor]].kind is Kind.WEBSOCKET:
            mask = self.random.randbytes(4)
            data = maskedFrame(opcode or self._opcodes[actor], data, mask=mask)
        self.send(actor, data)

    def hear(self, actor: int) -> None:
        """Wait for an answer."""
        self._add(actor, Action.HEAR)

    def leave(self, actor: int) -> None:
        """Go in one of the orderly ways."""
        if DOORS[self.doors[actor]].kind is Kind.WEBSOCKET:
            self.say(actor, (1000).to_bytes(2, "big"), CLOSE)
        else:
            self._add(actor, self.random.choice((Action.END, Action.CLOSE)))

    def conversation(self) -> Conversation:
        """Return what was written down."""
        return Conversation(self.doors, tuple(self._steps), self.random.random() < 0.5)
