"""A relay as one writes it with Autobahn: every message is received whole and sent again.

The peer that nymea-remoteproxy is compared with over WebSocket. Speaks just enough of API 0.3.
``python -m benchmarks.stock CERTIFICATE`` listens on two free ports and prints where.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

waiting: dict[tuple[str, str], Relay] = {}


class Relay(WebSocketServerProtocol):
    partner: Relay | None = None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.partner is not None:
            self.partner.sendMessage(payload, isBinary)
            return
        request = json.loads(payload)
        self.params: dict[str, str] = request["params"]
        self.say(
            {
                "id": request["id"],
                "status": "success",
                "params": {"authenticationError": "AuthenticationErrorNoError"},
            },
            isBinary,
        )
        self.key = self.params["token"], self.params.get("nonce", "")
        other = waiting.pop(self.key, None)
        if other is None:
            waiting[self.key] = self
            return
        self.partner, other.partner = other, self
        for one, partner in ((self, other), (other, self)):
            shown = {name: partner.params[name] for name in ("name", "uuid")}
            notification = {"id": 0, "notification": "RemoteProxy.TunnelEstablished"}
            one.say({**notification, "params": shown}, isBinary)

    def say(self, message: dict[str, Any], isBinary: bool) -> None:
        self.sendMessage(json.dumps(message).encode() + b"\n", isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.partner is not None:
            self.partner.sendClose(self.CLOSE_STATUS_CODE_NORMAL)


def main() -> None:
    factory = WebSocketServerFactory()
    factory.protocol = Relay
    quoted = sys.argv[1].replace(":", r"\:")
    listening = {
        "ws": "tcp:0:interface=127.0.0.1:backlog=1024",
        "wss": f"ssl:0:interface=127.0.0.1:backlog=1024:privateKey={quoted}:certKey={quoted}",
    }
    for scheme, description in listening.items():
        serverFromString(reactor, description).listen(factory).addCallback(
            lambda port, scheme=scheme: print(
                f"listening on {scheme}://127.0.0.1:{port.getHost().port}", flush=True
            )
        )
    reactor.run()


if __name__ == "__main__":
    main()
