"""The sections of the configuration file: every setting's name, type, default, bounds and meaning.

Each section is a dataclass of the same name as in the file, each of its fields a setting, likewise.
Times are in seconds here, and in milliseconds in the file. What is in the file, the reference and
the manual pages are all made of this. Owns every default. Knows nothing of what the settings mean
for the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum

from nymearemoteproxy.common.logs import FORMATS
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections.limits import LOOPBACK, QUESTIONS, Network
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.running.settings.declarations import (
    Setting,
    declared,
    dependent,
    settingsOf,
)
from nymearemoteproxy.running.settings.notations import (
    BYTES,
    COUNT,
    DAY,
    DOMAIN,
    ENDPOINT,
    FLAG,
    HOST,
    MAX_LEEWAY,
    MIN_PATIENCE,
    MODE,
    MONTH,
    NAME,
    NETWORKS,
    PATH,
    PLACE,
    PORT,
    RATE,
    SIZE,
    SUBPROTOCOLS,
    TEXTS,
    TIME,
    URL,
    USER,
    Range,
    choice,
    milliseconds,
    number,
    word,
)
from nymearemoteproxy.tunnelproxy.switchboard import Terms

MAX_KEEPALIVE = 32_767_000
"""Milliseconds; Linux refuses more for TCP_KEEPIDLE (MAX_TCP_KEEPIDLE in its net/tcp.h)."""

MAX_GAP = 10_000
"""Milliseconds; in every tunnel of such a client everything stands still for so long."""

MAX_MESSAGE = 1 << 20
"""Bytes; a message before the tunnel is held for each stranger until it is whole, and then read in
one turn of the reactor, which takes half a second if as much as this is nothing but numbers."""

MAX_QUESTIONS = 1000
"""Each is an open file, and a connection that the authentication server has to serve."""


MAX_WORKERS = 256
"""More than cores that one machine would be used for."""

WORKERS = number(Range(0, MAX_WORKERS, 4), "number, 0 = one for each core")


class Asking(Enum):
    """How the authentication server is asked."""

    JSON = "json"
    FORM = "form"


class Pairing(Enum):
    """What two clients must have in common."""

    TOKEN = "token"
    SUBJECT = "subject"


class Proven(Enum):
    """Who has to show the tunnel proxy a token."""

    NONE = "none"
    SERVERS = "servers"
    EVERYBODY = "everybody"


@dataclass(frozen=True)
class ProxyServer:
    """The server as a whole, and every connection."""

    name: str = declared(
        NAME, "nymea-remoteproxy", "The name that clients are told in the answer to Hello."
    )
    workers: int = declared(
        WORKERS,
        1,
        "How many processes serve clients. The server starts them, and starts them anew when one "
        "fails; what it shows and logs is of all of them together. ``--workers`` does the same on "
        "the command line.",
        atStart=True,
    )
    writeLogs: bool = declared(
        FLAG,
        False,
        "Write the log to logFile. ``--logging`` does the same on the command line.",
        atStart=True,
    )
    logFile: str = declared(
        PATH,
        "",
        "The log file. Default: ``nymea-remoteproxy.log`` in what systemd's LogsDirectory says "
        "(``$LOGS_DIRECTORY``), else in ``/var/log`` as with the C++ server.",
        atStart=True,
    )
    logFormat: str = declared(
        word(FORMATS),
        "text",
        "How the log is written: lines for people, or one JSON object per line.",
        atStart=True,
    )
    authenticationTimeout: float = declared(
        TIME,
        Timing.authentication,
        "How long the authentication backend may take to judge a token.",
    )
    jsonRpcTimeout: float = declared(
        TIME,
        10.0,
        "How long any call may take. Only Authenticate takes time, so the lower one of this and "
        "authenticationTimeout counts.",
    )
    inactiveTimeout: float = declared(
        TIME,
        Timing.inactive,
        "How long a client may be connected without a valid call. Every valid call starts the time "
        "anew, bytes alone do not. A visitor has as long for an HTTP request, and a home to be "
        "found for one.",
    )
    aloneTimeout: float = declared(
        TIME,
        Timing.alone,
        "How long a client waits for its partner. Unless it is set, it is five minutes while the "
        "only token is the one that the server made and showed: somebody has to copy that.",
    )
    tlsHandshakeTimeout: float = declared(
        TIME, Timing.tlsHandshake, "How long a new connection may take for the TLS handshake."
    )
    webSocketHandshakeTimeout: float = declared(
        TIME,
        Timing.webSocketHandshake,
        "How long a new connection may take for the WebSocket upgrade.",
    )
    notificationGap: float = declared(
        milliseconds(0, MAX_GAP, 20, orZero="none"),
        Timing.notificationGap,
        "How long a stream client of API 0.3 gets nothing behind the notification that its tunnel "
        "is up: clients in the field lose what arrives together with it.",
    )
    pingInterval: float = declared(
        milliseconds(0, MAX_KEEPALIVE, 30000, MIN_PATIENCE, orZero="never"),
        Timing.ping,
        "How often WebSocket clients that wait or have a tunnel are pinged; for TCP, the "
        "silence after which TCP keepalive probes begin. Linux takes no more for TCP.",
        atStart=True,
    )
    pingTimeout: float = declared(
        TIME,
        Timing.pingAnswer,
        "How long something must come after a ping has arrived. A client that does not take what "
        "it was sent is slow rather than gone, and not pinged meanwhile.",
        atStart=True,
    )
    closeTimeout: float = declared(
        TIME,
        Timing.close,
        "How long a client that was told goodbye may take to close and to receive what was still "
        "on its way; after twice that time the connection is aborted.",
    )
    shutdownTimeout: float = declared(
        milliseconds(0, DAY, 8000, MIN_PATIENCE, orZero="none"),
        5.0,
        "How long clients have to leave when the server is stopped, before they are cut off.",
    )
    drainTimeout: float = declared(
        milliseconds(0, DAY, 8000, MIN_PATIENCE, orZero="for ever"),
        3600.0,
        "How long tunnels may live on when the server is drained, before it stops.",
    )
    privacy: Privacy = declared(
        choice(Privacy),
        Privacy.FULL,
        "How clients' addresses are written to the log and the files of ``[Accounting]``: whole, "
        "without what tells one household from the next (an IPv4 address by its /24, an IPv6 "
        "address by its /48), or not at all. The monitor and the admin page show them whole; they "
        "store nothing.",
    )
    monitorSocket: str = declared(
        PATH,
        "",
        "Path of the Unix socket for ``nymea-remoteproxy-monitor``. Default: none.",
        atStart=True,
    )
    monitorSocketMode: int = declared(
        MODE,
        0o660,
        "Who may connect to the monitor socket: by default the server's user and group.",
        atStart=True,
    )
    logEngineEnabled: bool = declared(
        FLAG,
        False,
        "Write the two text files of the C++ server, ``nymea-remoteproxy-tunnels.log`` and "
        "``nymea-remoteproxy-statistics.log``, into textDirectory of ``[Accounting]``.",
        atStart=True,
    )


@dataclass(frozen=True)
class SSL:
    """The server's certificate, and where TLS is spoken."""

    enabled: bool = declared(
        FLAG,
        True,
        "Speak TLS on the listeners of this file and on the main listener.",
        atStart=True,
    )
    certificate: str = declared(
        PATH,
        "",
        "PEM file; may hold the chain, and the key. Without it a "
        "self-signed certificate is made and kept in the state directory.",
    )
    certificateKey: str = declared(PATH, "", "PEM file with the private key.")
    certificateChain: str = declared(PATH, "", "PEM file with the certificates up to the root.")


