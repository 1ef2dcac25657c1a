"""The options of the server, how they go with the settings, and what is said of mistakes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as globalReactor

from nymearemoteproxy import __version__
from nymearemoteproxy.connections.records import TCP, WEBSOCKET
from nymearemoteproxy.listening.listeners import (
    BACKLOG,
)
from nymearemoteproxy.running import options
from nymearemoteproxy.running.options import FAILED, WRONG_USAGE, ServerOptions
from nymearemoteproxy.running.service import ProxyService
from nymearemoteproxy.running.settings.inifile import MOST_DUPLICATES
from tests.support.certificates import issue, pem
from tests.support.configured import ConfigurationCase, RereadCase

PROPERTY = settings(max_examples=150, deadline=None, database=None)


class OptionTests(ConfigurationCase):
    """Every option, by its long and its short name."""

    def test_logging(self) -> None:
        """Log file."""
        for option in ("--logging", "-l"):
            self.assertEqual(self.configured(option, "/x/y.log").logFile, "/x/y.log")

    def test_server(self) -> None:
        """With an authentication server, no token is made."""
        for option in ("--server", "-s"):
            configured = self.configured(option, "https://a.example/b")
            self.assertEqual(configured.settings.authentication.server, "https://a.example/b")
            self.assertIsNone(configured.acceptedTokens)
            self.assertIsNone(configured.generatedToken)

    def test_portAndHost(self) -> None:
        """Port and address of the main listener."""
        for option in ("--port", "-p"):
            configured = self.configured(option, "0", "--host", "::1")
            self.assertEqual(
                self.descriptions(configured),
                [(f"tcp:0:interface=\\:\\:1:backlog={BACKLOG}", WEBSOCKET, True)],
            )

    def test_verbose(self) -> None:
        """May be given twice."""
        self.assertEqual(self.configured("-v").verbosity, 1)
        self.assertEqual(self.configured("--verbose", "-v").verbosity, 2)
        self.assertEqual(self.configured("-vv").verbosity, 2)

    def test_configuration(self) -> None:
        """The INI file."""
        path = self.write("[ProxyServer]\nname=x\n")
        for option in ("--configuration", "-C"):
            self.assertEqual(self.configured(option, path).settings.proxyServer.name, "x")

    def test_websocket(self) -> None:
        """Given at all, it replaces the main listener."""
        configured = self.configured("--websocket", "tcp:1", "--websocket", "tls:unix:/run/x")
        self.assertEqual(
            self.descriptions(configured),
            [("tcp:1", WEBSOCKET, False), ("unix:/run/x", WEBSOCKET, True)],
        )

    def test_stream(self) -> None:
        """Comes besides the main listener."""
        configured = self.configured("-p", "5", "--stream", "tcp:1", "--stream", "ssl:2")
        self.assertEqual(
            self.descriptions(configured)[1:], [("tcp:1", TCP, False), ("tcp:2", TCP, True)]
        )
        self.assertEqual(configured.listeners[0].transport, WEBSOCKET)

    def test_set(self) -> None:
        """One setting."""
        configured = self.configured("--set", "ProxyServer.aloneTimeout=1500")
        self.assertEqual(configured.timing.alone, 1.5)

    def shown(self, option: str) -> str:
        """Return what an option shows before it ends the program with status 0."""
        output = io.StringIO()
        self.patch(sys, "stdout", output)
        ended = self.assertRaises(SystemExit, ServerOptions().parseOptions, [option])
        self.assertIn(ended.code, (0, None))
        return output.getvalue()

    def test_version(self) -> None:
        """Name and version."""
        for option in ("--version", "-V"):
            self.assertEqual(self.shown(option), f"nymea-remoteproxy {__version__}\n")

    def test_help(self) -> None:
        """Every option of the public interface is there."""
        for option in ("--help", "-h"):
            shown = self.shown(option)
            for name in (
                "-h, --help",
                "-V, --version",
                "-l, --logging=",
                "-s, --server=",
                "-p, --port=",
                "--host=",
                "-c, --certificate=",
                "-k, --certificate-key=",
                "-v, --verbose",
                "-C, --configuration=",
                "--websocket=",
                "--stream=",
                "--token=",
                "--token-file=",
                "--accept-any-token",
                "--tunnelproxy",
                "--set=",
            ):
                self.assertIn(name, shown)


class FingerprintTests(ConfigurationCase):
    """--fingerprint."""

    def shown(self, *arguments: str, file: str | None = None) -> tuple[object, str, str]:
        """Return the exit status, standard output and standard error."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            ended = self.assertRaises(
                SystemExit, self.configured, "--fingerprint", *arguments, file=file
            )
        return ended.code, out.getvalue(), errors.getvalue()

    def issued(self) -> tuple[str, str, str]:
        """Return the paths of a certificate and of its key, and the fingerprint."""
        certificate, key = issue("test", None)
        digits = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
        both = pem(certificate, key)
        middle = both.index(b"-----BEGIN PRIVATE KEY")
        return self.write(both[:middle]), self.write(both[middle:]), digits.hex(":").upper()

    def test_given(self) -> None:
        """That of the certificate that is given, by an option or in the file; nothing else."""
        path, key, print_ = self.issued()
        expected = (0, f"{print_}\n", "")
        self.assertEqual(self.shown("--certificate", path, "--certificate-key", key), expected)
        self.assertEqual(self.shown(file=f"[SSL]\ncertificate={path}\n"), expected)
        self.assertEqual(self.shown("--stream", "tls:tcp:1", "--certificate", path), expected)

    def test_keyOfRoot(self) -> None:
        """Neither key nor tokens are read: who must not see them may well ask."""
        path, _key, print_ = self.issued()
        said = self.shown("-c", path, "--certificate-key=/no", "--token-file=/no")
        self.assertEqual(said, (0, f"{print_}\n", ""))

    def test_selfSigned(self) -> None:
        """That of the one which the server made; before it has, one line says how to have it."""
        status, out, errors = self.shown()
        self.assertEqual((status, out), (FAILED, ""))
        self.assertRegex(errors, f"^nymea-remoteproxy: there is no {self.state}/.* yet: .*\n$")
        self.assertFalse(self.state.exists(), "nothing is made")
        made = self.configured("--token=t").fingerprint
        self.assertEqual(self.shown(), (0, f"{made}\n", ""))

    def test_several(self) -> None:
        """A line each on standard output; whose it is, standard error says."""
        (one, key, first), (two, _key, second) = sorted((self.issued(), self.issued()))
        status, out, errors = self.shown(
            *("-c", two, "-k", key, "--stream", f"ssl:1:privateKey={key}:certKey={one}")
        )
        self.assertEqual((status, out), (0, f"{first}\n{second}\n"))
        self.assertEqual(
            errors,
            f"nymea-remoteproxy: the certificate {one}:\n"
            f"nymea-remoteproxy: the certificate {two}:\n",
        )

    def test_pages(self) -> None:
        """The admin pages may have a certificate of their own."""
        path, key, print_ = self.issued()
        admin = f"ssl:1:privateKey={key}:certKey={path}"
        said = self.shown("--websocket=tcp:1", "--admin", admin)
        self.assertEqual(said, (0, f"{print_}\n", ""))

    def test_mistakes(self) -> None:
        """They are told, all of them; without TLS there is nothing to show."""
        status, out, errors = self.shown("--certificate=/no", "--stream=tpc:1", "--set=x")
        self.assertEqual((status, out, errors.count("\n")), (WRONG_USAGE, "", 3))
        status, out, errors = self.shown("--certificate=/no")
        self.assertEqual((status, out, errors.count("\n")), (FAILED, "", 1))
        status, out, errors = self.shown("--websocket=tcp:1")
        self.assertEqual((status, out), (FAILED, ""))
        self.assertIn("no listener has TLS", errors)


