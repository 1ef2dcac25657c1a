"""The control phase of the tunnel proxy: registering as a server, or as a client of one.

Owns what to send, and what the answers mean. Knows nothing of transports, nor of what follows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nymearemoteproxy.client.rules.calling import PAUSE_CLIENT, RESUME_CLIENT
from nymearemoteproxy.client.rules.controlphase import ControlPhase, Partner
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.messages import REQUEST_ID, call, paramsOf

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

_FAILED = "AuthenticationErrorAuthenticationFailed"

# The same where the token is the reason.
_UNPROVEN = {
    _FAILED: ("the proxy does not accept the token", False),
    "AuthenticationErrorTimeout": ("the proxy cannot have tokens checked now", True),
    "AuthenticationErrorProxyError": ("the proxy cannot have tokens checked now", True),
}


Methods = Mapping[str, Collection[str]]
"""The names of each method's params."""


class _Registering(ControlPhase):
    """What both kinds of registration have in common: nobody is waited for, the answer decides.

    What the proxy takes besides is asked for first, if there is anything to be given: one that does
    not know a param takes the call for an error.

    :param wanted: params to be given to a proxy that takes them.
    """

    def __init__(self, method: str, params: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        secrets = (wanted.get("token"),)
        if wanted:
            super().__init__("RemoteProxy.Introspect", {}, secrets)
        else:
            super().__init__(method, params)
        self._method = method
        self._params = params
        self._wanted = wanted
        self._isAsking = bool(wanted)
        self._requestId = REQUEST_ID + 1 if wanted else REQUEST_ID  # of the registration

    def _handle(self, message: dict[str, Any]) -> None:
        params = paramsOf(message)
        if "notification" in message:
            return
        status = message.get("status")
        if self._isAsking and status in ("success", "error"):
            self._isAsking = False
            self._register(_methodsOf(params))
        elif status == "success":
            if params.get("tunnelProxyError") != _NO_ERROR:
                raise self._refusal(params)
            self._accepted(params)
        elif status == "error":
            raise self._error(message)
        else:
            raise self.stranger("its answer has no status")

    def _register(self, methods: Methods) -> None:
        taken = methods.get(self._method, ())
        given = {name: value for name, value in self._wanted.items() if name in taken}
        self.further = call(self._requestId, self._method, {**self._params, **given})

    def _accepted(self, params: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _refusal(self, params: Mapping[str, Any]) -> TunnelError:
        told, why = params.get("tunnelProxyError"), params.get("authenticationError")
        if not isinstance(told, str):
            return self.stranger("it answered to another question")
        words, isTransient = _REFUSALS.get(told, (told, False))
        if isinstance(why, str):
            words, isTransient = _UNPROVEN.get(why, (why, False))
            if why == _FAILED and "token" not in self._wanted:
                words = "the proxy wants a token"
        return TunnelError(f"refused by the proxy: {self.redacted(words)}", isTransient)

    def _error(self, message: Mapping[str, Any]) -> TunnelError:
        text = str(message.get("error") or "no reason given")
        isOurs = message.get("id") == self._requestId
        # Proxies say it in different words: "Unknown namespace.", "No such namespace".
        if isOurs and "namespace" in text.lower():
            return TunnelError("the tunnel proxy is not switched on there")
        # An error without our id is not about our request, but about the proxy's own state.
        return TunnelError(f"refused by the proxy: {self.redacted(text)}", not isOurs)


class RegisteringServer(_Registering):
    """The way to be found by clients; then the connection carries packets.

    The partner is the proxy itself, which has neither name nor uuid. It is asked for packets with
    their length in front; one that does not know them takes and sends SLIP.

    :param token: what the proxy lets us in for, if it wants one.
    :param front: whether visitors may come by its front door; None: as its names say.
    :ivar isWithoutFront: visitors are welcome, and the proxy knows of none.
    """

    def __init__(
        self, name: str, uuid: str, token: str | None = None, front: bool | None = None
    ) -> None:
        params = {"serverName": name, "serverUuid": uuid}
        wanted = {"flowControl": True, "lengthPrefixed": True, **_shown(token)}
        if front is not None:
            wanted["front"] = front
        super().__init__("TunnelProxy.RegisterServer", params, wanted)
        self.isWithoutFront = False
        self._pausesClients = False

    def _register(self, methods: Methods) -> None:
        super()._register(methods)
        taken = methods.get(self._method, ())
        self.isWithoutFront = bool(self._wanted.get("front")) and "front" not in taken
        self._pausesClients = PAUSE_CLIENT in methods and RESUME_CLIENT in methods

    def _accepted(self, params: Mapping[str, Any]) -> None:
        isLengthPrefixed = params.get("lengthPrefixed") is True
        if not isLengthPrefixed and params.get("slipEnabled") is not True:
            raise self.stranger("it registered the server, but without SLIP")
        self.partner = Partner("", "", isLengthPrefixed, self._pausesClients)


def _shown(token: str | None) -> Mapping[str, str]:
    return {} if token is None else {"token": token}


def _methodsOf(introspection: Mapping[str, Any]) -> Methods:
    """Return which methods a proxy has, and which params these take."""
    return {
        name: {param.removeprefix("o:") for param in _part(declaration, "params")}
        for name, declaration in _part(introspection, "methods").items()
    }


def _part(of: Any, key: str) -> Mapping[str, Any]:
    """Return an object in an object; an empty one if either is none."""
    part = of.get(key) if isinstance(of, dict) else None
    return part if isinstance(part, dict) else {}


class RegisteringClient(_Registering):
    """The way to a registered server.

    :param token: what the proxy lets us in for, if it wants one.
    """

    def __init__(self, name: str, uuid: str, serverUuid: str, token: str | None = None) -> None:
        params = {"clientName": name, "clientUuid": uuid, "serverUuid": serverUuid}
        super().__init__("TunnelProxy.RegisterClient", params, _shown(token))
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