@dataclass(frozen=True)
class WebSocketServer:
    """The main listener."""

    host: str | None = dependent(
        HOST,
        "Address of the main WebSocket listener. Default: every interface when TLS is enabled and "
        "there is a certificate, otherwise 127.0.0.1.",
        atStart=True,
    )
    port: int = declared(
        PORT,
        2212,
        "Port of the main WebSocket listener; 0 picks a free one, which the log tells.",
        atStart=True,
    )
    subprotocols: tuple[str, ...] = declared(
        SUBPROTOCOLS,
        (),
        "Subprotocols that are accepted on every WebSocket listener. A browser that offers some "
        "wants one of them back: it gets the first one that stands here. Nothing else changes.",
    )


@dataclass(frozen=True)
class TcpServer:
    """A listener for streams."""

    host: str = declared(
        HOST, "127.0.0.1", "Address of a TCP or TLS stream listener.", atStart=True
    )
    port: int | None = dependent(PORT, "Its port. Default: no such listener.", atStart=True)


@dataclass(frozen=True)
class UnixSocketServer:
    """A listener for this machine."""

    unixSocketFileName: str = declared(
        PATH, "", "Path of a Unix socket to listen on. Default: none.", atStart=True
    )


@dataclass(frozen=True)
class Authentication:
    """Who may use token tunnels, and the tunnel proxy where that asks for a token."""

    server: str = declared(URL, "", "The authentication server that judges tokens.", hidden=True)
    request: Asking = declared(
        choice(Asking),
        Asking.JSON,
        "How it is asked: with nymea's JSON, or with the form of RFC 7662.",
    )
    clientId: str = declared(
        USER, "", "User name for the authentication server (HTTP basic authentication)."
    )
    clientSecretFile: str = declared(
        PATH,
        "",
        "File whose first line that is not empty is the password for the authentication server.",
    )
    connections: int = declared(
        number(Range(1, MAX_QUESTIONS, QUESTIONS)),
        QUESTIONS,
        "How many questions the authentication server is asked at once; further ones wait.",
    )
    tokenFile: str = declared(
        PATH, "", "File with one accepted token per line; # begins a comment line."
    )
    jwks: str = declared(
        PLACE,
        "",
        "Where the public keys (a JSON Web Key Set) are of those who issue JSON Web Tokens: an "
        "https URL, or a file. With it, this server judges such tokens by itself.",
        hidden=True,
    )
    issuer: str = declared(
        NAME, "", "Who has to have issued a JSON Web Token: its ``iss``, to the letter."
    )
    audience: tuple[str, ...] = declared(
        TEXTS,
        (),
        "For one of these a JSON Web Token has to be: its ``aud``, or, if it has none, its "
        "``client_id``. Default: only those are accepted that have no ``aud``.",
    )
    subjectClaim: str = declared(
        NAME, "sub", "Which claim of a JSON Web Token names the account it belongs to."
    )
    leeway: float = declared(
        milliseconds(0, MAX_LEEWAY, 30000, MIN_PATIENCE, orZero="none"),
        30.0,
        "How wrong this machine's clock, or the issuer's, may be when it is looked at whether a "
        "JSON Web Token has expired.",
    )
    pairing: Pairing = declared(
        choice(Pairing),
        Pairing.TOKEN,
        "What two clients must have in common besides the nonce: the token, or the account that "
        "the authentication server, or a JSON Web Token, names for it. In the tunnel proxy, by "
        "account, a client that shows a token reaches only the servers that showed one of the same "
        "account.",
        atStart=True,
    )


