"""What operators have done to real server processes: by the API, with curl, and by the monitor."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from nymearemoteproxy.watching.actions import Action
from tests.support.cores import TunnelProxyCase, anyUuid
from tests.support.documented import commandsOf
from tests.support.endtoend import (
    MONITOR,
    PATIENCE,
    ROOT,
    SECOND,
    STREAM,
    TLS_STREAM,
    Certificate,
    EndToEnd,
    Program,
    Server,
    Stream,
    inThread,
    join,
    secret,
    tunnel,
    until,
)
from tests.support.lives import watch

CURL = shutil.which("curl")
JSON = ("-H", "Content-Type: application/json")

REFUSED = "only root and the server's own user may have something done"


def curl(*arguments: str) -> bytes:
    """Return what curl is told."""
    assert CURL is not None
    command = [CURL, "-sS", *arguments]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stdout


def status(*arguments: str) -> str:
    """Return the status that curl is told."""
    return curl("-o", os.devnull, "-w", "%{http_code}", *arguments).decode()


class OperatedCase(EndToEnd):
    """A server that an operator does something to."""

    more: tuple[str, ...] = ()

    def launch(self, *arguments: str) -> Server:
        """Start one with a monitor socket and an admin endpoint on a Unix socket."""
        self.token = secret()
        directory = self.temporary()
        self.monitorPath, self.adminPath = str(directory / "monitor"), str(directory / "admin")
        self.server = self.start(
            *("--websocket", STREAM, "--stream", TLS_STREAM, "--token", self.token),
            *("--admin", f"unix:{self.adminPath}"),
            *("--set", f"ProxyServer.monitorSocket={self.monitorPath}"),
            *self.more,
            *arguments,
            listeners=2,
        )
        return self.server

    def monitor(self, *arguments: str) -> tuple[int, str]:
        """Run the monitor command; return its status and all that it wrote."""
        program = self.run_([*MONITOR, "--socket", self.monitorPath, *arguments])
        return program.wait(), program.text()

    def pair(self) -> tuple[Stream, Stream]:
        """Return two clients with a tunnel of their own, by WebSocket and by TLS."""
        web, tls = self.server.url("ws"), self.server.url("tls")
        return tunnel(web, self.token, tls, nonce=secret("nonce"))

    def number(self, client: Stream) -> int:
        """Return the number of a connection."""
        listed = self.curl("/api/v1/connections")["connections"]
        return next(each["number"] for each in listed if each["address"] == client.peer)

    def get(self, path: str, *arguments: str) -> bytes:
        """Return what the admin endpoint says."""
        return curl("--unix-socket", self.adminPath, *arguments, f"http://localhost{path}")

    def curl(self, path: str, *arguments: str) -> Any:
        """Return what it says in JSON."""
        return json.loads(self.get(path, *arguments))

    def post(self, path: str, body: str = "") -> Any:
        """Have something done."""
        return self.curl(path, "-X", "POST", *JSON, "-d", body)

    def assertEnded(self, *clients: Stream) -> None:
        """Check that they were told by whom they are ended, and that the log says it, too."""
        for client in clients:
            code = client.goodbye()[1]
            self.assertIn(code, (1008, None))
            self.assertEqual(self.server.ended(client), "ended-by-operator")


class ActionTests(OperatedCase):
    """One process."""

    skip = None if CURL else "curl is missing"

    @inThread
    def testWhichServer(self) -> None:
        """What the body says counts; a path that is a template of the file is none."""
        server = self.launch()
        instance = self.curl("/api/v1/server")["instance"]
        self.assertEqual(self.post("/api/v1/reload", json.dumps({"instance": "x"}))["status"], 409)
        self.assertEqual(self.post("/api/v1/reload", "no JSON")["status"], 400)
        self.assertEqual(server.find("reloaded"), [])
        self.assertEqual(
            self.post("/api/v1/reload", json.dumps({"instance": instance}))["mistakes"], 0
        )
        for path in "/api/v1/connections/{number}", "/api/v1/tunnels/{number}":
            self.assertEqual(self.curl(path, "--globoff")["status"], 400)
        self.assertEqual(server.find("Traceback"), [])

    @inThread
    def testEnd(self) -> None:
        """A tunnel, by either way, and a client that waits; nobody else notices."""
        server = self.launch()
        others = self.pair()
        ws, tls = self.pair()
        number = self.number(tls)
        answer = self.post(f"/api/v1/connections/{number}/end")
        self.assertEqual(answer, {"action": "end-connection", "number": number})
        self.assertEnded(ws, tls)
        ws, tls = self.pair()
        number = self.number(ws)
        status, said = self.monitor("--end-tunnel", str(number))
        self.assertEqual((status, said), (0, f"the tunnel of connection {number} is being ended"))
        self.assertEnded(ws, tls)
        waiting = join(server.url("ws"), self.token, SECOND, nonce=secret("nonce"))
        number = self.number(waiting)
        status, said = self.monitor("--end-tunnel", str(number))
        self.assertEqual(status, 1)
        self.assertIn(f"connection {number} has no tunnel of two clients", said)
        status, said = self.monitor("--end", str(number))
        self.assertEqual((status, said), (0, f"connection {number} is being ended"))
        self.assertEnded(waiting)
        for action in Action.END_CONNECTION, Action.END_TUNNEL:
            line = f'operator_actions_total{{action="{action.value}",result="done"}}'
            self.assertIn(line.encode(), self.get("/metrics"))
        others[0].sendMessage(b"still here")
        self.assertEqual(others[1].read(10), b"still here")
        for client in others:
            client.close()

    @inThread
    def testGone(self) -> None:
        """Once more, and one that never was."""
        server = self.launch()
        waiting = join(server.url("ws"), self.token, SECOND)
        number = self.number(waiting)
        self.post(f"/api/v1/connections/{number}/end")
        again = self.post(f"/api/v1/connections/{number}/end")
        self.assertIn(again["status"], (404, 409))
        self.assertEnded(waiting)
        status, said = self.monitor("--end", "4711")
        self.assertEqual(status, 1)
        self.assertEqual(said, "nymea-remoteproxy-monitor: there is no connection 4711")

    @inThread
    def testAccounting(self) -> None:
        """It is in the books."""
        books = self.temporary() / "tunnels.json"
        server = self.launch("--set", f"Accounting.tunnelLog={books}")
        clients = tunnel(server.url("ws"), self.token)
        self.post(f"/api/v1/tunnels/{self.number(clients[0])}/end")
        self.assertEnded(*clients)
        until(lambda: books.exists() and books.read_text().endswith("\n"), "nothing is written")
        self.assertEqual(books.read_text().count('"ended-by-operator"'), 2)

    @inThread
    def testReload(self) -> None:
        """As with SIGHUP; mistakes are told, and are a failure to scripts."""
        tokens = Path(self.file(secret()))
        server = self.launch("--token-file", str(tokens))
        tokens.write_text(f"{secret()}\n{secret()}\n")
        self.assertEqual(self.monitor("--reload"), (0, "everything was read anew"))
        server.waitFor("reloaded: 3 tokens")
        tokens.write_text("")
        self.assertEqual(self.post("/api/v1/reload")["mistakes"], 1)
        status, said = self.monitor("--reload")
        self.assertEqual(status, 1)
        self.assertIn("not everything was read anew; mistakes in the log: 1", said)
        self.assertEqual(self.curl("/api/v1/server")["reload"]["mistakes"], 1)
        self.assertEqual(len(server.find("operator: .* asks for a reload")), 3)

    @inThread
    def testDrain(self) -> None:
        """The monitor and the endpoint tell of it until the process ends."""
        server = self.launch()
        one, two = tunnel(server.url("ws"), self.token)
        self.assertEqual(self.monitor("--drain"), (0, "the server drains"))
        server.waitFor("draining")
        status, said = self.monitor("--once")
        self.assertEqual(status, 0)
        self.assertRegex(said, r"(?m)^Server: .*, draining$")
        self.assertEqual(self.curl("/api/v1/server")["condition"], "draining")
        status, said = self.monitor("--drain")
        self.assertEqual(status, 1)
        self.assertEqual(said, "nymea-remoteproxy-monitor: the server drains already")
        self.assertEqual(self.post("/api/v1/drain")["status"], 409)
        number = self.number(one)
        self.assertEqual(self.monitor("--end", str(number))[0], 0)
        self.assertEnded(one, two)
        self.assertEqual(server.wait(), 0)

    @inThread
    def testWho(self) -> None:
        """The log says who it was, also by a password, which is never in it."""
        users = self.file("anna:s3cret-word\n")
        token = secret()
        server = self.start(
            *("--websocket", STREAM, "--token", token, "--admin", TLS_STREAM),
            *("--set", f"Admin.passwordFile={users}"),
        )
        url = server.waitFor(r"admin endpoint on (\S+)/")[1]
        reload = ("-k", "-X", "POST", f"{url}/api/v1/reload")
        password = ("-u", "anna:s3cret-word")
        self.assertEqual(status(*reload, *JSON), "401")
        self.assertEqual(status(*reload, *password), "415")
        self.assertEqual(status(*reload, *password, *JSON, "-H", "Origin: http://x"), "403")
        self.assertEqual(server.find("reloaded"), [])
        self.assertEqual(status(*reload, *password, *JSON), "200")
        server.waitFor("operator: anna from 127.0.0.1 asks for a reload")
        self.assertNotIn("s3cret-word", server.text())

    @inThread
    def testUnprotected(self) -> None:
        """On loopback without a password it says what to set, and does nothing."""
        server = self.start("--websocket", STREAM, "--token", secret(), "--admin", STREAM)
        url = server.waitFor(r"admin endpoint on (\S+)/")[1]
        answer = json.loads(curl("-X", "POST", *JSON, f"{url}/api/v1/drain"))
        self.assertEqual(answer["status"], 403)
        self.assertIn("[Admin] passwordFile", answer["detail"])
        self.assertEqual(server.find("draining"), [])

    @inThread
    def testOtherUser(self) -> None:
        """Who may look by the group of the monitor socket may have nothing done."""
        if os.geteuid() or shutil.which("setpriv") is None:
            return  # only root can be somebody else
        server = self.launch("--set", "ProxyServer.monitorSocketMode=666")
        shared = tempfile.mkdtemp(dir="/tmp", prefix="actions-")
        self.addCleanup(shutil.rmtree, shared, True)
        os.chmod(shared, 0o755)
        path = f"{shared}/monitor"
        os.link(self.monitorPath, path)
        ask = (
            "import socket, sys; asking = socket.socket(socket.AF_UNIX);"
            f"asking.connect({path!r}); asking.sendall(sys.argv[1].encode());"
            "asking.shutdown(1); sys.stdout.write(asking.makefile().read())"
        )

        def asked(request: str) -> Any:
            command = ("setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c")
            done = subprocess.run(
                [*command, ask, request],
                cwd="/",
                env={},
                capture_output=True,
                timeout=PATIENCE,
                check=True,
            )
            return json.loads(done.stdout)

        self.assertIn("proxyStatistic", asked('{"method":"refresh"}'))
        for method in "reload", "drain":
            self.assertEqual(asked(json.dumps({"method": method})), {"error": REFUSED})
        server.waitFor(r"operator: .*uid 65534.* is refused: reload")
        self.assertEqual(server.find("reloaded|draining"), [])


class DocumentationTests(OperatedCase):
    """The commands of the pages, as they stand there."""

    skip = ActionTests.skip

    @inThread
    def testApi(self) -> None:
        """Those with curl; a server that is drained ends, so it comes last."""
        server = self.launch()
        self.keep(waiting := join(server.url("ws"), self.token, SECOND))
        users = self.file("anna:s3cret-word\n")
        certificate = Certificate(str(self.temporary()))
        other = self.start(
            *("--websocket", STREAM, "--token", secret(), "--admin", TLS_STREAM),
            *("-c", certificate.certificate, "-k", certificate.key),
            *("--set", f"Admin.passwordFile={users}"),
        )
        address = other.waitFor(r"admin endpoint on https://(\S+)/")[1]
        home = self.temporary()
        (home / ".nymea-netrc").write_text("machine localhost login anna password s3cret-word\n")
        (home / ".curlrc").write_text(f"cacert = {certificate.certificate}\n")
        replaced = {
            "/run/nymea-remoteproxy/admin.sock": self.adminPath,
            "connections/17": f"connections/{self.number(waiting)}",
            "proxy.example.org:9109": f"localhost:{address.rpartition(':')[2]}",
        }
        commands = commandsOf(self)
        self.assertEqual(len(commands), 6)
        for command in sorted(commands, key=lambda each: "/drain" in each):
            for old, new in replaced.items():
                command = command.replace(old, new)
            done = subprocess.run(
                ["sh", "-c", command],
                env={**os.environ, "HOME": str(home)},
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("status", json.loads(done.stdout), command)
        self.assertEqual(server.wait(), 0)
        other.waitFor("operator: anna from 127.0.0.1 asks for a reload")

    @inThread
    def testMonitor(self) -> None:
        """Those of the monitor, without sudo: the server's user is who runs the tests."""
        server = self.launch()
        pairs = [self.pair(), self.pair()]
        numbers = [str(self.number(pair[0])) for pair in pairs]
        commands = commandsOf(self)
        self.assertEqual(len(commands), 4)
        for command in commands:
            arguments = command.split()[2:]
            if "17" in arguments:
                arguments[arguments.index("17")] = numbers.pop()
            status, said = self.monitor(*arguments)
            self.assertEqual(status, 0, said)
        self.assertEqual(server.wait(), 0)
        self.assertEnded(*pairs[0], *pairs[1])


