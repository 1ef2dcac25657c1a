"""Who may ask what of the admin endpoint.

Owns passwords, the bound on guessing them, and the defence against pages of other sites that an
operator's browser shows. Knows nothing of what is answered.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime

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
"""How many addresses are remembered that gave a right password: they need not wait for others."""

OWN_SITE = ("same-origin", "none")
"""Values of Sec-Fetch-Site (Fetch Metadata): our own page, or the person at the browser."""

CONFIRMATION = "x-requested-with"
"""A header that a page of another site cannot add to a request without being allowed to (CORS),
which nobody is here."""


class Access:
    """The rules about who may ask.

    :param loopback: the listener has a loopback address, so that its name in a request is known.
    :ivar users: passwords by user; None = everybody may. Nobody, before they are set.
    """

    def __init__(self, clock: IReactorTime, loopback: bool) -> None:
        self.users: Mapping[str, str] | None = {}
        self._clock = clock
        self._loopback = loopback
        # source: (when, failures then), in the order of the last failure
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._guesses = Bucket(clock, GUESSES_PER_SECOND, MOST_GUESSES)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._guessing = Tally(
            clock,
            "admin endpoint: too many wrong passwords from {source}, none is looked at for a while",
            "admin endpoint: too many wrong passwords, {count} more times in the last "
            "{interval:.0f} s",
        )

    def refusal(self, question: Question) -> Answer | None:
        """Return what keeps this question from being answered; None when nothing does."""
        if self.users is not None:
            return self._identify(question, self.users)
        if self._loopback and not isLoopbackName(question.headers.get("host", "")):
            # DNS rebinding: a name of somebody else's that leads to this machine makes his page
            # and ours one site to the browser.
            return text(
                421,
                "misdirected: without a password only localhost and loopback addresses are "
                "answered, as the Host header gives them",
            )
        return None

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
        if source in self._known or not self._guesses.isEmpty():
            return False
        self._guessing.add(source="many addresses")
        return True


def _remember(entries: OrderedDict[str, T], source: str, entry: T, most: int) -> None:
    """Keep an entry; the one that was kept longest makes room for it."""
    entries[source] = entry
    entries.move_to_end(source)
    if len(entries) > most:
        entries.popitem(last=False)


def _askForPassword() -> Answer:
    return text(
        401, "a password is needed", WWW_Authenticate=f'Basic realm="{REALM}", charset="UTF-8"'
    )


def _matches(authorization: str, users: Mapping[str, str]) -> bool:
    """Tell whether the header holds a user's password, in the same time whoever it is."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = (
            base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
        )
    except ValueError:  # no base64, or no UTF-8
        return False
    wanted = users.get(user, "")
    equal = hmac.compare_digest(password.encode(), wanted.encode())
    return equal and scheme.lower() == "basic" and bool(colon) and user in users


def isLoopbackName(authority: str) -> bool:
    """Tell whether a Host header names this machine, and no name that others could own."""
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
    else:
        host = authority.partition(":")[0]
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def isCrossSite(question: Question) -> bool:
    """Tell whether a request that changes something may come from a page of another site."""
    headers = question.headers
    if not headers.get(CONFIRMATION):
        return True
    if headers.get("sec-fetch-site", "none").lower() not in OWN_SITE:
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
