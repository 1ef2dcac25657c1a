"""The file with options: its syntax, and what it has the command do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.options import ClientOptions
from nymearemoteproxy.client.rules.optionsfile import parseOptions
from nymearemoteproxy.common.certificates import fingerprint, selfSigned
from tests.client.test_registering import offering
from tests.support.cores import anyUuid
from tests.support.endtoend import CLIENT, ROOT, runForked

NAMES = ("url", "name", "token")
FLAGS = ("insecure", "verbose")

MISTAKE = r"\Anymea-remoteproxy-client: [^\n]+\n\Z"


class SyntaxTests(SynchronousTestCase):
    def parsed(self, text: str) -> dict[str, str | bool]:
        return parseOptions(text.encode(), NAMES, FLAGS)

    def test_good(self) -> None:
        text = (
            '\ufeff# a comment\r\n; another = one\n\n  url=wss://h/?a=b # c\t\nname = "a ; b"\n'
            'token = "\n insecure = Yes\nverbose = 0'
        )
        expected = {
            "url": "wss://h/?a=b # c",
            "name": "a ; b",
            "token": '"',
            "insecure": True,
            "verbose": False,
        }
        self.assertEqual(self.parsed(text), expected)
        self.assertEqual(self.parsed(""), {})

    def test_mistakes(self) -> None:
        for text, words in {
            "url": "line 1: it is no NAME = VALUE and no comment",
            "\n\n= secret": "line 3: it is no NAME = VALUE and no comment",
            "secret-without-sign": "line 1: it is no NAME = VALUE and no comment",
            "url: secret": "line 1: it is no NAME = VALUE and no comment",
            "[Client]": "line 1: there are no sections",
            "[secret = ]": "line 1: there are no sections",
            "ulr = secret": "line 1: there is no option 'ulr'; the nearest one is url",
            "--url = secret": "line 1: there is no option '--url'; the nearest one is url",
            "zzzz = secret": "line 1: there is no such option; there are insecure, name, token",
            "url = secret\nurl = x": "line 2: url stands there a second time",
            "url =": "line 1: url has no value",
            'url = ""': "line 1: url has no value",
            "insecure = secret": "line 1: insecure is true or false",
            "insecure": "line 1: it is no NAME = VALUE",
        }.items():
            problem = self.assertRaises(ValueError, self.parsed, text)
            self.assertIn(words, str(problem))
            self.assertTrue(str(problem).isprintable())
            self.assertNotIn("secret", str(problem))
        problem = self.assertRaises(ValueError, parseOptions, b"url = \xff", NAMES, FLAGS)
        self.assertEqual(str(problem), "it is not UTF-8")


class OptionsTests(SynchronousTestCase):
    def options(self, text: str, *arguments: str) -> ClientOptions:
        path = Path(self.mktemp()).resolve()
        path.write_text(text)
        options = ClientOptions()
        options.parseOptions(["--configuration", str(path), *arguments])
        return options

    def test_everyOptionCanStandThere(self) -> None:
        """But for those that are about the run, not about what it does."""
        known = {name.rstrip("=") for name in ClientOptions().longOpt}
        for name in known - {"configuration", "help", "version", "insecure", "verbose"}:
            with self.assertRaises(usage.UsageError) as raised:
                self.options(f"{name} =")
            self.assertIn(f"line 1: {name} has no value", str(raised.exception))
        self.assertEqual(self.options("url=ws://h\ntoken=t\nverbose=on")["verbose"], True)
        for name in ("configuration", "help", "version"):
            with self.assertRaises(usage.UsageError) as raised:
                self.options(f"{name} = x")
            self.assertIn("line 1: there is no", str(raised.exception))

    def test_commandLineCountsFirst(self) -> None:
        file = "url = ws://file\nname = file\ntoken = file\nnonce = file"
        options = self.options(file, "--url", "ws://line", "--name", "nymea-remoteproxy-client")
        named = [options[name] for name in ("url", "name", "token", "nonce")]
        self.assertEqual(named, ["ws://line", "nymea-remoteproxy-client", "file", "file"])
        self.assertEqual(self.options(file)["name"], "file")

    def test_commandLineReplaces(self) -> None:
        """What the command line has, the file need not have in another way."""
        options = self.options("url=ws://h\ntoken-file=/nonexistent", "--token", "line")
        self.assertEqual((options["token"], options["token-file"]), ("line", None))

    def test_front(self) -> None:
        """A file can say both, and that nothing is said is a third; end to end there are none."""
        serve = f"url=ws://h\nserve={anyUuid()}\nforward=h:1\n"
        for text, arguments, front in (
            ("", (), None),
            ("front = true", (), True),
            ("front = false", (), False),
            ("no-front = true", (), False),
            ("no-front = false", (), None),
            ("front = true", ("--no-front",), False),
            ("front = false", ("--front",), True),
            ("no-front = true", ("--front",), True),
            ("end-to-end = true", (), False),
        ):
            endpoint = self.options(serve + text, *arguments).endpoint(None, lambda text: None)
            phase = endpoint.control()
            phase.receive(offering({"o:front": "Bool"}))
            given = json.loads(phase.further)["params"].get("front")
            self.assertIs(given, front, (text, arguments))

    def test_withoutName(self) -> None:
        self.assertEqual(self.options("url=ws://h\ntoken=t")["name"], "nymea-remoteproxy-client")

    def test_ownCertificateIsReadOnce(self) -> None:
        """What is told of it is told of the one that is shown, whatever the file has by then."""
        first, second = (selfSigned(Path(self.mktemp())) for _ in range(2))
        options = self.options(
            f"url=ws://h\nend-to-end=yes\nend-certificate={first.certificate}",
            *("--serve", anyUuid(), "--forward", "h:1"),
        )
        shown = fingerprint(first)
        self.assertIsNotNone(options.side())
        Path(second.certificate).replace(first.certificate)
        self.assertNotEqual(fingerprint(first), shown)
        self.assertIn(shown, options.toBeGiven())

    def test_mistakesAreOneLineAndStatus2(self) -> None:
        path = Path(self.mktemp()).resolve()
        for text, words in {
            "ulr = x": f"{path}: line 1: ",
            "url = http://h": "must start with",
            "url = wss://h\nproxy = https://me:secret@h": "--proxy: ",
            "url = wss://h\nfingerprint = 12": "fingerprint",
            "url = wss://h\nserve = x": "--serve needs --forward",
            "url = wss://h\nend-to-end = yes\nend-ca = x": "--end-to-end and --end-ca exclude",
            "url = wss://h\nserve = x\nforward = h:1": "is no uuid",
        }.items():
            path.write_text(f"{text}\n")
            arguments = ["-C", str(path)]
            status, told = runForked(CLIENT, arguments, {"NYMEA_REMOTEPROXY_TOKEN": "token"})
            self.assertEqual(status, 2, told)
            self.assertRegex(told, MISTAKE)
            self.assertIn(words, told)
            self.assertNotIn("secret", told)
        path.unlink()
        status, told = runForked(CLIENT, arguments, {})
        self.assertEqual(status, 2)
        self.assertRegex(told, MISTAKE)
        self.assertIn("No such file", told)

    def test_mistakeInTheEnvironment(self) -> None:
        environment = {"NYMEA_REMOTEPROXY_TOKEN": "t", "https_proxy": "https://me:secret@h:1"}
        status, told = runForked(CLIENT, ["--url", "wss://h.invalid"], environment)
        self.assertEqual(status, 1)
        self.assertRegex(told, MISTAKE)
        self.assertIn("https_proxy: ", told)
        self.assertNotIn("secret", told)


class ServiceTests(SynchronousTestCase):
    """The unit, and the example of its file."""

    unit = ROOT / "debian" / "nymea-remoteproxy-client@.service"

    def test_example(self) -> None:
        """It can be used as it is, but for the proxy, and so can what is commented out."""
        text = (ROOT / "docs" / "examples" / "client.conf").read_text("utf-8")
        for each in (text, text.replace("\n;", "\n")):
            path = Path(self.mktemp()).resolve()
            path.write_text(each)
            options = ClientOptions()
            options.parseOptions(["--configuration", str(path)])
            endpoint = options.endpoint(None, lambda text: None)
            self.assertEqual(endpoint.route.url.where, "proxy.example.org:443")

    def test_isAsLockedInAsTheServers(self) -> None:
        """What the server's unit takes away, this one does too."""

        def restrictions(path: Path) -> set[str]:
            names = ("Lock", "Private", "Protect", "Remove", "Restrict", "NoNew", "SystemCall")
            lines = path.read_text("utf-8").splitlines()
            return {line for line in lines if line.startswith(names)} - {
                line for line in lines if line.startswith(("Restart", "RestrictF"))
            }

        server = restrictions(ROOT / "debian" / "nymea-remoteproxy.service")
        self.assertGreater(len(server), 15)
        self.assertEqual(server - restrictions(self.unit), set())

    def test_systemdHasNoComplaint(self) -> None:
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd is not installed")
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        path = directory / self.unit.name.replace("@", "@home")
        text = self.unit.read_text("utf-8").replace(
            "/usr/bin/nymea-remoteproxy-client", "/bin/true"
        )
        path.write_text("".join(line for line in text.splitlines(True) if "man:" not in line))
        verified = subprocess.run(
            ["systemd-analyze", "verify", str(path)], capture_output=True, text=True
        )
        self.assertEqual((verified.returncode, verified.stderr), (0, ""))
