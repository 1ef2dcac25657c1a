"""Whether a process is a member of a cluster, and what mistakes there can be."""

from __future__ import annotations

import socket
from pathlib import Path

from nymearemoteproxy.running.configuration.clusterplan import ClusterPlan
from nymearemoteproxy.running.options import FAILED
from tests.support.configured import ConfigurationCase, RereadCase

LOCAL = "redis://127.0.0.1:7000/1"
REMOTE = "redis://192.0.2.1"
SECRET = "sixteen letters!"


class ClusterCase(ConfigurationCase):
    """A configuration with a cluster."""

    def plan(self, *arguments: str, file: str | None = None) -> ClusterPlan:
        """Return how to be a member."""
        plan = self.configured(*arguments, file=file).cluster
        assert plan is not None
        return plan


class PlanTests(ClusterCase):
    """What is decided."""

    def test_none(self) -> None:
        """Nobody is a member who was not told so."""
        self.assertIsNone(self.configured().cluster)

    def test_local(self) -> None:
        """With a directory on this machine links are of this machine, unless said otherwise."""
        plan = self.plan("--cluster", LOCAL)
        self.assertEqual([str(each) for each in plan.directories], [LOCAL])
        self.assertEqual(plan.listener.description, "tcp:0:interface=127.0.0.1")
        self.assertTrue(plan.listener.isLocal)
        self.assertIsNone(plan.secret)
        self.assertIsNone(plan.address)
        self.assertEqual(plan.name, socket.gethostname())
        self.assertEqual((plan.linkTimeout, plan.directoryTimeout), (2.0, 1.0))

    def test_file(self) -> None:
        """All of it may be in the file; the command line says which directory all the same."""
        password, secret = self.write("open sesame\n"), self.write(f"{SECRET}\n")
        file = (
            f"[Cluster]\ndirectory=rediss://me@other:7001\ndirectoryPasswordFile={password}\n"
            f"secretFile={secret}\nlisten=tcp:2213\naddress=[2001:db8::1]:2214\nname=west\n"
            "linkTimeout=3000\ndirectoryTimeout=2000\n"
        )
        plan = self.plan(file=file)
        (url,) = plan.directories
        self.assertEqual((url.host, url.port, url.isTls), ("other", 7001, True))
        self.assertEqual((url.user, url.password), ("me", "open sesame"))
        self.assertEqual(plan.listener.description, "tcp:2213")
        self.assertEqual(plan.address, ("2001:db8::1", 2214))
        self.assertEqual(plan.name, "west")
        self.assertEqual((plan.linkTimeout, plan.directoryTimeout), (3.0, 2.0))
        assert plan.secret is not None
        self.assertEqual(len(plan.secret), 32)
        plan = self.plan("--cluster", LOCAL, "--cluster", "redis+unix:/run/r", file="[Cluster]\n")
        self.assertEqual([str(each) for each in plan.directories], [LOCAL, "redis+unix:/run/r"])

    def test_secret(self) -> None:
        """The end of its line makes no difference; another one does."""
        secrets = [
            self.plan("--cluster", LOCAL, file=f"[Cluster]\nsecretFile={self.write(text)}\n").secret
            for text in (SECRET, f"{SECRET}\r\n", "another " + SECRET)
        ]
        self.assertEqual(secrets[0], secrets[1])
        self.assertNotEqual(secrets[0], secrets[2])

    def test_shown(self) -> None:
        """Neither password nor secret is shown with the plan."""
        file = f"[Cluster]\nsecretFile={self.write(SECRET)}\n"
        shown = repr(self.plan("--cluster", "redis://me:sesame@127.0.0.1", file=file))
        self.assertNotIn("sesame", shown)
        self.assertNotIn(SECRET, shown)

    def test_warnings(self) -> None:
        """Without a secret of its own, who reads a directory elsewhere is told to be trusted."""
        arguments = ("--cluster", REMOTE, "--set", "Cluster.listen=tcp:2213")
        warnings = self.configured(*arguments).warnings
        self.assertIn("secretFile", "".join(warnings))
        file = f"[Cluster]\nsecretFile={self.write(SECRET)}\n"
        self.assertNotIn("secretFile", "".join(self.configured(*arguments, file=file).warnings))
        self.assertNotIn("secretFile", "".join(self.configured("--cluster", LOCAL).warnings))


