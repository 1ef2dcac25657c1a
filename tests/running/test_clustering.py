"""How a process becomes a member of a cluster, with a directory that does what the test says."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.directory import MEMBER_SIZE
from nymearemoteproxy.cluster.identity import PROOF_SIZE, MemberIdentity
from nymearemoteproxy.cluster.linking import LinkError
from nymearemoteproxy.cluster.redisurl import readRedisUrl
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.records import TCP
from nymearemoteproxy.listening.listeners import ListenerError, parseListener
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.running.configuration.clusterplan import ClusterPlan
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard, Terms
from tests.support.parts import makeProxy

if find_spec("txredisapi"):
    from nymearemoteproxy.running import clustering
    from nymearemoteproxy.running.clustering import Clustering

SECRET, OTHER_SECRET = b"s" * 32, b"o" * 32
HOST, PORT = "192.0.2.7", 2213


class ScriptedDirectory:
    """A directory that is only started, stopped and asked for its secret.

    :ivar made: all of them.
    """

    made: list[ScriptedDirectory] = []
    commands = failures = outages = 0
    isAnswering = True
    isLasting = False
    hasOtherSecrets = False

    def __init__(
        self, _reactor: Any, url: Any, describe: Any, secret: bytes | None, timeout: float
    ) -> None:
        self.url, self.describe, self.secret, self.timeout = str(url), describe, secret, timeout
        self.followers: list[Any] = []
        self.follow = self.followers.append
        self.life: list[str] = []
        self.stopped: Deferred[None] = succeed(None)
        self.made.append(self)

    def start(self) -> Deferred[None]:
        """Connect."""
        self.life.append("start")
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Disconnect."""
        assert "start" in self.life, "as the real one has it"
        self.life.append("stop")
        return self.stopped

    def isLeaseOver(self) -> bool:
        """It is not."""
        return False

    def adopt(self, secret: bytes | None) -> None:
        """The directory answers, and has this secret."""
        self.secret = secret
        for returned in self.followers:
            returned()


class ClusteringCase(SynchronousTestCase):
    """A process on a reactor in memory."""

    skip = None if find_spec("txredisapi") else "txredisapi is not installed"

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.patch(ScriptedDirectory, "made", [])
        self.patch(clustering, "RedisDirectory", ScriptedDirectory)
        self.proxy = makeProxy(self.reactor)

    def plan(self, **changes: Any) -> ClusterPlan:
        """Return how to be a member."""
        usual = {
            "directories": [readRedisUrl("redis://127.0.0.1:7000")],
            "secret": SECRET,
            "listener": parseListener("tcp:0:interface=127.0.0.1", TCP),
            "address": None,
            "name": "west",
            "linkTimeout": 3.0,
            "directoryTimeout": 0.5,
        }
        return ClusterPlan(**{**usual, **changes})

    def make(self, *more: Any, **changes: Any) -> Clustering:
        """Return a process that is about to become a member."""
        return Clustering(self.reactor, self.proxy, self.plan(**changes), *more)

    @property
    def directory(self) -> ScriptedDirectory:
        """The only one, or the first."""
        return ScriptedDirectory.made[0]

    def listenAt(self, host: str, port: int) -> None:
        """Have whatever listens on TCP say that it is there."""
        listen = self.reactor.listenTCP

        def listenTCP(*arguments: Any, **named: Any) -> Any:
            made = listen(*arguments, **named)
            made.getHost = lambda: IPv4Address("TCP", host, port)
            return made

        self.reactor.listenTCP = listenTCP


