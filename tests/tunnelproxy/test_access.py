"""Who is let in to the tunnel proxy where it asks for tokens, over every transport."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from nymearemoteproxy.authentication.backend import Verdict
from nymearemoteproxy.connections.accounts import AccountBounds
from nymearemoteproxy.connections.denylist import DenyList
from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from tests.support.endtoend import BACKEND_ERROR, BACKEND_TIMEOUT, INVALID_TOKEN
from tests.support.served import OTHER, PLAYED
from tests.support.switched import SERVER, Switched, add, answer, anyUuid
from tests.support.wires import Inline, Registered, Wire

MISSING = "A token is needed here."
LIMITED = "A limit of this account is reached. Please try again later."


class Access(Switched):
    """A tunnel proxy that may ask for tokens; the backend knows good and bad ones."""

    transport = ""

    @inlineCallbacks
    def registering(self, transport: str, uuid: str = SERVER, **more: str) -> Inline:
        """Fire with a wire on which a server has asked to be registered."""
        wire = yield self.connector.connect(transport, 2)
        self.offer(wire, uuid, **more)
        return wire

    @inlineCallbacks
    def visiting(self, transport: str, **more: str) -> Inline:
        """Fire with a wire on which a client has asked for the server."""
        wire = yield self.connector.connect(transport, 2)
        self.ask(wire, **more)
        return wire

    @inlineCallbacks
    def visited(self, server: Registered, **more: str) -> Inline:
        """A client is connected to the server, and has a tunnel that works."""
        wire, address = yield self.visit(self.transport, server, **more)
        yield self.works(server, wire, address)

    @inlineCallbacks
    def forbidden(self, wire: Wire, why: str, text: str, outcome: Outcome, count: int) -> Inline:
        """Expect that this is the end, since there is no token that is accepted."""
        response = yield wire.message()
        self.assertIs(response["params"].pop("slipEnabled", False), False)
        expected = answer("ForbiddenCall", authenticationError=f"AuthenticationError{why}")
        self.assertEqual(response, {**expected, "error": text})
        yield self.closed(wire, outcome.closeCode, outcome, count)


class EverybodyMixin:
    """Servers and clients have to show a token."""

    transport = ""
    proven = (Role.SERVER, Role.CLIENT)
    timing = Timing(close=1.0, authentication=0.5)

    @inlineCallbacks
    def test_accepted(self: Any) -> Inline:
        """All is as without; nobody counts as unauthenticated."""
        server = yield self.serve(OTHER[self.transport], token="good")
        yield self.visited(server, token="good too")
        self.assertEqual(self.backend.asked, 2)
        self.assertEqual(self.proxy.registry.gate.unauthenticated, 0)

    @inlineCallbacks
    def test_refused(self: Any) -> Inline:
        """Nobody hears of a client whose token is wrong, or who has none."""
        server = yield self.serve(OTHER[self.transport], token="good")
        reason, outcome = "AuthenticationFailed", Outcome.TOKEN_REFUSED
        for count, (more, text) in enumerate(
            [({"token": "bad"}, INVALID_TOKEN), ({"token": ""}, INVALID_TOKEN), ({}, MISSING)]
        ):
            wire = yield self.registering(self.transport, anyUuid(), **more)
            yield self.forbidden(wire, reason, text, outcome, 2 * count + 1)
            wire = yield self.visiting(self.transport, **more)
            yield self.forbidden(wire, reason, text, outcome, 2 * count + 2)
        self.assertEqual(list(server.messages), [])
        self.assertEqual((self.switchboard.servers, self.switchboard.clients), (1, 0))
        self.assertEqual(self.backend.asked, 5, "who shows none is refused without a question")

    @inlineCallbacks
    def test_backendFails(self: Any) -> Inline:
        """Late, and without an answer that is one: nobody is let in, and no token is blamed."""
        for token, reason, text, outcome in (
            ("slow", "Timeout", BACKEND_TIMEOUT, Outcome.AUTHENTICATION_TIMEOUT),
            ("broken", "ProxyError", BACKEND_ERROR, Outcome.AUTHENTICATION_ERROR),
        ):
            wire = yield self.registering(self.transport, token=token)
            yield self.forbidden(wire, reason, text, outcome, 1)
            wire = yield self.visiting(self.transport, token=token)
            yield self.forbidden(wire, reason, text, outcome, 2)
        self.assertEqual(self.backend.cancelled, 2)
        self.assertEqual(self.switchboard.servers, 0)

    @inlineCallbacks
    def test_invalidUuid(self: Any) -> Inline:
        """It is told first; the connection is kept."""
        wire = yield self.registering(self.transport, "no uuid", token="bad")
        self.assertEqual((yield wire.message()), answer("InvalidUuid", slipEnabled=False))
        self.offer(wire, token="good")
        self.assertEqual((yield wire.message()), answer(slipEnabled=True))

    @inlineCallbacks
    def test_wrongType(self: Any) -> Inline:
        for count, wrong in enumerate((1, None, ["good"]), 1):
            wire = yield self.visiting(self.transport, token=wrong)
            self.assertIn('"token" is no String', (yield wire.message())["error"])
            yield self.closed(wire, 1008, Outcome.INVALID_REQUEST, count)


class PatienceMixin:
    """The verdict takes its time."""

    transport = ""
    proven = (Role.SERVER, Role.CLIENT)

    @inlineCallbacks
    def test_payloadMeanwhile(self: Any) -> Inline:
        """What is sent behind the request waits, and arrives."""
        server = yield self.serve(OTHER[self.transport], token="good")
        asked: list[Deferred[Verdict]] = []

        def authenticate(_token: str) -> Deferred[Verdict]:
            asked.append(Deferred())
            return asked[-1]

        self.patch(self.backend, "authenticate", authenticate)
        wire = yield self.visiting(self.transport, token="good")
        wire.send(b"early")
        yield self.eventually(lambda: asked)
        wire.send(b" bird")
        self.assertEqual(list(server.messages), [])
        asked[0].callback(Verdict(True))
        self.assertEqual((yield wire.message()), answer())
        address = yield self.announced(server)
        self.assertEqual((yield server.take(address, 10)), b"early bird")


class ServersMixin:
    """Only servers have to show a token."""

    transport = ""
    proven = (Role.SERVER,)

    @inlineCallbacks
    def test_clients(self: Any) -> Inline:
        """What they show is nobody's business."""
        server = yield self.serve(OTHER[self.transport], token="good")
        yield self.visited(server)
        yield self.visited(server, token="bad")
        self.assertEqual(self.backend.asked, 1)

    @inlineCallbacks
    def test_servers(self: Any) -> Inline:
        wire = yield self.registering(self.transport)
        outcome = Outcome.TOKEN_REFUSED
        yield self.forbidden(wire, "AuthenticationFailed", MISSING, outcome, 1)


