"""The API of the admin endpoint: what it answers, and that its OpenAPI file says so."""

from __future__ import annotations

import importlib.util
import json
import os
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from nymearemoteproxy.common.unixpeers import UnixPeer
from nymearemoteproxy.connections.records import CLOSING, MOST_TEXT, TRANSPORTS, Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.actions import Action, Result
from nymearemoteproxy.watching.admin.access import SHOWS_ONLY
from nymearemoteproxy.watching.admin.api import MOST_ITEMS, PREFIX, PROBLEM, ROLES
from nymearemoteproxy.watching.admin.metrics import STATES
from nymearemoteproxy.watching.admin.routes import parametersIn, readPages
from nymearemoteproxy.watching.admin.web import Answer, Question
from nymearemoteproxy.watching.condition import Condition
from tests.support.admin import NOW, AdminInMemory, add, addTunnel, remove
from tests.support.adminhttp import basic

SOCKET = "unix:/run/nymea-remoteproxy/admin.sock"

OWN = UnixPeer(os.getpid(), 0)

NO_JSONSCHEMA = (
    None
    if importlib.util.find_spec("jsonschema")
    else "jsonschema is missing: answers are not checked"
)
NO_VALIDATOR = (
    None
    if importlib.util.find_spec("openapi_spec_validator")
    else "openapi-spec-validator is missing, which Debian 12 does not have"
)


def document() -> dict[str, Any]:
    """Return the OpenAPI file, as it is served."""
    served: dict[str, Any] = json.loads(readPages()["/openapi.json"].body)
    return served


def check(path: str, method: str, answer: Answer) -> None:
    """Check an answer against the file, if that can be done here.

    :raises AssertionError: the file has no such answer.
    """
    if NO_JSONSCHEMA:
        return
    import jsonschema

    described = document()
    (template,) = (
        each
        for each in described["paths"]
        if parametersIn(each, path.partition("?")[0]) is not None
    )
    operations = described["paths"][template]
    if method.lower() in operations:
        responses = operations[method.lower()]["responses"]
    else:
        assert answer.status == 405, f"{method} {path} is not described"
        (responses,) = (each["responses"] for each in operations.values())
    assert str(answer.status) in responses, f"{answer.status} of {method} {path} is not described"
    response = responses[str(answer.status)]
    if "$ref" in response:
        response = described["components"]["responses"][response["$ref"].rpartition("/")[2]]
    content = response["content"]
    assert set(content) == {answer.contentType}, f"{method} {path}: {answer.contentType}"
    schema = closed(
        {**content[answer.contentType]["schema"], "components": described["components"]}
    )
    jsonschema.Draft202012Validator(schema).validate(json.loads(answer.body))


def closed(schema: Any) -> Any:
    """Return a schema in which no object has members that it does not name.

    Programs have to expect more of them; here all are to be in the file.
    """
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {name: closed(value) for name, value in schema.items()}
    return {**tight, "additionalProperties": False} if "properties" in schema else tight


