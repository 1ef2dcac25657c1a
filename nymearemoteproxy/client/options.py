"""The command line of ``nymea-remoteproxy-client``.

Owns the options, how they go together, and the endpoint that they describe. Knows nothing of what
is done with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from twisted.python import usage

from nymearemoteproxy import __version__
from nymearemoteproxy.client.connecting.endtoend import CallingSide, ServingSide, Side
from nymearemoteproxy.client.connecting.retrying import Reports
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.endpoints import (
    DEFAULT_NAME,
    ClientEndpoint,
    ProxyEndpoint,
    ServerEndpoint,
    TunnelEndpoint,
)
from nymearemoteproxy.client.rules.endtoend import agreedName, plainUuid
from nymearemoteproxy.client.rules.errors import oneLine
from nymearemoteproxy.client.rules.httpproxies import HttpProxy, ofEnvironment
from nymearemoteproxy.client.rules.optionsfile import parseOptions
from nymearemoteproxy.client.rules.urls import Address, ProxyUrl, parseListen, parseService
from nymearemoteproxy.common.certificates import (
    CertificateError,
    CertificateFiles,
    fingerprint,
    readCertificateAndKey,
    selfSigned,
)
from nymearemoteproxy.common.files import Files, readFile
from nymearemoteproxy.common.lists import parseList, parseSecret
from nymearemoteproxy.common.onlyoptions import OnlyOptions
from nymearemoteproxy.common.paths import stateDirectory
from nymearemoteproxy.common.secretfiles import warningsOfOpen

END_CERTIFICATE = "end-certificate.pem"
"""The file with our own certificate for encryption from end to end."""

PROGRAM = "nymea-remoteproxy-client"
TOKEN_VARIABLE = "NYMEA_REMOTEPROXY_TOKEN"

_WITHOUT_FRONT = "the proxy knows of no front door: no visitors will come"

# An option, and the one it makes no sense without.
_NEEDED = (
    ("serve", "forward"),
    ("forward", "serve"),
    ("forward-http", "serve"),
    ("front", "serve"),
    ("no-front", "serve"),
    ("proxy-protocol", "serve"),
    ("listen", "server-uuid"),
    ("end-certificate", "end-to-end"),
    ("end-key", "end-certificate"),
    ("end-name", "end-ca"),
)

# An option, and those that make no sense with it. Every connection to a listening port is a client
# of its own, so it needs a uuid of its own.
_EXCLUDED = {
    "serve": ("server-uuid", "listen", "uuid", "nonce"),
    "server-uuid": ("nonce",),
    "listen": ("uuid",),
    "token": ("token-file",),
    # A tunnel's two ends need one of each kind. Of a server and its clients it is the server that
    # has the certificate.
    # A visitor's browser has TLS with the service itself, and none with this end of ours.
    "end-to-end": ("end-fingerprint", "end-ca", "server-uuid", "front", "forward-http"),
    "end-fingerprint": ("end-ca", "serve"),
    "end-ca": ("serve",),
    "no-front": ("front", "forward-http"),
}


class ClientOptions(OnlyOptions):
    """The command line."""

    _holdsSecret = False  # the file of --configuration

    synopsis = f"Usage: {PROGRAM} --url URL [options]"
    longdesc = (
        "With a token: joins a tunnel of a nymea-remoteproxy, then copies standard input to the "
        "partner and what the partner sends to standard output. The token is taken from --token, "
        f"--token-file or the variable {TOKEN_VARIABLE}; other users can read the command line. "
        "Ctrl-D at a terminal leaves at once. At the end of other input it leaves as soon as the "
        "partner has been silent for a second; without any input it waits until the partner "
        "leaves. Exit status 0: there was a tunnel. 1: there was none, it broke, or the service at "
        "its other end closed it without a word. 2: the file of --configuration is wrong. "
        "With --serve and --forward: makes a local service reachable through the proxy's tunnel "
        "proxy under a uuid, for ever; it reconnects whenever the connection is lost. With --front "
        "browsers reach it, too, if the proxy has a front door. "
        "With --server-uuid: the other end of such a service is standard input and output, or with "
        "--listen a local port, each connection to which is one to the service. Whoever wants to "
        "connect waits up to a minute for a proxy or a server that is away. Both show their token, "
        "if they have one, to a proxy that takes it."
    )
    optParameters = [
        [
            "url",
            None,
            None,
            "ws://HOST[:PORT][/path], wss://..., tcp://HOST:PORT, tls://... or unix:PATH",
        ],
        [
            "configuration",
            "C",
            None,
            "file with further options, one NAME = VALUE per line; the command line counts first",
        ],
        ["token", None, None, "the token that the server accepts and the partner knows too"],
        ["token-file", None, None, "file with the token: its first line that is no # comment"],
        ["nonce", None, None, "keeps several tunnels with the same token apart"],
        ["serve", None, None, "be the server with this uuid, for clients of the tunnel proxy"],
        ["forward", None, None, "the service that --serve offers: HOST:PORT or unix:PATH"],
        [
            "forward-http",
            None,
            None,
            "the service for visitors by plain http, such as the challenges of ACME: HOST:PORT or "
            "unix:PATH; it gets no PROXY header",
        ],
        ["server-uuid", None, None, "be a client of the server with this uuid"],
        [
            "listen",
            None,
            None,
            "a local port whose connections are clients: PORT or ADDRESS:PORT; 0 picks a free one",
        ],
        ["name", None, None, f"what the partner sees as our name [default: {DEFAULT_NAME}]"],
        ["uuid", None, None, "what the partner sees as our uuid; default: a new random one"],
        [
            "ca",
            None,
            None,
            "file with PEM certificates to trust instead of the system's authorities",
        ],
        ["fingerprint", None, None, "SHA-256 of the server's certificate, to trust that one only"],
        [
            "end-fingerprint",
            None,
            None,
            "encrypt from end to end with the end whose certificate has this SHA-256",
        ],
        [
            "end-ca",
            None,
            None,
            "encrypt from end to end with an end whose certificate is from one of these "
            "authorities, PEM",
        ],
        [
            "end-name",
            None,
            None,
            "host name that --end-ca's certificate has to be for [default: the --server-uuid]",
        ],
        [
            "end-certificate",
            None,
            None,
            "PEM file with the certificate of --end-to-end [default: one of our own making]",
        ],
        ["end-key", None, None, "PEM file with its key, if that is not in the same file"],
        [
            "proxy",
            None,
            None,
            "HTTP proxy that makes the connections, HOST:PORT or http://USER:PASSWORD@HOST:PORT "
            "[default: the variable https_proxy]",
        ],
    ]
    optFlags: list[list[str | None]] = [
        [
            "end-to-end",
            None,
            "encrypt from end to end: be the end with the certificate, with --serve or in a pair",
        ],
        [
            "front",
            None,
            "let visitors of the proxy's front door come to --forward, which needs TLS and a "
            "certificate of its own",
        ],
        [
            "no-front",
            None,
            "let no visitor come, not even by a name that the proxy has for the uuid",
        ],
        [
            "proxy-protocol",
            None,
            "begin each connection to --forward with a PROXY header of version 2, which has the "
            "client's address",
        ],
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
        # What is told of our certificate is told of the one that is shown.
        self._ends = Files(mayWait=True)
        if self["configuration"] is not None:
            self._completeFromFile()
        if self["name"] is None:
            self["name"] = DEFAULT_NAME
        if not self["url"]:
            raise usage.UsageError("--url is missing")
        for option, needed in _NEEDED:
            if self._has(option) and not self._has(needed):
                raise usage.UsageError(f"--{option} needs --{needed}")
        for option, excluded in _EXCLUDED.items():
            for other in excluded:
                if self._has(option) and self._has(other):
                    raise usage.UsageError(f"--{option} and --{other} exclude each other")
        self._parse("forward", parseService)
        self._parse("forward-http", parseService)
        self._parse("listen", parseListen)
        self._completeToken(isNeeded=self["serve"] is None and self["server-uuid"] is None)

    def warnings(self) -> list[str]:
        """Return one line for each file with a secret that others on this machine may read."""
        return list(warningsOfOpen(self._secretFiles()))

    def _secretFiles(self) -> Iterator[tuple[str, str]]:
        """Yield what each is, and its path."""
        if self._holdsSecret:
            yield "configuration file", self["configuration"]
        if self["token-file"] is not None:
            yield "token file", self["token-file"]
        if self["end-certificate"] is not None:
            yield "certificate key", self["end-key"] or self["end-certificate"]

    def endpoint(self, reactor: Any, say: Callable[[str], None]) -> ProxyEndpoint:
        """Return the endpoint that the options describe.

        :raises ValueError: they are wrong; the text is one line.
        :raises twisted.python.usage.UsageError: a file that they name cannot be read.
        """
        tls = None
        if self["ca"] is not None or self["fingerprint"] is not None or self["insecure"]:
            ca = None if self["ca"] is None else _read("ca", self["ca"])
            tls = TlsOptions(ca, self["fingerprint"], bool(self["insecure"]))
        url, name, uuid, token = self["url"], self["name"], self["uuid"], self["token"]
        way: dict[str, Any] = {"tls": tls, "httpProxy": self._httpProxy()}
        if self["serve"] is not None:
            return ServerEndpoint(
                reactor,
                url,
                self["serve"],
                name=name,
                token=token,
                front=self._front(),
                onWithoutFront=partial(Reports(say).trouble, _WITHOUT_FRONT),
                **way,
            )
        server = self["server-uuid"]
        if server is not None:
            return ClientEndpoint(reactor, url, server, name=name, uuid=uuid, token=token, **way)
        return TunnelEndpoint(
            reactor,
            url,
            token,
            nonce=self["nonce"],
            name=name,
            uuid=uuid,
            onWaiting=lambda: say("waiting for the partner"),
            **way,
        )

    def side(self) -> Side | None:
        """Return which end of the encryption from end to end this is; None if there is none.

        :raises ValueError: the options are wrong; the text is one line.
        :raises CertificateError: the certificate cannot be used or kept.
        :raises twisted.python.usage.UsageError: a file that they name cannot be read.
        """
        server = self["serve"] or self["server-uuid"]
        name = agreedName(server, self["nonce"])
        if self["end-to-end"]:
            return ServingSide(readCertificateAndKey(self._endFiles(), self._ends.read), name)
        if self["end-fingerprint"] is not None:
            try:
                return CallingSide(TlsOptions(fingerprint=self["end-fingerprint"]), name)
            except ValueError as problem:
                raise ValueError(f"--end-fingerprint: {problem}") from None
        if self["end-ca"] is not None:
            host = self["end-name"]
            if host is None and server is None:
                raise ValueError("--end-ca needs --end-name where there is no --server-uuid")
            trust = TlsOptions(_read("end-ca", self["end-ca"]))
            return CallingSide(trust, name, host or plainUuid(server))
        return None

    def toBeGiven(self) -> str:
        """Return in one line what the other end has to be told of ours, which is --end-to-end."""
        print_ = fingerprint(self._endFiles(), self._ends.read)
        return f"encrypted from end to end: the other end needs --end-fingerprint {print_}"

    def _endFiles(self) -> CertificateFiles:
        if self["end-certificate"] is not None:
            key = self["end-key"] or ""
            return CertificateFiles(self["end-certificate"], key, keyOption="--end-key")
        try:
            directory = stateDirectory()
        except RuntimeError:  # the user has no home
            raise CertificateError(
                "there is no state directory to keep a certificate in; give --end-certificate, or "
                "set STATE_DIRECTORY"
            ) from None
        return selfSigned(directory, END_CERTIFICATE, "--end-certificate")

    def _front(self) -> bool | None:
        """Return whether visitors may come; None if nothing is said.

        A flag that is not given is 0, and False only where the file says so. Browsers know nothing
        of --end-to-end.
        """
        if self["no-front"] or self["end-to-end"] or self["front"] is False:
            return False
        return True if self["front"] else None

    def _has(self, option: str) -> bool:
        return self[option] not in (None, 0)

    def _completeFromFile(self) -> None:
        path = self["configuration"]
        names = [str(row[0]) for row in self.optParameters if row[0] != "configuration"]
        flags = [str(row[0]) for row in self.optFlags]
        try:
            options = parseOptions(_read("configuration", path), names, flags)
        except ValueError as problem:
            raise usage.UsageError(f"{oneLine(path)}: {problem}") from None
        self._holdsSecret = "token" in options or "@" in str(options.get("proxy", ""))
        given = [name for name in (*names, *flags) if self[name]]
        for name, value in options.items():
            if not self._has(name) and not any(_exclude(name, other) for other in given):
                self[name] = value

    def _httpProxy(self) -> HttpProxy | None:
        if self["proxy"] is None:
            return ofEnvironment(os.environ, ProxyUrl.parse(self["url"]))
        try:
            return HttpProxy.parse(self["proxy"])
        except ValueError as problem:
            raise ValueError(f"--proxy: {problem}") from None

    def _parse(self, option: str, parse: Callable[[str], Address]) -> None:
        if self[option] is not None:
            try:
                self[option] = parse(self[option])
            except ValueError as problem:
                raise usage.UsageError(f"--{option}: {problem}") from None

    def _completeToken(self, isNeeded: bool) -> None:
        if self["token-file"] is not None:
            self["token"] = self._tokenOfFile()
        elif self["token"] is None:
            self["token"] = _tokenOfVariable()
        isEmpty = self["token"] == ""
        if isEmpty or (isNeeded and self["token"] is None):
            raise usage.UsageError(
                f"no token: give --token-file, {TOKEN_VARIABLE} or --token; "
                "--serve and --server-uuid need one only where the proxy wants it"
            )

    def _tokenOfFile(self) -> str:
        try:
            tokens = parseList(_read("token-file", self["token-file"]))
        except UnicodeDecodeError:
            raise usage.UsageError("--token-file: not UTF-8") from None
        except ValueError as problem:
            raise usage.UsageError(f"--token-file: {problem}") from None
        return tokens[0] if tokens else ""


def _exclude(one: str, other: str) -> bool:
    return other in _EXCLUDED.get(one, ()) or one in _EXCLUDED.get(other, ())


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
