"""Owns the checks of uuids, and of what the tunnel proxy answers and tells, byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.jsonrpc import Request
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    DISCONNECT_CLIENT,
    PING,
    REGISTER_CLIENT,
    REGISTER_SERVER,
    ClientRegistration,
    ServerRegistration,
    TunnelProxyError,
    answer,
    clientConnected,
    clientDisconnected,
    clientPaused,
    clientResumed,
    errorFor,
    parseUuid,
    parseUuids,
    pong,
    readRegistration,
)

PROPERTY = settings(max_examples=200, deadline=None, database=None)

TEXT = "c2a4d5a8-0a0e-4b0e-9a3e-6d3f4d2f6a11"
OTHER_TEXT = "0e8e1c0a-5f0b-4b58-8a7f-0a7d6e1c2b3d"
NULL = "00000000-0000-0000-0000-000000000000"
INVALID = (
    "",
    "{}",
    "kitchen",
    NULL,
    "{" + NULL + "}",
    "{" + TEXT,
    TEXT + "}",
    "}" + TEXT + "{",
    "{{" + TEXT + "}}",
    "(" + TEXT + ")",
    "[" + TEXT + "]",
    TEXT + "\n",
    "{" + TEXT + "}\n",
    " " + TEXT,
    "\0" + TEXT,
    TEXT.replace("-", ""),
    TEXT.replace("-", "_"),
    TEXT.replace("-", "\N{HYPHEN}"),
    TEXT[:-1],
    TEXT + "1",
    TEXT[:-1] + "g",
    "urn:uuid:" + TEXT,
    "0x" + TEXT[2:],
    "c2a4d5a80-a0e-4b0e-9a3e-6d3f4d2f6a11",
    TEXT.replace("4", "\N{FULLWIDTH DIGIT FOUR}"),
    TEXT.replace("4", "\N{ARABIC-INDIC DIGIT FOUR}"),
    TEXT.replace("a", "\N{FULLWIDTH LATIN SMALL LETTER A}"),
)


class UuidTests(SynchronousTestCase):
    """What is a uuid."""

    def test_valid(self) -> None:
        """With and without braces, in any case, it is the same one."""
        for text in (TEXT, TEXT.upper(), TEXT.title()):
            for written in (text, "{" + text + "}"):
                self.assertEqual(parseUuid(written), UUID(TEXT))

    def test_anyVersion(self) -> None:
        """Qt does not look at version and variant."""
        for text in (NULL[:-1] + "1", "f" * 8 + "-ffff-ffff-ffff-" + "f" * 12):
            self.assertEqual(parseUuid(text), UUID(text))

    def test_invalid(self) -> None:
        """Null is none, nor is anything else that is not written like one."""
        for text in INVALID:
            self.assertIsNone(parseUuid(text), repr(text))

    @PROPERTY
    @given(st.uuids(), st.booleans(), st.booleans())
    def test_any(self, uuid: UUID, isUpper: bool, hasBraces: bool) -> None:
        """Each is read as what it is."""
        text = str(uuid).upper() if isUpper else str(uuid)
        self.assertEqual(parseUuid("{" + text + "}" if hasBraces else text), uuid)

    @PROPERTY
    @given(st.text(max_size=40), st.integers(0, 38), st.integers(0, 38))
    @example("}", 37, 38)
    def test_garbage(self, garbage: str, start: int, end: int) -> None:
        """What is read as a uuid looks like it: no other text does by accident."""
        whole = "{" + TEXT + "}"
        text = whole[:start] + garbage + whole[end:]
        uuid = parseUuid(text)
        if uuid is not None:
            self.assertIn(text.lower(), (str(uuid), "{" + str(uuid) + "}"))

    def test_list(self) -> None:
        """Each is one, however it is written."""
        self.assertEqual(
            parseUuids([(1, "{" + TEXT + "}"), (2, TEXT.upper()), (4, OTHER_TEXT)]),
            {UUID(TEXT), UUID(OTHER_TEXT)},
        )
        self.assertEqual(parseUuids(iter(())), frozenset())

    def test_invalidInList(self) -> None:
        """The error says in one line in which line of the file it is."""
        for text in INVALID:
            error = self.assertRaises(
                ValueError, parseUuids, [(3, TEXT), (7, text), (8, OTHER_TEXT)]
            )
            self.assertEqual(str(error), "line 7 is no uuid")
            self.assertNotIn("\n", str(error))


def registerServer(uuid: str, number: int = 1) -> Request:
    """Return a call of RegisterServer."""
    return Request(number, REGISTER_SERVER, {"serverName": "Home", "serverUuid": uuid})


def registerClient(uuid: str, serverUuid: str, number: int = 1) -> Request:
    """Return a call of RegisterClient."""
    params = {"clientName": "Phone", "clientUuid": uuid, "serverUuid": serverUuid}
    return Request(number, REGISTER_CLIENT, params)


class ReadTests(SynchronousTestCase):
    """What a call of RegisterServer or RegisterClient says."""

    def test_server(self) -> None:
        """Its name and uuid."""
        self.assertEqual(
            readRegistration(registerServer("{" + TEXT + "}")),
            ServerRegistration("Home", UUID(TEXT)),
        )

    def test_wishes(self) -> None:
        """What it does not say of visitors is for the operator to say."""
        for said, wishes in (
            ({}, (False, None)),
            ({"front": True}, (False, True)),
            ({"front": False, "flowControl": True}, (True, False)),
        ):
            request = registerServer(TEXT)
            request = replace(request, params={**request.params, **said})
            expected = ServerRegistration("Home", UUID(TEXT), *wishes)
            self.assertEqual(readRegistration(request), expected)
            self.assertNotIn(b"front", answer(request, TunnelProxyError.NO_ERROR))

    def test_client(self) -> None:
        """Its name, its uuid and the server's, which are not mixed up."""
        self.assertEqual(
            readRegistration(registerClient(TEXT.upper(), "{" + OTHER_TEXT + "}")),
            ClientRegistration("Phone", UUID(TEXT), UUID(OTHER_TEXT)),
        )

    def test_invalidUuid(self) -> None:
        """One invalid uuid is enough."""
        for text in INVALID:
            self.assertIsNone(readRegistration(registerServer(text)))
            self.assertIsNone(readRegistration(registerClient(text, TEXT)))
            self.assertIsNone(readRegistration(registerClient(TEXT, text)))


