"""Owns the checks of HTTP at the front door: what reaches a home, and where all else is sent."""

from __future__ import annotations

import re
from http import HTTPStatus
from string import ascii_letters, digits
from urllib.parse import unquote_to_bytes, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.fronthttp import Challenge, readChallenge
from nymearemoteproxy.protocol.httphead import MAX_FIELDS, MAX_HEAD, HeadReader, Refusal
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.protocol.test_httphead import BAD_HEADS, head

PROPERTY = settings(max_examples=100, deadline=None, database=None)

PATH = "/.well-known/acme-challenge/"

TOKEN = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
"""The example of RFC 8555 section 8.3."""

LETSENCRYPT = (
    f"GET {PATH}{TOKEN} HTTP/1.1",
    "Host: house7.example.com",
    "User-Agent: Mozilla/5.0 (compatible; Let's Encrypt validation server)",
    "Accept: */*",
    "Accept-Encoding: gzip",
    "Connection: close",
)

ASKED = (
    f"GET {PATH}{TOKEN} HTTP/1.1\r\nHost: house7.example.com\r\nConnection: close\r\n\r\n".encode()
)
"""What a home gets to see of it."""

TARGET_CHARACTERS = "".join(
    chr(each) for each in range(0x21, 0x100) if each != 0x7F and chr(each) not in '"#<>'
)
"""In Latin-1."""


def request(
    target: str, *more: str | bytes, method: str = "GET", host: str = "h", minor: int = 1
) -> bytes:
    """Return a request."""
    return head(f"{method} {target} HTTP/1.{minor}", f"Host: {host}", *more)


PIECES = (
    *(b"\r\n", b"\r\n ", b"\n", b"\r", b" ", b"\t", b":", b"\x85", b"\0", b"\r\n\r\n", b"..", b"/"),
)
"""Such as make something else of a request."""


class FrontCase(SynchronousTestCase):
    """Helpers."""

    def read(self, data: bytes) -> Challenge | Refusal:
        """Return what a request is, or what answers it."""
        try:
            read = HeadReader().receive(data)
            assert read is not None, data
            return readChallenge(read[0])
        except Refusal as refusal:
            return refusal

    def challenge(self, data: bytes) -> Challenge:
        """Return the challenge that it is."""
        read = self.read(data)
        assert isinstance(read, Challenge), (data, read)
        return read

    def refused(self, data: bytes) -> Refusal:
        """Return what answers it."""
        read = self.read(data)
        assert isinstance(read, Refusal), (data, read)
        return read

    def assertRefused(self, status: HTTPStatus, data: bytes, words: str = "") -> Refusal:
        """It is answered with this error, and with nowhere to go."""
        refusal = self.refused(data)
        self.assertTrue(refusal.answer.startswith(b"HTTP/1.1 %d " % status), refusal.answer)
        self.assertNotIn(b"Location", refusal.answer)
        self.assertIn(words, str(refusal))
        return refusal

    def location(self, data: bytes) -> str:
        """Return where a request is sent to."""
        refusal = self.refused(data)
        line, *lines = refusal.answer.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")
        self.assertEqual(line, "HTTP/1.1 301 Moved Permanently", data)
        self.assertIs(refusal.outcome, Outcome.REDIRECTED)
        self.assertIn("Connection: close", lines)
        (location,) = (line for line in lines if line.startswith("Location: "))
        return location.removeprefix("Location: ")