class NginxTests(OperatedCase):
    """The block of docs/monitoring.rst, before a Unix socket."""

    skip = None if CURL and shutil.which("nginx") else "curl or nginx is missing"

    def launchNginx(self, location: str) -> None:
        """Start nginx with this block; its socket has the users of that block."""
        directory = self.temporary()
        self.outerPath = str(directory / "outer")
        (directory / "users").write_text("anna:{PLAIN}s3cret-word\n")
        for old, new in (
            ("/etc/nginx/remoteproxy.htpasswd", str(directory / "users")),
            ("http://127.0.0.1:9109/", f"http://unix:{self.adminPath}:/"),
        ):
            self.assertIn(old, location)
            location = location.replace(old, new)
        temporary = "".join(
            f"{kind}_temp_path {directory}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path = directory / "nginx.conf"
        path.write_text(
            f"user root; pid {directory}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {temporary}\n"
            f"server {{ listen unix:{self.outerPath}; {location} }} }}\n"
        )
        nginx = Program(["nginx", "-c", str(path), "-g", "daemon off;"])
        self.addCleanup(nginx.stop)
        until(Path(self.outerPath).exists, "nginx does not listen")

    def ask(self, path: str, *arguments: str) -> str:
        """Return the status of the answer to a question by nginx's public name."""
        url = f"http://proxy.example.org/remoteproxy{path}"
        return status("--unix-socket", self.outerPath, *arguments, url)

    @inThread
    def testDocumented(self) -> None:
        """Its users may look and have something done; pages of other sites may not."""
        server = self.launch()
        self.launchNginx(nginxBlock())
        self.assertEqual(self.ask("/metrics"), "401")
        password = ("-u", "anna:s3cret-word")
        for path in "/", "/metrics", "/api/v1/connections":
            self.assertEqual(self.ask(path, *password), "200")
        own = ("-H", "Origin: http://proxy.example.org", "-H", "Sec-Fetch-Site: same-origin")
        foreign = ("-H", "Origin: http://evil.example", "-H", "Sec-Fetch-Site: cross-site")
        reload = ("-X", "POST", *JSON, *password)
        self.assertEqual(self.ask("/api/v1/reload", *reload, *foreign), "403")
        self.assertEqual(server.find("reloaded"), [])
        self.assertEqual(self.ask("/api/v1/reload", *reload, *own), "200")
        server.waitFor("reloaded: 1 token")

    @inThread
    def testHost(self) -> None:
        """What nginx sends of itself is let in, the name that was asked for is not."""
        self.launch()
        password = ("-u", "anna:s3cret-word")
        for header, status in (("", "200"), ("proxy_set_header Host $host;", "421")):
            self.launchNginx(nginxBlock().replace("proxy_set_header Host localhost;", header))
            self.assertEqual(self.ask("/api/v1/connections", *password), status)


def nginxBlock() -> str:
    """Return the block of docs/monitoring.rst."""
    page = (ROOT / "docs" / "monitoring.rst").read_text("utf-8")
    _before, _directive, rest = page.partition(".. code-block:: nginx\n")
    return rest[: re.search(r"^\S", rest, re.MULTILINE).start()]  # type: ignore[union-attr]


class WorkerActionTests(OperatedCase):
    """Several processes: the connection is another one's than who is asked."""

    skip = ActionTests.skip
    more = ("--workers", "2")

    @inThread
    def testEnd(self) -> None:
        """Each worker's, and tunnels between the two."""
        server = self.launch()
        server.waitFor("worker . serves", count=2)
        pairs = [self.pair() for _ in range(4)]
        listed = self.curl("/api/v1/connections")["connections"]
        self.assertEqual({each["worker"] for each in listed}, {1, 2})
        for position, (ws, tls) in enumerate(pairs):
            client = (ws, tls)[position % 2]
            if position < 2:
                self.post(f"/api/v1/connections/{self.number(client)}/end")
            else:
                self.assertEqual(self.monitor("--end-tunnel", str(self.number(client)))[0], 0)
            self.assertEnded(ws, tls)
        self.assertEqual(self.curl("/api/v1/tunnels"), {"tunnels": [], "next": None})

    @inThread
    def testServer(self) -> None:
        """Reload and drain reach all of them."""
        tokens = Path(self.file(secret()))
        server = self.launch("--token-file", str(tokens))
        server.waitFor("worker . serves", count=2)
        tokens.write_text(fresh := secret())
        self.assertEqual(self.post("/api/v1/reload")["mistakes"], 0)
        for _ in range(4):  # at both workers
            one, two = tunnel(server.url("ws"), fresh)
            for client in one, two:
                client.close()
        one, two = tunnel(server.url("ws"), self.token)
        self.assertEqual(self.post("/api/v1/drain"), {"action": "drain"})
        until(lambda: self.curl("/api/v1/server")["condition"] == "draining", "it does not drain")
        self.assertEqual(self.monitor("--end", str(self.number(two)))[0], 0)
        self.assertEnded(one, two)
        self.assertEqual(server.wait(), 0)


class TunnelProxyActionTests(TunnelProxyCase):
    """A registered server and its clients."""

    @inThread
    def testEnd(self) -> None:
        """A client goes alone; a server, with its clients."""
        path = str(self.temporary() / "monitor")
        server = self.start(
            *("--tunnelproxy", "--websocket", STREAM, "--stream", STREAM),
            *("--set", f"ProxyServer.monitorSocket={path}"),
            listeners=2,
        )
        web, tcp = server.url("ws"), server.url("tcp")
        uuid = anyUuid()
        core = self.register(web, uuid)
        first, _ = self.join(tcp, uuid, core)
        second, _ = self.join(web, uuid, core)
        told = self.sockets(path)

        def end(client: Any) -> None:
            id = told[client.peer]
            program = self.run_([*MONITOR, "--socket", path, "--end", id])
            self.assertEqual(program.wait(), 0, program.text())

        end(first)
        self.assertEqual(server.ended(first), "ended-by-operator")
        self.assertEqual(set(self.sockets(path)), {core.stream.peer, second.peer})
        end(core.stream)
        self.assertEqual(server.ended(core.stream), "ended-by-operator")
        self.assertEqual(server.ended(second), "partner-left")

    def sockets(self, path: str) -> dict[str, str]:
        """Return the ids of a server and its clients by their addresses."""
        (told,) = watch(path, printAll=True)["tunnelProxyStatistic"]["tunnelConnections"]
        return {each["address"]: each["id"] for each in (told, *told["clientConnections"])}
