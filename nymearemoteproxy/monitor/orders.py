"""What a monitor can have the server do, and what the server says to it.

Owns the requests, the questions that come before them, and the words for what came of them. Knows
nothing of how they get to the server, nor of who may have something done: the server does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.monitor.sample import NonsenseError

LONGEST_ID = 18
"""Digits of the id of a connection, which is a number."""

ELSEWHERE = "0"
"""The id of a client on another machine."""


@dataclass(frozen=True)
class Order:
    """Something that the server is to do.

    :ivar method: of the request.
    :ivar question: to be answered with yes before it is sent, without its question mark; may hold
        a stranger's text.
    :ivar id: of the connection that it is about; empty if it is about none.
    """

    method: str
    question: str = ""
    id: str = ""

    @property
    def request(self) -> Mapping[str, Any]:
        """What the server is sent."""
        return {"method": self.method, **({"params": {"id": self.id}} if self.id else {})}


RELOAD = Order("reload", "Have the server read its configuration anew")
DRAIN = Order("drain", "Drain the server: nobody new gets in, and it ends with its last tunnel")


def endConnection(id: str, name: str = "") -> Order:
    """End a connection, with the tunnel that it has."""
    return Order("endConnection", f"End {name}, connection {id}", id)


def endTunnel(id: str, name: str = "") -> Order:
    """End the tunnel of two clients.

    :param id: of one of them.
    """
    return Order("endTunnel", f"End the tunnel of {name}, connection {id}", id)


def isId(text: str) -> bool:
    """Tell whether it can be the id of a connection."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_ID


@dataclass(frozen=True)
class Reply:
    """What came of an order.

    :ivar words: one line; what is the server's own in it is not safe for a terminal.
    """

    isDone: bool
    words: str


def isReply(message: Mapping[str, Any]) -> bool:
    """Tell whether a message of the server's is about an order."""
    return "result" in message or "error" in message


def read(order: Order, message: Mapping[str, Any]) -> Reply:
    """Return what a server's message says of an order.

    :raises NonsenseError: nothing that could be understood.
    """
    error, result = message.get("error"), message.get("result")
    if isinstance(error, str):
        return Reply(False, error)
    if not isinstance(result, dict):
        raise NonsenseError("a message that says nothing of what was asked for")
    if order.method == RELOAD.method:
        mistakes = result.get("mistakes", 0)
        if mistakes:
            return Reply(False, f"not everything was read anew; mistakes in the log: {mistakes}")
        return Reply(True, "everything was read anew")
    if order.method == DRAIN.method:
        return Reply(True, "the server drains")
    what = "the tunnel of " if order.method == "endTunnel" else ""
    return Reply(True, f"{what}connection {order.id} is being ended")