class CheckTests(ConfigurationCase):
    """--check."""

    def check(self, *arguments: str, file: str | None = None) -> tuple[object, list[str]]:
        """Return the exit status, and what is said, without the name of the program."""
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            ended = self.assertRaises(SystemExit, self.configured, "--check", *arguments, file=file)
        lines = shown.getvalue().splitlines()
        for line in lines:
            self.assertTrue(line.startswith("nymea-remoteproxy: "), line)
        return ended.code, [line.removeprefix("nymea-remoteproxy: ") for line in lines]

    def test_good(self) -> None:
        """Nothing is made, and nothing else said."""
        self.assertEqual(self.check("--token=t"), (0, ["no mistakes"]))
        self.assertFalse(self.state.exists())

    def test_warnings(self) -> None:
        """They are told, and are no mistakes."""
        status, lines = self.check("--set=AWS.region=x", "--set=ProxyServer.aloneTimeout=8")
        self.assertEqual(status, 0)
        for line, word in zip(
            lines, ("[AWS] is ignored", "is 8000 meant", "as a service", "no mistakes"), strict=True
        ):
            self.assertIn(word, line)

    def test_every(self) -> None:
        """All is told that is wrong, in the order in which it is looked at."""
        missing = os.path.abspath(self.mktemp())
        ini = (
            "[ProxyServer]\nnam=x\naloneTimeout=soon\n[Limit]\nmaxConnections=1\n"
            f"[TunnelProxy]\nenabled=yes\nserverUuidFile={missing}\n"
            f"[Authentication]\ntokenFile={missing}\nserver=x\n"
            f"[SSL]\ncertificate={missing}\n"
            "[Admin]\nendpoint=tcp:x\n"
            "[Accounting]\ntunnelLog=/no/tunnels\n"
        )
        status, lines = self.check(
            "--websocket=tcp", "--stream=tpc:1", "--set=x", "--port=x", file=ini
        )
        self.assertEqual(status, FAILED)
        expected = (
            *("setting [ProxyServer] nam;", "aloneTimeout cannot be 'soon'", "section [Limit]"),
            *("server cannot be used", "--set x: write", "--port: ", '"tcp" cannot', '"tpc:1" is'),
            *('"tcp:x" cannot', "certificate", "token file", "server uuids", "/no/tunnels"),
        )
        self.assertEqual(len(lines), len(expected), lines)
        for line, word in zip(lines, expected, strict=True):
            self.assertIn(word, line)

    def test_duplicates(self) -> None:
        """A setting that is there twice hides no other mistake; too many of them are told once."""
        twice = "[ProxyServer]\nname=a\nname=b\nname=c\nnam=d\n"
        status, lines = self.check("--token=t", file=twice)
        self.assertEqual((status, len(lines)), (FAILED, 3))
        for line, word in zip(lines, ("in line 3", "in line 4", "setting [Pr"), strict=True):
            self.assertIn(word, line)
        _status, lines = self.check("--token=t", file="[ProxyServer]\n" + "name=a\n" * 1000)
        self.assertEqual(len(lines), MOST_DUPLICATES + 1)

    def test_start(self) -> None:
        """A start tells all of them, too, with its own exit statuses."""
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            refused = self.assertRaises(
                SystemExit, self.configured, "--token-file=/no", "--certificate=/no"
            )
        self.assertEqual((refused.code, shown.getvalue().count("\n")), (FAILED, 2))
        with contextlib.redirect_stderr(shown):
            refused = self.assertRaises(SystemExit, self.configured, "--token-file=/no", "--port=x")
        self.assertEqual((refused.code, shown.getvalue().count("\n")), (WRONG_USAGE, 4))

    def test_consequences(self) -> None:
        """What is missing only since its name was mistyped is no mistake of its own."""
        tokens = self.write("t")
        self.patch(options, "isJournal", lambda *_details: True)
        text = self.assertMistake(file=f"[Authentication]\ntokenFil={tokens}\n")
        self.assertIn("there is no setting [Authentication] tokenFil;", text)

    def test_usage(self) -> None:
        """There is no other exit status, be the option that is wrong before it or behind."""
        for arguments in ("--check", "--nothing"), ("--nothing", "--check"):
            self.assertMistake(*arguments, status=FAILED)

    def test_selfSigned(self) -> None:
        """One that is there has to be right."""
        self.state.mkdir()
        (self.state / "certificate.pem").write_text("damaged")
        status, (line,) = self.check("--token=t")
        self.assertEqual(status, FAILED)
        self.assertIn("remove it, and a new one is made", line)

    def test_notMade(self) -> None:
        """A start that fails leaves no certificate behind either."""
        self.assertMistake("--set=ProxyServer.nam=x", "--token=t")
        self.assertFalse(self.state.exists())


