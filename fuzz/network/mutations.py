"""What becomes of a conversation: bytes, steps, doors and order are changed at random.

Owns the kinds of change. Knows nothing of what conversations mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from fuzz.network.doors import DOORS
from fuzz.network.steps import Action, Conversation, Step

MOST_CHANGES = 6
"""Of one conversation; with many more, hardly any gets past its first words."""

MOST_PIECES = 200
"""Writes of one step: enough for each byte of a head or a call to come by itself."""

HUGE = (5_000, 20_000, 70_000, 300_000)
"""Bytes: around the limits of messages, reads, packets and backlogs as the server is started."""

TREASURES = (
    *(b"\0", b"\xff" * 9, b"\r\n", b"\r\n\r\n", b"{", b"}", b'"', b"{}\n", b"\n", b"\xc0", b"\xdb"),
    # Frames: empty, reserved, unmasked, endless, with the highest bit, closing in all ways
    *(b"\x81\x80\0\0\0\0", b"\xf1\x80\0\0\0\0", b"\x81\x05hello", b"\x01\x80\0\0\0\0"),
    *(b"\x82\xff" + b"\x7f" + b"\xff" * 7 + b"\0\0\0\0", b"\x82\xff" + b"\xff" * 8 + b"\0\0\0\0"),
    *(b"\x82\xfe\0\x01\0\0\0\0x", b"\x89\xfe\0\x7e\0\0\0\0", b"\x8a\x80\0\0\0\0"),
    *(
        b"\x88\x80\0\0\0\0",
        b"\x88\x81\0\0\0\0\x03",
        b"\x88\x82\0\0\0\0\x03\xed",
        b"\x80\x80\0\0\0\0",
    ),
    b"\x89\x80\0\0\0\0" * 500,
    b"\x00\x80\0\0\0\0" * 500,
    # Packets: for the proxy, for clients, without an address, with a wrong escape
    *(b"\0\0{}\n\xc0", b"\0\x01x\xc0", b"\0\xc0", b"\0\x01\xdbx\xc0", b"\xc0" * 500),
    b'\0\0{"id":1,"method":"TunnelProxy.Ping","params":{"timestamp":1}}\n\xc0' * 20,
    # Calls
    b'{"id":1,"method":"RemoteProxy.Hello"}\n',
    b'{"id":1,"method":"RemoteProxy.Introspect"}' * 50,
    b'{"a":' * 500,
    b'{"id":1e999,"method":"\\ud800"}\n',
    # Heads
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"PROXY TCP4 198.18.0.1 192.0.2.1 1 1\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    # TLS: an alert, a handshake that says it is long, data in clear, an empty record
    *(
        b"\x15\x03\x03\0\x02\x02\x28",
        b"\x16\x03\x01\x40\0\x01\0\xff\xff",
        b"\x17\x03\x03\0\x05hello",
    ),
    b"\x17\x03\x03\0\0",
    # Records of links
    *(b"\x83\x01x", b"\x8b\0", b"\x8c\0", b"\x8d\x0bclient-left", b"\x83\x7f" + b"\xff" * 8),
    b'{"version":2,"compatible":1,"answer":"here"}\n',
)

Steps = list[Step]


def damaged(random: Random, data: bytes) -> bytes:
    """Return bytes of which some are others, or gone, or twice there, or new."""
    made = bytearray(data)
    for _change in range(random.choice((1, 1, 2, 8))):
        start = random.randrange(len(made) + 1)
        end = min(len(made), start + random.choice((1, 1, 2, 4, 50)))
        match random.randrange(6):
            case 0 if start < len(made):
                made[start] ^= 1 << random.randrange(8)
            case 1:
                made[start:end] = random.randbytes(end - start)
            case 2:
                del made[start:end]
            case 3:
                made[start:start] = made[start:end]
            case 4:
                made[start:start] = random.choice(TREASURES)
            case _:
                del made[start:]
    return bytes(made)


def _where(random: Random, steps: Steps, *actions: Action) -> int:
    """Return the place of a step, one with these actions if there is any."""
    places = [at for at, step in enumerate(steps) if not actions or step.action in actions]
    return random.choice(places or range(len(steps)))


def _change(random: Random, steps: Steps, *actions: Action, **more: object) -> None:
    at = _where(random, steps, *actions)
    steps[at] = replace(steps[at], **more)  # type: ignore[arg-type]


def _insert(random: Random, steps: Steps, action: Action, data: bytes = b"") -> None:
    at = random.randrange(len(steps) + 1)
    actor = steps[max(0, at - 1)].actor
    steps.insert(at, Step(actor, action, data, isBelow=random.random() < 0.2))


def _bytes(random: Random, steps: Steps) -> None:
    at = _where(random, steps, Action.SEND)
    steps[at] = replace(steps[at], data=damaged(random, steps[at].data))


def _onTheWire(random: Random, steps: Steps) -> None:
    """Also records of TLS, and its handshake."""
    _change(random, steps, Action.SECURE, Action.SEND, damage=random.getrandbits(32))


def _pieces(random: Random, steps: Steps) -> None:
    _change(random, steps, Action.SEND, pieces=random.choice((2, 3, 10, MOST_PIECES)))


def _double(random: Random, steps: Steps) -> None:
    at = _where(random, steps)
    steps[at:at] = [steps[at]] * random.choice((1, 1, 1, 20))


def _leaveOut(random: Random, steps: Steps) -> None:
    del steps[_where(random, steps)]


def _move(random: Random, steps: Steps) -> None:
    step = steps.pop(_where(random, steps))
    steps.insert(random.randrange(len(steps) + 1), step)


def _cut(random: Random, steps: Steps) -> None:
    del steps[_where(random, steps) + 1 :]


def _junk(random: Random, steps: Steps) -> None:
    junk = random.choice((random.choice(TREASURES), random.randbytes(random.randrange(1, 300))))
    _insert(random, steps, Action.SEND, junk)


def _huge(random: Random, steps: Steps) -> None:
    at = _where(random, steps, Action.SEND)
    size, unit = random.choice(HUGE), steps[at].data or b"x"
    data = random.choice((unit * (size // len(unit) + 1), unit + b"x" * size))
    steps[at] = replace(steps[at], data=data)


def _end(random: Random, steps: Steps) -> None:
    ends = (Action.END, Action.CLOSE, Action.RESET, Action.RESET, Action.DEAFEN)
    _insert(random, steps, random.choice(ends))


def _secure(random: Random, steps: Steps) -> None:
    """TLS where none is expected, or within itself."""
    _insert(random, steps, Action.SECURE)


def _hurry(random: Random, steps: Steps) -> None:
    """Say all without hearing an answer, in as few packets as possible."""
    steps[:] = [step for step in steps if step.action is not Action.HEAR]


CHANGES: tuple[Callable[[Random, Steps], None], ...] = (
    *(_bytes, _bytes, _bytes, _bytes, _onTheWire, _onTheWire, _pieces, _pieces, _double, _leaveOut),
    *(_move, _move, _cut, _junk, _junk, _huge, _end, _end, _secure, _hurry),
)
"""As often as each is to come."""

WRONG_DOOR = 0.1
"""How many come by another door than they were made for."""


def mutated(random: Random, conversation: Conversation) -> Conversation:
    """Return a conversation that has changed; a few have not, so that their ends are seen, too."""
    steps = list(conversation.steps)
    for _change in range(random.randrange(MOST_CHANGES + 1)):
        if steps:
            random.choice(CHANGES)(random, steps)
    doors = [
        random.choice(list(DOORS)) if random.random() < WRONG_DOOR else door
        for door in conversation.doors
    ]
    return replace(conversation, doors=tuple(doors), steps=tuple(steps))