class MemberTests(ClusteringCase):
    """What the others are told of it."""

    def address(self, own: str, made: Clustering) -> str:
        """Return it as the directory gets it.

        :param own: our end of the connection to the directory.
        """
        member = self.directory.describe(own)
        self.assertEqual((member.id, member.version, member.name), (made.id, VERSION, "west"))
        address: str = member.address
        return address

    def test_listened(self) -> None:
        """Where links come in."""
        self.listenAt(HOST, PORT)
        made = self.make()
        made.listen()
        self.assertEqual(self.address("10.0.0.1", made), f"tcp:{HOST}:{PORT}")

    def test_everywhere(self) -> None:
        """Then where the directory is reached from; a Unix socket's end has no address."""
        for host in ("0.0.0.0", "::"):
            ScriptedDirectory.made.clear()
            self.listenAt(host, PORT)
            made = self.make()
            made.listen()
            self.assertEqual(self.address(HOST, made), f"tcp:{HOST}:{PORT}")
            self.assertEqual(self.address("2001:db8::1", made), rf"tcp:2001\:db8\:\:1:{PORT}")
            self.assertEqual(self.address("", made), f"tcp:127.0.0.1:{PORT}")
            self.proxy = makeProxy(self.reactor)

    def test_said(self) -> None:
        """What the operator says counts more."""
        made = self.make(address=("198.51.100.1", 99))
        made.listen()
        self.assertEqual(self.address("10.0.0.1", made), "tcp:198.51.100.1:99")

    def test_givenByTheParent(self) -> None:
        """A worker does not listen itself."""
        made = self.make((HOST, PORT))
        self.assertEqual(self.address("10.0.0.1", made), f"tcp:{HOST}:{PORT}")
        self.assertEqual(self.reactor.tcpServers, [])

    def test_neverTheSame(self) -> None:
        """Each start makes a new member."""
        one = self.make()
        self.proxy = makeProxy(self.reactor)
        self.assertNotEqual(one.id, self.make().id)
        self.assertEqual(len(one.id), MEMBER_SIZE)

    def test_notDiscreet(self) -> None:
        """The secret is in no text."""
        self.assertNotIn(repr(SECRET), repr(self.plan()))


class SecretTests(ClusteringCase):
    """With which members know each other."""

    def knows(self, made: Clustering, secret: bytes) -> bool:
        """Tell whether both sides of links are those of members with this secret."""
        other = MemberIdentity(secret, b"x" * MEMBER_SIZE)
        ours, theirs = made._linker.identity, made.links.identity
        assert ours is theirs and ours is not None
        self.assertEqual(len(other.proofTo(made.id)), PROOF_SIZE)
        return ours.provenBy(other.proofTo(made.id)) == other.id

    def test_file(self) -> None:
        """One that the operator gives is there from the start, and stays."""
        made = self.make()
        self.assertTrue(self.knows(made, SECRET))
        identity = made.links.identity
        self.directory.adopt(SECRET)
        self.assertIs(made.links.identity, identity)
        self.assertEqual(self.directory.timeout, 0.5)

    def test_directory(self) -> None:
        """Until the directory tells one nobody is let in; a new one counts for both sides."""
        made = self.make(secret=None)
        self.assertIsNone(self.directory.secret)
        for secret in (SECRET, OTHER_SECRET, b"", bytes(32)):
            self.assertFalse(self.knows(made, secret or b"0" * 32))
        identity = made.links.identity
        self.directory.adopt(None)
        self.assertIs(made.links.identity, identity)
        self.directory.adopt(SECRET)
        self.assertTrue(self.knows(made, SECRET))
        self.directory.adopt(OTHER_SECRET)
        self.assertTrue(self.knows(made, OTHER_SECRET))
        self.assertFalse(self.knows(made, SECRET))

    def test_beforeThePlaces(self) -> None:
        """When places are claimed anew, links with the new secret are possible already."""
        made = self.make(secret=None)
        follow = self.directory.followers[0]
        self.assertEqual(follow, made._followSecret)
        self.assertGreater(len(self.directory.followers), 1)

    def test_several(self) -> None:
        """The first of several directories has the secret of all, which the others do not get."""
        urls = [readRedisUrl(f"redis://127.0.0.1:{port}") for port in (7000, 7001, 7002)]
        made = self.make(secret=None, directories=urls)
        first, *others = ScriptedDirectory.made
        self.assertEqual([each.secret for each in (first, *others)], [None, b"", b""])
        for each in others:
            each.adopt(b"")
        self.assertFalse(self.knows(made, b"0" * 32))
        first.adopt(SECRET)
        self.assertTrue(self.knows(made, SECRET))
        self.assertEqual(made.directory.secret, SECRET)

    def test_severalWithFile(self) -> None:
        """With a secret that is given, too, no directory holds one."""
        urls = [readRedisUrl(f"redis://127.0.0.1:{port}") for port in (7000, 7001)]
        self.make(directories=urls)
        self.assertEqual([each.secret for each in ScriptedDirectory.made], [SECRET, b""])


