"""The conversations that are mutated: those of clients, servers, browsers, monitors and members.

Owns what they say. Knows nothing of what becomes of it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from random import Random
from typing import Any

from fuzz.network.doors import CLIENT_DOORS, FRONT_DOORS, Kind
from fuzz.network.script import BINARY, PING, Script
from nymearemoteproxy.cluster.directory import MEMBER_SIZE, NAME_SIZE
from nymearemoteproxy.protocol import lengthprefixed
from nymearemoteproxy.protocol.linkmessages import ControlLink, Far, Here, Look, Meet, Visit
from nymearemoteproxy.protocol.linkrecords import BYTES, CUT, END, LOST
from nymearemoteproxy.protocol.packets import Encode
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Identity, PairingKeys
from nymearemoteproxy.running.assembly import SHOWN_TO_NOBODY
from tests.support.endtoend import MARK, authenticate, call, frame
from tests.support.hellos import extension, hello, records, serverName
from tests.support.wires import slip

TOKEN = f"{MARK}-token-of-the-fuzzer"
"""The one that the server accepts."""

SECRET_TEXT = "the secret of the fuzzer's cluster"
SECRET = hashlib.sha256(SECRET_TEXT.encode()).digest()
"""Of the cluster; the server makes one of the other."""

DOMAIN = "homes.test"
"""Under which homes are found at the front door."""

MEMBER = b"fuzz" * (MEMBER_SIZE // 4)
"""Whom links are from."""

METHODS = (
    *("RemoteProxy.Hello", "RemoteProxy.Introspect", "Authentication.Authenticate"),
    *("TunnelProxy.RegisterServer", "TunnelProxy.RegisterClient", "TunnelProxy.Ping"),
    *("TunnelProxy.DisconnectClient", "RemoteProxy.Nothing", "Nothing.Hello", "x", ""),
)

PATHS = (
    *("/", "/healthz", "/readyz", "/metrics", "/api/status", "/api/history", "/api/tunnels"),
    *("/api/servers", "/api/waiting", "/api/v1/server", "/api/v1/connections?limit=5"),
    *("/api/v1/connections/1", "/api/v1/tunnels", "/api/v1/connections/1/end", "/api/v1/reload"),
    *("/api/v1/tunnels/99999/end", "/../etc/passwd", "/api/history?seconds=60", "/%00", "/*"),
)

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1 << 31, 1 << 64, 1.5, 1e300, "", "x", "\0", "\ud7ff", "ü" * 100),
    *([], {}, [[]], {"": {}}, "{00000000-0000-0000-0000-000000000000}"),
)

Write = Callable[[Random], Script]


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _dialect(random: Random) -> dict[str, str]:
    return {} if random.random() < 0.5 else {"uuid": _uuid(random), "name": "fuzzer"}


def _payload(random: Random) -> bytes:
    return random.randbytes(random.choice((1, 3, 100, 125, 126, 1000, 20_000)))


def _doors(random: Random, count: int) -> list[str]:
    return random.choices(list(CLIENT_DOORS), k=count)


def tunnel(random: Random) -> Script:
    """Two meet by a token, sometimes a third one comes as well, and bytes go both ways."""
    script = Script(random, *_doors(random, random.choice((2, 2, 2, 3))))
    nonce = f"{MARK}-nonce-{random.getrandbits(64):x}"
    for actor in range(len(script.doors)):
        script.connect(actor)
        if random.random() < 0.3:
            script.say(actor, call("RemoteProxy.Hello", 7))
            script.hear(actor)
        script.say(actor, authenticate(TOKEN, _dialect(random), nonce=nonce))
        script.hear(actor)
    script.hear(0)
    for _message in range(random.randrange(5)):
        actor = random.randrange(2)
        script.say(actor, _payload(random), random.choice((None, None, BINARY, PING)))
        if random.random() < 0.5:
            script.hear(1 - actor)
    script.leave(random.randrange(2))
    return script


def alone(random: Random) -> Script:
    """One whose partner never comes, or who has the wrong token."""
    script = Script(random, *_doors(random, 1))
    script.connect(0)
    token = random.choice((TOKEN, f"{MARK}-wrong"))
    script.say(0, authenticate(token, _dialect(random), nonce=f"{MARK}-{random.getrandbits(64):x}"))
    script.hear(0)
    return script


def calls(random: Random) -> Script:
    """Calls of all kinds, with whatever params."""
    script = Script(random, *_doors(random, 1))
    script.connect(0)
    names = ("token", "nonce", "uuid", "name", "serverUuid", "clientUuid", "timestamp", "x")
    for _call in range(random.randrange(1, 6)):
        params = {name: random.choice(VALUES) for name in random.sample(names, 3)}
        message = {"id": random.choice((1, 2, *VALUES)), "method": random.choice(METHODS)}
        if random.random() < 0.5:
            message["params"] = params
        script.say(0, json.dumps(message).encode() + b"\n")
        script.hear(0)
    return script


def _register(script: Script, random: Random) -> tuple[str, Encode]:
    """Have a server register; return its uuid, and what writes its packets."""
    server = _uuid(random)
    script.connect(0)
    wanted = [name for name in ("flowControl", "lengthPrefixed") if random.random() < 0.3]
    more = dict.fromkeys(wanted, True)
    params = {"serverName": "fuzzed", "serverUuid": server, "front": True, **more}
    script.say(0, call("TunnelProxy.RegisterServer", **params))
    script.hear(0)
    return server, lengthprefixed.encode if "lengthPrefixed" in wanted else slip


def _packets(script: Script, random: Random, encode: Encode) -> None:
    """The server sends packets, for its client, for nobody, and for the proxy; some are broken."""
    for _packet in range(random.randrange(6)):
        method = random.choice(("Ping", "DisconnectClient", "PauseClient", "ResumeClient"))
        params = {"timestamp": 5} if method == "Ping" else {"socketAddress": 1}
        packet = random.choice(
            (
                *(encode(1, _payload(random)), encode(1, b"\xc0\xdb" * 50)),
                *(encode(2, b"for nobody"), encode(0, call(f"TunnelProxy.{method}", 3, **params))),
                *(encode(0xFFFF, b"never"), encode(0, b"{}")),
                *(b"\0\1\xdbx\xc0", b"\0\xc0", b"\0\1" + _payload(random)),
            )
        )
        script.say(0, packet, BINARY)


def visit(random: Random) -> Script:
    """A server registers with the tunnel proxy, and clients are connected to it."""
    script = Script(random, *_doors(random, random.choice((1, 2, 2, 3))))
    server, encode = _register(script, random)
    for actor in range(1, len(script.doors)):
        script.connect(actor)
        params = {"clientName": "fuzzer", "clientUuid": _uuid(random), "serverUuid": server}
        script.say(actor, call("TunnelProxy.RegisterClient", **params))
        script.hear(actor)
        script.say(actor, _payload(random))
    _packets(script, random, encode)
    script.leave(random.randrange(len(script.doors)))
    return script


def _hello(random: Random, name: str) -> bytes:
    grease = extension(random.choice((0x0A0A, 0xFE0D, 51)), random.randbytes(1200))
    message = hello(*random.sample([serverName(name.encode()), grease], 2))
    cuts = random.choices(range(1, len(message)), k=random.choice((0, 0, 1, 5)))
    return records(message, *cuts)


def _request(random: Random, name: str) -> bytes:
    path = random.choice(
        ("/.well-known/acme-challenge/a-_Z", "/.well-known/acme-challenge/..", "/")
    )
    line = f"{random.choice(('GET', 'GET', 'HEAD', 'POST'))} {path} HTTP/1.{random.randrange(2)}"
    more = random.choice(("Content-Length: 5", "Transfer-Encoding: chunked", "X: y", "Host: x"))
    return f"{line}\r\nHost: {name}:80\r\n{more}\r\n\r\n".encode()


def knock(random: Random) -> Script:
    """Visitors of a home, or of a name that is none, with TLS and without."""
    doors = random.choices(list(FRONT_DOORS), k=random.choice((1, 1, 2)))
    script = Script(random, *_doors(random, 1), *doors)
    server, encode = _register(script, random)
    for actor in range(1, len(script.doors)):
        script.connect(actor)
        name = random.choice((*[f"{server}.{DOMAIN}"] * 4, _uuid(random), "localhost", "ü", ""))
        isTls = FRONT_DOORS[script.doors[actor]].kind is Kind.FRONT
        script.send(actor, (_hello if isTls else _request)(random, name))
        script.hear(0)
        script.send(actor, _payload(random))
    _packets(script, random, encode)
    script.leave(random.randrange(len(script.doors)))
    return script


def browse(random: Random) -> Script:
    """Requests to the admin endpoint."""
    script = Script(random, random.choice(("admin", "admin-tls")))
    script.connect(0)
    for _request in range(random.randrange(1, 5)):
        method = random.choice(("GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE"))
        body = b"x" * random.choice((0, 0, 5, 1024, 5000))
        head = f"{method} {random.choice(PATHS)} HTTP/1.{random.randrange(2)}\r\nHost: localhost"
        more = random.choice(
            (
                f"Content-Length: {len(body)}",
                "Transfer-Encoding: chunked",
                "Authorization: Basic eDp5",
                "Accept: application/openmetrics-text; version=1.0.0",
                "Connection: keep-alive",
                "Expect: 100-continue",
                "X: " + "y" * 3000,
            )
        )
        script.send(0, f"{head}\r\n{more}\r\n\r\n".encode() + body)
        script.hear(0)
    return script


def watch(random: Random) -> Script:
    """A monitor, which asks or only listens."""
    script = Script(random, "monitor")
    script.connect(0)
    for _request in range(random.randrange(4)):
        request = random.choice(
            (
                {"method": "refresh", "params": {"printAll": random.choice((True, False, 1))}},
                {"method": "refresh"},
                {"method": "endConnection", "params": {"id": random.choice(("99999999", "0", 1))}},
                {"method": "endTunnel", "params": {"id": "99999999"}},
                {"method": random.choice(("x", 5, None)), "params": []},
            )
        )
        script.send(0, json.dumps(request).encode() + b"\n")
        script.hear(0)
    return script


def _placeOf(kind: bytes, digest: bytes) -> str:
    """Return a place as the directory has it (CLUSTER: the name of a place)."""
    name = hmac.digest(SECRET, kind + b":" + digest, "sha256")[:NAME_SIZE]
    return f"{kind.decode()}:{name.hex()}"


def _far(random: Random) -> Far:
    return Far(random.randrange(1 << 40), "TCP", True, "192.0.2.1:5", "192.0.2.1:5", "far", "")


def _records(script: Script, random: Random) -> None:
    """The other member's client sends something, and leaves in one way or another."""
    for _record in range(random.randrange(5)):
        opcode = random.choice((1, 2, BYTES, BYTES, END, LOST, CUT))
        payload = _payload(random)
        if opcode in (END, LOST, CUT):
            payload = b"" if opcode == LOST else b"client-left"
        script.send(1, frame(opcode, payload, masked=False))
        script.hear(0)


