"""Which scenario a number stands for.

Owns what there is and how often. Pure: a seed and a number are all that it knows, so that any
scenario can be played again alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

TRANSPORTS = ("ws", "wss", "tcp", "tls", "unix")
WEB_SOCKETS = ("ws", "wss")
FRONT = "front"
"""The transport of visitors: clients of a registered server that come by its name."""
LISTENERS = (*TRANSPORTS, FRONT)
FIRST, NEWER = "first", "0.3"
DIALECTS = (FIRST, NEWER)
STYLES = {"whole": 60, "pieces": 25, "fragments": 10, "bytes": 5}
"""How payload is written: at once, in some writes, in frames that are no messages, byte by byte."""

PLAIN = "none"
"""The fault of who has none."""

TUNNEL, VISIT, STRANGER = "tunnel", "visit", "stranger"
FAULTS: dict[str, dict[str, int]] = {
    TUNNEL: {
        PLAIN: 300,
        "last-words": 100,
        "half-close": 60,
        "reset": 60,
        "stall": 20,
        "third": 30,
        "twins": 10,
        "unmasked": 10,
        "vanished": 6,
        "backend": 40,
        "slow-backend": 20,
    },
    VISIT: {
        PLAIN: 60,
        "server-left": 20,
        "server-reset": 20,
        "client-reset": 20,
        "dismissed": 20,
        "stall": 10,
        "nobody": 10,
        "taken": 10,
    },
    STRANGER: {
        "alone": 8,
        "left-early": 20,
        "early-data": 20,
        "refused": 20,
        "broken-backend": 20,
        "silent-backend": 4,
        "mute": 6,
        "garbage": 20,
        "too-large": 10,
    },
}
"""What is played, by kind, and how often, in parts of all. Those that wait for a time limit are
seldom: each is in flight for seconds."""

BYTES_ALONE = 600
"""Bytes that are written one by one at most: each is a system call at both ends."""
SIZES = ((5, 0, 0), (30, 1, 200), (40, 200, 4096), (20, 4096, 1 << 16), (4, 1 << 16, 1 << 20))
"""How often payload is of which size, in percent; what is left is huge."""
HUGE = (1 << 20, 4 << 20)
STALLED = (1 << 20, 3 << 20)
"""More than the kernel takes for who does not read."""
MOST_CLIENTS = 3
"""Of one registered server: enough that they can get each other's bytes."""


@dataclass(frozen=True)
class Side:
    """What one connection is and does.

    :ivar member: which of several nodes it connects to, modulo how many there are.
    :ivar size: bytes that it sends.
    :ivar isText: they are UTF-8, and in text messages.
    """

    transport: str
    dialect: str
    member: int
    size: int
    style: str
    isText: bool

    @property
    def isWebSocket(self) -> bool:
        return self.transport in WEB_SOCKETS


@dataclass(frozen=True)
class Scenario:
    """What is played under a number.

    :ivar fault: which of `FAULTS`.
    :ivar sides: two of a tunnel, the server and its clients, or a stranger.
    :ivar actor: the side that the fault is of.
    :ivar share: how much of what it sends it has sent when its fault begins, from 0 to 1.
    """

    index: int
    kind: str
    fault: str
    sides: tuple[Side, ...]
    actor: int
    share: float

    def __str__(self) -> str:
        sides = ", ".join(
            f"{side.transport} {side.dialect} {side.size} bytes {side.style}" for side in self.sides
        )
        return f"{self.kind}, {self.fault} of side {self.actor}: {sides}"


def scenario(seed: str, index: int) -> Scenario:
    """Return the scenario with this number."""
    random = Random(f"{seed}:{index}")
    kinds = [(kind, fault) for kind, faults in FAULTS.items() for fault in faults]
    weights = [weight for faults in FAULTS.values() for weight in faults.values()]
    ((kind, fault),) = random.choices(kinds, weights)
    count = {TUNNEL: 2, VISIT: 1 + random.randint(1, MOST_CLIENTS), STRANGER: 1}[kind]
    actor = _actor(random, fault, count)
    sides = [_side(random, kind, fault, number, actor) for number in range(count)]
    return Scenario(index, kind, fault, tuple(sides), actor, random.random())


def _actor(random: Random, fault: str, count: int) -> int:
    if fault.startswith("server-"):
        return 0
    first = 1 if fault in ("client-reset", "dismissed") else 0
    return random.randrange(first, count)


def _side(random: Random, kind: str, fault: str, number: int, actor: int) -> Side:
    isActor = number == actor
    transports = WEB_SOCKETS if fault == "unmasked" and isActor else TRANSPORTS
    if kind == VISIT and number > 0:
        transports = LISTENERS
    size = _size(random, fault, isActor)
    style = random.choices(list(STYLES), list(STYLES.values()))[0]
    isPackets = kind == VISIT and number == 0  # which are binary
    return Side(
        random.choice(transports),
        random.choice(DIALECTS),
        random.randrange(256),
        min(size, BYTES_ALONE) if style == "bytes" else size,
        style,
        random.random() < 0.5 and not isPackets,
    )


def _size(random: Random, fault: str, isActor: bool) -> int:
    if fault == "stall":
        # The actor stops reading, so that it is the other one's that waits.
        return random.randint(0, 200) if isActor else random.randint(*STALLED)
    point = random.randrange(100)
    for percent, low, high in SIZES:
        if point < percent:
            return random.randint(low, high)
        point -= percent
    return random.randint(*HUGE)
