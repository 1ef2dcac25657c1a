"""Owns the checks of what a session answers to a client's first calls, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.jsonrpc import tooLarge
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import (
    AuthenticationError,
    CheckToken,
    Close,
    Effects,
    Identity,
    Join,
    RestartDeadline,
    Send,
    Session,
    State,
)
from tests.support.sessions import (
    API_0_3,
    DIALECTS,
    FIRST_API,
    NONCE,
    TOKEN,
    UUID,
    authenticate,
    authenticating,
    newSession,
    request,
)


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
            self.assertIn("Authentication", told)
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

    def test_limited(self) -> None:
        """The token is valid: it is not blamed, and the outcome is the limit's."""
        self.assertFails(
            lambda session: session.limited(Outcome.QUOTA_USED_UP),
            AuthenticationError.PROXY_ERROR,
            Outcome.QUOTA_USED_UP,
            "A limit of this account is reached. Please try again later.",
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