class PrecedenceTests(ConfigurationCase):
    """Command line, --set, file, default."""

    def port(self, *arguments: str, file: str | None = None) -> int:
        """Return the port of the main listener."""
        return self.configured(*arguments, file=file).settings.webSocketServer.port

    def test_order(self) -> None:
        """Each one beats those behind it, whatever the order they are given in."""
        file = "[WebSocketServer]\nport=1\n"
        override = ("--set", "WebSocketServer.port=2")
        option = ("--port", "3")
        self.assertEqual(self.port(), 2212)
        self.assertEqual(self.port(file=file), 1)
        self.assertEqual(self.port(*override), 2)
        self.assertEqual(self.port(*override, file=file), 2)
        self.assertEqual(self.port(*option, *override, file=file), 3)
        self.assertEqual(self.port(*override, *option, file=file), 3)
        self.assertEqual(self.port("-C", self.write(file), *override), 2)

    def test_lastOfItsKind(self) -> None:
        """Of the same kind the last counts."""
        self.assertEqual(self.port("-p", "3", "-p", "4"), 4)
        self.assertEqual(
            self.port("--set", "WebSocketServer.port=3", "--set", "WebSocketServer.port=4"), 4
        )

    def test_eachOption(self) -> None:
        """So it is for every option that stands for a setting."""
        both = self.certificate()
        tokens = self.write("x\n")
        for arguments, name, value in (
            (("--server", "http://b"), "Authentication.server", "http://b"),
            (("--host", "127.0.0.2"), "WebSocketServer.host", "127.0.0.2"),
            (("--certificate", both), "SSL.certificate", both),
            (("-c", both, "--certificate-key", both), "SSL.certificateKey", both),
            (("--token-file", tokens), "Authentication.tokenFile", tokens),
        ):
            section, _, key = name.partition(".")
            other = "127.0.0.3" if key == "host" else "http://other"
            configured = self.configured(
                *arguments, "--set", f"{name}={other}", file=f"[{section}]\n{key}={other}\n"
            )
            self.assertEqual(configured.settings[name], value)

    def test_logFile(self) -> None:
        """The file's log file is used when it says so."""
        self.assertIsNone(self.configured(file="[ProxyServer]\nlogFile=/f\n").logFile)
        file = "[ProxyServer]\nlogFile=/f\nwriteLogs=true\n"
        self.assertEqual(self.configured(file=file).logFile, "/f")
        self.assertEqual(self.configured("--logging", "/c", file=file).logFile, "/c")


