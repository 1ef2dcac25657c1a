"""The tunnel proxy's control phase and calls, as a client sees them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.rules.calling import (
    Calls,
    ClientConnected,
    ClientDisconnected,
    ClientPaused,
    ClientResumed,
)
from nymearemoteproxy.client.rules.controlphase import ControlPhase, Partner
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.messages import MAX_CONTROL_SIZE
from nymearemoteproxy.client.rules.registering import Probe, RegisteringClient, RegisteringServer
from nymearemoteproxy.client.rules.urls import Address, parseListen, parseService

CLIENT = "{00000000-0000-0000-0000-00000000000c}"
SERVER = "{00000000-0000-0000-0000-00000000000d}"
TOKEN = "a secret of ours"


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def answer(error: object, **params: object) -> bytes:
    return line({"id": 1, "status": "success", "params": {"tunnelProxyError": error, **params}})


ACCEPTED = answer("TunnelProxyErrorNoError", slipEnabled=True)
NOT_OFFERED = line({"id": 1, "status": "error", "error": "Unknown method."})


def offering(params: object) -> bytes:
    """Return the answer to Introspect of a proxy that takes these params for a server."""
    return introspection({"TunnelProxy.RegisterServer": {"params": params}})


def introspection(methods: object) -> bytes:
    """Return the answer to Introspect of a proxy that has these methods."""
    return line({"id": 1, "status": "success", "params": {"methods": methods}})


def registering() -> RegisteringServer:
    """Return one whose proxy offers nothing besides, and that has sent its registration."""
    phase = RegisteringServer("me", SERVER)
    phase.receive(NOT_OFFERED)
    return phase


class RegistrationTests(SynchronousTestCase):
    """Both registrations, without any wire."""

    def setUp(self) -> None:
        self.makers = (
            registering,
            lambda: RegisteringClient("me", CLIENT, SERVER),
        )

    def test_requests(self) -> None:
        server, client = (make() for make in self.makers)
        self.assertEqual(client.further, b"")
        messages = [server.request, server.further, client.request]
        self.assertEqual(
            [
                (request["id"], request["method"], request["params"])
                for request in map(json.loads, messages)
            ],
            [
                (1, "RemoteProxy.Introspect", {}),
                (2, "TunnelProxy.RegisterServer", {"serverName": "me", "serverUuid": SERVER}),
                (
                    1,
                    "TunnelProxy.RegisterClient",
                    {"clientName": "me", "clientUuid": CLIENT, "serverUuid": SERVER},
                ),
            ],
        )
        for message in messages:
            self.assertTrue(message.endswith(b"}\n"))

    def test_offered(self) -> None:
        """A server asks for what the proxy offers, and for nothing else."""
        base = {"serverName": "me", "serverUuid": SERVER}
        kinds = {"serverName": "String", "serverUuid": "Uuid"}
        flow = {"flowControl": True}
        prefixed = {"lengthPrefixed": True}
        for told, more in (
            (offering({**kinds, "o:flowControl": "Bool"}), flow),
            (offering({**kinds, "o:lengthPrefixed": "Bool"}), prefixed),
            (offering({**kinds, "o:other": "Bool"}), {}),
            (offering(kinds), {}),
            (offering(None), {}),
            (introspection({"TunnelProxy.RegisterServer": []}), {}),
            (introspection({"TunnelProxy.RegisterClient": {}}), {}),
            (introspection([]), {}),
            (line({"id": 1, "status": "success", "params": 5}), {}),
            (NOT_OFFERED, {}),
        ):
            for cut in range(0, len(told), 7):
                phase = RegisteringServer("me", SERVER)
                self.assertEqual(phase.receive(told[:cut]) + phase.receive(told[cut:]), b"")
                self.assertEqual(json.loads(phase.further)["params"], base | more, told)

    def test_pausing(self) -> None:
        """A proxy that has both calls for it can be told not to read from a client."""
        registers = {"TunnelProxy.RegisterServer": {"params": {}}}
        pauses, resumes = ({f"TunnelProxy.{name}Client": {}} for name in ("Pause", "Resume"))
        for methods, isAble in (
            (registers | pauses | resumes, True),
            (registers | pauses, False),
            (registers | resumes, False),
            (registers, False),
        ):
            phase = RegisteringServer("me", SERVER)
            phase.receive(introspection(methods))
            phase.receive(ACCEPTED)
            self.assertEqual(phase.partner, Partner("", "", pausesClients=isAble))

    def test_front(self) -> None:
        """Nothing is said of visitors unless we are told what; who wants some is told of none."""
        for front, isOffered, given, isWithout in (
            (None, True, None, False),
            (True, True, True, False),
            (False, True, False, False),
            (True, False, None, True),
            (False, False, None, False),
        ):
            phase = RegisteringServer("me", SERVER, front=front)
            phase.receive(offering({"o:front": "Bool"} if isOffered else {}))
            self.assertIs(json.loads(phase.further)["params"].get("front"), given)
            self.assertIs(phase.isWithoutFront, isWithout)

    def test_token(self) -> None:
        """It is shown to a proxy that takes it, and to no other."""
        for make, method, flow in (
            (
                lambda: RegisteringServer("me", SERVER, TOKEN),
                "RegisterServer",
                {"flowControl": True},
            ),
            (lambda: RegisteringClient("me", CLIENT, SERVER, TOKEN), "RegisterClient", {}),
        ):
            for offered, shown in (
                ({"o:token": "String", "o:flowControl": "Bool"}, {"token": TOKEN, **flow}),
                ({"o:other": "String"}, {}),
            ):
                phase = make()
                self.assertEqual(json.loads(phase.request)["method"], "RemoteProxy.Introspect")
                phase.receive(introspection({f"TunnelProxy.{method}": {"params": offered}}))
                asked = json.loads(phase.further)
                self.assertEqual((asked["id"], asked["method"]), (2, f"TunnelProxy.{method}"))
                given = {key: asked["params"].get(key) for key in shown}
                self.assertEqual(given, shown)
                self.assertEqual("token" in asked["params"], "token" in shown)
                told = line({"id": 2, "status": "error", "error": f"no {TOKEN} here"})
                problem = self.assertRaises(TunnelError, phase.receive, told)
                self.assertEqual(str(problem), "refused by the proxy: no … here")

    def test_framing(self) -> None:
        """It is what the answer says: a proxy that takes the param may still not give it."""
        for told, isLengthPrefixed in (
            ({"slipEnabled": False, "lengthPrefixed": True}, True),
            ({"slipEnabled": True, "lengthPrefixed": False}, False),
            ({"slipEnabled": True, "lengthPrefixed": 1}, False),
            ({"slipEnabled": True}, False),
        ):
            phase = registering()
            phase.receive(answer("TunnelProxyErrorNoError", **told))
            self.assertEqual(phase.partner, Partner("", "", isLengthPrefixed))
        for told in ({"slipEnabled": False}, {}, {"slipEnabled": False, "lengthPrefixed": 1}):
            accepted = answer("TunnelProxyErrorNoError", **told)
            problem = self.assertRaises(TunnelError, registering().receive, accepted)
            self.assertIn("without SLIP", str(problem))

    def test_unproven(self) -> None:
        """Why a token is not accepted, and whether another attempt may help."""
        for token, why, words, isTransient in (
            (TOKEN, "AuthenticationFailed", "the proxy does not accept the token", False),
            (None, "AuthenticationFailed", "the proxy wants a token", False),
            (TOKEN, "Timeout", "the proxy cannot have tokens checked now", True),
            (TOKEN, "ProxyError", "the proxy cannot have tokens checked now", True),
            (TOKEN, "Else", "AuthenticationErrorElse", False),
        ):
            phase = RegisteringClient("me", CLIENT, SERVER, token)
            if token is not None:
                phase.receive(introspection({}))
            told = answer(
                "TunnelProxyErrorForbiddenCall", authenticationError=f"AuthenticationError{why}"
            )
            problem = self.assertRaises(TunnelError, phase.receive, told)
            self.assertEqual(str(problem), f"refused by the proxy: {words}")
            self.assertEqual(problem.isTransient, isTransient)

    def test_everyCut(self) -> None:
        notification = line({"id": 0, "notification": "Some.Thing", "params": {"a": "}"}})
        stream = b" \r\n" + notification + ACCEPTED + b"\xc0payload"
        for make, partner in zip(self.makers, (Partner("", ""), Partner("", SERVER)), strict=True):
            for cut in range(len(stream)):
                phase = make()
                rest = phase.receive(stream[:cut])
                rest += stream[cut:] if phase.partner else phase.receive(stream[cut:])
                self.assertEqual((rest, phase.partner), (b"\n\xc0payload", partner))
                self.assertFalse(phase.waiting)

    def failing(self, data: bytes) -> list[TunnelError]:
        return [self.assertRaises(TunnelError, make().receive, data) for make in self.makers]

    def test_refusals(self) -> None:
        for error, isTransient in (
            ("ServerNotFound", True),
            ("InternalServerError", True),
            ("AlreadyRegistered", True),
            ("InvalidUuid", False),
            ("ForbiddenCall", False),
            ("NotRegistered", False),
            ("\x1b[2J\n", False),
        ):
            for problem in self.failing(answer(f"TunnelProxyError{error}", slipEnabled=False)):
                self.assertEqual(problem.isTransient, isTransient, error)
                self.assertTrue(str(problem).startswith("refused by the proxy: "))
                self.assertTrue(str(problem).isprintable())

    def test_notSwitchedOn(self) -> None:
        for words in ("Unknown namespace.", "No such namespace"):
            for make, number in zip(self.makers, (2, 1), strict=True):
                data = line({"id": number, "status": "error", "error": words})
                problem = self.assertRaises(TunnelError, make().receive, data)
                self.assertEqual(str(problem), "the tunnel proxy is not switched on there")
                self.assertFalse(problem.isTransient)

    def test_probe(self) -> None:
        """Nobody has the null uuid; any answer but an error shows that there is a tunnel proxy."""
        probe = Probe("me", CLIENT)
        (null,) = {json.loads(probe.request)["params"]["serverUuid"]} - {CLIENT}
        self.assertEqual(UUID(null), UUID(int=0))
        for error in ("InvalidUuid", "ServerNotFound", "ForbiddenCall", "NoError"):
            probe = Probe("me", CLIENT)
            probe.receive(answer(f"TunnelProxyError{error}"))
            self.assertIsNotNone(probe.partner)
        for words, isTransient in (("Unknown namespace.", False), ("Some other", False)):
            probe = Probe("me", CLIENT)
            data = line({"id": 1, "status": "error", "error": words})
            problem = self.assertRaises(TunnelError, probe.receive, data)
            self.assertEqual(problem.isTransient, isTransient)
        self.assertRaises(TunnelError, Probe("me", CLIENT).receive, answer(None))

    def test_errors(self) -> None:
        """An error about our request is for good, one about the proxy's own state is not."""
        for make, ours in zip(self.makers, (2, 1), strict=True):
            for requestId, isTransient in ((ours, False), (-1, True)):
                for message in ({"error": "Some\nwords"}, {}):
                    data = line({"id": requestId, "status": "error", **message})
                    words = "Some words" if message else "no reason given"
                    problem = self.assertRaises(TunnelError, make().receive, data)
                    self.assertEqual(str(problem), f"refused by the proxy: {words}")
                    self.assertEqual(problem.isTransient, isTransient)

    def test_strangers(self) -> None:
        for data in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\xff\x00",
            b"{]}",
            b'{"a": NaN}',
            b'{"id": 1}',
            b'{"id": 1, "status": "success"}',
            b'{"id": 1, "status": "success", "params": []}',
            b'{"id": 1, "status": "other"}',
            b"{" + b" " * MAX_CONTROL_SIZE,
            answer(None),
            answer(1),
        ):
            for problem in self.failing(data):
                told = str(problem)
                self.assertTrue(told.startswith("not a nymea-remoteproxy: "), told)
                self.assertTrue(told.isprintable(), told)
                self.assertFalse(problem.isTransient)

    def test_whatAStrangerSays(self) -> None:
        phase = RegisteringServer("me", SERVER)
        self.assertEqual(phase.receive(b'{"notification": "x"}\n  '), b"")
        problem = self.assertRaises(TunnelError, phase.receive, b" \r\nSSH-2.0 " + b"x" * 70000)
        self.assertIn("it says 'SSH-2.0 xxx", str(problem))

    def test_endlessMessageInPieces(self) -> None:
        phase = RegisteringServer("me", SERVER)
        phase.receive(b'{"a": "' + b" " * 40000)
        problem = self.assertRaises(TunnelError, phase.receive, b" " * 40000)
        self.assertIn("endless", str(problem))

    def test_withoutSlip(self) -> None:
        for params in ({}, {"slipEnabled": False}, {"slipEnabled": 1}):
            phase = registering()
            data = answer("TunnelProxyErrorNoError", **params)
            problem = self.assertRaises(TunnelError, phase.receive, data)
            self.assertIn("without SLIP", str(problem))

    def test_partnerShown(self) -> None:
        self.assertEqual(Partner("", SERVER).shown, SERVER)
        self.assertEqual(Partner("a\nb", SERVER).shown, f"'a\\nb' {SERVER}")
        self.assertEqual(Partner("", "").shown, "'' ")

    def test_onePhaseIsAbstract(self) -> None:
        phase = ControlPhase("Some.Thing", {})
        self.assertRaises(NotImplementedError, phase.receive, b"{}")


