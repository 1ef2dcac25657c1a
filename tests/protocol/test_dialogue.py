"""Owns the checks of a registered server's calls."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.dialogue import Dialogue, DialogueEffects, ForClient
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import TUNNEL_PROXY_API, Close, Send

PROPERTY = settings(max_examples=150, deadline=None, database=None)

HELLO = {"server": "nymea-remoteproxy", "name": "x", "version": "1", "apiVersion": "5"}
UUID = "{c2a4d5a8-0a0e-4b0e-9a3e-6d3f4d2f6a11}"
REGISTER_SERVER = {"serverName": "Home", "serverUuid": UUID}
REGISTER_CLIENT = {"clientName": "Phone", "clientUuid": UUID, "serverUuid": UUID}
ABOUT_CLIENTS = ("DisconnectClient", "PauseClient", "ResumeClient")


def call(method: str, params: Any = None, number: Any = 3) -> bytes:
    """Return the bytes of one call, without a line end."""
    message = {"id": number, "method": method}
    if params is not None:
        message["params"] = params
    return json.dumps(message).encode()


PING = call("TunnelProxy.Ping", {"timestamp": 7})
PONG = Send(b'{"id":3,"status":"success","params":{"timestamp":7}}\n')


def hear(dialogue: Dialogue, data: bytes) -> DialogueEffects:
    """Return what these bytes lead to, in order."""
    dialogue.feed(data)
    effects: DialogueEffects = []
    while taken := dialogue.take():
        effects += taken
    return effects


class DialogueTests(SynchronousTestCase):
    """What arrives at address 0."""

    def setUp(self) -> None:
        self.dialogue = self.newDialogue()

    def newDialogue(self, messageLimit: int = 10240) -> Dialogue:
        """Return one that heard nothing yet."""
        return Dialogue(TUNNEL_PROXY_API, HELLO, messageLimit)

    def test_nothing(self) -> None:
        """White space and unfinished calls are answered with nothing."""
        for data in (b"", b"\n", b" \r\n\t", PING[:-1]):
            self.assertEqual(hear(self.dialogue, data), [])
        self.assertEqual(hear(self.dialogue, PING[-1:]), [PONG])

    def test_oneAtATime(self) -> None:
        """What a call asks for is told when it is its turn, so that answers need not pile up."""
        self.dialogue.feed(PING + PING + b"x" + PING)
        self.assertEqual(self.dialogue.take(), [PONG])
        self.assertEqual(self.dialogue.take(), [PONG])
        self.assertEqual(self.dialogue.take()[1:], [Close(Outcome.INVALID_JSON)])
        self.assertEqual(self.dialogue.take(), [])

    def test_ping(self) -> None:
        """The timestamp comes back unchanged."""
        for timestamp in (0, 1763873513, 2**64 - 1):
            (send,) = hear(self.dialogue, call("TunnelProxy.Ping", {"timestamp": timestamp}, -4))
            assert isinstance(send, Send)
            self.assertEqual(
                json.loads(send.data),
                {"id": -4, "status": "success", "params": {"timestamp": timestamp}},
            )

    def test_hello(self) -> None:
        """A registered server may still ask whom it talks to."""
        (send,) = hear(self.dialogue, call("RemoteProxy.Hello"))
        assert isinstance(send, Send)
        self.assertEqual(json.loads(send.data), {"id": 3, "status": "success", "params": HELLO})

    def test_introspect(self) -> None:
        """And what it can call: the same as before it registered."""
        (send,) = hear(self.dialogue, call("RemoteProxy.Introspect"))
        assert isinstance(send, Send)
        methods = json.loads(send.data)["params"]["methods"]
        for name in ("Ping", *ABOUT_CLIENTS, "RegisterServer", "RegisterClient"):
            self.assertIn("TunnelProxy." + name, methods)

    def test_aboutClients(self) -> None:
        """Both answers are there: it is not known here whether there is such a client."""
        for name, address in product(ABOUT_CLIENTS, (0, 1, 0xFFFF, 70_000)):
            (effect,) = hear(
                self.dialogue, call(f"TunnelProxy.{name}", {"socketAddress": address}, 9)
            )
            assert isinstance(effect, ForClient)
            self.assertEqual(effect.method.name, f"TunnelProxy.{name}")
            self.assertEqual(effect.address, address)
            for message, error in (
                (effect.done, "TunnelProxyErrorNoError"),
                (effect.unknown, "TunnelProxyErrorUnknownSocketAddress"),
            ):
                self.assertEqual(
                    message,
                    b'{"id":9,"status":"success","params":{"tunnelProxyError":"%s"}}\n'
                    % error.encode(),
                )

    def test_manyInOnePiece(self) -> None:
        """Each is answered, in order, whatever white space is between them or not."""
        numbers = range(20)
        calls = [call("TunnelProxy.Ping", {"timestamp": n}, n) for n in numbers]
        effects = hear(self.dialogue, b"\n".join(calls[:10]) + b"".join(calls[10:]) + b"\r\n")
        answers = [json.loads(effect.data) for effect in effects if isinstance(effect, Send)]
        self.assertEqual([answer["id"] for answer in answers], list(numbers))
        self.assertEqual([answer["params"]["timestamp"] for answer in answers], list(numbers))

    @PROPERTY
    @given(
        st.lists(
            st.sampled_from(
                [
                    PING,
                    call("RemoteProxy.Hello"),
                    call("TunnelProxy.DisconnectClient", {"socketAddress": 5}),
                    call("TunnelProxy.RegisterServer", REGISTER_SERVER),
                    call("No.Such"),
                    b"x",
                ]
            ),
            max_size=5,
        ),
        st.lists(st.integers(0, 10_000), max_size=8),
    )
    def test_anySplit(self, calls: list[bytes], places: list[int]) -> None:
        """However the calls are cut, they are answered as they are one by one."""
        stream = b"\n".join(calls)
        one = self.newDialogue()
        expected = [effect for each in calls for effect in hear(one, each + b"\n")]
        bounds = sorted(place % (len(stream) + 1) for place in places)
        other = self.newDialogue()
        found: DialogueEffects = []
        for start, end in zip([0, *bounds], [*bounds, len(stream)], strict=True):
            found += hear(other, stream[start:end])
        self.assertEqual(found, expected)

    def assertEnds(self, data: bytes, answer: dict[str, Any], outcome: Outcome) -> None:
        """It is answered so, and the end; what follows is not even looked at."""
        for following in (b"", PING, b"x", b"\n" + call("No.Such")):
            for before in (b"", PING):
                dialogue = self.newDialogue()
                effects = hear(dialogue, before + data + following)
                if before:
                    self.assertEqual(effects.pop(0), PONG)
                send, close = effects
                assert isinstance(send, Send)
                self.assertTrue(send.data.endswith(b"}\n"))
                self.assertEqual(json.loads(send.data), answer)
                self.assertEqual(close, Close(outcome))
                for later in (b"", PING, b"x"):
                    self.assertEqual(hear(dialogue, later), [])

    def test_registerAgain(self) -> None:
        """It is registered already, whatever it asks for."""
        error = "TunnelProxyErrorAlreadyRegistered"
        for uuid in (UUID, "{0e8e1c0a-5f0b-4b58-8a7f-0a7d6e1c2b3d}", "no uuid"):
            self.assertEnds(
                call("TunnelProxy.RegisterServer", {**REGISTER_SERVER, "serverUuid": uuid}, 8),
                {
                    "id": 8,
                    "status": "success",
                    "params": {"tunnelProxyError": error, "slipEnabled": False},
                },
                Outcome.ALREADY_REGISTERED,
            )
            self.assertEnds(
                call("TunnelProxy.RegisterClient", {**REGISTER_CLIENT, "serverUuid": uuid}, 8),
                {"id": 8, "status": "success", "params": {"tunnelProxyError": error}},
                Outcome.ALREADY_REGISTERED,
            )

    def test_authenticate(self) -> None:
        """A registered server cannot wait for a partner; the text does not hold the token."""
        for params in ({"token": "sesame"}, {"token": "sesame", "uuid": UUID, "name": "x"}):
            request = call("Authentication.Authenticate", params)
            self.assertEnds(
                request,
                {"id": 3, "status": "error", "error": "A registered server cannot call this."},
                Outcome.FORBIDDEN_CALL,
            )

    def assertError(self, data: bytes, number: int, words: str, outcome: Outcome) -> None:
        """It is answered with an error of status error, and the end."""
        dialogue = self.newDialogue(100)
        send = hear(dialogue, data)[0]
        assert isinstance(send, Send)
        text = json.loads(send.data)["error"]
        self.assertIn(words, text)
        self.assertEqual(len(hear(dialogue, PING)), 0)
        self.assertEqual(
            hear(self.newDialogue(100), data),
            [
                Send(
                    json.dumps(
                        {"id": number, "status": "error", "error": text}, separators=(",", ":")
                    ).encode()
                    + b"\n"
                ),
                Close(outcome),
            ],
        )

    def test_errors(self) -> None:
        """All that section 1 of the contract knows."""
        invalid, refused = Outcome.INVALID_JSON, Outcome.INVALID_REQUEST
        self.assertError(b"x", -1, "Invalid JSON", invalid)
        self.assertError(b"[]", -1, "Invalid JSON", invalid)
        self.assertError(b'{"id":1,}', -1, "Invalid JSON", invalid)
        self.assertError(b'{"id":1,"a":NaN}', -1, "Invalid JSON", invalid)
        self.assertError(b"\xef\xbb\xbf{}", -1, "Invalid JSON", invalid)
        self.assertError(b"{}", -1, "id", refused)
        self.assertError(call("TunnelProxy.Ping", {"timestamp": 1}, "3"), -1, "id", refused)
        self.assertError(b'{"id":4}', 4, "method", refused)
        self.assertError(call("Ping"), 3, "method", refused)
        self.assertError(call("No.Such"), 3, "Unknown namespace", refused)
        self.assertError(call("TunnelProxy.Such"), 3, "Unknown method", refused)
        self.assertError(call("TunnelProxy.Ping", []), 3, "params", refused)
        self.assertError(call("TunnelProxy.Ping"), 3, '"timestamp"', refused)
        self.assertError(call("TunnelProxy.Ping", {"timestamp": -1}), 3, '"timestamp"', refused)
        self.assertError(call("TunnelProxy.Ping", {"timestamp": 1.5}), 3, '"timestamp"', refused)
        self.assertError(
            call("TunnelProxy.DisconnectClient", {"socketAddress": "1"}),
            3,
            '"socketAddress"',
            refused,
        )
        self.assertError(
            call("TunnelProxy.DisconnectClient", {"socketAddress": 1, "x": 1}), 3, '"x"', refused
        )

    def test_messageLimit(self) -> None:
        """A call of exactly the limit passes; one byte more does not, finished or not."""
        limit = len(PING)
        self.assertEqual(hear(self.newDialogue(limit), PING + PING), [PONG, PONG])
        for data in (PING.replace(b"7", b"77"), b"{" + b" " * limit):
            send, close = hear(self.newDialogue(limit), data)
            self.assertEqual(
                send,
                Send(
                    b'{"id":-1,"status":"error","error":"Message larger than %d bytes."}\n' % limit
                ),
            )
            self.assertEqual(close, Close(Outcome.MESSAGE_TOO_LARGE))

    def test_noMessageLimit(self) -> None:
        """With 0 any size passes."""
        data = PING[:-1] + b" " * 300_000 + b"}"
        self.assertEqual(hear(self.newDialogue(0), data), [PONG])
