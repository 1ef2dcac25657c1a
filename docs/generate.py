"""Writes the parts of the documentation that follow from the code into ``docs/generated/``.

``python docs/generate.py`` writes them, with ``--check`` it only tells which are out of date, and
exits with 1 if any is. Needs the package's own dependencies, not Sphinx.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

DOCS = Path(__file__).resolve().parent
GENERATED = DOCS / "generated"

sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from described import describeDefault, describeOptions, describeRange  # noqa: E402
from twisted.python import usage  # noqa: E402

from nymearemoteproxy.client.options import ClientOptions  # noqa: E402
from nymearemoteproxy.monitor.options import MonitorOptions  # noqa: E402
from nymearemoteproxy.protocol import slip  # noqa: E402
from nymearemoteproxy.protocol.dialogue import Dialogue as RegisteredServer  # noqa: E402
from nymearemoteproxy.protocol.jsonrpc import (  # noqa: E402
    MessageError,
    MessageSplitter,
)
from nymearemoteproxy.protocol.outcomes import Outcome  # noqa: E402
from nymearemoteproxy.protocol.packets import PROXY  # noqa: E402
from nymearemoteproxy.protocol.registration import (  # noqa: E402
    DISCONNECT_CLIENT,
    PING,
    REGISTER_CLIENT,
    REGISTER_SERVER,
    ClientRegistration,
    clientConnected,
    clientDisconnected,
)
from nymearemoteproxy.protocol.session import (  # noqa: E402
    TRANSITIONS,
    TUNNEL_PROXY_API,
    Close,
    Effects,
    Event,
    Identity,
    PairingKeys,
    Role,
    Send,
    Session,
    State,
    makeHello,
)
from nymearemoteproxy.running.options import ServerOptions  # noqa: E402
from nymearemoteproxy.running.settings.sections import (  # noqa: E402
    RETIRED,
    SETTINGS,
)
from nymearemoteproxy.watching.admin.companymetrics import (  # noqa: E402
    MEMBER_DECLARATIONS,
    WORKER_DECLARATIONS,
)
from nymearemoteproxy.watching.admin.declarations import (  # noqa: E402
    PREFIX,
    Declaration,
)
from nymearemoteproxy.watching.admin.metrics import (  # noqa: E402
    DECLARATIONS,
)

NOTICE = "Made by docs/generate.py; do not edit."

CUT = "The connection is cut; no close frame is sent."

HINTS: dict[Outcome, str] = {
    Outcome.PARTNER_LEFT: "The other line of the same tunnel says why the partner left.",
    Outcome.CONNECTION_LOST: (
        "Common with phones that change networks. When all clients end like this after the same "
        "time, look for a reverse proxy or a firewall with an idle timeout below "
        ":setting:`ProxyServer.pingInterval`."
    ),
    Outcome.PING_TIMEOUT: CUT,
    Outcome.WEBSOCKET_PROTOCOL_ERROR: (
        "The close frame says what was wrong, such as ``reserved bit set``. The code is 1007 when "
        "the reason in the client's own close frame was not UTF-8."
    ),
    Outcome.WORKER_LOST: (
        "Only with several processes; see the line about the worker for how it ended."
    ),
    Outcome.LINK_LOST: (
        "The client comes back, and finds its partner if that does. Many at once: a process or a "
        "machine is gone, and the log of the others says which."
    ),
    Outcome.PLACE_LOST: (
        "The server registers again, and is refused as long as the other one is there. Two servers "
        "with one uuid, or one that came back elsewhere while the directory was gone."
    ),
    Outcome.MEMBER_SILENT: (
        "The client may try again. That process is frozen, or cannot be reached; when its lease in "
        "the directory is over, after 15 s, what it held is free."
    ),
    Outcome.DIRECTORY_UNAVAILABLE: (
        "The client may try again. A line of level error before this one says what the directory "
        "did."
    ),
    Outcome.LEFT_EARLY: (
        "Not an error. A stream that ends its sending direction before its tunnel is up also "
        "counts as having left."
    ),
    Outcome.INVALID_JSON: (
        "The client got an error response that says where. Often something that is no client of "
        "this server, such as a scanner."
    ),
    Outcome.INVALID_REQUEST: "The client got an error response that says what.",
    Outcome.MESSAGE_TOO_LARGE: (
        "Raise :setting:`Limits.maxControlMessageSize` only if your tokens really are that long. "
        "For an HTTP request head the limit is fixed at 16 KiB and the answer is HTTP status 431."
    ),
    Outcome.DATA_BEFORE_TUNNEL: (
        "A fault of the client: it has to wait for the notification that its tunnel is up."
    ),
    Outcome.TOKEN_REFUSED: (
        "See the token list and the log of the authentication server; for JSON Web Tokens, ``-v``. "
        "In the tunnel proxy "
        ":setting:`TunnelProxy.authentication` says who needs one; nymea:core and nymea:app have "
        "none."
    ),
    Outcome.CLIENT_TOO_SLOW: (
        "See :ref:`tunnel-proxy`. Phones that lose the network in the middle of a large download "
        "end like this; otherwise see :setting:`TunnelProxy.clientBacklog`."
    ),
    Outcome.SERVER_SILENT: (
        "A server that is alive pings every 30 seconds. It will register again when it finds out."
    ),
    Outcome.PACKET_TOO_LARGE: (
        "Its clients are disconnected too. Raise :setting:`TunnelProxy.maxPacketSize` if the "
        "server really sends that much in one piece."
    ),
    Outcome.TOO_MUCH_UNFINISHED: (
        "Its clients are disconnected too. When it is no stranger's server, raise "
        ":setting:`TunnelProxy.totalBacklog`."
    ),
    Outcome.SERVER_NOT_FOUND: (
        "The client may try again. Usually the server has lost its connection, or never had one."
    ),
    Outcome.ALREADY_REGISTERED: (
        "Two servers, or two clients, have the same uuid, and both are there. A connection that is "
        "dead is noticed when the next one wants its uuid, and keeps nobody out."
    ),
    Outcome.UUID_RESERVED: (
        "Give the client a uuid of its own. Or somebody tries to keep the server out."
    ),
    Outcome.SERVER_NOT_ALLOWED: (
        "Add its uuid to :setting:`TunnelProxy.serverUuidFile` and send SIGHUP."
    ),
    Outcome.SERVER_STALLED: (
        "The client may try again. More than 1 MiB waits for the server, which reads slowly or not "
        "at all."
    ),
    Outcome.TOO_MANY_SERVERS_FROM_ADDRESS: ":setting:`Limits.maxServersPerAddress`.",
    Outcome.TOO_MANY_CLIENTS_FROM_ADDRESS: ":setting:`Limits.maxClientsPerAddress`.",
    Outcome.TOO_MANY_CLIENTS_OF_SERVER: ":setting:`Limits.maxClientsPerServer`.",
    Outcome.UNKNOWN_NAME: (
        "See :setting:`Front.namesFile` and :setting:`Front.domain`. Scanners ask for many names."
    ),
    Outcome.VISITORS_NOT_WANTED: "See :doc:`front`.",
    Outcome.TOO_MANY_VISITORS: ":setting:`Front.maxVisitorsPerHome`.",
    Outcome.AUTHENTICATION_TIMEOUT: (
        "The client may try again later. See how long the authentication server, or the issuer, "
        "takes, then :setting:`ProxyServer.authenticationTimeout` and "
        ":setting:`Authentication.connections`."
    ),
    Outcome.AUTHENTICATION_ERROR: (
        "The client may try again later. A line of level error before this one says what the "
        "authentication server, or the issuer, did."
    ),
    Outcome.TUNNEL_EXISTS: (
        "A third client came with the same token and nonce. Clients that need several tunnels at "
        "once have to use a nonce for each."
    ),
    Outcome.DUPLICATE_UUID: "Give every client a uuid of its own.",
    Outcome.PROXY_HEADER_INVALID: (
        "The reverse proxy is not told to send one: see :doc:`reverse-proxy`. Or somebody else "
        "connected, who should not be able to."
    ),
    Outcome.TLS_HANDSHAKE_FAILED: (
        "Port scanners do this all day. A client of your own may not trust the certificate, or "
        "speak no TLS at all."
    ),
    Outcome.WEBSOCKET_HANDSHAKE_FAILED: (
        "The client got an HTTP error status. Often a browser or a scanner."
    ),
    Outcome.INACTIVE_TIMEOUT: (
        "Also when a PROXY header was awaited and did not come, when a visitor's HTTP request was "
        "not whole in time, and when a visitor's home was not found in time."
    ),
    Outcome.ALONE_TIMEOUT: (
        "The client may try again. If it happens while the partner tries too, their tokens or "
        "nonces differ."
    ),
    Outcome.TOO_MANY_CONNECTIONS: (
        "Raise the limit of open files, see :doc:`limits`, then :setting:`Limits.maxConnections`."
    ),
    Outcome.TOO_MANY_UNAUTHENTICATED: "A flood, or :setting:`Limits.maxUnauthenticated`.",
    Outcome.TOO_MANY_FROM_ADDRESS: (
        "Behind a reverse proxy, tell it to send the PROXY header; see :doc:`reverse-proxy`. "
        "Otherwise :setting:`Limits.maxConnectionsPerAddress`."
    ),
    Outcome.TOO_MANY_UNAUTHENTICATED_FROM_ADDRESS: (
        "The same with :setting:`Limits.maxUnauthenticatedPerAddress`."
    ),
    Outcome.TOO_MANY_ATTEMPTS: (
        "The same with :setting:`Limits.attemptsPerSecondPerAddress`. A client that comes back at "
        "once after every refusal does this to itself."
    ),
    Outcome.SHUTDOWN_WAITING: "A client that had not finished its WebSocket upgrade is cut off.",
    Outcome.INTERNAL_ERROR: CUT,
}
"""What to do about it, or to know besides, where that is worth a sentence."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> Iterator[str]:
    """Yield the lines of a table.

    :param widths: of its columns, in percent.
    """
    assert len(widths.split()) == len(header), "Sphinx would leave the table out"
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield f"   :widths: {widths}"
    yield ""
    for row in (header, *rows):
        for number, cell in enumerate(row):
            yield f"   {' ' if number else '*'} - {cell}".rstrip()