class CallsTests(SynchronousTestCase):
    """What a registered server and the proxy say to each other."""

    def setUp(self) -> None:
        self.calls = Calls()

    def test_calls(self) -> None:
        first, second = self.calls.disconnectClient(7), self.calls.ping(1234)
        self.assertTrue(first.endswith(b"}\n") and second.endswith(b"}\n"))
        one, other = json.loads(first), json.loads(second)
        self.assertNotEqual(one["id"], other["id"])
        self.assertEqual(
            (one["method"], one["params"]), ("TunnelProxy.DisconnectClient", {"socketAddress": 7})
        )
        self.assertEqual(
            (other["method"], other["params"]), ("TunnelProxy.Ping", {"timestamp": 1234})
        )

    def connected(self, address: object) -> bytes:
        params = {
            "clientName": "a\x1bname",
            "clientUuid": CLIENT,
            "clientPeerAddress": "::1",
            "socketAddress": address,
        }
        return line({"id": 0, "notification": "TunnelProxy.ClientConnected", "params": params})

    def disconnected(self, address: object) -> bytes:
        return self.told("ClientDisconnected", address)

    def told(self, name: str, address: object) -> bytes:
        params = {"socketAddress": address}
        return line({"id": 0, "notification": f"TunnelProxy.{name}", "params": params})

    def test_everyCut(self) -> None:
        stream = (
            line({"id": 2, "status": "success", "params": {"timestamp": 1}})
            + self.connected(1)
            + line({"id": 3, "status": "error", "error": "something}"})
            + line({"id": 0, "notification": "Some.Thing"})
            + self.told("ClientPaused", 1)
            + self.told("ClientResumed", 1)
            + self.disconnected(1)
        )
        told = [
            ClientConnected(1, f"'a\\x1bname' {CLIENT} from ::1", "::1", isVisitor=False),
            ClientPaused(1),
            ClientResumed(1),
            ClientDisconnected(1),
        ]
        for cut in range(len(stream) + 1):
            calls = Calls()
            self.assertEqual(calls.receive(stream[:cut]) + calls.receive(stream[cut:]), told)

    def test_visitors(self) -> None:
        """They have the name that the proxy gives them, and an address if it knows one."""
        for name, peer, isVisitor in (
            ("front", "2001:db8::7", True),
            ("front", "", True),
            ("Front", "192.0.2.7", False),
        ):
            params = {"clientName": name, "clientPeerAddress": peer, "socketAddress": 1}
            message = {"id": 0, "notification": "TunnelProxy.ClientConnected", "params": params}
            (event,) = Calls().receive(line(message))
            assert isinstance(event, ClientConnected)
            self.assertEqual((event.peer, event.isVisitor), (peer, isVisitor))

    def test_impossibleAddresses(self) -> None:
        for address in (0, -1, 0xFFFF, 1.0, True, "1", None):
            others = ("ClientDisconnected", "ClientPaused", "ClientResumed")
            for data in (self.connected(address), *(self.told(name, address) for name in others)):
                problem = self.assertRaises(TunnelError, Calls().receive, data)
                self.assertIn("impossible address", str(problem))
        self.assertEqual(Calls().receive(self.disconnected(0xFFFE)), [ClientDisconnected(0xFFFE)])

    def test_noJson(self) -> None:
        for data in (b"nothing", b"{]}", b'{"notification":"TunnelProxy.ClientConnected"}'):
            self.assertRaises(TunnelError, Calls().receive, data)


