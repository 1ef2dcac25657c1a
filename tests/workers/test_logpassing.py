"""One log: events of a worker, as its parent's observers write them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.logger import (
    Logger,
    LogLevel,
    LogPublisher,
    eventAsText,
    globalLogPublisher,
)
from twisted.python import log as legacyLog
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.logs import asJson, asText
from nymearemoteproxy.common.spool import Spool
from nymearemoteproxy.workers import logpassing
from nymearemoteproxy.workers.logpassing import (
    LOG,
    LOST,
    LogSender,
    publish,
    publishLoss,
)

MOST_TEXT = 100
"""Less than usual: trial's own processes take no lines of 64 KiB."""

NAMESPACE = "nymearemoteproxy.somewhere"


class LogPassingTests(SynchronousTestCase):
    """From one process to the other."""

    def setUp(self) -> None:
        self.messages: list[Any] = []
        self.channel: Any = SimpleNamespace(isBusy=False, send=self.send)
        self.elsewhere: list[tuple[Callable[..., object], Any]] = []
        self.sender = LogSender(
            self.channel, lambda *call: self.elsewhere.append((call[0], call[1]))
        )
        self.events: list[Any] = []
        self.arrived: list[Any] = []
        publisher = LogPublisher(self.events.append, self.sender)
        self.log = Logger(NAMESPACE, observer=publisher)

    def send(self, message: Any) -> None:
        """What a channel does with a message."""
        self.messages.append(json.loads(json.dumps(message)))

    def arrive(self) -> list[Any]:
        """Have the parent publish what it was sent; return the events."""
        arrived: list[Any] = []
        globalLogPublisher.addObserver(arrived.append)
        try:
            for kind, content in self.messages:
                (publish if kind == LOG else publishLoss)(content, 3)
        finally:
            globalLogPublisher.removeObserver(arrived.append)
        return arrived

    def test_sameText(self) -> None:
        """The text, the time, the level and the values are the same, and it says whose it is."""
        self.log.warn(
            "{count} of {{them}} {thing!r}", count=3, thing=object, good=True, path="ü{x}"
        )
        (event,) = self.arrive()
        self.assertEqual(asText(event), asText(self.events[0]))
        self.assertEqual(eventAsText(event), eventAsText(self.events[0]))
        line = json.loads(asJson(event) or "")
        self.assertEqual(line.pop("worker"), 3)
        for key in ("format", "isError", "system"):
            line.pop(key, None)  # added to every event for observers of Twisted's old kind
        self.assertEqual(line, json.loads(asJson(self.events[0]) or ""))
        self.assertIs(event["log_level"], LogLevel.warn)

    def test_traceback(self) -> None:
        try:
            raise ValueError("wrong")
        except ValueError:
            self.log.failure("it failed")
        (event,) = self.arrive()
        self.assertEqual(asText(event), asText(self.events[0]))
        self.assertIn("ValueError: wrong", json.loads(asJson(event) or "")["traceback"])
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn("ValueError: wrong", failure.getErrorMessage())

    def test_legacy(self) -> None:
        """What Twisted itself logs in its old way."""
        globalLogPublisher.addObserver(self.sender)
        try:
            legacyLog.msg("old")
            legacyLog.err(Failure(KeyError("old")), "failed")
        finally:
            globalLogPublisher.removeObserver(self.sender)
        one, two = self.arrive()
        self.assertIn(" old", eventAsText(one))
        self.assertIn("KeyError", eventAsText(two))
        self.flushLoggedErrors(KeyError, RuntimeError)

    def test_empty(self) -> None:
        self.log.info("")
        self.assertEqual(self.messages, [])

    def test_long(self) -> None:
        """Nothing is longer than it has to be."""
        self.patch(logpassing, "MOST_TEXT", MOST_TEXT)
        self.log.info("{text}", text="x" * (MOST_TEXT + 5))
        (event,) = self.arrive()
        self.assertEqual(len(event["text"]), MOST_TEXT)
        self.assertEqual(len(event["log_text"]), MOST_TEXT)

    def test_otherThread(self) -> None:
        """The channel belongs to the reactor's thread."""
        thread = threading.Thread(target=self.log.info, args=("from elsewhere",))
        thread.start()
        thread.join()
        self.assertEqual(self.messages, [])
        ((call, argument),) = self.elsewhere
        call(argument)
        (event,) = self.arrive()
        self.assertEqual(event["log_text"], "from elsewhere")

    def test_loss(self) -> None:
        """What the parent does not take in time is lost and counted, in its place."""
        before = Spool.lostEver
        self.log.info("one")
        self.channel.isBusy = True
        self.log.info("two")
        self.log.info("three")
        self.channel.isBusy = False
        self.log.info("four")
        self.assertEqual([message[0] for message in self.messages], [LOG, LOST, LOG])
        _one, loss, _four = self.arrive()
        self.assertIn("2 lines of the log lost here", asText(loss) or "")
        self.assertEqual((loss["worker"], Spool.lostEver - before), (3, 2))
