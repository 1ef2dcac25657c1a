"""What is counted of all connections, those of now and those that are over.

Owns the sums. Knows nothing of when a connection begins or ends. Whatever looks at all connections
does so in slices, in the line for long work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator
from dataclasses import replace

from twisted.internet.defer import Deferred

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.records import Load, Record, Survey, Totals, slices
from nymearemoteproxy.protocol.outcomes import Outcome


class Counters:
    """Counts connections.

    :param records: all connections that are open, at any moment.
    :ivar outcomes: how often each happened in this process's life.
    :ivar totals: without what open connections have carried so far; `load` adds that.
    """

    def __init__(self, turns: Turns, records: Collection[Record]) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.totals = Totals()
        self._turns = turns
        self._records = records
        # What connections that are closed have sent and were sent, by transport.
        self._received: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()

    def carried(self, record: Record) -> None:
        """A connection is closed: keep what it has carried."""
        self.totals.carried(record)
        self._received[record.transport] += record.received
        self._sent[record.transport] += record.sent

    def survey(self) -> Survey:
        """Return a walk over all connections, which counts them."""
        load = Load(replace(self.totals), received=self._received.copy(), sent=self._sent.copy())
        return Survey(load, self._records)

    def load(self) -> Load:
        """Return what goes on now; takes about a microsecond for each connection, all at once."""
        survey = self.survey()
        for _records in survey:
            pass
        return survey.load

    def count(self) -> Deferred[Load]:
        """Return what goes on, counted over as many turns of the reactor as it takes."""
        return self._turns.run(self.counting())

    def counting(self) -> Generator[None, None, Load]:
        """Do that as a part of other work; see `Turns.run`."""
        survey = self.survey()
        for _records in survey:
            yield
        return survey.load

    def countTotals(self) -> Deferred[Totals]:
        """Return the totals with what open connections have carried, likewise.

        That is a tenth of the work of counting everything.
        """
        return self._turns.run(self._countingTotals())

    def _countingTotals(self) -> Generator[None, None, Totals]:
        totals = replace(self.totals)
        for records in slices(list(self._records)):
            totals.carriedSoFar(records)
            yield
        return totals
