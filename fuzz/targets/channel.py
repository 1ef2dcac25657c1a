"""What a server's processes say to each other.

The promises: messages arrive as they were sent, whole and in order, however the stream is cut; so
do the connections that are handed over.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.workers.channel import MessageChannel
from nymearemoteproxy.workers.handing import Handed


def check(data: bytes) -> None:
    how, data = taken(data)
    text = data.decode("utf-8", "surrogateescape")  # names of files may be anything
    messages: list[list[Any]] = [["text", text], [how], *([each] for each in text.split("\n"))]
    with contextlib.suppress(ValueError, RecursionError):
        messages.append(["json", json.loads(text)])
    sent = _send(messages)
    assert _receive([sent]) == messages, "what is sent is not what arrives"
    assert _receive(pieces(sent, how)) == messages, "it depends on how it is cut"
    for family, address in (
        (socket.AF_UNIX, UNIXAddress("")),
        (socket.AF_INET, IPv4Address("TCP", text, how)),
        (socket.AF_INET6, IPv6Address("TCP", text, how, how, how)),
    ):
        handed = Handed(how, how, family, address, text)
        assert Handed.decode(handed.encode()) == handed


def _send(messages: list[list[Any]]) -> bytes:
    clock, transport = Clock(), StringTransport()
    channel = MessageChannel(clock, lambda _message: None, lambda: None)
    channel.makeConnection(transport)
    for message in messages:
        channel.send(message)
    clock.advance(0)
    assert channel.waiting == 0
    written: bytes = transport.value()
    return written


def _receive(parts: list[bytes]) -> list[Any]:
    received: list[Any] = []
    channel = MessageChannel(Clock(), received.append, lambda: None)
    channel.makeConnection(StringTransport())
    for part in parts:
        channel.dataReceived(part)
    return received


TARGET = Target(
    check,
    covers=("workers.channel", "workers.handing"),
    planted=(
        Planted("workers/channel.py", 'b"".join([*self._parts, lines[0]])', "lines[0]"),
        Planted("workers/channel.py", "self._parts.append(rest)", "self._parts = [rest]"),
        Planted(
            "workers/handing.py",
            "name = (one.host, one.port, one.flowInfo, one.scopeID)",
            "name = (one.host, one.port)",
        ),
    ),
    words=(b'{"a":[1,null]}', b"\n"),
)
