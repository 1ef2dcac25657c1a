"""The settings: every name, type, default and meaning, and where their values come from.

Owns the INI file and its checks. What the settings mean for the server is made elsewhere.
"""

from __future__ import annotations

import configparser
import difflib
import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.authentication.url import readUrl
from nymearemoteproxy.common.files import Read, readFile
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections.limits import LOOPBACK, QUESTIONS, Network


class SettingsError(Exception):
    """A setting cannot be used; the text is one line for the operator."""


class FileError(SettingsError):
    """A file that a setting or an option names cannot be used, whatever they say."""


def isText(text: str) -> bool:
    """Tell whether a string from the command line is UTF-8; other bytes arrive as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _text(text: str) -> str:
    return text


def _flag(text: str) -> bool:
    values = configparser.ConfigParser.BOOLEAN_STATES
    if text.lower() not in values:
        raise ValueError("use true or false")
    return values[text.lower()]


@dataclass(frozen=True)
class Number:
    """Reads a whole number within two ends, both of which work where it is used.

    :ivar doubtful: what is less, and not 0, was hardly meant so.
    """

    lowest: int
    highest: int
    example: int
    unit: str = ""
    doubtful: int = 0

    def __call__(self, text: str) -> int:
        isNumber = _NUMBER.fullmatch(text) is not None  # int() takes 1_000 and other digits, too
        if not isNumber or not self.lowest <= int(text) <= self.highest:
            unit = f"of {self.unit} " if self.unit else ""
            raise ValueError(
                f"use a whole number {unit}from {self.lowest} to {self.highest}, "
                f"such as {self.example}"
            )
        return int(text)


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"use {' or '.join(choices)}")
        return text

    return parse


def _url(text: str) -> str:
    if text:
        readUrl(text)
    return text


def _mode(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise ValueError("use an octal number from 0 to 0777, such as 0660")
    return value


def _privacy(text: str) -> Privacy:
    try:
        return Privacy(text)
    except ValueError:
        raise ValueError("use full, shortened or none") from None


def _networks(text: str) -> tuple[Network, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(ipaddress.ip_network(part) for part in parts)
    except ValueError as error:
        raise ValueError(f"{error}; use networks with commas, such as 10.0.0.0/8, ::1") from None


def _name(text: str) -> str:
    if len(text) > MAX_NAME:
        raise ValueError(f"use at most {MAX_NAME} characters")
    return text


def _user(text: str) -> str:
    if ":" in text:  # RFC 7617, section 2: a colon ends it
        raise ValueError("a user name for HTTP basic authentication has no colon")
    return text


def _host(text: str) -> str:
    """Read an address to listen on; of a name, the system knows the address."""
    try:
        if text:
            ipaddress.ip_address(text)
    except ValueError:
        if not _HOST_NAME.fullmatch(text):
            raise ValueError(
                "use an address of this machine without brackets and port, such as 127.0.0.1 or "
                "::1, or 0.0.0.0 or :: for all of them"
            ) from None
    return text


_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.-]+")

MAX_SHOWN = 80
"""Characters of a wrong value that are repeated to whoever wrote it."""

MAX_NAME = 255
"""Characters. The name is in every answer to Hello, which strangers may ask for."""

DAY = 24 * 3600 * 1000
"""Milliseconds; whoever has not come by then does not come any more. The reactor takes more, and so
does TCP_KEEPINTVL, which is a third of pingTimeout: 32,767 s."""

MIN_PATIENCE = 100
"""Milliseconds; less is not enough to hear from the other side of the world, and whoever writes it
counts in seconds."""

MAX_KEEPALIVE = 32_767_000
"""Milliseconds; Linux refuses more for TCP_KEEPIDLE (MAX_TCP_KEEPIDLE in its net/tcp.h)."""

MAX_GAP = 10_000
"""Milliseconds; in every tunnel of such a client everything stands still for so long."""

MAX_COUNT = 1 << 31
"""Counters are only compared; nothing that is counted becomes as many."""

MAX_MESSAGE = 1 << 20
"""Bytes; a message before the tunnel is held for each stranger until it is whole, and then read in
one turn of the reactor, which takes half a second if as much as this is nothing but numbers."""

MIN_SIZE, MAX_SIZE = 1 << 16, 1 << 31
"""Bytes; what one read of a socket brings has to fit, and so has all of it into memory."""

MAX_QUESTIONS = 1000
"""Each is an open file, and a connection that the authentication server has to serve."""

_milliseconds = Number(1, DAY, 8000, "milliseconds", MIN_PATIENCE)
_millisecondsOrOff = Number(0, DAY, 8000, "milliseconds", MIN_PATIENCE)
_port = Number(0, 65535, 2212)
_limit = Number(0, MAX_COUNT, 1000)
_size = Number(MIN_SIZE, MAX_SIZE, 16 << 20, "bytes")


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting.

    :ivar parse: reads the text of the file; raises ValueError that says what to write instead.
    :ivar default: None where the default depends on something else, which `meaning` explains.
    :ivar kind: what to write, for the documentation.
    :ivar atStart: a change takes effect with the next start; otherwise with SIGHUP.
    :ivar hidden: a wrong value may hold a secret, so that it is not repeated.
    """

    section: str
    key: str
    kind: str
    parse: Callable[[str], Any]
    default: Any
    meaning: str
    atStart: bool = False
    hidden: bool = False

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"