class LifeTests(ClusteringCase):
    """Begin and end."""

    def test_life(self) -> None:
        """It listens, joins, leaves, and listens until it has left."""
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        made = self.make()
        made.listen()
        self.assertEqual(self.directory.life, [])
        made.start()
        (line,) = [each for each in lines if each.get("event") == "cluster-member"]
        self.assertEqual((line["member"], line["name"]), (made.id.hex(), "west"))
        (port,) = made._ports
        closed: list[Any] = []
        port.stopListening = lambda: closed.append(port)
        self.directory.stopped = Deferred()
        stopped = made.stop()
        self.assertEqual(self.directory.life, ["start", "stop"])
        self.assertEqual(closed, [])
        self.directory.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(closed, [port])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cannotListen(self) -> None:
        """What there is can be stopped all the same, though nobody knows where links come in."""
        made = self.make(listener=parseListener("tcp:notAPort", TCP))
        self.assertRaises(ListenerError, made.listen)
        self.successResultOf(made.stop())
        self.assertEqual(self.directory.life, [])

    def test_neverStarted(self) -> None:
        """So it is when something else could not be listened on."""
        made = self.make()
        made.listen()
        self.successResultOf(made.stop())
        self.assertEqual(self.directory.life, [])

    def test_becomesAMember(self) -> None:
        """The proxy's meeting place is that of all then, and its tunnel proxy."""
        turns = Turns(self.reactor)
        switchboard = Switchboard(self.reactor, {}, Terms(), turns)
        self.proxy = makeProxy(self.reactor, switchboard=switchboard, turns=turns)
        made = self.make()
        self.assertIs(self.proxy.rendezvous, made.membership.rendezvous)
        self.assertIs(self.proxy.switchboard, made.membership.switchboard)

    def test_figures(self) -> None:
        """Strangers at every door are counted, and the directory's silence is shown."""
        made = self.make()
        made.links.refused["too-slow"] = 2
        self.assertEqual(made.figures().strangers, {"too-slow": 2})
        self.directory.isAnswering = False
        company = made.company()
        self.assertTrue(company.isClustered)
        self.assertIn("directory", company.trouble)


class NeighbourTests(ClusteringCase):
    """One of several workers."""

    def setUp(self) -> None:
        super().setUp()
        self.place = tempfile.mkdtemp()  # trial's own are too deep for a Unix socket
        self.addCleanup(shutil.rmtree, self.place, True)

    def makeNeighbour(self) -> tuple[Any, Any]:
        """Return one, and the port for its neighbours, which is a real one."""
        made = self.make((HOST, PORT), self.place)
        port: Any = made._ports[0]
        self.addCleanup(port.socket.close)
        return made, port

    def test_door(self) -> None:
        """Its neighbours come by a socket that is named after it."""
        made, port = self.makeNeighbour()
        self.assertEqual(port.getHost(), UNIXAddress(str(Path(self.place, made.id.hex()))))
        self.assertIsNone(port.factory.identity)
        port.factory.refused["other-user"] = 1
        made.links.refused["not-proven"] = 2
        self.assertEqual(made.figures().strangers, {"other-user": 1, "not-proven": 2})
        closed: list[Any] = []
        port.stopListening = lambda: closed.append(self.place)
        self.successResultOf(made.stop())
        self.assertEqual(closed, [self.place])

    def test_answers(self) -> None:
        """Whoever comes there is answered as by the member, without a proof."""
        made, port = self.makeNeighbour()
        answerer = port.factory.build(None)
        self.assertIs(type(answerer), type(made.membership.answerer(None)))

    def test_notPrivate(self) -> None:
        """A directory that others get into is none: one line says so."""
        os.chmod(self.place, 0o755)
        error = self.assertRaises(LinkError, self.make, (HOST, PORT), self.place)
        self.assertIn("mode 700", str(error))
