"""The admin endpoint as a whole: its paths, its headers, and the real server process."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.configuring import configure
from nymearemoteproxy.running.settings.values import Settings
from nymearemoteproxy.watching.admin import routes
from nymearemoteproxy.watching.admin.delay import PERIOD
from nymearemoteproxy.watching.admin.routes import SECURITY_HEADERS, readPages
from nymearemoteproxy.watching.admin.web import Question
from nymearemoteproxy.watching.condition import Condition
from tests.support.admin import AdminInMemory, Port
from tests.support.adminhttp import basic
from tests.support.endtoend import (
    CONSOLE,
    PATIENCE,
    SIGHUP,
    SIGTERM,
    TLS,
    Certificate,
    EndToEnd,
    Server,
    SharedServer,
    inThread,
    join,
    secret,
    tunnel,
    until,
)

LOOPBACK = "tcp:0:interface=127.0.0.1"


class PathTests(SynchronousTestCase):
    """What is answered where."""

    def setUp(self) -> None:
        self.made = AdminInMemory()

    def test_pages(self) -> None:
        for path, contentType in (
            ("/", "text/html; charset=utf-8"),
            ("/app.js", "text/javascript; charset=utf-8"),
            ("/style.css", "text/css; charset=utf-8"),
            ("/icon.svg", "image/svg+xml"),
        ):
            answer = self.made.ask(path)
            self.assertEqual((answer.status, answer.contentType), (200, contentType))
            self.assertTrue(answer.body)

    def test_nothingElse(self) -> None:
        """No index.html, no way out of the directory, no list of it."""
        for path in (
            "/index.html",
            "/static",
            "/static/",
            "/api",
            "/api/",
            "/../server.py",
            "/..%2fserver.py",
            "//",
            "",
            "*",
            "/metrics/",
            "/__init__.py",
        ):
            self.assertEqual(self.made.ask(path).status, 404, path)

    def test_metrics(self) -> None:
        answer = self.made.ask("/metrics")
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.contentType.startswith("text/plain; version="))
        self.assertIn(b"nymea_remoteproxy_ready 1.0\n", answer.body)
        answer = self.made.ask("/metrics", accept="application/openmetrics-text")
        self.assertTrue(answer.contentType.startswith("application/openmetrics-text;"))

    def test_health(self) -> None:
        """One thing is whether it runs, another whether newcomers are welcome."""
        for condition, status in (
            (Condition.STARTING, 503),
            (Condition.READY, 200),
            (Condition.DRAINING, 503),
            (Condition.STOPPING, 503),
        ):
            self.made.server.condition = condition
            ready, healthy = self.made.ask("/readyz"), self.made.ask("/healthz")
            self.assertEqual((ready.status, ready.body), (status, condition.value.encode() + b"\n"))
            self.assertEqual((healthy.status, healthy.body), (200, b"ok\n"))

    def test_headers(self) -> None:
        """Every answer has all of them, whatever it is."""
        self.assertIn("default-src 'none'", SECURITY_HEADERS["Content-Security-Policy"])
        for directive in SECURITY_HEADERS["Content-Security-Policy"].split("; "):
            self.assertIn(directive.split(" ", 1)[1], ("'none'", "'self'", "'script'"))
        for answer in (
            self.made.ask("/"),
            self.made.ask("/metrics"),
            self.made.ask("/api/status"),
            self.made.ask("/nothing"),
            self.made.ask("/healthz", host="evil"),
            self.made.ask("/", "DELETE"),
            self.made.ask("/api/v1/drain", "POST"),
        ):
            for name, value in SECURITY_HEADERS.items():
                self.assertEqual(answer.headers[name], value)

    def test_methods(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", ""):
            answer = self.made.ask("/metrics", method)
            self.assertEqual((answer.status, answer.headers["Allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.made.ask("/metrics", "HEAD").status, 200)

    def test_rebinding(self) -> None:
        """A name that leads here is answered on no path but those of probes."""
        for path in ("/", "/metrics", "/api/status", "/api/v1/server", "/nothing"):
            self.assertNotEqual(self.made.ask(path, "POST", host="127.0.0.1").status, 421)
            answer = self.made.answer(_question(path, "POST", {"host": "x"}, host="evil.example"))
            self.assertEqual(answer.status, 421)
            self.assertIn(b"misdirected", answer.body)

    def test_filesAreRead(self) -> None:
        """From the package, wherever it is; nothing but what has a known type."""
        scripts = {"/words.js", "/charts.js", "/app.js", "/actions.js"}
        others = {"/", "/style.css", "/icon.svg", "/openapi.json"}
        self.assertEqual(set(readPages()), others | scripts)
        directory = Path(self.mktemp()) / "static"
        directory.mkdir(parents=True)
        for name in ("app.js", "app.js~", ".htaccess", "README"):
            (directory / name).write_text("x")
        self.patch(routes, "files", lambda _package: directory.parent)
        self.assertEqual(set(readPages()), {"/app.js"})

    def test_pageAsksNobodyElse(self) -> None:
        """Nothing in it names another host, but for the names of XML."""
        for path, answer in readPages().items():
            if path == "/openapi.json":  # for programs
                continue
            text = answer.body.decode().replace("http://www.w3.org/", "")
            self.assertNotRegex(text, r"\bhttps?:|\bwss?:|[\"'(]//", path)

    def test_pageHasNoInlineCode(self) -> None:
        """What the policy would refuse."""
        page = readPages()["/"].body.decode()
        self.assertNotIn("style=", page)
        self.assertNotIn("<style", page)
        self.assertNotRegex(page, r"\son\w+=")
        self.assertIn('<script src="app.js"></script>', page)

    def test_namesAreOnlyText(self) -> None:
        """The scripts have no way to make HTML of a string."""
        pages = readPages()
        script = "".join(pages[path].body.decode() for path in pages if path.endswith(".js"))
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "DOMParser",
            "Function(",
        ):
            self.assertNotIn(way, script)


def _question(path: str, method: str, headers: dict[str, str], host: str) -> Question:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Question(method, path, {}, {**named, "host": host})


class PasswordTests(SynchronousTestCase):
    """An endpoint with a password file."""

    def setUp(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("# who may\nanna:s3cret\n")
        self.path = path
        self.made = AdminInMemory("tcp:1", Admin_passwordFile=path)
        self.right = basic("anna", "s3cret")

    def test_everythingNeedsIt(self) -> None:
        for path in ("/", "/app.js", "/metrics", "/api/status", "/api/tunnels", "/nothing"):
            self.assertEqual(self.made.ask(path).status, 401, path)
            self.assertNotEqual(self.made.ask(path, authorization=self.right).status, 401)

    def test_probes(self) -> None:
        self.assertEqual(self.made.ask("/healthz").status, 200)
        self.assertEqual(self.made.ask("/readyz").status, 200)

    def test_reconfigured(self) -> None:
        """A reload brings other users, and other certificates."""
        with open(self.path, "w") as file:
            file.write("otto:other\n")
        settings = Settings()
        settings.set("Admin.endpoint", "tcp:1")
        settings.set("Admin.passwordFile", self.path)
        changed = configure(settings, CommandLine(tokens=["t"]))
        self.made.admin.apply("new name", changed.adminUsers, changed.certificates, "own")
        self.assertEqual(self.made.ask("/", authorization=self.right).status, 401)
        seen = self.made.ask("/api/status", authorization=basic("otto", "other"))
        self.assertEqual(json.loads(seen.body)["name"], "new name")


class LifeTests(SynchronousTestCase):
    """Starting and stopping."""

    def test_measures(self) -> None:
        made = AdminInMemory()
        made.admin.start(Port(IPv4Address("TCP", "127.0.0.1", 80)))  # type: ignore[arg-type]
        made.pulse.start()
        made.clock.pump([1.0] * 5)
        self.assertEqual(len(json.loads(made.ask("/api/history").body)["points"]), 1)
        for observer in made.proxy.registry.observers:
            observer.authenticated(0.1)
        body = made.ask("/metrics").body
        self.assertIn(b"nymea_remoteproxy_authentication_seconds_count 1.0", body)
        self.assertNotIn(b"nymea_remoteproxy_event_loop_delay_seconds_count 0.0", body)
        made.pulse.stop()
        made.admin.stop()
        self.assertEqual((made.proxy.registry.observers, made.pulse.listeners), ([], []))
        made.clock.advance(PERIOD)
        self.assertEqual(made.clock.getDelayedCalls(), [])

    def test_neverStarted(self) -> None:
        """The reactor may be stopped before it runs."""
        AdminInMemory().admin.stop()

    def test_urls(self) -> None:
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for endpoint, address, url in (
            (
                "tcp:1:interface=127.0.0.1",
                IPv4Address("TCP", "127.0.0.1", 80),
                "http://127.0.0.1:80/",
            ),
            ("unix:/run/x", UNIXAddress(b"/run/x"), "unix:/run/x"),
            ("unix:/run/x", UNIXAddress("/run/x"), "unix:/run/x"),
        ):
            made = AdminInMemory(endpoint)
            made.admin.start(Port(address))  # type: ignore[arg-type]
            made.admin.stop()
            self.assertEqual(events.pop()["url"], url)

    def test_unixSocketIsLocalhost(self) -> None:
        """By another name it would be what a page from elsewhere calls it."""
        made = AdminInMemory("unix:/run/x")
        for name, status in (("localhost", 200), ("whatever", 421), ("", 421)):
            question = _question("/metrics", "GET", {}, name)
            self.assertEqual(made.answer(question).status, status)


# The real server


class Asker:
    """Asks a real admin endpoint.

    :ivar url: where it is.
    """

    def __init__(self, server: Server) -> None:
        self.url = server.waitFor(r"admin endpoint on (\S+)")[1]

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to it."""
        if self.url.startswith("unix:"):
            plain = http.client.HTTPConnection("localhost", timeout=PATIENCE)
            plain.sock = socket.socket(socket.AF_UNIX)
            plain.sock.connect(self.url.removeprefix("unix:"))
            return plain
        host, _, port = self.url.partition("//")[2].rstrip("/").rpartition(":")
        if self.url.startswith("https:"):
            return http.client.HTTPSConnection(host, int(port), timeout=PATIENCE, context=TLS)
        return http.client.HTTPConnection(host, int(port), timeout=PATIENCE)

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Return status, body and headers; in a header's name an underscore means a hyphen."""
        connection = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def status(self) -> Any:
        """Return /api/status."""
        return json.loads(self.ask("/api/status")[1])


