"""The command line of the real processes: every mistake one line, and what goes before what."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from nymearemoteproxy import __version__
from tests.support.endtoend import (
    CONSOLE,
    MARK,
    PATIENCE,
    SIGTERM,
    TWISTD,
    Certificate,
    EndToEnd,
    Program,
    Stream,
    call,
    connect,
    inThread,
    join,
    runForked,
    secret,
    until,
)

Row = tuple[Sequence[str], str]
"""Arguments, and what the reason must match."""

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT")
LOG_PREFIX = re.compile(r"^\S+ \[stderr#error\] ")
"""Twistd takes stderr for its log once it has begun."""


class MistakeTests(EndToEnd):
    """Every mistake of the operator's: exit status 1 or 2, one line of reason, no traceback.

    2 is for what is wrong on the command line or in the INI file, 1 for everything else.
    """

    measured = True

    def assertMistakes(
        self, *rows: Row, statuses: Sequence[int] = (1, 2), **environment: str
    ) -> None:
        """Hold each row; the first one also in a fresh process, by twistd."""
        problems = []

        def check(name: str, row: Row, status: int, text: str) -> None:
            lines = [LOG_PREFIX.sub("", line) for line in text.splitlines() if line]
            reasons = [line for line in lines if not LOG_LINE.match(line)]
            right = (
                status in statuses
                and len(reasons) == 1
                and reasons[0].startswith("nymea-remoteproxy: ")
                and re.search(row[1], reasons[0]) is not None
                and "Traceback" not in text
                and MARK not in text
            )
            if not right:
                problems.append(f"{name} {row}: status {status}, not this line alone:\n{text}")

        program = self.run_([*TWISTD, *rows[0][0]], **environment)
        check("twistd", rows[0], program.wait(), program.text())
        for row in rows:
            state = {"XDG_STATE_HOME": str(self.temporary())}
            check("console", row, *runForked(CONSOLE, row[0], {**state, **environment}))
        if problems:
            self.fail("\n\n".join(problems))

    @inThread
    def testOptions(self) -> None:
        """Options that do not exist, lack their value, or have a wrong one."""
        self.assertMistakes(
            (["--nope"], "--nope"),
            (["-x"], "-x"),
            (["extra"], "argument"),
            (["--port"], "--port"),
            (["--port", "many"], "port.*whole number"),
            (["--port", "-1"], "port.*65535"),
            (["-p", "65536"], "port.*65535"),
            (["--verbose=3"], "--verbose"),
            (["--tunnelproxy=1"], "--tunnelproxy"),
            (["--server", "ftp://127.0.0.1/"], "server.*https?://"),
            (["--server", "nonsense"], "server.*https?://"),
            (["--server", "http://"], "server.*https?://"),
            (["-s", "http://127.0.0.1:99999/"], "server"),
            (["-s", "http://[::1/"], "server"),
            (["--tokens-file", "x"], "nearest one is --token-file"),
            (["-m"], "--accept-any-token"),
            (["--admin", "8080"], "is it tcp:8080:interface=127.0.0.1"),
            (["--stream", "tcp:abc"], "'abc' is no number from 0 to 65535"),
            (["--host", ""], "--host needs a value"),
            statuses=[2],
        )

    @inThread
    def testCheck(self) -> None:
        """Every mistake, or none, from both commands; nothing listens and nothing is made."""
        state = self.temporary() / "state"
        broken = self.temporary() / "broken"
        broken.write_text("[ProxyServer]\nnam=x\n[Limit]\nmaxConnections=1\n")
        for command in CONSOLE, TWISTD:
            for more, status, lines in (("--token=t",), 0, 1), (("-C", str(broken)), 1, 2):
                program = self.run_([*command, "--check", *more], STATE_DIRECTORY=str(state))
                self.assertEqual(program.wait(), status, program.text())
                said = program.text().splitlines()
                self.assertEqual(len(said), lines, said)
                for line in said:
                    self.assertTrue(line.startswith("nymea-remoteproxy: "), line)
        self.assertFalse(state.exists())

    @inThread
    def testSet(self) -> None:
        """--set with something that is no assignment, no setting, or no value."""
        self.assertMistakes(
            (["--set", "ProxyServer.name"], "SECTION.KEY=VALUE"),
            (["--set", "name=x"], "SECTION.KEY=VALUE"),
            (["--set", "=x"], "SECTION.KEY=VALUE"),
            (["--set", "ProxyServer.nam=x"], "nearest.* name"),
            (["--set", "Limit.maxConnections=1"], r"\[Limits\]"),
            (["--set", "ProxyServer.inactiveTimeout=0"], "inactiveTimeout.*from 1"),
            (["--set", "ProxyServer.aloneTimeout=1e3"], "aloneTimeout.*whole number"),
            (["--set", "ProxyServer.logFormat=xml"], "logFormat.*text or json"),
            (["--set", "SSL.enabled=perhaps"], "enabled.*true or false"),
            (["--set", "Limits.maxConnections=-1"], "maxConnections"),
            (["--set", "Limits.exemptNetworks=here"], "exemptNetworks"),
            (["--set", "Limits.exemptNetworks=127.0.0.1/8"], "exemptNetworks"),
            (["--set", "Authentication.pairing=nonce"], "pairing.*token or subject"),
            (["--set", "Authentication.pairing=subject"], "subject.*authentication server"),
            (
                ["-s", "http://127.0.0.1:1/", "--token", secret()]
                + ["--set", "Authentication.pairing=subject"],
                "subject.*authentication server",
            ),
            (["--set", "Authentication.clientId=me"], "clientId needs clientSecretFile"),
            (["--set", "Authentication.connections=0"], "connections"),
            (["--set", "TunnelProxy.enabled=perhaps"], "enabled.*true or false"),
            (["--set", "TunnelProxy.serverTimeout=-1"], "serverTimeout.*from 0"),
            (["--set", "TunnelProxy.maxPacketSize=0"], "maxPacketSize.*from 65536"),
            (["--set", "TunnelProxy.serverUuids=x"], "nearest.* serverUuidFile"),
            (["--set", "WebsocketServerTunnelProxy.port=1"], r"\[WebSocketServerTunnelProxy\]"),
            (["--set", "TcpServerTunnelProxy.port=65536"], "port.*65535"),
            (["--set", "Foo.bar=1"], r"no section \[Foo\]; there are ProxyServer, "),
            statuses=[2],
        )

    @inThread
    def testCertificates(self) -> None:
        """Certificates and keys that are missing, damaged, expired, or do not belong together."""
        directory = self.temporary()
        good = Certificate(str(directory / "good"))
        other = Certificate(str(directory / "other"))
        expired = Certificate(str(directory / "expired"), days=-1)
        locked = Certificate(str(directory / "locked"), passphrase=b"x")
        garbage = self.file(b"\x00\xff garbage")
        damaged = self.file(Path(good.certificate).read_text().replace("M", "!", 3))
        missing = str(directory / "missing.pem")
        port = ["-p", "0"]
        self.assertMistakes(
            ([*port, "-c", missing, "-k", good.key], f"{missing}.*No such file"),
            ([*port, "-c", good.certificate, "-k", missing], f"{missing}.*No such file"),
            ([*port, "-c", str(directory)], "Is a directory"),
            ([*port, "-c", garbage], "no PEM certificate"),
            ([*port, "-c", damaged, "-k", good.key], "damaged"),
            ([*port, "-c", good.certificate], "key"),
            ([*port, "-c", good.certificate, "-k", garbage], "key .*damaged"),
            ([*port, "-c", good.certificate, "-k", good.certificate], "key"),
            ([*port, "-c", good.certificate, "-k", other.key], "does not belong"),
            ([*port, "-c", expired.both], "expired"),
            ([*port, "-c", locked.both], "encrypted"),
            ([*port, "-k", good.key], "no certificate"),
            (
                [*port, "-c", good.both, "--set", f"SSL.certificateChain={missing}"],
                f"{missing}.*No such file",
            ),
            (["--websocket", f"ssl:0:privateKey={missing}"], f"{missing}.*No such file"),
            (["--websocket", f"ssl:0:certKey={good.both}"], "privateKey"),
            (["--websocket", f"ssl:0:privateKey={good.both}:sslmethod=SSLv23"], "sslmethod"),
        )

    @inThread
    def testStateDirectory(self) -> None:
        """The self-signed certificate can be neither written nor read."""
        file = self.file("no directory")
        damaged = self.temporary()
        (damaged / "certificate.pem").write_text("damaged")
        self.assertMistakes(
            (["-p", "0"], "self-signed.*Not a directory"), statuses=[1], XDG_STATE_HOME=file
        )
        self.assertMistakes(
            (["-p", "0"], "certificate.*remove it, and a new one is made"),
            statuses=[1],
            STATE_DIRECTORY=str(damaged),
        )

    @inThread
    def testListeners(self) -> None:
        """Places that cannot be listened on."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = str(taken.getsockname()[1])
        token = ["--token", secret()]
        self.assertMistakes(
            ([*token, "-p", port], f"{port}.*in use"),
            ([*token, "--websocket", f"tcp:{port}:interface=127.0.0.1"], f"{port}.*in use"),
            (
                [*token, "-p", "0", "--stream", f"tls:tcp:{port}:interface=127.0.0.1"],
                f"{port}.*in use",
            ),
            ([*token, "-p", "0", "--host", "999.1.1.1"], "999"),
            ([*token, "-p", "0", "--host", "192.0.2.1"], "192.0.2.1.*assign"),
            ([*token, "--websocket", "nonsense"], "nonsense"),
            ([*token, "--websocket", ""], "endpoint description"),
            ([*token, "--websocket", "tcp:x"], "tcp:x"),
            ([*token, "--websocket", "tcp:70000:interface=127.0.0.1"], "70000"),
            ([*token, "--websocket", "tcp:0:nope=1"], "nope"),
            ([*token, "--websocket", "tls:"], "endpoint description"),
            ([*token, "-p", "0", "--stream", "haproxy:"], "endpoint description"),
            ([*token, "-p", "0", "--stream", "unix:/nonexistent/directory/s"], "No such file"),
            (
                [*token, "-p", "0", "--stream", f"unix:{self.temporary()}/{'x' * 200}"],
                "too long|endpoint",
            ),
            ([*token, "-p", "0", "--stream", "systemd:domain=INET:index=0"], "systemd"),
        )

    @inThread
    def testAcceptAnyToken(self) -> None:
        """Everybody may in only where nobody else can come from."""
        certificate = Certificate(str(self.temporary())).both
        anyToken = "--accept-any-token"
        self.assertMistakes(
            ([anyToken, "-p", "0", "--host", "0.0.0.0"], anyToken),
            ([anyToken, "-p", "0", "--host", "::"], anyToken),
            ([anyToken, "-p", "0", "--host", "localhost.example"], anyToken),
            ([anyToken, "-p", "0", "-c", certificate], anyToken),
            ([anyToken, "--websocket", "tcp:0"], anyToken),
            ([anyToken, "-p", "0", "--stream", "tls:tcp:0:interface=192.0.2.1"], anyToken),
            ([anyToken, "-p", "0", "--stream", "haproxy:tcp:0"], anyToken),
        )

    @inThread
    def testTokens(self) -> None:
        """Token and secret files that cannot be used."""
        directory = str(self.temporary())
        missing = f"{directory}/missing"
        empty = self.file("# only a comment\n\n")
        binary = self.file(b"\xff\xfe")
        withId = ["-s", "http://127.0.0.1:1/", "--set", "Authentication.clientId=me"]
        self.assertMistakes(
            (["-p", "0", "--token", ""], "token is empty"),
            (["-p", "0", "--token", f"{MARK}-\udcff"], "--token|UTF-8"),
            (["-p", "0", "--token-file", missing], f"{missing}.*No such file"),
            (["-p", "0", "--token-file", directory], "Is a directory"),
            (["-p", "0", "--token-file", empty], "holds no token"),
            (["-p", "0", "--token-file", binary], "UTF-8"),
            (["-p", "0", *withId, "--set", f"Authentication.clientSecretFile={missing}"], missing),
            (["-p", "0", *withId, "--set", f"Authentication.clientSecretFile={binary}"], "UTF-8"),
        )

    @inThread
    def testLogFile(self) -> None:
        """A log file that cannot be written."""
        directory = str(self.temporary())
        self.assertMistakes(
            (["-p", "0", "--logging", directory], f"{directory}.*Is a directory"),
            (["-p", "0", "-l", f"{directory}/none/log"], f"{directory}/none/log.*No such file"),
            (
                ["-p", "0", "--set", "ProxyServer.writeLogs=true"]
                + ["--set", f"ProxyServer.logFile={directory}/none/log"],
                f"{directory}/none/log.*No such file",
            ),
            statuses=[1],
        )

    @inThread
    def testConfigurationFile(self) -> None:
        """INI files that cannot be read, are broken, or say what does not exist."""
        directory = str(self.temporary())

        def ini(text: str | bytes, expected: str) -> Row:
            return ["-C", self.file(text, "proxy.ini")], expected

        self.assertMistakes(
            (["-C", f"{directory}/missing"], f"{directory}/missing.*No such file"),
            (["-C", directory], "Is a directory"),
            ini("[Limit]\nmaxConnections=1\n", r"\[Limit\].*nearest.*\[Limits\]"),
            ini("[ProxyServer]\nnmae=x\n", "nmae.*nearest.* name"),
            ini("[ProxyServer]\nalonetimeout=1\n", "alonetimeout.*nearest.* aloneTimeout"),
            ini("[Nothing like it]\n", r"\[Nothing like it\]; there are ProxyServer, "),
            ini("[DEFAULT]\nname=x\n", "DEFAULT"),
            ini("[ProxyServer]\nname=x\nname=y\n", "name.*already exists"),
            ini("[ProxyServer]\nname=x\n[ProxyServer]\n", "ProxyServer.*already exists"),
            ini("name=x\n", "no section header"),
            ini("[ProxyServer]\nwhat is this\n", "line 2 is no "),
            ini("[ProxyServer\nname=x\n", "section header"),
            ini("[ProxyServer]\naloneTimeout=soon\n", "aloneTimeout.*'soon'"),
            ini("[ProxyServer]\nname\n", "line 2 is no "),
            ini(b"[ProxyServer]\nname=\xff\n", "UTF-8"),
            ini(b"\x00" * 100, "broken|section header"),
            ini(f"{MARK}\n{MARK}\n", "broken"),  # a file of tokens
            (["-c", self.file("[ProxyServer]\n", "old.conf")], "old.conf is an INI file.* -C "),
        )


