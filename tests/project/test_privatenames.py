"""Private names of other people's packages: which are used, and that they mean what we think.

What begins with an underscore may change with any release. So every use is on the list here, says
at its place why there is no other way, and has a test of its own, which fails with the release that
changes it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path

from twisted.internet import fdesc, unix
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.logger import FileLogObserver, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.epoll import NEEDED, DirectEPollReactor
from tests.support.names import HARMLESS, classes, namesOf, package

CHECKOUT = Path(__file__).resolve().parents[2]
OURS = ("nymearemoteproxy", "benchmarks", "fuzz", "soak", "tests")
READ = ("nymearemoteproxy", "benchmarks", "fuzz", "soak", "docs", "tests/support")
"""The tests themselves may look into what they test."""

PUBLIC = {"_fields", "_replace", "_asdict", "_make", "_exit"}
"""Documented all the same: those of named tuples, and `os._exit`."""

USES: dict[str, set[str]] = {
    "nymearemoteproxy/common/logs.py": {"_observers", "_outFile"},
    "nymearemoteproxy/running/epoll.py": {name for name in NEEDED if name.startswith("_")},
    "nymearemoteproxy/listening/adoption.py": {"_fromListeningDescriptor", "_shouldShutdown"},
}
"""By the file that uses them."""


def isPrivate(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def definedIn(tree: ast.AST) -> set[str]:
    """Return the private names that a module defines: its own, its classes' and their objects'."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isSelf(node):
            names.add(node.attr)
    return names


