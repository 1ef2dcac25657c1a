"""What the parent hands down to its workers, so that each does what the others do.

Owns how that is written, and what one that starts later has to be told. Knows nothing of how it
gets there. It holds tokens and keys: nothing of it may be logged, nor be an argument of a process.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from nymearemoteproxy.common.files import FilesOfAnother, Outcomes
from nymearemoteproxy.running.configuration.parts import Inherited
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.workers.channel import Message

BEGIN = "begin"
"""Message to a worker: what it is."""
RELOAD = "reload"
"""Message to a worker: what the files hold now."""
SERVE = "serve"
"""Message to a worker: it knows all that the others know."""

MOST_RELOADS = 8
"""Those of which something is left are handed down, and only the last of them. A reload that found
no mistake leaves nothing of the earlier ones."""

SECRET_SIZE = 32
"""Bytes of what the keys under which clients meet are made with."""

_ENCODING = "latin-1"
"""Every byte a character of JSON, most of them one byte again."""


def _encode(outcomes: Outcomes) -> dict[str, Any]:
    return {
        path: outcome.decode(_ENCODING)
        if isinstance(outcome, bytes)
        else [outcome.errno, outcome.strerror]
        for path, outcome in outcomes.items()
    }


def readFiles(encoded: dict[str, Any]) -> FilesOfAnother:
    """Return the files that a message holds."""
    return FilesOfAnother(
        {
            path: outcome.encode(_ENCODING) if isinstance(outcome, str) else OSError(*outcome, path)
            for path, outcome in encoded.items()
        }
    )


class Heritage:
    """What is handed down.

    :param options: of this process, with what they amounted to at the start.
    :param directory: for the sockets of links between workers.
    :param tableSecret: with which places are named.
    :param linksAt: host and port where links of other machines come in, if there are any.
    """

    def __init__(
        self,
        options: ServerOptions,
        directory: str,
        tableSecret: bytes,
        linksAt: tuple[str, int] | None,
    ) -> None:
        self._options = options
        self._begin = {
            "directory": directory,
            "linksAt": linksAt,
            "tableSecret": tableSecret.hex(),
            "keySecret": secrets.token_hex(SECRET_SIZE),
            "arguments": options.arguments,
            "token": options.configuration.generatedToken,
            "isOfService": options.isOfService,
            "files": _encode(options.outcomes),
        }
        self._reloads: list[Message] = []

    def messages(self, index: int) -> Sequence[Message]:
        """Return what a new worker is told first.

        :param index: which of the workers it is.
        """
        return [[BEGIN, index, self._begin], *self._reloads, [SERVE]]

    def reloaded(self, hasProblems: bool) -> Message:
        """The files were read anew: return what workers are told that are there already.

        :param hasProblems: some of them are broken, so that something stayed as it was.
        """
        message: Message = [RELOAD, _encode(self._options.outcomes)]
        if not hasProblems:
            self._reloads.clear()
        if message not in self._reloads[-1:]:
            self._reloads.append(message)
            del self._reloads[:-MOST_RELOADS]
        return message


def inherit(begin: dict[str, Any]) -> ServerOptions:
    """Return the options of the parent, in a worker.

    :raises SystemExit: there is a mistake in them by now; the text is one line.
    """
    options = ServerOptions(
        readFiles(begin["files"]).read, Inherited(begin["token"], begin["isOfService"])
    )
    options.parseOptions(begin["arguments"])
    return options