class ProperUseTests(EndToEnd):
    """What the command line does when it is right."""

    measured = True

    @inThread
    def testHelpAndVersion(self) -> None:
        """--help names every option of the design, --version the version; both end with 0."""
        options = [
            *("--help", "--version", "--logging=", "--server=", "--port=", "--host="),
            *("--certificate=", "--certificate-key=", "--verbose", "--configuration="),
            *("--websocket=", "--stream=", "--token=", "--token-file=", "--accept-any-token"),
            *("--tunnelproxy", "--set="),
        ]
        names = [*options, *(f"-{letter}, " for letter in "hVlspckvC")]
        version = f"nymea-remoteproxy {__version__}"
        for command in (CONSOLE, TWISTD):
            program = self.run_([*command, "--help"])
            self.assertEqual(program.wait(), 0)
            for name in names:
                self.assertIn(name, program.text("out"))
            program = self.run_([*command, "--version"])
            self.assertEqual((program.wait(), program.text()), (0, version))
        self.assertEqual(runForked(CONSOLE, ["-V"], {}), (0, f"{version}\n"))
        status, text = runForked(CONSOLE, ["-h"], {})
        self.assertEqual((status, [name for name in names if name not in text]), (0, []))

    def nameOf(self, url: str) -> str:
        """Return what the server says it is called."""
        client = connect(url)
        self.keep(client)
        client.sendMessage(call("RemoteProxy.Hello"))
        name = json.loads(client.message())["params"]["name"]
        assert isinstance(name, str)
        return name

    @inThread
    def testStartedTogether(self) -> None:
        """Servers that are started at once with one state directory share one certificate."""
        state = str(self.temporary())
        servers = [
            Program([*CONSOLE, "-p", "0", "--token", secret()], stateHome=state) for _ in range(4)
        ]
        for server in servers:
            self.addCleanup(server.stop)
        told = {server.waitFor(r"fingerprint is (\S+)")[1] for server in servers}
        self.assertEqual(len(told), 1)

    @inThread
    def testPrecedence(self) -> None:
        """The command line goes before --set, that before the file, and that before a default."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        ini = self.file(
            f"[ProxyServer]\nname=from the file\naloneTimeout=50\n"
            f"[SSL]\nenabled=false\n[WebSocketServer]\nhost=127.0.0.1\nport={port}\n"
        )
        server = self.start(
            "-p", "0", "--set", "WebSocketServer.port=1", "-C", ini,
            "--set", "ProxyServer.name=from --set", "--token", (token := secret()),
        )  # fmt: skip
        self.assertEqual(self.nameOf(server.url("ws")), "from --set")
        client = join(server.url("ws"), token)
        self.assertEqual(client.goodbye(), (b"", 1013))
        self.assertEqual(server.ended(client), "alone-timeout")

    @inThread
    def testOriginalsFile(self) -> None:
        """A file of the C++ server loads unchanged; what means nothing here is a warning."""
        directory = self.temporary()
        certificate = Certificate(str(directory))
        ini = self.file(
            "[ProxyServer]\n"
            "name=nymea-remoteproxy\nwriteLogs=false\nlogFile=/var/log/nymea-remoteproxy.log\n"
            f"logEngineEnabled=false\nmonitorSocket={directory}/monitor.sock\n"
            "jsonRpcTimeout=10000\nauthenticationTimeout=8000\ninactiveTimeout=8000\n"
            "aloneTimeout=8000\nproxyEnabled=true\n\n"
            "[AWS]\nregion=eu-west-1\nauthorizerLambdaFunction=system-services-authorizer\n\n"
            f"[SSL]\nenabled=true\ncertificate={certificate.certificate}\n"
            f"certificateKey={certificate.key}\ncertificateChain=\n\n"
            "[WebSocketServer]\nhost=127.0.0.1\nport=0\n\n"
            "[TcpServer]\nhost=127.0.0.1\nport=0\n\n"
            f"[UnixSocketServer]\nunixSocketFileName={directory}/proxy.sock\n\n"
            "[WebSocketServerTunnelProxy]\nhost=127.0.0.1\nport=0\n\n"
            "[TcpServerTunnelProxy]\nhost=127.0.0.1\nport=0\n\n"
            f"[UnixSocketServerTunnelProxy]\nunixSocketFileName={directory}/tunnel.sock\n"
        )
        server = self.start("-C", ini, "--token", (token := secret()), listeners=6)
        for ignored in ("AWS", "proxyEnabled"):
            server.waitFor(rf"warn .*{ignored}.* is ignored")
        self.assertEqual(len(server.find("TunnelProxy.* is ignored")), 0)
        self.assertEqual(
            [url.partition(":")[0] for url in server.urls],
            ["wss", "wss", "tls", "unix", "tls", "unix"],
        )
        for url in server.urls:
            client = join(url, token)
            client.close()

    @inThread
    def testListeners(self) -> None:
        """Each kind of listener is logged with its URL and works."""
        directory = self.temporary()
        certificate = Certificate(str(directory))
        server = self.start(
            "--websocket", "tcp:0:interface=127.0.0.1",
            "--websocket", "tls:tcp:0:interface=127.0.0.1",
            "--websocket", f"ssl:0:interface=127.0.0.1:privateKey={certificate.both}",
            "--stream", f"unix:{directory}/one\\:two",
            "--stream", "tls:tcp:0:interface=127.0.0.1",
            "--stream", "tcp:0:interface=127.0.0.1",
            "--set", "ProxyServer.name=many", "--token", secret(),
            listeners=6,
        )  # fmt: skip
        self.assertEqual(
            [url.partition(":")[0] for url in server.urls],
            ["ws", "wss", "wss", "unix", "tls", "tcp"],
        )
        self.assertEqual(server.urls[3], f"unix:{directory}/one:two")
        for url in server.urls:
            self.assertEqual(self.nameOf(url), "many")

    @inThread
    def testIPv6(self) -> None:
        """An IPv6 address is written in brackets, in URLs and for clients."""
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("no IPv6 here")
        server = self.start("-p", "0", "--host", "::1", "--token", (token := secret()))
        self.assertRegex(server.urls[0], r"^wss://\[::1\]:\d+$")
        client = join(server.urls[0], token)
        client.close()
        self.assertEqual(server.ended(client), "left-early")

    @inThread
    def testHaproxy(self) -> None:
        """Behind a PROXY header the log names the client's own address."""
        server = self.start(
            "--stream", "haproxy:tcp:0:interface=127.0.0.1", "-p", "0", "--token", secret(),
            listeners=2,
        )  # fmt: skip
        client = Stream(server.url("tcp"))
        client.peer = "192.0.2.7:4711"
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 2212\r\n" + call("RemoteProxy.Hello"))
        self.assertIn(b'"status":"success"', client.line())
        client.close()
        self.assertEqual(server.ended(client), "left-early")
        for header in (b"PROXY \x1b[2J\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\r\n" * 100):
            mark = server.mark()
            client = Stream(server.url("tcp"))
            client.send(header)
            self.assertEqual(client.rest(), b"")
            client.close()
            self.assertEqual(server.ended(client, mark), "proxy-header-invalid")

    @inThread
    def testLogFile(self) -> None:
        """--logging writes the log there, -v more of it, and nothing else to the terminal."""
        for twistd in (False, True):
            path = self.temporary() / "log"
            server = Program(
                [*(TWISTD if twistd else CONSOLE), "-l", str(path), "-v", "-p", "0"]
                + ["--set", "SSL.enabled=false"],
                stateHome=str(self.temporary()),
            )
            self.addCleanup(server.stop)
            shown = server.waitFor(r"The token of this run is (\S+)")[1]
            until(lambda path=path: "listening on " in path.read_text(), "nothing is said of it")  # type: ignore[misc]
            match = re.search(r"listening on (\S+)", path.read_text())
            assert match
            client = join(match[1], shown)
            client.close()
            server.signal(SIGTERM)
            self.assertEqual(server.wait(), 0)
            log = path.read_text()
            self.assertRegex(log, r"debug .*opened")
            self.assertRegex(log, r"ended: (left-early|shutdown-waiting)")
            self.assertNotIn(shown, log)
            if not twistd:
                self.assertNotIn("listening", server.text())

    @inThread
    def testJson(self) -> None:
        """In the JSON log every line parses, and one tells of each connection's end."""
        for more in ([], ["-vv"]):
            server = self.start(
                "-p", "0", "--token", (token := secret()), *more,
                "--set", "ProxyServer.logFormat=json", "--set", "SSL.enabled=false",
                "--set", "Limits.exemptNetworks=", "--set", "Limits.maxConnections=2",
            )  # fmt: skip
            url = re.match(r"[^\"]+", server.urls[0])
            assert url
            one, two = join(url[0], token), join(url[0], token)
            refused = Stream(url[0])
            self.assertEqual(refused.rest(), b"")
            refused.close()
            one.message()
            two.message()
            one.close()
            server.ended(one)
            two.goodbye()
            server.ended(two)
            bad = connect(url[0])
            bad.sendMessage(b"nonsense")
            bad.goodbye()
            server.ended(bad)
            server.signal(SIGTERM)
            self.assertEqual(server.wait(), 0)
            lines = [json.loads(line) for line in server.text("err").splitlines() if line]
            for line in lines:
                self.assertLessEqual({"time", "level", "text"}, set(line))
            ends = {line["peer"]: line for line in lines if line.get("event") == "connection-ended"}
            self.assertEqual(len([1 for line in lines if " ended: " in line["text"]]), 3)
            outcomes = {peer: line["outcome"] for peer, line in ends.items()}
            self.assertEqual(outcomes[one.peer], "connection-lost")
            self.assertEqual(outcomes[two.peer], "partner-left")
            self.assertEqual(outcomes[bad.peer], "invalid-json")
            for line in ends.values():
                self.assertEqual(line["transport"], "WebSocket")
                self.assertTrue(0 <= line["duration"] < PATIENCE)
                self.assertGreater(line["received"], 100)
                self.assertGreater(line["sent"], 0)
            [told] = [line for line in lines if line.get("event") == "connection-refused"]
            self.assertEqual(told["peer"], refused.peer)
            self.assertEqual(told["outcome"], "too-many-connections")

    @inThread
    def testJsonUnderTwistd(self) -> None:
        """A log file is JSON under twistd, too; twistd's own log on the terminal is not ours."""
        path = self.temporary() / "log"
        server = self.start(
            "-p", "0", "--token", (token := secret()), "-l", str(path),
            "--set", "ProxyServer.logFormat=json", twistd=True,
        )  # fmt: skip
        client = join(server.urls[0], token)
        server.signal(SIGTERM)
        self.assertEqual(client.goodbye(), (b"", 1013))
        self.assertEqual(server.wait(), 0)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        [end] = [line for line in lines if line.get("event") == "connection-ended"]
        self.assertEqual((end["outcome"], end["peer"]), ("shutdown-waiting", client.peer))
        self.assertDiscreet(server, more=[path.read_text()])
