"""The control phase of a token tunnel.

Owns what to send, and what the answers mean. Knows nothing of transports.
"""

from __future__ import annotations

from typing import Any

from nymearemoteproxy.client.rules.controlphase import ControlPhase, Partner
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.messages import paramsOf

_NO_ERROR = "AuthenticationErrorNoError"


class Joining(ControlPhase):
    """The way to a partner who gave the same token and nonce."""

    def __init__(self, token: str, nonce: str | None, name: str, uuid: str) -> None:
        params = {"uuid": uuid, "name": name, "token": token}
        if nonce is not None:
            params["nonce"] = nonce
        super().__init__("Authentication.Authenticate", params, (token, nonce))

    def _handle(self, message: dict[str, Any]) -> None:
        params = paramsOf(message)
        if "notification" in message:
            if message["notification"] == "RemoteProxy.TunnelEstablished":
                if not self.waiting:
                    raise self.stranger("it announced a tunnel before it answered")
                name, uuid = str(params.get("name", "")), str(params.get("uuid", ""))
                self.partner = Partner(name, uuid)
        elif "status" not in message:
            raise self.stranger("its answer has no status")
        elif message["status"] == "success" and params.get("authenticationError") == _NO_ERROR:
            self.waiting = True
        else:
            reason = message.get("error") or params.get("authenticationError") or "no reason given"
            raise TunnelError(f"refused by the server: {self.redacted(reason)}")
