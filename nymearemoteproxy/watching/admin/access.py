"""Who may ask what of the admin endpoint, and who may have something done by it.

Owns passwords, the bound on guessing them, and the defence against pages of other sites that an
operator's browser shows. Knows nothing of what is answered.

Why a foreign page cannot have anything done
--------------------------------------------

A browser sends the password of this endpoint with whatever any page asks of it, and ssh or a
reverse proxy may lead browsers to a Unix socket. What a page of another site can send without being
allowed to are *simple* requests: forms, and bodies of the types of forms (Fetch Standard,
CORS-safelisted request-header). ``Content-Type: application/json`` is none of them: the browser
asks first with OPTIONS, and nothing here answers that. Besides, browsers say where a request comes
from: by Sec-Fetch-Site (Fetch Metadata), which no page can change, and older ones by Origin. A name
of somebody else's that leads here (DNS rebinding) makes his page and this endpoint one site; then
there is no password that the browser would send, and without one only names of this machine are
heard.
"""

from __future__ import annotations

import base64
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.loopback import isLoopback
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.connections.limits import Bucket, sourceOf
from nymearemoteproxy.watching.admin.web import Answer, Question, text

T = TypeVar("T")

REALM = "nymea-remoteproxy"

MOST_FAILURES = 10
"""Wrong passwords in a row from one address: more than fingers slip."""

FORGIVEN_AFTER = 6.0
"""Seconds until one wrong password is forgotten: 14,400 guesses a day."""

MOST_ADDRESSES = 4096
"""How many addresses' failures are remembered, about 1 MiB; the longest silent goes first."""

MOST_GUESSES = 100
"""Wrong passwords from all addresses together, before most of them have to wait. A host may have
many addresses: on loopback 127.0.0.0/8, with IPv6 whole networks."""

GUESSES_PER_SECOND = 1.0
"""From then on: as many as six addresses may try."""

MOST_KNOWN = 256
"""How many addresses are remembered that gave a right password: they need not wait for others, nor
make room for those that did not."""

OWN_SITE = ("same-origin", "none")
"""Values of Sec-Fetch-Site (Fetch Metadata): our own page, or the person at the browser."""

JSON = "application/json"
"""What a request that has something done has to be: no form of another site's page is."""

SHOWS_ONLY = (
    "this endpoint shows, and has nothing done: everybody on this machine could ask for it. Set "
    "[Admin] passwordFile, or let [Admin] endpoint be a Unix socket for one user or group, as "
    "unix:/run/nymea-remoteproxy/admin.sock is"
)
"""What is said where nothing protects it."""


