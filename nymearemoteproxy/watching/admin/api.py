"""The API of the admin endpoint for programs: what is connected, and what can be done about it.

Owns what each path of ``static/openapi.json`` is answered with, in JSON, and what a request for an
action has to say. Knows nothing of who may ask. Unlike what the status page asks for, this is
promised: what is in version 1 stays.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy import __version__
from nymearemoteproxy.connections.records import MOST_TEXT, Record, slices
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.actions import AbsentError, Action, ActionError
from nymearemoteproxy.watching.admin.access import SHOWS_ONLY
from nymearemoteproxy.watching.admin.encoding import ROWS_A_TURN, Row, Work, encode
from nymearemoteproxy.watching.admin.web import Answer, Question
from nymearemoteproxy.watching.lastreload import LastReload
from nymearemoteproxy.watching.watched import Watched

PREFIX = "/api/v1/"

MOST_ITEMS = 200
"""Connections or tunnels in one answer, about 100 KiB."""

ITEMS = 100
"""The same when no number is asked for."""

LONGEST_NUMBER = 18
"""Digits of the number of a connection."""

PROBLEM = "application/problem+json"
"""RFC 9457: the form of every answer that is no success."""

ROLES = {Role.PARTNER: "partner", Role.SERVER: "server", Role.CLIENT: "client"}


class _BadError(Exception):
    """A question that makes no sense; the text is one line for who asked."""


@dataclass(frozen=True)
class ActionPath:
    """A path on which something is done.

    :ivar act: does it, for somebody who has a name; returns what to answer besides.
    :ivar status: of the answer.
    """

    action: Action
    act: Callable[[Question, str], Row]
    status: int


class AdminApi:
    """Answers programs.

    :ivar name: of the server, as it is configured.
    """

    def __init__(self, clock: IReactorTime, watched: Watched, mayAct: Callable[[], bool]) -> None:
        self._clock = clock
        self._registry = watched.proxy.registry
        self._condition = watched.condition
        self._calendar = watched.calendar
        self._lastReload = watched.lastReload
        self._company = watched.company
        self._actions = watched.actions
        self._mayAct = mayAct
        self._instance = secrets.token_hex(8)
        self._started = clock.seconds()
        self.name = ""

    @property
    def readers(self) -> Mapping[str, Callable[[Question], Work[Answer]]]:
        """What only tells, by path; names in braces stand for numbers."""
        return {
            PREFIX + "server": self._answering(self._server),
            PREFIX + "connections": self._answering(self._connections),
            PREFIX + "connections/{number}": self._answering(self._connection),
            PREFIX + "tunnels": self._answering(self._tunnels),
            PREFIX + "tunnels/{number}": self._answering(self._tunnel),
        }

    @property
    def actions(self) -> Mapping[str, ActionPath]:
        """What has something done, by path."""
        return {
            PREFIX + "connections/{number}/end": ActionPath(
                Action.END_CONNECTION, self._endConnection, 202
            ),
            PREFIX + "tunnels/{number}/end": ActionPath(Action.END_TUNNEL, self._endTunnel, 202),
            PREFIX + "reload": ActionPath(Action.RELOAD, self._reload, 200),
            PREFIX + "drain": ActionPath(Action.DRAIN, self._drain, 202),
        }

    def act(self, path: ActionPath, question: Question, who: str) -> Answer:
        """Have done what was asked for by somebody who may."""
        try:
            self._checkBody(question.body)
            row = path.act(question, who)
        except _BadError as error:
            return problem(400, str(error))
        except ActionError as error:
            return problem(404 if isinstance(error, AbsentError) else 409, str(error))
        body = json.dumps({"action": path.action.value, **row}, separators=(",", ":"))
        return Answer(path.status, body.encode("ascii"), "application/json")

    def _checkBody(self, body: bytes) -> None:
        """Make sure that it means this process, if it says which one it means.

        Numbers of connections begin anew with each process, and who looks at a page may be a
        restart behind.

        :raises _BadError: it is no object, or has members that nobody knows.
        :raises ActionError: another process is meant.
        """
        if not body.strip():
            return
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            raise _BadError("the body is no JSON") from None
        if not isinstance(given, dict) or set(given) - {"instance"}:
            raise _BadError('the body is no JSON object with nothing but "instance"')
        instance = given.get("instance", self._instance)
        if instance != self._instance:
            raise ActionError("the server was started anew meanwhile, look again")

    def _endConnection(self, question: Question, who: str) -> Row:
        number = _number(question)
        self._actions.endConnection(number, who)
        return {"number": number}

    def _endTunnel(self, question: Question, who: str) -> Row:
        number = _number(question)
        self._actions.endTunnel(number, who)
        return {"number": number}

    def _reload(self, _question: Question, who: str) -> Row:
        return self._reloadRow(self._actions.reload(who))

    def _drain(self, _question: Question, who: str) -> Row:
        self._actions.drain(who)
        return {}

    # What is told

    @staticmethod
    def _answering(
        make: Callable[[Question], Work[Row]],
    ) -> Callable[[Question], Work[Answer]]:
        """Return what answers with an object."""

        def answer(question: Question) -> Work[Answer]:
            try:
                row = yield from make(question)
            except _BadError as error:
                return problem(400, str(error))
            except AbsentError as error:
                return problem(404, str(error))
            return Answer(200, (yield from encode(row)), "application/json")

        return answer

    def _server(self, _question: Question) -> Work[Row]:
        yield
        last = self._lastReload()
        mayAct = self._mayAct()
        company = None if self._company is None else self._company()
        return {
            "name": self.name,
            "version": __version__,
            "instance": self._instance,
            "condition": self._condition().value,
            "started": self._date(self._started),
            "connections": len(self._registry.records),
            "workers": 0 if company is None else len(company.workers),
            "clustered": company is not None and company.isClustered,
            "reload": None if last is None else self._reloadRow(last),
            "actions": {"allowed": mayAct, "reason": "" if mayAct else SHOWS_ONLY},
        }

    def _reloadRow(self, last: LastReload) -> Row:
        return {"time": self._date(last.when), "mistakes": last.mistakes}

    def _date(self, moment: float) -> float:
        return round(moment + self._calendar.epoch, 3)

    def _connections(self, question: Question) -> Work[Row]:
        page = _Page(question)
        found = self._present(page.after)
        return (yield from self._list("connections", page, found, self._describe))

    def _tunnels(self, question: Question) -> Work[Row]:
        page = _Page(question)
        firsts = (
            [record for record in records if _isFirst(record)]
            for records in self._present(page.after)
        )
        return (yield from self._list("tunnels", page, firsts, self._describeTunnel))

    def _present(self, after: int) -> Iterator[Sequence[Record]]:
        """Yield the open connections in the order of their numbers, in slices."""
        for records in slices(list(self._registry.records)):
            yield [each for each in records if each.number > after and each.client is not None]

    def _list(
        self,
        name: str,
        page: _Page,
        found: Iterator[Sequence[Record]],
        describe: Callable[[Record], Row],
    ) -> Work[Row]:
        chosen: list[Record] = []
        for records in found:
            chosen += records[: page.limit + 1 - len(chosen)]
            if len(chosen) > page.limit:
                break
            yield
        described = []
        for record in chosen[: page.limit]:
            described.append(describe(record))
            if not len(described) % ROWS_A_TURN:
                yield
        isMore = len(chosen) > page.limit
        return {name: described, "next": described[-1]["number"] if isMore else None}

    def _connection(self, question: Question) -> Work[Row]:
        yield
        return self._describe(self._find(question))

    def _tunnel(self, question: Question) -> Work[Row]:
        yield
        record = self._find(question)
        if not record.isPaired:
            raise AbsentError(f"connection {record.number} has no tunnel of two clients")
        return self._describeTunnel(_firstEnd(record))

    def _find(self, question: Question) -> Record:
        number = _number(question)
        record = self._registry.find(number)
        if record is None or record.client is None:
            raise AbsentError(f"there is no connection {number}")
        return record

    def _describe(self, record: Record) -> Row:
        return {
            "number": record.number,
            "state": "closed" if record.client is None else record.client.stage,
            "role": None if record.role is None else ROLES[record.role],
            "transport": record.transport,
            "tls": record.secure,
            "address": record.address,
            "name": record.name[:MOST_TEXT],
            "uuid": record.uuid[:MOST_TEXT],
            "serverUuid": record.serverUuid[:MOST_TEXT],
            "account": None if record.subject is None else record.subject[:MOST_TEXT],
            "seconds": self._since(record.started),
            "received": record.received,
            "sent": record.sent,
            "worker": record.worker,
        }

    def _describeTunnel(self, record: Record) -> Row:
        ends = [record] if record.partner is None else [record, record.partner]
        return {
            "number": record.number,
            "seconds": 0.0 if record.joined is None else self._since(record.joined),
            "ends": [self._describe(each) for each in ends],
        }

    def _since(self, moment: float) -> float:
        return round(max(0.0, self._clock.seconds() - moment), 3)


class _Page:
    """Which part of a list is asked for.

    :ivar after: the number behind which it begins.
    :ivar limit: how much there is in it, at most.
    :raises _BadError: that is not to be understood.
    """

    def __init__(self, question: Question) -> None:
        unknown = set(question.query) - {"after", "limit"}
        if unknown:
            raise _BadError("the fields of the query are after and limit")
        self.after = _natural("after", question.query.get("after", "0"))
        self.limit = _natural("limit", question.query.get("limit", str(ITEMS)))
        if not 0 < self.limit <= MOST_ITEMS:
            raise _BadError(f"limit is not from 1 to {MOST_ITEMS}")


def _natural(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        raise _BadError(f"{name} is no number of at most {LONGEST_NUMBER} digits")
    return int(text)


def _number(question: Question) -> int:
    return _natural("the number of the connection", question.parameters["number"])


def _firstEnd(record: Record) -> Record:
    """Return the end of a tunnel whose number stands for it: the lower one of this server's."""
    partner = record.partner
    return partner if partner is not None and 0 < partner.number < record.number else record


def _isFirst(record: Record) -> bool:
    """Tell whether a tunnel is to be listed with this end of it: one end of each is."""
    first = _firstEnd(record)
    return record.isPaired and (first is record or first.client is None)


def problem(status: int, detail: str) -> Answer:
    """Return an answer that says what is wrong."""
    content: dict[str, Any] = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return Answer(status, json.dumps(content, separators=(",", ":")).encode("ascii"), PROBLEM)


def asProblem(answer: Answer) -> Answer:
    """Return an answer in words as one for programs, with its headers."""
    return replace(problem(answer.status, answer.body.decode().strip()), headers=answer.headers)