def _timeout(key: str, default: int, meaning: str, atStart: bool = False) -> Setting:
    return Setting("ProxyServer", key, "milliseconds", _milliseconds, default, meaning, atStart)


def _bound(key: str, default: int | None, meaning: str) -> Setting:
    return Setting("Limits", key, "number, 0 = none", _limit, default, meaning)


def _path(section: str, key: str, meaning: str, atStart: bool = False) -> Setting:
    return Setting(section, key, "path", _text, "", meaning, atStart)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "ProxyServer",
        "name",
        "text",
        _name,
        "nymea-remoteproxy",
        "The name that clients are told in the answer to Hello.",
    ),
    Setting(
        "ProxyServer",
        "writeLogs",
        "true or false",
        _flag,
        False,
        "Write the log to logFile. ``--logging`` does the same on the command line.",
        atStart=True,
    ),
    Setting(
        "ProxyServer",
        "logFile",
        "path",
        _text,
        "",
        "The log file. Default: ``nymea-remoteproxy.log`` in what systemd's LogsDirectory says "
        "(``$LOGS_DIRECTORY``), else in ``/var/log`` as with the C++ server.",
        atStart=True,
    ),
    Setting(
        "ProxyServer",
        "logFormat",
        "text or json",
        _choice("text", "json"),
        "text",
        "How the log is written: lines for people, or one JSON object per line.",
        atStart=True,
    ),
    _timeout(
        "authenticationTimeout",
        8000,
        "How long the authentication backend may take to judge a token.",
    ),
    _timeout(
        "jsonRpcTimeout",
        10000,
        "How long any call may take. Only Authenticate takes time, so the lower one of this and "
        "authenticationTimeout counts.",
    ),
    _timeout(
        "inactiveTimeout",
        8000,
        "How long a client may be connected without a valid call. Every valid call starts the time "
        "anew, bytes alone do not.",
    ),
    _timeout("aloneTimeout", 8000, "How long a client waits for its partner."),
    _timeout(
        "tlsHandshakeTimeout", 5000, "How long a new connection may take for the TLS handshake."
    ),
    _timeout(
        "webSocketHandshakeTimeout",
        5000,
        "How long a new connection may take for the WebSocket upgrade.",
    ),
    Setting(
        "ProxyServer",
        "notificationGap",
        "milliseconds, 0 = none",
        Number(0, MAX_GAP, 20, "milliseconds"),
        20,
        "How long a stream client of API 0.3 gets nothing behind the notification that its tunnel "
        "is up: clients in the field lose what arrives together with it.",
    ),
    Setting(
        "ProxyServer",
        "pingInterval",
        "milliseconds, 0 = never",
        Number(0, MAX_KEEPALIVE, 30000, "milliseconds", MIN_PATIENCE),
        30000,
        "How often WebSocket clients that wait or have a tunnel are pinged; for TCP, the "
        "silence after which TCP keepalive probes begin. Linux takes no more for TCP.",
        atStart=True,
    ),
    _timeout(
        "pingTimeout",
        10000,
        "How long after a ping something must come. A client that does not take what it was sent "
        "is slow rather than gone, and not pinged meanwhile.",
        atStart=True,
    ),
    _timeout(
        "closeTimeout",
        10000,
        "How long a client that was told goodbye may take to close and to receive what was still "
        "on its way; after twice that time the connection is aborted.",
    ),
    Setting(
        "ProxyServer",
        "shutdownTimeout",
        "milliseconds, 0 = none",
        _millisecondsOrOff,
        5000,
        "How long clients have to leave when the server is stopped, before they are cut off.",
    ),
    Setting(
        "ProxyServer",
        "drainTimeout",
        "milliseconds, 0 = for ever",
        _millisecondsOrOff,
        3600000,
        "How long tunnels may live on when the server is drained, before it stops.",
    ),
    Setting(
        "ProxyServer",
        "privacy",
        "full, shortened or none",
        _privacy,
        Privacy.FULL,
        "How clients' addresses are written to the log and the files of ``[Accounting]``: whole, "
        "without what tells one household from the next (an IPv4 address by its /24, an IPv6 "
        "address by its /48), or not at all. The monitor and the admin page show them whole; they "
        "store nothing.",
    ),
    _path(
        "ProxyServer",
        "monitorSocket",
        "Path of the Unix socket for ``nymea-remoteproxy-monitor``. Default: none.",
        atStart=True,
    ),
    Setting(
        "ProxyServer",
        "monitorSocketMode",
        "octal number",
        _mode,
        0o660,
        "Who may connect to the monitor socket: by default the server's user and group.",
        atStart=True,
    ),
    Setting(
        "ProxyServer",
        "logEngineEnabled",
        "true or false",
        _flag,
        False,
        "Write the two text files of the C++ server, ``nymea-remoteproxy-tunnels.log`` and "
        "``nymea-remoteproxy-statistics.log``, into textDirectory of ``[Accounting]``.",
        atStart=True,
    ),
    Setting(
        "SSL",
        "enabled",
        "true or false",
        _flag,
        True,
        "Speak TLS on the listeners of this file and on the main listener.",
        atStart=True,
    ),
    _path(
        "SSL",
        "certificate",
        "PEM file; may hold the chain, and the key. Without it a "
        "self-signed certificate is made and kept in the state directory.",
    ),
    _path("SSL", "certificateKey", "PEM file with the private key."),
    _path("SSL", "certificateChain", "PEM file with the certificates up to the root."),
    Setting(
        "WebSocketServer",
        "host",
        "address",
        _host,
        None,
        "Address of the main WebSocket listener. Default: every interface when TLS is enabled and "
        "there is a certificate, otherwise 127.0.0.1.",
        atStart=True,
    ),
    Setting(
        "WebSocketServer",
        "port",
        "port",
        _port,
        2212,
        "Port of the main WebSocket listener; 0 picks a free one, which the log tells.",
        atStart=True,
    ),
    Setting(
        "TcpServer",
        "host",
        "address",
        _host,
        "127.0.0.1",
        "Address of a TCP or TLS stream listener.",
        atStart=True,
    ),
    Setting(
        "TcpServer",
        "port",
        "port",
        _port,
        None,
        "Its port. Default: no such listener.",
        atStart=True,
    ),
    _path(
        "UnixSocketServer",
        "unixSocketFileName",
        "Path of a Unix socket to listen on. Default: none.",
        atStart=True,
    ),
    Setting(
        "Authentication",
        "server",
        "URL",
        _url,
        "",
        "The authentication server that judges tokens.",
        hidden=True,
    ),
    Setting(
        "Authentication",
        "request",
        "json or form",
        _choice("json", "form"),
        "json",
        "How it is asked: with nymea's JSON, or with the form of RFC 7662.",
    ),
    Setting(
        "Authentication",
        "clientId",
        "text",
        _user,
        "",
        "User name for the authentication server (HTTP basic authentication).",
    ),
    _path(
        "Authentication",
        "clientSecretFile",
        "File whose first line that is not empty is the password for the authentication server.",
    ),
    Setting(
        "Authentication",
        "connections",
        "number",
        Number(1, MAX_QUESTIONS, QUESTIONS),
        QUESTIONS,
        "How many questions the authentication server is asked at once; further ones wait.",
    ),
    _path(
        "Authentication",
        "tokenFile",
        "File with one accepted token per line; # begins a comment line.",
    ),
    Setting(
        "Authentication",
        "pairing",
        "token or subject",
        _choice("token", "subject"),
        "token",
        "What two clients must have in common besides the nonce: the token, or the account that "
        "the authentication server names for it.",
        atStart=True,
    ),
    Setting(
        "Admin",
        "endpoint",
        "endpoint",
        _text,
        "",
        "Where to serve the status page, metrics and health checks over HTTP, such as "
        "``tcp:8080:interface=127.0.0.1`` or ``unix:/run/nymea-remoteproxy/admin.sock:mode=660``. "
        "``--admin`` does the same on the command line. Default: nowhere.",
        atStart=True,
    ),
    _path(
        "Admin",
        "passwordFile",
        "File with one ``user:password`` per line; # begins a comment line. With it everybody has "
        "to give one of them, and the endpoint need not be local. Default: nobody has to.",
    ),
    _path(
        "Accounting",
        "tunnelLog",
        "File that gets one JSON object per line for each tunnel that ended. Default: none.",
        atStart=True,
    ),
    _path(
        "Accounting",
        "statisticsLog",
        "File that gets one JSON object per line for each statisticsInterval. Default: none.",
        atStart=True,
    ),
    Setting(
        "Accounting",
        "statisticsInterval",
        "milliseconds",
        Number(1000, DAY, 60000, "milliseconds"),
        60000,
        "How often statistics are written.",
        atStart=True,
    ),
    _path(
        "Accounting",
        "textDirectory",
        "Where the text files of logEngineEnabled are. Default: what systemd's LogsDirectory says "
        "(``$LOGS_DIRECTORY``), else ``/var/log`` as with the C++ server.",
        atStart=True,
    ),
    _path(
        "Accounting",
        "totalsFile",
        "File that keeps the lifetime totals across restarts. Default: ``totals.json`` in the "
        "state directory.",
        atStart=True,
    ),
    Setting(
        "WebSocketServerTunnelProxy",
        "host",
        "address",
        _host,
        None,
        "Address of a WebSocket listener that takes the place of the main one, unless that one is "
        "set too. Default: as for the main one.",
        atStart=True,
    ),
    Setting(
        "WebSocketServerTunnelProxy",
        "port",
        "port",
        _port,
        None,
        "Its port. Default: no such listener.",
        atStart=True,
    ),
    Setting(
        "TcpServerTunnelProxy",
        "host",
        "address",
        _host,
        "127.0.0.1",
        "Address of a further TCP or TLS stream listener.",
        atStart=True,
    ),
    Setting(
        "TcpServerTunnelProxy",
        "port",
        "port",
        _port,
        None,
        "Its port. Default: no such listener.",
        atStart=True,
    ),
    _path(
        "UnixSocketServerTunnelProxy",
        "unixSocketFileName",
        "Path of a further Unix socket to listen on. Default: none.",
        atStart=True,
    ),
    Setting(
        "TunnelProxy",
        "enabled",
        "true or false",
        _flag,
        None,
        "Switch the tunnel proxy on, on every listener. ``--tunnelproxy`` does the same on the "
        "command line. Default: on when there is one of the sections ``[…TunnelProxy]`` of the C++ "
        "server.",
        atStart=True,
    ),
    _path(
        "TunnelProxy",
        "serverUuidFile",
        "File with one uuid per line of the servers that may register; # begins a comment line. "
        "Servers that are registered stay when it is read anew. Default: every server may.",
    ),
    Setting(
        "TunnelProxy",
        "serverTimeout",
        "milliseconds, 0 = for ever",
        _millisecondsOrOff,
        60000,
        "How long a registered server may be silent; those in the field ping every 30 seconds.",
    ),
    Setting(
        "TunnelProxy",
        "maxPacketSize",
        "bytes",
        _size,
        4 << 20,
        "The size of one SLIP packet, as it is sent. A packet is held until it is whole, so this "
        "much memory a server may take. nymea:core sends every answer in one packet.",
    ),
    Setting(
        "TunnelProxy",
        "clientBacklog",
        "bytes",
        _size,
        16 << 20,
        "How far a client may be behind its server. Up to here the server and its other clients do "
        "not notice that one is slow; beyond, the server has to wait. The default is what a home "
        "sends in clientPatience with 45 Mbit/s, so that most never have to.",
        atStart=True,
    ),
    Setting(
        "TunnelProxy",
        "clientPatience",
        "milliseconds",
        _milliseconds,
        3000,
        "How long a client that is behind by more than clientBacklog may take nothing, while its "
        "server, and with it other clients, have to wait. Then it is disconnected. One that keeps "
        "nobody waiting has a minute. By default it is longer than TCP takes to send a lost packet "
        "for the third time, and than a phone takes to change from one cell to another.",
        atStart=True,
    ),
    Setting(
        "TunnelProxy",
        "totalBacklog",
        "bytes",
        _size,
        256 << 20,
        "How far all clients together may be behind, with what servers have begun and not ended. "
        "Beyond, those that are behind are treated as if they were so by more than clientBacklog; "
        "when more than half of it is unfinished, the server with the most of that is "
        "disconnected.",
        atStart=True,
    ),
    _bound(
        "maxServersPerAddress",
        100,
        "Servers registered with the tunnel proxy from one address.",
    ),
    _bound(
        "maxClientsPerAddress",
        500,
        "Clients of the tunnel proxy from one address.",
    ),
    _bound(
        "maxClientsPerServer",
        0,
        "Clients of one registered server. The protocol has addresses for 65,534.",
    ),
    _bound(
        "maxConnections",
        None,
        "Connections in all. Default: what the limit of open files allows, less a reserve.",
    ),
    _bound(
        "maxUnauthenticated",
        None,
        "Connections in all that have not authenticated yet. Default: half of maxConnections.",
    ),
    _bound(
        "maxConnectionsPerAddress",
        1000,
        "Connections from one address. Many clients may share one behind a provider's NAT.",
    ),
    _bound(
        "maxUnauthenticatedPerAddress",
        100,
        "Connections from one address that have not authenticated yet.",
    ),
    _bound("attemptsPerSecondPerAddress", 50, "New connections per second from one address."),
    Setting(
        "Limits",
        "maxControlMessageSize",
        "bytes, 0 = no limit",
        Number(0, MAX_MESSAGE, 10240, "bytes"),
        10240,
        "The size of one message before the tunnel. Each is read in one go, so that a large one "
        "holds up everybody.",
    ),
    Setting(
        "Limits",
        "exemptNetworks",
        "networks, with commas",
        _networks,
        LOOPBACK,
        "Where the limits per address do not apply, such as the address of a reverse proxy. An "
        "IPv6 address counts by its /64.",
    ),
)

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_SECTIONS = tuple(dict.fromkeys(setting.section for setting in SETTINGS))

