"""Pairs of clients that come to random members of a cluster, while members and the Redis fail.

    python -m tests.support.pairs 10000

starts three real servers and a real Redis, and says in the end what became of the pairs. A client
behaves as real ones do: when its connection ends it comes back, to any member. Its pair has met
when each of the two has heard the other one, in one tunnel.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure

from tests.support.cores import anyUuid
from tests.support.endtoend import BINARY, CLOSE, PING, PONG, TEXT, UPGRADE, frame

reactor: Any = globalReactor

SILENCE = 30.0
"""Seconds that a client waits for anything; longer than a client waits alone."""

PAIR_LIMIT = 120.0
"""Seconds in which a pair has to meet: five times as long as a frozen member can be in the way."""

AT_ONCE = 60


class Place:
    """Where clients connect to: one member, which is another process after each restart.

    :ivar life: counts its starts.
    """

    def __init__(self, ws: int, tcp: int) -> None:
        self.ports = {"ws": ws, "tcp": tcp}
        self.life = 0
        self.wasFrozen = False


class Attempt(Protocol):
    """One connection of one client.

    :param said: what it says to its partner.
    """

    transport: Any

    def __init__(self, client: Client, place: Place, isWebSocket: bool) -> None:
        self.client = client
        self.place = place
        self.life = place.life
        self.said = f"{client.pair.nonce} {client.side} {client.attempts}\n".encode()
        self.isEstablished = False
        self.heard: bytes | None = None
        self._isWebSocket = isWebSocket
        self._isUpgraded = not isWebSocket
        self._data = self._text = b""
        self._code: int | None = None
        self._timer: Any = None

    def connectionMade(self) -> None:
        self._timer = reactor.callLater(SILENCE, self._give)
        if self._isWebSocket:
            self.transport.write(UPGRADE)
        else:
            self._authenticate()

    def _give(self) -> None:
        self._code = 0
        self.transport.abortConnection()

    def _authenticate(self) -> None:
        params = {"token": self.client.pair.token, "nonce": self.client.pair.nonce}
        if self.client.uuid:
            params |= {"uuid": self.client.uuid, "name": "walker"}
        request = {"id": 1, "method": "Authentication.Authenticate", "params": params}
        self._say(json.dumps(request).encode() + b"\n")

    def _say(self, data: bytes) -> None:
        self.transport.write(frame(TEXT, data) if self._isWebSocket else data)

    def dataReceived(self, data: bytes) -> None:
        self._timer.reset(SILENCE)
        if self._isWebSocket:
            self._data += data
            for text in self._messages():
                self._received(text)
        else:
            self._received(data)

    def _messages(self) -> Iterator[bytes]:
        if not self._isUpgraded:
            _head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            self._isUpgraded, self._data = True, rest
            self._authenticate()
        while len(self._data) >= 2:
            size, start = self._data[1], 2
            if size == 126:
                size, start = int.from_bytes(self._data[2:4], "big"), 4
            if len(self._data) < start + size:
                return
            opcode, payload = self._data[0] & 15, self._data[start : start + size]
            self._data = self._data[start + size :]
            if opcode in (TEXT, BINARY):
                yield payload
            elif opcode == PING:
                self.transport.write(frame(PONG, payload))
            elif opcode == CLOSE:
                self._code = int.from_bytes(payload[:2], "big")
                self.transport.write(frame(CLOSE, payload[:2]))
                self.transport.loseConnection()

    def _received(self, text: bytes) -> None:
        *lines, self._text = (self._text + text).split(b"\n")
        for line in lines:
            if self.isEstablished:
                self.client.hears(self, line + b"\n")
            elif b"Tunnel.Established" in line or b"TunnelEstablished" in line:
                self.isEstablished = True
                self._say(self.said)

    def close(self) -> None:
        """Everything is said."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._timer.cancel()
        when = "in a tunnel" if self.isEstablished else "waiting"
        if self.place.life != self.life:
            why = "its member was killed"
        elif self._code is not None:
            why = f"code {self._code}" if self._code else "silence"
        elif reason.check(ConnectionDone):
            why = "end"
        else:
            why = "reset"
        self.client.ended(f"{when}: {why}")


class Connecting(ClientFactory):
    """Connects once."""

    noisy = False

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def buildProtocol(self, addr: object) -> Attempt:
        return self._attempt

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        reason.trap(ConnectError)
        self._attempt.client.ended("not connected")


class Client:
    """One of two, with all its connections."""

    def __init__(self, pair: Pair, side: int) -> None:
        self.pair = pair
        self.side = side
        self.attempts = 0
        self.uuid = anyUuid() if pair.hasUuids else ""
        self.attempt: Attempt | None = None

    def come(self) -> None:
        """Connect to any member."""
        if self.pair.isOver:
            return
        self.attempts += 1
        place = self.pair.choice.choice(self.pair.places)
        scheme = self.pair.choice.choice(["ws", "tcp"])
        self.attempt = Attempt(self, place, scheme == "ws")
        port = place.ports[scheme]
        reactor.connectTCP("127.0.0.1", port, Connecting(self.attempt), timeout=5)

    def ended(self, why: str) -> None:
        """Its connection is over."""
        self.attempt = None
        if not self.pair.isOver:
            self.pair.reasons[why] += 1
            reactor.callLater(self.pair.choice.uniform(0.05, 0.5), self.come)

    def hears(self, attempt: Attempt, line: bytes) -> None:
        """Something came by the tunnel."""
        attempt.heard = line
        if line.split()[:1] != [self.pair.nonce.encode()]:
            self.pair.reasons["A STRANGER'S BYTES"] += 1
        self.pair.look()


