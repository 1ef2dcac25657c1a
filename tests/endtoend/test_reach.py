"""docs/reach-home-assistant.rst as it is written, but for names and ports of this machine."""

from __future__ import annotations

import re
import shlex
import subprocess

from tests.support.documented import commandsOf
from tests.support.endtoend import (
    CLIENT,
    PATIENCE,
    ROOT,
    Certificate,
    EndToEnd,
    Program,
    Server,
    environmentOfPrograms,
    inThread,
)
from tests.support.homepage import readHome, serveHome

PAGE = (ROOT / "docs" / "reach-home-assistant.rst").read_text("utf-8")
ENCRYPTED, SSH = 1, 2
"""Places of INI files on the page."""

EXAMPLE = (ROOT / "docs" / "examples" / "client.conf").read_text("utf-8")
PROXY = "wss://proxy.example.org"


def files() -> list[str]:
    """Return the INI files of the page, in their order."""
    blocks = re.findall(r"^\.\. code-block:: ini\n\n((?:(?:    .*)?\n)+)", PAGE, re.M)
    return [re.sub("^    ", "", block, flags=re.M) for block in blocks]


class ReachTests(EndToEnd):
    @inThread
    def setUp(self) -> None:
        self.directory = self.temporary()
        self.certificate = Certificate(str(self.directory))
        self.port = serveHome(self)
        self.uuids = re.findall(r"^serve = (\S+)", EXAMPLE + files()[SSH], re.M)
        self.url = self.proxy().urls[0].replace("127.0.0.1", "localhost")

    def proxy(self) -> Server:
        """Start the nymea-remoteproxy with the file of the page."""
        text = files()[0]
        servers = self.directory / "servers"
        servers.write_text("\n".join(self.uuids))
        for there, here in {
            "/etc/nymea/proxy.pem": self.certificate.certificate,
            "/etc/nymea/proxy.key": self.certificate.key,
            "/etc/nymea/servers": str(servers),
            "port = 443": "port = 0",
        }.items():
            self.assertEqual(text.count(there), 1)
            text = text.replace(there, here)
        path = self.directory / "proxy.conf"
        path.write_text(text)
        return self.start("--configuration", str(path), "--host", "127.0.0.1")

    def launch(self, *arguments: str) -> Program:
        """Start the client."""
        command = [*CLIENT, *arguments, "--ca", self.certificate.certificate]
        program = Program(command, None, str(self.directory))
        self.addCleanup(program.stop)
        return program

    def serve(self, name: str, text: str, place: str) -> Program:
        """Run the client at home with a file, as the unit does."""
        path = self.directory / f"{name}.conf"
        self.assertIn(f"url = {PROXY}\n", text)
        self.assertIn(f"forward = {place}\n", text)
        text = text.replace(PROXY, self.url).replace(place, f"127.0.0.1:{self.port}")
        path.write_text(text)
        program = self.launch("--configuration", str(path))
        program.waitFor("registered as server ")
        return program

    def here(self, arguments: list[str]) -> list[str]:
        """Return a command of the page with names and ports of this machine."""
        changed = {PROXY: self.url, "127.0.0.1:8123": f"127.0.0.1:{self.port}", "8123": "0"}
        return [changed.get(argument, argument) for argument in arguments]

    def visit(self, command: str) -> None:
        """Open the page through the client elsewhere."""
        elsewhere = self.launch(*self.here(shlex.split(command)[1:]))
        address = elsewhere.waitFor(r"listening on (\S+)")[1]
        self.assertEqual(readHome(address), b"at home")

    @inThread
    def testInATerminal(self) -> None:
        home, elsewhere = commandsOf(self)
        self.launch(*self.here(shlex.split(home)[1:])).waitFor("registered as server 6f4ff7c5-")
        self.visit(elsewhere)

    @inThread
    def testAsAService(self) -> None:
        self.serve("home", EXAMPLE, "127.0.0.1:8123")
        self.visit(
            f"nymea-remoteproxy-client --url {PROXY} --server-uuid {self.uuids[0]} --listen 8123"
        )

    @inThread
    def testEncrypted(self) -> None:
        """With the line for the file, and what the journal says."""
        home = self.serve("home", EXAMPLE + files()[ENCRYPTED], "127.0.0.1:8123")
        (command,) = commandsOf(self)
        (said,) = re.findall(r"end-fingerprint (\S+)", home.text())
        self.visit(re.sub(r"(?<=--end-fingerprint )\S+", said, command))

    @inThread
    def testSsh(self) -> None:
        """By what ssh would run; another service answers."""
        self.serve("ssh", files()[SSH], "127.0.0.1:22")
        (line,) = re.findall(r"ProxyCommand nymea-remoteproxy-client (.*)", PAGE)
        said = subprocess.run(
            [*CLIENT, *self.here(shlex.split(line)), "--ca", self.certificate.certificate],
            input=b"GET / HTTP/1.0\r\n\r\n",
            capture_output=True,
            env=environmentOfPrograms(),
            cwd=ROOT,
            timeout=PATIENCE,
        )
        self.assertTrue(said.stdout.endswith(b"\r\n\r\nat home"), said.stderr)
