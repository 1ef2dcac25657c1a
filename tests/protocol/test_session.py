"""Owns the checks of the session: the table, and what each step asks for, byte for byte."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID as Uuid

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.jsonrpc import Api, tooLarge
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    ServerRegistration,
    TunnelProxyError,
)
from nymearemoteproxy.protocol.session import (
    TOKEN_TUNNEL_API,
    TRANSITIONS,
    TUNNEL_PROXY_API,
    AuthenticationError,
    CheckToken,
    Close,
    Effects,
    Event,
    Identity,
    Join,
    PairingKeys,
    Register,
    RestartDeadline,
    Role,
    Send,
    Session,
    StartTunnel,
    State,
    makeHello,
)

PROPERTY = settings(max_examples=150, deadline=None, database=None)

HELLO = {"server": "nymea-remoteproxy", "name": "x", "version": "1", "apiVersion": "0.3"}
TOKEN, NONCE = "sesame", "n-1"
UUID = "{c2a4d5a8-0a0e-4b0e-9a3e-6d3f4d2f6a11}"

FIRST_API: dict[str, str] = {"token": TOKEN}
API_0_3: dict[str, str] = {"token": TOKEN, "uuid": UUID, "name": "Kitchen"}
DIALECTS = (FIRST_API, API_0_3)

PARTNER = Identity("Phone", "{0e8e1c0a-5f0b-4b58-8a7f-0a7d6e1c2b3d}")

SERVER: dict[str, str] = {"serverName": "Home", "serverUuid": UUID}
CLIENT: dict[str, str] = {
    "clientName": "Phone",
    "clientUuid": "0E8E1C0A-5F0B-4B58-8A7F-0A7D6E1C2B3D",
    "serverUuid": UUID,
}
NULL_UUID = "{00000000-0000-0000-0000-000000000000}"


def request(method: str, params: Mapping[str, Any] | None = None, requestId: int = 3) -> bytes:
    """Return the bytes of one call."""
    message: dict[str, Any] = {"id": requestId, "method": method}
    if params is not None:
        message["params"] = params
    return json.dumps(message).encode()


def authenticate(params: Mapping[str, Any], requestId: int = 3) -> bytes:
    """Return the bytes of one Authenticate."""
    return request("Authentication.Authenticate", params, requestId)


def newSession(keys: PairingKeys | None = None, api: Api = TOKEN_TUNNEL_API) -> Session:
    """Return a session at its beginning."""
    return Session(api, HELLO, keys or PairingKeys())


def authenticating(params: Mapping[str, Any], keys: PairingKeys | None = None) -> Session:
    """Return a session whose token is being checked."""
    session = newSession(keys)
    session.messageReceived(authenticate(params))
    assert session.state is State.AUTHENTICATING
    return session


def waiting(params: Mapping[str, Any], keys: PairingKeys | None = None) -> Session:
    """Return a session that waits for its partner."""
    session = authenticating(params, keys)
    session.accepted(params["token"], "somebody")
    assert session.state is State.WAITING
    return session


def tunneled(params: Mapping[str, Any]) -> Session:
    """Return a session whose tunnel is up."""
    session = waiting(params)
    session.placed(PARTNER)
    assert session.state is State.TUNNELED
    return session


def reachable(thing: object) -> set[str]:
    """Return every text that our objects hold, from this one on."""
    texts, seen, todo = set(), set(), [thing]
    while todo:
        thing = todo.pop()
        if isinstance(thing, str):
            texts.add(thing)
        elif isinstance(thing, Mapping):
            todo += [*thing, *thing.values()]
        elif isinstance(thing, (list, tuple, set, frozenset)):
            todo += thing
        elif type(thing).__module__.startswith("nymearemoteproxy.") and id(thing) not in seen:
            seen.add(id(thing))
            todo += vars(thing).values()
    return texts


def registerServer(**changes: Any) -> bytes:
    """Return the bytes of one RegisterServer."""
    return request("TunnelProxy.RegisterServer", {**SERVER, **changes})


def registerClient(**changes: Any) -> bytes:
    """Return the bytes of one RegisterClient."""
    return request("TunnelProxy.RegisterClient", {**CLIENT, **changes})


def proxySession() -> Session:
    """Return a session at its beginning, while the tunnel proxy is on."""
    return newSession(api=TUNNEL_PROXY_API)


def registering(raw: bytes) -> Session:
    """Return a session that asked for a place in the tunnel proxy."""
    session = proxySession()
    session.messageReceived(raw)
    assert session.state is State.REGISTERING
    return session


PING = request("TunnelProxy.Ping", {"timestamp": 1763873513})
DISCONNECT = request("TunnelProxy.DisconnectClient", {"socketAddress": 1})
REGISTER_SERVER = registerServer()
REGISTER_CLIENT = registerClient()
REGISTER_NOBODY = registerClient(clientUuid=NULL_UUID)

# Everything that can be done to a session, by name
INPUTS: dict[str, Callable[[Session], Effects]] = {
    "hello": lambda session: session.messageReceived(request("RemoteProxy.Hello")),
    "introspect": lambda session: session.messageReceived(request("RemoteProxy.Introspect")),
    "authenticate first": lambda session: session.messageReceived(authenticate(FIRST_API)),
    "authenticate 0.3": lambda session: session.messageReceived(authenticate(API_0_3)),
    "garbage": lambda session: session.messageReceived(b"garbage"),
    "too large": lambda session: session.badMessage(tooLarge(10)),
    "data": lambda session: session.dataReceived(),
    "accepted": lambda session: session.accepted(TOKEN, "somebody"),
    "accepted without subject": lambda session: session.accepted(TOKEN, None),
    "refused": lambda session: session.refused(),
    "backend failed": lambda session: session.backendFailed(),
    "placed": lambda session: session.placed(PARTNER),
    "place refused": lambda session: session.placeRefused(Outcome.TUNNEL_EXISTS),
    "deadline": lambda session: session.deadlinePassed(),
    "stopped": lambda session: session.stopped(),
    "gone": lambda session: session.gone(),
    "ping": lambda session: session.messageReceived(PING),
    "register server": lambda session: session.messageReceived(REGISTER_SERVER),
    "register client": lambda session: session.messageReceived(REGISTER_CLIENT),
    "register nobody": lambda session: session.messageReceived(REGISTER_NOBODY),
    "disconnect": lambda session: session.messageReceived(DISCONNECT),
}


class TableTests(SynchronousTestCase):
    """The table of states and events."""

    def test_total(self) -> None:
        """Every pair of state and event is defined."""
        self.assertEqual(set(TRANSITIONS), set(State))
        for state in State:
            self.assertEqual(set(TRANSITIONS[state]), set(Event), state)

    def test_everyActionExists(self) -> None:
        """Every action that is named is a method of the session, and every state is reached."""
        reached = {State.UNAUTHENTICATED}
        for steps in TRANSITIONS.values():
            for step in steps.values():
                self.assertTrue(callable(getattr(Session, "_" + step.action, None)), step)
                reached.add(step.state)
        self.assertEqual(reached, set(State))

    def test_statesFollowEachOther(self) -> None:
        """A state leads to itself, to the next one on its way, or to closed, which is the end."""
        following = {
            State.UNAUTHENTICATED: {State.AUTHENTICATING, State.REGISTERING},
            State.AUTHENTICATING: {State.WAITING},
            State.WAITING: {State.TUNNELED},
            State.REGISTERING: {State.TUNNELED},
        }
        for state, steps in TRANSITIONS.items():
            reached = {step.state for step in steps.values()}
            self.assertEqual(
                reached - {state, State.CLOSED}, following.get(state, set()), f"from {state}"
            )
            self.assertIs(steps[Event.GONE].state, State.CLOSED)

    def test_oneWayToEachState(self) -> None:
        """Only a partner or a place opens a tunnel; nothing else leads from state to state."""
        ways = {
            (state, event, step.state)
            for state, steps in TRANSITIONS.items()
            for event, step in steps.items()
            if step.state not in (state, State.CLOSED)
        }
        self.assertEqual(
            ways,
            {
                (State.UNAUTHENTICATED, Event.AUTHENTICATE, State.AUTHENTICATING),
                (State.AUTHENTICATING, Event.ACCEPTED, State.WAITING),
                (State.WAITING, Event.PLACED, State.TUNNELED),
                (State.UNAUTHENTICATED, Event.REGISTER, State.REGISTERING),
                (State.REGISTERING, Event.PLACED, State.TUNNELED),
            },
        )


class SequenceTests(SynchronousTestCase):
    """No order of events a remote peer or a backend can produce leads astray."""

    def runInputs(
        self, names: tuple[str, ...] | list[str], bySubject: bool, api: Api = TUNNEL_PROXY_API
    ) -> None:
        """Feed the inputs; check what holds at every step."""
        session = newSession(PairingKeys(bySubject), api)
        checked = joined = asked = started = False
        for name in names:
            before = session.state
            effects = INPUTS[name](session)
            message = f"{name} of {names}"
            if before in (State.CLOSED, State.TUNNELED):
                self.assertEqual(list(effects), [], message)
            self.assertIs(
                session.state is State.CLOSED and before is not State.CLOSED,
                any(isinstance(effect, Close) for effect in effects)
                or (before is State.TUNNELED and name == "gone"),
                message,
            )
            for place, effect in enumerate(effects):
                if isinstance(effect, CheckToken):
                    self.assertFalse(checked or asked, message)
                    checked = True
                elif isinstance(effect, Join):
                    self.assertTrue(checked and not joined and name.startswith("accepted"))
                    joined = True
                elif isinstance(effect, Register):
                    self.assertFalse(checked or asked, message)
                    self.assertIs(api, TUNNEL_PROXY_API)
                    asked = True
                elif isinstance(effect, StartTunnel):
                    self.assertFalse(started, message)
                    self.assertEqual(name, "placed", message)
                    self.assertIs(effect.role is Role.PARTNER, joined, message)
                    self.assertTrue(joined or asked, message)
                    started = True
                elif isinstance(effect, Close):
                    self.assertEqual(place, len(effects) - 1, "nothing follows a close")
                elif isinstance(effect, Send):
                    self.assertTrue(effect.data.endswith(b"}\n"))
                    self.assertFalse(started, "nothing follows the notification")
            self.assertEqual(session.expectsMessages, session.state is State.UNAUTHENTICATED)
            waits = (joined or asked) and session.state is not State.CLOSED and not started
            self.assertEqual(session.expectsPlace, waits, message)

    def test_everySequence(self) -> None:
        """From every state, all sequences of two, in both ways of pairing and with both APIs."""
        ways = (
            (),
            ("authenticate 0.3",),
            ("authenticate 0.3", "accepted"),
            ("authenticate 0.3", "accepted", "placed"),
            ("register server",),
            ("register client", "placed"),
        )
        for bySubject, api in itertools.product(
            (False, True), (TOKEN_TUNNEL_API, TUNNEL_PROXY_API)
        ):
            for names in itertools.product(INPUTS, repeat=2):
                for way in ways:
                    self.runInputs(way + names, bySubject, api)

    def test_everySequenceOfThree(self) -> None:
        """From the beginning and from every state that waits for an answer."""
        for names in itertools.product(INPUTS, repeat=3):
            self.runInputs(names, False)
        waits = ("authenticate first", "register server")
        for first, names in itertools.product(waits, itertools.product(INPUTS, repeat=2)):
            for last in ("accepted", "placed", "register client"):
                self.runInputs((first, *names, last), False)

    @PROPERTY
    @given(
        st.lists(
            st.sampled_from(["accepted", "placed", "authenticate 0.3", "register server", *INPUTS])
        ),
        st.booleans(),
    )
    def test_longSequences(self, names: list[str], bySubject: bool) -> None:
        """Longer ones by chance."""
        for way in (["hello", "authenticate first"], ["ping", "register client"], []):
            self.runInputs([*way, *names], bySubject)

    @PROPERTY
    @given(st.lists(st.binary(max_size=30) | st.sampled_from([authenticate(API_0_3)]), max_size=4))
    def test_anyMessages(self, messages: list[bytes]) -> None:
        """Whatever is sent."""
        session = newSession()
        for message in messages:
            session.messageReceived(message)
        self.assertIn(session.state, State)


class CallTests(SynchronousTestCase):
    """What every client may call before it is paired."""

    def test_hello(self) -> None:
        """It is answered with what was configured, and starts the time anew."""
        session = newSession()
        for requestId in (0, 1, -7):
            effects = session.messageReceived(request("RemoteProxy.Hello", {}, requestId))
            self.assertEqual(
                effects,
                (
                    Send(
                        b'{"id":%d,"status":"success","params":{"server":"nymea-remoteproxy",'
                        b'"name":"x","version":"1","apiVersion":"0.3"}}\n' % requestId
                    ),
                    RestartDeadline(),
                ),
            )
            self.assertIs(session.state, State.UNAUTHENTICATED)

    def test_introspect(self) -> None:
        """It tells the methods of the contract, with their params as they are checked."""
        send, restart = newSession().messageReceived(request("RemoteProxy.Introspect"))
        assert isinstance(send, Send)
        self.assertEqual(restart, RestartDeadline())
        params = json.loads(send.data)["params"]
        self.assertEqual(
            {name: method["params"] for name, method in params["methods"].items()},
            {
                "RemoteProxy.Hello": {},
                "RemoteProxy.Introspect": {},
                "Authentication.Authenticate": {
                    "token": "String",
                    "o:nonce": "String",
                    "o:uuid": "String",
                    "o:name": "String",
                },
            },
        )
        self.assertEqual(
            {name: method["returns"] for name, method in params["methods"].items()},
            {
                "RemoteProxy.Hello": {
                    "server": "String",
                    "name": "String",
                    "version": "String",
                    "apiVersion": "String",
                },
                "RemoteProxy.Introspect": {
                    "methods": "Object",
                    "notifications": "Object",
                    "types": "Object",
                },
                "Authentication.Authenticate": {"authenticationError": "$ref:AuthenticationError"},
            },
        )
        for method in params["methods"].values():
            self.assertTrue(method["description"])
        self.assertEqual(
            params["notifications"]["RemoteProxy.TunnelEstablished"]["params"],
            {"name": "String", "uuid": "String"},
        )
        self.assertEqual(params["notifications"]["Tunnel.Established"]["params"], {})
        self.assertEqual(
            params["types"]["AuthenticationError"],
            [
                "AuthenticationErrorNoError",
                "AuthenticationErrorUnknown",
                "AuthenticationErrorTimeout",
                "AuthenticationErrorAborted",
                "AuthenticationErrorAuthenticationFailed",
                "AuthenticationErrorProxyError",
            ],
        )

    def assertRejected(self, raw: bytes, answer: dict[str, Any], outcome: Outcome) -> None:
        """The message is answered with an error, and the connection closed."""
        session = newSession()
        send, close = session.messageReceived(raw)
        assert isinstance(send, Send)
        self.assertEqual(json.loads(send.data), {"status": "error", **answer})
        self.assertEqual(close, Close(outcome))
        self.assertIs(session.state, State.CLOSED)

    def test_invalidMessages(self) -> None:
        """They are answered with the id where it is known."""
        self.assertRejected(
            request("RemoteProxy.Goodbye"),
            {"id": 3, "error": "Unknown method."},
            Outcome.INVALID_REQUEST,
        )
        self.assertRejected(
            b"[]",
            {"id": -1, "error": "Invalid JSON: the message is not an object."},
            Outcome.INVALID_JSON,
        )
        self.assertRejected(
            request("RemoteProxy.Hello", {"x": 1}),
            {"id": 3, "error": 'Unknown param "x" in call of RemoteProxy.Hello.'},
            Outcome.INVALID_REQUEST,
        )

    def test_tooLarge(self) -> None:
        """An oversized message is answered with id -1."""
        send, close = newSession().badMessage(tooLarge(10240))
        self.assertEqual(
            send,
            Send(b'{"id":-1,"status":"error","error":"Message larger than 10240 bytes."}\n'),
        )
        self.assertEqual(close, Close(Outcome.MESSAGE_TOO_LARGE))

    def test_uuidAndNameGoTogether(self) -> None:
        """One without the other is missed by its name."""
        for given_, missing in (("uuid", "name"), ("name", "uuid")):
            self.assertRejected(
                authenticate({"token": TOKEN, given_: "x"}),
                {
                    "id": 3,
                    "error": f'Missing param "{missing}" in call of Authentication.Authenticate.',
                },
                Outcome.INVALID_REQUEST,
            )

    def test_tokenIsRequired(self) -> None:
        """A nonce alone is no authentication; a token is text."""
        for params in ({}, {"nonce": NONCE}, {"uuid": UUID, "name": "x", "nonce": NONCE}):
            self.assertRejected(
                authenticate(params),
                {
                    "id": 3,
                    "error": 'Missing param "token" in call of Authentication.Authenticate.',
                },
                Outcome.INVALID_REQUEST,
            )
        self.assertRejected(
            authenticate({"token": 1}),
            {
                "id": 3,
                "error": 'Param "token" is no String in call of Authentication.Authenticate.',
            },
            Outcome.INVALID_REQUEST,
        )

    def test_noErrorTextHoldsAToken(self) -> None:
        """Whatever is wrong beside it."""
        for params in (
            {"token": TOKEN, "uuid": UUID},
            {"token": TOKEN, "nonce": 1},
            {"token": [TOKEN]},
            {"token": TOKEN, "password": TOKEN},
        ):
            send, _ = newSession().messageReceived(authenticate(params))
            assert isinstance(send, Send)
            self.assertNotIn(TOKEN.encode(), send.data)


class AuthenticateTests(SynchronousTestCase):
    """The two dialects of Authenticate."""

    def test_tokenIsChecked(self) -> None:
        """Nothing is answered before the backend has spoken."""
        for params in (*DIALECTS, {**FIRST_API, "nonce": NONCE}, {**API_0_3, "nonce": NONCE}):
            session = newSession()
            effects = session.messageReceived(authenticate(params))
            self.assertEqual(effects, (CheckToken(TOKEN),))
            self.assertIs(session.state, State.AUTHENTICATING)

    def test_afterHello(self) -> None:
        """Calls may precede it."""
        session = newSession()
        session.messageReceived(request("RemoteProxy.Hello"))
        self.assertEqual(session.messageReceived(authenticate(FIRST_API)), (CheckToken(TOKEN),))

    def test_identity(self) -> None:
        """A client of API 0.3 has the name it gave, one of the first API none."""
        session = newSession()
        self.assertEqual(session.identity, Identity())
        session.messageReceived(authenticate(API_0_3))
        self.assertEqual(session.identity, Identity("Kitchen", UUID))
        self.assertEqual(authenticating(FIRST_API).identity, Identity())

    def test_accepted(self) -> None:
        """The success response, then the wait for the partner."""
        send, join = authenticating(FIRST_API).accepted(TOKEN, None)
        self.assertEqual(send, Send(b'{"id":3,"status":"success"}\n'))
        assert isinstance(join, Join)
        self.assertEqual(join.identity, Identity())
        send, join = authenticating(API_0_3).accepted(TOKEN, None)
        self.assertEqual(
            send,
            Send(
                b'{"id":3,"status":"success","params":'
                b'{"authenticationError":"AuthenticationErrorNoError"}}\n'
            ),
        )
        assert isinstance(join, Join)
        self.assertEqual(join.identity, Identity("Kitchen", UUID))

    def assertFails(
        self,
        fail: Callable[[Session], Effects],
        error: AuthenticationError,
        outcome: Outcome,
        text: str | None = None,
    ) -> None:
        """Both dialects are told so in their own way, and closed."""
        session = authenticating(FIRST_API)
        send, close = fail(session)
        assert isinstance(send, Send)
        answer = json.loads(send.data)
        told = answer.pop("error")
        self.assertEqual(answer, {"id": 3, "status": "error"})
        self.assertEqual(close, Close(outcome))
        self.assertIs(session.state, State.CLOSED)
        send, close = fail(authenticating(API_0_3))
        assert isinstance(send, Send)
        self.assertEqual(
            json.loads(send.data),
            {
                "id": 3,
                "status": "success",
                "params": {"authenticationError": error.value},
                "error": told,
            },
        )
        self.assertEqual(close, Close(outcome))
        if text is None:
            self.assertIn("authentication server", told)
            self.assertNotIn("token", told.lower(), "the backend's failure is not the token's")
        else:
            self.assertEqual(told, text)

    def test_refused(self) -> None:
        """The very bytes that field clients know."""
        text = "Invalid token. You are not allowed to use this server."
        self.assertFails(
            lambda session: session.refused(),
            AuthenticationError.AUTHENTICATION_FAILED,
            Outcome.TOKEN_REFUSED,
            text,
        )
        self.assertEqual(
            authenticating(FIRST_API).refused()[0],
            Send(b'{"id":3,"status":"error","error":"%s"}\n' % text.encode()),
        )
        self.assertEqual(
            authenticating(API_0_3).refused()[0],
            Send(
                b'{"id":3,"status":"success","params":{"authenticationError":'
                b'"AuthenticationErrorAuthenticationFailed"},"error":"%s"}\n' % text.encode()
            ),
        )

    def test_backendFailed(self) -> None:
        """Nobody gets in, and the token is not blamed."""
        self.assertFails(
            lambda session: session.backendFailed(),
            AuthenticationError.PROXY_ERROR,
            Outcome.AUTHENTICATION_ERROR,
        )

    def test_backendTimeout(self) -> None:
        """The same with an error of its own."""
        self.assertFails(
            lambda session: session.deadlinePassed(),
            AuthenticationError.TIMEOUT,
            Outcome.AUTHENTICATION_TIMEOUT,
        )
        texts = [
            json.loads(effects[0].data)["error"]  # type: ignore[union-attr]
            for effects in (
                authenticating(FIRST_API).deadlinePassed(),
                authenticating(FIRST_API).backendFailed(),
            )
        ]
        self.assertNotEqual(*texts)

    def test_idIsTheRequests(self) -> None:
        """Each answer carries the id of its request."""
        for requestId in (0, -5, 2**53):
            session = newSession()
            session.messageReceived(authenticate(API_0_3, requestId))
            (send, _) = session.accepted(TOKEN, None)
            assert isinstance(send, Send)
            self.assertEqual(json.loads(send.data)["id"], requestId)


class DataTests(SynchronousTestCase):
    """Data out of turn."""

    def test_whileAuthenticatingOrWaiting(self) -> None:
        """Anything at all closes the client without an answer."""
        kinds = (
            "hello",
            "authenticate first",
            "garbage",
            "too large",
            "data",
            "ping",
            "register server",
            "register nobody",
            "disconnect",
        )
        for start in (authenticating, waiting):
            for params in DIALECTS:
                for kind in kinds:
                    session = start(params)
                    self.assertEqual(
                        INPUTS[kind](session), (Close(Outcome.DATA_BEFORE_TUNNEL),), kind
                    )
                    self.assertIs(session.state, State.CLOSED)

    def test_unread(self) -> None:
        """A message out of turn is not even parsed."""
        session = waiting(FIRST_API)
        effects = session.messageReceived(b'{"id":1,"method":"RemoteProxy.Hello"}')
        self.assertEqual(effects, (Close(Outcome.DATA_BEFORE_TUNNEL),))

    def test_beforeAuthenticate(self) -> None:
        """Bytes where a message is due are no message."""
        self.assertEqual(newSession().dataReceived(), (Close(Outcome.DATA_BEFORE_TUNNEL),))


class WaitingTests(SynchronousTestCase):
    """How the wait for the partner ends."""

    def test_pairedFirstApi(self) -> None:
        """The notification of the first API says nothing of the partner."""
        session = waiting(FIRST_API)
        self.assertEqual(
            session.placed(PARTNER),
            (Send(b'{"id":"1","notification":"Tunnel.Established"}\n'), StartTunnel(False)),
        )
        self.assertIs(session.state, State.TUNNELED)

    def test_forgetsTokenAndNonce(self) -> None:
        """Once the key is made of them, nothing that belongs to the session holds them."""
        for params in ({**FIRST_API, "nonce": NONCE}, {**API_0_3, "nonce": NONCE}):
            session = authenticating(params)
            self.assertIn(NONCE, reachable(session))
            session.accepted(TOKEN, None)
            self.assertEqual({TOKEN, NONCE} & reachable(session), set())

    def test_pairedApi03(self) -> None:
        """The notification of API 0.3 names the partner and is the connection's first."""
        session = waiting(API_0_3)
        send, start = session.placed(PARTNER)
        assert isinstance(send, Send)
        self.assertEqual(
            json.loads(send.data),
            {
                "id": 1,
                "notification": "RemoteProxy.TunnelEstablished",
                "params": {"name": PARTNER.name, "uuid": PARTNER.uuid},
            },
        )
        self.assertEqual(start, StartTunnel(True))

    def test_partnerOfTheFirstApi(self) -> None:
        """It is shown with empty name and uuid."""
        send = waiting(API_0_3).placed(authenticating(FIRST_API).identity)[0]
        assert isinstance(send, Send)
        self.assertEqual(json.loads(send.data)["params"], {"name": "", "uuid": ""})

    def test_endings(self) -> None:
        """Each ending has its outcome, without a further message."""
        cases: tuple[tuple[Callable[[Session], Effects], Outcome], ...] = (
            (lambda session: session.deadlinePassed(), Outcome.ALONE_TIMEOUT),
            (
                lambda session: session.placeRefused(Outcome.TUNNEL_EXISTS),
                Outcome.TUNNEL_EXISTS,
            ),
            (
                lambda session: session.placeRefused(Outcome.DUPLICATE_UUID),
                Outcome.DUPLICATE_UUID,
            ),
            (lambda session: session.gone(), Outcome.LEFT_EARLY),
            (lambda session: session.stopped(), Outcome.SHUTDOWN_WAITING),
        )
        for end, outcome in cases:
            for params in DIALECTS:
                session = waiting(params)
                self.assertEqual(end(session), (Close(outcome),))
                self.assertIs(session.state, State.CLOSED)

    def test_earlierEndings(self) -> None:
        """So it is before the wait, too."""
        starts: tuple[Callable[[], Session], ...] = (
            newSession,
            lambda: authenticating(FIRST_API),
        )
        for start in starts:
            self.assertEqual(start().gone(), (Close(Outcome.LEFT_EARLY),))
            self.assertEqual(start().stopped(), (Close(Outcome.SHUTDOWN_WAITING),))
        self.assertEqual(newSession().deadlinePassed(), (Close(Outcome.INACTIVE_TIMEOUT),))

    def test_tunneled(self) -> None:
        """Nothing comes from the session any more."""
        for name, act in INPUTS.items():
            session = tunneled(API_0_3)
            self.assertEqual(list(act(session)), [], name)
            self.assertIs(session.state, State.CLOSED if name == "gone" else State.TUNNELED)


