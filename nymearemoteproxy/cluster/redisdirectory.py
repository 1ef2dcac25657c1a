"""A directory in a Redis.

Owns whether it answers, who is told, and this member's entry there. Knows nothing of how it is
reached, nor how what is there is spelled.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.cluster import redisscripts as scripts
from nymearemoteproxy.cluster.directory import (
    SECRET_SIZE,
    DirectoryError,
    Holder,
    IDirectory,
    Member,
    unheeded,
)
from nymearemoteproxy.cluster.identity import checkOf
from nymearemoteproxy.cluster.lease import LEASE, RENEWAL, Lease, boottime
from nymearemoteproxy.cluster.redisclient import Ask, RedisClient
from nymearemoteproxy.cluster.redisurl import RedisUrl
from nymearemoteproxy.cluster.rediswire import RedisRefusal, Reply
from nymearemoteproxy.common.logs import ProxyLogger

log = ProxyLogger()

TIMEOUT = 1.0
"""Seconds for each command."""

EMPTIED = 2 * RENEWAL
"""Seconds after it was found to be empty in which what is not there may only not be there again:
who lost no connection notices when it renews its lease."""

SETTLED = LEASE
"""Seconds for which others have to have another secret until that is told: so long one is still
there that all had until they were started anew with this one."""

PROBE = 1.0
"""Seconds between two looks whether something can be put again; all is claimed anew 3 s after it is
so."""

MOST_REASONS = 5
"""Reasons that are told of one outage: the first one is often only that the connection was closed,
and some quote what was answered."""

FULL = {"OOM", "MISCONF", "NOREPLICAS"}
"""Errors with which it still can be looked at; a replica that is read-only is left instead, for the
name may be another one's by now."""


