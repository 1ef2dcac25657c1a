"""Conversations by the hundred: batch after batch, each with a server of its own.

Owns which conversation an index is, how many go on at once, and who is to blame for a problem.
Knows nothing of what is said, nor of what the server promises.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from fuzz.network.grammars import GRAMMARS
from fuzz.network.honest import Honest
from fuzz.network.mutations import mutated
from fuzz.network.player import Play
from fuzz.network.steps import Conversation
from fuzz.network.target import VARIANTS, Target

BATCH = 250
"""Conversations with one server: enough for it to grow old, few enough for a short search."""

AT_ONCE = 30
"""Conversations: many wait for what never comes, and honest clients are to be served in between."""


def conversation(seed: int, index: int) -> Conversation:
    """Return one; it is always the same."""
    random = Random(f"{seed}/{index}")
    return mutated(random, random.choice(GRAMMARS)(random).conversation())


def variant(index: int) -> str:
    """Return how the server runs that this one is held with."""
    return VARIANTS[index // BATCH % len(VARIANTS)]


class Campaign:
    """Holds the conversations of one seed.

    :param planted: a fault that the servers have.
    :param say: is told what goes on, line by line.
    :ivar held: how many conversations were.
    :ivar met: how many honest pairs were beside them.
    :ivar log: what the server wrote that had the last problem.
    """

    def __init__(
        self, seed: int, planted: str | None = None, say: Callable[[str], object] = print
    ) -> None:
        self.held = self.met = 0
        self.log = ""
        self._seed = seed
        self._planted = planted
        self._say = say

    async def run(self, indices: Iterable[int], seconds: float | None = None) -> bool:
        """Hold these; return whether the server kept all it promises.

        :param seconds: no batch begins later than that.
        """
        began = time.monotonic()
        for batch in _batches(indices):
            if seconds is not None and time.monotonic() - began > seconds:
                break
            problems, suspects = await self._hold(batch, variant(batch[0]))
            if problems:
                for problem in problems:
                    self._say(f"PROBLEM: {problem}")
                await self._blame(suspects, batch)
                return False
            self._say(
                f"{batch[0]} to {batch[-1]} ({variant(batch[0])}): "
                f"{self.held} conversations and {self.met} honest pairs so far, all in order"
            )
        return True

    async def _hold(self, indices: Sequence[int], how: str) -> tuple[list[str], list[int]]:
        """Hold these with a server of their own; return what went wrong, and who may be it."""
        target = await deferToThread(Target, how, self._planted)
        try:
            batch = _Batch(self._seed, indices, target)
            await batch.hold()
            problems = batch.problems or await deferToThread(target.promises.settle)
            problems = problems or await deferToThread(target.stop)
            if problems:
                self.log = target.log()
        finally:
            await deferToThread(target.close)
        self.held += batch.held
        self.met += batch.met
        return problems, batch.suspects or list(indices)

    async def _blame(self, suspects: list[int], batch: list[int]) -> None:
        """Find the one conversation that it takes, if it is one, and tell.

        :param batch: all that there were with that server.
        """
        how = variant(batch[0])
        if (await self._hold([], how))[0]:
            self._say(f"no conversation is to blame: honest pairs are enough ({how})")
            return
        if not (await self._hold(suspects, how))[0]:
            suspects = batch
            if not (await self._hold(suspects, how))[0]:
                self._say("it did not come again")
                return
        while len(suspects) > 1:
            self._say(f"it is one of {len(suspects)} conversations, or several")
            middle = len(suspects) // 2
            for half in (suspects[:middle], suspects[middle:]):
                problems, fewer = await self._hold(half, how)
                if problems:
                    suspects = fewer
                    break
            else:
                break
        if len(suspects) > 1:
            self._say(f"it takes several of these: {', '.join(map(str, suspects))}")
            return
        options = f" --planted {self._planted}" if self._planted else ""
        self._say(f"python -m fuzz.network --seed {self._seed} --only {suspects[0]}{options}")
        self._say(conversation(self._seed, suspects[0]).describe())


class _Batch:
    """Conversations with one server, several at once, until there is a problem.

    :ivar suspects: those that went on when it was seen, or shortly before.
    """

    def __init__(self, seed: int, indices: Sequence[int], target: Target) -> None:
        self.problems: list[str] = []
        self.suspects: list[int] = []
        self.held = self.met = 0
        self._seed = seed
        self._left: Iterator[int] = iter(indices)
        self._running: set[int] = set()
        # The log is read by another thread: it may tell of one that is over.
        self._over: deque[int] = deque(maxlen=AT_ONCE)
        self._target = target

    async def hold(self) -> None:
        """Hold all, with honest clients beside them."""
        honest = Honest(self._target.doors, f"{self._seed}")
        meeting = Deferred.fromCoroutine(honest.meet())
        await _together(self._holdSome() for _each in range(AT_ONCE))
        honest.stop()
        await meeting
        self.met = honest.count
        if honest.problem:
            self.problems.append(honest.problem)

    async def _holdSome(self) -> None:
        for index in self._left:
            if self.problems:
                break
            self._running.add(index)
            play = Play(conversation(self._seed, index), self._target.doors)
            await play.hold()
            self.held += 1
            self._running.discard(index)
            self._over.append(index)
            problems = play.problems + self._target.promises.look()
            if problems and not self.problems:
                recent = sorted({*self._running, *self._over})
                self.suspects = [index] if play.problems else recent
            self.problems += problems


def _together(held: Iterable[Any]) -> Deferred[Any]:
    return gatherResults([Deferred.fromCoroutine(each) for each in held], consumeErrors=True)


def _batches(indices: Iterable[int]) -> Iterator[list[int]]:
    """Cut them where another server begins."""
    batch: list[int] = []
    for index in indices:
        if batch and index // BATCH != batch[0] // BATCH:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
