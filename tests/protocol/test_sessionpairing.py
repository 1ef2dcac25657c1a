"""Owns the checks of a session that waits to be paired: data, endings, and who meets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import (
    Close,
    Effects,
    Join,
    PairingKeys,
    Send,
    Session,
    StartTunnel,
    State,
)
from tests.support.sessions import (
    API_0_3,
    DIALECTS,
    FIRST_API,
    INPUTS,
    NONCE,
    PARTNER,
    PROPERTY,
    TOKEN,
    authenticating,
    newSession,
    reachable,
    waiting,
)


def tunneled(params: Mapping[str, Any]) -> Session:
    """Return a session whose tunnel is up."""
    session = waiting(params)
    session.placed(PARTNER)
    assert session.state is State.TUNNELED
    return session


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

    def test_shared(self) -> None:
        """Members that share a secret have the same keys, of whatever version they are."""
        for bySubject, subject, expected in (
            (False, None, "480d2ba75ce9d527d133375ecaa32a78"),
            (True, "t", "6b577d37b15b3da332e278a913017c73"),
        ):
            key = PairingKeys(bySubject, b"s").key("t", subject, "n")
            self.assertEqual(key.hex(), expected)
            self.assertNotEqual(PairingKeys(bySubject, b"r").key("t", subject, "n"), key)

    def test_keysHideWhatTheyAreMadeOf(self) -> None:
        """A key is short, holds no token, and is another one in the next process."""
        long = "t" * 10_000
        key = PairingKeys().key(long, None, long)
        self.assertEqual(len(key), 16)
        self.assertNotEqual(PairingKeys().key(long, None, long), key)
