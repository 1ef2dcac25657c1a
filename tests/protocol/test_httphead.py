"""Owns the checks of HTTP request heads: real ones, what RFC 9112 forbids, and the answers.

Most of them are seen through a request for a WebSocket, which is looked at in every way.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from autobahn.websocket.protocol import parseHttpHeader
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.httphead import MAX_FIELDS, MAX_HEAD, HeadReader, Refusal
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.upgraderequest import canonical

PROPERTY = settings(max_examples=300, deadline=None, database=None)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

CANONICAL = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)


def head(*lines: str | bytes) -> bytes:
    """Return the bytes of these lines."""
    encoded = [line.encode() if isinstance(line, str) else line for line in lines]
    return b"".join(line + b"\r\n" for line in (*encoded, b""))


NEEDED = {
    "Host": "Host: proxy.example:2212",
    "Upgrade": "Upgrade: websocket",
    "Connection": "Connection: Upgrade",
    "Key": f"Sec-WebSocket-Key: {KEY.decode()}",
    "Version": "Sec-WebSocket-Version: 13",
}


def request(*more: str | bytes, line: str = "GET / HTTP/1.1", **instead: str | bytes) -> bytes:
    """Return a good request, with more lines, and others instead of those named ("" = none)."""
    lines = [instead.get(name, needed) for name, needed in NEEDED.items()]
    return head(line, *(line for line in lines if line), *more)


CLIENTS = {
    "Qt 5.8": (
        "GET / HTTP/1.1",
        "Host: remoteproxy.nymea.io:443",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Version: 13",
    ),
    "Qt 5.8 at an IPv6 address": (
        "GET / HTTP/1.1",
        "Host: 2001:db8::1:2212",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Origin: nymea",
        "Sec-WebSocket-Version: 13",
    ),
    "Qt 5.8 at a link-local address": (
        "GET / HTTP/1.1",
        "Host: fe80::1%eth0:2212",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Version: 13",
    ),
    "Qt 5.8 at international names": (
        b"GET /k\xfcche HTTP/1.1",
        b"Host: k\xfcche.???.example:2212",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Version: 13",
    ),
    "Qt 6 with headers of the program's": (
        "GET /path?query=1 HTTP/1.1",
        "Host: [::1]:2212",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: one, two",
        "User-Agent: nymea-app",
        "Authorization: Basic bWU6c2VjcmV0",
    ),
    "Autobahn": (
        "GET / HTTP/1.1",
        "User-Agent: AutobahnPython/22.7.1",
        "Host: localhost:2212",
        "Upgrade: WebSocket",
        "Connection: Upgrade",
        "Pragma: no-cache",
        "Cache-Control: no-cache",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Version: 13",
    ),
    "Chrome": (
        "GET /?a[b]=c|d^e`%zz HTTP/1.1",
        "Host: localhost:2212",
        "Connection: Upgrade",
        "Pragma: no-cache",
        "Cache-Control: no-cache",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/120.0.0.0 Safari/537.36",
        "Upgrade: websocket",
        "Origin: file://",
        "Sec-WebSocket-Version: 13",
        "Accept-Encoding: gzip, deflate, br",
        "Accept-Language: en-GB,en;q=0.9",
        "Cookie: a=b; c=d",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ),
    "Firefox": (
        "GET / HTTP/1.1",
        "Host: localhost:2212",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
        "Accept: */*",
        "Accept-Language: en-US,en;q=0.5",
        "Accept-Encoding: gzip, deflate, br",
        "Sec-WebSocket-Version: 13",
        "Origin: null",
        "Sec-WebSocket-Extensions: permessage-deflate",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Connection: keep-alive, Upgrade",
        "Sec-Fetch-Dest: empty",
        "Sec-Fetch-Mode: websocket",
        "Sec-Fetch-Site: cross-site",
        "Pragma: no-cache",
        "Cache-Control: no-cache",
        "Upgrade: websocket",
    ),
    "Python's websockets": (
        "GET / HTTP/1.1",
        "Host: localhost:2212",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "User-Agent: Python/3.11 websockets/10.4",
    ),
    "curl": (
        "GET / HTTP/1.1",
        "Host: localhost:2212",
        "User-Agent: curl/7.88.1",
        "Accept: */*",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY.decode()}",
    ),
    "nginx": (
        "GET /proxy HTTP/1.1",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Host: home_server",
        "X-Real-IP: 203.0.113.9",
        "X-Forwarded-For: 203.0.113.9, 198.51.100.7",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Version: 13",
        "X-SSL-Client-S-DN: CN=Zoë",
    ),
    "haproxy": (
        "GET / HTTP/1.1",
        "host: proxy.example",
        f"sec-websocket-key: {KEY.decode()}",
        "sec-websocket-version: 13",
        "content-length: 0",
        "x-forwarded-for: 203.0.113.9",
        "connection: upgrade",
        "upgrade: websocket",
    ),
    "a proxy that uses whole URLs": (
        "GET http://proxy.example:2212/path?a=b HTTP/1.1",
        "Host: proxy.example:2212",
        "Upgrade: h2c, websocket",
        "Connection: close",
        "Connection: upgrade",
        f"Sec-WebSocket-Key:\t{KEY.decode()} \t",
        "Sec-WebSocket-Version:13",
    ),
}
"""Heads as programs of the field write them."""

# Each with the words that its answer has, which say that it is this check that refuses it.
BAD_HEADS = {
    # RFC 9112 section 2.2: lines, and what may be in them
    "a bare LF at the end of the request line": (
        request().replace(b"1.1\r\n", b"1.1\n"),
        "CR LF",
    ),
    "a bare LF at the end of a header": (request().replace(b"Upgrade\r\n", b"Upgrade\n"), "CR LF"),
    "only bare LFs": (request().replace(b"\r\n", b"\n"), "CR LF"),
    "a bare LF as the empty line": (request()[:-2] + b"\n", "CR LF"),
    "a bare CR in a value": (request("X: a\rUpgrade: b"), "CR LF"),
    "two CRs": (request().replace(b"1.1\r\n", b"1.1\r\r\n"), "CR LF"),
    "two CRs before the empty line": (request()[:-4] + b"\r\r\n\r\n", "CR LF"),
    "a CR of its own before the empty line": (request("X: y")[:-4] + b"\r \r\n\r\n", "CR LF"),
    "NUL": (request("X: \0"), "character"),
    "a vertical tab": (request("X: a\vOrigin: b"), "character"),
    "a form feed": (request("X: a\fOrigin: b"), "character"),
    "a file separator": (request("X: a\x1cOrigin: b"), "character"),
    "ESC": (request("X: \x1b[0m"), "character"),
    "DEL": (request("X: \x7f"), "character"),
    "a TLS client hello": (bytes.fromhex("1603010200010001fc0303"), "character"),
    "two empty lines in front": (b"\r\n\r\n" + request(), "first line"),
    "white space in front": (b" " + request(), "first line"),
    "white space in front of the first header": (request(Host=" Host: x"), "header line"),
    # section 3: the request line
    "two spaces": (request(line="GET  / HTTP/1.1"), "first line"),
    "a space at its end": (request(line="GET / HTTP/1.1 "), "first line"),
    "tabs": (request(line="GET\t/\tHTTP/1.1"), "first line"),
    "a space in the target": (request(line="GET /a b HTTP/1.1"), "first line"),
    "no target": (request(line="GET HTTP/1.1"), "first line"),
    "HTTP/0.9": (request(line="GET /"), "first line"),
    "a small version": (request(line="GET / http/1.1"), "first line"),
    "a long version": (request(line="GET / HTTP/1.10"), "first line"),
    "another protocol": (request(line="GET / ICY/1.1"), "first line"),
    "a method that is no token": (request(line="G(T / HTTP/1.1"), "first line"),
    "two empty lines": (b"\r\n\r\n" + b"x" * MAX_HEAD, "first line"),
    "no HTTP": (b"garbage\r\n\r\n", "first line"),
    "a PROXY header": (
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + request(),
        "first line",
    ),
    # section 3.2: the target
    "an asterisk": (request(line="GET * HTTP/1.1"), "target"),
    "an authority": (request(line="GET proxy.example:80 HTTP/1.1"), "target"),
    "a relative target": (request(line="GET path HTTP/1.1"), "target"),
    "a fragment": (request(line="GET /#top HTTP/1.1"), "target"),
    "a quote": (request(line='GET /" HTTP/1.1'), "target"),
    "angle brackets": (request(line="GET /<a> HTTP/1.1"), "target"),
    "another scheme": (request(line="GET file:///etc HTTP/1.1"), "target"),
    "a URL without a host": (request(line="GET http:///path HTTP/1.1"), "target"),
    "a URL with a user": (request(line="GET http://me@host/ HTTP/1.1"), "target"),
    "a URL with a wrong port": (request(line="GET http://host:x/ HTTP/1.1"), "target"),
    # section 3.2: Host
    "no Host": (request(Host=""), "no Host"),
    "Host twice": (request("Host: proxy.example:2212"), "more than one Host"),
    "Host twice, written differently": (request("hOST: other"), "more than one Host"),
    "a wrong port": (request(Host="Host: proxy.example:x"), "HOST"),
    "a host with a path": (request(Host="Host: proxy.example/"), "HOST"),
    "a host with a user": (request(Host="Host: me@proxy.example"), "HOST"),
    "two hosts": (request(Host="Host: one, two"), "HOST"),
    "only a port": (request(Host="Host: :80"), "HOST"),
    "two ports": (request(Host="Host: host:80:81"), "HOST"),
    "an open bracket": (request(Host="Host: [::1:80"), "HOST"),
    # sections 5.1 and 5.2: header lines
    "white space before the colon": (request("X : y"), "header line"),
    "a tab before the colon": (request("X\t: y"), "header line"),
    "a folded line": (request("X: y", " z"), "header line"),
    "a line folded with a tab": (request("X: y", "\tz"), "header line"),
    "a folded key": (request(Key=NEEDED["Key"].replace(" ", "\r\n ")), "header line"),
    "no name": (request(": y"), "header line"),
    "no colon": (request("Xy"), "header line"),
    "a name that is no token": (request("X(y): z"), "header line"),
    "a name with a space": (request("X y: z"), "header line"),
    "a name that is not ASCII": (request("Xü: y"), "header line"),
}
"""What no request may be."""

BAD_REQUESTS = {
    **BAD_HEADS,
    # sections 6 and 11.2: what could be taken for content
    "a length": (request("Content-Length: 5"), "content"),
    "a length of zero in two ways": (request("Content-Length: 0, 0"), "content"),
    "a length with a sign": (request("Content-Length: +0"), "content"),
    "an empty length": (request("Content-Length:"), "content"),
    "two lengths": (request("Content-Length: 0", "Content-Length: 0"), "Content-Length"),
    "chunks": (request("Transfer-Encoding: chunked"), "content"),
    "any coding": (request("transfer-encoding: identity"), "content"),
    # RFC 6455 section 4.2.1
    "no key": (request(Key=""), "Sec-WebSocket-Key"),
    "a short key": (request(Key="Sec-WebSocket-Key: AAAA"), "Sec-WebSocket-Key"),
    "a long key": (request(Key="Sec-WebSocket-Key: A" + KEY.decode()), "Sec-WebSocket-Key"),
    "a key of 17 bytes": (request(Key=f"Sec-WebSocket-Key: {'A' * 23}="), "Sec-WebSocket-Key"),
    "another alphabet": (request(Key=f"Sec-WebSocket-Key: {'_' * 22}=="), "Sec-WebSocket-Key"),
    "two keys": (request(NEEDED["Key"]), "more than one Sec-WebSocket-Key"),
    "two versions": (request(NEEDED["Version"]), "more than one Sec-WebSocket-Version"),
}

UPGRADE_REQUIRED = {
    "a browser": (head("GET / HTTP/1.1", "Host: x", "Accept: text/html"), "not for browsers"),
    "no Upgrade": (request(Upgrade=""), "Upgrade: websocket"),
    "another protocol": (request(Upgrade="Upgrade: h2c"), "Upgrade: websocket"),
    "a protocol of almost that name": (request(Upgrade="Upgrade: websocket/1"), "Upgrade: "),
    "another one": (request(Upgrade="Upgrade: xwebsocketX"), "Upgrade: "),
    "no Connection": (request(Connection=""), "Connection: Upgrade"),
    "another option": (request(Connection="Connection: close"), "Connection: Upgrade"),
    "HTTP/1.0": (request(line="GET / HTTP/1.0"), "HTTP/1.1"),
    "no version": (request(Version=""), "13"),
    "version 7": (request(Version="Sec-WebSocket-Version: 7"), "13"),
    "version 130": (request(Version="Sec-WebSocket-Version: 130"), "13"),
    "two versions in one": (request(Version="Sec-WebSocket-Version: 13, 8"), "13"),
    "a version that only int() reads": (request(Version="Sec-WebSocket-Version: 1_3"), "13"),
}


class UpgradeReader:
    """Reads a request for a WebSocket, and returns what Autobahn gets to see."""

    def __init__(self, subprotocols: Collection[bytes] = ()) -> None:
        self._reader = HeadReader()
        self._subprotocols = subprotocols

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take in what arrived; see `HeadReader.receive`."""
        read = self._reader.receive(data)
        return None if read is None else (canonical(read[0], self._subprotocols), read[1])


