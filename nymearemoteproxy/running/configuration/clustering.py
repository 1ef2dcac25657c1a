"""Whether this process is a member of a cluster, and how it gets at the others.

Owns what has to be there for that, and what does not go together. Knows nothing of links or of the
directory but how they are spelled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from nymearemoteproxy.connections.records import TCP
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.running.configuration.clusterplan import ClusterPlan
from nymearemoteproxy.running.configuration.parts import Parts, readable
from nymearemoteproxy.running.configuration.places import readListener
from nymearemoteproxy.running.settings.errors import FileError, MissingError, SettingsError
from nymearemoteproxy.running.settings.values import Settings

if TYPE_CHECKING:
    from nymearemoteproxy.cluster.redisurl import RedisUrl

SHORTEST_SECRET = 16
"""Characters. Whoever reads the directory can try secrets, as many as he likes."""

CLIENT = "txredisapi"
"""What speaks with a Redis; only needed for that."""


LOCAL_LINKS = "tcp:0:interface=127.0.0.1"
"""Where links come in when the directory is on this machine, as then are all members."""


def makeCluster(
    settings: Settings, parts: Parts, warn: Callable[[str], object]
) -> ClusterPlan | None:
    """Return how to be a member of a cluster; None = not at all.

    :raises SettingsError: something is missing, or does not go together.
    :raises FileError: a file cannot be read, or what is needed is not installed.
    :raises ListenerError: links cannot come in there.
    """
    if parts.previous is not None:
        return parts.previous.cluster  # a member does not become another one
    cluster = settings.cluster
    if not cluster.directory:
        _refuseOthers(settings)
        return None
    mistakes = parts.mistakes
    if importlib.util.find_spec(CLIENT) is None:
        raise FileError(
            f"--cluster needs {CLIENT}, which is not installed: "
            f"pip install {CLIENT}, or with the Debian package what docs/cluster.rst says"
        )
    password = _read(cluster.directoryPasswordFile, "directory's password", parts)
    source = settings.source("Cluster.directory")
    directories = [_readUrl(source, url, password) for url in cluster.directory.split()]
    isLocal = all(each.isLocal for each in directories)
    secret = mistakes.attempt(lambda: _readSecret(cluster.secretFile, parts, isLocal, warn), None)
    address = mistakes.attempt(lambda: _readAddress(cluster.address), None)
    return ClusterPlan(
        directories=directories,
        secret=secret,
        listener=_linkListener(settings, isLocal),
        address=address,
        name=cluster.name or socket.gethostname(),
        linkTimeout=cluster.linkTimeout,
        directoryTimeout=cluster.directoryTimeout,
    )


def _linkListener(settings: Settings, isLocal: bool) -> Listener:
    """Return where links come in.

    :param isLocal: the directory is on this machine.
    """
    listen = settings.cluster.listen
    if not listen and not isLocal:
        raise MissingError(
            f"{settings.source('Cluster.directory')}: the directory is on another machine, so "
            "other members may be, too: say with [Cluster] listen where their links come in, such "
            "as tcp:2213"
        )
    description = listen or LOCAL_LINKS
    listener = readListener(_sourceOf(settings, "listen"), description, TCP)
    if listener.secure or listener.behindProxy:
        raise SettingsError(
            f"[Cluster] listen: {description}: links are TLS by themselves; leave out what is "
            "before tcp:"
        )
    return listener


def _refuseOthers(settings: Settings) -> None:
    for key in ("listen", "address", "secretFile", "directoryPasswordFile"):
        if getattr(settings.cluster, key):
            raise MissingError(
                f"[Cluster] {key} is of no use without [Cluster] directory or --cluster"
            )


def _sourceOf(settings: Settings, key: str) -> str:
    return settings.source(f"Cluster.{key}") if getattr(settings.cluster, key) else "--cluster"


def _readUrl(source: str, url: str, password: str | None) -> RedisUrl:
    # Imported only where there is a cluster.
    from nymearemoteproxy.cluster.redisurl import readRedisUrl

    try:
        return readRedisUrl(url, password)
    except ValueError as error:
        raise SettingsError(f"{source}: the directory's URL cannot be used: {error}") from None


def _read(path: str, what: str, parts: Parts) -> str | None:
    if not path:
        return None
    with readable(what, path):
        return parts.read(path).decode("utf-8")


def _readSecret(
    path: str, parts: Parts, isLocal: bool, warn: Callable[[str], object]
) -> bytes | None:
    text = _read(path, "cluster's secret", parts)
    if text is None:
        if not isLocal:
            warn(
                "whoever reads the directory can test guesses of tokens, and take part in the "
                "cluster; [Cluster] secretFile prevents both"
            )
        return None
    secret = text.strip()
    if len(secret) < SHORTEST_SECRET:
        raise FileError(
            f"the cluster's secret in {path} has fewer than {SHORTEST_SECRET} characters"
        )
    return hashlib.sha256(secret.encode("utf-8")).digest()


def _readAddress(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port) if port.isdecimal() else 0
        if not 0 < number < 1 << 16:
            raise ValueError
    except ValueError:
        raise SettingsError(
            f"[Cluster] address: {text!r} is no IP address and port, such as 192.0.2.1:2213 or "
            "[2001:db8::1]:2213"
        ) from None
    return host, number
