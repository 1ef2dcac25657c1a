"""A small tunnel proxy that knows nothing of the server, and a service behind it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.endpoints import ClientEndpoint, ServerEndpoint
from nymearemoteproxy.protocol.packets import PROXY
from nymearemoteproxy.protocol.slip import PacketReader, encode
from tests.support.proxies import Certificate, Fake, line

reactor: Any = globalReactor

SERVER = "{00000000-0000-0000-0000-00000000000d}"


def answer(name: str, requestId: int = 1, **params: object) -> bytes:
    error = {"tunnelProxyError": f"TunnelProxyError{name}"}
    return line({"id": requestId, "status": "success", "params": error | params})


class TunnelProxy(Fake):
    """A small tunnel proxy without any care for slow clients.

    :ivar calls: what servers have called, besides Ping.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.calls: list[str] = []
        self.script = self.register
        self.payload = self.relay
        self._servers: dict[str, Any] = {}
        self._registering: list[Deferred[None]] = []
        self._addresses = 0

    def registered(self) -> Deferred[None]:
        """Fires when the next server has registered."""
        deferred: Deferred[None] = Deferred()
        self._registering.append(deferred)
        return deferred

    def register(self, peer: Any) -> None:
        params = self.requests[-1]["params"]
        uuid = params["serverUuid"]
        peer.clients = {}
        peer.server = None
        if "serverName" in params:
            peer.reader = PacketReader(0)
            self._servers[uuid] = peer
            peer.uuid = uuid
            peer.send(answer("NoError", self.requests[-1]["id"], slipEnabled=True))
            registering, self._registering = self._registering, []
            for deferred in registering:
                deferred.callback(None)
        elif uuid in self._servers:
            self._addresses += 1
            peer.server, peer.address = self._servers[uuid], self._addresses
            peer.server.clients[peer.address] = peer
            self._notify(
                peer.server,
                "ClientConnected",
                clientName=params["clientName"],
                clientUuid=params["clientUuid"],
                clientPeerAddress="127.0.0.1",
                socketAddress=peer.address,
            )
            peer.send(answer("NoError"))
        else:
            peer.send(answer("ServerNotFound"))
            peer.close()

    def relay(self, peer: Any, data: bytes) -> None:
        if peer.server is not None:
            peer.server.send(encode(peer.address, data))
            return
        for address, payload in peer.reader.receive(data):
            if address == PROXY:
                call = json.loads(payload)
                self._called(peer, call["id"], call["method"], call["params"])
            elif address in peer.clients:
                peer.clients[address].send(payload)

    def gone(self, peer: Any) -> None:
        super().gone(peer)
        server = getattr(peer, "server", None)
        if server is not None and server.clients.pop(peer.address, None):
            self._notify(server, "ClientDisconnected", socketAddress=peer.address)
        if getattr(peer, "uuid", None) in self._servers:
            del self._servers[peer.uuid]
            for client in list(peer.clients.values()):
                client.close()

    def _called(self, peer: Any, requestId: int, method: str, params: dict[str, Any]) -> None:
        if method != "TunnelProxy.Ping":
            self.calls.append(method)
            params = {"tunnelProxyError": "TunnelProxyErrorNoError"} | params
            peer.clients[params.pop("socketAddress")].close()
        response = {"id": requestId, "status": "success", "params": params}
        peer.send(encode(PROXY, line(response)))

    @staticmethod
    def _notify(peer: Any, name: str, **params: Any) -> None:
        message = {"id": 0, "notification": f"TunnelProxy.{name}", "params": params}
        peer.send(encode(PROXY, line(message)))


class Hasher(Protocol):
    """A service: says the hash of a whole message, whose size comes first, and closes."""

    transport: Any

    def __init__(self) -> None:
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        size = int.from_bytes(self._data[:4], "big")
        if len(self._data) >= 4 + size:
            self.transport.write(hashlib.sha256(self._data[4:]).digest() + self._data[4:])
            self.transport.loseConnection()


class ProxyMixin:
    """A fake proxy; subclasses say what kind."""

    scheme: str
    certificate: Certificate | None = None
    tls: TlsOptions | None = None
    assertEqual: Any
    assertTrue: Any
    assertFalse: Any
    assertIn: Any
    assertIs: Any
    assertIsNone: Any
    assertFailure: Any
    addCleanup: Any
    patch: Any

    def setUp(self) -> None:
        if self.scheme in ("wss", "tls"):
            self.certificate = Certificate()
            self.tls = TlsOptions(ca=self.certificate.pem)
        self.proxy = self.makeProxy()
        self.url = self.proxy.url

    def makeProxy(self, port: int = 0) -> TunnelProxy:
        return TunnelProxy(self, self.scheme, self.certificate, port)

    def clientEndpoint(self, **arguments: Any) -> ClientEndpoint:
        return ClientEndpoint(reactor, self.url, SERVER, tls=self.tls, **arguments)

    def serverEndpoint(self, **arguments: Any) -> ServerEndpoint:
        return ServerEndpoint(reactor, self.url, SERVER, tls=self.tls, **arguments)

    def listen(self, factory: Any) -> int:
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number
