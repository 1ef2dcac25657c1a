"""How a connection is told of between a worker and its parent, as a part of a JSON message.

Owns what is told once of a client, and how much of it; and what each role is called.
Knows nothing of when something is told, nor of how it gets to the other side.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from nymearemoteproxy.cluster.far import MOST_TOLD, describe, foreignRecord
from nymearemoteproxy.connections.limits import Ticket
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.linkmessages import Far
from nymearemoteproxy.protocol.session import Role

Facts = list[Any]
"""What a client has said of itself, and what the authentication backend has: JSON."""


def factsOf(record: Record) -> Facts:
    """Return what is known of a client."""
    name, uuid = record.name[:MOST_TOLD], record.uuid[:MOST_TOLD]
    return [name, uuid, record.subject, record.serverUuid]


def learn(record: Record, facts: Facts) -> None:
    """Note what was told of a client."""
    record.name, record.uuid, record.subject, record.serverUuid = facts


def farFactsOf(record: Record) -> Facts:
    """Return what is known of a client of another machine."""
    return [*astuple(describe(record)), record.partner is not None]


def mirroredForeigner(facts: Facts, partner: Record) -> Record:
    """Return the record of a client of another machine.

    :param partner: of this one; it counts the tunnel, unless the other machine does.
    """
    *about, isCounted = facts
    record = foreignRecord(Far(*about), 0, isNeighbour=False)
    if isCounted:
        record.partner = partner
    return record


def mirroredGuest(serverUuid: str) -> Record:
    """Return the record of a client elsewhere that has a server here: no connection of ours."""
    record = Record(0, "", False, "", "", "", Ticket(None), 0)
    record.role, record.serverUuid, record.joined = Role.CLIENT, serverUuid, 0
    return record


def nameOf(role: Role | None) -> str | None:
    """Return what a role is called in a message."""
    return None if role is None else role.name


def roleOf(name: str | None) -> Role | None:
    """Return the role that is called so."""
    return None if name is None else Role[name]