class Pair:
    """Two clients with one key.

    :ivar over: fires when they have met, or should have.
    """

    def __init__(self, token: str, nonce: str, places: list[Place], choice: random.Random) -> None:
        self.token = token
        self.nonce = nonce
        self.places = places
        self.choice = choice
        self.hasUuids = choice.random() < 0.5
        self.isOver = self.hasMet = False
        self.reasons: Counter[str] = Counter()
        self.over: Deferred[None] = Deferred()
        self.clients = Client(self, 0), Client(self, 1)
        self._began = reactor.seconds()
        self._timer = reactor.callLater(PAIR_LIMIT, self._end)
        self.clients[0].come()
        reactor.callLater(choice.choice([0, 0, 0.02, 0.3]), self.clients[1].come)

    def look(self) -> None:
        """Look whether they have met."""
        one, two = (client.attempt for client in self.clients)
        if one and two and one.heard == two.said and two.heard == one.said:
            self.hasMet = True
            self._timer.cancel()
            self._end()

    def _end(self) -> None:
        if self.isOver:
            return
        self.isOver = True
        self.seconds = reactor.seconds() - self._began
        for client in self.clients:
            if client.attempt is not None and client.attempt.connected:
                client.attempt.close()
        self.over.callback(None)


class Outing:
    """Many pairs.

    :ivar reasons: how connections ended before their pairs had met.
    :ivar unmet: the nonces of pairs that did not.
    :ivar times: seconds that the others took, sorted.
    """

    def __init__(self, token: str, places: list[Place], seed: int) -> None:
        self.reasons: Counter[str] = Counter()
        self.unmet: list[str] = []
        self.times: list[float] = []
        self.atOnce = 0
        self._token = token
        self._places = places
        self._choice = random.Random(seed)

    @inlineCallbacks
    def walk(self, count: int, atOnce: int = AT_ONCE) -> Any:
        """Have so many pairs come; fires when all have met or should have."""
        cooperator = Cooperator()
        work = self._pairs(count)
        yield gatherResults([cooperator.coiterate(work) for _ in range(atOnce)])
        self.times.sort()

    def _pairs(self, count: int) -> Iterator[Deferred[None]]:
        for number in range(count):
            nonce = f"{number}-{self._choice.getrandbits(64):x}"
            pair = Pair(self._token, nonce, self._places, self._choice)
            yield pair.over.addCallback(self._ended, pair)

    def _ended(self, _none: None, pair: Pair) -> None:
        self.reasons += pair.reasons
        if pair.hasMet:
            self.times.append(pair.seconds)
            self.atOnce += not pair.reasons
        else:
            self.unmet.append(pair.nonce)

    def report(self) -> str:
        """Return figures."""
        count = len(self.times)
        parts = {f"{part * 100:g} %": self.times[int(part * count)] for part in (0.5, 0.99, 0.999)}
        times = ", ".join(f"{name} in {seconds:.2f} s" for name, seconds in parts.items())
        reasons = "".join(f"\n  {many:6d} {why}" for why, many in self.reasons.most_common())
        return (
            f"{count} pairs have met, {self.atOnce} of them at the first attempt, "
            f"{len(self.unmet)} have not; {times}, all in {self.times[-1]:.2f} s.\n"
            f"Connections that ended before:{reasons or ' none'}"
        )


class Trouble:
    """Has one thing after another fail, in a thread.

    :param faults: what can be done; each returns what it was.
    :ivar done: what was done, and how often.
    """

    def __init__(self, faults: list[Callable[[], str]], seed: int, pause: float = 1.0) -> None:
        self.done: Counter[str] = Counter()
        self._faults = faults
        self._choice = random.Random(seed)
        self._pause = pause
        self._isOver = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.problem: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._isOver.wait(self._choice.uniform(0.5, 1.5) * self._pause):
                self.done[self._choice.choice(self._faults)()] += 1
        except BaseException as problem:
            self.problem = problem

    def stop(self) -> None:
        """End it, when all is in order again."""
        self._isOver.set()
        self._thread.join()
        if self.problem is not None:
            raise self.problem


def main() -> None:
    """Run the test with as many pairs as the command line says."""
    from twisted.trial.unittest import TestSuite

    from tests.endtoend.test_pairs import PairTests

    PairTests.count = int(sys.argv[1])
    PairTests.timeout = 24 * 3600
    began = time.monotonic()
    from twisted.trial.reporter import TreeReporter
    from twisted.trial.runner import TrialRunner

    suite = TestSuite([PairTests("testFaults")])
    result = TrialRunner(TreeReporter, workingDirectory="_trial_temp_pairs").run(suite)
    print(f"{PairTests.report}\n{time.monotonic() - began:.0f} s")
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