class HeadCase(SynchronousTestCase):
    """Helpers."""

    def refused(self, data: bytes, what: object = None) -> Refusal:
        """Return what answers these bytes."""
        try:
            read = UpgradeReader().receive(data)
        except Refusal as refusal:
            return refusal
        return self.fail(f"accepted: {what} {read!r}")

    def status(self, data: bytes) -> int:
        """Return the status of the answer."""
        return int(self.refused(data).answer.split()[1])

    def split(self, refusal: Refusal) -> tuple[bytes, dict[bytes, bytes], bytes]:
        """Take an answer apart: status line, headers, content."""
        start, _, body = refusal.answer.partition(b"\r\n\r\n")
        line, *lines = start.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        self.assertEqual(len(headers), len(lines))
        return line, headers, body


class AcceptedTests(HeadCase):
    """What becomes a WebSocket."""

    def test_clients(self) -> None:
        """What clients of the field send; all that comes out of it is the key."""
        for name, lines in CLIENTS.items():
            try:
                read = UpgradeReader().receive(head(*lines) + b"frames")
            except Refusal as refusal:
                self.fail(f"{name}: {refusal}")
            self.assertEqual(read, (CANONICAL, b"frames"), name)

    def test_hosts(self) -> None:
        for host in (
            *("a", "a:1", "a:", "A-b_c.example.", "127.0.0.1:2212", "[::1]", "[::1]:2212", "::1"),
            *("[fe80::1%25eth0]:1", "[v1.a:b]", "a%20b", "xn--kche-0ra.example", "", "::1:2212"),
        ):
            read = UpgradeReader().receive(request(Host=f"Host: {host}"))
            self.assertEqual(read, (CANONICAL, b""), host)

    def test_targets(self) -> None:
        for target in (
            *("/", "//", "/a/b;c=d?e=f&g/?", "/%00%2f", "/?", "/:@!$&'()*+,;=~", "/{a}\\|^`[]"),
            *("http://a", "HTTPS://a/", "ws://a:1/b", "wss://[::1]:2212?c", "http://a/b:c@d"),
        ):
            read = UpgradeReader().receive(request(line=f"GET {target} HTTP/1.1"))
            self.assertEqual(read, (CANONICAL, b""), target)

    def test_higherMinorVersion(self) -> None:
        """RFC 9110 section 2.5: it is to be read as the one that is known."""
        read = UpgradeReader().receive(request(line="GET / HTTP/1.2"))
        self.assertEqual(read, (CANONICAL, b""))

    def test_emptyLineInFront(self) -> None:
        self.assertEqual(UpgradeReader().receive(b"\r\n" + request()), (CANONICAL, b""))

    def test_version8(self) -> None:
        """It has a header of its own for the origin, which decides no more than the other."""
        origins = "Sec-WebSocket-Origin: null", "Origin: qrc://", "Sec-WebSocket-Origin: ://:"
        read = UpgradeReader().receive(request(*origins, Version="Sec-WebSocket-Version: 8"))
        self.assertEqual(read, (CANONICAL.replace(b"Version: 13", b"Version: 8"), b""))

    def test_subprotocols(self) -> None:
        """The first offered one that is accepted is in what is read next."""
        accepted = [b"chat", b"nymea"]
        for offers, found in (
            ([], b""),
            (["other"], b""),
            (["Chat"], b""),
            ([""], b""),
            (["chat"], b"chat"),
            (["other, nymea,chat"], b"nymea"),
            (["other", "chat ,nymea"], b"chat"),
        ):
            lines = [f"Sec-WebSocket-Protocol: {offer}" for offer in offers]
            expected = CANONICAL
            if found:
                expected = CANONICAL[:-2] + b"Sec-WebSocket-Protocol: %s\r\n\r\n" % found
            read = UpgradeReader(accepted).receive(request(*lines))
            self.assertEqual(read, (expected, b""), offers)

    def test_whatIsNotLookedAt(self) -> None:
        """Neither twice nor senseless do these matter."""
        for line in (
            "Origin: ://:",
            "Sec-WebSocket-Extensions: ;;;",
            "Sec-WebSocket-Protocol: a, a",
            b"X: \x80\x85\xff",
            "X:",
            "X: \t ",
            "X: \u2028Upgrade: h2c",
        ):
            self.assertEqual(UpgradeReader().receive(request(line, line)), (CANONICAL, b""), line)

    def test_everyCut(self) -> None:
        whole = request("Content-Length: 0") + b"\r\n\r\nrest\0\n"
        size = len(whole) - len(b"\r\n\r\nrest\0\n")
        for cut in range(size):
            reader = UpgradeReader()
            self.assertIsNone(reader.receive(whole[:cut]), cut)
            self.assertEqual(reader.receive(whole[cut:]), (CANONICAL, whole[size:]), cut)

    def test_byteByByte(self) -> None:
        reader = UpgradeReader()
        read = [reader.receive(bytes([octet])) for octet in request()]
        self.assertEqual(read[:-1], [None] * (len(read) - 1))
        self.assertEqual(read[-1], (CANONICAL, b""))

    def test_largest(self) -> None:
        """Exactly as much as is allowed."""
        room = MAX_HEAD - len(request("X: ")) + 4
        self.assertEqual(UpgradeReader().receive(request("X: " + "x" * room)), (CANONICAL, b""))
        lines = ["X: y"] * (MAX_FIELDS - len(NEEDED))
        self.assertEqual(UpgradeReader().receive(request(*lines)), (CANONICAL, b""))


