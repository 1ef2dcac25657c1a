"""What programs ask for by the monitor socket.

Owns the form of requests and of what actions are answered with. Knows nothing of who may ask, nor
of what is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.protocol.jsonrpc import UNKNOWN_ID, MessageError, decodeObject, encode
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.watching.actions import Action

ACTIONS: Mapping[str, Action] = {
    "endConnection": Action.END_CONNECTION,
    "endTunnel": Action.END_TUNNEL,
    "reload": Action.RELOAD,
    "drain": Action.DRAIN,
}
"""By the methods that ask for them."""

ABOUT_ONE = (Action.END_CONNECTION, Action.END_TUNNEL)
"""Those that have an id."""

LONGEST_ID = 18
"""Digits of the number of a connection."""

KNOWN = (
    'the requests are {"method":"refresh","params":{"printAll":bool}}, '
    '{"method":"endConnection","params":{"id":"17"}}, the same with endTunnel, '
    '{"method":"reload"} and {"method":"drain"}'
)


@dataclass(frozen=True)
class Refresh:
    """Somebody wants to know what goes on.

    :ivar printAll: of servers without clients, too.
    """

    printAll: bool = False


@dataclass(frozen=True)
class ActionRequest:
    """Somebody wants something done.

    :ivar number: of the connection that it is about; 0 if it is about none.
    """

    action: Action
    number: int = 0


def readRequest(message: bytes) -> Refresh | ActionRequest:
    """Return what is asked for.

    :raises MessageError: it is none of the requests.
    """
    request = decodeObject(message)
    method, params = request.get("method"), request.get("params", {})
    if isinstance(method, str) and isinstance(params, dict):
        printAll, id = params.get("printAll", False), params.get("id")
        action = ACTIONS.get(method)
        if method == "refresh" and isinstance(printAll, bool):
            return Refresh(printAll)
        if action in ABOUT_ONE and isinstance(id, str) and _isNumber(id):
            return ActionRequest(action, int(id))
        if action is not None and action not in ABOUT_ONE:
            return ActionRequest(action)
    raise MessageError(UNKNOWN_ID, KNOWN, Outcome.INVALID_REQUEST)


def _isNumber(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_ID


def writeResult(request: ActionRequest, more: Mapping[str, Any]) -> bytes:
    """Return the line for who had something done."""
    result: dict[str, Any] = {"action": request.action.value, **more}
    if request.number:
        result["id"] = str(request.number)
    return encode({"result": result})


def writeError(text: str) -> bytes:
    """Return the line for who cannot have what he asked for."""
    return encode({"error": text})
