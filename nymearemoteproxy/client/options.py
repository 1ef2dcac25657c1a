"""The command line of ``nymea-remoteproxy-client``.

Owns the options, how they go together, and the endpoint that they describe. Knows nothing of what
is done with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.python import usage

from nymearemoteproxy import __version__
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.endpoints import (
    DEFAULT_NAME,
    ClientEndpoint,
    ProxyEndpoint,
    ServerEndpoint,
    TunnelEndpoint,
)
from nymearemoteproxy.client.rules.errors import oneLine
from nymearemoteproxy.client.rules.urls import Address, parseListen, parseService
from nymearemoteproxy.common.files import readFile
from nymearemoteproxy.common.lists import parseList, parseSecret

PROGRAM = "nymea-remoteproxy-client"
TOKEN_VARIABLE = "NYMEA_REMOTEPROXY_TOKEN"

# An option, and the one it makes no sense without.
_NEEDED = (("serve", "forward"), ("forward", "serve"), ("listen", "server-uuid"))

# An option, and those that make no sense with it. Every connection to a listening port is a client
# of its own, so it needs a uuid of its own.
_EXCLUDED = {
    "serve": ("server-uuid", "listen", "uuid", "token", "token-file", "nonce"),
    "server-uuid": ("token", "token-file", "nonce"),
    "listen": ("uuid",),
    "token": ("token-file",),
}


class ClientOptions(usage.Options):
    """The command line."""

    synopsis = f"Usage: {PROGRAM} --url URL [options]"
    longdesc = (
        "With a token: joins a tunnel of a nymea-remoteproxy, then copies standard input to the "
        "partner and what the partner sends to standard output. The token is taken from --token, "
        f"--token-file or the variable {TOKEN_VARIABLE}; other users can read the command line. "
        "Ctrl-D at a terminal leaves at once. At the end of other input it leaves as soon as the "
        "partner has been silent for a second; without any input it waits until the partner "
        "leaves. Exit status 0: there was a tunnel. 1: there was none, it broke, or the service at "
        "its other end closed it without a word. "
        "With --serve and --forward: makes a local service reachable through the proxy's tunnel "
        "proxy under a uuid, for ever; it reconnects whenever the connection is lost. "
        "With --server-uuid: the other end of such a service is standard input and output, or with "
        "--listen a local port, each connection to which is one to the service. Whoever wants to "
        "connect waits up to a minute for a proxy or a server that is away."
    )
    optParameters = [
        ["url", None, None, "ws://HOST:PORT[/path], wss://..., tcp://..., tls://... or unix:PATH"],
        ["token", None, None, "the token that the server accepts and the partner knows too"],
        ["token-file", None, None, "file with the token: its first line that is no # comment"],
        ["nonce", None, None, "keeps several tunnels with the same token apart"],
        ["serve", None, None, "be the server with this uuid, for clients of the tunnel proxy"],
        ["forward", None, None, "the service that --serve offers: HOST:PORT or unix:PATH"],
        ["server-uuid", None, None, "be a client of the server with this uuid"],
        [
            "listen",
            None,
            None,
            "a local port whose connections are clients: PORT or ADDRESS:PORT; 0 picks a free one",
        ],
        ["name", None, DEFAULT_NAME, "what the partner sees as our name"],
        ["uuid", None, None, "what the partner sees as our uuid; default: a new random one"],
        [
            "ca",
            None,
            None,
            "file with PEM certificates to trust instead of the system's authorities",
        ],
        ["fingerprint", None, None, "SHA-256 of the server's certificate, to trust that one only"],
    ]
    optFlags = [
        ["insecure", None, "do not verify the server's certificate"],
        ["verbose", "v", "more detail on standard error"],
    ]

    def opt_version(self) -> None:
        """show the version"""
        print(PROGRAM, __version__)
        raise SystemExit(0)

    opt_V = opt_version
    opt_h = usage.Options.opt_help

    def postOptions(self) -> None:
        """Complete and check the options together."""
        if not self["url"]:
            raise usage.UsageError("--url is missing")
        for option, needed in _NEEDED:
            if self[option] is not None and self[needed] is None:
                raise usage.UsageError(f"--{option} needs --{needed}")
        for option, excluded in _EXCLUDED.items():
            for other in excluded:
                if self[option] is not None and self[other] is not None:
                    raise usage.UsageError(f"--{option} and --{other} exclude each other")
        self._parse("forward", parseService)
        self._parse("listen", parseListen)
        if self["serve"] is None and self["server-uuid"] is None:
            self._completeToken()

    def endpoint(self, reactor: Any, say: Callable[[str], None]) -> ProxyEndpoint:
        """Return the endpoint that the options describe.

        :raises ValueError: they are wrong; the text is one line.
        :raises twisted.python.usage.UsageError: a file that they name cannot be read.
        """
        tls = None
        if self["ca"] is not None or self["fingerprint"] is not None or self["insecure"]:
            ca = None if self["ca"] is None else _read("ca", self["ca"])
            tls = TlsOptions(ca, self["fingerprint"], bool(self["insecure"]))
        url, name, uuid = self["url"], self["name"], self["uuid"]
        if self["serve"] is not None:
            return ServerEndpoint(reactor, url, self["serve"], name=name, tls=tls)
        if self["server-uuid"] is not None:
            return ClientEndpoint(reactor, url, self["server-uuid"], name=name, uuid=uuid, tls=tls)
        return TunnelEndpoint(
            reactor,
            url,
            self["token"],
            nonce=self["nonce"],
            name=name,
            uuid=uuid,
            tls=tls,
            onWaiting=lambda: say("waiting for the partner"),
        )

    def _parse(self, option: str, parse: Callable[[str], Address]) -> None:
        if self[option] is not None:
            try:
                self[option] = parse(self[option])
            except ValueError as problem:
                raise usage.UsageError(f"--{option}: {problem}") from None

    def _completeToken(self) -> None:
        if self["token-file"] is not None:
            self["token"] = self._tokenOfFile()
        elif self["token"] is None:
            self["token"] = _tokenOfVariable()
        if not self["token"]:
            raise usage.UsageError(
                f"no token: give --token-file, {TOKEN_VARIABLE} or --token; "
                "or --serve or --server-uuid, which need none"
            )

    def _tokenOfFile(self) -> str:
        try:
            tokens = parseList(_read("token-file", self["token-file"]))
        except UnicodeDecodeError:
            raise usage.UsageError("--token-file: not UTF-8") from None
        except ValueError as problem:
            raise usage.UsageError(f"--token-file: {problem}") from None
        return tokens[0] if tokens else ""


def _read(option: str, path: str) -> bytes:
    try:
        return readFile(path)
    except (OSError, ValueError) as problem:
        words = getattr(problem, "strerror", None) or problem
        raise usage.UsageError(f"--{option}: {oneLine(path)}: {words}") from None


def _tokenOfVariable() -> str | None:
    content = os.environb.get(TOKEN_VARIABLE.encode())
    try:
        return parseSecret(content) if content else None
    except UnicodeDecodeError:
        raise usage.UsageError(f"{TOKEN_VARIABLE}: not UTF-8") from None
    except ValueError:
        return None  # there are blanks only
