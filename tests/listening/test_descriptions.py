"""Owns the checks of what is said of places that cannot be listened on."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.listening.descriptions import problemOf, whyNot

PROPERTY = settings(max_examples=200, deadline=None, database=None)


class ProblemTests(SynchronousTestCase):
    """Descriptions."""

    def test_right(self) -> None:
        """Of what can be listened on, and of what only Twisted can judge, nothing is said."""
        for description in (
            "tcp:2212",
            "tcp:0:127.0.0.1",
            "tcp:65535:interface=\\:\\:1:backlog=1",
            "tcp:port=1:interface=",
            "tls:tcp:1:backlog=2147483647",
            "haproxy:tls:tcp:1",
            "ssl:1",
            "ssl:1:privateKey=/a\\:b:certKey=/c:extraCertChain=/d",
            "unix:/run/x",
            "unix:/run/a\\=b",
            "unix:address=/run/x:mode=0660:lockfile=0",
            "systemd:domain=INET6:index=0",
            "systemd:name=x",
            "tcp6:80",
            "tcp6:80:50:interface=\\:\\:1",
        ):
            self.assertIsNone(problemOf(description), description)

    def test_meant(self) -> None:
        """A port, an address or a URL is no description, but one can tell what was meant."""
        for given_, meant in (
            ("8080", "tcp:8080:interface=127.0.0.1"),
            ("tls:8080", "tls:tcp:8080:interface=127.0.0.1"),
            (":8080", "tcp:8080:interface=127.0.0.1"),
            ("0.0.0.0:443", "tcp:443:interface=0.0.0.0"),
            ("localhost:80", "tcp:80:interface=localhost"),
            ("[::1]:80", "tcp:80:interface=\\:\\:1"),
            ("wss://a.example:443/x", "tls:tcp:443:interface=a.example"),
            ("tcp://[::]:443", "tcp:443:interface=\\:\\:"),
            ("https://127.0.0.1:8080/", "tls:tcp:8080:interface=127.0.0.1"),
            ("/run/x.sock", "unix:/run/x.sock"),
            ("TCP:80", "tcp:80"),
        ):
            self.assertEqual(
                problemOf(given_), f'"{given_}" is no endpoint description; is it {meant}?'
            )
            self.assertIsNone(problemOf(meant))

    def test_notMeant(self) -> None:
        """Otherwise there is an example."""
        for given_ in (
            "",
            "nonsense",
            "tls:",
            "haproxy:",
            "udp:80",
            "stdio:",
            "wss://x",
            "http://",
            "a b:1",
        ):
            said = problemOf(given_) or ""
            self.assertIn(f'"{given_}" is no endpoint description, such as tcp:8080:', said)

    def test_arguments(self) -> None:
        """What is wrong with one is told, and what it should be."""
        for given_, said in (
            ("tcp", "needs a port, such as tcp:2212"),
            ("tcp:", "needs a port"),
            ("ssl:", "needs a port, such as ssl:2212"),
            ("tcp6", "needs a port, such as tcp6:2212"),
            ("tcp6:1:mode=600", "tcp6: has no argument 'mode'"),
            ("systemd", "such as systemd:index=0"),
            ("tls:systemd:", "such as systemd:index=0"),
            ("autobahn", "it needs arguments, behind autobahn:"),
            ("tcp:" + "9" * 5000, "is no number"),
            ("tcp:1:port=2", "port is given twice"),
            ("tcp:1:interface=a:interface=b", "interface is given twice"),
            ("tcp:abc", "port 'abc' is no number from 0 to 65535"),
            ("tcp:-1", "port '-1'"),
            ("tls:tcp:65536", "port '65536'"),
            ("tcp:1:backlog=0", "backlog '0' is no number from 1 to 2147483647"),
            ("tcp:1:backlog=2147483648", "backlog"),
            ("tcp:1:backlog=", "backlog is empty"),
            ("tcp:1:interface=::1", "a colon inside an argument needs a backslash"),
            ("tcp:1:a:2:b", "backslash"),
            ("tcp:1:colour=red", "tcp: has no argument 'colour'; it has port, interface, backlog"),
            ("ssl:1:privateKey=", "privateKey is empty"),
            ("unix", "needs the path of a socket"),
            ("unix:", "needs the path"),
            ("unix:/x:mode=999", "mode '999' is no octal number from 0 to 777, such as 660"),
            ("unix:/x:mode=1777", "mode '1777'"),
        ):
            self.assertIn(f'"{given_}" cannot be listened on: ', problemOf(given_) or "")
            self.assertIn(said, problemOf(given_) or "")

    def test_hostBeforePort(self) -> None:
        """As URLs have it; it is told what to write instead, and that can be listened on."""
        for given_, meant in (
            ("tcp:127.0.0.1:2213", "tcp:2213:interface=127.0.0.1"),
            ("tls:tcp:localhost:1", "tls:tcp:1:interface=localhost"),
            ("tcp6:[::1]:1", "tcp6:1:interface=\\:\\:1"),
            ("tcp::80", "tcp:80:interface=127.0.0.1"),
            ("ssl:0.0.0.0:443", "ssl:443:interface=0.0.0.0"),
        ):
            said = problemOf(given_) or ""
            self.assertTrue(said.endswith(f"; is it {meant}?"), said)
            self.assertIsNone(problemOf(meant))

    def test_prefixes(self) -> None:
        """What stands before a description is none."""
        for given_ in "tls", "haproxy", "tls:haproxy", "haproxy:tls":
            self.assertEqual(
                problemOf(given_),
                f'"{given_}" cannot be listened on: it stands before another description, '
                f"such as {given_}:tcp:2212",
            )
            self.assertIsNone(problemOf(f"{given_}:tcp:2212"))

    @PROPERTY
    @given(st.text("tclsunixphary:=/.[]0123456789\\\\ \nä", max_size=20))
    def test_anything(self, text: str) -> None:
        """There is always an answer."""
        for prefix in "", "tcp:", "unix:", "wss://":
            problemOf(prefix + text)


class WhyNotTests(SynchronousTestCase):
    """Failures to listen."""

    def refused(self, port: object, number: int) -> str:
        """Return what is said when the system refuses a place for this reason."""
        return whyNot(CannotListenError(None, port, OSError(number, os.strerror(number))))

    def test_ports(self) -> None:
        """What can be done."""
        self.assertIn('"ss -ltnp sport = :80"', self.refused(80, errno.EADDRINUSE))
        self.assertIn('"ip address"', self.refused(80, errno.EADDRNOTAVAIL))
        self.assertIn("CAP_NET_BIND_SERVICE", self.refused(1023, errno.EACCES))
        self.assertEqual(self.refused(1024, errno.EACCES), "Permission denied")
        unknown = socket.gaierror(-2, "Name or service not known")
        self.assertEqual(
            whyNot(CannotListenError("nowhere", 80, unknown)),
            "Name or service not known; write an address, such as 127.0.0.1",
        )

    def test_paths(self) -> None:
        """What can be done, whether making the socket failed or the lock beside it."""
        for number, said in (
            (errno.ENOENT, "there is no directory /run/a"),
            (errno.ENOTDIR, "there is no directory /run/a"),
            (errno.EACCES, "has to be allowed to write to the directory /run/a"),
            (errno.EROFS, "has to be allowed to write to the directory /run/a"),
        ):
            lock = OSError(number, os.strerror(number), "1", None, b"/run/a/b.lock")
            for text in (self.refused("/run/a/b", number), whyNot(lock)):
                self.assertEqual(text, f"{os.strerror(number)}; {self.hintIn(said, text)}")
        self.assertIn("directory .", self.refused(b"x", errno.EACCES))
        self.assertEqual(self.refused("/x", errno.ENOENT), "No such file or directory")
        self.assertIn(
            "another server listens there",
            whyNot(CannotListenError(None, b"/run/a/b", "Cannot acquire lock")),  # type: ignore[arg-type]
        )
        self.assertEqual(self.refused("/run/a/b", errno.EINVAL), "Invalid argument")

    def hintIn(self, said: str, text: str) -> str:
        """Return the part of the text behind the reason, which has to say this."""
        self.assertIn(said, text)
        return text.partition("; ")[2]

    def test_takenPaths(self) -> None:
        """A socket somebody may have left behind; anything else is not ours to remove."""
        path = self.mktemp()
        self.assertIn("something else", self.refused(path, errno.EADDRINUSE))
        Path(path).write_bytes(b"")
        self.assertIn("something else", self.refused(path, errno.EADDRINUSE))
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(path)
            self.assertIn("or left it behind", self.refused(path, errno.EADDRINUSE))

    def test_others(self) -> None:
        """What is not known is told as it is."""
        self.assertEqual(whyNot(OverflowError("too large")), "too large")
        self.assertEqual(whyNot(OSError("AF_UNIX path too long")), "AF_UNIX path too long")