class ChallengeTests(FrontCase):
    """What reaches a home."""

    def test_writtenAnew(self) -> None:
        challenge = self.challenge(head(*LETSENCRYPT))
        self.assertEqual(challenge, (b"GET", "house7.example.com", ASKED))

    def test_head(self) -> None:
        challenge = self.challenge(request(PATH + "x", method="HEAD"))
        self.assertEqual(
            challenge.request,
            ASKED.replace(b"GET", b"HEAD")
            .replace(TOKEN.encode(), b"x")
            .replace(b"house7.example.com", b"h"),
        )

    def test_versions(self) -> None:
        """Who speaks HTTP/1.0 may not understand chunks, and gets none (RFC 9112 section 7)."""
        for minor, asked in ((0, b"HTTP/1.0"), (1, b"HTTP/1.1"), (9, b"HTTP/1.1")):
            challenge = self.challenge(request(PATH + "x", minor=minor))
            self.assertEqual(challenge.request.split()[2], asked)

    def test_hosts(self) -> None:
        """As it was written, but for its port."""
        for written, host in {
            "house7.example.com": "house7.example.com",
            "HOUSE7.Example.COM.": "HOUSE7.Example.COM.",
            "house7.example.com:80": "house7.example.com",
            "house7.example.com:": "house7.example.com",
            "xn--kche-0ra.example.:8080": "xn--kche-0ra.example.",
            "a_b": "a_b",
            "127.0.0.1:5002": "127.0.0.1",
            "[::1]:80": "[::1]",
        }.items():
            challenge = self.challenge(request(PATH + "x", host=written))
            self.assertEqual(challenge.host, host)
            self.assertIn(f"\r\nHost: {host}\r\n".encode(), challenge.request)

    def test_wholeUrls(self) -> None:
        """RFC 9112 section 3.2.2: then the host of the target counts, and not the header."""
        for url in (f"http://Real.example:80{PATH}x", f"HTTPS://Real.example{PATH}x"):
            challenge = self.challenge(request(url, host="other.example"))
            self.assertEqual(challenge.host, "Real.example")
            self.assertTrue(challenge.request.startswith(f"GET {PATH}x HTTP/1.1\r\n".encode()))
            self.assertNotIn(b"other", challenge.request)

    def test_nothingElse(self) -> None:
        """Nothing of what the visitor says besides reaches the home."""
        lines = (
            *("Connection: keep-alive, Host", "Upgrade: h2c", "Expect: 100-continue", "TE: x"),
            *("X-Forwarded-For: 127.0.0.1", "Forwarded: for=1", "Cookie: a=b", "Range: bytes=0-1"),
            *("Content-Length: 0", "Authorization: Basic bWU6c2VjcmV0", "X-HTTP-Method: PUT"),
        )
        self.assertEqual(self.challenge(head(*LETSENCRYPT, *lines)).request, ASKED)

    def test_content(self) -> None:
        """RFC 9112 section 6.3: nobody may take what follows for something else than we do."""
        for lines in (
            *(["Content-Length: 1"], ["Content-Length: 00"], ["Content-Length: -0"]),
            *(["Content-Length: 0", "Content-Length: 0"], ["Content-Length: 0, 0"]),
            *(["Transfer-Encoding: chunked"], ["transfer-encoding:"]),
            ["Content-Length: 0", "Transfer-Encoding: identity"],
        ):
            refusal = self.assertRefused(HTTPStatus.BAD_REQUEST, request(PATH + "x", *lines))
            self.assertIsNone(refusal.outcome)
            self.location(request("/x", *lines))  # there nothing is read anyway

    def test_everyByte(self) -> None:
        """RFC 8555 section 8.1: a token is of base64url's alphabet."""
        allowed = {ord(each) for each in ascii_letters + digits + "-_"}
        for octet in range(256):
            target = PATH.encode() + b"a" + bytes([octet]) + b"b"
            data = b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % target
            self.assertEqual(isinstance(self.read(data), Challenge), octet in allowed, octet)

    def test_unanswered(self) -> None:
        """Homes that are not there, and such as cannot be reached, for programs and people."""
        for method, ends in (("GET", b".\n"), ("HEAD", b"\r\n\r\n")):
            challenge = self.challenge(request(PATH + "x", method=method))
            for refusal, status in (
                (challenge.unknown(), b"HTTP/1.1 404 Not Found\r\n"),
                (challenge.unreachable(), b"HTTP/1.1 503 Service Unavailable\r\n"),
            ):
                self.assertTrue(refusal.answer.startswith(status))
                self.assertTrue(refusal.answer.endswith(ends), "HEAD is answered without content")


