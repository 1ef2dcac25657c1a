"""The control phase of one client: a table of states and events, and what each step asks for.

Owns every decision between the first message and the tunnel, and the methods a client may call.
Knows no reactor, clock or socket: it returns effects, and whoever drives it performs them.

Theory of operation
-------------------

What a client may do depends on what happened before, and nearly every fault of a server like this
one is an event in a state where nobody thought of it: a token judged after the client left, a
second Authenticate, a byte behind it. So there are no `if`s about that. `TRANSITIONS` has an
entry for every pair of `State` and `Event`; it names the next state and the method that says what
to do. An answer that comes too late, since whoever gives it does not know that the client has gone,
is in the table like any other event, and changes nothing. The diagram in the documentation is made
from the same table.

Nothing is done here. A step returns *effects*: send these bytes, check this token, join under this
key, start the tunnel, close for this reason. Whoever drives the session performs them in their
order, and comes back with the next event. That makes a whole conversation a list of plain calls,
and the same for each transport. It is also why the order of bytes on the wire, such as the response
that goes out before the tunnel begins, can be read here.

What is known only in one state lives in that state's object and is dropped with it: no token
outlives the verdict on it. Neither the token nor the nonce goes on to the meeting place:
`PairingKeys` makes a digest of them, keyed with a secret that this process made when it started,
and two clients meet when their digests are equal.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any

from nymearemoteproxy import __version__
from nymearemoteproxy.protocol.jsonrpc import (
    FIRST_NOTIFICATION,
    Api,
    MessageError,
    Method,
    Notification,
    Request,
    encode,
    encodeNotice,
    encodeParams,
    encodeString,
    encodeSuccess,
    failure,
    success,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ABOUT_CLIENTS,
    CLIENT_CONNECTED,
    CLIENT_DISCONNECTED,
    CLIENT_PAUSED,
    CLIENT_RESUMED,
    PING,
    REGISTER_CLIENT,
    REGISTER_SERVER,
    Registration,
    TunnelProxyError,
    answer,
    answerUnproven,
    errorFor,
    pong,
    readRegistration,
    takeToken,
)

SERVER = "nymea-remoteproxy"
API_VERSION = "0.3"
TUNNEL_PROXY_API_VERSION = "5"
"""What the field calls the API that has token tunnels and the tunnel proxy."""
INVALID_TOKEN = "Invalid token. You are not allowed to use this server."
MISSING_TOKEN = "A token is needed here."
BACKEND_TIMEOUT = "Authentication took too long. Please try again later."
OVER_LIMIT = "A limit of this account is reached. Please try again later."
BACKEND_ERROR = "Authentication is not possible at the moment. Please try again later."

HELLO = Method(
    "RemoteProxy.Hello",
    "Ask which server this is and which version of the API it speaks.",
    returns={"server": "String", "name": "String", "version": "String", "apiVersion": "String"},
)
INTROSPECT = Method(
    "RemoteProxy.Introspect",
    "List the methods, notifications and types of this server.",
    returns={"methods": "Object", "notifications": "Object", "types": "Object"},
)
AUTHENTICATE = Method(
    "Authentication.Authenticate",
    "Show the token that both ends of the tunnel know, and the nonce if they agreed on one. "
    "Then send nothing until RemoteProxy.TunnelEstablished arrives; all that follows it comes "
    "from the partner. A refused client is disconnected. Without uuid and name (first API) the "
    "answer has no params and the notification is Tunnel.Established.",
    params={"token": "String", "o:nonce": "String", "o:uuid": "String", "o:name": "String"},
    returns={"authenticationError": "$ref:AuthenticationError"},
    together=("uuid", "name"),
)
TUNNEL_ESTABLISHED = Notification(
    "RemoteProxy.TunnelEstablished",
    "The partner is there. This is the last message of the server: what follows is the partner's.",
    {"name": "String", "uuid": "String"},
)
TUNNEL_ESTABLISHED_FIRST_API = Notification(
    "Tunnel.Established", "The same for clients of the first API."
)


class AuthenticationError(Enum):
    """What an Authenticate response of API 0.3 says."""

    NO_ERROR = "AuthenticationErrorNoError"
    UNKNOWN = "AuthenticationErrorUnknown"
    TIMEOUT = "AuthenticationErrorTimeout"
    ABORTED = "AuthenticationErrorAborted"
    AUTHENTICATION_FAILED = "AuthenticationErrorAuthenticationFailed"
    PROXY_ERROR = "AuthenticationErrorProxyError"


_METHODS = (HELLO, INTROSPECT, AUTHENTICATE)
_NOTIFICATIONS = (TUNNEL_ESTABLISHED, TUNNEL_ESTABLISHED_FIRST_API)
_ENUMS = {"AuthenticationError": [error.value for error in AuthenticationError]}

TOKEN_TUNNEL_API = Api(_METHODS, _NOTIFICATIONS, _ENUMS)
TUNNEL_PROXY_API = Api(
    methods=(*_METHODS, REGISTER_SERVER, REGISTER_CLIENT, *ABOUT_CLIENTS, PING),
    notifications=(
        *_NOTIFICATIONS,
        CLIENT_CONNECTED,
        CLIENT_DISCONNECTED,
        CLIENT_PAUSED,
        CLIENT_RESUMED,
    ),
    enums={**_ENUMS, "TunnelProxyError": [error.value for error in TunnelProxyError]},
)


class State(Enum):
    """Where a client stands."""

    UNAUTHENTICATED = "unauthenticated"
    AUTHENTICATING = "authenticating"
    WAITING = "waiting"
    VERIFYING = "verifying"
    REGISTERING = "registering"
    TUNNELED = "tunneled"
    CLOSED = "closed"


class Event(Enum):
    """What can happen to a client."""

    CALL = "Hello, Introspect or Ping"
    AUTHENTICATE = "Authenticate"
    REGISTER = "RegisterServer or RegisterClient"
    REGISTER_WITH_TOKEN = "registration with a token that counts"
    TOKEN_MISSING = "registration without the token it needs"
    INVALID_UUID = "registration with an invalid uuid"
    FORBIDDEN_CALL = "DisconnectClient, PauseClient or ResumeClient"
    BAD_MESSAGE = "invalid message"
    DATA = "data out of turn"
    ACCEPTED = "token accepted"
    REFUSED = "token refused"
    BACKEND_FAILED = "backend failed"
    PLACED = "place found"
    PLACE_REFUSED = "place refused"
    DEADLINE = "deadline"
    STOPPED = "server stops"
    GONE = "client gone"


@dataclass(frozen=True)
class Identity:
    """How a client is shown to its partner.

    :ivar uuid: None for a client of the first API, which has none.
    """

    name: str = ""
    uuid: str | None = None


@dataclass(frozen=True)
class Send:
    """Effect: write this to the client."""

    data: bytes


@dataclass(frozen=True)
class RestartDeadline:
    """Effect: the client has the whole inactiveTimeout again."""


@dataclass(frozen=True)
class CheckToken:
    """Effect: ask the authentication backend, within authenticationTimeout."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class Join:
    """Effect: wait for the partner, within aloneTimeout."""

    key: bytes
    identity: Identity


