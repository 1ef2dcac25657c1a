"""An HTTP proxy on the way to the nymea-remoteproxy.

Owns how it is written, in an option or in the environment, the request that it gets (CONNECT, RFC
9110 section 9.3.6), and what its answer means. Knows nothing of connections.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote

from nymearemoteproxy.client.rules.errors import TunnelError, isTransientStatus, oneLine
from nymearemoteproxy.client.rules.urls import Address, ProxyUrl, parseRemote
from nymearemoteproxy.common.loopback import isLoopback
from nymearemoteproxy.common.texts import isText

MAX_HEAD = 16 * 1024
"""Bytes of an answer before its empty line."""

_FORM = "http://[USER:PASSWORD@]HOST[:PORT]"
_DEFAULT_PORT = 80
_VARIABLES = ("https_proxy", "HTTPS_PROXY")
_EXEMPTING_VARIABLES = ("no_proxy", "NO_PROXY")

_WANTS_CREDENTIALS = "407"

_BEGINNING = b"HTTP/1."
_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")


@dataclass(frozen=True)
class HttpProxy:
    """Where an HTTP proxy listens, and who we are to it.

    :ivar credentials: user and password with a colon between; None: it gets none.
    """

    host: str
    port: int
    credentials: str | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        """The address for people, without the credentials."""
        return Address(self.host, self.port).where

    @classmethod
    def parse(cls, text: str) -> HttpProxy:
        """Read ``http://[USER:PASSWORD@]HOST[:PORT]``; ``http://`` may be left out, as others do.

        :raises ValueError: it is none; the text is one line that repeats nothing of it.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "http", text
        if scheme.lower() != "http":
            raise ValueError(f"an HTTP proxy is written {_FORM}; there is no way through others")
        who, at, where = rest.removesuffix("/").rpartition("@")
        try:
            address = parseRemote(where, _DEFAULT_PORT)
        except ValueError as problem:
            raise ValueError(f"it is not {_FORM}: {problem}") from None
        return cls(address.host.lower(), address.port, _credentials(who) if at else None)

    def request(self, target: str) -> bytes:
        """Return what asks for a connection to `target`, which is ``HOST:PORT``."""
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.credentials is not None:
            # RFC 7617
            encoded = b64encode(self.credentials.encode()).decode("ascii")
            lines.append(f"Proxy-Authorization: Basic {encoded}")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


class ConnectAnswer:
    """The answer to one request.

    :param proxy: gives it.
    """

    def __init__(self, proxy: HttpProxy) -> None:
        self._proxy = proxy
        self._data = b""

    def receive(self, data: bytes) -> bytes | None:
        """Take in what the HTTP proxy sent.

        :returns: what follows the answer, from the other end; None while it is not whole.
        :raises TunnelError: it refuses, or it is no HTTP proxy.
        """
        self._data += data
        if not self._data.startswith(_BEGINNING[: len(self._data)]):
            raise TunnelError("it is no HTTP proxy")
        end = _END.search(self._data)
        if end is None:
            if len(self._data) > MAX_HEAD:
                raise TunnelError("its answer has no end")
            return None
        found = _STATUS_LINE.match(self._data)
        if found is None:
            raise TunnelError("it is no HTTP proxy")
        status, reason = found[1].decode(), (found[2] or b"").decode("latin-1")
        if not status.startswith("2"):
            raise self._refusal(status, reason)
        return self._data[end.end() :]

    def _refusal(self, status: str, reason: str) -> TunnelError:
        if status != _WANTS_CREDENTIALS:
            words = oneLine(f"it answered {status} {reason}")
            return TunnelError(words, isTransientStatus(status))
        if self._proxy.credentials is None:
            return TunnelError(f"it wants a user name and a password: {_FORM}")
        return TunnelError("it does not accept the user name and the password")


def ofEnvironment(environment: Mapping[str, str], url: ProxyUrl) -> HttpProxy | None:
    """Return the HTTP proxy that the environment wants on the way to `url`, if any.

    It is that of ``https_proxy`` for all that is reached over TCP (RFC 6455 section 4.1), except
    for this machine itself and what is in ``no_proxy``.

    :raises ValueError: the variable is wrong; the text is one line.
    """
    value = _first(environment, _VARIABLES)
    if not value or url.scheme == "unix" or _isLocal(url.host):
        return None
    if _isExempt(url, _first(environment, _EXEMPTING_VARIABLES)):
        return None
    try:
        return HttpProxy.parse(value)
    except ValueError as problem:
        raise ValueError(f"{_VARIABLES[0]}: {problem}") from None


def _credentials(who: str) -> str:
    user, _, password = who.partition(":")
    user = unquote(user)
    if not user or ":" in user:  # RFC 7617 section 2: a colon ends it
        raise ValueError(f"it is not {_FORM}: the user name is empty, or has a colon in it")
    credentials = f"{user}:{unquote(password)}"
    if not isText(credentials):
        raise ValueError(f"it is not {_FORM}: the user name or the password is not UTF-8")
    return credentials


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _isLocal(host: str) -> bool:
    return isLoopback(host) or host.removesuffix(".") == "localhost"


def _isExempt(url: ProxyUrl, exempt: str) -> bool:
    return any(_matches(entry, url) for entry in exempt.replace(",", " ").lower().split())


def _matches(entry: str, url: ProxyUrl) -> bool:
    """Tell whether an entry of ``no_proxy`` means a host: by name, domain, address or network."""
    if entry in ("*", url.where):
        return True
    try:
        address = ip_address(url.host)
    except ValueError:
        name, domain = url.host.removesuffix("."), entry.removeprefix("*").removeprefix(".")
        return name == domain or (bool(domain) and name.endswith(f".{domain}"))
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:  # a name
        return False