class NobodyMixin:
    """Nobody has to show a token."""

    transport = ""

    @inlineCallbacks
    def test_notLookedAt(self: Any) -> Inline:
        """Whoever shows one is let in all the same."""
        server = yield self.serve(OTHER[self.transport], token="bad")
        yield self.visited(server, token="bad")
        yield self.visited(server)
        self.assertEqual(self.backend.asked, 0)


class AccountMixin:
    """Pairing goes by account; the token says whose it is."""

    transport = ""
    bySubject = True

    @inlineCallbacks
    def unknown(self: Any, count: int, **more: str) -> Inline:
        """A client hears that there is no such server."""
        wire = yield self.visiting(self.transport, **more)
        self.assertEqual((yield wire.message()), answer("ServerNotFound"))
        yield self.closed(wire, 1013, Outcome.SERVER_NOT_FOUND, count)

    @inlineCallbacks
    def test_sameAccount(self: Any) -> Inline:
        """Only its clients reach a server, and those that did not say whose they are."""
        server = yield self.serve(OTHER[self.transport], token="good-anna")
        yield self.visited(server, token="good too-anna")
        for count in range(2):  # in a cluster: at the same member, and at another one
            yield self.unknown(count + 1, token="good-berta")
        yield self.visited(server)
        self.assertEqual(list(server.messages), [])

    @inlineCallbacks
    def test_serverOfNobody(self: Any) -> Inline:
        """It has shown no token, so no account has it."""
        server = yield self.serve(OTHER[self.transport])
        for count in range(2):
            yield self.unknown(count + 1, token="good-anna")
        yield self.visited(server)

    @inlineCallbacks
    def test_wrongToken(self: Any) -> Inline:
        """Nobody had to show it, but it counts."""
        wire = yield self.registering(self.transport, token="bad-anna")
        outcome = Outcome.TOKEN_REFUSED
        yield self.forbidden(wire, "AuthenticationFailed", INVALID_TOKEN, outcome, 1)

    @inlineCallbacks
    def test_limit(self: Any) -> Inline:
        """A server registers whatever its account has; one more client of it has to wait."""
        self.proxy.registry.limit(Bounds(), AccountBounds(tunnels=1), DenyList())
        server = yield self.serve(OTHER[self.transport], token="good-anna")
        yield self.visited(server, token="good-anna")
        uuid = anyUuid()
        yield self.registering(OTHER[self.transport], uuid, token="good-anna")
        yield self.eventually(lambda: self.switchboard.servers == 2)
        wire = yield self.visiting(self.transport, token="good-anna")
        outcome = Outcome.TOO_MANY_TUNNELS
        yield self.forbidden(wire, "ProxyError", LIMITED, outcome, 1)

    @inlineCallbacks
    def test_noAccount(self: Any) -> Inline:
        """A backend that does not say whose a token is has failed."""
        wire = yield self.visiting(self.transport, token="good")
        outcome = Outcome.AUTHENTICATION_ERROR
        yield self.forbidden(wire, "ProxyError", BACKEND_ERROR, outcome, 1)


def _suites() -> None:
    """Make test classes for every transport."""
    for transport in PLAYED:
        for mixin in (EverybodyMixin, PatienceMixin, ServersMixin, NobodyMixin, AccountMixin):
            name = f"{transport.capitalize()}{mixin.__name__.removesuffix('Mixin')}Tests"
            add(globals(), name, mixin, Access, transport=transport)


_suites()
