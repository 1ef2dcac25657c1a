"""Owns the checks of the session's table, and of every order of events."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.jsonrpc import Api
from nymearemoteproxy.protocol.registration import ServerRegistration
from nymearemoteproxy.protocol.session import (
    TOKEN_TUNNEL_API,
    TRANSITIONS,
    TUNNEL_PROXY_API,
    CheckToken,
    Close,
    Event,
    Join,
    PairingKeys,
    Register,
    Role,
    Send,
    Session,
    StartTunnel,
    State,
)
from tests.support.sessions import API_0_3, INPUTS, PROPERTY, authenticate, newSession


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
            State.UNAUTHENTICATED: {State.AUTHENTICATING, State.VERIFYING, State.REGISTERING},
            State.AUTHENTICATING: {State.WAITING},
            State.WAITING: {State.TUNNELED},
            State.VERIFYING: {State.REGISTERING},
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
                (State.UNAUTHENTICATED, Event.REGISTER_WITH_TOKEN, State.VERIFYING),
                (State.VERIFYING, Event.ACCEPTED, State.REGISTERING),
                (State.REGISTERING, Event.PLACED, State.TUNNELED),
            },
        )


class SequenceTests(SynchronousTestCase):
    """No order of events a remote peer or a backend can produce leads astray."""

    def runInputs(
        self,
        names: tuple[str, ...] | list[str],
        bySubject: bool,
        api: Api = TUNNEL_PROXY_API,
        proven: Collection[Role] = (),
    ) -> None:
        """Feed the inputs; check what holds at every step."""
        session = newSession(PairingKeys(bySubject), api, proven)
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
                    self.assertFalse(joined or asked, message)
                    self.assertIs(checked, name.startswith("accepted"), message)
                    isServer = isinstance(effect.registration, ServerRegistration)
                    role = Role.SERVER if isServer else Role.CLIENT
                    self.assertTrue(checked or role not in proven, message)
                    self.assertIs(effect.subject is not None, checked and bySubject, message)
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
            isJudged = checked and not (joined or asked) and session.state is not State.CLOSED
            self.assertEqual(session.expectsVerdict, isJudged, message)

    def test_everySequence(self) -> None:
        """From every state, all sequences of two, in both ways of pairing and with both APIs."""
        ways = (
            (),
            ("authenticate 0.3",),
            ("authenticate 0.3", "accepted"),
            ("authenticate 0.3", "accepted", "placed"),
            ("register server",),
            ("register client", "placed"),
            ("show token",),
            ("show token", "accepted"),
        )
        for bySubject, api in itertools.product(
            (False, True), (TOKEN_TUNNEL_API, TUNNEL_PROXY_API)
        ):
            for names in itertools.product(INPUTS, repeat=2):
                for way in ways:
                    self.runInputs(way + names, bySubject, api)
                    self.runInputs(way + names, bySubject, api, {Role.SERVER})

    def test_everySequenceOfThree(self) -> None:
        """From the beginning and from every state that waits for an answer."""
        for names in itertools.product(INPUTS, repeat=3):
            self.runInputs(names, False)
        waits = ("authenticate first", "register server", "show token")
        for first, names in itertools.product(waits, itertools.product(INPUTS, repeat=2)):
            for last in ("accepted", "placed", "register client"):
                self.runInputs((first, *names, last), first == "show token")

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