@dataclass(frozen=True)
class Admin:
    """The admin endpoint."""

    endpoint: str = declared(
        ENDPOINT,
        "",
        "Where to serve the status page, metrics and health checks over HTTP, such as "
        "``tcp:9109:interface=127.0.0.1`` or ``unix:/run/nymea-remoteproxy/admin.sock``. "
        "``--admin`` does the same on the command line. Default: nowhere.",
        atStart=True,
    )
    passwordFile: str = declared(
        PATH,
        "",
        "File with one ``user:password`` per line; # begins a comment line. With it everybody has "
        "to give one of them, and the endpoint need not be local. Default: nobody has to.",
    )


@dataclass(frozen=True)
class Accounting:
    """What is written down."""

    tunnelLog: str = declared(
        PATH,
        "",
        "File that gets one JSON object per line for each tunnel that ended. Default: none.",
        atStart=True,
    )
    statisticsLog: str = declared(
        PATH,
        "",
        "File that gets one JSON object per line for each statisticsInterval. Default: none.",
        atStart=True,
    )
    statisticsInterval: float = declared(
        milliseconds(1000, DAY, 60000), 60.0, "How often statistics are written.", atStart=True
    )
    textDirectory: str = declared(
        PATH,
        "",
        "Where the text files of logEngineEnabled are. Default: what systemd's LogsDirectory says "
        "(``$LOGS_DIRECTORY``), else ``/var/log`` as with the C++ server.",
        atStart=True,
    )
    totalsFile: str = declared(
        PATH,
        "",
        "File that keeps the lifetime totals across restarts. Default: ``totals.json`` in the "
        "state directory.",
        atStart=True,
    )


