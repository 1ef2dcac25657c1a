"""The calls of a registered server: what arrives at address 0, and what is answered.

Owns every decision about such a call. Knows no reactor, clock or socket, and not who is connected:
it returns effects, as a session does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nymearemoteproxy.protocol.jsonrpc import (
    Api,
    MessageError,
    MessageSplitter,
    Method,
    Request,
    encode,
    failure,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ABOUT_CLIENTS,
    REGISTER_CLIENT,
    REGISTER_SERVER,
    TunnelProxyError,
    answer,
)
from nymearemoteproxy.protocol.session import AUTHENTICATE, Close, Send, answerQuestion

NOT_HERE = "A registered server cannot call this."


@dataclass(frozen=True)
class ForClient:
    """Effect: do something for a client, and answer with one of two messages.

    :ivar method: what to do, one of `ABOUT_CLIENTS`.
    :ivar done: what to answer when there is such a client.
    :ivar unknown: what to answer otherwise.
    """

    method: Method
    address: int
    done: bytes
    unknown: bytes


DialogueEffects = list[Send | ForClient | Close]


class Dialogue:
    """One registered server's calls.

    :param hello: the params of the answer to Hello.
    :param messageLimit: bytes of one message; 0 = no limit.
    """

    __slots__ = ("_api", "_closed", "_hello", "_splitter")

    def __init__(self, api: Api, hello: Mapping[str, str], messageLimit: int) -> None:
        self._api = api
        self._hello = hello
        self._splitter = MessageSplitter(messageLimit)
        self._closed = False

    @property
    def pending(self) -> int:
        """How many bytes are held that were not taken as calls."""
        return self._splitter.pending

    def feed(self, data: bytes) -> None:
        """Add what arrived at address 0, however it is cut; `take` then tells what it asks for."""
        self._splitter.feed(data)

    def take(self) -> DialogueEffects:
        """Return what the next call asks for, in order; nothing when there is no whole call.

        After `Close` there is none.
        """
        if self._closed:
            return []
        try:
            message = self._splitter.take()
            return [] if message is None else self._answer(self._api.parse(message))
        except MessageError as error:
            self._closed = True
            return [Send(encode(failure(error.requestId, error.text))), Close(error.outcome)]

    def _answer(self, request: Request) -> DialogueEffects:
        method = request.method
        if method in ABOUT_CLIENTS:
            done = answer(request, TunnelProxyError.NO_ERROR)
            unknown = answer(request, TunnelProxyError.UNKNOWN_SOCKET_ADDRESS)
            return [ForClient(method, request.params["socketAddress"], done, unknown)]
        if method is REGISTER_SERVER or method is REGISTER_CLIENT:
            self._closed = True
            refusal = answer(request, TunnelProxyError.ALREADY_REGISTERED)
            return [Send(refusal), Close(Outcome.ALREADY_REGISTERED)]
        if method is AUTHENTICATE:
            raise MessageError(request.id, NOT_HERE, Outcome.FORBIDDEN_CALL)
        return [answerQuestion(request, self._api, self._hello)]