class AddressTests(SynchronousTestCase):
    def test_services(self) -> None:
        for text, address, where in (
            ("localhost:80", Address("localhost", 80), "localhost:80"),
            ("[::1]:65535", Address("::1", 65535), "[::1]:65535"),
            ("[127.0.0.1]:1", Address("127.0.0.1", 1), "127.0.0.1:1"),
            ("unix:/run/x y", Address(path="/run/x y"), "unix:/run/x y"),
            ("unix:a\nb", Address(path="a\nb"), "unix:a b"),
        ):
            self.assertEqual((parseService(text), parseService(text).where), (address, where))

    def test_ports(self) -> None:
        for text, address in (
            ("0", Address("127.0.0.1", 0)),
            ("8080", Address("127.0.0.1", 8080)),
            ("0.0.0.0:1", Address("0.0.0.0", 1)),
            ("[::]:0", Address("::", 0)),
            ("[fe80::1%lo]:0", Address("fe80::1%lo", 0)),
            ("localhost:0", Address("localhost", 0)),
        ):
            self.assertEqual(parseListen(text), address)

    def test_bad(self) -> None:
        common = (
            *(
                "",
                ":1",
                "h:",
                "h:x",
                "h:65536",
                "h:-1",
                "h:²",
                "::1:1",
                "h :1",
                "h\u2028:1",
                "a/b:1",
            ),
            *("h_x:1", "u@h:1", "a..b:1", "[h]:1", "[::1]x:1", "[::1]", "[]:1", "h\n:1", "h%:1"),
            *("[fe80::1%\x1b]:1", "[fe80::1%ü]:1"),
        )
        for parse, texts in (
            (
                parseService,
                (*common, "80", "h:0", "unix:", "unix:a\0b", "h:" + "9" * 5000, "h:000080")
                + ("[fe80::1%lo]:80", "http://h:80"),
            ),
            (parseListen, (*common, "x", "65536", "[a]b:1")),
        ):
            for text in texts:
                problem = self.assertRaises(ValueError, parse, text)
                self.assertTrue(str(problem).isprintable(), text)