RETIRED: Mapping[str, str] = {
    "AWS": "the AWS authentication of the old server is gone, see [Authentication]",
    "ProxyServer.proxyEnabled": "the proxy is always on",
}
"""Sections and keys of the C++ server that mean nothing here, and why."""


class Settings:
    """The values of all settings.

    :ivar warnings: what the operator should know of the file, one line each.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._sources: dict[str, str] = {}
        self._sections: set[str] = set()
        self.warnings: list[str] = []

    def __getitem__(self, name: str) -> Any:
        """Return the value of ``Section.key``: as given, else its default."""
        return self._values.get(name, _BY_NAME[name].default)

    def isGiven(self, name: str) -> bool:
        """True when ``Section.key`` has been set."""
        return name in self._values

    def hasSection(self, section: str) -> bool:
        """True when a section was in the file, be it empty, or something in it has been set."""
        return section in self._sections

    def seconds(self, name: str) -> float:
        """Return a setting that is in milliseconds."""
        return float(self[name]) / 1000

    def source(self, name: str) -> str:
        """Return where ``Section.key`` was set: an option, or section and key."""
        return self._sources[name]

    def doubts(self) -> list[str]:
        """Return what was hardly meant so, one line each: seconds instead of milliseconds."""
        return [
            f"{_label(setting.section, setting.key)} is {self[setting.name]} milliseconds; is "
            f"{self[setting.name] * 1000} meant?"
            for setting in SETTINGS
            if isinstance(setting.parse, Number)
            and self.isGiven(setting.name)
            and 0 < self[setting.name] < setting.parse.doubtful
        ]

    def set(self, name: str, text: str, source: str = "") -> None:
        """Set ``Section.key`` from text.

        :param source: where it was set; by default only section and key are told.
        :raises SettingsError: there is no such setting, or the text is no value for it.
        """
        section, _, key = name.partition(".")
        why = RETIRED.get(section) or RETIRED.get(name)
        if why is not None:
            warning = f"{_label(section, '' if section in RETIRED else key)} is ignored: {why}"
            if warning not in self.warnings:
                self.warnings.append(warning)
            return
        setting = _BY_NAME.get(name)
        if setting is None:
            raise SettingsError(_unknown(section, key))
        text = text.strip()
        if "\n" in text:
            raise SettingsError(
                f"{_label(section, key)} goes on in an indented line; begin every setting at the "
                "beginning of its line"
            )
        if not isText(text) or any(unicodedata.category(each) == "Cc" for each in text):
            raise SettingsError(f"{_label(section, key)} has characters that no setting has")
        self._sections.add(section)
        try:
            self._values[name] = setting.parse(text)
            self._sources[name] = source or _label(section, key)
        except ValueError as error:
            shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
            value = "used" if setting.hidden else repr(shown)
            raise SettingsError(f"{_label(section, key)} cannot be {value}: {error}") from None

    def keepAtStart(self, previous: Settings) -> list[str]:
        """Keep what takes effect at the start only as it was.

        :returns: what is different now and was not taken, as it stands in the file.
        """
        different = [
            setting
            for setting in SETTINGS
            if setting.atStart and self[setting.name] != previous[setting.name]
        ]
        for setting in different:
            self._values.pop(setting.name, None)
            if previous.isGiven(setting.name):
                self._values[setting.name] = previous[setting.name]
                self._sources[setting.name] = previous._sources[setting.name]
        self._sections = set(previous._sections)
        return [_label(setting.section, setting.key) for setting in different]

    def override(self, assignment: str) -> None:
        """Set one setting from ``SECTION.KEY=VALUE``.

        :raises SettingsError: it is no such assignment, or cannot be set.
        """
        name, equals, value = assignment.partition("=")
        if not equals or "." not in name:
            raise SettingsError(
                f"--set {assignment}: write SECTION.KEY=VALUE, such as "
                "ProxyServer.aloneTimeout=8000"
            )
        self.set(name.strip(), value)

    def load(self, path: str, read: Read = readFile) -> None:
        """Set what the INI file says.

        :raises FileError: it cannot be read.
        :raises SettingsError: it says something that cannot be set.
        """
        parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#", ";"))
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        try:
            parser.read_string(read(path).decode("utf-8-sig"))
        except OSError as error:
            raise FileError(
                f"cannot read the configuration file {path}: {error.strerror}"
            ) from None
        except UnicodeDecodeError:
            raise FileError(f"the configuration file {path} is not UTF-8") from None
        except configparser.Error as error:
            raise SettingsError(
                f"the configuration file {path} is broken: {_whyBroken(error)}"
            ) from None
        for key in parser.defaults():
            raise SettingsError(f"{path}: {_unknown('DEFAULT', key)}")
        for section in parser.sections():
            known = section in _SECTIONS or section in RETIRED
            if not known:
                raise SettingsError(f"{path}: {_unknown(section, '')}")
            self._sections.add(section)
            for key, value in parser.items(section):
                if len(value) > 1 and value[0] == value[-1] == '"':
                    value = value[1:-1]  # as Qt writes values with a comma or semicolon in them
                try:
                    self.set(f"{section}.{key}", value, f"{path}: {_label(section, key)}")
                except SettingsError as error:
                    raise SettingsError(f"{path}: {error}") from None


def _whyBroken(error: configparser.Error) -> str:
    """Say what is wrong with an INI file, but not what stands there.

    By mistake it may be a file of tokens.
    """
    match error:
        case configparser.MissingSectionHeaderError():
            return f"there is no section header, such as [ProxyServer], before line {error.lineno}"
        case configparser.DuplicateSectionError():
            return f"section [{error.section}] in line {error.lineno} already exists"
        case configparser.DuplicateOptionError():
            return f"{_label(error.section, error.option)} in line {error.lineno} already exists"
    assert isinstance(error, configparser.ParsingError), error
    return f"line {error.errors[0][0]} is no section header, no KEY = VALUE and no comment"


def _label(section: str, key: str) -> str:
    return f"[{section}] {key}".rstrip()


def _unknown(section: str, key: str) -> str:
    """Say that there is no such section or key, and which one may have been meant."""
    if section not in _SECTIONS:
        return f"there is no section [{section}]" + _nearest(
            section, _SECTIONS, "; the nearest known one is [{}]", "; there are {}"
        )
    label = _label(section, key)
    for other in SETTINGS:
        if other.key == key:
            return f"there is no setting {label}; {key} is in [{other.section}]"
    keys = [setting.key for setting in SETTINGS if setting.section == section]
    return f"there is no setting {label}" + _nearest(
        key, keys, "; the nearest known one is {}", f"; [{section}] has {{}}"
    )


def _nearest(name: str, known: Sequence[str], near: str, far: str) -> str:
    """Name the known name that is near, else all of them; case makes no difference."""
    byFolded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), byFolded, 1)
    return near.format(byFolded[found[0]]) if found else far.format(", ".join(known))
