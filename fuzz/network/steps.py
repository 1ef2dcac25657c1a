"""What a conversation is: who comes in by which door, and what they do, step by step.

Owns these words only. Knows nothing of how a step is done, nor of who thinks one up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What one of those who take part does."""

    CONNECT = "connect"
    SECURE = "secure"
    """Begin TLS, and wait for the end of the handshake."""
    SEND = "send"
    HEAR = "hear"
    """Wait until something comes."""
    DEAFEN = "deafen"
    """Read nothing from now on."""
    END = "end"
    """Say that nothing more will be sent, by a FIN."""
    CLOSE = "close"
    RESET = "reset"


@dataclass(frozen=True)
class Step:
    """One thing that one of those who take part does.

    :ivar actor: who, by the number of its door.
    :ivar data: what is sent.
    :ivar pieces: how many writes that is.
    :ivar isBelow: it is sent below TLS.
    :ivar damage: the seed of what happens to the next bytes on the wire; None = nothing.
    """

    actor: int
    action: Action
    data: bytes = b""
    pieces: int = 1
    isBelow: bool = False
    damage: int | None = None


@dataclass(frozen=True)
class Conversation:
    """All that happens.

    :ivar doors: by which each comes in, by name.
    :ivar stays: they leave it to the server to close; else they close at the end.
    """

    doors: tuple[str, ...]
    steps: tuple[Step, ...]
    stays: bool = False

    def describe(self) -> str:
        """Return it for people, a line for each step."""
        lines = [f"doors: {', '.join(self.doors)}; {'stays' if self.stays else 'leaves'}"]
        for step in self.steps:
            words = [str(step.actor), step.action.value]
            if step.action is Action.SEND:
                words.append(f"{len(step.data)} bytes {step.data[:120]!r}")
            words += [f"in {step.pieces} pieces"] * (step.pieces > 1)
            words += ["below TLS"] * step.isBelow
            words += ["damaged"] * (step.damage is not None)
            lines.append("  " + " ".join(words))
        return "\n".join(lines)
