"""What a worker asks its parent, and what it is answered.

Owns which answer belongs to which question, and that each comes in time or is not waited for. Knows
nothing of what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.workers.reporting import Handlers, Send

log = ProxyLogger()


class NoAnswer(Exception):
    """The parent did not answer in time, or could not."""


class Questions:
    """A worker's.

    The messages between the two are neither lost nor reordered, so when an answer is late, it comes
    as soon as the parent goes on; until then nothing more is asked.

    :param send: sends a message to the parent.
    :param timeout: seconds that an answer may take.
    :ivar isAnswering: False from a late answer on until it has come.
    :ivar outages: how often it became false.
    :ivar handlers: take the parent's answers.
    """

    def __init__(self, clock: IReactorTime, send: Send, timeout: float) -> None:
        self.isAnswering = True
        self.outages = 0
        self.handlers: Handlers = {"answer": self._answered, "noAnswer": self._failed}
        self._clock = clock
        self._send = send
        self._timeout = timeout
        self._count = 0
        # Those that were asked first, first, and when each has to be answered.
        self._waiting: dict[int, tuple[Deferred[Any], float]] = {}
        self._isTimed = False
        self._followers: list[Callable[[], object]] = []

    def follow(self, returned: Callable[[], object]) -> None:
        """Have this called whenever the parent answers again."""
        self._followers.append(returned)

    def ask(self, kind: str, *arguments: Any) -> Deferred[Any]:
        """Send a question; fires with the answer, or fails with `NoAnswer`."""
        if not self.isAnswering:
            return fail(NoAnswer("the parent process does not answer"))
        self._count += 1
        answer: Deferred[Any] = Deferred()
        self._waiting[self._count] = answer, self._clock.seconds() + self._timeout
        if not self._isTimed:
            self._isTimed = True
            self._clock.callLater(self._timeout, self._look)
        self._send((kind, self._count, *arguments))
        return answer

    def _look(self) -> None:
        """Find out whether an answer is late; there is one timer for all of them."""
        self._isTimed = False
        now = self._clock.seconds()
        for number, (_answer, due) in list(self._waiting.items()):
            if due > now:
                self._isTimed = True
                self._clock.callLater(due - now, self._look)
                return
            self._late(number)

    def _late(self, number: int) -> None:
        if self.isAnswering:
            self.isAnswering = False
            self.outages += 1
            log.warn("the parent process does not answer within {timeout} s", timeout=self._timeout)
        answer, _due = self._waiting.pop(number)
        answer.errback(NoAnswer("the parent process does not answer"))

    def _answered(self, number: int, value: Any) -> None:
        answer = self._take(number)
        if answer is not None:
            answer.callback(value)

    def _failed(self, number: int) -> None:
        answer = self._take(number)
        if answer is not None:
            answer.errback(NoAnswer("a fault in the parent process"))

    def _take(self, number: int) -> Deferred[Any] | None:
        """Return who waits for an answer; None when it is late."""
        answer, _due = self._waiting.pop(number, (None, 0.0))
        if not self.isAnswering:
            self.isAnswering = True
            log.info("the parent process answers again")
            for returned in self._followers:
                returned()
        return answer


def answering(send: Send, answers: Mapping[str, Callable[..., Any]]) -> Handlers:
    """Return the handlers of the parent's side.

    :param send: sends a message to the worker.
    :param answers: return what is answered to each kind of question: JSON.
    """
    return {kind: partial(_answer, send, answer) for kind, answer in answers.items()}


def _answer(send: Send, answer: Callable[..., Any], number: int, *arguments: Any) -> None:
    try:
        message = ("answer", number, answer(*arguments))
    except Exception:
        log.failure("a worker's question cannot be answered")
        send(("noAnswer", number))
    else:
        send(message)
