"""What programs ask for by the monitor socket."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.jsonrpc import MessageError
from nymearemoteproxy.watching.actions import Action
from nymearemoteproxy.watching.monitorrequests import (
    ABOUT_ONE,
    ACTIONS,
    LONGEST_ID,
    ActionRequest,
    Refresh,
    readRequest,
    writeError,
    writeResult,
)

NUMBERS = st.integers(min_value=1, max_value=10**LONGEST_ID - 1)

VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())


def read(**request: object) -> Refresh | ActionRequest:
    """Return what such an object asks for."""
    return readRequest(json.dumps(request).encode())


class RequestTests(SynchronousTestCase):
    """Lines of programs."""

    def test_refresh(self) -> None:
        self.assertEqual(read(method="refresh"), Refresh(printAll=False))
        self.assertEqual(read(method="refresh", params={}), Refresh(printAll=False))
        self.assertEqual(read(method="refresh", params={"printAll": True}), Refresh(printAll=True))

    @given(st.sampled_from(sorted(ACTIONS)), NUMBERS)
    def test_actions(self, method: str, number: int) -> None:
        """Those that are about a connection need its number, for the others it says nothing."""
        action = ACTIONS[method]
        found = read(method=method, params={"id": str(number)})
        self.assertEqual(found, ActionRequest(action, number if action in ABOUT_ONE else 0))

    def test_withoutNumber(self) -> None:
        self.assertEqual(read(method="reload"), ActionRequest(Action.RELOAD))
        for method in "endConnection", "endTunnel":
            self.assertRaises(MessageError, read, method=method)

    def test_noNumber(self) -> None:
        """Digits are ASCII's, and not endlessly many."""
        for id in "", "-1", "+1", " 1", "1.0", "x", "²", "\u0661", "1" * (LONGEST_ID + 1), 1, None:
            with self.assertRaises(MessageError, msg=id):
                read(method="endConnection", params={"id": id})

    def test_others(self) -> None:
        """Who asks for what there is not is told what there is."""
        for request in (
            {},
            {"method": "Refresh"},
            {"method": ["refresh"]},
            {"method": "refresh", "params": []},
            {"method": "refresh", "params": {"printAll": 1}},
        ):
            error = self.assertRaises(MessageError, read, **request)
            for method in "refresh", *ACTIONS:
                self.assertIn(method, error.text)

    @given(st.fixed_dictionaries({}, optional={"method": VALUES, "params": VALUES}) | VALUES)
    def test_anything(self, value: object) -> None:
        """It is understood or refused, and nothing else is raised."""
        try:
            found = readRequest(json.dumps(value).encode())
        except MessageError:
            return
        self.assertIsInstance(found, Refresh | ActionRequest)


class AnswerTests(SynchronousTestCase):
    """Lines for programs."""

    def test_result(self) -> None:
        """It names the connection, if it is about one."""
        line = writeResult(ActionRequest(Action.END_TUNNEL, 17), {})
        self.assertEqual(json.loads(line), {"result": {"action": "end-tunnel", "id": "17"}})
        line = writeResult(ActionRequest(Action.RELOAD), {"mistakes": 2})
        self.assertEqual(json.loads(line), {"result": {"action": "reload", "mistakes": 2}})

    @given(st.text())
    def test_lines(self, text: str) -> None:
        """Whatever is told is in one line."""
        line = writeError(text)
        self.assertEqual(json.loads(line), {"error": text})
        self.assertEqual(line.index(b"\n"), len(line) - 1)