class Dismissed:
    """A connection that remembers why it was dismissed."""

    stage = "tunneled"

    def __init__(self, record: Record) -> None:
        self.outcomes: list[Outcome] = []
        record.client = self

    def dismiss(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class ApiCase(SynchronousTestCase):
    """An endpoint on a Unix socket; each answer is checked against the file."""

    endpoint = SOCKET

    def setUp(self) -> None:
        self.made = AdminInMemory(self.endpoint, ProxyServer_name="Büro <b>")
        self.proxy = self.made.proxy

    def ask(self, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
        """Return the status and what is said."""
        answer = self.made.ask(PREFIX + path, method, peer=OWN, **more)
        check(PREFIX + path, method, answer)
        return answer.status, json.loads(answer.body)

    def post(self, path: str, body: bytes = b"{}", **headers: str) -> tuple[int, Any]:
        """Have something done."""
        given = {"content_type": "application/json", **headers}
        return self.ask(path, "POST", body=body, **given)

    def assertProblem(self, answer: tuple[int, Any], status: int, words: str) -> None:
        """Check that it says what is wrong."""
        self.assertEqual((answer[0], answer[1]["status"]), (status, status))
        self.assertIn(words, answer[1]["detail"])


class FileTests(SynchronousTestCase):
    """The OpenAPI file, and the code."""

    def test_valid(self) -> None:
        """It is OpenAPI 3.1."""
        if NO_VALIDATOR:
            raise SkipTest(NO_VALIDATOR)
        from openapi_spec_validator import OpenAPIV31SpecValidator, validate

        validate(document(), cls=OpenAPIV31SpecValidator)  # raises

    def test_isChecked(self) -> None:
        """An answer with another member than those in the file, or without one, is noticed."""
        if NO_JSONSCHEMA:
            raise SkipTest(NO_JSONSCHEMA)
        from jsonschema import ValidationError

        for body in b'{"action":"drain","more":1}', b"{}", b'{"action":"reload"}':
            answer = Answer(202, body, "application/json")
            self.assertRaises(ValidationError, check, f"{PREFIX}drain", "POST", answer)
        unknown = Answer(418, b"{}", PROBLEM)
        self.assertRaises(AssertionError, check, f"{PREFIX}drain", "POST", unknown)

    def test_served(self) -> None:
        answer = AdminInMemory(SOCKET).ask("/openapi.json")
        self.assertEqual((answer.status, answer.contentType), (200, "application/json"))
        self.assertEqual(json.loads(answer.body)["openapi"], "3.1.0")

    def test_routes(self) -> None:
        """Each route of the API is in the file with its method, and each of the file is there."""
        routes = AdminInMemory(SOCKET).admin._routes
        there = {
            path: {method.lower() for method in route.methods} - {"head"}
            for path, route in routes.items()
            if path.startswith(PREFIX)
        }
        described = {path: set(operations) for path, operations in document()["paths"].items()}
        self.assertEqual(there, described)

    def test_actions(self) -> None:
        """Whatever has something done says that it may be refused."""
        for path, operations in document()["paths"].items():
            for method, operation in operations.items():
                isAction = operation["tags"] == ["act"]
                self.assertEqual(isAction, method == "post", path)
                self.assertEqual({"403", "415"} <= set(operation["responses"]), isAction, path)

    def test_words(self) -> None:
        """The lists of words are those of the code."""
        schemas = document()["components"]["schemas"]
        connection = schemas["Connection"]["properties"]
        self.assertEqual(set(connection["state"]["enum"]), {*STATES, "closed"})
        self.assertEqual(set(connection["transport"]["enum"]), set(TRANSPORTS))
        self.assertEqual(set(connection["role"]["enum"]), {*ROLES.values(), None})
        conditions = schemas["Server"]["properties"]["condition"]["enum"]
        self.assertEqual(set(conditions), {each.value for each in Condition})
        self.assertEqual(connection["name"]["maxLength"], MOST_TEXT)
        limit = document()["components"]["parameters"]["limit"]["schema"]["maximum"]
        self.assertEqual(limit, MOST_ITEMS)


class LookTests(ApiCase):
    """What is told."""

    def test_server(self) -> None:
        status, told = self.ask("server")
        self.assertEqual(
            (status, told["name"], told["condition"], told["connections"]),
            (200, "Büro <b>", "ready", 0),
        )
        self.assertEqual(told["actions"], {"allowed": True, "reason": ""})
        self.assertIsNone(told["reload"])
        self.post("reload")
        self.assertEqual(self.ask("server")[1]["reload"], {"time": NOW, "mistakes": 0})
        self.made.epoch = -250.0  # the date is set, and what was is as long ago as before
        self.assertEqual(self.ask("server")[1]["reload"], {"time": NOW - 250, "mistakes": 0})

    def test_instance(self) -> None:
        """Another one for each server."""
        other = AdminInMemory(SOCKET).ask(PREFIX + "server")
        instances = {json.loads(other.body)["instance"], self.ask("server")[1]["instance"]}
        self.assertEqual(len(instances), 2)

    def test_connections(self) -> None:
        add(self.proxy, state="waiting", name="x" * 1000, received=7)
        server = add(self.proxy, role=Role.SERVER, uuid="{1}")
        add(self.proxy, role=Role.CLIENT, serverUuid="{1}")
        server.subject = "anna"
        status, told = self.ask("connections")
        self.assertEqual((status, told["next"]), (200, None))
        one, two, three = told["connections"]
        self.assertEqual([each["number"] for each in told["connections"]], [1, 2, 3])
        self.assertEqual(
            (one["state"], one["role"], one["received"], len(one["name"]), one["account"]),
            ("waiting", None, 7, MOST_TEXT, None),
        )
        self.assertEqual((two["role"], two["uuid"], two["account"]), ("server", "{1}", "anna"))
        self.assertEqual((three["role"], three["serverUuid"]), ("client", "{1}"))
        self.assertEqual(self.ask("connections/2"), (200, two))

    def test_parts(self) -> None:
        """A long list comes in parts; what is gone meanwhile is not there."""
        records = [add(self.proxy) for _ in range(7)]
        seen: list[int] = []
        after: int | None = 0
        while after is not None:
            query = {"after": str(after), "limit": "3"}
            _status, told = self.ask("connections", query=query)
            seen += [each["number"] for each in told["connections"]]
            after = told["next"]
            if after == 3:
                remove(self.proxy, records[4])
        self.assertEqual(seen, [1, 2, 3, 4, 6, 7])

    def test_exactly(self) -> None:
        """A part that ends with the last one is the last one."""
        for _ in range(3):
            add(self.proxy)
        self.assertIsNone(self.ask("connections", query={"limit": "3"})[1]["next"])
        self.assertEqual(self.ask("connections", query={"limit": "2"})[1]["next"], 2)

    def test_manyParts(self) -> None:
        for _ in range(MOST_ITEMS + 1):
            add(self.proxy)
        told = self.ask("connections", query={"limit": str(MOST_ITEMS)})[1]
        self.assertEqual((len(told["connections"]), told["next"]), (MOST_ITEMS, MOST_ITEMS))
        self.assertEqual(len(self.ask("connections")[1]["connections"]), 100)

    def test_tunnels(self) -> None:
        """Each once, whichever end one knows it by."""
        first = addTunnel(self.proxy, "Anna", "Otto")
        assert first.partner is not None
        first.joined = first.partner.joined = self.made.clock.seconds()
        self.made.clock.advance(5)
        add(self.proxy, state="waiting")
        add(self.proxy, role=Role.SERVER).joined = 0.0
        status, told = self.ask("tunnels")
        self.assertEqual((status, told["next"]), (200, None))
        (tunnel,) = told["tunnels"]
        self.assertEqual((tunnel["number"], tunnel["seconds"]), (1, 5.0))
        self.assertEqual([each["name"] for each in tunnel["ends"]], ["Anna", "Otto"])
        self.assertEqual(self.ask("tunnels/1"), (200, tunnel))
        self.assertEqual(self.ask("tunnels/2"), (200, tunnel))

    def test_halfATunnel(self) -> None:
        """One end is gone, or on another machine."""
        first = addTunnel(self.proxy, "Anna", "Otto")
        second = first.partner
        assert second is not None
        first.joined = second.joined = 0.0
        remove(self.proxy, first)
        (tunnel,) = self.ask("tunnels")[1]["tunnels"]
        self.assertEqual((tunnel["number"], len(tunnel["ends"])), (2, 2))
        second.partner = None
        (tunnel,) = self.ask("tunnels")[1]["tunnels"]
        self.assertEqual((tunnel["number"], len(tunnel["ends"])), (2, 1))

    def test_nothingThere(self) -> None:
        add(self.proxy, state="waiting")
        self.assertProblem(self.ask("connections/17"), 404, "there is no connection 17")
        self.assertProblem(self.ask("tunnels/17"), 404, "there is no connection 17")
        self.assertProblem(self.ask("tunnels/1"), 404, "connection 1 has no tunnel")

    def test_nonsense(self) -> None:
        for path, query, words in (
            ("connections", {"limit": "0"}, "from 1 to 200"),
            ("connections", {"limit": "201"}, "from 1 to 200"),
            ("tunnels", {"limit": "x"}, "limit is no number"),
            ("tunnels", {"after": "-1"}, "after is no number"),
            ("connections", {"after": "1" * 19}, "after is no number"),
            ("connections", {"sort": "name"}, "after and limit"),
            ("connections/one", {}, "the number of the connection is no number"),
            ("tunnels/\u0661", {}, "the number of the connection is no number"),
        ):
            self.assertProblem(self.ask(path, query=query), 400, words)

    def test_paths(self) -> None:
        """What is not there, and what may not be asked for like this, is told in JSON."""
        for path in ("", "connections/", "connections/1/2", "connections/1/end/", "ends"):
            answer = self.made.ask(PREFIX + path)
            self.assertEqual((answer.status, answer.contentType), (404, PROBLEM), path)
        for path, method, allowed in (
            ("connections", "POST", "GET, HEAD"),
            ("connections/1", "DELETE", "GET, HEAD"),
            ("connections/1/end", "GET", "POST"),
            ("drain", "OPTIONS", "POST"),
        ):
            answer = self.made.ask(PREFIX + path, method)
            check(PREFIX + path, method, answer)
            self.assertEqual((answer.status, answer.headers["Allow"]), (405, allowed))


class ActTests(ApiCase):
    """What is done."""

    def test_endConnection(self) -> None:
        client = Dismissed(add(self.proxy))
        answer = self.post("connections/1/end")
        self.assertEqual(answer, (202, {"action": "end-connection", "number": 1}))
        self.assertEqual(client.outcomes, [Outcome.ENDED_BY_OPERATOR])

    def test_endTunnel(self) -> None:
        first = addTunnel(self.proxy)
        first.joined = 0.0
        client = Dismissed(first)
        answer = self.post("tunnels/1/end")
        self.assertEqual(answer, (202, {"action": "end-tunnel", "number": 1}))
        self.assertEqual(client.outcomes, [Outcome.ENDED_BY_OPERATOR])

    def test_cannot(self) -> None:
        add(self.proxy, state="waiting")
        add(self.proxy, state=CLOSING)
        for path, status, words in (
            ("connections/17/end", 404, "there is no connection 17"),
            ("tunnels/17/end", 404, "there is no connection 17"),
            ("tunnels/1/end", 404, "connection 1 has no tunnel"),
            ("connections/2/end", 409, "connection 2 is being closed already"),
            ("connections/0x1/end", 400, "is no number"),
        ):
            self.assertProblem(self.post(path), status, words)

    def test_reload(self) -> None:
        """Its mistakes are told; that they are there is no failure of the request."""
        self.made.server.mistakes = 2
        status, told = self.post("reload")
        self.assertEqual((status, told["action"], told["mistakes"]), (200, "reload", 2))
        self.made.server.condition = Condition.STOPPING
        self.assertProblem(self.post("reload"), 409, "is being stopped")
        self.assertEqual(self.made.server.reloads, 1)

    def test_drain(self) -> None:
        self.assertEqual(self.post("drain"), (202, {"action": "drain"}))
        self.made.clock.advance(0)
        self.made.server.condition = Condition.DRAINING
        self.assertProblem(self.post("drain"), 409, "drains already")
        self.assertEqual(self.made.server.drains, 1)

    def test_whichServer(self) -> None:
        """Who means the one before the restart ends nobody else's connection."""
        client = Dismissed(add(self.proxy))
        instance = self.ask("server")[1]["instance"]
        answer = self.post("connections/1/end", b'{"instance":"another"}')
        self.assertProblem(answer, 409, "started anew")
        self.assertEqual(client.outcomes, [])
        for body in json.dumps({"instance": instance}).encode(), b"", b"{}", b" \n":
            self.assertEqual(self.post("connections/1/end", body)[0], 202)

    def test_body(self) -> None:
        for body in b"{", b"[]", b"1", b"\xff", b'{"reason":"x"}', b"[" * 1000, b"null":
            self.assertProblem(self.post("drain", body), 400, "the body is no JSON")
        self.assertProblem(self.post("drain", b'{"instance":1}'), 409, "started anew")

    def test_counted(self) -> None:
        """In the metrics, with all that there can be from the start on."""
        body = self.made.ask("/metrics").body.decode()
        for action in Action:
            for result in Result:
                labels = f'{{action="{action.value}",result="{result.value}"}}'
                line = f"nymea_remoteproxy_operator_actions_total{labels} 0.0\n"
                self.assertIn(line, body)
        self.post("connections/17/end")
        self.post("reload")
        self.post("drain", origin="http://evil.example")
        body = self.made.ask("/metrics").body.decode()
        for labels in (
            'action="end-connection",result="impossible"',
            'action="reload",result="done"',
            'action="drain",result="refused"',
        ):
            self.assertIn(f"operator_actions_total{{{labels}}} 1.0\n", body)

    def test_otherSites(self) -> None:
        """Neither a form nor a script of another site's."""
        for headers, status, words in (
            ({"content_type": "text/plain"}, 415, "only with Content-Type: application/json"),
            ({"origin": "http://evil.example"}, 403, "another site"),
            ({"sec_fetch_site": "cross-site"}, 403, "another site"),
        ):
            self.assertProblem(self.post("drain", **headers), status, words)
        foreign = {"host": "evil.example", "content-type": "application/json"}
        answer = self.made.answer(Question("POST", PREFIX + "drain", headers=foreign, peer=OWN))
        check(PREFIX + "drain", "POST", answer)
        self.assertEqual(answer.status, 421)
        self.made.clock.advance(0)
        self.assertEqual(self.made.server.drains, 0)


class UnprotectedTests(ApiCase):
    """On TCP without a password it shows only."""

    endpoint = "tcp:1:interface=127.0.0.1"

    def test_actions(self) -> None:
        client = Dismissed(add(self.proxy))
        for path in ("connections/1/end", "tunnels/1/end", "reload", "drain"):
            self.assertProblem(self.post(path), 403, "[Admin] passwordFile")
        self.made.clock.advance(0)
        server = self.made.server
        self.assertEqual((client.outcomes, server.reloads, server.drains), ([], 0, 0))

    def test_told(self) -> None:
        """Before somebody tries."""
        told = self.ask("server")[1]["actions"]
        self.assertEqual(told, {"allowed": False, "reason": SHOWS_ONLY})


class OpenSocketTests(UnprotectedTests):
    """Nor on a Unix socket that every user of the machine may connect to."""

    endpoint = f"{SOCKET}:mode=666"


class PasswordTests(ApiCase):
    """With passwords, anywhere."""

    def setUp(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("anna:s3cret\n")
        self.made = AdminInMemory("tcp:1", Admin_passwordFile=path)
        self.proxy = self.made.proxy

    def test_needed(self) -> None:
        self.assertProblem(self.ask("server"), 401, "a password is needed")
        self.assertProblem(self.post("drain"), 401, "a password is needed")
        wrong = basic("anna", "x")
        for _ in range(10):
            self.ask("server", authorization=wrong)
        self.assertProblem(self.ask("server", authorization=wrong), 429, "too many")

    def test_right(self) -> None:
        right = basic("anna", "s3cret")
        self.assertEqual(self.post("drain", authorization=right)[0], 202)
        self.assertTrue(self.ask("server", authorization=right)[1]["actions"]["allowed"])