class Access:
    """The rules about who may ask.

    :param private: the listener is a Unix socket, and not for every user of the machine.
    """

    def __init__(self, clock: IReactorTime, private: bool = False) -> None:
        self._users: Mapping[str, str] | None = {}
        self._clock = clock
        self._private = private
        # source: (when, failures then), in the order of the last failure
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._guesses = Bucket(clock, GUESSES_PER_SECOND, MOST_GUESSES)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._guessing = Tally(
            clock,
            "admin endpoint: too many wrong passwords from {source}, none is looked at for a while",
            "time",
            "admin endpoint: too many wrong passwords, {more} in the last {interval:.0f} s",
        )

    def admit(self, users: Mapping[str, str] | None) -> None:
        """Let these in from now on; nobody is, before the first time.

        :param users: passwords by user; None = everybody may.
        """
        if users != self._users:
            self._known.clear()  # one of them may have been known by a password that is none now
        self._users = users

    def refusal(self, question: Question) -> Answer | None:
        """Return what keeps this question from being answered; None when nothing does."""
        if self._users is not None:
            return self._identify(question, self._users)
        return _misdirection(question)

    @property
    def protects(self) -> bool:
        """True when it is known who asks, so that something may be done."""
        return self._users is not None or self._private

    def isKnown(self, source: str | None) -> bool:
        """Tell whether somebody gave a right password from there.

        :param source: what the limits count a client as; None on a Unix socket.
        """
        return (source or "") in self._known

    def refusalToAct(self, question: Question) -> Answer | None:
        """Return what keeps this question, which may be asked, from having something done."""
        if not self.protects:
            return text(403, SHOWS_ONLY)
        if isCrossSite(question):
            return text(403, "refused: it comes from a page of another site")
        if question.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            return text(415, f"only with Content-Type: {JSON}")
        return None

    def nameOf(self, question: Question) -> str:
        """Return who asks, for the log; the question was not refused."""
        given = question.headers.get("authorization")
        user = "" if self._users is None or given is None else _split(given)[0]
        where = str(question.peer) if question.peer is not None else question.host
        return f"{user} from {where}" if user else where

    def _identify(self, question: Question, users: Mapping[str, str]) -> Answer | None:
        given = question.headers.get("authorization")
        if given is None:
            return _askForPassword()
        source = sourceOf(question.host, ()) or ""
        now = self._clock.seconds()
        when, failures = self._failures.get(source, (now, 0.0))
        failures = max(0.0, failures - (now - when) / FORGIVEN_AFTER)
        if failures > MOST_FAILURES - 1 or self._mustWaitForOthers(source):
            return text(429, "too many wrong passwords", Retry_After=f"{FORGIVEN_AFTER:.0f}")
        if _matches(given, users):
            self._failures.pop(source, None)
            _remember(self._known, source, None, MOST_KNOWN)
            return None
        self._guesses.take()
        _remember(self._failures, source, (now, failures + 1), MOST_ADDRESSES)
        if failures + 1 > MOST_FAILURES - 1:
            self._guessing.add(source=source or "the Unix socket")
        return _askForPassword()

    def _mustWaitForOthers(self, source: str) -> bool:
        if self.isKnown(source) or not self._guesses.isEmpty():
            return False
        self._guessing.add(source="many addresses")
        return True


def _remember(entries: OrderedDict[str, T], source: str, entry: T, most: int) -> None:
    """Keep an entry; the one that was kept longest makes room for it."""
    entries[source] = entry
    entries.move_to_end(source)
    if len(entries) > most:
        entries.popitem(last=False)


def _misdirection(question: Question) -> Answer | None:
    """Return the answer to a question by a name that need not be this machine's.

    DNS rebinding: a name of somebody else's that leads to this machine makes his page and ours one
    site to the browser.
    """
    if isLoopbackName(question.headers.get("host", "")):
        return None
    return text(
        421,
        "misdirected: without a password only localhost and loopback addresses are answered, as "
        "the Host header gives them. A reverse proxy has to send Host: localhost",
    )


def _askForPassword() -> Answer:
    return text(
        401, "a password is needed", WWW_Authenticate=f'Basic realm="{REALM}", charset="UTF-8"'
    )


def _matches(authorization: str, users: Mapping[str, str]) -> bool:
    """Tell whether the header holds a user's password, in the same time whoever it is."""
    try:
        user, password = _split(authorization)
    except ValueError:
        return False
    wanted = users.get(user, "")
    equal = hmac.compare_digest(password.encode(), wanted.encode())
    return equal and user in users


def _split(authorization: str) -> tuple[str, str]:
    """Return the user and the password of the header.

    :raises ValueError: it holds none: another scheme, no base64, or no UTF-8.
    """
    scheme, _, encoded = authorization.partition(" ")
    decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    user, colon, password = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise ValueError("no basic authentication")
    return user, password


def isLoopbackName(authority: str) -> bool:
    """Tell whether a Host header names this machine, and no name that others could own."""
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
    else:
        host = authority.partition(":")[0]
    return host.lower() == "localhost" or isLoopback(host)


def isCrossSite(question: Question) -> bool:
    """Tell whether a request that changes something may come from a page of another site."""
    headers = question.headers
    if headers.get("sec-fetch-site", "none").lower() not in OWN_SITE:
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
