"""Owns the checks of the catalogue of outcomes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.outcomes import Group, Outcome


class OutcomeTests(SynchronousTestCase):
    """What clients are told at the end, by the contract."""

    def test_closeCodes(self) -> None:
        """1002 for broken JSON or framing, 1008 for refused, 1013 for try again later."""
        codes = {
            1000: ("CLIENT_LEFT", "PARTNER_LEFT", "LEFT_EARLY", "DISCONNECTED_BY_SERVER"),
            1002: ("INVALID_JSON", "WEBSOCKET_PROTOCOL_ERROR"),
            1008: (
                "INVALID_REQUEST",
                "DATA_BEFORE_TUNNEL",
                "TOKEN_REFUSED",
                "TUNNEL_EXISTS",
                "DUPLICATE_UUID",
                "ALREADY_REGISTERED",
                "FORBIDDEN_CALL",
                "SERVER_NOT_ALLOWED",
                "UUID_RESERVED",
                "CLIENT_TOO_SLOW",
                "SERVER_SILENT",
            ),
            1009: ("MESSAGE_TOO_LARGE", "PACKET_TOO_LARGE"),
            1013: (
                "TOO_MUCH_UNFINISHED",
                "AUTHENTICATION_TIMEOUT",
                "AUTHENTICATION_ERROR",
                "ALONE_TIMEOUT",
                "SHUTDOWN_WAITING",
                "SERVER_NOT_FOUND",
                "SERVER_STALLED",
                "TOO_MANY_SERVERS_FROM_ADDRESS",
                "TOO_MANY_CLIENTS_FROM_ADDRESS",
                "TOO_MANY_CLIENTS_OF_SERVER",
                "LINK_LOST",
                "PLACE_LOST",
                "MEMBER_SILENT",
                "DIRECTORY_UNAVAILABLE",
            ),
        }
        for code, names in codes.items():
            for name in names:
                self.assertEqual(Outcome[name].closeCode, code, name)
        self.assertEqual(Outcome.PARTNER_LEFT.reason, "tunnel partner disconnected")
        self.assertEqual(Outcome.TUNNEL_EXISTS.reason, "tunnel already exists")
        self.assertIn("duplicate client uuid", Outcome.DUPLICATE_UUID.reason)

    def test_catalogue(self) -> None:
        """Labels are unique; whoever is told a code is told a reason that fits a close frame."""
        labels = [outcome.label for outcome in Outcome]
        self.assertEqual(len(set(labels)), len(labels))
        for outcome in Outcome:
            self.assertTrue(outcome.meaning.endswith("."), outcome)
            self.assertLess(len(outcome.reason.encode()), 124, outcome)
            if outcome.closeCode not in (0, 1000):
                self.assertTrue(outcome.reason, outcome)

    def test_groups(self) -> None:
        """Each has one; orderly, lost and failed ones by name, and whatever else is a refusal."""
        groups = {
            Group.ORDERLY: (
                "CLIENT_LEFT",
                "PARTNER_LEFT",
                "LEFT_EARLY",
                "REDIRECTED",
                "DISCONNECTED_BY_SERVER",
                "SHUTDOWN",
                "SHUTDOWN_WAITING",
            ),
            Group.LOST: (
                "CONNECTION_LOST",
                "PING_TIMEOUT",
                "TUNNEL_IDLE",
                "SERVER_SILENT",
                "CLIENT_TOO_SLOW",
                "ALONE_TIMEOUT",
                "INACTIVE_TIMEOUT",
                "TLS_HANDSHAKE_TIMEOUT",
                "WEBSOCKET_HANDSHAKE_TIMEOUT",
            ),
            Group.FAILED: (
                "AUTHENTICATION_TIMEOUT",
                "AUTHENTICATION_ERROR",
                "SERVER_STALLED",
                "LINK_LOST",
                "PLACE_LOST",
                "MEMBER_SILENT",
                "DIRECTORY_UNAVAILABLE",
                "WORKER_LOST",
                "INTERNAL_ERROR",
            ),
        }
        expected = {name: group for group, names in groups.items() for name in names}
        for outcome in Outcome:
            self.assertIs(outcome.group, expected.pop(outcome.name, Group.REFUSED), outcome)
        self.assertEqual(expected, {})
