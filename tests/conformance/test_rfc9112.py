"""RFC 9112, and what RFC 9110 and RFC 6455 section 4 add: the head of a request for a WebSocket.

Each test is named by the section of its rule; that of another RFC has its number in front. The
bad requests are those of `tests.protocol.test_httphead`, by name: there they are checked byte by
byte, here it is what a client gets, with TLS and without.

Absent is what a server cannot break that reads one head without content and then speaks WebSocket:
section 4 is about responses to clients, 7 and 8 about chunks and content that is cut short, 9.2 to
9.5 about more than one request, 10 about messages as files.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

from twisted.internet.error import ConnectionDone

from nymearemoteproxy.protocol.frames import TEXT
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.conformance.peers import PeerCase
from tests.protocol.test_httphead import (
    BAD_REQUESTS,
    CLIENTS,
    KEY,
    UPGRADE_REQUIRED,
    head,
    request,
)
from tests.support.endtoend import call
from tests.support.inmemory import TIMING
from tests.support.wires import maskedFrame, splitFrame

HELLO = maskedFrame(TEXT, call("RemoteProxy.Hello"))
"""What a WebSocket client may send right behind its request."""

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""

LEAST_LINE = 8000
"""Bytes of a request line that everybody is to support (section 3)."""

Answer = tuple[str, dict[str, str], bytes]
"""Status line, header lines by name in lower case, and what follows the head."""


def answered(data: bytes) -> Answer:
    """Take a response apart; no header line is there twice."""
    start, _, rest = data.partition(b"\r\n\r\n")
    line, *lines = start.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
    assert len(headers) == len(lines), lines
    return line, headers, rest


class UpgradeTests(PeerCase):
    """The rules, by section, without TLS."""

    def ask(self, data: bytes) -> Answer:
        """Let a client send this; return what it gets, and whether that was all."""
        self.visitor = self.visit()
        self.visitor.send(data)
        return answered(self.visitor.take())

    def assertGranted(self, data: bytes) -> dict[str, str]:
        """It becomes a WebSocket, and what is behind the request is in it; return the headers."""
        line, headers, rest = self.ask(data + HELLO)
        self.assertEqual(line, "HTTP/1.1 101 Switching Protocols", data)
        split = splitFrame(rest)
        assert split is not None
        self.assertEqual(json.loads(split[2])["status"], "success")
        return headers

    def assertRefused(self, status: int, data: bytes, words: str = "") -> dict[str, str]:
        """It gets one response, and the end; return the headers.

        What is behind is not answered, be it in the same read or later, another request or a frame.
        """
        outcomes = Outcome.WEBSOCKET_HANDSHAKE_FAILED, Outcome.MESSAGE_TOO_LARGE
        before = sum(map(self.ends, outcomes))
        line, headers, content = self.ask(data + HELLO + request())
        self.assertEqual(line.split(" ")[:2], ["HTTP/1.1", str(status)], data)
        self.assertEqual(headers["connection"], "close")
        self.assertEqual(int(headers.get("content-length", 0)), len(content), data)
        self.assertIn(words, content.decode("ascii"), data)
        self.assertTrue(self.visitor.isTold)
        self.visitor.send(request())
        self.assertEqual(self.visitor.take(), b"")
        self.visitor.pipe.lose(ConnectionDone())
        self.assertEqual(sum(map(self.ends, outcomes)), before + 1)
        return headers

    def assertBad(self, *names: str) -> None:
        """Each of these is refused with 400."""
        for name in names:
            self.assertRefused(400, *BAD_REQUESTS[name])

    def assertUpgradeRequired(self, *names: str) -> None:
        """Each of these is refused with 426, which says what to upgrade to."""
        for name in names:
            headers = self.assertRefused(426, *UPGRADE_REQUIRED[name])
            self.assertEqual(headers["upgrade"], "websocket")
            self.assertEqual(headers["sec-websocket-version"], "13, 8")

    # 2 Message

    def test_2_2_bareLineFeed(self) -> None:
        """A line ends with CR LF. One may take a bare LF as well: then others read it otherwise."""
        self.assertBad(
            "a bare LF at the end of the request line",
            "a bare LF at the end of a header",
            "only bare LFs",
            "a bare LF as the empty line",
        )

    def test_2_2_bareCarriageReturn(self) -> None:
        """A CR that is not followed by LF is invalid."""
        self.assertBad(
            "a bare CR in a value",
            "two CRs",
            "two CRs before the empty line",
            "a CR of its own before the empty line",
        )

    def test_2_2_emptyLineInFront(self) -> None:
        """One empty line in front of the request is ignored; more are refused."""
        self.assertGranted(b"\r\n" + request())
        self.assertBad("two empty lines in front")

    def test_2_2_whiteSpaceInFront(self) -> None:
        """None between the start-line and the first header, which could hide that one."""
        self.assertBad("white space in front", "white space in front of the first header")

    def test_2_2_anyOctets(self) -> None:
        """A message is octets: what no decoder takes does no harm, nor does it end a line."""
        self.assertGranted(request(b"X: \xff\x85\xe2\x80\xa8Upgrade: h2c"))

    def test_2_3_version(self) -> None:
        """The name is in capitals, each number is one digit."""
        self.assertBad("a small version", "a long version", "another protocol", "HTTP/0.9")

    def test_2_3_higherMinorVersion(self) -> None:
        """It is read as the highest that is known (RFC 9110 section 2.5)."""
        self.assertGranted(request(line="GET / HTTP/1.9"))

    def test_9110_15_6_6_otherMajorVersion(self) -> None:
        """505, among them for HTTP/2 with a method that there is."""
        for version in ("0.9", "2.0", "3.0"):
            self.assertRefused(505, request(line=f"GET / HTTP/{version}"), "HTTP/1.1")

    # 3 Request line

    def test_3_singleSpaces(self) -> None:
        """Between its three parts stands one space each; one may be lenient, which is refused."""
        self.assertBad("two spaces", "a space at its end", "tabs", "no target")

    def test_3_notHttp(self) -> None:
        """What is no request line at all is answered like a wrong one."""
        self.assertBad("no HTTP", "a TLS client hello", "a PROXY header")

    def test_3_longTarget(self) -> None:
        """Lines of 8000 bytes are taken, a target that is too long is answered with 414."""
        room = LEAST_LINE - len("GET / HTTP/1.1")
        self.assertGranted(request(line=f"GET /{'x' * room} HTTP/1.1"))
        self.assertRefused(414, request(line=f"GET /{'x' * 20_000} HTTP/1.1"))

    def test_3_1_method(self) -> None:
        """It is a token, in which case matters; 405 has a list of those that there are."""
        self.assertBad("a method that is no token")
        for method in ("POST", "PUT", "OPTIONS", "TRACE", "CONNECT", "get"):
            headers = self.assertRefused(405, request(line=f"{method} / HTTP/1.1"))
            self.assertEqual(headers["allow"], "GET")

    def test_3_2_target(self) -> None:
        """White space has no place in it; it is not guessed what it was to be."""
        self.assertBad("a space in the target", "a quote", "angle brackets", "a fragment")

    def test_3_2_hostMissing(self) -> None:
        """Without Host it is answered with 400."""
        self.assertBad("no Host")

    def test_3_2_hostTwice(self) -> None:
        """With more than one Host as well, in whatever case."""
        self.assertBad("Host twice", "Host twice, written differently")

    def test_3_2_hostInvalid(self) -> None:
        """With a Host that is none as well."""
        self.assertBad(
            "a wrong port",
            "a host with a path",
            "a host with a user",
            "two hosts",
            "only a port",
            "two ports",
            "an open bracket",
        )
        self.assertGranted(request(Host="Host:"))

    def test_3_2_1_originForm(self) -> None:
        """A path, absolute, and a query."""
        self.assertGranted(request(line="GET /where?q=now HTTP/1.1"))
        self.assertBad("a relative target")

    def test_3_2_2_absoluteForm(self) -> None:
        """A server takes it too, and Host counts for nothing then."""
        self.assertGranted(request(line="GET http://other.example/path HTTP/1.1"))
        self.assertBad(
            "another scheme",
            "a URL without a host",
            "a URL with a user",
            "a URL with a wrong port",
        )

    def test_3_2_3_authorityForm(self) -> None:
        """It is for CONNECT only."""
        self.assertBad("an authority")

    def test_3_2_4_asteriskForm(self) -> None:
        """It is for OPTIONS only, or HTTP/2's preface."""
        self.assertBad("an asterisk")
        self.assertRefused(405, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    # 5 Field syntax

    def test_5_name(self) -> None:
        """A header line has a name, which is a token, and a colon."""
        self.assertBad(
            "no name",
            "no colon",
            "a name that is no token",
            "a name with a space",
            "a name that is not ASCII",
        )

    def test_5_1_whiteSpaceBeforeTheColon(self) -> None:
        """It is refused with 400: others would take it for another header, or for none."""
        self.assertBad("white space before the colon", "a tab before the colon")

    def test_5_1_whiteSpaceAroundTheValue(self) -> None:
        """It is not part of the value, and need not be there."""
        key = KEY.decode()
        for line in (f"Sec-WebSocket-Key:{key}", f"Sec-WebSocket-Key: \t {key} \t "):
            self.assertGranted(request(Key=line))

    def test_5_2_folding(self) -> None:
        """A line that goes on in the next one is refused with 400."""
        self.assertBad("a folded line", "a line folded with a tab", "a folded key")

    def test_9110_5_1_anyCase(self) -> None:
        """The case of names does not matter."""
        for change in str.upper, str.lower:
            lines = (
                change(line.partition(":")[0]) + ":" + line.partition(":")[2] for line in LINES
            )
            self.assertGranted(head("GET / HTTP/1.1", *lines))

    def test_9110_5_4_manyFields(self) -> None:
        """There is a limit to lines, and to their size: then it is 431 (RFC 6585 section 5)."""
        self.assertRefused(431, request(*["X: y"] * 101))
        self.assertRefused(431, request("X: " + "y" * 20_000))

    def test_9110_5_5_controlCharacters(self) -> None:
        """No value has CR, LF or NUL; other control characters but HTAB are refused, too."""
        self.assertBad("NUL", "a vertical tab", "a form feed", "a file separator", "ESC", "DEL")
        self.assertGranted(request("X: a\tb"))

    # 6 Message body, 11 security

    def test_6_1_transferEncoding(self) -> None:
        """A request with a coding has content, here never: its chunks would be taken for frames."""
        self.assertBad("chunks", "any coding")
        both = request("Transfer-Encoding: chunked", "Content-Length: 0")
        self.assertRefused(400, both, "content")

    def test_6_3_contentLength(self) -> None:
        """A length that is none, or that is said twice, is refused with 400; 0 is no content."""
        self.assertBad(
            "a length",
            "a length of zero in two ways",
            "a length with a sign",
            "an empty length",
            "two lengths",
        )
        self.assertGranted(request("Content-Length: 0"))

    def test_11_2_smuggling(self) -> None:
        """What follows a good head is no second request, but a frame, and as such broken."""
        line, _headers, rest = self.ask(request() + request())
        self.assertEqual(line.split(" ")[1], "101")
        split = splitFrame(rest)
        assert split is not None
        opcode, _fin, body, behind = split
        self.assertEqual((opcode, body[:2], behind), (8, b"\x03\xea", b""))

    # 9 Connection management

    def test_9_6_lingering(self) -> None:
        """The server ends its own sending, and reads on, so that its response is not destroyed."""
        self.ask(b"no HTTP\r\n\r\n")
        self.assertTrue(self.visitor.isTold)
        self.assertFalse(self.visitor.pipe.disconnecting, "a reset may destroy the response")
        self.assertEqual(self.visitor.pipe.producerState, "producing")
        self.goneAfterAborting(self.visitor.pipe)

    def test_9110_15_5_9_neverWhole(self) -> None:
        """A head has to come in time; who is too slow is closed without a word."""
        visitor = self.visit()
        visitor.send(request()[:-1])
        self.clock.advance(TIMING.webSocketHandshake)
        self.assertEqual(visitor.take(), b"")
        self.assertEqual(self.ends(Outcome.WEBSOCKET_HANDSHAKE_TIMEOUT), 1)

    # RFC 9110

    def test_9110_6_6_1_date(self) -> None:
        """A server with a clock says in each answer to a wrong request when that was."""
        self.date = 784_111_777.0  # the example of section 5.6.7
        headers = self.assertRefused(400, *BAD_REQUESTS["no Host"])
        self.assertEqual(headers["date"], "Sun, 06 Nov 1994 08:49:37 GMT")

    def test_9110_8_6_head(self) -> None:
        """The answer to HEAD has no content, and no length that one for GET would not have."""
        headers = self.assertRefused(405, request(line="HEAD / HTTP/1.1"))
        self.assertNotIn("content-length", headers)

    def test_9110_7_8_listOfProtocols(self) -> None:
        """Upgrade is a list in which case does not matter; another protocol is passed over."""
        for upgrade in ("WebSocket", "h2c, WEBSOCKET", ",websocket,"):
            self.assertGranted(request(Upgrade=f"Upgrade: {upgrade}"))
        self.assertGranted(request("Upgrade: websocket", Upgrade="Upgrade: h2c"))
        self.assertUpgradeRequired(
            "no Upgrade", "another protocol", "a protocol of almost that name"
        )

    def test_9110_7_8_connectionOption(self) -> None:
        """Upgrade counts only with that option in Connection, a list as well."""
        for connection in ("keep-alive, Upgrade", "UPGRADE", "close,upgrade"):
            self.assertGranted(request(Connection=f"Connection: {connection}"))
        self.assertUpgradeRequired("no Connection", "another option", "a browser")

    def test_9110_7_8_oldVersion(self) -> None:
        """In HTTP/1.0 Upgrade means nothing."""
        self.assertUpgradeRequired("HTTP/1.0")

    def test_9110_10_1_1_expect(self) -> None:
        """Who waits for 100 without content gets none: there is nothing to go on with."""
        self.assertGranted(request("Expect: 100-continue"))

    # RFC 6455 section 4

    def test_6455_4_2_1_clients(self) -> None:
        """What clients of the field send is all right."""
        for lines in CLIENTS.values():
            self.assertGranted(head(*lines))

    def test_6455_4_2_1_key(self) -> None:
        """It is 16 bytes in base64, once."""
        self.assertBad(
            "no key",
            "a short key",
            "a long key",
            "a key of 17 bytes",
            "another alphabet",
            "two keys",
        )

    def test_6455_4_2_1_origin(self) -> None:
        """It decides nothing: tokens say who may in."""
        for origin in ("https://elsewhere.example", "null", "no origin at all"):
            self.assertGranted(request(f"Origin: {origin}"))

    def test_6455_4_2_2_accepted(self) -> None:
        """The response proves that it is one to this request, and has nothing to choose from."""
        accept = base64.b64encode(hashlib.sha1(KEY + GUID).digest())
        headers = self.assertGranted(request("Sec-WebSocket-Protocol: chat, superchat"))
        self.assertEqual(headers["upgrade"].lower(), "websocket")
        self.assertEqual(headers["connection"].lower(), "upgrade")
        self.assertEqual(headers["sec-websocket-accept"], accept.decode())
        self.assertNotIn("sec-websocket-protocol", headers)
        self.assertNotIn("content-length", headers)
        self.assertNotIn("transfer-encoding", headers)

    def test_6455_4_2_2_subprotocol(self) -> None:
        """None is chosen but one that was offered, by the client's preference."""
        self.proxy.setPolicy(replace(self.proxy.policy, subprotocols=(b"nymea", b"chat")))
        for offer, chosen in (("x, chat, nymea", "chat"), ("Chat", None), ("", None)):
            headers = self.assertGranted(request(f"Sec-WebSocket-Protocol: {offer}"))
            self.assertEqual(headers.get("sec-websocket-protocol"), chosen)

    def test_6455_4_4_version(self) -> None:
        """Another version is answered with 426, and with those that there are."""
        self.assertUpgradeRequired(
            "no version",
            "version 7",
            "version 130",
            "two versions in one",
            "a version that only int() reads",
        )
        self.assertBad("two versions")
        self.assertGranted(request(Version="Sec-WebSocket-Version: 8"))


LINES = [line for line in CLIENTS["Qt 5.8"][1:] if isinstance(line, str)]
"""The header lines of a plain request."""


class SecureUpgradeTests(UpgradeTests):
    """The same with TLS."""

    isSecure = True
