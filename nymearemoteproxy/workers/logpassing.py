"""One log: what a worker has to say is written by its parent.

Owns what gets there of an event, and that a log that cannot be got rid of is lost rather than
waited for. Knows nothing of who writes it in which format.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import current_thread, main_thread
from typing import Any

from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.logs import LogEvent, isOfAccepting, lossOf
from nymearemoteproxy.common.spool import SLOW, Spool
from nymearemoteproxy.workers.channel import MessageChannel

LOG = "log"
"""Message of a worker: a log event."""
LOST = "lost"
"""Message of a worker: so many log events were lost."""

_OURS = __name__.partition(".")[0]

MOST_TEXT = 1 << 16
"""Characters of a text; a traceback of an endless recursion is longer."""


@implementer(ILogObserver)
class LogSender:
    """Sends the log through a channel.

    :param callFromThread: has something done in the thread of the reactor: any thread may log.
    """

    def __init__(self, channel: MessageChannel, callFromThread: Callable[..., object]) -> None:
        self._channel = channel
        self._callFromThread = callFromThread
        self._lost = 0

    def __call__(self, event: LogEvent) -> None:
        text = formatEvent(event)
        if isOfAccepting(event) or (not text and "log_failure" not in event):
            return
        if current_thread() is main_thread():
            self._send(reduced(event, text))
        else:
            self._callFromThread(self._send, reduced(event, text))

    def _send(self, event: LogEvent) -> None:
        if self._channel.isBusy:
            self._lost += 1
            return
        if self._lost:
            self._channel.send([LOST, self._lost])
            self._lost = 0
        self._channel.send([LOG, event])


def reduced(event: LogEvent, text: str) -> LogEvent:
    """Return what JSON can say of an event; the text as it is formatted.

    The values are those that the log shows: none of Twisted's, which have meanings of their own.
    """
    namespace = str(event.get("log_namespace", ""))
    values = {
        key: value[:MOST_TEXT] if isinstance(value, str) else value
        for key, value in event.items()
        if namespace.startswith(_OURS)
        and not key.startswith("log_")
        and isinstance(value, str | int | float)
    }
    traceback = event["log_failure"].getTraceback() if "log_failure" in event else ""
    return {
        "time": event["log_time"],
        "level": event.get("log_level", LogLevel.info).name,
        "namespace": namespace,
        "system": str(event.get("log_system", "")),
        "text": text[:MOST_TEXT],
        "traceback": traceback[-MOST_TEXT:],
        "values": values,
    }


class FarFailure(Failure):
    """A failure in another process, as far as a log observer wants to know it.

    :param text: its traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__(RuntimeError(text.rstrip().rpartition("\n")[2]))
        self._text = text

    def getTraceback(self, *_how: Any, **_details: Any) -> str:
        """Return the text, as `Failure` does."""
        return self._text


def publish(event: dict[str, Any], worker: int) -> None:
    """Have an event written that a worker sent."""
    made: LogEvent = {
        **event["values"],
        "log_time": event["time"],
        "log_level": LogLevel.lookupByName(event["level"]),
        "log_namespace": event["namespace"],
        "log_format": "{log_text}",
        "log_text": event["text"],
        "worker": worker,
    }
    if event["system"]:
        made["log_system"] = event["system"]
    if event["traceback"]:
        made["log_failure"] = FarFailure(event["traceback"])
    globalLogPublisher(made)


def publishLoss(count: int, worker: int) -> None:
    """Have it written that so many events of a worker's are missing."""
    Spool.lostEver += count
    globalLogPublisher({**lossOf(count, SLOW), "worker": worker})
