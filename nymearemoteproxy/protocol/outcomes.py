"""The closed catalogue of the ways a connection can end.

Owns the names that logs, counters and documentation use, what kind of end each is, and what a
WebSocket client is told. Knows nothing of how a connection is ended.
"""

from __future__ import annotations

from enum import Enum


class Group(Enum):
    """What kind of end it was, for who looks at many of them."""

    ORDERLY = "orderly"
    """As it should be: somebody left, or the server was stopped."""

    LOST = "lost"
    """Nobody's decision: a connection broke, or somebody was silent for too long."""

    REFUSED = "refused"
    """Ours: the server did not want it."""

    FAILED = "failed"
    """Ours to repair: the server, or who it depends on, is in trouble."""


class Outcome(Enum):
    """Why a connection ended.

    :ivar label: the name in logs and counters.
    :ivar group: what kind of end it is.
    :ivar closeCode: WebSocket close code (RFC 6455 section 7.4.1), 0 where no close frame is sent.
    :ivar reason: what the close frame says.
    :ivar meaning: one sentence for the operator; the documentation is made from it.
    """

    label: str
    group: Group
    closeCode: int
    reason: str
    meaning: str

    def __init__(self, label: str, group: Group, closeCode: int, reason: str, meaning: str) -> None:
        self.label = label
        self.group = group
        self.closeCode = closeCode
        self.reason = reason
        self.meaning = meaning

    # After a tunnel
    CLIENT_LEFT = (
        "client-left",
        Group.ORDERLY,
        1000,
        "",
        "The client left its tunnel in an orderly way.",
    )
    PARTNER_LEFT = (
        "partner-left",
        Group.ORDERLY,
        1000,
        "tunnel partner disconnected",
        "The client's partner left or was lost, so its own connection was closed.",
    )
    CONNECTION_LOST = (
        "connection-lost",
        Group.LOST,
        0,
        "",
        "The connection of a tunnelled client broke (reset, timed out in the kernel, no farewell).",
    )
    PING_TIMEOUT = (
        "ping-timeout",
        Group.LOST,
        0,
        "",
        "A WebSocket client sent nothing within pingTimeout after a ping: it is gone or stuck.",
    )
    WEBSOCKET_PROTOCOL_ERROR = (
        "websocket-protocol-error",
        Group.REFUSED,
        1002,
        "WebSocket protocol error",
        "The client broke RFC 6455: unmasked or malformed frame, reserved bit, unknown opcode.",
    )

    # Limits of a tunnel, and of an account
    TUNNEL_IDLE = (
        "tunnel-idle",
        Group.LOST,
        1008,
        "nothing relayed for too long",
        "Nothing was relayed in a tunnel for tunnelIdleTimeout, in either direction.",
    )
    TUNNEL_TOO_OLD = (
        "tunnel-too-old",
        Group.REFUSED,
        1013,
        "the time for a tunnel is over",
        "A tunnel had been up for tunnelMaxAge.",
    )
    TOO_MANY_TUNNELS = (
        "too-many-tunnels",
        Group.REFUSED,
        1013,
        "too many tunnels",
        "The client's account had tunnelsPerSubject tunnels already.",
    )
    QUOTA_USED_UP = (
        "quota-used-up",
        Group.REFUSED,
        1013,
        "quota used up",
        "The clients of this account had sent bytesPerSubjectPerDay since midnight (UTC).",
    )

    # An operator
    ENDED_BY_OPERATOR = (
        "ended-by-operator",
        Group.REFUSED,
        1008,
        "ended by the operator",
        "An operator had the connection or its tunnel ended; the log says who asked for it.",
    )

    # A registered server and its clients
    DISCONNECTED_BY_SERVER = (
        "disconnected-by-server",
        Group.ORDERLY,
        1000,
        "disconnected by the server",
        "The server that this client was connected to called DisconnectClient.",
    )
    CLIENT_TOO_SLOW = (
        "client-too-slow",
        Group.LOST,
        1008,
        "too slow",
        "The client was behind by more than clientBacklog, or its share of totalBacklog, and did "
        "not catch up within clientPatience; meanwhile its server had to wait, and with it the "
        "other clients. Or the most waited for it when totalBacklog was used up.",
    )
    SERVER_SILENT = (
        "server-silent",
        Group.LOST,
        1008,
        "nothing received for too long",
        "A registered server sent nothing for serverTimeout.",
    )
    PACKET_TOO_LARGE = (
        "packet-too-large",
        Group.REFUSED,
        1009,
        "packet too large",
        "A registered server sent a packet of more than maxPacketSize.",
    )
    TOO_MUCH_UNFINISHED = (
        "too-much-unfinished",
        Group.REFUSED,
        1013,
        "too much unfinished",
        "A registered server had the largest packet without an end, or the most calls without an "
        "answer, when all that waits in memory was more than totalBacklog.",
    )

    # Before a tunnel
    LEFT_EARLY = (
        "left-early",
        Group.ORDERLY,
        1000,
        "",
        "The client left before it had a partner.",
    )
    INVALID_JSON = (
        "invalid-json",
        Group.REFUSED,
        1002,
        "invalid JSON",
        "The client sent something that is not a JSON object.",
    )
    INVALID_REQUEST = (
        "invalid-request",
        Group.REFUSED,
        1008,
        "invalid request",
        "The client sent JSON that is no request this server knows: bad id, method or params.",
    )
    MESSAGE_TOO_LARGE = (
        "message-too-large",
        Group.REFUSED,
        1009,
        "message too large",
        "The client sent more than maxControlMessageSize for one control message "
        "or HTTP request head.",
    )
    DATA_BEFORE_TUNNEL = (
        "data-before-tunnel",
        Group.REFUSED,
        1008,
        "data before the tunnel was established",
        "The client sent data while it should have waited for its partner.",
    )
    TOKEN_REFUSED = (
        "token-refused",
        Group.REFUSED,
        1008,
        "invalid token",
        "The client's token is not valid, or a registration has none where one is needed.",
    )
    AUTHENTICATION_TIMEOUT = (
        "authentication-timeout",
        Group.FAILED,
        1013,
        "authentication timed out",
        "The authentication server, or the issuer of tokens, did not answer within "
        "authenticationTimeout.",
    )
    AUTHENTICATION_ERROR = (
        "authentication-error",
        Group.FAILED,
        1013,
        "authentication unavailable",
        "The authentication server, or the issuer of tokens, could not be reached or gave no "
        "usable answer.",
    )
    TUNNEL_EXISTS = (
        "tunnel-exists",
        Group.REFUSED,
        1008,
        "tunnel already exists",
        "Two other clients already share a tunnel with the same token and nonce.",
    )
    DUPLICATE_UUID = (
        "duplicate-client-uuid",
        Group.REFUSED,
        1008,
        "duplicate client uuid",
        "A client met itself: both sides gave the same uuid, token and nonce.",
    )

    SERVER_NOT_FOUND = (
        "server-not-found",
        Group.REFUSED,
        1013,
        "no such server",
        "The client asked for a server that is not registered.",
    )
    ALREADY_REGISTERED = (
        "already-registered",
        Group.REFUSED,
        1008,
        "already registered",
        "The uuid belongs to another connection already, or the connection registered twice.",
    )
    FORBIDDEN_CALL = (
        "forbidden-call",
        Group.REFUSED,
        1008,
        "forbidden call",
        "The client called what only a registered server may call, or a registered server called "
        "what only others may.",
    )
    SERVER_NOT_ALLOWED = (
        "server-not-allowed",
        Group.REFUSED,
        1008,
        "server uuid not allowed",
        "A server wanted to register whose uuid is not in serverUuidFile.",
    )
    UUID_RESERVED = (
        "uuid-reserved",
        Group.REFUSED,
        1008,
        "the uuid is a server's",
        "A client wanted to be connected under a uuid that serverUuidFile has for a server.",
    )
    SERVER_STALLED = (
        "server-stalled",
        Group.FAILED,
        1013,
        "the server does not keep up",
        "The client asked for a server that does not take what it was sent.",
    )

    # The front door
    NO_SERVER_NAME = (
        "no-server-name",
        Group.REFUSED,
        0,
        "",
        "A visitor did not say which home is meant: TLS without a server name, as with an address.",
    )
    UNKNOWN_NAME = (
        "unknown-name",
        Group.REFUSED,
        0,
        "",
        "A visitor asked for a name that is in no namesFile and no uuid under the domain.",
    )
    REDIRECTED = (
        "redirected",
        Group.ORDERLY,
        0,
        "",
        "A visitor came without TLS, and was told that there is https.",
    )
    HTTP_REQUEST_INVALID = (
        "http-request-invalid",
        Group.REFUSED,
        0,
        "",
        "What a visitor sent without TLS was no HTTP request, or it broke a rule of HTTP.",
    )
    VISITORS_NOT_WANTED = (
        "visitors-not-wanted",
        Group.REFUSED,
        0,
        "",
        "A visitor asked for a home that did not register for visitors: by the uuid under the "
        "domain it has to say front = true, and with false nobody comes to it.",
    )

    # What comes before the client's own first byte, and deadlines
    PROXY_HEADER_INVALID = (
        "proxy-header-invalid",
        Group.REFUSED,
        0,
        "",
        "What came first on a haproxy: listener was no PROXY header, or a wrong one.",
    )
    TLS_HANDSHAKE_TIMEOUT = (
        "tls-handshake-timeout",
        Group.LOST,
        0,
        "",
        "The TLS handshake was not finished within tlsHandshakeTimeout.",
    )
    TLS_HANDSHAKE_FAILED = (
        "tls-handshake-failed",
        Group.REFUSED,
        0,
        "",
        "The TLS handshake failed: no TLS, a version or cipher too old, or the client gave up.",
    )
    WEBSOCKET_HANDSHAKE_TIMEOUT = (
        "websocket-handshake-timeout",
        Group.LOST,
        0,
        "",
        "The WebSocket upgrade was not finished within webSocketHandshakeTimeout.",
    )
    WEBSOCKET_HANDSHAKE_FAILED = (
        "websocket-handshake-failed",
        Group.REFUSED,
        0,
        "",
        "The client's HTTP request was no valid WebSocket upgrade.",
    )
    INACTIVE_TIMEOUT = (
        "inactive-timeout",
        Group.LOST,
        1008,
        "inactive for too long",
        "The client made no valid call within inactiveTimeout.",
    )
    ALONE_TIMEOUT = (
        "alone-timeout",
        Group.LOST,
        1013,
        "no partner in time",
        "No partner came within aloneTimeout.",
    )

    # Limits
    ADDRESS_DENIED = (
        "address-denied",
        Group.REFUSED,
        0,
        "",
        "The client's address is in denyFile.",
    )
    TOO_MANY_CONNECTIONS = (
        "too-many-connections",
        Group.REFUSED,
        0,
        "",
        "maxConnections were open already.",
    )
    TOO_MANY_UNAUTHENTICATED = (
        "too-many-unauthenticated",
        Group.REFUSED,
        0,
        "",
        "maxUnauthenticated connections that have not authenticated yet were open already.",
    )
    TOO_MANY_FROM_ADDRESS = (
        "too-many-from-address",
        Group.REFUSED,
        0,
        "",
        "maxConnectionsPerAddress were open from the client's address already.",
    )
    TOO_MANY_UNAUTHENTICATED_FROM_ADDRESS = (
        "too-many-unauthenticated-from-address",
        Group.REFUSED,
        0,
        "",
        "maxUnauthenticatedPerAddress were open from the client's address already.",
    )
    TOO_MANY_ATTEMPTS = (
        "too-many-attempts",
        Group.REFUSED,
        0,
        "",
        "The client's address connected more often than attemptsPerSecondPerAddress.",
    )
    TOO_MANY_SERVERS_FROM_ADDRESS = (
        "too-many-servers-from-address",
        Group.REFUSED,
        1013,
        "too many servers from this address",
        "maxServersPerAddress were registered from the client's address already.",
    )
    TOO_MANY_CLIENTS_FROM_ADDRESS = (
        "too-many-clients-from-address",
        Group.REFUSED,
        1013,
        "too many clients from this address",
        "maxClientsPerAddress of the tunnel proxy came from the client's address already.",
    )
    TOO_MANY_CLIENTS_OF_SERVER = (
        "too-many-clients-of-server",
        Group.REFUSED,
        1013,
        "too many clients of this server",
        "maxClientsPerServer were connected to the server already, or all 65,534 addresses of the "
        "protocol were taken.",
    )

    TOO_MANY_VISITORS = (
        "too-many-visitors",
        Group.REFUSED,
        0,
        "",
        "maxVisitorsPerHome had come to the home by the front door already.",
    )

    # The server's own
    SHUTDOWN = (
        "shutdown",
        Group.ORDERLY,
        1001,
        "server is shutting down",
        "The server was stopped.",
    )
    SHUTDOWN_WAITING = (
        "shutdown-waiting",
        Group.ORDERLY,
        1013,
        "server is shutting down, try again later",
        "The server was stopped while the client had no partner yet.",
    )
    # Several processes
    LINK_LOST = (
        "link-lost",
        Group.FAILED,
        1013,
        "connection to the partner lost, try again later",
        "The connection to the process that holds the client's partner broke, or that process is "
        "gone.",
    )
    PLACE_LOST = (
        "place-lost",
        Group.FAILED,
        1013,
        "registered elsewhere, try again later",
        "While the directory was not reached, another server registered elsewhere with the same "
        "uuid, and the directory has that one.",
    )
    MEMBER_SILENT = (
        "member-silent",
        Group.FAILED,
        1013,
        "temporarily unavailable, try again later",
        "The process that holds the uuid, or the server that the client asked for, did not answer.",
    )
    DIRECTORY_UNAVAILABLE = (
        "directory-unavailable",
        Group.FAILED,
        1013,
        "temporarily unavailable, try again later",
        "The client asked for a server that is not registered with this process, and the "
        "directory, which knows the others, did not answer.",
    )
    WORKER_LOST = (
        "worker-lost",
        Group.FAILED,
        0,
        "",
        "The process that served the connection is gone; the log says why. Only with several.",
    )
    INTERNAL_ERROR = (
        "internal-error",
        Group.FAILED,
        1011,
        "internal error",
        "A fault of this server; the log holds the details. Please report it.",
    )
