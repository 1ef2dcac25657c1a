"""Owns the checks of a session's way into the tunnel proxy."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID as Uuid

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    ServerRegistration,
    TunnelProxyError,
)
from nymearemoteproxy.protocol.session import (
    TUNNEL_PROXY_API,
    CheckToken,
    Close,
    Identity,
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
from tests.support.sessions import (
    API_0_3,
    CLIENT,
    DISCONNECT,
    FIRST_API,
    INPUTS,
    NULL_UUID,
    PARTNER,
    PING,
    REGISTER_CLIENT,
    REGISTER_SERVER,
    SERVER,
    TOKEN,
    UUID,
    authenticate,
    newSession,
    reachable,
    registerClient,
    registerServer,
    request,
)


def proxySession() -> Session:
    """Return a session at its beginning, while the tunnel proxy is on."""
    return newSession(api=TUNNEL_PROXY_API)


def registering(raw: bytes) -> Session:
    """Return a session that asked for a place in the tunnel proxy."""
    session = proxySession()
    session.messageReceived(raw)
    assert session.state is State.REGISTERING
    return session


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
                    {
                        "serverName": "String",
                        "serverUuid": "Uuid",
                        "o:flowControl": "Bool",
                        "o:front": "Bool",
                        "o:lengthPrefixed": "Bool",
                        "o:token": "String",
                    },
                    {
                        "tunnelProxyError": "$ref:TunnelProxyError",
                        "slipEnabled": "Bool",
                        "o:flowControl": "Bool",
                        "o:lengthPrefixed": "Bool",
                        "o:authenticationError": "$ref:AuthenticationError",
                    },
                ),
                "TunnelProxy.RegisterClient": (
                    {
                        "clientName": "String",
                        "clientUuid": "Uuid",
                        "serverUuid": "Uuid",
                        "o:token": "String",
                    },
                    {
                        "tunnelProxyError": "$ref:TunnelProxyError",
                        "o:authenticationError": "$ref:AuthenticationError",
                    },
                ),
                **dict.fromkeys(
                    (
                        "TunnelProxy.DisconnectClient",
                        "TunnelProxy.PauseClient",
                        "TunnelProxy.ResumeClient",
                    ),
                    ({"socketAddress": "UInt"}, {"tunnelProxyError": "$ref:TunnelProxyError"}),
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
        for name in ("ClientDisconnected", "ClientPaused", "ClientResumed"):
            self.assertEqual(
                params["notifications"][f"TunnelProxy.{name}"]["params"], {"socketAddress": "UInt"}
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

    def test_flowControl(self) -> None:
        """Who asks for it is told that there is; who does not, sees what it always saw."""
        for asked in (True, False):
            session = proxySession()
            (register,) = session.messageReceived(registerServer(flowControl=asked))
            expected = ServerRegistration("Home", Uuid(UUID), flowControl=asked)
            self.assertEqual(register, Register(expected))
            answered = self.answered(session.placed(Identity())[0])["params"]
            self.assertEqual(answered.pop("flowControl", False), asked)
            self.assertEqual(set(answered), {"tunnelProxyError", "slipEnabled"})
        refused = proxySession()
        refused.messageReceived(registerServer(flowControl=True))
        send, _close = refused.placeRefused(Outcome.ALREADY_REGISTERED)
        self.assertNotIn("flowControl", self.answered(send)["params"])
        for wrong in (1, "true", None):
            send, close = proxySession().messageReceived(registerServer(flowControl=wrong))
            self.assertIn('"flowControl\\" is no Bool', send.data.decode())  # type: ignore[union-attr]
            self.assertEqual(close, Close(Outcome.INVALID_REQUEST))

    def test_lengthPrefixed(self) -> None:
        """Who asks for it gets it, and then no SLIP."""
        for asked in (True, False):
            session = proxySession()
            asking = registerServer(flowControl=True, lengthPrefixed=asked)
            (register,) = session.messageReceived(asking)
            expected = ServerRegistration(
                "Home", Uuid(UUID), flowControl=True, lengthPrefixed=asked
            )
            self.assertEqual(register, Register(expected))
            answered = self.answered(session.placed(Identity())[0])["params"]
            self.assertEqual(answered.pop("lengthPrefixed", False), asked)
            self.assertEqual(answered.pop("slipEnabled"), not asked)
            self.assertEqual(set(answered), {"tunnelProxyError", "flowControl"})
        refused = proxySession()
        refused.messageReceived(registerServer(lengthPrefixed=True))
        send, _close = refused.placeRefused(Outcome.ALREADY_REGISTERED)
        answered = self.answered(send)["params"]
        self.assertEqual(answered.pop("slipEnabled"), False)
        self.assertEqual(set(answered), {"tunnelProxyError"})

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
            wrong = [{**params, "nonce": "n"}]
            wrong += [
                {key: value for key, value in params.items() if key != name} for name in params
            ]
            for each in wrong:
                (name,) = {*each} ^ {*params}
                raw = request("TunnelProxy." + method, each)
                send, close = proxySession().messageReceived(raw)
                self.assertIn(f'"{name}"', self.answered(send)["error"])
                self.assertEqual(close, Close(Outcome.INVALID_REQUEST))

    def test_aboutClients(self) -> None:
        """Only a server may call these, and whoever is registered as none is closed."""
        for name in ("Disconnect", "Pause", "Resume"):
            session = proxySession()
            raw = request(f"TunnelProxy.{name}Client", {"socketAddress": 1})
            send, close = session.messageReceived(raw)
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


EVERYBODY = (Role.SERVER, Role.CLIENT)


def verifying(raw: bytes, keys: PairingKeys | None = None) -> Session:
    """Return a session whose registration waits for the verdict on its token."""
    session = newSession(keys, TUNNEL_PROXY_API, EVERYBODY)
    assert session.messageReceived(raw) == (CheckToken(TOKEN),)
    assert session.state is State.VERIFYING
    return session


class TokenTests(SynchronousTestCase):
    """The way into the tunnel proxy where it asks for a token."""

    asked = (registerServer(token=TOKEN), registerClient(token=TOKEN))

    def test_accepted(self) -> None:
        """It is as without a token then, with the whole time anew."""
        for raw, without in zip(self.asked, (REGISTER_SERVER, REGISTER_CLIENT), strict=True):
            session = verifying(raw)
            (expected,) = proxySession().messageReceived(without)
            self.assertEqual(session.accepted(TOKEN, "anna"), (RestartDeadline(), expected))
            self.assertIs(session.state, State.REGISTERING)
            plain = registering(without)
            self.assertEqual(session.placed(Identity()), plain.placed(Identity()))

    def test_account(self) -> None:
        """It matters where clients are paired by it, and only there; then it must be known."""
        for raw in self.asked:
            session = verifying(raw, PairingKeys(bySubject=True))
            _restart, register = session.accepted(TOKEN, "anna")
            assert isinstance(register, Register)
            self.assertEqual(register.subject, "anna")
            session = verifying(raw, PairingKeys(bySubject=True))
            _send, close = session.accepted(TOKEN, None)
            self.assertEqual(close, Close(Outcome.AUTHENTICATION_ERROR))

    def test_tokenIsForgotten(self) -> None:
        """No token outlives the verdict on it, nor is it shown."""
        for raw in self.asked:
            for keys in (PairingKeys(), PairingKeys(bySubject=True)):
                session = verifying(raw, keys)
                self.assertNotIn(TOKEN, reachable(session))
                session.accepted(TOKEN, "anna")
                assert session._registering is not None
                self.assertNotIn(TOKEN, session._registering.params.values())
        session = proxySession()
        session.messageReceived(self.asked[0])
        assert session._registering is not None
        self.assertNotIn(TOKEN, session._registering.params.values())

    def test_notAsked(self) -> None:
        """One that nobody asks for is not looked at, unless accounts matter."""
        for raw in self.asked:
            for proven in ((), EVERYBODY):
                for bySubject in (False, True):
                    session = newSession(PairingKeys(bySubject), TUNNEL_PROXY_API, proven)
                    (effect,) = session.messageReceived(raw)
                    isJudged = bool(proven) or bySubject
                    self.assertIsInstance(effect, CheckToken if isJudged else Register)

    def test_onlyServers(self) -> None:
        """Clients need none then."""
        for raw, kind in ((REGISTER_SERVER, Send), (REGISTER_CLIENT, Register)):
            session = newSession(None, TUNNEL_PROXY_API, (Role.SERVER,))
            self.assertIsInstance(session.messageReceived(raw)[0], kind)

    def test_failures(self) -> None:
        """Each is told like that of an Authenticate, beside the error of the tunnel proxy."""
        for name, error, outcome in (
            ("refused", "AuthenticationFailed", Outcome.TOKEN_REFUSED),
            ("backend failed", "ProxyError", Outcome.AUTHENTICATION_ERROR),
            ("deadline", "Timeout", Outcome.AUTHENTICATION_TIMEOUT),
        ):
            other = newSession()
            other.messageReceived(authenticate(API_0_3))
            send, _close = INPUTS[name](other)
            assert isinstance(send, Send)
            as03 = json.loads(send.data)
            for raw in self.asked:
                session = verifying(raw)
                send, close = INPUTS[name](session)
                assert isinstance(send, Send)
                told = json.loads(send.data)
                params = told.pop("params")
                self.assertEqual(params.pop("slipEnabled", False), False)
                self.assertEqual(
                    params,
                    {
                        "tunnelProxyError": "TunnelProxyErrorForbiddenCall",
                        "authenticationError": f"AuthenticationError{error}",
                    },
                )
                self.assertEqual(
                    as03["params"]["authenticationError"], f"AuthenticationError{error}"
                )
                self.assertEqual(told, {"id": 3, "status": "success", "error": as03["error"]})
                self.assertEqual(close, Close(outcome))

    def test_missing(self) -> None:
        """Nobody is asked about a token that is not there."""
        for raw in (REGISTER_SERVER, REGISTER_CLIENT):
            session = newSession(None, TUNNEL_PROXY_API, EVERYBODY)
            send, close = session.messageReceived(raw)
            assert isinstance(send, Send)
            told = json.loads(send.data)
            self.assertEqual(told["error"], "A token is needed here.")
            self.assertEqual(told["params"]["tunnelProxyError"], "TunnelProxyErrorForbiddenCall")
            self.assertEqual(
                told["params"]["authenticationError"], "AuthenticationErrorAuthenticationFailed"
            )
            self.assertEqual(close, Close(Outcome.TOKEN_REFUSED))

    def test_meanwhile(self) -> None:
        """What arrives is payload, and no fault."""
        ends = {"accepted", "accepted without subject", "refused", "backend failed"}
        for name in set(INPUTS) - ends - {"deadline", "stopped", "gone"}:
            for raw in self.asked:
                session = verifying(raw)
                self.assertEqual(list(INPUTS[name](session)), [], name)
                self.assertIs(session.state, State.VERIFYING)

    def test_endings(self) -> None:
        for name, outcome in (
            ("stopped", Outcome.SHUTDOWN_WAITING),
            ("gone", Outcome.LEFT_EARLY),
        ):
            for raw in self.asked:
                session = verifying(raw)
                self.assertEqual(INPUTS[name](session), (Close(outcome),))
                self.assertEqual(list(session.accepted(TOKEN, "anna")), [], "too late")
