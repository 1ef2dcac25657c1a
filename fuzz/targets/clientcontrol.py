"""What a proxy says to a client until there is a tunnel.

The promises: where the tunnel begins does not depend on how it is cut, and nothing behind that is
lost; whatever is no such conversation is a `TunnelError` in one line, in which no secret stands.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.client.rules.controlphase import ControlPhase, Partner
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.joining import Joining
from nymearemoteproxy.client.rules.registering import Probe, RegisteringClient, RegisteringServer

SECRET = "secret-token"
_UUID = "{1b9a8e44-0000-4000-8000-000000000001}"

_WAYS: tuple[Callable[[], ControlPhase], ...] = (
    lambda: Joining(SECRET, SECRET, "name", _UUID),
    lambda: RegisteringServer("name", _UUID, SECRET),
    lambda: RegisteringClient("name", _UUID, _UUID, SECRET),
    lambda: RegisteringServer("name", _UUID),
    lambda: RegisteringClient("name", _UUID, _UUID),
    lambda: Probe("name", _UUID),
)

_WITH_SECRET = 3
"""So many of them know the secret."""

Ended = tuple[Partner | None, bytes, bytes, bool, bool]
"""Who is there, what is behind the conversation, what was said further, whether the server has
consented, and whether it failed."""


def check(data: bytes) -> None:
    how, data = taken(data)
    way = how % len(_WAYS)
    assert _converse(way, [data]) == _converse(way, pieces(data, how)), "it depends on the cuts"


def _converse(way: int, parts: list[bytes]) -> Ended:
    phase = _WAYS[way]()
    assert phase.request.endswith(b"\n")
    rest = further = b""
    for place, part in enumerate(parts):
        try:
            rest += phase.receive(part)
        except TunnelError as error:
            assert isLine(str(error)), "no text to be shown"
            assert way >= _WITH_SECRET or SECRET not in str(error), "a secret is repeated"
            return None, b"", b"", phase.waiting, True
        further, phase.further = further + phase.further, b""
        if phase.partner is not None:
            assert isLine(phase.partner.shown) or not phase.partner.shown
            rest += b"".join(parts[place + 1 :])
            break
        assert not rest, "something is taken for the tunnel's before there is one"
    return phase.partner, rest, further, phase.waiting, False


TARGET = Target(
    check,
    covers=(
        "client.rules.controlphase",
        "client.rules.errors",
        "client.rules.joining",
        "client.rules.messages",
        "client.rules.registering",
    ),
    planted=(
        Planted(
            "client/rules/messages.py",
            "return self._latest[len(self._latest) - self._splitter.pending :]",
            "return self._latest[: self._splitter.pending]",
        ),
        Planted("client/rules/controlphase.py", 'plain = plain.replace(secret, "…")', "pass"),
        Planted("client/rules/errors.py", "c if c.isprintable() else ascii(c)[1:-1]", "c"),
        Planted(
            "client/rules/messages.py",
            "except MessageError:",
            "except LookupError:",
        ),
    ),
    words=(
        b'{"id":1,"status":"success","params":{',
        b'{"id":2,"status":"error","error":"',
        b'"authenticationError":"AuthenticationErrorNoError"',
        b'"tunnelProxyError":"TunnelProxyErrorNoError","slipEnabled":true',
        b'"TunnelProxyErrorForbiddenCall"',
        b'"AuthenticationErrorAuthenticationFailed"',
        b'"notification":"RemoteProxy.TunnelEstablished"',
        b'"methods":{"TunnelProxy.RegisterServer":{"params":{"o:token":"","o:flowControl":""}}}',
        b"namespace",
        SECRET.encode(),
    ),
)
