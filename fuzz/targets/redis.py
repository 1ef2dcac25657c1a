"""What a Redis answers, the URL at which it is, and what members keep there.

The promises: answers are read as a Redis writes them, however they are cut, and none has an error
among its values; behind nonsense the connection is given up, with a line that says why; what is
kept there and is nothing of ours is a `DirectoryError`; what is ours is read as it was written; and
a URL is taken as it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.cluster.directory import DirectoryError
from nymearemoteproxy.cluster.redisscripts import (
    readHolder,
    readHolders,
    readMember,
    readRenewal,
    spellHolder,
    spellMember,
)
from nymearemoteproxy.cluster.redisurl import readRedisUrl
from nymearemoteproxy.cluster.rediswire import RedisWire, refusal

COMMANDS = 3

_ID = bytes(range(16))


def check(data: bytes) -> None:
    how, data = taken(data)
    _answers(pieces(data, how))
    bulk = b"$%d\r\n%b\r\n" % (len(data), data)
    written = b"%b:%d\r\n*2\r\n$-1\r\n%b" % (bulk, how, bulk)
    assert _answers(pieces(written, how)) == [data, how, [None, data]], "it is read otherwise"
    text = data.decode("utf-8", "replace")
    assert isLine(str(refusal(text))), "no text to be shown"
    _checkKept(data)
    _checkUrl(text)


def _answers(parts: list[bytes]) -> list[object]:
    clock, transport = Clock(), StringTransport(UNIXAddress(b"/redis"))
    wire: Any = RedisWire(clock)
    wire.callLater = clock.callLater  # else it would be the reactor's
    wire.makeConnection(transport)
    said: list[object] = []
    for _ in range(COMMANDS):
        wire.ask(1.0, b"GET", b"x").addBoth(said.append)
    for part in parts:
        if not transport.disconnecting:
            wire.dataReceived(part)
    clock.advance(0)
    if not transport.disconnecting:
        wire.connectionLost(Failure(ConnectionDone()))
    else:
        assert isLine(wire.trouble), "nobody says why"
        wire.connectionLost(Failure(ConnectionDone()))
    assert len(said) == COMMANDS and not clock.getDelayedCalls(), "something is left"
    return [_error(each) if isinstance(each, Failure) else _value(each) for each in said]


def _value(reply: object) -> object:
    assert not isinstance(reply, Exception), "an error is taken for a value"
    return list(map(_value, reply)) if isinstance(reply, list) else reply


def _error(failure: Failure) -> tuple[str]:
    failure.trap(DirectoryError)
    assert isLine(failure.getErrorMessage()), "no text to be shown"
    return (failure.getErrorMessage(),)


def _checkKept(data: bytes) -> None:
    holder = _read(readHolder, data)
    assert holder is None or spellHolder(holder) == data or b"#0" in data, "not as it was written"
    holders = _read(lambda reply: readHolders(reply, 2), data)
    assert holders is None or len(holders) == 2, "one is missing"
    member = _read(lambda reply: readMember(_ID, reply), data)
    if member is not None:
        assert readMember(_ID, spellMember(member)) == member
        f"{member.address}{member.name}".encode()
    first, _, rest = data.partition(b" ")
    _read(readRenewal, [1, 0, first, rest, 0])


def _read(read: Callable[[Any], Any], reply: object) -> Any:
    try:
        return read(reply)
    except DirectoryError as error:
        assert isLine(str(error)), "no text to be shown"
        return None


def _checkUrl(text: str) -> None:
    try:
        url = readRedisUrl(text)
    except ValueError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
        return
    shown = str(url)
    assert url.password is None or len(url.password) < 8 or url.password not in shown, "it is shown"
    again = readRedisUrl(shown)
    assert (again.host, again.path, again.database) == (url.host, url.path, url.database)
    assert again.isTls is url.isTls and again.port == url.port


TARGET = Target(
    check,
    covers=("cluster.redisscripts", "cluster.redisurl", "cluster.rediswire"),
    planted=(
        Planted(
            "cluster/rediswire.py",
            "super().dataReceived(data, unpause)\n        except Exception:",
            "super().dataReceived(data, unpause)\n        except OSError:",
        ),
        Planted("cluster/rediswire.py", "            checked(each)\n", "            pass\n"),
        Planted("cluster/rediswire.py", 're.sub(r"[^ -~…]", "?", words)', "words"),
        Planted("cluster/redisscripts.py", "if len(texts) != count:", "if not texts:"),
        Planted("cluster/redisurl.py", '/{self.database}"', '/0"'),
    ),
    words=(
        b"+OK\r\n",
        b"$3\r\nabc\r\n",
        b"*2\r\n:1\r\n$-1\r\n",
        b"-ERR x\r\n",
        b"*1\r\n-OOM x\r\n",
        b"-NOAUTH x\r\n",
        b"redis://user:password-x@h:1/2",
        b"redis+unix:/run/r?db=1",
        b"rediss://[::1]",
        spellHolder(readHolder(b"00112233445566778899aabbccddeeff#7")),
        b'{"address":"1.2.3.4:5","version":2,"name":"n"}',
        b"\\ud800",
    ),
)