class RealTests(SharedServer):
    """A real process on loopback."""

    token = secret()

    def arguments(self) -> list[str]:
        return ["--websocket", LOOPBACK, "--token", self.token, "--admin", LOOPBACK]

    @inThread
    def test_everything(self) -> None:
        asker = Asker(self.server)
        url = self.server.urls[0]
        one, two = tunnel(url, self.token)
        waiting = join(url, self.token, nonce=secret("nonce"))
        self.keep(one, two, waiting)
        one.send(b"\x82\x85\x00\x00\x00\x00hello")
        self.assertEqual(two.read(7)[2:], b"hello")
        status = asker.status()
        self.assertEqual((status["tunnels"], status["condition"]), (1, "ready"))
        (row,) = json.loads(asker.ask("/api/tunnels")[1])["rows"]
        self.assertEqual({end["address"] for end in row["ends"]}, {one.peer, two.peer})
        code, body, headers = asker.ask("/metrics")
        self.assertEqual(code, 200)
        self.assertIn(b"nymea_remoteproxy_tunnels 1.0\n", body)
        self.assertIn(b'state="waiting",transport="WebSocket"} 1.0\n', body)
        self.assertIn(b"nymea_remoteproxy_authentication_seconds_count 3.0\n", body)
        self.assertNotIn(self.token.encode(), body)
        for name, value in SECURITY_HEADERS.items():
            self.assertEqual(headers[name], value)
        self.assertNotIn("Server", headers)
        two.close()
        self.ended(two)
        _code, body, _headers = asker.ask("/metrics")
        self.assertIn(b'outcomes_total{outcome="connection-lost"} 1.0\n', body)
        self.assertEqual(asker.ask("/healthz")[1], b"ok\n")
        self.assertEqual(asker.ask("/readyz")[1], b"ready\n")

    @inThread
    def test_manyRequestsOnOneConnection(self) -> None:
        connection = Asker(self.server).connect()
        for path in ("/", "/metrics", "/nothing", "/app.js") * 3:
            connection.request("GET", path, headers={"Host": "localhost"})
            answer = connection.getresponse()
            self.assertEqual(answer.status, 404 if path == "/nothing" else 200)
            answer.read()
        connection.close()

    @inThread
    def test_accessLog(self) -> None:
        """Requests are not logged: a page that is open would fill the disk."""
        self.server.waitFor("state directory: ")  # the last line of a start
        since = self.server.mark()
        for path in ("/", "/metrics", "/nothing"):
            Asker(self.server).ask(path, authorization="Basic c2VjcmV0")
        self.assertEqual(self.server.text(since=since), "")

    @inThread
    def test_slowReader(self) -> None:
        """It asks for a gigabyte and takes nothing; the memory does not grow."""
        asker = Asker(self.server)
        host, port = asker.url.partition("//")[2].rstrip("/").split(":")
        before = asker.status()["process"]["memory"]
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.5)
        client.connect((host, int(port)))
        request = b"GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
        with self.assertRaises(TimeoutError):
            for _time in range(1000):
                client.sendall(request)
        self.assertLess(asker.status()["process"]["memory"] - before, 4 << 20)
        client.close()


