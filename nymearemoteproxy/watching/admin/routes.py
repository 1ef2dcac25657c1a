"""The admin endpoint as a whole: which path answers what.

Owns the paths and the headers that every answer has. Knows nothing of what is behind them, which is
made elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IListeningPort

from nymearemoteproxy.common.addresses import describePlace
from nymearemoteproxy.common.certificates import CertificateFiles
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.watching.admin.access import Access
from nymearemoteproxy.watching.admin.api import PREFIX, ActionPath, AdminApi, asProblem
from nymearemoteproxy.watching.admin.delay import DelaySampler
from nymearemoteproxy.watching.admin.encoding import Row, Work, encode
from nymearemoteproxy.watching.admin.expiry import Expiry
from nymearemoteproxy.watching.admin.history import History
from nymearemoteproxy.watching.admin.metrics import Metrics
from nymearemoteproxy.watching.admin.rows import Rows
from nymearemoteproxy.watching.admin.seats import Seats
from nymearemoteproxy.watching.admin.status import Status
from nymearemoteproxy.watching.admin.web import Answer, HttpFactory, Question, text
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.watched import Watched

log = ProxyLogger()

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "trusted-types 'none'; require-trusted-types-for 'script'"  # no HTML out of strings at all
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer. The page is small, and after an upgrade nobody wants the old one: so nothing is
kept in a cache."""

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}

PAGE = "index.html"


def readPages() -> dict[str, Answer]:
    """Return the files of the status page, by path."""
    pages = {}
    for file in files("nymearemoteproxy.watching.admin").joinpath("static").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in CONTENT_TYPES:
            path = "/" if file.name == PAGE else f"/{file.name}"
            pages[path] = Answer(200, file.read_bytes(), CONTENT_TYPES[suffix])
    return pages


@dataclass(frozen=True)
class Route:
    """What is behind a path.

    :ivar answer: returns it, or is the work that does.
    :ivar methods: those of HTTP that it takes.
    :ivar isOpen: it is for everybody: probes have no passwords, and learn nothing but whether the
        server runs.
    """

    answer: Callable[[Question], Answer | Work[Answer]]
    methods: Sequence[str] = ("GET", "HEAD")
    isOpen: bool = False


def _always(answer: Answer) -> Callable[[Question], Answer]:
    return lambda _question: answer


def parametersIn(template: str, path: str) -> dict[str, str] | None:
    """Return what stands in a path where its template has names in braces.

    :returns: None when it is no path of that template.
    """
    names, parts = template.split("/"), path.split("/")
    if len(names) != len(parts):
        return None
    found = {}
    for name, part in zip(names, parts, strict=True):
        if name.startswith("{") and part:
            found[name[1:-1]] = part
        elif name != part:
            return None
    return found