@dataclass(frozen=True)
class Register:
    """Effect: ask for a place in the tunnel proxy.

    :ivar subject: the account its token named; None = no matter whose it is.
    """

    registration: Registration
    subject: str | None = None


class Role(Enum):
    """What a connection is once it has a tunnel."""

    PARTNER = "one of two partners"
    SERVER = "a server of the tunnel proxy"
    CLIENT = "a client of the tunnel proxy"


@dataclass(frozen=True)
class StartTunnel:
    """Effect: the control phase is over; relay from here on. No deadline is left.

    :ivar needsGap: a stream client of this kind loses what comes right behind the last message.
    :ivar role: what the connection is.
    """

    needsGap: bool = False
    role: Role = Role.PARTNER


@dataclass(frozen=True)
class Close:
    """Effect: say goodbye and end the connection. Whatever was under way for it is given up."""

    outcome: Outcome


def _roleOf(registration: Request) -> Role:
    return Role.SERVER if registration.method is REGISTER_SERVER else Role.CLIENT


Effect = Send | RestartDeadline | CheckToken | Join | Register | StartTunnel | Close
Effects = Sequence[Effect]

_NOTHING: Effects = ()

_UNAUTHENTICATED, _AUTHENTICATING, _WAITING, _VERIFYING, _REGISTERING = (
    State.UNAUTHENTICATED,
    State.AUTHENTICATING,
    State.WAITING,
    State.VERIFYING,
    State.REGISTERING,
)
_TUNNELED, _CLOSED = State.TUNNELED, State.CLOSED


