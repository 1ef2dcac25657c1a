"""What one member knows of another's client."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.accounting.entries import EndedTunnel
from nymearemoteproxy.cluster.far import NOBODY_KNOWN, describe, foreignRecord
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections.limits import Ticket
from nymearemoteproxy.connections.records import TCP, WEBSOCKET, Record
from nymearemoteproxy.protocol.session import Role


class FarTests(SynchronousTestCase):
    """A record, what is told of it, and what that becomes elsewhere."""

    def setUp(self) -> None:
        self.record = Record(7, WEBSOCKET, True, "[::1]:1", "[::1]", "::1", Ticket(None), 3.0)
        self.record.name, self.record.uuid = "name", "uuid"

    def test_thereAndBack(self) -> None:
        """Within a group a connection keeps its number."""
        for isNeighbour, number in ((True, 7), (False, 0)):
            made = foreignRecord(describe(self.record), 5.0, isNeighbour)
            self.assertEqual(
                (made.transport, made.secure, made.address, made.peer, made.name, made.uuid),
                (WEBSOCKET, True, "[::1]:1", "[::1]", "name", "uuid"),
            )
            self.assertEqual((made.number, made.started, made.role), (number, 5.0, Role.PARTNER))

    def test_nobody(self) -> None:
        self.assertIs(describe(None), NOBODY_KNOWN)

    def test_isWrittenDown(self) -> None:
        """A tunnel between two members has a line like any other, though one side has no number."""
        ours = Record(3, TCP, False, "192.0.2.1:1", "192.0.2.1", "192.0.2.1", Ticket(None), 1.0)
        ours.role, ours.joined = Role.PARTNER, 2.0
        far = foreignRecord(describe(self.record), 2.0, isNeighbour=False)
        for sides in ((ours, far), (far, ours)):
            sides[0].joined = 2.0
            tunnel = EndedTunnel.of(4.0, *sides)
            line = json.loads(tunnel.asJson(Privacy.FULL))
            self.assertEqual((line["kind"], line["duration"]), ("token", 2.0))
            self.assertEqual(len(line["sides"]), 2)
            self.assertIsNotNone(tunnel.asText(Privacy.FULL))