class AnswerTests(SynchronousTestCase):
    """What calls are answered with, and what a server is told."""

    def test_errors(self) -> None:
        """The enum of the contract, all of it."""
        self.assertEqual(
            [error.value.removeprefix("TunnelProxyError") for error in TunnelProxyError],
            [
                "NoError",
                "InvalidUuid",
                "InternalServerError",
                "ServerNotFound",
                "ForbiddenCall",
                "AlreadyRegistered",
                "NotRegistered",
                "UnknownSocketAddress",
            ],
        )
        for error in TunnelProxyError:
            self.assertTrue(error.value.startswith("TunnelProxyError"))

    def test_serverRegistered(self) -> None:
        """From the next byte on it is SLIP."""
        self.assertEqual(
            answer(registerServer(TEXT, 7), TunnelProxyError.NO_ERROR),
            b'{"id":7,"status":"success","params":'
            b'{"tunnelProxyError":"TunnelProxyErrorNoError","slipEnabled":true}}\n',
        )

    def test_serverRefused(self) -> None:
        """It is no SLIP, whatever the error."""
        for error in set(TunnelProxyError) - {TunnelProxyError.NO_ERROR}:
            message = json.loads(answer(registerServer(TEXT, -3), error))
            self.assertEqual(
                message,
                {
                    "id": -3,
                    "status": "success",
                    "params": {"tunnelProxyError": error.value, "slipEnabled": False},
                },
            )

    def test_others(self) -> None:
        """Every other call is answered with the error alone, and status success."""
        requests = (registerClient(TEXT, TEXT, 5), Request(5, DISCONNECT_CLIENT, {}))
        for request in requests:
            for error in TunnelProxyError:
                self.assertEqual(
                    answer(request, error),
                    b'{"id":5,"status":"success","params":{"tunnelProxyError":"%s"}}\n'
                    % error.value.encode(),
                )

    def test_pong(self) -> None:
        """The timestamp comes back unchanged, however large."""
        for timestamp in (0, 1763873513, 2**63, 2**64 - 1, 10**30):
            request = Request(1, PING, {"timestamp": timestamp})
            self.assertEqual(pong(request), {"timestamp": timestamp})

    def notification(self, message: bytes) -> dict[str, Any]:
        """Return a notification, which is one line."""
        self.assertTrue(message.endswith(b"}\n"))
        self.assertEqual(message.count(b"\n"), 1)
        return dict(json.loads(message))

    def test_clientConnected(self) -> None:
        """All of the client that the server is told; the uuid has braces."""
        client = ClientRegistration("Ünï\n\N{GRINNING FACE}", UUID(TEXT.upper()), UUID(OTHER_TEXT))
        self.assertEqual(
            self.notification(clientConnected(3, client, "2001:db8::7", 65534)),
            {
                "id": 3,
                "notification": "TunnelProxy.ClientConnected",
                "params": {
                    "clientName": "Ünï\n\N{GRINNING FACE}",
                    "clientUuid": "{" + TEXT + "}",
                    "clientPeerAddress": "2001:db8::7",
                    "socketAddress": 65534,
                },
            },
        )

    def test_noPeerAddress(self) -> None:
        """Without one it is empty, and not missing."""
        client = ClientRegistration("", UUID(TEXT), UUID(OTHER_TEXT))
        params = self.notification(clientConnected(1, client, "", 1))["params"]
        self.assertEqual((params["clientPeerAddress"], params["clientName"]), ("", ""))

    def test_ofAClient(self) -> None:
        """Its address, and nothing else."""
        for make, name in (
            (clientDisconnected, "TunnelProxy.ClientDisconnected"),
            (clientPaused, "TunnelProxy.ClientPaused"),
            (clientResumed, "TunnelProxy.ClientResumed"),
        ):
            self.assertEqual(
                self.notification(make(7, 258)),
                {"id": 7, "notification": name, "params": {"socketAddress": 258}},
            )

    def test_errorFor(self) -> None:
        """What is told follows from how the connection ends; the rest is no fault of the client."""
        expected = {
            Outcome.ALREADY_REGISTERED: "TunnelProxyErrorAlreadyRegistered",
            Outcome.SERVER_NOT_ALLOWED: "TunnelProxyErrorForbiddenCall",
            Outcome.SERVER_NOT_FOUND: "TunnelProxyErrorServerNotFound",
            Outcome.UUID_RESERVED: "TunnelProxyErrorForbiddenCall",
        }
        for outcome in Outcome:
            error = expected.get(outcome, "TunnelProxyErrorInternalServerError")
            self.assertEqual(errorFor(outcome).value, error, outcome)