@dataclass(frozen=True)
class Step:
    """One entry of the table: the state that follows, and the Session method that acts."""

    state: State
    action: str


def _late(state: State) -> Step:
    """An event that came too late or too early to matter, such as an answer nobody awaits now."""
    return Step(state, "ignore")


TRANSITIONS: Mapping[State, Mapping[Event, Step]] = {
    _UNAUTHENTICATED: {
        Event.CALL: Step(_UNAUTHENTICATED, "answer"),
        Event.AUTHENTICATE: Step(_AUTHENTICATING, "authenticate"),
        Event.REGISTER: Step(_REGISTERING, "register"),
        Event.REGISTER_WITH_TOKEN: Step(_VERIFYING, "verify"),
        Event.TOKEN_MISSING: Step(_CLOSED, "demandToken"),
        Event.INVALID_UUID: Step(_UNAUTHENTICATED, "blameUuid"),
        Event.FORBIDDEN_CALL: Step(_CLOSED, "forbidCall"),
        Event.BAD_MESSAGE: Step(_CLOSED, "reject"),
        Event.DATA: Step(_CLOSED, "forbidData"),
        Event.ACCEPTED: _late(_UNAUTHENTICATED),
        Event.REFUSED: _late(_UNAUTHENTICATED),
        Event.BACKEND_FAILED: _late(_UNAUTHENTICATED),
        Event.PLACED: _late(_UNAUTHENTICATED),
        Event.PLACE_REFUSED: _late(_UNAUTHENTICATED),
        Event.DEADLINE: Step(_CLOSED, "closeInactive"),
        Event.STOPPED: Step(_CLOSED, "closeStopped"),
        Event.GONE: Step(_CLOSED, "forget"),
    },
    _AUTHENTICATING: {
        Event.CALL: Step(_CLOSED, "forbidData"),
        Event.AUTHENTICATE: Step(_CLOSED, "forbidData"),
        Event.REGISTER: Step(_CLOSED, "forbidData"),
        Event.REGISTER_WITH_TOKEN: Step(_CLOSED, "forbidData"),
        Event.TOKEN_MISSING: Step(_CLOSED, "forbidData"),
        Event.INVALID_UUID: Step(_CLOSED, "forbidData"),
        Event.FORBIDDEN_CALL: Step(_CLOSED, "forbidData"),
        Event.BAD_MESSAGE: Step(_CLOSED, "forbidData"),
        Event.DATA: Step(_CLOSED, "forbidData"),
        Event.ACCEPTED: Step(_WAITING, "accept"),
        Event.REFUSED: Step(_CLOSED, "refuse"),
        Event.BACKEND_FAILED: Step(_CLOSED, "blameBackend"),
        Event.PLACED: _late(_AUTHENTICATING),
        Event.PLACE_REFUSED: _late(_AUTHENTICATING),
        Event.DEADLINE: Step(_CLOSED, "giveUpBackend"),
        Event.STOPPED: Step(_CLOSED, "closeStopped"),
        Event.GONE: Step(_CLOSED, "forget"),
    },
    _WAITING: {
        Event.CALL: Step(_CLOSED, "forbidData"),
        Event.AUTHENTICATE: Step(_CLOSED, "forbidData"),
        Event.REGISTER: Step(_CLOSED, "forbidData"),
        Event.REGISTER_WITH_TOKEN: Step(_CLOSED, "forbidData"),
        Event.TOKEN_MISSING: Step(_CLOSED, "forbidData"),
        Event.INVALID_UUID: Step(_CLOSED, "forbidData"),
        Event.FORBIDDEN_CALL: Step(_CLOSED, "forbidData"),
        Event.BAD_MESSAGE: Step(_CLOSED, "forbidData"),
        Event.DATA: Step(_CLOSED, "forbidData"),
        Event.ACCEPTED: _late(_WAITING),
        Event.REFUSED: _late(_WAITING),
        Event.BACKEND_FAILED: _late(_WAITING),
        Event.PLACED: Step(_TUNNELED, "startTunnel"),
        Event.PLACE_REFUSED: Step(_CLOSED, "closePairing"),
        Event.DEADLINE: Step(_CLOSED, "closeAlone"),
        Event.STOPPED: Step(_CLOSED, "closeStopped"),
        Event.GONE: Step(_CLOSED, "forget"),
    },
    # From here on what arrives is kept for the far end, so nothing is read as a message.
    _VERIFYING: {
        **{event: _late(_VERIFYING) for event in Event},
        Event.ACCEPTED: Step(_REGISTERING, "registerProven"),
        Event.REFUSED: Step(_CLOSED, "refuse"),
        Event.BACKEND_FAILED: Step(_CLOSED, "blameBackend"),
        Event.DEADLINE: Step(_CLOSED, "giveUpBackend"),
        Event.STOPPED: Step(_CLOSED, "closeStopped"),
        Event.GONE: Step(_CLOSED, "forget"),
    },
    _REGISTERING: {
        **{event: _late(_REGISTERING) for event in Event},
        Event.PLACED: Step(_TUNNELED, "startRelaying"),
        Event.PLACE_REFUSED: Step(_CLOSED, "refuseRegistration"),
        Event.DEADLINE: Step(_CLOSED, "closeInactive"),
        Event.STOPPED: Step(_CLOSED, "closeStopped"),
        Event.GONE: Step(_CLOSED, "forget"),
    },
    # From here on the tunnel decides; the session only remembers that it is over.
    _TUNNELED: {
        **{event: _late(_TUNNELED) for event in Event},
        Event.GONE: Step(_CLOSED, "ignore"),
    },
    _CLOSED: {event: _late(_CLOSED) for event in Event},
}