class MistakeTests(ClusterCase):
    """What cannot be is said in one line."""

    def assertSaid(self, *words: str, arguments: tuple[str, ...], status: int = 2) -> None:
        """The operator is told these words."""
        said = self.assertMistake(*arguments, status=status)
        for word in words:
            self.assertIn(word, said)

    def test_unknownScheme(self) -> None:
        """A URL that is none of a Redis; what it holds is not repeated."""
        self.assertSaid("--cluster", "redis://", arguments=("--cluster", "http://me:sesame@host"))
        said = self.assertMistake("--cluster", "http://me:sesame@host")
        self.assertNotIn("sesame", said)

    def test_noListen(self) -> None:
        """Others may be on other machines, and could not reach this one."""
        self.assertSaid("listen", "tcp:2213", arguments=("--cluster", REMOTE))

    def test_withoutDirectory(self) -> None:
        """A setting that would be of no use."""
        for key in ("listen=tcp:1", "address=127.0.0.1:1", "secretFile=x"):
            arguments = ("--set", f"Cluster.{key}")
            self.assertSaid(f"[Cluster] {key.partition('=')[0]}", "directory", arguments=arguments)

    def test_listener(self) -> None:
        """Links bring their own TLS; what is no endpoint is none here either."""
        for text in ("tls:tcp:2213", "haproxy:tcp:2213", "2213"):
            arguments = ("--cluster", LOCAL, "--set", f"Cluster.listen={text}")
            self.assertSaid("listen", text, arguments=arguments)

    def test_address(self) -> None:
        """A name would have to be looked up by each member; a port is needed."""
        for text in ("host:2213", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:x", "192.0.2.1:65536"):
            arguments = ("--cluster", LOCAL, "--set", f"Cluster.address={text}")
            self.assertSaid("address", text, "192.0.2.1:2213", arguments=arguments)

    def test_files(self) -> None:
        """What is not there, or is too short to be a secret."""
        missing = str(Path(self.mktemp()).absolute())
        for key in ("secretFile", "directoryPasswordFile"):
            arguments = ("--cluster", LOCAL, "--set", f"Cluster.{key}={missing}")
            self.assertSaid("cannot read", missing, arguments=arguments, status=FAILED)
        short = self.write("fifteen letters\n")
        arguments = ("--cluster", LOCAL, "--set", f"Cluster.secretFile={short}")
        self.assertSaid("16", short, arguments=arguments, status=FAILED)

    def test_twoPasswords(self) -> None:
        """One in the URL and one in a file."""
        file = self.write("sesame")
        arguments = (
            "--cluster",
            "redis://me:sesame@127.0.0.1",
            "--set",
            f"Cluster.directoryPasswordFile={file}",
        )
        self.assertSaid("password", arguments=arguments)
        self.assertNotIn("sesame", self.assertMistake(*arguments))

    def test_notInstalled(self) -> None:
        """What speaks with the directory is an extra."""
        self.isInstalled = False
        arguments = ("--cluster", LOCAL)
        self.assertSaid("txredisapi", "pip install", arguments=arguments, status=FAILED)


class ReloadTests(ClusterCase, RereadCase):
    """A cluster is of the start."""

    def test_kept(self) -> None:
        """What the file says of it by now takes effect with the next start."""
        options = self.options()
        self.file.write_text("[Cluster]\ndirectory=redis://127.0.0.1\n")
        configuration, problems = options.reread()
        self.assertIsNone(configuration.cluster)
        self.assertIn("[Cluster] directory", "".join(configuration.warnings))
        self.assertEqual(problems, [])

    def test_secretIsGone(self) -> None:
        """The file of the secret may be away by now: nothing is read that was read at the start."""
        secret = Path(self.write(SECRET))
        self.file.write_text(f"[Cluster]\nsecretFile={secret}\n")
        options = self.options("--cluster", LOCAL)
        plan = options.configuration.cluster
        secret.unlink()
        configuration, problems = options.reread()
        self.assertIs(configuration.cluster, plan)
        self.assertEqual(problems, [])
