"""Names that stand for two things: in our classes and their bases, and in two of our modules.

A library's base class may use a name for something else: then one of the two reads what the other
has written. So each name that both sides define has to be on a list here, as meant. And whoever
reads two of our modules is to meet no name with two meanings.
"""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.wires.upgrade import Hearing
from tests.support.names import HARMLESS, classes, namesOf, package

STREAM = {"connectionMade", "dataReceived", "connectionLost"}
FACTORY = {"buildProtocol", "logPrefix", "noisy"}
OPTIONS = {"getSynopsis", "opt_version", "parseArgs", "parseOptions", "postOptions"}

INTENDED: dict[str, set[str]] = {
    "Protocol": STREAM,
    # What is wrapped starts and stops with what wraps it.
    "Factory": {*FACTORY, "protocol", "startFactory", "stopFactory"},
    "Options": OPTIONS,
    "ClientFactory": {"clientConnectionFailed"},
    "ProcessProtocol": {"processEnded"},
    "Failure": {"getTraceback"},
    "Service": {"privilegedStartService", "startService", "stopService"},
    "Logger": {"emit"},
    "Collector": {"collect"},
    "Port": {"createInternetSocket", "transport"},
    # A link is read as TCP is, whether it was accepted or made.
    "Server": {"doRead", "repstr"},
    "EPollReactor": {"mainLoop"},
    # Or an IPv6 address would be taken for an international name.
    "URL": {"to_uri"},
    # The descriptor is systemd's, and not to be shut down.
    "_UNIXPort": {"_shouldShutdown"},
    "HTTPChannel": {
        "allContentReceived",
        "allHeadersReceived",
        "maxHeaders",
        "requestFactory",
        "timeOut",
        "totalHeadersSize",
    },
    # A seat has a transport of ours and a time of its own; both do what the original does besides.
    "ProtocolWrapper": {"disconnecting", "loseConnection", "makeConnection", "writeSequence"},
    # The end of a tunnel sends in one piece what was written in one.
    "TLSMemoryBIOProtocol": {"write"},
    "WrappingFactory": {"unregisterProtocol"},
    # We do what the original does, and no more than that.
    "Request": {
        "clientproto",
        "connectionLost",
        "gotLength",
        "handleContentChunk",
        "method",
        "parseCookies",
        "requestReceived",
        "uri",
    },
    # An answer that nobody waits for is noticed.
    "BaseRedisProtocol": {"replyReceived"},
    # What it logs holds secrets. It has no transport: what it would do to one, `Upgrade` does.
    "WebSocketServerProtocol": {
        "dropConnection",
        "factory",
        "log",
        "onConnect",
        "onOpen",
        "sendData",
    },
    "WebSocketClientProtocol": {
        "http_status_line",
        "onCloseFrame",
        "onMessageBegin",
        "onMessageEnd",
        "onMessageFrameBegin",
        "onMessageFrameData",
        "onMessageFrameEnd",
        "onOpen",
        "processData",
    },
}
"""By the base that defines them first, or is meant by it."""

TWICE = {"Request"}
"""Classes of one name that may be: what is asked, by JSON-RPC and by HTTP."""


def shared(one: type) -> set[str]:
    """Return the names that both our classes and others among its bases define."""
    ours: set[str] = set()
    theirs: set[str] = set()
    for base in one.__mro__:
        if package(base) == "nymearemoteproxy":
            ours |= namesOf(base)
        elif package(base) not in HARMLESS:
            theirs |= namesOf(base)
            theirs.update(vars(base).get("CONFIG_ATTRS", ()))  # Autobahn sets these, too
    return {name for name in ours & theirs if not name.startswith(("__", "_abc_", "_is_protocol"))}


class NameTests(SynchronousTestCase):
    """All classes, with the libraries that are installed."""

    def test_allAreIntended(self) -> None:
        """A name that a library uses, too, is used to change what the library does."""
        unintended = {}
        for one in classes():
            intended = set().union(*(INTENDED.get(base.__name__, ()) for base in one.__mro__))
            if names := shared(one) - intended:
                unintended[f"{one.__module__}.{one.__name__}"] = names
        self.assertEqual(unintended, {})

    def test_noNameForTwoClasses(self) -> None:
        """The server, its client and its monitor do not call different things the same."""
        count = Counter(one.__name__ for one in classes())
        self.assertEqual({name for name in count if count[name] > 1} - TWICE, set())

    def test_seesAttributesOfInstances(self) -> None:
        """Such as Autobahn's state, which is no attribute of the class."""
        bases = [base for base in Hearing.__mro__ if package(base) == "autobahn"]
        self.assertIn("state", set().union(*map(namesOf, bases)))
