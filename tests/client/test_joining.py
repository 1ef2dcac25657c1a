"""The control phase of a token tunnel, without any wire."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.rules.errors import TunnelError, oneLine
from nymearemoteproxy.client.rules.joining import Joining
from nymearemoteproxy.client.rules.messages import MAX_CONTROL_SIZE
from tests.support.proxies import (
    ACCEPTED,
    ESTABLISHED,
    NONCE,
    PARTNER,
    REFUSAL,
    REFUSED,
    TOKEN,
    line,
)


class JoiningTests(SynchronousTestCase):
    """The control phase without any wire."""

    def joining(self) -> Joining:
        return Joining(TOKEN, NONCE, "me", "{1}")

    def test_request(self) -> None:
        request = self.joining().request
        self.assertTrue(request.endswith(b"}\n"))
        message = json.loads(request)
        self.assertEqual(message["method"], "Authentication.Authenticate")
        self.assertEqual(
            message["params"], {"uuid": "{1}", "name": "me", "token": TOKEN, "nonce": NONCE}
        )
        withoutNonce = json.loads(Joining(TOKEN, None, "me", "{1}").request)
        self.assertNotIn("nonce", withoutNonce["params"])

    def test_everyCut(self) -> None:
        stream = b" \r\n" + ACCEPTED + ESTABLISHED.replace(b"the", b'th}{\\\\\\"e') + b"payload"
        for cut in range(len(stream)):
            joining = self.joining()
            rest = joining.receive(stream[:cut])
            rest += stream[cut:] if joining.partner else joining.receive(stream[cut:])
            self.assertEqual(rest, b"\npayload")
            assert joining.partner is not None
            self.assertEqual(joining.partner.name, 'th}{\\"e' + PARTNER.name[3:])

    def test_bytewise(self) -> None:
        joining = self.joining()
        rests = [joining.receive(bytes([byte])) for byte in ACCEPTED + ESTABLISHED.rstrip()]
        self.assertEqual(set(rests), {b""})
        self.assertEqual(joining.partner, PARTNER)

    def test_otherNotificationsAreIgnored(self) -> None:
        joining = self.joining()
        joining.receive(line({"notification": "Some.Thing"}) + ACCEPTED)
        self.assertTrue(joining.waiting)
        self.assertIsNone(joining.partner)

    def failing(self, data: bytes) -> str:
        return str(self.assertRaises(TunnelError, self.joining().receive, data))

    def test_refused(self) -> None:
        self.assertEqual(self.failing(REFUSED), f"refused by the server: {REFUSAL}")
        nameless = line({"id": 1, "status": "success", "params": {"authenticationError": "X"}})
        self.assertEqual(self.failing(nameless), "refused by the server: X")
        bare = line({"id": -1, "status": "error"})
        self.assertEqual(self.failing(bare), "refused by the server: no reason given")

    def test_secretsAreNotRepeated(self) -> None:
        told = self.failing(line({"id": 1, "status": "error", "error": f"{TOKEN}\n{NONCE}\x1b[0m"}))
        self.assertEqual(told, "refused by the server: … …\\x1b[0m")

    def test_strangers(self) -> None:
        for data in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\xff\x00",
            b"{]}",
            b'{"a": ' + b"[" * 30000 + b"}",
            b'{"id": 1, "method": "Some.Thing"}',
            b"{" + b" " * MAX_CONTROL_SIZE,
            ESTABLISHED,
        ):
            told = self.failing(data)
            self.assertTrue(told.startswith("not a nymea-remoteproxy: "), told)
            self.assertTrue(told.isprintable(), told)

    def test_oneLine(self) -> None:
        self.assertEqual(oneLine("a\n b\x07\u202e\udc80ü"), "a b\\x07\\u202e\\udc80ü")
        self.assertEqual(len(oneLine("a" * 1000)), 240)
