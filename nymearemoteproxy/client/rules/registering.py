"""The control phase of the tunnel proxy: registering as a server, or as a client of one.

Owns what to send, and what the answers mean. Knows nothing of transports, nor of what follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nymearemoteproxy.client.rules.controlphase import ControlPhase, Partner
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.messages import REQUEST_ID, paramsOf

_NO_UUID = "{00000000-0000-0000-0000-000000000000}"

_NO_ERROR = "TunnelProxyErrorNoError"

# What a refusal means, and whether it may be otherwise the next time. A uuid that is registered
# already may be our own: the proxy notices after a minute that our last connection broke.
_REFUSALS = {
    "TunnelProxyErrorServerNotFound": ("the server is not connected to the proxy", True),
    "TunnelProxyErrorInternalServerError": ("the proxy is in trouble", True),
    "TunnelProxyErrorAlreadyRegistered": ("the uuid is registered already", True),
    "TunnelProxyErrorInvalidUuid": ("the proxy does not accept the uuid", False),
    "TunnelProxyErrorForbiddenCall": ("the proxy does not allow the uuid", False),
}


class _Registering(ControlPhase):
    """What both kinds of registration have in common: nobody is waited for, the answer decides."""

    def _handle(self, message: dict[str, Any]) -> None:
        params = paramsOf(message)
        if "notification" in message:
            return
        status = message.get("status")
        if status == "success":
            told = params.get("tunnelProxyError")
            if told != _NO_ERROR:
                raise self._refusal(told)
            self._accepted(params)
        elif status == "error":
            raise self._error(message)
        else:
            raise self.stranger("its answer has no status")

    def _accepted(self, params: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _refusal(self, told: object) -> TunnelError:
        if not isinstance(told, str):
            return self.stranger("it answered to another question")
        words, isTransient = _REFUSALS.get(told, (told, False))
        return TunnelError(f"refused by the proxy: {self.redacted(words)}", isTransient)

    def _error(self, message: Mapping[str, Any]) -> TunnelError:
        text = str(message.get("error") or "no reason given")
        isOurs = message.get("id") == REQUEST_ID
        # Proxies say it in different words: "Unknown namespace.", "No such namespace".
        if isOurs and "namespace" in text.lower():
            return TunnelError("the tunnel proxy is not switched on there")
        # An error without our id is not about our request, but about the proxy's own state.
        return TunnelError(f"refused by the proxy: {self.redacted(text)}", not isOurs)


class RegisteringServer(_Registering):
    """The way to be found by clients; then the connection carries SLIP.

    The partner is the proxy itself, which has neither name nor uuid.
    """

    def __init__(self, name: str, uuid: str) -> None:
        super().__init__("TunnelProxy.RegisterServer", {"serverName": name, "serverUuid": uuid})

    def _accepted(self, params: Mapping[str, Any]) -> None:
        if params.get("slipEnabled") is not True:
            raise self.stranger("it registered the server, but without SLIP")
        self.partner = Partner("", "")


class RegisteringClient(_Registering):
    """The way to a registered server."""

    def __init__(self, name: str, uuid: str, serverUuid: str) -> None:
        params = {"clientName": name, "clientUuid": uuid, "serverUuid": serverUuid}
        super().__init__("TunnelProxy.RegisterClient", params)
        self._serverUuid = serverUuid

    def _accepted(self, params: Mapping[str, Any]) -> None:
        self.partner = Partner("", self._serverUuid)


class Probe(RegisteringClient):
    """Asks for a server that cannot be, so nobody is disturbed.

    Whatever the answer is, there is a tunnel proxy.
    """

    def __init__(self, name: str, uuid: str) -> None:
        super().__init__(name, uuid, _NO_UUID)

    def _handle(self, message: dict[str, Any]) -> None:
        if isinstance(paramsOf(message).get("tunnelProxyError"), str):
            self.partner = Partner("", "")
        else:
            super()._handle(message)