class RegistrationTests(SynchronousTestCase):
    """The way into the tunnel proxy, while it is on."""

    def answered(self, effect: object) -> Any:
        """Return the message that is sent."""
        assert isinstance(effect, Send)
        self.assertTrue(effect.data.endswith(b"}\n"))
        return json.loads(effect.data)

    def test_off(self) -> None:
        """While it is off there is no such namespace."""
        for raw in (REGISTER_SERVER, REGISTER_CLIENT, DISCONNECT, PING):
            session = newSession()
            send, close = session.messageReceived(raw)
            self.assertEqual(
                self.answered(send), {"id": 3, "status": "error", "error": "Unknown namespace."}
            )
            self.assertEqual(close, Close(Outcome.INVALID_REQUEST))

    def test_hello(self) -> None:
        """The version of the API tells whether it is on."""
        for isOn, version in ((False, "0.3"), (True, "5")):
            hello = makeHello("attic", isOn)
            self.assertEqual(
                {key: hello[key] for key in ("server", "name", "apiVersion")},
                {"server": "nymea-remoteproxy", "name": "attic", "apiVersion": version},
            )
            self.assertEqual(set(hello), {"server", "name", "version", "apiVersion"})

    def test_introspect(self) -> None:
        """It tells the methods of both APIs, and the enum of the errors."""
        send = proxySession().messageReceived(request("RemoteProxy.Introspect"))[0]
        params = self.answered(send)["params"]
        self.assertEqual(
            {
                name: (method["params"], method["returns"])
                for name, method in params["methods"].items()
                if name.startswith("TunnelProxy.")
            },
            {
                "TunnelProxy.RegisterServer": (
                    {"serverName": "String", "serverUuid": "Uuid"},
                    {"tunnelProxyError": "$ref:TunnelProxyError", "slipEnabled": "Bool"},
                ),
                "TunnelProxy.RegisterClient": (
                    {"clientName": "String", "clientUuid": "Uuid", "serverUuid": "Uuid"},
                    {"tunnelProxyError": "$ref:TunnelProxyError"},
                ),
                "TunnelProxy.DisconnectClient": (
                    {"socketAddress": "UInt"},
                    {"tunnelProxyError": "$ref:TunnelProxyError"},
                ),
                "TunnelProxy.Ping": ({"timestamp": "UInt"}, {"timestamp": "UInt"}),
            },
        )
        old = self.answered(newSession().messageReceived(request("RemoteProxy.Introspect"))[0])
        for kind in ("methods", "notifications", "types"):
            self.assertLessEqual(old["params"][kind].items(), params[kind].items())
        self.assertEqual(
            params["notifications"]["TunnelProxy.ClientConnected"]["params"],
            {
                "clientName": "String",
                "clientUuid": "Uuid",
                "clientPeerAddress": "String",
                "socketAddress": "UInt",
            },
        )
        self.assertEqual(
            params["notifications"]["TunnelProxy.ClientDisconnected"]["params"],
            {"socketAddress": "UInt"},
        )
        self.assertEqual(
            params["types"]["TunnelProxyError"], [error.value for error in TunnelProxyError]
        )
        for method in params["methods"].values():
            self.assertTrue(method["description"])

    def test_server(self) -> None:
        """Nothing is answered before there is a place; then SLIP begins, in binary messages."""
        session = proxySession()
        (register,) = session.messageReceived(REGISTER_SERVER)
        self.assertEqual(register, Register(ServerRegistration("Home", Uuid(UUID))))
        self.assertIs(session.state, State.REGISTERING)
        send, start = session.placed(Identity())
        self.assertEqual(
            self.answered(send),
            {
                "id": 3,
                "status": "success",
                "params": {"tunnelProxyError": "TunnelProxyErrorNoError", "slipEnabled": True},
            },
        )
        self.assertEqual(start, StartTunnel(needsGap=True, role=Role.SERVER))
        self.assertIs(session.state, State.TUNNELED)

    def test_client(self) -> None:
        """Its messages stay of the type it used."""
        session = proxySession()
        (register,) = session.messageReceived(REGISTER_CLIENT)
        self.assertEqual(
            register,
            Register(ClientRegistration("Phone", Uuid(CLIENT["clientUuid"]), Uuid(UUID))),
        )
        send, start = session.placed(Identity())
        self.assertEqual(
            self.answered(send),
            {
                "id": 3,
                "status": "success",
                "params": {"tunnelProxyError": "TunnelProxyErrorNoError"},
            },
        )
        self.assertEqual(start, StartTunnel(needsGap=False, role=Role.CLIENT))

    def test_afterCalls(self) -> None:
        """Hello, Introspect, Ping and a failed attempt may precede it."""
        session = proxySession()
        for name in ("hello", "introspect", "ping", "register nobody"):
            INPUTS[name](session)
        self.assertIsInstance(session.messageReceived(REGISTER_CLIENT)[0], Register)

    def test_refused(self) -> None:
        """The error is told with status success and the id of the request; then the end."""
        for outcome, error in (
            (Outcome.SERVER_STALLED, "TunnelProxyErrorInternalServerError"),
            (Outcome.SERVER_NOT_FOUND, "TunnelProxyErrorServerNotFound"),
            (Outcome.SERVER_NOT_ALLOWED, "TunnelProxyErrorForbiddenCall"),
            (Outcome.ALREADY_REGISTERED, "TunnelProxyErrorAlreadyRegistered"),
        ):
            for raw in (REGISTER_SERVER, REGISTER_CLIENT):
                session = registering(raw)
                send, close = session.placeRefused(outcome)
                expected: dict[str, Any] = {"tunnelProxyError": error}
                if raw is REGISTER_SERVER:
                    expected["slipEnabled"] = False
                self.assertEqual(
                    self.answered(send), {"id": 3, "status": "success", "params": expected}
                )
                self.assertEqual(close, Close(outcome))
                self.assertIs(session.state, State.CLOSED)

    def test_invalidUuid(self) -> None:
        """It is told, the connection is kept, and a valid one is welcome afterwards."""
        for uuid in (NULL_UUID, "", "kitchen", UUID[1:]):
            session = proxySession()
            for raw in (
                registerServer(serverUuid=uuid),
                registerClient(serverUuid=uuid),
                registerClient(clientUuid=uuid),
            ):
                send, restart = session.messageReceived(raw)
                answer = self.answered(send)
                self.assertEqual((answer["id"], answer["status"]), (3, "success"))
                self.assertEqual(
                    answer["params"]["tunnelProxyError"], "TunnelProxyErrorInvalidUuid"
                )
                self.assertFalse(answer["params"].get("slipEnabled", False))
                self.assertEqual(restart, RestartDeadline())
                self.assertIs(session.state, State.UNAUTHENTICATED)
            self.assertIsInstance(session.messageReceived(REGISTER_SERVER)[0], Register)

    def test_uuidOfAnotherType(self) -> None:
        """That is no uuid at all, but an invalid request as any other."""
        for uuid in (None, 1, [], {}):
            send, close = proxySession().messageReceived(registerServer(serverUuid=uuid))
            answer = self.answered(send)
            self.assertEqual((answer["id"], answer["status"]), (3, "error"))
            self.assertIn('"serverUuid"', answer["error"])
            self.assertEqual(close, Close(Outcome.INVALID_REQUEST))

    def test_params(self) -> None:
        """All are required, and no other is allowed."""
        for method, params in (("RegisterServer", SERVER), ("RegisterClient", CLIENT)):
            wrong = [{**params, "token": TOKEN}]
            wrong += [
                {key: value for key, value in params.items() if key != name} for name in params
            ]
            for each in wrong:
                (name,) = {*each} ^ {*params}
                raw = request("TunnelProxy." + method, each)
                send, close = proxySession().messageReceived(raw)
                self.assertIn(f'"{name}"', self.answered(send)["error"])
                self.assertEqual(close, Close(Outcome.INVALID_REQUEST))

    def test_disconnectClient(self) -> None:
        """Only a server may call it, and whoever is registered as none is closed."""
        session = proxySession()
        send, close = session.messageReceived(DISCONNECT)
        self.assertEqual(
            self.answered(send),
            {
                "id": 3,
                "status": "success",
                "params": {"tunnelProxyError": "TunnelProxyErrorForbiddenCall"},
            },
        )
        self.assertEqual(close, Close(Outcome.FORBIDDEN_CALL))
        self.assertIs(session.state, State.CLOSED)

    def test_ping(self) -> None:
        """It is answered here as well."""
        send, restart = proxySession().messageReceived(PING)
        self.assertEqual(
            self.answered(send),
            {"id": 3, "status": "success", "params": {"timestamp": 1763873513}},
        )
        self.assertEqual(restart, RestartDeadline())

    def test_tokenTunnels(self) -> None:
        """They are there as before."""
        session = proxySession()
        self.assertEqual(session.messageReceived(authenticate(API_0_3)), (CheckToken(TOKEN),))
        session.accepted(TOKEN, None)
        self.assertEqual(session.placed(PARTNER)[1], StartTunnel(needsGap=True, role=Role.PARTNER))

    def test_whileRegistering(self) -> None:
        """What arrives meanwhile is payload, and no fault; nothing else matters but the answer."""
        ends = {"deadline", "stopped", "gone", "placed", "place refused"}
        for name in set(INPUTS) - ends:
            for raw in (REGISTER_SERVER, REGISTER_CLIENT):
                session = registering(raw)
                self.assertEqual(list(INPUTS[name](session)), [], name)
                self.assertIs(session.state, State.REGISTERING)

    def test_endings(self) -> None:
        """Each ending before there is a place has its outcome, without a further message."""
        for name, outcome in (
            ("deadline", Outcome.INACTIVE_TIMEOUT),
            ("stopped", Outcome.SHUTDOWN_WAITING),
            ("gone", Outcome.LEFT_EARLY),
        ):
            for raw in (REGISTER_SERVER, REGISTER_CLIENT):
                session = registering(raw)
                self.assertEqual(INPUTS[name](session), (Close(outcome),))
                self.assertEqual(list(session.placed(Identity())), [], "too late")

    def test_noTokenTunnelWhileRegistering(self) -> None:
        """Who waits for a partner cannot register, and the other way round."""
        session = newSession(api=TUNNEL_PROXY_API)
        session.messageReceived(authenticate(FIRST_API))
        self.assertEqual(
            session.messageReceived(REGISTER_SERVER), (Close(Outcome.DATA_BEFORE_TUNNEL),)
        )
        session = registering(REGISTER_CLIENT)
        self.assertEqual(list(session.accepted(TOKEN, None)), [])