@dataclass(frozen=True)
class WebSocketServerTunnelProxy:
    """A listener that the C++ server had for the tunnel proxy only."""

    host: str | None = dependent(
        HOST,
        "Address of a WebSocket listener that takes the place of the main one, unless that one is "
        "set too. Default: as for the main one.",
        atStart=True,
    )
    port: int | None = dependent(PORT, "Its port. Default: no such listener.", atStart=True)


@dataclass(frozen=True)
class TcpServerTunnelProxy:
    """The same for streams."""

    host: str = declared(
        HOST, "127.0.0.1", "Address of a further TCP or TLS stream listener.", atStart=True
    )
    port: int | None = dependent(PORT, "Its port. Default: no such listener.", atStart=True)


@dataclass(frozen=True)
class UnixSocketServerTunnelProxy:
    """The same for this machine."""

    unixSocketFileName: str = declared(
        PATH, "", "Path of a further Unix socket to listen on. Default: none.", atStart=True
    )


@dataclass(frozen=True)
class TunnelProxy:
    """The tunnel proxy, and what it demands."""

    enabled: bool | None = dependent(
        FLAG,
        "Switch the tunnel proxy on, on every listener. ``--tunnelproxy`` does the same on the "
        "command line. Default: on when there is one of the sections ``[…TunnelProxy]`` of the C++ "
        "server.",
        atStart=True,
    )
    serverUuidFile: str = declared(
        PATH,
        "",
        "File with one uuid per line of the servers that may register; # begins a comment line. "
        "Servers that are registered stay when it is read anew. Default: every server may.",
    )
    authentication: Proven = declared(
        choice(Proven),
        Proven.NONE,
        "Who has to show a token that ``[Authentication]`` accepts. nymea:core and nymea:app know "
        "of none; ``nymea-remoteproxy-client`` shows that of its ``--token-file``. Whoever is "
        "registered already stays.",
    )
    serverTimeout: float = declared(
        milliseconds(0, DAY, 8000, MIN_PATIENCE, orZero="for ever"),
        Terms.serverTimeout,
        "How long a registered server may be silent; those in the field ping every 30 seconds.",
    )
    maxPacketSize: int = declared(
        SIZE,
        Terms.packetSize,
        "The size of one packet, as it is sent. A SLIP packet is held until it is whole, so this "
        "much memory a server may take. nymea:core sends every answer in one packet.",
    )
    clientBacklog: int = declared(
        SIZE,
        Terms.clientBacklog,
        "How far a client may be behind its server. Up to here the server and its other clients do "
        "not notice that one is slow; beyond, the server has to wait. The default is what a home "
        "sends in clientPatience with 45 Mbit/s, so that most never have to. A server with flow "
        "control pauses at a quarter of it; the rest has to take what is on its way by then, which "
        "may be some MB. Up to half of it may wait there for ever, as long as there is room.",
        atStart=True,
    )
    clientPatience: float = declared(
        TIME,
        Terms.clientPatience,
        "How long a client that is behind by more than clientBacklog may take nothing, while its "
        "server, and with it other clients, have to wait. Then it is disconnected. One that keeps "
        "nobody waiting has a minute. By default it is longer than TCP takes to send a lost packet "
        "for the third time, and than a phone takes to change from one cell to another.",
        atStart=True,
    )
    totalBacklog: int = declared(
        SIZE,
        Terms.totalBacklog,
        "How far all clients together may be behind, with what servers have begun and not ended. "
        "When more than half of it waits for clients, those with more than a fair share of that "
        "half are treated as if they were behind by more than clientBacklog; the servers of an "
        "address have one share, and their clients divide it. Beyond all of it, those with the "
        "most are disconnected; when more than a quarter is unfinished, the server with the most "
        "of that.",
        atStart=True,
    )