_NO_ERROR = encodeParams({"authenticationError": AuthenticationError.NO_ERROR.value})


class _Authenticating:
    """What is known of a client from its Authenticate on.

    :ivar nonce: empty, once it is part of a key.
    """

    __slots__ = ("requestId", "identity", "nonce")

    def __init__(self, requestId: int, identity: Identity, nonce: str) -> None:
        self.requestId = requestId
        self.identity = identity
        self.nonce = nonce

    def welcome(self) -> Effect:
        """Say that the token is accepted."""
        if self.identity.uuid is None:
            return Send(encode(success(self.requestId)))
        return Send(encodeSuccess(self.requestId, _NO_ERROR))

    def answer(self, error: AuthenticationError, text: str) -> Effect:
        """Say why the client is not let in."""
        if self.identity.uuid is None:
            return Send(encode(failure(self.requestId, text)))
        message = success(self.requestId, {"authenticationError": error.value})
        return Send(encode({**message, "error": text}))


@dataclass(frozen=True)
class _Verifying:
    """What is known of a registration until there is a verdict on its token.

    :ivar request: without the token.
    """

    request: Request
    registration: Registration

    def answer(self, error: AuthenticationError, text: str) -> Effect:
        return Send(answerUnproven(self.request, error.value, text))


def makeHello(name: str, hasTunnelProxy: bool) -> Mapping[str, str]:
    """Return the params of the answer to Hello.

    :param name: the configured name of this server.
    """
    return {
        "server": SERVER,
        "name": name,
        "version": __version__,
        "apiVersion": TUNNEL_PROXY_API_VERSION if hasTunnelProxy else API_VERSION,
    }