class MistakeTests(ConfigurationCase):
    """Whatever the operator does wrong is told in one line."""

    def test_commandLine(self) -> None:
        """Options that do not exist, miss their value, or have a wrong one."""
        for arguments, word in (
            (("--nonsense",), "nonsense"),
            (("-x",), "x"),
            (("--port",), "port"),
            (("--accept-any-token=1",), "accept-any-token"),
            (("positional",), "arguments"),
            (("-p", "https"), "https"),
            (("-p", "65536"), "65536"),
            (("-s", "ftp://a"), "http:// or https://"),
            (("--set", "x"), "SECTION.KEY=VALUE"),
            (("--set", "ProxyServer.nam=x"), "name"),
            (("--set", "Proxyserver.name=x"), "[ProxyServer]"),
            (("--token", ""), "empty"),
            (("--tunnelproxy=1",), "tunnelproxy"),
        ):
            self.assertIn(word, self.assertMistake(*arguments))

    def test_whatIsMeant(self) -> None:
        """What was given, what is expected, and an option that may have been meant."""
        for arguments, said in (
            (("--tokens-file", "x"), "no option --tokens-file; the nearest one is --token-file"),
            (("--nonsense",), "there is no option --nonsense; --help shows all"),
            (("-x",), "there is no option -x; --help shows all"),
            (("-t",), "there is no option -t; --help shows all"),
            (("--admin", "unix:"), '--admin: "unix:" cannot be listened on: it needs the path'),
            (("--tok", "x"), "--tok may mean --token or --token-file"),
            (("--port",), "--port needs a value"),
            (("-p",), "-p needs a value"),
            (("--verbose=1",), "--verbose takes no value"),
            (("-m",), "there is no option -m: the C++ server let everybody in with it; here --acc"),
            (("--mock-authenticator",), "here it is --accept-any-token"),
            (("-p", "http"), "--port: [WebSocketServer] port cannot be 'http': use a whole number"),
            (("--admin", "8080"), "is it tcp:8080:interface=127.0.0.1?"),
            (("--stream", "tcp:abc"), "--stream: \"tcp:abc\" cannot be listened on: port 'abc'"),
            (("--set", "Admin.endpoint=8080"), '[Admin] endpoint: "8080" is no endpoint'),
            (("--set", "x"), "--set x: write SECTION.KEY=VALUE, such as "),
        ):
            self.assertIn(said, self.assertMistake(*arguments))

    def test_emptyValue(self) -> None:
        """A variable that is not set must not open what its value would have closed."""
        for option in "-l", "-s", "-p", "--host", "-c", "-k", "-C", "--admin", "--token-file":
            self.assertIn("needs a value", self.assertMistake(option, ""))

    def test_standardErrorIsClosed(self) -> None:
        """Then nobody is told."""
        for stderr in (None, open("/dev/full", "w")):  # noqa: SIM115 - closed below
            self.patch(sys, "stderr", stderr)
            ended = self.assertRaises(SystemExit, self.configured, "--nonsense")
            self.assertEqual(ended.code, WRONG_USAGE)
            if stderr is not None:
                with contextlib.suppress(OSError):
                    stderr.close()

    def test_broken(self) -> None:
        """Also when the parser's own message has several lines."""
        self.assertIn("broken", self.assertMistake(file="[a\nb\n\x00c"))
        self.assertIn("broken", self.assertMistake(file="[SSL]\nx\ny\n"))

    def test_secretsAreNotTold(self) -> None:
        """No text quotes a token or a password."""
        path = self.write("sesame\n")
        for arguments, lines in (
            (("--token", "sesame", "-p", "x"), 1),
            (("--token", "sesame", "--accept-any-token", "--host", "0.0.0.0"), 2),
            (("--set", f"Authentication.clientSecretFile={path}"), 1),
        ):
            self.assertNotIn("sesame", self.assertMistake(*arguments, lines=lines))

    def test_listening(self) -> None:
        """What only Twisted or the system can find wrong ends in one line, too."""
        for description in (
            "",
            "nonsense:1",
            "tcp",
            "tcp:",
            "tcp:port",
            "tcp:70000:interface=127.0.0.1",
            "tcp:-1:interface=127.0.0.1",
            "tcp:1:colour=red",
            "tcp:0:interface=192.0.2.1",
            "tcp:0:interface=no address",
            "unix:/dev/null/x.sock",
            "unix:/tmp/" + "x" * 200,
            "systemd:domain=INET:index=7",
            "haproxy:nonsense:1",
            "tls:nonsense:1",
        ):
            options = ServerOptions()
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    options.parseOptions(["--token", "x", "--websocket", description])
                service = ProxyService(globalReactor, options)
                service.privilegedStartService()
            except SystemExit as mistake:
                self.assertTrue(str(mistake).startswith("nymea-remoteproxy: "), mistake)
                self.assertNotIn("\n", str(mistake))
            else:
                self.fail(f"it listens on {description!r}")

    @PROPERTY
    @given(
        st.lists(
            st.sampled_from(["-p", "--set", "--host", "-s", "--token", "--stream", "-v", "x"])
            | st.text(st.characters(blacklist_categories=("Cs",)), max_size=12),
            max_size=5,
        )
    )
    def test_anyArguments(self, arguments: list[str]) -> None:
        """Whatever is written, it is a configuration or a SystemExit."""
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                options = ServerOptions()
                options.parseOptions(arguments)
                self.assertTrue(options.configuration.listeners)
            except SystemExit as ended:
                self.assertIn(ended.code, (0, FAILED, WRONG_USAGE))
                lines = said.getvalue().splitlines()
                self.assertEqual(bool(lines), ended.code != 0)
                for line in lines:
                    self.assertTrue(line.startswith("nymea-remoteproxy: "), line)