def page(lines: Iterable[str]) -> str:
    """Return a reStructuredText fragment."""
    return "\n".join([f".. {NOTICE}", "", *lines]) + "\n"


def wrapped(text: str, indent: str = "   ") -> str:
    """Return a paragraph in lines that fit."""
    return textwrap.fill(
        text, 98, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


# Settings


def settings() -> str:
    """The reference of all settings, by section."""

    def lines() -> Iterator[str]:
        for section in dict.fromkeys(setting.section for setting in SETTINGS):
            yield f"[{section}]"
            yield "-" * (len(section) + 2)
            yield ""
            for setting in SETTINGS:
                if setting.section != section:
                    continue
                yield f".. setting:: {setting.name}"
                yield ""
                ends = describeRange(setting)
                yield f"   | Write: {setting.kind}{ends and f' ({ends})'}"
                yield f"   | Default: {describeDefault(setting)}"
                if setting.atStart:
                    yield "   | A change takes effect with the next start."
                yield ""
                yield wrapped(setting.meaning)
                yield ""

    return page(lines())


def ignored() -> str:
    """What files of the C++ server may say without effect."""

    def lines() -> Iterator[str]:
        for name, why in RETIRED.items():
            section, _, key = name.partition(".")
            yield f"``[{section}] {key}".rstrip() + "``"
            yield wrapped(why, "    ")

    return page(lines())


# Outcomes


def outcomes() -> str:
    """The catalogue of how connections end."""

    def lines() -> Iterator[str]:
        for outcome in Outcome:
            yield f".. outcome:: {outcome.label}"
            yield ""
            if not outcome.closeCode:
                told = "No close frame."
            elif HINTS.get(outcome) == CUT:
                told = f"Would be close code {outcome.closeCode}, ``{outcome.reason}``."
            elif outcome.reason:
                told = f"Close code {outcome.closeCode}, ``{outcome.reason}``."
            else:
                told = f"Close code {outcome.closeCode}."
            yield f"   {told} Group: {outcome.group.value}."
            yield ""
            yield wrapped(outcome.meaning)
            yield ""
            if outcome in HINTS:
                yield wrapped(HINTS[outcome])
                yield ""

    return page(lines())


# Options


def options(commandOptions: usage.Options, program: str) -> str:
    """All command line options of a program."""

    def lines() -> Iterator[str]:
        yield f".. program:: {program}"
        yield ""
        for option in describeOptions(commandOptions):
            argument = f" {option.argument}" if option.argument else ""
            yield f".. option:: {', '.join(f'{each}{argument}' for each in option.spellings)}"
            yield ""
            yield wrapped(option.text)
            yield ""

    return page(lines())


# States


def _edges() -> dict[tuple[State, State], list[Event]]:
    """What leads from one state to another; what changes nothing is left out."""
    edges: dict[tuple[State, State], list[Event]] = {}
    for state, steps in TRANSITIONS.items():
        for event, step in steps.items():
            if step.action != "ignore" or step.state is not state:
                edges.setdefault((state, step.state), []).append(event)
    return edges


def states() -> str:
    """The session's state diagram."""
    lines = [
        f"// {NOTICE}",
        "digraph session {",
        "    rankdir=TB; nodesep=0.6; ranksep=0.5;",
        '    node [shape=box, style="rounded,filled", fillcolor="#eef3f8", fontname="sans-serif"];',
        '    edge [fontname="sans-serif", fontsize=10];',
        '    start [shape=point, label=""];',
        f'    start -> "{State.UNAUTHENTICATED.value}";',
    ]
    for (state, following), events in _edges().items():
        label = "\\l".join(event.value for event in events) + "\\l"
        lines.append(f'    "{state.value}" -> "{following.value}" [label="{label}"];')
    return "\n".join([*lines, "}"]) + "\n"


def transitions() -> str:
    """The whole table: what each event does in each state."""

    def cell(state: State, event: Event) -> str:
        step = TRANSITIONS[state][event]
        if step.action == "ignore" and step.state is state:
            return "–"
        return step.action if step.state is state else f"{step.action} → *{step.state.value}*"

    rows = [(event.value, *(cell(state, event) for state in State)) for event in Event]
    return page(table(("Event", *(state.value for state in State)), rows, "20 14 14 14 14 14 5 5"))


# Exchanges: what really comes out of a session


UUIDS = (
    "{5d0c1c50-9b1f-4d0e-8d8c-0a5f9e6a0c01}",
    "{b7a3f5de-3a86-4c7e-9a39-5f0f7e2f9d02}",
)


class Dialogue:
    """Plays clients against sessions and writes down what is said."""

    def __init__(self, proven: Collection[Role] = ()) -> None:
        self.lines: list[str] = []
        hello = makeHello("nymea-remoteproxy", True)
        self._new: Callable[[], Session] = lambda: Session(
            TUNNEL_PROXY_API, hello, PairingKeys(), proven
        )
        self._sessions: dict[str, Session] = {}

    def session(self, who: str) -> Session:
        """Return the session of a client, a new one at first."""
        return self._sessions.setdefault(who, self._new())

    def call(self, who: str, message: dict[str, Any]) -> None:
        """The client sends a message."""
        text = json.dumps(message, separators=(",", ":"))
        self.lines.append(f"{who} → {text}")
        self.got(who, self.session(who).messageReceived(text.encode()))

    def got(self, who: str, effects: Effects) -> None:
        """The server does what the session asks for."""
        for effect in effects:
            if isinstance(effect, Send):
                self.lines.append(f"{who} ← {effect.data.decode().rstrip()}")
            elif isinstance(effect, Close):
                code, reason = effect.outcome.closeCode, effect.outcome.reason
                self.lines.append(f"{who} ← close {code} {reason}")

    def authenticate(self, who: str, identity: Identity | None, nonce: str = "") -> None:
        """The client sends Authenticate."""
        params = {} if identity is None else {"uuid": identity.uuid, "name": identity.name}
        params["token"] = "T0ken"
        if nonce:
            params["nonce"] = nonce
        self.call(who, {"id": 1, "method": "Authentication.Authenticate", "params": params})

    def text(self) -> str:
        """Return all that was said."""
        return "\n".join(self.lines) + "\n"


def hello() -> str:
    """A call of Hello."""
    dialogue = Dialogue()
    dialogue.call("A", {"id": 0, "method": "RemoteProxy.Hello"})
    return dialogue.text()


def introspection() -> str:
    """The params of the answer to Introspect, in lines."""
    return json.dumps(TUNNEL_PROXY_API.introspection, indent=2) + "\n"


def tunnel(first: Identity | None, second: Identity | None, nonce: str = "") -> str:
    """Two clients join."""
    dialogue = Dialogue()
    identities = {"A": first, "B": second}
    for who, identity in identities.items():
        dialogue.authenticate(who, identity, nonce)
        dialogue.got(who, dialogue.session(who).accepted("T0ken", None))
    for who, partner in (("A", second), ("B", first)):
        dialogue.got(who, dialogue.session(who).placed(partner or Identity()))
    return dialogue.text()


def tunnelProxy() -> str:
    """A server registers, a client comes and is disconnected."""
    dialogue = Dialogue()
    client = ClientRegistration("My phone", UUID(UUIDS[1]), UUID(UUIDS[0]))
    params = {"serverName": "nymea:core", "serverUuid": UUIDS[0]}
    dialogue.call("S", {"id": 0, "method": REGISTER_SERVER.name, "params": params})
    dialogue.got("S", dialogue.session("S").placed(Identity()))
    params = {"clientName": client.name, "clientUuid": UUIDS[1], "serverUuid": UUIDS[0]}
    dialogue.call("A", {"id": 0, "method": REGISTER_CLIENT.name, "params": params})
    dialogue.got("A", dialogue.session("A").placed(Identity()))

    def packet(arrow: str, address: int, data: bytes) -> None:
        """What the server sends or gets from now on, in bytes."""
        content = slip.encode(address, data)
        shown = data.decode().rstrip()
        text = content.hex(" ") if len(content) < 12 else f"{content[:2].hex(' ')} … c0"
        dialogue.lines.append(f"S {arrow} {text}   (address {address}: {shown})")

    packet("←", PROXY, clientConnected(1, client, "203.0.113.9", 1))
    dialogue.lines.append("A → Hello")
    packet("←", 1, b"Hello")
    packet("→", 1, b"Hi")
    dialogue.lines.append("A ← Hi")
    registered = RegisteredServer(TUNNEL_PROXY_API, {}, 0)
    for method, params in ((PING, {"timestamp": 5}), (DISCONNECT_CLIENT, {"socketAddress": 1})):
        call = {"id": 1, "method": method.name, "params": params}
        text = json.dumps(call, separators=(",", ":")).encode()
        packet("→", PROXY, text)
        registered.feed(text)
        for effect in registered.take():
            answer = effect.data if isinstance(effect, Send) else effect.done
            packet("←", PROXY, answer)
    packet("←", PROXY, clientDisconnected(2, 1))
    outcome = Outcome.DISCONNECTED_BY_SERVER
    dialogue.lines.append(f"A ← close {outcome.closeCode} {outcome.reason}")
    return dialogue.text()


WAYS_TO_FAIL: Sequence[Callable[[Session], Effects]] = (
    Session.refused,
    Session.deadlinePassed,
    Session.backendFailed,
)
"""Of a token's verdict."""


def refusals(identity: Identity | None) -> str:
    """Authenticate goes wrong in each of its ways."""
    dialogue = Dialogue()
    for who, fail in zip("ABC", WAYS_TO_FAIL, strict=True):
        dialogue.authenticate(who, identity)
        dialogue.got(who, fail(dialogue.session(who)))
    return dialogue.text()


def unproven() -> str:
    """A registration's token is not accepted, in each of its ways; one has none."""
    dialogue = Dialogue([Role.SERVER])
    params = {"serverName": "home", "serverUuid": UUIDS[0]}
    register = {"id": 1, "method": REGISTER_SERVER.name, "params": params}
    for who, fail in zip("ABC", WAYS_TO_FAIL, strict=True):
        dialogue.call(who, {**register, "params": {**params, "token": "T0ken"}})
        dialogue.got(who, fail(dialogue.session(who)))
    dialogue.call("D", register)
    return dialogue.text()


BAD_MESSAGES = (
    "hello",
    '{"id":1;}',
    '{"id":1,"method":"RemoteProxy.Hello","x":NaN}',
    '{"id":1,"method":"RemoteProxy.Hello","x":1e400}',
    '{"id":1,"method":"RemoteProxy.Hello","x":"\\ud800"}',
    '{"method":"RemoteProxy.Hello"}',
    '{"id":1.0,"method":"RemoteProxy.Hello"}',
    '{"id":1,"method":"Hello"}',
    '{"id":1,"method":"Nothing.Hello"}',
    '{"id":1,"method":"RemoteProxy.Nothing"}',
    '{"id":1,"method":"RemoteProxy.Hello","params":[]}',
    '{"id":1,"method":"RemoteProxy.Hello","params":{"x":1}}',
    '{"id":1,"method":"Authentication.Authenticate","params":{}}',
    '{"id":1,"method":"Authentication.Authenticate","params":{"token":1}}',
    '{"id":1,"method":"Authentication.Authenticate","params":{"token":"T","uuid":"U"}}',
    '{"id":1,"method":"TunnelProxy.Ping","params":{"timestamp":-1}}',
)


def errors() -> str:
    """What a stream client is told for each kind of bad message."""

    def rows() -> Iterator[tuple[str, str, str]]:
        for text in BAD_MESSAGES:
            session = Dialogue().session("A")
            splitter = MessageSplitter(10240)
            splitter.feed(text.encode())
            try:
                message = splitter.take()
            except MessageError as error:
                effects = session.badMessage(error)
            else:
                effects = session.messageReceived(message or b"")
            sent, close = effects
            assert isinstance(sent, Send) and isinstance(close, Close)
            answer = json.loads(sent.data)
            code = f"{close.outcome.closeCode}, :outcome:`{close.outcome.label}`"
            yield f"``{text}``", f"{answer['id']}, “{answer['error']}”", code

    return page(table(("Client sends", "id and error in the answer", "Close"), rows(), "45 40 15"))


def metrics(declarations: Iterable[Declaration]) -> str:
    """Metrics of the admin endpoint."""
    rows = (
        (
            f"``{PREFIX}{each.name}``",
            each.kind + "".join(f", ``{label}``" for label in each.labels),
            each.help.replace("/readyz", "``/readyz``"),
        )
        for each in declarations
    )
    return page(table(("Metric", "Kind, labels", "Meaning"), rows, "45 20 35"))


CORE = Identity("nymea:core", UUIDS[0])
PHONE = Identity("My phone", UUIDS[1])


def fragments() -> dict[str, str]:
    """All generated files: name and content."""
    return {
        "settings.rst": settings(),
        "ignored.rst": ignored(),
        "outcomes.rst": outcomes(),
        "options.rst": options(ServerOptions(), "nymea-remoteproxy"),
        "client-options.rst": options(ClientOptions(), "nymea-remoteproxy-client"),
        "monitor-options.rst": options(MonitorOptions(), "nymea-remoteproxy-monitor"),
        "states.dot": states(),
        "transitions.rst": transitions(),
        "hello.txt": hello(),
        "introspect.json": introspection(),
        "tunnel.txt": tunnel(CORE, PHONE),
        "tunnel-first-api.txt": tunnel(None, None, "n0nce"),
        "tunnel-mixed.txt": tunnel(CORE, None),
        "tunnelproxy.txt": tunnelProxy(),
        "registration-refused.txt": unproven(),
        "refused.txt": refusals(PHONE),
        "refused-first-api.txt": refusals(None),
        "errors.rst": errors(),
        "metrics.rst": metrics(DECLARATIONS),
        "worker-metrics.rst": metrics(WORKER_DECLARATIONS),
        "member-metrics.rst": metrics(MEMBER_DECLARATIONS),
    }


def outdated() -> list[str]:
    """Return the names of the files that are not as they should be, or should not be there."""
    wanted = fragments()
    present = {path.name for path in GENERATED.iterdir()} if GENERATED.is_dir() else set()
    wrong = present - set(wanted)
    for name, content in wanted.items():
        if name not in present or (GENERATED / name).read_text(encoding="utf-8") != content:
            wrong.add(name)
    return sorted(wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check them; return the exit status."""
    parser = argparse.ArgumentParser(description=NOTICE)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if outdated")
    check = parser.parse_args(arguments).check
    wrong = outdated()
    for name in wrong:
        print(f"docs/generated/{name}", "is out of date" if check else "written")
    if check:
        return 1 if wrong else 0
    GENERATED.mkdir(exist_ok=True)
    wanted = fragments()
    for name in wrong:
        if name in wanted:
            (GENERATED / name).write_text(wanted[name], encoding="utf-8")
        else:
            (GENERATED / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
