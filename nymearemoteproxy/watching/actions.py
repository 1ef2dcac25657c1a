"""What an operator can have done: end a connection or a tunnel, reload, drain.

Owns whether it can be done at this moment, and that each time it is logged with who asked for it,
and counted. Knows nothing of how it is asked for, nor of who may: whoever takes the question
decides that before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.connections.dismissal import dismiss
from nymearemoteproxy.connections.records import CLOSING, Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.lastreload import LastReload

log = ProxyLogger()

EVENT = "operator-action"
"""Of each line of log about an action that is done."""


class Action(Enum):
    """What can be done, by its name in logs and counters."""

    END_CONNECTION = "end-connection"
    END_TUNNEL = "end-tunnel"
    RELOAD = "reload"
    DRAIN = "drain"


class Result(Enum):
    """What became of it, by its name in counters."""

    DONE = "done"
    IMPOSSIBLE = "impossible"
    """There is no such connection or tunnel, or it is too late."""
    REFUSED = "refused"
    """Who asked may not."""


class ActionError(Exception):
    """It cannot be done; the text is one line for who asked."""


class AbsentError(ActionError):
    """There is nothing it could be done to."""


class TooLateError(ActionError):
    """What is asked for goes on already, or cannot be had any more."""


class Actions:
    """Does what operators ask for.

    Each method is given who asks, in words for the log.

    :param condition: tells where the server stands.
    :param reload: reads everything anew, at once.
    :param drain: lets nobody in any more, and ends the process with its last tunnel.
    :param lastReload: tells what became of the last one.
    :ivar counts: how often what came of which action.
    """

    def __init__(
        self,
        clock: IReactorTime,
        registry: Registry,
        condition: Callable[[], Condition],
        reload: Callable[[], object],
        drain: Callable[[], object],
        lastReload: Callable[[], LastReload | None],
    ) -> None:
        self.counts: Counter[tuple[Action, Result]] = Counter()
        self._clock = clock
        self._registry = registry
        self._condition = condition
        self._reload = reload
        self._drain = drain
        self._lastReload = lastReload
        self._refusals = Tally(
            clock,
            "operator: a request of {who} is refused: {action}",
            "action",
            "operator: {more} refused in the last {interval:.0f} s",
        )

    def refused(self, action: Action, who: str) -> None:
        """Somebody asked for it who may not."""
        self.counts[action, Result.REFUSED] += 1
        self._refusals.add(who=who, action=action.value)

    def endConnection(self, number: int, who: str) -> None:
        """End a connection, and with it the tunnel that it has.

        :raises AbsentError: there is no such connection.
        :raises TooLateError: it is being closed already.
        """
        record = self._find(Action.END_CONNECTION, number)
        self._end(Action.END_CONNECTION, record, who)

    def endTunnel(self, number: int, who: str) -> None:
        """End the tunnel of two clients.

        :param number: of one of them.
        :raises AbsentError: there is no such connection, or it has no such tunnel.
        :raises TooLateError: it is being closed already.
        """
        record = self._find(Action.END_TUNNEL, number)
        if not record.isPaired:
            raise self._impossible(
                Action.END_TUNNEL, AbsentError(f"connection {number} has no tunnel of two clients")
            )
        self._end(Action.END_TUNNEL, record, who)

    def reload(self, who: str) -> LastReload:
        """Read everything anew; return what became of it.

        :raises TooLateError: the server is being stopped.
        """
        if self._condition() is Condition.STOPPING:
            raise self._impossible(Action.RELOAD, TooLateError("the server is being stopped"))
        self._note(Action.RELOAD, "operator: {who} asks for a reload", who)
        self._reload()
        last = self._lastReload()
        assert last is not None, "a reload is noted, whatever became of it"
        return last

    def drain(self, who: str) -> None:
        """Begin to drain, in the next turn of the reactor.

        :raises TooLateError: that goes on already, or the server is being stopped.
        """
        condition = self._condition()
        if condition in (Condition.DRAINING, Condition.STOPPING):
            words = "drains already" if condition is Condition.DRAINING else "is being stopped"
            raise self._impossible(Action.DRAIN, TooLateError(f"the server {words}"))
        self._note(Action.DRAIN, "operator: {who} has the server drained", who)
        self._clock.callLater(0, self._drain)  # which may close the connection of who asks

    def _find(self, action: Action, number: int) -> Record:
        record = self._registry.find(number)
        if record is None or record.client is None:
            raise self._impossible(action, AbsentError(f"there is no connection {number}"))
        if record.client.stage == CLOSING:
            raise self._impossible(
                action, TooLateError(f"connection {number} is being closed already")
            )
        return record

    def _end(self, action: Action, record: Record, who: str) -> None:
        self._note(
            action,
            "operator: {who} ends {what}connection {number} from {peer}",
            who,
            what="the tunnel of " if action is Action.END_TUNNEL else "",
            number=record.number,
            peer=record.peer,
        )
        dismiss(record, Outcome.ENDED_BY_OPERATOR)

    def _note(self, action: Action, words: str, who: str, **fields: object) -> None:
        self.counts[action, Result.DONE] += 1
        log.info(words, event=EVENT, action=action.value, who=who, **fields)

    def _impossible(self, action: Action, error: ActionError) -> ActionError:
        self.counts[action, Result.IMPOSSIBLE] += 1
        return error