class RealPasswordTests(EndToEnd):
    """Real processes in other arrangements."""

    def asker(self, *arguments: str, **more: Any) -> Asker:
        self.token = secret()
        self.server = self.start("--websocket", LOOPBACK, "--token", self.token, *arguments, **more)
        return Asker(self.server)

    def check(self, asker: Asker) -> None:
        """It works with a large answer, a persistent connection, and another."""
        self.assertEqual(asker.ask("/metrics")[0], 200)
        connection = asker.connect()
        for _time in range(2):
            connection.request("GET", "/app.js", headers={"Host": "localhost"})
            self.assertIn(b"use strict", connection.getresponse().read())
        connection.close()

    @inThread
    def test_tls(self) -> None:
        """The same transports as for clients, so that a reload of certificates reaches it."""
        certificate = Certificate(str(self.temporary()))
        asker = self.asker(
            "--admin", f"tls:{LOOPBACK}", "-c", certificate.certificate, "-k", certificate.key
        )
        self.assertTrue(asker.url.startswith("https://127.0.0.1:"))
        self.check(asker)
        connection = asker.connect()
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        self.assertTrue(connection.sock.getpeercert(binary_form=True))
        connection.close()
        expiry = f'certificate_expiry_timestamp_seconds{{certificate="{certificate.certificate}"}}'
        self.assertIn(expiry.encode(), asker.ask("/metrics")[1])

    @inThread
    def test_ownCertificate(self) -> None:
        asker = self.asker("--admin=ssl:0:interface=127.0.0.1")
        self.check(asker)
        self.assertIn(b'{certificate="self-signed"}', asker.ask("/metrics")[1])

    @inThread
    def test_unix(self) -> None:
        path = self.temporary() / "admin.sock"
        asker = self.asker("--admin", f"unix:{path}:mode=600")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.check(asker)
        for asked in "/metrics", "/api/v1/connections":
            self.assertEqual(asker.ask(asked, host="evil.example:8080")[0], 421)
        self.assertEqual(asker.ask("/healthz", host="evil.example:8080")[0], 200)

    @inThread
    def test_passwords(self) -> None:
        path = self.file("anna:s3cret-word\n")
        asker = self.asker("--admin", LOOPBACK, "--set", f"Admin.passwordFile={path}")
        self.assertEqual(asker.ask("/")[0], 401)
        self.assertEqual(asker.ask("/", authorization=basic("anna", "wrong"))[0], 401)
        self.assertEqual(asker.ask("/", authorization=basic("anna", "s3cret-word"))[0], 200)
        for _time in range(10):
            asker.ask("/", authorization=basic("anna", "wrong"))
        code, _body, headers = asker.ask("/", authorization=basic("anna", "s3cret-word"))
        self.assertEqual((code, headers["Retry-After"]), (429, "6"))
        self.assertEqual(asker.ask("/readyz")[0], 200)
        self.assertNotIn("s3cret-word", self.server.text())

    @inThread
    def test_drain(self) -> None:
        """Asked to, it lets nobody in, answers until the last tunnel has ended, and ends too."""
        asker = self.asker("--admin", f"unix:{self.temporary() / 'admin'}")
        one, two = tunnel(self.server.urls[0], self.token)
        self.keep(one, two)
        json = {"content_type": "application/json"}
        self.assertEqual(asker.ask("/api/v1/drain", "POST", host="proxy.example.org")[0], 421)
        self.assertEqual(asker.ask("/api/v1/drain", "POST")[0], 415)
        self.assertEqual(asker.ask("/readyz")[0], 200)
        for expected in 202, 409:
            self.assertEqual(asker.ask("/api/v1/drain", "POST", **json)[0], expected)
        self.assertEqual(asker.ask("/readyz")[:2], (503, b"draining\n"))
        self.assertEqual(asker.ask("/healthz")[0], 200)
        self.assertIn(b"nymea_remoteproxy_draining 1.0\n", asker.ask("/metrics")[1])
        self.assertEqual(asker.status()["condition"], "draining")
        one.send(b"\x82\x85\x00\x00\x00\x00hello")
        self.assertEqual(two.read(7)[2:], b"hello")
        one.close()
        two.close()
        self.assertEqual(self.server.wait(), 0)
        self.assertRegex(self.server.text(), r"operator: .+ \(uid \d+, .+\) has the server drained")

    @inThread
    def test_reload(self) -> None:
        """SIGHUP brings other passwords, and another certificate; a broken file changes nothing."""
        old, new = (Certificate(str(self.temporary()), days) for days in (10, 20))
        both = self.file(Path(old.both).read_bytes(), "certificate.pem")
        users = self.file("anna:first-word\n")
        asker = self.asker(
            *("--admin", f"tls:{LOOPBACK}", "-c", both),
            *("--set", f"Admin.passwordFile={users}"),
        )

        def expiry(password: str) -> float:
            body = asker.ask("/metrics", authorization=basic("anna", password))[1].decode()
            found = re.search(r"certificate_expiry_timestamp_seconds\{.*\} (\S+)", body)
            assert found is not None, body
            return float(found[1])

        def shown() -> bytes:
            connection = asker.connect()
            connection.connect()
            assert isinstance(connection.sock, ssl.SSLSocket)
            der = connection.sock.getpeercert(binary_form=True)
            connection.close()
            assert der is not None
            return hashlib.sha256(der).digest()

        def reload() -> None:
            since = self.server.mark()
            self.server.signal(SIGHUP)
            self.server.waitFor("reloaded", since)

        before = expiry("first-word")
        self.assertEqual(shown(), old.fingerprint)
        Path(users).write_text("broken\n")
        reload()
        self.assertEqual(expiry("first-word"), before)
        Path(users).write_text("anna:second-word\n")
        Path(both).write_bytes(Path(new.both).read_bytes())
        reload()
        self.assertEqual(shown(), new.fingerprint)
        authorization = basic("anna", "first-word")
        self.assertEqual(asker.ask("/metrics", authorization=authorization)[0], 401)
        self.assertEqual(round((expiry("second-word") - before) / 86400), 10)

    @inThread
    def test_stops(self) -> None:
        """While it says goodbye it is not ready; then its own connections are closed."""
        asker = self.asker("--admin", LOOPBACK)
        connection = asker.connect()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        self.server.signal(SIGTERM)
        self.assertEqual(self.server.wait(), 0)
        self.assertEqual(connection.sock.recv(1), b"")
        connection.close()

    @inThread
    def test_notReadyWhileStopping(self) -> None:
        """Probes see it as long as clients are there."""
        asker = self.asker("--admin", LOOPBACK)
        client = join(self.server.urls[0], self.token)
        self.server.signal(SIGTERM)
        until(lambda: asker.ask("/readyz")[:2] == (503, b"stopping\n"), "it is ready")
        self.assertEqual(asker.ask("/healthz")[0], 200)
        client.close()
        self.assertEqual(self.server.wait(), 0)

    @inThread
    def test_portIsTaken(self) -> None:
        """One line says so."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            endpoint = f"tcp:{port}:interface=127.0.0.1"
            program = self.run_(
                [*CONSOLE, "--websocket", LOOPBACK, "--token", "t", "--admin", endpoint]
            )
            self.assertEqual(program.wait(), 1)
        (line,) = program.text("err").splitlines()[-1:]
        self.assertIn(f"cannot listen on {endpoint}: Address already in use", line)