@implementer(IDirectory)
class RedisDirectory:
    """One member's view of a Redis.

    :param describe: returns this member as the others are to see it, given our own address as the
        connection to the directory has it, which is empty for a Unix socket.
    :param secret: from a file; None = the one that the first member puts there.
    :param now: returns seconds by a clock that goes on while the machine sleeps.
    :param timeout: seconds for each command.
    :param trustRoot: the authorities to trust; None = the system's.
    :ivar url: where it is, with no password.
    :ivar client: the connection.
    :ivar outages: how often it began not to answer.
    :ivar hasOtherSecrets: whether members are there, too, that have another secret.
    """

    isLasting = False

    def __init__(
        self,
        reactor: Any,
        url: RedisUrl,
        describe: Callable[[str], Member],
        secret: bytes | None = None,
        now: Callable[[], float] = boottime,
        timeout: float = TIMEOUT,
        trustRoot: Any = None,
    ) -> None:
        self.url = str(url)
        self.secret = secret
        self.outages = 0
        self.hasOtherSecrets = False
        self.client = RedisClient(
            reactor, url, self._greet, self._connected, self._failed, timeout, trustRoot
        )
        self._reactor = reactor
        self._describe = describe
        self._isSecretOurs = secret is not None
        self._timeout = timeout
        self._followers: list[Callable[[], object]] = []
        self._lease = Lease(reactor, self.renew, now)
        self.isLeaseOver = self._lease.isOver
        self._refusal: RedisRefusal | None = None
        self._reasons: set[str] = set()
        self._probing: IDelayedCall | None = None
        self._policy = ""
        self._tried: Deferred[None] = Deferred()
        self._emptied: float | None = None
        self._differsSince: float | None = None

    @property
    def isAnswering(self) -> bool:
        """False from a failure on until it has answered again."""
        return self.client.isConnected and self._refusal is None

    @property
    def commands(self) -> int:
        """How many it was sent."""
        return self.client.commands

    @property
    def failures(self) -> int:
        """Of those, how many it did not answer, or not as it should."""
        return self.client.failures

    def start(self) -> Deferred[None]:
        """Connect; fires after the first attempt, whatever came of it."""
        self._lease.start()
        self.client.start()
        return self._tried

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """Take this member's entry away, if that can be, and disconnect."""
        self._lease.stop()
        self._probeNot()
        # Its lease ends by itself, too.
        yield unheeded(self.client.ask(b"DEL", scripts.memberKey(self._me().id)))
        yield self.client.stop()

    def follow(self, returned: Callable[[], object]) -> None:
        self._followers.append(returned)

    @inlineCallbacks
    def renew(self) -> Generator[Deferred[Any], Any, None]:
        wasAnswering = self.isAnswering
        try:
            renewal, isAnew = yield self._renew(self.client.ask)
        except DirectoryError as error:
            if getattr(error, "code", None) not in FULL:
                self.client.giveUp(str(error))  # the next connection looks what is the matter
            raise
        if isAnew or (self.isAnswering and not wasAnswering):
            self._tell()
        if not renewal.isRenewed:
            raise renewal.refused

    def claim(self, place: str, holder: Holder) -> Deferred[Holder]:
        return self.claimAll([(place, holder)]).addCallback(lambda holders: holders[0])

    def claimAll(self, claims: Sequence[tuple[str, Holder]]) -> Deferred[list[Holder]]:
        keys = [scripts.placeKey(place) for place, _holder in claims]
        holders = [scripts.spellHolder(holder) for _place, holder in claims]
        asked = self._run(scripts.CLAIM, keys, *holders, b"%d" % scripts.PLACE_LIFETIME)
        return asked.addCallback(scripts.readHolders, len(claims))

    def replace(self, place: str, old: Holder, new: Holder) -> Deferred[Holder]:
        holders = [scripts.spellHolder(holder) for holder in (old, new)]
        keys = [scripts.placeKey(place)]
        asked = self._run(scripts.REPLACE, keys, *holders, b"%d" % scripts.PLACE_LIFETIME)
        return asked.addCallback(scripts.readHolder)

    def release(self, place: str, holder: Holder) -> Deferred[None]:
        keys = [scripts.placeKey(place)]
        asked = self._run(scripts.RELEASE, keys, scripts.spellHolder(holder))
        return asked.addCallback(lambda _reply: None)

    def find(self, place: str) -> Deferred[Holder | None]:
        asked = self._look(scripts.placeKey(place), scripts.LONGEST_VALUE)
        return asked.addCallback(scripts.readIfThere, scripts.readHolder).addCallback(self._found)

    def _found(self, found: Holder | Member | None) -> Any:
        return self._checkEmptied() if found is None else found

    @inlineCallbacks
    def _checkEmptied(self) -> Generator[Deferred[Any], Any, None]:
        """Raise an error if what is not there may be there again soon."""
        if not self._isEmptied():
            # Whose entry is not there after it was emptied may only not have been renewed. Ours is
            # always there, unless that is so.
            mine = yield self._entry(self._me().id)
            if mine is None and not self._isEmptied():
                self._emptied = self._reactor.seconds()
                unheeded(self.renew())
        if self._isEmptied():
            raise DirectoryError("it was emptied, and others may not have claimed anew")

    def _isEmptied(self) -> bool:
        return self._emptied is not None and self._reactor.seconds() < self._emptied + EMPTIED

    def member(self, id: bytes) -> Deferred[Member | None]:
        return self._entry(id).addCallback(self._found)

    def _entry(self, id: bytes) -> Deferred[Member | None]:
        asked = self._look(scripts.memberKey(id), scripts.LONGEST_ENTRY)
        return asked.addCallback(scripts.readIfThere, partial(scripts.readMember, id))

    def _look(self, key: bytes, most: int) -> Deferred[Reply]:
        return self.client.ask(b"GETRANGE", key, b"0", b"%d" % (most - 1))

    def _me(self) -> Member:
        return self._describe(self.client.localHost)

    # Asking

    def _run(self, script: scripts.Script, keys: list[bytes], *words: bytes) -> Deferred[Reply]:
        asked = self._runBy(self.client.ask, script, keys, *words)
        return asked.addErrback(self._refused)

    def _runBy(
        self, ask: Ask, script: scripts.Script, keys: list[bytes], *words: bytes
    ) -> Deferred[Reply]:
        arguments = (b"%d" % len(keys), *keys, *words)
        until = self._reactor.seconds() + self._timeout

        def teach(failure: Failure) -> Failure | Deferred[Reply]:
            error = failure.value
            if not isinstance(error, RedisRefusal) or error.code != "NOSCRIPT":
                return failure
            left = until - self._reactor.seconds()
            return ask(b"EVAL", script.text, *arguments, timeout=left)

        return ask(b"EVALSHA", script.digest, *arguments).addErrback(teach)

    def _refused(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, RedisRefusal) and error.code in FULL:
            self._setRefusal(error)
        return failure

    # This member's entry, and the secret

    @inlineCallbacks
    def _renew(self, ask: Ask) -> Generator[Deferred[Any], Any, tuple[scripts.Renewal, bool]]:
        """Renew the entry; fire also with whether all places have to be claimed anew."""
        me = self._me()
        sent = self._lease.sending()
        ours = b"" if self._isSecretOurs else self._proposal().hex().encode()
        check = b"" if self.secret is None else checkOf(self.secret).hex().encode()
        keys = [scripts.memberKey(me.id), scripts.SECRET_KEY, scripts.CHECK_KEY]
        words = (scripts.spellMember(me), b"%d" % LEASE, ours, check)
        reply = yield self._runBy(ask, scripts.RENEW, keys, *words)
        renewal = scripts.readRenewal(reply)
        if renewal.refused is not None and renewal.refused.code not in FULL:
            raise renewal.refused
        isAnew = renewal.isRenewed and self._lease.renewed(sent, renewal.wasThere)
        if isAnew:
            self._emptied = self._reactor.seconds()
        isAnew = self._adopt(renewal.secret) or isAnew
        self._setRefusal(renewal.refused)
        self._compare(renewal.differs)
        return renewal, isAnew

    def _proposal(self) -> bytes:
        """Return what to put if there is no secret: ours, so that nobody has to change theirs."""
        return self.secret or secrets.token_bytes(SECRET_SIZE)

    def _adopt(self, secret: bytes | None) -> bool:
        """Return whether the secret is another one than before."""
        if self._isSecretOurs or secret is None or secret == self.secret:
            return False
        if self.secret is not None:
            log.warn("The directory {url} has another secret than before", url=self.url)
        self.secret = secret
        return True

    def _compare(self, differs: bool) -> None:
        """Log once that others have another secret, and once that it is so no more."""
        now = self._reactor.seconds()
        if not differs:
            if self.hasOtherSecrets:
                log.info("All members at the directory {url} have the same secret", url=self.url)
            self.hasOtherSecrets, self._differsSince = False, None
        elif self._differsSince is None:
            self._differsSince = now
        elif not self.hasOtherSecrets and now - self._differsSince > SETTLED:
            self.hasOtherSecrets = True
            log.error(
                "At the directory {url} there are members with another secret, whose clients never "
                "meet those of this one: give all the same Cluster.secretFile, and the same "
                "directories in the same order",
                event="secrets-differ",
                url=self.url,
            )

    # Whether it answers

    @inlineCallbacks
    def _greet(self, ask: Ask) -> Generator[Deferred[Any], Any, None]:
        yield self._renew(ask)
        if self.secret is None:
            raise self._refusal or DirectoryError("it has no secret")
        yield self._checkPolicy(ask)

    @inlineCallbacks
    def _checkPolicy(self, ask: Ask) -> Generator[Deferred[Any], Any, None]:
        try:
            reply = yield ask(b"INFO", b"memory")
        except RedisRefusal:  # it may be forbidden
            return
        text = reply if isinstance(reply, bytes) else b""
        found = re.search(rb"^maxmemory_policy:([a-z-]+)", text, re.M)
        policy = found[1].decode() if found else "noeviction"
        if policy not in ("noeviction", self._policy):
            log.warn(
                "The directory {url} throws away places when its memory is full: its "
                "maxmemory-policy is {policy} and should be noeviction",
                url=self.url,
                policy=policy,
            )
        self._policy = policy

    def _setRefusal(self, refusal: RedisRefusal | None) -> None:
        self._refusal = refusal
        if refusal is None:
            self._probeNot()
            self._note("" if self.client.isConnected else None)
            return
        self._note(str(refusal))
        if self._probing is None:
            self._probing = self._reactor.callLater(PROBE, self._probe)

    def _probeNot(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None

    def _probe(self) -> None:
        self._probing = None
        unheeded(self.renew())

    def _connected(self) -> None:
        if self._refusal is None:
            self._note("")
            self._tell()
        self._attempted()

    def _failed(self, reason: str) -> None:
        self._refusal = None
        self._probeNot()
        self._note(reason)
        self._attempted()

    def _attempted(self) -> None:
        if not self._tried.called:
            self._tried.callback(None)

    def _note(self, trouble: str | None) -> None:
        """Log once that it fails, each further reason once, and once that it answers again."""
        if trouble and not self._reasons:
            self.outages += 1
            log.error(
                "The directory {url} fails: {reason}; it is tried again",
                url=self.url,
                reason=trouble,
            )
        elif trouble and trouble not in self._reasons and len(self._reasons) < MOST_REASONS:
            log.error(
                "The directory {url} still fails; the reason now is: {reason}",
                url=self.url,
                reason=trouble,
            )
        elif trouble == "" and self._reasons:
            log.info("The directory {url} answers again", url=self.url)
            self._reasons.clear()
        if trouble and len(self._reasons) < MOST_REASONS:
            self._reasons.add(trouble)

    def _tell(self) -> None:
        for returned in self._followers:
            try:
                returned()
            except Exception:
                log.failure("A fault of ours when the directory {url} came back", url=self.url)
