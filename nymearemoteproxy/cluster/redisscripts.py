"""What the members of a cluster keep in a Redis: keys, values, and the scripts that change them.

Owns how all of that is spelled, and that nonsense there is a `DirectoryError`. Knows nothing of
connections.

Each script is one step for everybody else. One that has something to put says so by an error only
when it has nothing to tell: who looks gets an answer also when the memory is full.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nymearemoteproxy.cluster.directory import (
    MEMBER_SIZE,
    SECRET_SIZE,
    DirectoryError,
    Holder,
    Member,
)
from nymearemoteproxy.cluster.rediswire import RedisRefusal, refusal
from nymearemoteproxy.common.texts import isText

Read = TypeVar("Read")

PREFIX = b"nymea-remoteproxy:"
"""Begins every key, so that an access list (ACL) can name them and others may use the database."""

SECRET_KEY = PREFIX + b"secret"

CHECK_KEY = PREFIX + b"check"
"""What shows which secret the first member has that is there now."""

OTHER_CHECK_KEY = CHECK_KEY + b":other"
"""The same of the last member that has another one."""

PLACE_LIFETIME = 86400
"""Seconds, a day: what a member leaves behind is gone by then even if nobody asks for it. Claiming
a place again that one holds begins it anew."""

LONGEST_VALUE = 100
"""Characters of a place's value that are looked at; a true one has half of that."""

LONGEST_ENTRY = 4096
"""The same of a member's."""


def placeKey(place: str) -> bytes:
    """Return the key of a place."""
    return PREFIX + b"place:" + place.encode()


def memberKey(id: bytes) -> bytes:
    """Return the key of a member."""
    return PREFIX + b"member:" + id.hex().encode()


@dataclass(frozen=True)
class Script:
    """A script of Redis'.

    :ivar digest: its name there.
    """

    text: bytes
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()
        object.__setattr__(self, "digest", digest)


CLAIM = Script(
    b"""
local held = {}
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if not value then
    redis.call('SET', key, ARGV[i], 'EX', ARGV[#ARGV])
    value = ARGV[i]
  elseif value == ARGV[i] then
    redis.pcall('EXPIRE', key, ARGV[#ARGV])
  end
  held[i] = string.sub(value, 1, %d)
end
return table.concat(held, ' ')
"""
    % LONGEST_VALUE
)
"""Keys: places. Arguments: who wants each, lifetime. Returns who holds them, in one text:
txredisapi takes a turn of the reactor for each part of a list."""

REPLACE = Script(
    b"""
local value = redis.call('GET', KEYS[1])
if not value or value == ARGV[1] or value == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return ARGV[2]
end
return string.sub(value, 1, %d)
"""
    % LONGEST_VALUE
)
"""Key: a place. Arguments: the old holder, the new one, lifetime. Returns who holds it."""

RELEASE = Script(b"""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
""")
"""Key: a place. Argument: its holder."""

RENEW = Script(
    b"""
local wasThere = redis.call('GET', KEYS[1])
local refused = redis.pcall('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]).err
local isRenewed = not refused
local secret = redis.call('GET', KEYS[2])
local differs = false
if ARGV[4] ~= '' then
  local otherKey = KEYS[3] .. ':other'
  local check, other = redis.call('GET', KEYS[3]), redis.call('GET', otherKey)
  local isFirsts = not check or check == ARGV[4]
  redis.pcall('SET', isFirsts and KEYS[3] or otherKey, ARGV[4], 'EX', ARGV[2])
  differs = not isFirsts or other and other ~= ARGV[4]
end
if not secret and ARGV[3] ~= '' and not refused then
  refused = redis.pcall('SET', KEYS[2], ARGV[3]).err
  secret = not refused and ARGV[3]
end
if not isRenewed then
  isRenewed = redis.pcall('EXPIRE', KEYS[1], ARGV[2]) == 1
end
return {
  wasThere and 1 or 0, isRenewed and 1 or 0, string.sub(secret or '', 1, %d), refused or '',
  differs and 1 or 0
}
"""
    % LONGEST_VALUE
)
"""Keys: a member, the secret, its check value. Arguments: the member's entry, its lease, the secret
to put if there is none, the check value of the one that the member has. Check values have leases,
too: a secret that nobody has any more is forgotten. `OTHER_CHECK_KEY` is not among the keys, for
with more than ten words Redis hears nobody out who has to give a password first.

Also when the memory is full it lengthens a lease that has begun, for EXPIRE needs none; that comes
last, since a script that has written something may go on writing."""


@dataclass(frozen=True)
class Renewal:
    """What came of `RENEW`.

    :ivar wasThere: whether the entry was there before.
    :ivar isRenewed: whether it is for another lease.
    :ivar secret: that the members share; None = none could be put.
    :ivar refused: why nothing can be put; None = it can.
    :ivar differs: whether a member was there within a lease that has another secret.
    """

    wasThere: bool
    isRenewed: bool
    secret: bytes | None
    refused: RedisRefusal | None
    differs: bool


def readRenewal(reply: Any) -> Renewal:
    """Read what `RENEW` returns."""
    try:
        wasThere, isRenewed, secret, refused, differs = reply
        shared = bytes.fromhex(secret.decode("ascii")) if secret else None
        if shared is not None and len(shared) != SECRET_SIZE:
            raise ValueError
        why = refusal(refused.decode("ascii", "replace")) if refused else None
    except (TypeError, ValueError, AttributeError):
        raise DirectoryError("what it keeps as the secret is none") from None
    return Renewal(bool(wasThere), bool(isRenewed), shared, why, bool(differs))


def spellHolder(holder: Holder) -> bytes:
    """Return the text of a place's holder."""
    return b"%b#%d" % (holder.member.hex().encode(), holder.claim)


_HOLDER = re.compile(rb"([0-9a-f]{%d})#([0-9]{1,18})" % (2 * MEMBER_SIZE))


def readIfThere(reply: Any, read: Callable[[Any], Read]) -> Read | None:
    """Read what GETRANGE returns: nothing for a key that is not there."""
    return None if reply == b"" else read(reply)


def readHolder(reply: Any) -> Holder:
    """Read the text of a place's holder."""
    found = isinstance(reply, bytes) and _HOLDER.fullmatch(reply)
    if not found:
        raise DirectoryError("what it keeps as the holder of a place is none")
    return Holder(bytes.fromhex(found[1].decode()), int(found[2]))


def readHolders(reply: Any, count: int) -> list[Holder]:
    """Read what `CLAIM` returns for so many places."""
    texts = reply.split(b" ") if isinstance(reply, bytes) else []
    if len(texts) != count:
        raise DirectoryError("what it keeps as the holder of a place is none")
    return [readHolder(text) for text in texts]


def spellMember(member: Member) -> bytes:
    """Return a member's entry."""
    entry = {"address": member.address, "version": member.version, "name": member.name}
    return json.dumps(entry).encode()


def readMember(id: bytes, reply: Any) -> Member:
    """Read a member's entry; what newer members add is left out."""
    try:
        entry = json.loads(reply)
        member = Member(id, entry["address"], entry["version"], entry.get("name", ""))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        raise DirectoryError("what it keeps as a member is none") from None
    texts = (member.address, member.name)
    areTexts = all(isinstance(text, str) and isText(text) for text in texts)
    if not areTexts or type(member.version) is not int:
        raise DirectoryError("what it keeps as a member is none")
    return member