class PairingKeyTests(SynchronousTestCase):
    """Who has the same key."""

    def key(self, keys: PairingKeys, params: Mapping[str, Any], subject: str | None) -> bytes:
        """Return the key a client joins under."""
        join = authenticating(params, keys).accepted(params["token"], subject)[1]
        assert isinstance(join, Join)
        return join.key

    def test_dialectsMeet(self) -> None:
        """Name and uuid are no part of the key; an absent nonce is an empty one."""
        keys = PairingKeys()
        first = self.key(keys, FIRST_API, None)
        self.assertEqual(self.key(keys, API_0_3, "somebody"), first)
        self.assertEqual(self.key(keys, {**FIRST_API, "nonce": ""}, None), first)

    def test_nonce(self) -> None:
        """It is part of the key, and never all of it."""
        keys = PairingKeys()
        withNonce = self.key(keys, {**FIRST_API, "nonce": NONCE}, None)
        self.assertEqual(self.key(keys, {**API_0_3, "nonce": NONCE}, None), withNonce)
        self.assertNotEqual(self.key(keys, FIRST_API, None), withNonce)
        self.assertNotEqual(self.key(keys, {"token": "other", "nonce": NONCE}, None), withNonce)
        self.assertNotEqual(self.key(keys, {"token": NONCE, "nonce": TOKEN}, None), withNonce)

    @PROPERTY
    @given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))
    def test_neverAmbiguous(self, token: str, nonce: str, token2: str, nonce2: str) -> None:
        """Keys are equal exactly when both parts are; where they touch does not matter."""
        keys = PairingKeys()
        same = (token, nonce) == (token2, nonce2)
        self.assertEqual(keys.key(token, None, nonce) == keys.key(token2, None, nonce2), same)
        joined = token + nonce
        for place in range(len(joined) + 1):
            parts = (joined[:place], joined[place:])
            self.assertEqual(
                keys.key(parts[0], None, parts[1]) == keys.key(token, None, nonce),
                parts == (token, nonce),
            )

    def test_bySubject(self) -> None:
        """Devices of one account meet although their tokens differ; others do not."""
        keys = PairingKeys(bySubject=True)
        anna = self.key(keys, FIRST_API, "anna")
        self.assertEqual(self.key(keys, {"token": "other"}, "anna"), anna)
        self.assertNotEqual(self.key(keys, FIRST_API, "bert"), anna)
        self.assertNotEqual(self.key(keys, {**FIRST_API, "nonce": NONCE}, "anna"), anna)

    def test_emptyToken(self) -> None:
        """Whatever the backend says, nobody is paired by the nonce alone."""
        session = newSession()
        session.messageReceived(
            b'{"id":1,"method":"Authentication.Authenticate","params":{"token":"","nonce":"n"}}'
        )
        effects = session.accepted("", None)
        self.assertEqual(effects[-1], Close(Outcome.TOKEN_REFUSED))

    def test_subjectDoesNotMatterOtherwise(self) -> None:
        """When pairing goes by token, the account is no part of the key."""
        keys = PairingKeys()
        anna = self.key(keys, FIRST_API, "anna")
        self.assertEqual(self.key(keys, FIRST_API, "bert"), anna)
        self.assertNotEqual(self.key(keys, {"token": "other"}, "anna"), anna)

    def test_subjectMissing(self) -> None:
        """A backend that names no account fails; the token does not stand in for it."""
        for subject in (None, ""):
            session = authenticating(FIRST_API, PairingKeys(bySubject=True))
            send, close = session.accepted(TOKEN, subject)
            assert isinstance(send, Send)
            self.assertEqual(json.loads(send.data)["status"], "error")
            self.assertEqual(close, Close(Outcome.AUTHENTICATION_ERROR))
            self.assertIs(session.state, State.CLOSED)

    def test_keysHideWhatTheyAreMadeOf(self) -> None:
        """A key is short, holds no token, and is another one in the next process."""
        long = "t" * 10_000
        key = PairingKeys().key(long, None, long)
        self.assertEqual(len(key), 16)
        self.assertNotEqual(PairingKeys().key(long, None, long), key)
