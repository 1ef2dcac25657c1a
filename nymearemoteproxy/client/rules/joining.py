"""The control phase of a token tunnel.

Owns what to send, what the answers mean, and that no text repeats a secret. Knows nothing of
transports.
"""

from __future__ import annotations

from typing import Any

from nymearemoteproxy.client.rules.controlphase import MIN_SECRET_LENGTH, ControlPhase, Partner
from nymearemoteproxy.client.rules.errors import TunnelError, oneLine
from nymearemoteproxy.client.rules.messages import paramsOf

_NO_ERROR = "AuthenticationErrorNoError"


class Joining(ControlPhase):
    """The way to a partner who gave the same token and nonce."""

    def __init__(self, token: str, nonce: str | None, name: str, uuid: str) -> None:
        self._secrets = [s for s in (token, nonce) if s and len(s) >= MIN_SECRET_LENGTH]
        params = {"uuid": uuid, "name": name, "token": token}
        if nonce is not None:
            params["nonce"] = nonce
        super().__init__("Authentication.Authenticate", params)

    def redacted(self, text: object) -> str:
        """Return a server's `text` as one safe line that repeats neither token nor nonce."""
        plain = str(text)
        for secret in self._secrets:
            plain = plain.replace(secret, "…")
        return oneLine(plain)

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