class RefusedTests(HeadCase):
    """What does not."""

    def test_badRequests(self) -> None:
        for what, (data, words) in BAD_REQUESTS.items():
            line, headers, body = self.split(self.refused(data, what))
            self.assertEqual(line, b"HTTP/1.1 400 Bad Request", what)
            self.assertNotIn(b"Upgrade", headers)
            self.assertIn(words.encode(), body, what)

    def test_badRequestsByteByByte(self) -> None:
        """However they come, the answer is the same."""
        for what, (data, _words) in BAD_REQUESTS.items():
            reader = UpgradeReader()
            with self.assertRaises(Refusal) as caught:
                for octet in data:
                    reader.receive(bytes([octet]))
            self.assertEqual(caught.exception.answer, self.refused(data).answer, what)

    def test_atOnce(self) -> None:
        """Who ends lines in another way never sends the empty line that would be waited for."""
        for data in (b"GET / HTTP/1.1\n", b"\x16", b'{"id":0}\n', b"GET / HTTP/1.1\rX"):
            self.assertEqual(self.status(data), 400, data)
        self.assertIsNone(UpgradeReader().receive(b"GET / HTTP/1.1\r"))

    def test_upgradeRequired(self) -> None:
        """RFC 9110 section 15.5.22 and RFC 6455 section 4.2.2: it says what to."""
        for what, (data, words) in UPGRADE_REQUIRED.items():
            line, headers, body = self.split(self.refused(data, what))
            self.assertEqual(line, b"HTTP/1.1 426 Upgrade Required", what)
            self.assertEqual(headers[b"Upgrade"], b"websocket", what)
            self.assertEqual(headers[b"Sec-WebSocket-Version"], b"13, 8", what)
            self.assertIn(words.encode(), body, what)

    def test_otherMethods(self) -> None:
        """RFC 9110 section 15.5.6: it says which there is."""
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "X!"):
            line, headers, body = self.split(self.refused(request(line=f"{method} / HTTP/1.1")))
            self.assertEqual(line, b"HTTP/1.1 405 Method Not Allowed", method)
            self.assertEqual(headers[b"Allow"], b"GET", method)
            self.assertEqual(body == b"", method == "HEAD")
        self.assertEqual(self.status(request(line="CONNECT a:80 HTTP/1.1")), 405)
        self.assertEqual(self.status(request(line="OPTIONS * HTTP/1.0")), 405)

    def test_otherVersions(self) -> None:
        for version in ("0.9", "2.0", "3.0"):
            self.assertEqual(self.status(request(line=f"GET / HTTP/{version}")), 505)

    def test_tooLarge(self) -> None:
        """One byte or line more than is allowed; and as soon as there is too much."""
        room = MAX_HEAD - len(request("X: ")) + 5
        for data in (
            request("X: " + "x" * room),
            request(*["X: y"] * (MAX_FIELDS - len(NEEDED) + 1)),
            b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD,
        ):
            refusal = self.refused(data)
            self.assertTrue(refusal.answer.startswith(b"HTTP/1.1 431 "))
            self.assertIs(refusal.outcome, Outcome.MESSAGE_TOO_LARGE)
        refusal = self.refused(b"GET /" + b"x" * MAX_HEAD)
        self.assertTrue(refusal.answer.startswith(b"HTTP/1.1 414 "))
        self.assertIs(refusal.outcome, Outcome.MESSAGE_TOO_LARGE)

    def test_everyAnswer(self) -> None:
        """It is a whole HTTP response, in ASCII, and ends the connection."""
        tables = [*BAD_REQUESTS.values(), *UPGRADE_REQUIRED.values()]
        for data, _words in tables:
            refusal = self.refused(data)
            line, headers, body = self.split(refusal)
            self.assertRegex(line, rb"^HTTP/1\.1 \d{3} [A-Z][A-Za-z ]+$")
            self.assertEqual(headers[b"Connection"], b"close")
            self.assertEqual(headers[b"Content-Type"], b"text/plain")
            self.assertEqual(int(headers[b"Content-Length"]), len(body))
            self.assertTrue(refusal.answer.isascii())
            self.assertIsNone(refusal.outcome)


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A good request in which some bytes are replaced by others."""
    data = bytearray(request("Origin: null", "X: y"))
    pieces = st.one_of(
        st.binary(max_size=3),
        st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\x85", b"\x1c", b"\0"]),
    )
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 3))] = draw(pieces)
    return bytes(data)


class PropertyTests(HeadCase):
    """For whatever comes."""

    @PROPERTY
    @given(changed())
    def test_acceptedMeansOneThing(self, data: bytes) -> None:
        """What is handed on has one form, and Autobahn finds in it just what was checked."""
        try:
            read = UpgradeReader().receive(data)
        except Refusal as refusal:
            self.assertNotIn(b"\n\n", refusal.answer)
            return
        if read is not None:
            canonical, _rest = read
            self.assertRegex(
                canonical, b"^" + re.escape(CANONICAL).replace(re.escape(KEY), b".{22}==") + b"$"
            )
            line, headers, _counts = parseHttpHeader(canonical)
            self.assertEqual(line, "GET / HTTP/1.1")
            self.assertEqual(
                set(headers),
                {"host", "upgrade", "connection", "sec-websocket-version", "sec-websocket-key"},
            )

    @PROPERTY
    @given(changed(), st.lists(st.integers(1, 40)))
    def test_piecesDoNotMatter(self, data: bytes, sizes: list[int]) -> None:
        """The head is the same however it is cut; what is wrong in it is never accepted by that."""
        whole = self.outcome([data])
        pieces, place = [], 0
        for size in sizes:
            pieces.append(data[place : place + size])
            place += size
        self.assertEqual(self.outcome([*pieces, data[place:]]), whole)

    @PROPERTY
    @given(
        st.lists(
            st.sampled_from([b"\r", b"\n", b"\t", b"\0", b"\x0b", b"\x1f", b"\x7f", b"x", b"\xff"])
        )
    )
    def test_misplacedBytes(self, pieces: list[bytes]) -> None:
        """Looked at one by one: no control characters but HTAB, CR and LF only as line ends."""
        data = b"GET / HTTP/1.1\r\nX: " + b"".join(pieces) + b"x"
        bad = any(
            (byte < 0x20 and byte not in b"\t\r\n")
            or byte == 0x7F
            or (byte == 0x0A and data[place - 1] != 0x0D)
            or (byte == 0x0D and data[place + 1] != 0x0A)
            for place, byte in enumerate(data.partition(b"\r\n\r\n")[0])
        )
        outcome = self.outcome([data])
        said = b"There is a control character" in outcome if isinstance(outcome, bytes) else False
        self.assertEqual(said, bad)

    def outcome(self, pieces: list[bytes]) -> object:
        """Return the head that is accepted, and what is behind it; or the answer; or None."""
        reader = UpgradeReader()
        for number, piece in enumerate(pieces):
            try:
                read = reader.receive(piece)
            except Refusal as refusal:
                return refusal.answer
            if read is not None:
                return read[0], read[1] + b"".join(pieces[number + 1 :])
        return None
