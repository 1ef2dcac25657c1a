"""How the monitor asks a server, in memory and with a clock of its own."""

from __future__ import annotations

import grp
import json
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer

from nymearemoteproxy.monitor.orders import DRAIN, RELOAD, Reply, endConnection, endTunnel
from nymearemoteproxy.monitor.polling import (
    ANSWER_PATIENCE,
    MAX_MESSAGE,
    RETRY_DELAY,
    Poller,
    explain,
)
from nymearemoteproxy.monitor.sample import Sample
from tests.support.monitored import client, encoded, message


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects when the test says so."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Deferred[Any]]] = []
        self.cancelled = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred(lambda _: self._cancelled())
        self.attempts.append((factory, deferred))
        return deferred

    def _cancelled(self) -> None:
        self.cancelled += 1

    def succeed(self) -> StringTransportWithDisconnection:
        """Return the other end of the connection that was asked for."""
        factory, deferred = self.attempts.pop()
        protocol = factory.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        deferred.callback(protocol)
        return transport

    def fail(self, problem: Exception) -> None:
        self.attempts.pop()[1].errback(Failure(problem))


class PollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.happened: list[str] = []
        self.poller = self.makePoller()

    def makePoller(self, interval: float = 2.0, **more: Any) -> Poller:
        def answered(content: Mapping[str, Any], sample: Sample) -> None:
            self.assertEqual(content["serverName"], sample.serverName)
            self.happened.append(f"answer {sample.serverName}")

        return Poller(
            self.clock,
            self.endpoint,
            interval,
            answered,
            lambda reason: self.happened.append(f"trouble: {reason}"),
            onConnected=lambda: self.happened.append("connected"),
            **more,
        )

    def requests(self, transport: Any) -> list[Any]:
        """Return what was asked since the last time."""
        lines = transport.value().splitlines(True)
        transport.clear()
        self.assertTrue(all(line.endswith(b"\n") for line in lines))
        return [json.loads(line) for line in lines]

    def answer(self, transport: Any, name: str = "a") -> None:
        transport.protocol.dataReceived(encoded(message([client(1)], serverName=name)))

    def test_asksAgainAndAgain(self) -> None:
        self.poller.start()
        transport = self.endpoint.succeed()
        request = {"method": "refresh", "params": {"printAll": False}}
        for name in "abc":
            self.assertEqual(self.requests(transport), [request])
            self.answer(transport, name)
            self.clock.advance(1.9)
            self.assertEqual(self.requests(transport), [])
            self.clock.advance(0.1)
        self.assertEqual(self.happened, ["connected", "answer a", "answer b", "answer c"])
        self.poller.stop()

    def reply(self, transport: Any, content: Any) -> None:
        transport.protocol.dataReceived(json.dumps(content).encode() + b"\n")

    def heard(self, reply: Reply) -> None:
        self.happened.append(f"{'done' if reply.isDone else 'not done'}: {reply.words}")

    def test_order(self) -> None:
        """It is sent at once, and may be answered behind what was asked for before."""
        self.poller.start()
        transport = self.endpoint.succeed()
        self.requests(transport)
        self.poller.give(endConnection("17"), self.heard)
        sent = {"method": "endConnection", "params": {"id": "17"}}
        self.assertEqual(self.requests(transport), [sent])
        self.answer(transport)
        self.reply(transport, {"result": {"action": "end-connection", "id": "17"}})
        self.answer(transport, "b")
        self.assertEqual(
            self.happened,
            ["connected", "answer a", "done: connection 17 is being ended", "answer b"],
        )
        self.clock.advance(ANSWER_PATIENCE - 1)
        self.assertNotIn("trouble", self.happened[-1])
        self.poller.stop()

    def test_replies(self) -> None:
        self.poller.start()
        transport = self.endpoint.succeed()
        self.answer(transport)
        for order, content, words in (
            (endTunnel("3"), {"result": {}}, "done: the tunnel of connection 3 is being ended"),
            (RELOAD, {"result": {"mistakes": 0}}, "done: everything was read anew"),
            (
                RELOAD,
                {"result": {"mistakes": 2}},
                "not done: not everything was read anew; mistakes in the log: 2",
            ),
            (DRAIN, {"result": {"action": "drain"}}, "done: the server drains"),
            (DRAIN, {"error": "only root may"}, "not done: only root may"),
        ):
            self.poller.give(order, self.heard)
            self.reply(transport, content)
            self.assertEqual(self.happened[-1], words)
        self.poller.stop()

    def test_orderWithoutAnswer(self) -> None:
        """The server is silent, or says something else, or is gone: nobody knows what it did."""
        for end in (
            lambda transport: self.clock.advance(ANSWER_PATIENCE),
            lambda transport: self.reply(transport, {"result": 1}),
            lambda transport: transport.loseConnection(),
        ):
            self.poller = self.makePoller(interval=100)
            self.poller.start()
            transport = self.endpoint.succeed()
            self.answer(transport)
            self.happened.clear()
            self.poller.give(DRAIN, self.heard)
            end(transport)
            unknown, trouble = self.happened
            self.assertTrue(unknown.startswith("not done: it is not known whether it was done: "))
            self.assertTrue(trouble.startswith("trouble: "))
            self.poller.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_orderAtTheWrongTime(self) -> None:
        """Without a connection, and before the last one is answered."""
        self.poller.give(DRAIN, self.heard)
        self.assertEqual(self.happened, ["not done: there is no connection to the server"])
        self.poller.start()
        transport = self.endpoint.succeed()
        self.poller.give(DRAIN, self.heard)
        self.poller.give(DRAIN, self.heard)
        self.assertEqual(
            self.happened[-1], "not done: the server has not answered to the last one yet"
        )
        self.assertEqual(len(self.requests(transport)), 2)
        self.poller.stop()

    def test_replyToNobody(self) -> None:
        """Without an order there is none to answer to."""
        self.poller.start()
        self.reply(self.endpoint.succeed(), {"error": "x"})
        self.assertIn("trouble: this is no monitor socket", self.happened[-1])
        self.poller.stop()

    def test_printAll(self) -> None:
        self.poller = self.makePoller(isPrintingAll=True)
        self.poller.start()
        transport = self.endpoint.succeed()
        self.assertEqual(self.requests(transport)[0]["params"], {"printAll": True})
        self.poller.isPrintingAll = False
        self.poller.ask()
        self.assertEqual(self.requests(transport), [])  # the last one has no answer yet
        self.answer(transport)
        self.poller.ask()
        self.assertEqual(self.requests(transport)[0]["params"], {"printAll": False})
        self.answer(transport)
        self.clock.advance(1.9)
        self.assertEqual(self.requests(transport), [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.requests(transport)), 1)
        self.poller.stop()

    def test_slowAnswer(self) -> None:
        """One request at a time; the next one follows the answer at once."""
        self.poller.start()
        transport = self.endpoint.succeed()
        self.requests(transport)
        self.clock.pump([1] * 5)
        self.assertEqual(self.requests(transport), [])
        self.answer(transport)
        self.assertEqual(len(self.requests(transport)), 1)
        self.answer(transport)
        self.clock.advance(2)
        self.assertEqual(len(self.requests(transport)), 1)
        self.poller.stop()

    def test_answerInPieces(self) -> None:
        """Indented, as the C++ server sends it."""
        self.poller.start()
        transport = self.endpoint.succeed()
        text = json.dumps(message([client(1)], serverName="{x}\n"), indent=4).encode() + b"\n"
        for start in range(0, len(text), 7):
            transport.protocol.dataReceived(text[start : start + 7])
        self.assertEqual(self.happened[1:], ["answer {x}\n"])
        self.poller.stop()

    def test_unasked(self) -> None:
        """A server that only pushes is heard too."""
        self.poller.start()
        transport = self.endpoint.succeed()
        self.answer(transport, "a")
        self.answer(transport, "b")
        self.assertEqual(self.happened, ["connected", "answer a", "answer b"])
        self.poller.stop()

    def test_noAnswer(self) -> None:
        self.poller.start()
        transport = self.endpoint.succeed()
        transport.protocol.dataReceived(b'{"serverName": "')
        self.clock.advance(ANSWER_PATIENCE - 0.1)
        transport.protocol.dataReceived(b"x")  # is no answer
        self.clock.advance(0.1)
        self.assertFalse(transport.connected)
        trouble = "trouble: the server did not answer within 10 s"
        self.assertEqual(self.happened, ["connected", trouble])
        self.clock.advance(RETRY_DELAY)
        self.assertEqual(len(self.endpoint.attempts), 1)
        self.poller.stop()

    def test_nonsense(self) -> None:
        for data, reason in (
            (b"SSH-2.0-x\r\n", "no JSON object begins where one must"),
            (b"{nonsense}", "a message that is no JSON"),
            (b'{"serverName":"\n', "a message that is no JSON"),
            (b'{"id":1,"status":"error"}', "a message without statistics"),
        ):
            self.setUp()
            self.poller.start()
            transport = self.endpoint.succeed()
            transport.protocol.dataReceived(data + data)
            self.assertFalse(transport.connected)
            self.assertEqual(
                self.happened[1:],
                [
                    f"trouble: this is no monitor socket of a nymea-remoteproxy: it sent {reason}",
                ],
            )
            self.poller.stop()

    def test_tooLarge(self) -> None:
        """What never ends is not collected for ever."""
        self.poller.start()
        transport = self.endpoint.succeed()
        for first in (b"{", *[b" "] * 63):
            transport.protocol.dataReceived(first + b" " * (MAX_MESSAGE // 64 - 1))
        self.assertTrue(transport.connected)
        transport.protocol.dataReceived(b" ")
        self.assertFalse(transport.connected)
        self.assertIn(f"it sent a message of more than {MAX_MESSAGE} bytes", self.happened[-1])
        self.poller.stop()

    def test_serverIsRestarted(self) -> None:
        self.poller.start()
        self.endpoint.fail(ConnectionRefusedError("no"))
        self.clock.advance(RETRY_DELAY - 0.1)
        self.assertEqual(self.endpoint.attempts, [])
        self.clock.advance(0.1)
        transport = self.endpoint.succeed()
        self.answer(transport)
        transport.loseConnection()
        self.clock.advance(RETRY_DELAY)
        transport = self.endpoint.succeed()
        self.answer(transport, "b")
        self.assertEqual(
            self.happened,
            [
                "trouble: Connection was refused by other side: no.",
                "connected",
                "answer a",
                "trouble: the server has closed the connection",
                "connected",
                "answer b",
            ],
        )
        self.poller.stop()

    def test_stop(self) -> None:
        """In every state: nothing is left, nothing more is said."""
        self.poller.start()
        self.poller.stop()
        self.assertEqual(self.endpoint.cancelled, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

        self.setUp()
        self.poller.start()
        self.endpoint.fail(ConnectionRefusedError("no"))
        self.poller.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.happened), 1)

        for hasAnswer in (False, True):
            self.setUp()
            self.poller.start()
            transport = self.endpoint.succeed()
            if hasAnswer:
                self.answer(transport)
            happened = len(self.happened)
            self.poller.stop()
            self.assertFalse(transport.connected)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual(len(self.happened), happened)

    def test_stoppedByAnAnswer(self) -> None:
        """What came with it is not looked at any more."""
        self.poller = Poller(
            self.clock,
            self.endpoint,
            2.0,
            lambda content, sample: (self.happened.append("answer"), self.poller.stop()),  # type: ignore[arg-type,return-value]
            self.happened.append,
        )
        self.poller.start()
        transport = self.endpoint.succeed()
        self.requests(transport)
        self.clock.advance(3)  # so that the next request is due
        transport.protocol.dataReceived(encoded(message()) * 2 + b"nonsense")
        self.assertEqual(self.happened, ["answer"])
        self.assertEqual(self.requests(transport), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ExplainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "monitor.sock"
        self.path.touch()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.group = grp.getgrgid(self.path.stat().st_gid).gr_name

    def test_notThere(self) -> None:
        said = explain(ConnectError(2, "x"), "/a/b")
        self.assertTrue(said.startswith("there is no /a/b; does the server run"), said)
        self.assertIn(" with --set ProxyServer.monitorSocket=/a/b?", said)
        self.assertIn("--socket", said)

    def test_nobodyListens(self) -> None:
        said = explain(ConnectionRefusedError(111, "x"), "/a\n/b")
        self.assertEqual(said, r"nobody listens on /a\n/b; does the server run?")

    def test_whichGroup(self) -> None:
        self.path.chmod(0o660)
        said = explain(ConnectError(13, "x"), str(self.path))
        self.assertEqual(
            said,
            f"no permission for {self.path}; be the user {self.user} or in the group "
            f"{self.group} (sudo adduser YOU {self.group}, log in anew)",
        )

    def test_noGroup(self) -> None:
        self.path.chmod(0o600)
        said = explain(ConnectError(1, "x"), str(self.path))
        self.assertTrue(said.endswith(f"; be the user {self.user} or root"), said)

    def test_directoryThatIsClosed(self) -> None:
        """What is in it cannot even be looked at; then its own group counts."""
        real = os.stat

        def stat(path: Any, *arguments: Any, **more: Any) -> os.stat_result:
            if path == str(self.path):
                raise PermissionError(13, "x")
            return real(path, *arguments, **more)

        self.patch(os, "stat", stat)
        for mode, end in ((0o750, "log in anew)"), (0o700, "or root"), (0o720, "or root")):
            self.directory.chmod(mode)
            said = explain(ConnectError(13, "x"), str(self.path))
            self.assertTrue(said.endswith(end), said)

    def test_ownersWithoutNames(self) -> None:
        if os.getuid():
            raise SkipTest("only root can give files away")
        os.chown(self.path, 54321, 54322)
        self.path.chmod(0o660)
        said = explain(ConnectError(13, "x"), str(self.path))
        self.assertIn("be the user 54321 or in the group 54322 (", said)

    def test_anythingElse(self) -> None:
        for problem, words in (
            (ConnectError(20, "x"), "Not a directory"),
            (ValueError("two\nlines\x1b"), r"two lines\x1b"),
        ):
            self.assertEqual(explain(problem, "/x"), f"cannot connect to /x: {words}")
