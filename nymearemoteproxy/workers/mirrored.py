"""What this folder asks of those who keep the books of all workers' connections.

Owns nothing but the words for it. Knows nothing of how they are kept.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface

from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.workers.channel import Message


class IMirror(Interface):
    """In the parent: the connections of one worker process, from its start to its end."""

    connections = Attribute("How many it has now.")

    def handed(record: Record) -> None:
        """The worker serves this one, which the parent's registry has admitted."""

    def received(message: Message) -> None:
        """The worker says something of its connections."""

    def lost() -> None:
        """The worker is gone, and with it all connections that it still had."""


class IFarRegistry(Interface):
    """In a worker: the registry, whose own book is the parent's."""

    def expect(number: int, source: str | None) -> None:
        """The next connection that is admitted has this number in the parent's book.

        :param source: what the limits per address count it as; None if they do not.
        """

    def received(message: Message) -> None:
        """The parent says what is to become of a connection."""
