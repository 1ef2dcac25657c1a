"""Where to listen, as an operator writes it.

The promises: of a description that cannot be listened on, one line says what is wrong; where
nothing is said, Twisted can read it; and what systemd passed is found, or told to be missing.
"""

from __future__ import annotations

import os

from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.listening.adoption import passedSocket
from nymearemoteproxy.listening.descriptions import problemOf

_KINDS = ("tcp:", "tcp6:", "unix:")
"""What Twisted reads without looking for files."""


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    if "\n" not in text:
        problem = problemOf(text)
        assert problem is None or "\n" not in problem, "no line"
        if problem is None and text.startswith(_KINDS):
            serverFromString(MemoryReactor(), text)
    count, _, names = text.partition(" ")
    _find(count, names)


def _find(count: str, names: str) -> None:
    environment = {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": count,
        "LISTEN_FDNAMES": names,
    }
    for index, name in ((None, "x"), (names, None), (count, None)):
        try:
            number = passedSocket(environment, index, name)
        except (LookupError, ValueError) as mistake:
            assert isLine(str(mistake)), "no text to be shown"
        else:
            assert 3 <= number < 3 + int(count), "no socket of systemd's"


TARGET = Target(
    check,
    covers=("listening.adoption", "listening.descriptions"),
    planted=(
        Planted("listening/descriptions.py", "if name in given or not name:", "if not name:"),
        Planted(
            "listening/descriptions.py",
            'digits = "01234567" if base == 8 else "0123456789"',
            'digits = "0123456789"',
        ),
        Planted("listening/adoption.py", "numbers[0] >= count", "numbers[0] > count"),
    ),
    words=(
        b"tcp:80:interface=127.0.0.1",
        b":backlog=5",
        b"\\:\\:1",
        b"unix:/run/x:mode=660",
        b"haproxy:tls:",
        b"ssl:443:privateKey=/k",
        b"systemd:index=0",
        b"wss://h:1/",
        b"3 a:x:c",
    ),
)
