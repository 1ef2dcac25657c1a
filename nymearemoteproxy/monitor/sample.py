"""What one message of the monitor socket says, as plain objects.

Owns the message's shape, and the check of it: what is missing is taken for empty, since servers of
several generations are read; what is there and of another type is nonsense. Knows nothing of where
messages come from or who looks at them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# The largest number that is taken as it is; beyond it are no counts of anything.
_MOST = 2**63


class NonsenseError(Exception):
    """What was received is nothing that a monitor socket sends; ``str()`` is one line."""


@dataclass(slots=True)
class Peer:
    """One connection. All texts are a stranger's own words.

    :ivar since: Unix time in seconds; 0 when the server does not say.
    :ivar received: bytes that the server got from it.
    :ivar sent: bytes that the server sent to it.
    :ivar user: the account, as far as the server knows it.
    :ivar state: one word of our own.
    :ivar worker: which of the server's processes it is connected to; 0 when there is only one.
    :ivar clients: of a server behind the tunnel proxy, those that are connected to it.
    """

    id: str
    address: str
    since: int
    name: str
    uuid: str
    received: int
    sent: int
    user: str = ""
    state: str = ""
    worker: int = 0
    clients: list[Peer] = field(default_factory=list)


@dataclass(slots=True)
class Pair:
    """Two clients that are joined, by their ids."""

    one: str
    two: str
    since: int


@dataclass(slots=True)
class Counts:
    """What the server counts itself.

    :ivar throughput: bytes per second; None when the server does not say.
    :ivar everClients: since its statistics began.
    :ivar everTunnels: the same.
    :ivar everTraffic: the same, in bytes.
    :ivar transports: connections of the tunnel proxy by transport.
    """

    clients: int
    tunnels: int
    throughput: int | None
    everClients: int
    everTunnels: int
    everTraffic: int
    servers: int
    serverClients: int
    transports: dict[str, int]


@dataclass(slots=True)
class Sample:
    """One message: the state of a server at one time.

    :ivar condition: one word; empty when the server does not say.
    """

    serverName: str
    serverVersion: str
    apiVersion: str
    counts: Counts
    clients: list[Peer]
    tunnels: list[Pair]
    servers: list[Peer]
    condition: str = ""


def decode(data: bytes) -> dict[str, Any]:
    """Return the JSON object that `data` is.

    :raises NonsenseError: it is none.
    """
    try:
        message = json.loads(data.decode("utf-8"), parse_constant=_finite, parse_float=_finite)
    # A broken number or UTF-8 is a ValueError too.
    except (ValueError, RecursionError):
        raise NonsenseError("a message that is no JSON") from None
    if not isinstance(message, dict):
        raise NonsenseError("a message that is no JSON object")
    return message


def _finite(spelling: str) -> float:
    number = float(spelling)
    if not math.isfinite(number):
        raise ValueError("a number out of range, or none")
    return number


def read(message: Mapping[str, Any]) -> Sample:
    """Return what a decoded message says.

    :raises NonsenseError: it is no message of a monitor socket.
    """
    if "proxyStatistic" not in message and "tunnelProxyStatistic" not in message:
        raise NonsenseError("a message without statistics")
    proxy = _object(message, "proxyStatistic")
    tunnelProxy = _object(message, "tunnelProxyStatistic")
    return Sample(
        _text(message, "serverName"),
        _text(message, "serverVersion"),
        _text(message, "apiVersion"),
        _counts(proxy, tunnelProxy),
        [_client(item) for item in _objects(proxy, "clients")],
        [
            Pair(_text(item, "clientOne"), _text(item, "clientTwo"), _number(item, "timestamp"))
            for item in _objects(proxy, "tunnels")
        ],
        [_server(item) for item in _objects(tunnelProxy, "tunnelConnections")],
        _text(message, "condition"),
    )


def _counts(proxy: Mapping[str, Any], tunnelProxy: Mapping[str, Any]) -> Counts:
    ever = _object(proxy, "total")
    transports = _object(tunnelProxy, "transports")
    # The server's own spelling.
    said = [part for part in (proxy, tunnelProxy) if part.get("troughput") is not None]
    return Counts(
        _number(proxy, "clientCount"),
        _number(proxy, "tunnelCount"),
        sum(_number(part, "troughput") for part in said) if said else None,
        _number(ever, "totalClientCount"),
        _number(ever, "totalTunnelCount"),
        _number(ever, "totalTraffic"),
        _number(tunnelProxy, "serverConnectionsCount"),
        _number(tunnelProxy, "clientConnectionsCount"),
        {name: _number(transports, name) for name in transports},
    )


def _client(item: Mapping[str, Any]) -> Peer:
    client = _peer(item, "uuid")
    client.user = _text(item, "userName")
    if _flag(item, "tunnelConnected"):
        client.state = "tunnel"
    else:
        client.state = "waiting" if _flag(item, "authenticated") else "new"
    return client


def _server(item: Mapping[str, Any]) -> Peer:
    server = _peer(item, "serverUuid")
    server.clients = [_peer(one, "clientUuid") for one in _objects(item, "clientConnections")]
    return server


def _peer(item: Mapping[str, Any], uuid: str) -> Peer:
    return Peer(
        _text(item, "id"),
        _text(item, "address"),
        _number(item, "timestamp"),
        _text(item, "name"),
        _text(item, uuid),
        _number(item, "rxDataCount"),
        _number(item, "txDataCount"),
        worker=_number(item, "worker"),
    )


def _wrong(key: str, wanted: str) -> NonsenseError:
    return NonsenseError(f"a message whose {ascii(key)[1:-1][:80]} is no {wanted}")


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    # Ids are counted by some servers.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(_number(item, key))
    raise _wrong(key, "text")


def _number(item: Mapping[str, Any], key: str) -> int:
    value = item.get(key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(key, "number")
    return min(max(int(value), 0), _MOST)


def _flag(item: Mapping[str, Any], key: str) -> bool:
    value = item.get(key, False)
    if value is not None and not isinstance(value, bool):
        raise _wrong(key, "flag")
    return bool(value)


def _object(item: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = item.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(key, "object")
    return value


def _objects(item: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    value = item.get(key)
    if value is None:
        return
    if not isinstance(value, list):
        raise _wrong(key, "list")
    for one in value:
        if not isinstance(one, dict):
            raise _wrong(key, "list of objects")
        yield one