class AdminEndpoint:
    """The admin endpoint of one server.

    :param reactor: tells the time.
    :ivar listener: where to listen with `factory`.
    :ivar factory: of the protocol for a stream of bytes, below which TLS may be.
    """

    def __init__(self, reactor: Any, listener: Listener, watched: Watched) -> None:
        self.listener = listener
        self._proxy = proxy = watched.proxy
        self._pulse = watched.pulse
        self._condition = watched.condition
        self._actions = watched.actions
        self._expiry = Expiry(reactor)
        self._company = watched.company
        self._metrics = Metrics(
            proxy,
            watched.calendar,
            watched.condition,
            self._expiry,
            watched.company,
            watched.lastReload,
            watched.actions.counts,
        )
        self._delay = DelaySampler(reactor, self._metrics.delayed)
        self._history = History(proxy.registry.counters.outcomes, self._delay.takeWorst)
        self._status = Status(reactor, watched, self._history, self._expiry)
        self._rows = Rows(reactor, proxy)
        self._access = Access(reactor, listener.isPrivate)
        self._api = AdminApi(reactor, watched, lambda: self._access.protects)
        # One at a time: of each so much is remembered that the garbage collector, which looks at
        # all of it, would stop the server for far longer than a turn.
        self._making = DeferredLock()
        self._measures = False
        self._routes = self._makeRoutes()
        self.factory = Seats(
            HttpFactory(reactor, self.answer),
            reactor,
            proxy.delays,
            self._access.isKnown,
            listener.secure,
        )

    def start(self, port: IListeningPort) -> None:
        """Say where it is, and begin to measure; the pulse has to begin after this.

        :param port: on which `factory` listens.
        """
        scheme = "https" if self.listener.secure else "http"
        log.info("admin endpoint on {url}", url=describePlace(scheme, port.getHost(), "/"))
        self._measures = True
        self._proxy.registry.observers.append(self._metrics)
        self._pulse.listeners.append(self._history.add)
        self._delay.start()

    def apply(
        self,
        name: str,
        users: Mapping[str, str] | None,
        certificates: Mapping[CertificateFiles | None, ServerContexts],
        ownCertificate: str,
    ) -> None:
        """Do what is configured, from now on; before the first time nothing is served.

        :param name: of the server, for people.
        :param users: passwords by user; None = everybody may.
        :param certificates: those in use, by the files they come from; None for the server's own.
        :param ownCertificate: what to call that one.
        """
        self._status.name = self._api.name = name
        self._access.admit(users)
        self._expiry.replace(certificates, ownCertificate)

    def stop(self) -> None:
        """Close all connections, and measure no more."""
        self.factory.closeAll()
        if self._measures:
            self._measures = False
            self._delay.stop()
            self._proxy.registry.observers.remove(self._metrics)
            self._pulse.listeners.remove(self._history.add)

    # Answers

    def answer(self, question: Question) -> Answer | Deferred[Answer]:
        """Return the answer to a question, at once if that is no work.

        The Deferred can be cancelled.
        """
        answer = self._answer(question)
        if isinstance(answer, Answer):
            return _secured(answer)
        made: Deferred[Answer] = self._making.run(self._proxy.turns.run, answer)
        return made.addCallback(_secured)

    def _answer(self, question: Question) -> Answer | Work[Answer]:
        route, question = self._find(question)
        refusal = self._refusal(route, question)
        if refusal is not None:
            return asProblem(refusal) if question.path.startswith(PREFIX) else refusal
        assert route is not None
        return route.answer(question)

    def _find(self, question: Question) -> tuple[Route | None, Question]:
        """Return what is behind the path of a question, and that with what stands in the path."""
        for template, route in self._routes.items():
            parameters = parametersIn(template, question.path)
            if parameters is not None:
                return route, replace(question, parameters=parameters)
        return None, question

    def _refusal(self, route: Route | None, question: Question) -> Answer | None:
        isOpen = route is not None and route.isOpen
        refusal = None if isOpen else self._access.refusal(question)
        if refusal is not None:
            return refusal
        if route is None:
            return text(404, "there is nothing here")
        if question.method not in route.methods:
            return text(405, f"only {' and '.join(route.methods)}", Allow=", ".join(route.methods))
        return None

    def _makeRoutes(self) -> dict[str, Route]:
        pages = {path: Route(_always(page)) for path, page in readPages().items()}
        return pages | {
            "/healthz": Route(_always(text(200, "ok")), isOpen=True),
            "/readyz": Route(self._ready, isOpen=True),
            "/metrics": Route(self._scrape),
            "/api/status": Route(_json(self._status.overview)),
            "/api/history": Route(_json(self._status.history)),
            "/api/tunnels": Route(_json(self._rows.tunnels)),
            "/api/servers": Route(_json(self._rows.servers)),
            "/api/waiting": Route(_json(self._rows.waiting)),
            **{path: Route(answer) for path, answer in self._api.readers.items()},
            **{
                path: Route(self._acting(action), methods=("POST",))
                for path, action in self._api.actions.items()
            },
        }

    def _ready(self, _question: Question) -> Answer:
        condition = self._condition()
        if condition is not Condition.READY:
            return text(503, condition.value)
        trouble = "" if self._company is None else self._company().trouble
        return text(200, f"degraded: {trouble}" if trouble else condition.value)

    def _scrape(self, question: Question) -> Work[Answer]:
        yield from self._expiry.refresh()
        load = yield from self._proxy.registry.counters.counting()
        yield
        body, contentType = self._metrics.render(question.headers.get("accept", ""), load)
        return Answer(200, body, contentType)

    def _acting(self, path: ActionPath) -> Callable[[Question], Answer]:
        """Return what has something done, for those who may."""

        def answer(question: Question) -> Answer:
            refusal = self._access.refusalToAct(question)
            who = self._access.nameOf(question)
            if refusal is None:
                return self._api.act(path, question, who)
            self._actions.refused(path.action, who)
            return asProblem(refusal)

        return answer


def _secured(answer: Answer) -> Answer:
    return replace(answer, headers={**SECURITY_HEADERS, **answer.headers})


def _json(
    make: Callable[[Mapping[str, str]], Work[Row]],
) -> Callable[[Question], Work[Answer]]:
    """Return what answers a question with an object that is made of its query."""

    def answer(question: Question) -> Work[Answer]:
        members = yield from make(question.query)
        body = yield from encode(members)
        return Answer(200, body, "application/json")

    return answer