class RereadTests(RereadCase):
    """Everything is read anew. More is in the end-to-end tests."""

    def test_nothingChanged(self) -> None:
        """The same comes out, also the token that was made."""
        for arguments in (), ("--token", "t"), ("--accept-any-token",), ("--server", "http://a/"):
            options = self.options(*arguments)
            before = options.configuration
            after, problems = options.reread()
            self.assertEqual(problems, [])
            self.assertIs(options.configuration, after)
            for name in ("listeners", "timing", "bounds", "acceptedTokens", "generatedToken"):
                self.assertEqual(getattr(after, name), getattr(before, name))
            self.assertEqual(after.fingerprint, before.fingerprint)
            self.assertEqual(set(after.certificates), set(before.certificates))

    def test_commandLineFirst(self) -> None:
        """What it says is not overridden by a file that is read anew."""
        options = self.options("--token", "t", "--set", "ProxyServer.name=fixed")
        self.file.write_text("[ProxyServer]\nname=new\naloneTimeout=1000\n")
        after, problems = options.reread()
        self.assertEqual(problems, [])
        self.assertEqual(after.settings.proxyServer.name, "fixed")
        self.assertEqual(after.timing.alone, 1.0)

    def test_warningsDoNotGrow(self) -> None:
        """However often a broken file is read."""
        self.file.write_text("[AWS]\na=b\n[Limits]\nmaxConnections=1000000\n")
        options = self.options("--token", "t")
        warnings = options.configuration.warnings
        self.assertEqual(len(warnings), 2)
        self.file.write_text("broken")
        for _ in range(3):
            after, problems = options.reread()
            self.assertEqual(len(problems), 1)
            self.assertEqual(after.warnings, warnings)

    def test_noCertificateAnyMore(self) -> None:
        """No client expects a self-signed one all of a sudden."""
        certificate = self.write(pem(*issue("localhost", None)).decode())
        self.file.write_text(f"[SSL]\ncertificate={certificate}\n")
        options = self.options("--token", "t", "--host", "127.0.0.1")
        before = options.configuration.certificates
        self.file.write_text("")
        for _ in range(2):
            after, problems = options.reread()
            self.assertEqual(problems, ["the certificate stays as it was: none is given any more"])
            self.assertIs(after.certificates[None], before[None])
            self.assertIsNone(after.fingerprint)

    def test_mistakeOfTheNextStart(self) -> None:
        """What does not go together only once a setting takes effect is found now."""
        tokens = self.write("t")
        head = f"[Authentication]\ntokenFile={tokens}\n"
        self.file.write_text(head)
        options = self.options()
        jwks = "https://id.example.org/keys"
        self.file.write_text(f"{head}jwks={jwks}\npairing=subject\n")
        after, problems = options.reread()
        self.assertEqual(problems, [])
        self.assertEqual(after.acceptedTokens, ["t"])
        (mistake,) = options.startMistakes
        self.assertIn("[Authentication] pairing = subject needs either", mistake)
        self.file.write_text(f"{head}pairing=none\n")
        _after, problems = options.reread()
        self.assertEqual((len(problems), options.startMistakes), (1, []), "it is told once")
        missing = os.path.abspath(self.mktemp())
        self.file.write_text(f"{head}[Accounting]\ntunnelLog={missing}/log\n")
        options.reread()
        (mistake,) = options.startMistakes
        self.assertIn("cannot write the tunnel log", mistake)
        options.parent = {"uid": 1000, "nodaemon": True}
        options.reread()
        self.assertEqual(options.startMistakes, [], "it has other rights then")
        self.file.write_text(head)
        options.reread()
        self.assertEqual(options.startMistakes, [])

    def test_severalProblems(self) -> None:
        """Each has its line; the rest is new."""
        tokens, uuids = (
            Path(self.write("t")),
            Path(self.write("00000000-0000-4000-8000-000000000001")),
        )
        head = f"[Authentication]\ntokenFile={tokens}\n[TunnelProxy]\nserverUuidFile={uuids}\n"
        self.file.write_text(head)
        options = self.options("--tunnelproxy")
        allowed = options.configuration.allowedServers
        tokens.write_text("")
        uuids.unlink()
        self.file.write_text(f"{head}[ProxyServer]\nname=new\nlogFormat=json\n")
        for _ in range(2):
            after, problems = options.reread()
            self.assertEqual(
                [text.partition(":")[0] for text in problems],
                [
                    "the tokens stay as they were",
                    "the server uuids stay as they were",
                ],
            )
            self.assertIn(
                "[ProxyServer] logFormat takes effect with the next start", after.warnings
            )
            self.assertEqual(after.settings.proxyServer.name, "new")
            self.assertEqual((after.acceptedTokens, after.allowedServers), (["t"], allowed))
