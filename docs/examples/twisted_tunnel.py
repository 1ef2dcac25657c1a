"""Says hello through a tunnel: ``python3 twisted_tunnel.py ENDPOINT``."""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import react


class Greeter(Protocol):
    """The tunnel is a transport like any other."""

    def connectionMade(self):
        self.ended = Deferred()
        self.transport.write(b"hello from Twisted\n")

    def dataReceived(self, data):
        print("received:", data.decode().rstrip())
        self.transport.loseConnection()

    def connectionLost(self, reason):
        self.ended.callback(None)


async def main(reactor, endpoint):
    """Connect, which takes until the partner is there, and talk."""
    greeter = await connectProtocol(clientFromString(reactor, endpoint), Greeter())
    await greeter.ended


react(lambda reactor, endpoint: Deferred.fromCoroutine(main(reactor, endpoint)), sys.argv[1:])
