"""Three members and a Redis: one meeting place, whichever member clients come to."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.support.cores import Core, anyUuid, error
from tests.support.endtoend import (
    SIGUSR2,
    STREAM,
    Stream,
    WebSocket,
    call,
    inThread,
    secret,
    until,
)
from tests.support.lives import DRAINING
from tests.support.nodes import ClusterCase, Node
from tests.support.redis import freePort

TUNNEL_EXISTS = 1008


class MeetingTests(ClusterCase):
    """Who meets whom."""

    @inThread
    def testTransports(self) -> None:
        """Every transport with every other one, and every member with every other one."""
        self.startRedis()
        nodes = self.launch(
            3,
            *("--websocket", f"tls:{STREAM}", "--stream", f"tls:{STREAM}"),
            listeners=4,
        )
        schemes = ("ws", "wss", "tcp", "tls")
        for index, one in enumerate(schemes):
            for number, other in enumerate(schemes):
                here, there = nodes[index % 3], nodes[(index + 1 + number % 2) % 3]
                self.moves(*self.pair(here.server.url(one), there.server.url(other)))

    @inThread
    def testThird(self) -> None:
        """A third one is refused by whichever member, and the key is free when both have left."""
        self.startRedis()
        nodes = self.launch()
        nonce = secret("nonce")
        one, two = self.pair(nodes[0].tcp, nodes[1].ws, nonce)
        for node in nodes:
            self.assertEqual(self.webSocket(node, nonce).goodbye(), (b"", TUNNEL_EXISTS))
        self.moves(one, two)
        one.close()
        self.assertEqual(two.goodbye()[1], 1000)
        self.moves(*self.pair(nodes[2].tcp, nodes[2].ws, nonce))

    @inThread
    def testData(self) -> None:
        """Megabytes in both directions at once, and the last words of one that leaves."""
        self.startRedis()
        nodes = self.launch(2)
        one, two = self.pair(nodes[0].tcp, nodes[1].tcp)
        data = os.urandom(8 << 20)
        sent = hashlib.sha256(data).digest()
        with ThreadPoolExecutor(3) as pool:
            for client in (one, two):
                pool.submit(client.send, data)
            reading = [pool.submit(client.read, len(data)) for client in (one, two)]
            for read in reading:
                self.assertEqual(hashlib.sha256(read.result()).digest(), sent)
        writing = threading.Thread(target=self.say, args=(one, data))
        writing.start()
        self.assertEqual(hashlib.sha256(two.rest()).digest(), sent)
        writing.join()

    def say(self, client: Stream, data: bytes) -> None:
        client.send(data)
        client.close()

    @inThread
    def testServers(self) -> None:
        """A server is found from everywhere; its uuid is its own, until its client saw its end."""
        self.startRedis()
        nodes = self.launch()
        uuid = anyUuid()
        core = self.register(nodes[0].tcp, uuid)
        for node in nodes:
            client, address = self.join(node.ws, uuid, core)
            self.works(core, client, address)
            second = Core(node.tcp, uuid)
            self.keep(second.stream)
            self.assertEqual(second.answer["tunnelProxyError"], error("AlreadyRegistered"))
        core.send(0, call("TunnelProxy.DisconnectClient", 7, socketAddress=address))
        self.assertEqual(client.goodbye(), (b"", 1000))
        core.stream.close()
        until(lambda: self.isFree(nodes[1], uuid), "it is not free")

    def isFree(self, node: Node, uuid: str) -> bool:
        core = Core(node.tcp, uuid)
        self.keep(core.stream)
        said: str = core.answer["tunnelProxyError"]
        return said == error("NoError")


class LinkTests(ClusterCase):
    """What two members have between them."""

    @inThread
    def testCut(self) -> None:
        """In the middle of data, one sees 1013 or a reset, and not an orderly end."""
        self.startRedis()
        (home, gateway), other = self.nodeBehind(), self.node()
        pairs = []
        for one, two in ((home.ws, other.ws), (home.tcp, other.tcp), (home.ws, other.tcp)):
            nonce = secret("nonce")
            pairs.append((self.first(home, nonce, one), self.waiter(two, nonce)))
            self.established(*pairs[-1])
        idle = pairs.pop()
        data = os.urandom(4 << 20)
        for one, _two in pairs:
            threading.Thread(target=one.sendMessage, args=(data,), daemon=True).start()
        for _one, two in pairs:
            if isinstance(two, WebSocket):
                self.assertLess(len(two.frame()[1]), len(data))
            else:
                two.read(1 << 20)
        gateway.cut()
        with self.within(5, "all are told of a link that was cut"):
            for client in (*idle, *pairs[0], *pairs[1]):
                self.cutOff(client)
        self.moves(*self.pair(home.ws, other.tcp))

    @inThread
    def testStrangers(self) -> None:
        """Who connects to the port for links learns nothing, and is closed; tunnels go on."""
        self.startRedis()
        port = freePort()
        nodes = [self.node("--set", f"Cluster.listen=tcp:{port}:interface=127.0.0.1"), self.node()]
        pair = self.pair(nodes[0].tcp, nodes[1].tcp)
        for words in (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(300)):
            stranger = Stream(f"tcp://127.0.0.1:{port}")
            self.keep(stranger)
            stranger.send(words)
            with self.within(2, "a stranger is closed"):
                self.assertLess(len(stranger.rest()), 20)
        self.moves(*pair)


class RollingTests(ClusterCase):
    """A rolling upgrade."""

    @inThread
    def testRestart(self) -> None:
        """One after the other is drained and has a successor; only what lasts too long is lost."""
        self.startRedis()
        drain = ("--set", "ProxyServer.drainTimeout=6000")
        nodes = self.launch(3, *drain)
        for index in range(3):
            leaving, *others = nodes[index:] + nodes[:index]
            lasting = self.pair(leaving.tcp, others[0].ws)
            short = self.pair(others[1].tcp, leaving.ws)
            elsewhere = self.pair(others[0].ws, others[1].tcp)
            nonce = secret("nonce")
            waiting = self.first(leaving, nonce)
            mark = leaving.server.mark()
            leaving.server.signal(SIGUSR2)
            leaving.server.waitFor(DRAINING, mark)
            # Who waited is told to come again, and meets the other one elsewhere.
            self.assertEqual(waiting.goodbye(), (b"", None))
            with self.within(1, "the place of one that drains is free"):
                self.moves(*self.pair(others[0].tcp, others[1].ws, nonce))
            self.moves(*short)
            self.moves(*lasting)
            short[0].send(b"last words")
            short[0].close()
            self.assertEqual(short[1].goodbye(), (b"last words", 1000))
            short[1].close()
            nodes[index] = self.node(*drain)
            self.moves(*self.pair(nodes[index].ws, others[0].tcp))
            # By now its time may be over: how long a node takes to start is the machine's.
            self.assertEqual(lasting[1].goodbye()[1], 1001)
            lasting[0].rest()
            lasting[0].close()
            self.assertEqual(leaving.server.wait(), 0)
            self.moves(*elsewhere)