def isSelf(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def usedIn(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a module takes from elsewhere, as far as its text shows it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not isSelf(node):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not node.level:
            path = (node.module or "").split(".")
            if path[0] not in OURS:
                yield from (*path, *(each.name for each in node.names))
        elif isinstance(node, ast.Import):
            for each in node.names:
                yield from each.name.split(".")
        elif isinstance(node, ast.Call):  # getattr, setattr, patch
            for argument in node.args[1:2]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield from argument.value.split()[:1]


def foreignNames() -> dict[str, set[str]]:
    """Return the private names of others in our text, by file.

    In the program each module has its own private names; benchmarks and the tests' helpers also
    look at the program's.
    """
    trees = {
        str(path.relative_to(CHECKOUT)): ast.parse(path.read_text(encoding="utf-8"))
        for folder in READ
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
    }
    everybodys = set().union(*map(definedIn, trees.values()))
    found: dict[str, set[str]] = {}
    for path, tree in trees.items():
        known = definedIn(tree) if path.startswith(OURS[0]) else everybodys
        if names := {name for name in usedIn(tree) if isPrivate(name)} - known:
            found[path] = names
    return found


@functools.cache
def privateNamesOf(one: type) -> set[str]:
    return set(filter(isPrivate, namesOf(one)))


@functools.cache
def inherited() -> dict[str, set[str]]:
    """Return the private names of their foreign bases that our classes use or replace, by file."""
    found: dict[str, set[str]] = {}
    for one in classes():
        bases = [base for base in one.__mro__ if package(base) not in (*HARMLESS, OURS[0])]
        theirs = {name for base in bases for name in privateNamesOf(base)}
        if not theirs:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        ours = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        ours |= definedIn(tree)
        if names := theirs & ours:
            path = str(Path(inspect.getfile(one)).relative_to(CHECKOUT))
            found[path] = found.get(path, set()) | names
    return found


class ListTests(SynchronousTestCase):
    """No private name is used that is not on the list."""

    def test_inText(self) -> None:
        new = {path: names - USES.get(path, set()) for path, names in foreignNames().items()}
        self.assertEqual({path: names for path, names in new.items() if names}, {})

    def test_inherited(self) -> None:
        new = {path: names - USES.get(path, set()) for path, names in inherited().items()}
        self.assertEqual({path: names for path, names in new.items() if names}, {})

    def test_nothingElseIsOnTheList(self) -> None:
        used = [foreignNames(), inherited()]
        for path, names in USES.items():
            self.assertLessEqual(names, set().union(*(each.get(path, ()) for each in used)), path)

    def test_allKindsAreSeen(self) -> None:
        text = """
import a._b
from c._d import _e
from f import g as h
x._i
x.y._j.z
getattr(x, "_k")
self.patch(x, "_l", 1)
x.__class__, x._fields, self._m
"""
        seen = {name for name in usedIn(ast.parse(text)) if isPrivate(name)}
        self.assertEqual(seen, {"_b", "_d", "_e", "_i", "_j", "_k", "_l"})
        self.assertIn("_shouldShutdown", inherited()["nymearemoteproxy/listening/adoption.py"])


class MeaningTests(SynchronousTestCase):
    """What each of them means, with the libraries that are installed."""

    def test_observers(self) -> None:
        """The observers of a `LogPublisher`, all of them."""

        def one(_event: object) -> None:
            """Observe."""

        def other(_event: object) -> None:
            """Observe."""

        publisher = LogPublisher(one)
        publisher.addObserver(other)
        self.assertEqual(list(publisher._observers), [one, other])
        publisher.removeObserver(one)
        self.assertEqual(list(publisher._observers), [other])

    def test_outFile(self) -> None:
        """The file that a `FileLogObserver` writes to."""
        file = io.StringIO()
        self.assertIs(FileLogObserver(file, str)._outFile, file)

    def listening(self) -> socket.socket:
        """Return a socket that listens, as systemd makes it, in the abstract namespace."""
        made = socket.socket(socket.AF_UNIX)
        self.addCleanup(made.close)
        made.bind("")  # a free name, see unix(7)
        made.listen()
        fdesc.setNonBlocking(made.fileno())
        return made

    def stopped(self, kind: type[unix.Port]) -> socket.socket:
        """Adopt a socket and stop listening; return the socket it was made from."""
        made = self.listening()
        port = kind._fromListeningDescriptor(MemoryReactor(), made.fileno(), Factory())
        self.assertIsInstance(port, kind)
        port.startListening()
        self.assertNotEqual(port.fileno(), made.fileno())
        self.assertEqual(port.socket.getsockname(), made.getsockname())
        port.connectionLost(None)
        return made

    def test_fromListeningDescriptor(self) -> None:
        """Makes a port of the class it is called on, with a copy of the descriptor."""

        class Special(unix.Port):
            """Any subclass."""

        self.stopped(Special)

    def test_shouldShutdown(self) -> None:
        """Tells whether nobody can connect any more, also where others have the socket."""

        class Careful(unix.Port):
            _shouldShutdown = False

        for kind, isLeft in ((Careful, True), (unix.Port, False)):
            made = self.stopped(kind)
            with socket.socket(socket.AF_UNIX) as client:
                error = client.connect_ex(made.getsockname())
            self.assertEqual(error == 0, isLeft, kind)

    def test_reactor(self) -> None:
        """What Twisted's epoll reactor keeps, each in the way that ours reads it."""
        reactor = DirectEPollReactor()
        self.addCleanup(reactor.removeAll)
        made = self.listening()
        port = unix.Port._fromListeningDescriptor(reactor, made.fileno(), Factory())
        port.startListening()
        self.addCleanup(port.connectionLost, None)
        self.assertIs(reactor._selectables[port.fileno()], port)
        self.assertEqual(reactor._poller.poll(0, 1), [])
        call = reactor.callLater(1, list)
        self.assertEqual((reactor._newTimedCalls, reactor._pendingTimedCalls), ([call], []))
        EPollReactor.runUntilCurrent(reactor)
        self.assertEqual((reactor._newTimedCalls, reactor._pendingTimedCalls), ([], [call]))
        reactor.callFromThread(list)
        self.assertEqual(len(reactor.threadCallQueue), 1)
        self.assertIs(reactor._justStopped, False)