class RedirectTests(FrontCase):
    """All else is told that there is https."""

    def test_targets(self) -> None:
        for target in (
            *(
                "/",
                "//",
                "//other.example/",
                "/a/b;c=d?e=f&g/?",
                "/%00%2f",
                "/?",
                "/:@!$&'()*+,;=~",
            ),
            *("/{a}\\|^`[]", "/@other.example", "/\\other.example", "/?http://other.example/"),
            # What looks like a challenge, and a home could take for something else
            *(
                PATH,
                PATH[:-1],
                f"{PATH}x/",
                f"{PATH}x/../../../y",
                f"{PATH}../x",
                f"{PATH}.",
                PATH + ".",
            ),
            *(
                f"{PATH}x?y",
                f"{PATH}?",
                f"{PATH}x;y",
                f"{PATH}%41",
                f"{PATH}x%2f..%2fy",
                f"{PATH}%",
            ),
            *(
                f"/{PATH}x",
                f"{PATH}/x",
                f"/.{PATH}x",
                f"/a/..{PATH}x",
                f"{PATH}x\\..\\y",
                f"{PATH}*",
            ),
            *(
                f"{PATH.upper()}x",
                "/.well-known//acme-challenge/x",
                "/%2ewell-known/acme-challenge/x",
            ),
            *("/.well-known/acme-challenge%2Fx", "/.well-known/acme-challenges/x", "/xwell-known/"),
            *("/xwell-known/acme-challenge/x", "/.well-known/x"),
        ):
            self.assertEqual(self.location(request(target)), f"https://h{target}")

    def test_notAscii(self) -> None:
        """A header is ASCII, so what a target should not have is written as it should."""
        self.assertEqual(
            self.location("GET /küche?\x80\xff HTTP/1.1\r\nHost: h\r\n\r\n".encode("latin-1")),
            "https://h/k%FCche?%80%FF",
        )

    def test_hosts(self) -> None:
        """It is the same host, and the port for https."""
        for written, host in (
            *(("House7.example.com:80", "House7.example.com"), ("h.:1", "h."), ("h:", "h")),
            *(
                ("[2001:DB8::1]", "[2001:DB8::1]"),
                ("[::1]:81", "[::1]"),
                ("192.0.2.1", "192.0.2.1"),
            ),
        ):
            self.assertEqual(self.location(request("/x", host=written)), f"https://{host}/x")

    def test_wholeUrls(self) -> None:
        for target, location in {
            "http://a.example:80/x": "https://a.example/x",
            "HTTP://a.example": "https://a.example/",
            "https://a.example?x=/y": "https://a.example/?x=/y",
            "http://[::1]:8/?": "https://[::1]/?",
            "ws://a.example//b.example": "https://a.example//b.example",
        }.items():
            self.assertEqual(self.location(request(target, host="b")), location)

    def test_methods(self) -> None:
        """Whatever is to be done; also to a challenge, which one only asks for."""
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "X!"):
            self.assertEqual(self.location(request("/x", method=method)), "https://h/x")
            if method not in ("GET", "HEAD"):
                location = self.location(request(PATH + "x", method=method))
                self.assertEqual(location, f"https://h{PATH}x")

    def test_content(self) -> None:
        """RFC 9110 section 9.3.2: HEAD is answered without; all others can be shown something."""
        for method in ("GET", "HEAD", "POST"):
            start, _, content = self.refused(request("/", method=method)).answer.partition(
                b"\r\n\r\n"
            )
            self.assertEqual(content == b"", method == "HEAD")
            length = re.search(rb"Content-Length: (\d+)", start)
            self.assertEqual(0 if length is None else int(length[1]), len(content))

    def test_oldVersion(self) -> None:
        self.assertEqual(self.location(request("/x", minor=0)), "https://h/x")