@dataclass(frozen=True)
class Front:
    """The front door: browsers reach a registered server by its name, encrypted as far as that."""

    listeners: tuple[str, ...] = declared(
        TEXTS,
        (),
        "Where visitors come in with TLS, such as ``tcp:443``: endpoints without ``tls:``, as TLS "
        "ends at the home. ``--front`` does the same on the command line. With any the tunnel "
        "proxy is on.",
        atStart=True,
    )
    httpListeners: tuple[str, ...] = declared(
        TEXTS,
        (),
        "Where visitors come in without TLS, such as ``tcp:80``, to be told that there is https. "
        "Only a challenge of ACME's, by which a home gets a certificate, goes to the home. "
        "``--front-http`` does the same on the command line.",
        atStart=True,
    )
    domain: str = declared(
        DOMAIN,
        "",
        "Under this name the first label is the uuid of a home, as in "
        "``c3b5e6ea-8d04-4f5a-9b3c-0e7d0f6a1b2c.homes.example.org``. Visitors come only to a home "
        "that registered for them.",
    )
    namesFile: str = declared(
        PATH,
        "",
        "File with the names of homes, in each line a name and a uuid; ``*.`` begins a name that "
        "stands for all below it, # a comment line. Visitors of a home that is named here may come "
        "unless it registered without. Who is connected stays when it is read anew.",
    )
    maxVisitorsPerHome: int = declared(
        COUNT,
        Terms.visitorsPerServer,
        "Visitors of one home; browsers open several connections each. They are clients of it, "
        "too, so the limits for these apply.",
    )


@dataclass(frozen=True)
class Limits:
    """How much there may be; 0 = no limit."""

    maxServersPerAddress: int = declared(
        COUNT, 100, "Servers registered with the tunnel proxy from one address."
    )
    maxClientsPerAddress: int = declared(
        COUNT, 500, "Clients of the tunnel proxy from one address."
    )
    maxClientsPerServer: int = declared(
        COUNT,
        0,
        "Clients of one registered server. The protocol has addresses for 65,534.",
    )
    maxConnections: int | None = dependent(
        COUNT,
        "Connections in all. Default: what the limit of open files allows, less a reserve.",
    )
    maxUnauthenticated: int | None = dependent(
        COUNT,
        "Connections in all that have not authenticated yet. Default: half of maxConnections.",
    )
    maxConnectionsPerAddress: int = declared(
        COUNT,
        1000,
        "Connections from one address. Many clients may share one behind a provider's NAT.",
    )
    maxUnauthenticatedPerAddress: int = declared(
        COUNT, 100, "Connections from one address that have not authenticated yet."
    )
    attemptsPerSecondPerAddress: int = declared(
        COUNT, 50, "New connections per second from one address."
    )
    maxControlMessageSize: int = declared(
        number(Range(0, MAX_MESSAGE, 10240, "bytes"), "bytes, 0 = no limit"),
        Terms.messageSize,
        "The size of one message before the tunnel. Each is read in one go, so that a large one "
        "holds up everybody.",
    )
    tunnelRate: int = declared(
        RATE,
        0,
        "How fast a tunnel may be, in each of its two directions; so may each client of a "
        "registered server. Who sends faster is not read from for some milliseconds at a time.",
    )
    totalRate: int = declared(
        RATE,
        0,
        "How fast all tunnels together may be: what their clients send. Those that want more wait "
        "for each other in turn. With several workers each has its equal share.",
    )
    tunnelIdleTimeout: float = declared(
        milliseconds(0, MONTH, 3_600_000, MIN_PATIENCE, orZero="none"),
        0.0,
        "How long a tunnel stays in which nothing is relayed; pings of WebSocket and of TCP do not "
        "count. A registered server stays, its clients do not.",
    )
    tunnelMaxAge: float = declared(
        milliseconds(0, MONTH, 86_400_000, MIN_PATIENCE, orZero="none"),
        0.0,
        "How long a tunnel stays whatever is relayed. A registered server stays, its clients do "
        "not.",
    )
    tunnelsPerSubject: int = declared(
        COUNT,
        0,
        "Tunnels that one account may have at once. Whose account it is says the authentication "
        "backend; clients without an account are not counted, nor is a registered server.",
    )
    bytesPerSubjectPerDay: int = declared(
        BYTES,
        0,
        "What the clients of one account may send from midnight to midnight, UTC. Then its tunnels "
        "and registered servers end, and it gets no new ones that day. It is looked at once a "
        "second, and counted in memory: after a restart everybody begins at 0.",
    )
    denyFile: str = declared(
        PATH,
        "",
        "File with one address or network per line whose clients are not let in, such as "
        "``192.0.2.1`` or ``2001:db8::/32``; # begins a comment line. When it is read anew, "
        "clients that are connected from there are cut off. Default: none.",
    )
    exemptNetworks: tuple[Network, ...] = declared(
        NETWORKS,
        LOOPBACK,
        "Where the limits per address do not apply, such as the address of a reverse proxy. An "
        "IPv6 address counts by its /64.",
    )