def farVisit(random: Random) -> Script:
    """Another member has a client for a server that is registered here."""
    script = Script(random, *_doors(random, 1), "link")
    server, encode = _register(script, random)
    script.connect(1)
    place = _placeOf(b"uuid", uuid.UUID(server).bytes)
    registration = ClientRegistration("far", uuid.UUID(_uuid(random)), uuid.UUID(server))
    ask = Visit(MEMBER, place, 0, registration, "192.0.2.1", _far(random))
    script.send(1, ask.encode())
    script.hear(1)
    _records(script, random)
    _packets(script, random, encode)
    return script


def farMeet(random: Random) -> Script:
    """Another member has a partner for a client that waits here."""
    script = Script(random, *_doors(random, 1), "link")
    nonce = f"{MARK}-nonce-{random.getrandbits(64):x}"
    script.connect(0)
    script.say(0, authenticate(TOKEN, _dialect(random), nonce=nonce))
    script.hear(0)
    script.connect(1)
    place = _placeOf(b"key", PairingKeys(secret=SHOWN_TO_NOBODY).key(TOKEN, None, nonce))
    ask = Meet(MEMBER, place, 0, Identity("far", _uuid(random)), _far(random))
    script.send(1, ask.encode())
    script.hear(1)
    script.send(1, Here().encode())
    script.hear(1)
    _records(script, random)
    script.say(0, _payload(random))
    script.leave(0)
    return script


def farLook(random: Random) -> Script:
    """Another member asks whether somebody is here, or shows that it is there."""
    script = Script(random, "link")
    script.connect(0)
    look = Look(MEMBER, _placeOf(b"uuid", random.randbytes(16)), 0)
    script.send(0, random.choice((look, look, look, ControlLink(MEMBER))).encode())
    script.hear(0)
    return script


GRAMMARS: tuple[Write, ...] = (
    *(tunnel, tunnel, tunnel, visit, visit, visit, knock, knock, alone, calls, calls),
    *(browse, browse, watch, farVisit, farVisit, farMeet, farMeet, farLook),
)
"""As often as each is to come."""