class RefusedTests(FrontCase):
    """What is no request, or one of which nobody can say for whom it is."""

    def test_heads(self) -> None:
        """There is one grammar for all requests; these are such as open no WebSocket either."""
        for what, (data, words) in BAD_HEADS.items():
            self.assertIsNone(self.assertRefused(HTTPStatus.BAD_REQUEST, data, words).outcome, what)

    def test_hosts(self) -> None:
        """What is a host only for those who decide nothing by it."""
        for host in (
            *("", "::1", "::1:80", "a,b", "a%20b", "a@b", "user@a", "a/b", "a?b", "a!b", "a'b"),
            *("[::1%25eth0]", "[v1.a:b]", "[fe80::1%eth0]", ":80", "a:b", "a:80:80", "~", "[]"),
            *("küche.example", "a b", "a;b", "$a", "(a)", "a=b"),
        ):
            for target in ("/", PATH + "x"):
                refusal = self.assertRefused(HTTPStatus.BAD_REQUEST, request(target, host=host))
                self.assertIn("host", str(refusal).lower())
        for url in ("http://a@b/", "http://a,b/", "http://?/", "http:///x", "http://a:x/", "http:"):
            self.assertRefused(HTTPStatus.BAD_REQUEST, request(url))

    def test_everyByteOfHosts(self) -> None:
        allowed = {ord(each) for each in ascii_letters + digits + "-_."}
        for octet in set(range(256)) - {ord(":")}:
            data = b"GET / HTTP/1.1\r\nHost: a%cb\r\n\r\n" % octet
            isRedirected = self.refused(data).outcome is Outcome.REDIRECTED
            self.assertEqual(isRedirected, octet in allowed, octet)

    def test_noHost(self) -> None:
        """With HTTP/1.0 it may be missing, but then nobody knows which home is meant."""
        for minor in (0, 1):
            self.assertRefused(
                HTTPStatus.BAD_REQUEST, head(f"GET / HTTP/1.{minor}"), "There is no Host header"
            )

    def test_versions(self) -> None:
        for line in ("GET / HTTP/2.0", "PRI * HTTP/2.0", "GET / HTTP/0.9"):
            data = head(line, "Host: h")
            self.assertRefused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, data)

    def test_otherTargets(self) -> None:
        for line in ("OPTIONS * HTTP/1.1", "CONNECT a:443 HTTP/1.1", "GET x HTTP/1.1"):
            self.assertRefused(HTTPStatus.BAD_REQUEST, head(line, "Host: h"), "target")

    def test_tooLarge(self) -> None:
        for status, data in (
            (HTTPStatus.REQUEST_URI_TOO_LONG, b"GET /" + b"x" * MAX_HEAD),
            (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, request("/", "X: " + "x" * MAX_HEAD)),
            (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, request("/", *["X: y"] * MAX_FIELDS)),
        ):
            refusal = self.assertRefused(status, data)
            self.assertIs(refusal.outcome, Outcome.MESSAGE_TOO_LARGE)


class PropertyTests(FrontCase):
    """For whatever comes."""

    hosts = st.from_regex(r"[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\]", fullmatch=True)
    ports = st.sampled_from(["", ":", ":80", ":65536"])
    targets = st.text(TARGET_CHARACTERS, max_size=30)

    @PROPERTY
    @given(hosts, ports, targets)
    def test_sameElsewhere(self, host: str, port: str, rest: str) -> None:
        """Where a visitor is sent is the same host, without a user, and the same target."""
        data = f"GET /{rest} HTTP/1.1\r\nHost: {host}{port}\r\n\r\n".encode("latin-1")
        location = self.location(data)
        self.assertTrue(location.isascii() and location.isprintable() and " " not in location)
        scheme, _, after = location.partition("://")
        netloc, slash, target = after.partition("/")
        self.assertEqual((scheme, netloc, slash), ("https", host, "/"))
        self.assertEqual(unquote_to_bytes(target), unquote_to_bytes(rest.encode("latin-1")))
        if not host.startswith("["):
            parts = urlsplit(location)
            self.assertEqual((parts.hostname, parts.username), (host.lower(), None))

    @PROPERTY
    @given(hosts, ports, st.from_regex("[0-9A-Za-z_-]+", fullmatch=True), st.booleans())
    def test_sameAgain(self, host: str, port: str, token: str, isWhole: bool) -> None:
        """Every token reaches its home, by a request that is taken for itself again."""
        target = f"{PATH}{token}"
        if isWhole:
            target, host, port = f"http://{host}{port}{target}", "other.example", ""
        challenge = self.challenge(request(target, host=f"{host}{port}"))
        self.assertEqual(self.challenge(challenge.request), challenge)
        self.assertIn(f" {PATH}{token} ".encode(), challenge.request)

    @PROPERTY
    @given(st.data())
    def test_whateverIsChanged(self, data: st.DataObject) -> None:
        """A request with a few other bytes is the same to the home, or does not reach it so."""
        changed = bytearray(head(*LETSENCRYPT))
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(changed)))
            piece = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from(PIECES)))
            changed[place : place + data.draw(st.integers(0, 3))] = piece
        try:
            read = HeadReader().receive(bytes(changed))
            if read is None:
                return
            challenge = readChallenge(read[0])
        except Refusal as refusal:
            self.assertTrue(refusal.answer.isascii())
            self.assertEqual(refusal.answer.count(b"HTTP/1.1 "), 1)
            return
        self.assertRegex(
            challenge.request,
            rb"\A(GET|HEAD) /\.well-known/acme-challenge/[0-9A-Za-z_-]+ HTTP/1\.[01]\r\n"
            rb"Host: ([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])\r\nConnection: close\r\n\r\n\Z",
        )
