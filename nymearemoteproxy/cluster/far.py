"""What one member tells another of its client, for those who watch.

Owns how a record becomes that, and back. Knows nothing of links.
"""

from __future__ import annotations

import socket
from typing import Any

from nymearemoteproxy.connections.limits import Ticket
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.linkmessages import Far
from nymearemoteproxy.protocol.session import Role

MOST_TOLD = 500
"""Characters of a name or uuid: more than anybody is shown of them. Clients may send millions, and
what the partner is told of them stands in the same line."""

NOBODY_KNOWN = Far(0, "", False, "", "", "", "")


def isNeighbour(transport: Any) -> bool:
    """Tell whether the member at the other end of a link is of our group: links are local then."""
    family: int = transport.lowest.getHandle().family
    return family == socket.AF_UNIX


def describe(record: Record | None) -> Far:
    """Return what is told of a client of ours."""
    if record is None:
        return NOBODY_KNOWN
    return Far(
        number=record.number,
        transport=record.transport,
        secure=record.secure,
        address=record.address,
        peer=record.peer,
        name=record.name[:MOST_TOLD],
        uuid=record.uuid[:MOST_TOLD],
    )


def foreignRecord(far: Far, now: float, isNeighbour: bool) -> Record:
    """Return the record of a client that another member holds: no connection of ours.

    Its role is that of a partner.

    :param isNeighbour: that member is of the same group, where connections are counted together.
    """
    number = far.number if isNeighbour else 0
    record = Record(number, far.transport, far.secure, far.address, far.peer, "", Ticket(None), now)
    record.name, record.uuid, record.role = far.name, far.uuid, Role.PARTNER
    return record
