"""docs/front.rst as it is written, but for ports and paths of this machine: nginx, Chromium, curl.

Visitors have the address ::1, and all who are at home 127.0.0.1. So an address tells whose it is.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import shlex
import shutil
import socket
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.endtoend.test_documentedcommands import JOIN, UUID, TypedCase
from tests.support.browser import MISSING, Browser, browser
from tests.support.certificates import issue, pem
from tests.support.documented import commandsOf
from tests.support.endtoend import (
    CLIENT,
    PATIENCE,
    ROOT,
    SIGHUP,
    TLS,
    Program,
    inThread,
    reservePort,
    until,
)
from tests.support.homepage import HomePage, serveHome

PAGE = (ROOT / "docs" / "front.rst").read_text("utf-8")
EXAMPLES = ROOT / "docs" / "examples"
NAME = "house7.homes.example.org"
PROXY = "wss://proxy.example.org"
OUTSIDE = "::1"

MAIN = """
user root;
pid {0}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    {1}
}}
"""
"""What an nginx of the test's own needs besides the example. Another user's workers could not read
what is in a directory for temporary files that is root's alone."""


def block(name: str) -> str:
    """Return the first block on the page behind a name."""
    rest = PAGE.partition(name)[2]
    match = re.search(r"^\.\. code-block:: \w+\n\n((?:(?:    .*)?\n)+)", rest, re.M)
    assert match is not None, name
    return re.sub("^    ", "", match[1], flags=re.M)


EXPLAINED = {
    error: text
    for errors, text in re.findall(r"^(``ERR_.*)\n((?:    .*\n)+)", PAGE, re.M)
    for error in re.findall(r"ERR_\w+", errors)
}
"""What the page says about each error that a browser shows."""


class HomeAssistant(HomePage):
    """Says where a visitor comes from."""

    def content(self) -> bytes:
        return f"at home, visited from {self.headers['X-Forwarded-For']}".encode()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()


def problem() -> str | None:
    """Return why the page cannot be followed here."""
    if not shutil.which("nginx"):
        return "nginx is not installed"
    if os.geteuid():
        return "nginx from a package keeps temporary files where only root may write"
    try:
        socket.create_server((OUTSIDE, 0), family=socket.AF_INET6).close()
    except OSError:
        return "there is no IPv6"
    return MISSING