@lru_cache(maxsize=4)
def _encodedHello(hello: tuple[tuple[str, str], ...]) -> bytes:
    """Encode it once for each configuration."""
    return encodeParams(dict(hello))


def answerQuestion(request: Request, api: Api, hello: Mapping[str, str]) -> Send:
    """Answer Hello, Introspect or Ping, which ask and change nothing."""
    if request.method is HELLO:
        return Send(encodeSuccess(request.id, _encodedHello(tuple(hello.items()))))
    if request.method is PING:
        return Send(encode(success(request.id, pong(request))))
    assert request.method is INTROSPECT
    return Send(encodeSuccess(request.id, api.encodedIntrospection))


class PairingKeys:
    """Makes the key under which two clients meet.

    Keys are keyed hashes, so that neither tokens nor nonces stay in memory and all keys are
    short whatever clients send.

    :param bySubject: pair by the subject the backend reported instead of by the token.
    :param secret: of all processes whose keys are to be the same; None = of this one. Where they
        are never shown to anybody it may be empty.
    """

    def __init__(self, bySubject: bool = False, secret: bytes | None = None) -> None:
        self.bySubject = bySubject
        self._secret = secrets.token_bytes(32) if secret is None else secret

    def key(self, token: str, subject: str | None, nonce: str) -> bytes:
        """Return the key; equal exactly when (token or subject, nonce) are equal."""
        first = subject if self.bySubject and subject else token
        person = b"subject" if self.bySubject else b"token"
        digest = hashlib.blake2b(digest_size=16, key=self._secret, person=person)
        for part in (first.encode(), nonce.encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()


class Session:
    """One client's way from its first message to the tunnel.

    Every method returns the effects to perform, in order.

    :param hello: the params of the answer to Hello.
    :param proven: who has to show a token to be registered.
    """

    __slots__ = (
        "state",
        "_api",
        "_hello",
        "_keys",
        "_proven",
        "_authenticating",
        "_verifying",
        "_registering",
    )

    def __init__(
        self,
        api: Api,
        hello: Mapping[str, str],
        keys: PairingKeys,
        proven: Collection[Role] = (),
    ) -> None:
        self.state = State.UNAUTHENTICATED
        self._api = api
        self._hello = hello
        self._keys = keys
        self._proven = proven
        self._authenticating: _Authenticating | None = None
        self._verifying: _Verifying | None = None
        self._registering: Request | None = None

    @property
    def expectsMessages(self) -> bool:
        """True while what the client sends is read as JSON-RPC."""
        return self.state is State.UNAUTHENTICATED

    @property
    def expectsVerdict(self) -> bool:
        """True while it waits for what `CheckToken` asked for."""
        return self.state in (State.AUTHENTICATING, State.VERIFYING)

    @property
    def leavesTheRest(self) -> bool:
        """True when what the client sends from now on is for the other side, and not read here."""
        return self.state in (State.VERIFYING, State.REGISTERING, State.TUNNELED)

    @property
    def expectsPlace(self) -> bool:
        """True while it waits for what `Join` or `Register` asked for."""
        return self.state in (State.WAITING, State.REGISTERING)

    @property
    def role(self) -> Role:
        """What a client whose token is being judged wants to be."""
        return Role.PARTNER if self._verifying is None else _roleOf(self._verifying.request)

    @property
    def identity(self) -> Identity:
        """How the client calls itself; empty until it said so, and for the first API."""
        return self._authenticating.identity if self._authenticating else Identity()

    def messageReceived(self, raw: bytes) -> Effects:
        """One whole message arrived."""
        if not self.expectsMessages:
            return self._step(Event.DATA)
        try:
            request = self._api.parse(raw)
        except MessageError as error:
            return self.badMessage(error)
        method = request.method
        if method is AUTHENTICATE:
            return self._step(Event.AUTHENTICATE, request)
        if method is REGISTER_SERVER or method is REGISTER_CLIENT:
            return self._registrationReceived(request)
        if method in ABOUT_CLIENTS:
            return self._step(Event.FORBIDDEN_CALL, request)
        return self._step(Event.CALL, request)

    def _registrationReceived(self, request: Request) -> Effects:
        registration = readRegistration(request)
        if registration is None:
            return self._step(Event.INVALID_UUID, request)
        request, token = takeToken(request)
        isNeeded = _roleOf(request) in self._proven
        if token is None and isNeeded:
            return self._step(Event.TOKEN_MISSING, request)
        # Who need not show one is asked about it only where it decides who meets whom.
        if token is not None and (isNeeded or self._keys.bySubject):
            return self._step(Event.REGISTER_WITH_TOKEN, request, registration, token)
        return self._step(Event.REGISTER, request, registration)

    def badMessage(self, error: MessageError) -> Effects:
        """Something arrived that is no message."""
        return self._step(Event.BAD_MESSAGE, error)

    def dataReceived(self) -> Effects:
        """Bytes arrived although none are allowed now."""
        return self._step(Event.DATA)

    def accepted(self, token: str, subject: str | None) -> Effects:
        """The backend lets the client in; `subject` names its account where known.

        When pairing goes by subject, a client without one is let in nowhere. Nor is one with an
        empty token, whatever the backend says: it would be paired by its nonce alone.
        """
        if not token:
            return self.refused()
        if self._keys.bySubject and not subject:
            return self.backendFailed()
        return self._step(Event.ACCEPTED, token, subject)

    def refused(self) -> Effects:
        """The backend says that the token is not valid."""
        return self._step(Event.REFUSED, Outcome.TOKEN_REFUSED)

    def limited(self, outcome: Outcome) -> Effects:
        """The token is valid, but a limit of its account is in the way."""
        return self._step(Event.REFUSED, outcome)

    def backendFailed(self) -> Effects:
        """The backend could not say."""
        return self._step(Event.BACKEND_FAILED)

    def placed(self, partner: Identity) -> Effects:
        """The place it waits for is there: the partner, or an end in the tunnel proxy."""
        return self._step(Event.PLACED, partner)

    def placeRefused(self, outcome: Outcome) -> Effects:
        """There is no place for this client."""
        return self._step(Event.PLACE_REFUSED, outcome)

    def deadlinePassed(self) -> Effects:
        """The time for the present state is over."""
        return self._step(Event.DEADLINE)

    def stopped(self) -> Effects:
        """The server is being stopped."""
        return self._step(Event.STOPPED)

    def gone(self) -> Effects:
        """The client disconnected."""
        return self._step(Event.GONE)

    def _step(self, event: Event, *details: Any) -> Effects:
        step = TRANSITIONS[self.state][event]
        self.state = step.state
        act: Callable[..., Effects] = getattr(self, "_" + step.action)
        return act(*details)

    def _ignore(self, *_details: object) -> Effects:
        return _NOTHING

    def _forget(self) -> Effects:
        return (Close(Outcome.LEFT_EARLY),)

    def _answer(self, request: Request) -> Effects:
        return (answerQuestion(request, self._api, self._hello), RestartDeadline())

    def _reject(self, error: MessageError) -> Effects:
        return (Send(encode(failure(error.requestId, error.text))), Close(error.outcome))

    def _forbidData(self, *_details: object) -> Effects:
        return (Close(Outcome.DATA_BEFORE_TUNNEL),)

    def _authenticate(self, request: Request) -> Effects:
        params = request.params
        identity = Identity(params.get("name", ""), params.get("uuid"))
        self._authenticating = _Authenticating(request.id, identity, params.get("nonce", ""))
        return (CheckToken(params["token"]),)

    def _accept(self, token: str, subject: str | None) -> Effects:
        authenticating = self._authenticating
        assert authenticating is not None
        key = self._keys.key(token, subject, authenticating.nonce)
        authenticating.nonce = ""
        return (authenticating.welcome(), Join(key, authenticating.identity))

    def _fail(self, error: AuthenticationError, text: str, outcome: Outcome) -> Effects:
        asking = self._authenticating or self._verifying
        assert asking is not None
        return (asking.answer(error, text), Close(outcome))

    def _refuse(self, outcome: Outcome) -> Effects:
        if outcome is Outcome.TOKEN_REFUSED:
            return self._fail(AuthenticationError.AUTHENTICATION_FAILED, INVALID_TOKEN, outcome)
        # Not that the token is wrong: later it may be let in.
        return self._fail(AuthenticationError.PROXY_ERROR, OVER_LIMIT, outcome)

    def _blameBackend(self) -> Effects:
        error = AuthenticationError.PROXY_ERROR
        return self._fail(error, BACKEND_ERROR, Outcome.AUTHENTICATION_ERROR)

    def _giveUpBackend(self) -> Effects:
        error = AuthenticationError.TIMEOUT
        return self._fail(error, BACKEND_TIMEOUT, Outcome.AUTHENTICATION_TIMEOUT)

    def _startTunnel(self, partner: Identity) -> Effects:
        assert self._authenticating is not None
        if self._authenticating.identity.uuid is None:
            established = encode({"id": "1", "notification": TUNNEL_ESTABLISHED_FIRST_API.name})
            return (Send(established), StartTunnel())
        about = b'{"name":%b,"uuid":%b}' % (
            encodeString(partner.name),
            encodeString(partner.uuid or ""),
        )
        established = encodeNotice(FIRST_NOTIFICATION, TUNNEL_ESTABLISHED, about)
        return (Send(established), StartTunnel(needsGap=True))

    def _register(self, request: Request, registration: Registration) -> Effects:
        self._registering = request
        return (Register(registration),)

    def _verify(self, request: Request, registration: Registration, token: str) -> Effects:
        self._verifying = _Verifying(request, registration)
        return (CheckToken(token),)

    def _registerProven(self, _token: str, subject: str | None) -> Effects:
        verifying, self._verifying = self._verifying, None
        assert verifying is not None
        self._registering = verifying.request
        known = subject if self._keys.bySubject else None
        return (RestartDeadline(), Register(verifying.registration, known))

    def _demandToken(self, request: Request) -> Effects:
        error = AuthenticationError.AUTHENTICATION_FAILED
        refusal = answerUnproven(request, error.value, MISSING_TOKEN)
        return (Send(refusal), Close(Outcome.TOKEN_REFUSED))

    def _blameUuid(self, request: Request) -> Effects:
        return (Send(answer(request, TunnelProxyError.INVALID_UUID)), RestartDeadline())

    def _forbidCall(self, request: Request) -> Effects:
        refusal = answer(request, TunnelProxyError.FORBIDDEN_CALL)
        return (Send(refusal), Close(Outcome.FORBIDDEN_CALL))

    def _startRelaying(self, _partner: Identity) -> Effects:
        assert self._registering is not None
        response = answer(self._registering, TunnelProxyError.NO_ERROR)
        role = _roleOf(self._registering)
        return (Send(response), StartTunnel(needsGap=role is Role.SERVER, role=role))

    def _refuseRegistration(self, outcome: Outcome) -> Effects:
        assert self._registering is not None
        return (Send(answer(self._registering, errorFor(outcome))), Close(outcome))

    def _closePairing(self, outcome: Outcome) -> Effects:
        return (Close(outcome),)

    def _closeInactive(self) -> Effects:
        return (Close(Outcome.INACTIVE_TIMEOUT),)

    def _closeAlone(self) -> Effects:
        return (Close(Outcome.ALONE_TIMEOUT),)

    def _closeStopped(self) -> Effects:
        return (Close(Outcome.SHUTDOWN_WAITING),)