@dataclass(frozen=True)
class Cluster:
    """Several processes that are one meeting place, found through a directory."""

    directory: str = declared(
        NAME,
        "",
        "URL of the directory, a Redis that all members use: ``redis://HOST:6379/0``, "
        "``rediss://`` for TLS, ``redis+unix:PATH``; several with blanks between them share the "
        "work. ``--cluster`` does the same on the command line. Default: no cluster.",
        atStart=True,
        hidden=True,
    )
    directoryPasswordFile: str = declared(
        PATH, "", "File with the password for the directory.", atStart=True
    )
    secretFile: str = declared(
        PATH,
        "",
        "File with a secret that all members know, at least 16 characters: by it they know each "
        "other, and it hides uuids and keys from whoever reads the directory. Default: the first "
        "member makes one, and keeps it in the directory.",
        atStart=True,
    )
    listen: str = declared(
        ENDPOINT,
        "",
        "Where links from other machines come in, such as ``tcp:2213``; they are TLS by "
        "themselves. Has to be given unless the directory is on this machine.",
        atStart=True,
    )
    address: str = declared(
        NAME,
        "",
        "``HOST:PORT`` at which others reach that; an IP address. Default: what is listened on; "
        "where that is every interface, the address from which the directory is reached.",
        atStart=True,
    )
    name: str = declared(
        NAME, "", "What this member is called, for people. Default: the host's name.", atStart=True
    )
    linkTimeout: float = declared(
        TIME,
        2.0,
        "How long it may take to reach another member, and to get each answer of it.",
        atStart=True,
    )
    directoryTimeout: float = declared(
        TIME, 1.0, "How long the directory may take for an answer.", atStart=True
    )


@dataclass
class Sections:
    """The values of all settings."""

    proxyServer: ProxyServer = ProxyServer()
    ssl: SSL = SSL()
    webSocketServer: WebSocketServer = WebSocketServer()
    tcpServer: TcpServer = TcpServer()
    unixSocketServer: UnixSocketServer = UnixSocketServer()
    authentication: Authentication = Authentication()
    admin: Admin = Admin()
    accounting: Accounting = Accounting()
    webSocketServerTunnelProxy: WebSocketServerTunnelProxy = WebSocketServerTunnelProxy()
    tcpServerTunnelProxy: TcpServerTunnelProxy = TcpServerTunnelProxy()
    unixSocketServerTunnelProxy: UnixSocketServerTunnelProxy = UnixSocketServerTunnelProxy()
    tunnelProxy: TunnelProxy = TunnelProxy()
    front: Front = Front()
    limits: Limits = Limits()
    cluster: Cluster = Cluster()


SECTIONS: Mapping[str, str] = {type(each.default).__name__: each.name for each in fields(Sections)}
"""The sections by their names in the file: their attributes of `Sections`."""

SETTINGS: tuple[Setting, ...] = tuple(
    setting for each in fields(Sections) for setting in settingsOf(type(each.default))
)
"""All settings, in the order of the reference."""

RETIRED: Mapping[str, str] = {
    "AWS": "the AWS authentication of the old server is gone, see [Authentication]",
    "ProxyServer.proxyEnabled": "the proxy is always on",
}
"""Sections and keys of the C++ server that mean nothing here, and why."""