class FrontPageTests(TypedCase):
    skip = problem()

    def open(self, *more: str) -> None:
        """Start nginx at home, and the proxy: with the files of the page."""
        self.certificate, key = issue(NAME, [x509.DNSName(NAME)])
        both = self.directory / "home.pem"
        both.write_bytes(pem(self.certificate, key))
        self.places = {f"127.0.0.1:{port}": self.reserve() for port in (8443, 8080)}
        self.startNginx(
            {
                **self.places,
                "127.0.0.1:8123": f"127.0.0.1:{serveHome(self, HomeAssistant)}",
                f"/etc/letsencrypt/live/{NAME}/fullchain.pem": str(both),
                f"/etc/letsencrypt/live/{NAME}/privkey.pem": str(both),
                "/var/www/html": str(self.directory),
            }
        )
        (self.directory / "names").write_text(block("/etc/nymea/front-names"))
        (self.directory / "servers").write_text(UUID)
        shutil.copy(self.directory / "both.pem", self.directory / "proxy.pem")
        self.server = self.start("--configuration", self.configuration(), *more, listeners=3)
        self.port, self.front, self.http = (
            self.server.url(scheme).rpartition(":")[2] for scheme in ("wss", "https", "http")
        )

    def reserve(self) -> str:
        """Return a place where nginx may listen."""
        reservation = reservePort()
        self.addCleanup(reservation.close)
        return f"127.0.0.1:{reservation.getsockname()[1]}"

    def here(self, text: str, there: Mapping[str, str]) -> str:
        """Return a text of the page with what is there replaced, each of which has to be in it."""
        for old, new in there.items():
            self.assertIn(old, text)
            text = text.replace(old, new)
        return text

    def startNginx(self, there: Mapping[str, str]) -> None:
        """Start the home's web server."""
        path = self.directory / "nginx.conf"
        text = self.here((EXAMPLES / "front-nginx.conf").read_text("utf-8"), there)
        path.write_text(MAIN.format(self.directory, text))
        self.launchProgram(["nginx", "-c", str(path), "-g", "daemon off;"])
        until((self.directory / "nginx.pid").exists, "nginx does not start")  # it listens by then

    def configuration(self) -> str:
        """Return the path of the proxy's file."""
        there = {
            "port = 2212": "host = 127.0.0.1\nport = 0",
            "/etc/nymea/tls/proxy.example.org.pem": str(self.directory / "proxy.pem"),
            "/etc/nymea/nymea-remoteproxy.tokens": str(self.directory / "tokens"),
            "/etc/nymea/servers": str(self.directory / "servers"),
            "/etc/nymea/front-names": str(self.directory / "names"),
            r"tcp:443:interface=\:\:": r"tcp:0:interface=\:\:1",
            r"tcp:80:interface=\:\:": r"tcp:0:interface=\:\:1",
        }
        path = self.directory / "proxy.conf"
        path.write_text(self.here((EXAMPLES / "front.conf").read_text("utf-8"), there))
        return str(path)

    def register(self, command: str) -> Program:
        """Have the home be there."""
        there = {
            f"{PROXY}:2212": f"wss://localhost:{self.port}",
            "my-token": str(self.directory / "my-token"),
            **self.places,
        }
        for old, new in there.items():
            command = command.replace(old, new)
        authority = str(self.directory / "certificate.pem")
        home = self.launchProgram([*CLIENT, *shlex.split(command)[1:], "--ca", authority])
        home.waitFor(f"registered as server {UUID}")
        return home

    def browse(self) -> Browser:
        """Return a browser that takes any certificate."""
        used = browser()

        def trust(anybody: bool) -> None:
            used.command("Security.setIgnoreCertificateErrors", ignore=anybody)

        trust(True)
        self.addCleanup(trust, False)
        return used

    @inThread
    def testVisited(self) -> None:
        """The page at home, with the home's certificate; and who visits it is known there."""
        (command,) = commandsOf(self)
        self.open()
        self.register(command)
        used, origin = self.browse(), f"https://{NAME}:{self.front}"
        used.get(origin)
        seen = used.run("return document.body.innerText")
        self.assertEqual(seen, f"at home, visited from {OUTSIDE}")
        shown = used.command("Network.getCertificate", origin=origin)["tableNames"][0]
        self.assertEqual(base64.b64decode(shown), self.certificate.public_bytes(Encoding.DER))
        self.assertEqual(self.upload(bytes(2 << 20)), seen)  # more than nginx takes unasked

    def upload(self, data: bytes) -> str:
        """Return what is answered to a visitor that sends this, as a backup."""
        connection = http.client.HTTPConnection(NAME)
        with (
            socket.create_connection((OUTSIDE, int(self.front)), PATIENCE) as visitor,
            TLS.wrap_socket(visitor, server_hostname=NAME) as connection.sock,
        ):
            connection.request("POST", "/", data)
            answer = connection.getresponse()
            self.assertEqual(answer.status, 200)
            return answer.read().decode()

    @inThread
    def testChecked(self) -> None:
        """With the service's file: what the page has one look at from elsewhere, and sees."""
        redirect, challenge, fingerprint = commandsOf(self)
        self.open()
        self.server.waitFor("front door: to 3 names")
        path = self.directory / "home.conf"
        text = self.here(block("/etc/nymea/client/home.conf"), self.places)
        (token,) = re.findall("^token = (.*)$", text, re.M)
        (self.directory / "tokens").write_text(token)
        self.server.signal(SIGHUP)
        self.server.waitFor("reloaded: 1 token, 1 server uuid, 1 certificate, 3 names of homes")
        path.write_text(text.replace(f"{PROXY}:2212", f"wss://localhost:{self.port}"))
        path.chmod(0o600)
        self.register(f"{JOIN} --configuration {path}")
        answers = self.directory / ".well-known" / "acme-challenge"
        answers.mkdir(parents=True)
        (answers / "test").write_text("test")
        self.program(
            "curl", f'exec {shutil.which("curl")} -s --connect-to "::[{OUTSIDE}]:{self.http}" "$@"'
        )
        self.assertIn(" 301 ", self.type(redirect).wait())
        self.assertEqual(self.type(challenge).wait(), "test")
        said = self.type(fingerprint, {f"{NAME}:443": f"[{OUTSIDE}]:{self.front}"}).wait()
        self.assertIn(self.certificate.fingerprint(SHA256()).hex(":").upper(), said)

    @inThread
    def testRefused(self) -> None:
        """Of each refusal the browser shows the error that the page explains by its outcome."""
        self.open("--set", "Front.maxVisitorsPerHome=1")
        used = self.browse()

        def refuse(outcome: str, host: str = NAME) -> None:
            mark = self.server.mark()
            failure = self.assertRaises(AssertionError, used.get, f"https://{host}:{self.front}")
            self.server.waitFor(rf"ended: {outcome} \(front", mark)
            (error,) = re.findall(r"net::(\w+)", str(failure))
            self.assertIn(f":outcome:`{outcome}`", EXPLAINED[error])

        refuse("unknown-name", "house8.homes.example.org")
        refuse("no-server-name", f"[{OUTSIDE}]")
        refuse("server-not-found")
        options = f"--url {PROXY}:2212 --token-file my-token --serve {UUID}"
        closed = self.register(f"{JOIN} {options} --forward 127.0.0.1:8443 --no-front")
        refuse("visitors-not-wanted")
        closed.stop()
        self.server.waitFor(r"ended: .* \(WebSocket")
        self.register(f"{JOIN} {options} --forward 127.0.0.1:8443 --front --proxy-protocol")
        with (
            socket.create_connection((OUTSIDE, int(self.front)), PATIENCE) as visitor,
            TLS.wrap_socket(visitor, server_hostname=NAME),
        ):
            refuse("too-many-visitors")
