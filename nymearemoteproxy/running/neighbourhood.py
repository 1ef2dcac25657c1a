"""Makes a worker a member of its group: all workers are one meeting place.

Owns what is known within a group beforehand: the directory is the parent, and links are Unix
sockets in one place. Knows nothing of what members say to each other.
"""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet.defer import inlineCallbacks

from nymearemoteproxy.cluster.accepting import LinkFactory, listenLocally
from nymearemoteproxy.cluster.directory import MEMBER_SIZE, Member, unheeded
from nymearemoteproxy.cluster.figures import Figures, figuresOf
from nymearemoteproxy.cluster.linking import Linker, unixAddress
from nymearemoteproxy.cluster.membership import Membership
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.listening.listeners import close
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.workers.parentdirectory import ParentDirectory
from nymearemoteproxy.workers.questions import Questions


class Neighbourhood:
    """The membership of one worker.

    :param proxy: becomes a member's.
    :param questions: to the parent.
    :param secret: with which places are named.
    :param directory: for sockets.
    :param name: of this member, for people.
    :ivar id: this member's.
    :raises LinkError: there cannot be one.
    """

    def __init__(
        self,
        reactor: Any,
        proxy: Proxy,
        questions: Questions,
        secret: bytes,
        directory: str,
        name: str,
    ) -> None:
        self.id = id = secrets.token_bytes(MEMBER_SIZE)
        self._door = LinkFactory(reactor, lambda peer: self.membership.answerer(peer))
        path, self._port = listenLocally(reactor, directory, id, self._door)
        me = Member(id, unixAddress(path), VERSION, name)
        self.directory = ParentDirectory(questions, me, secret)
        self.membership = Membership(proxy, self.directory, Linker(reactor, turns=proxy.turns), id)

    def figures(self) -> Figures:
        """Return what goes on."""
        return figuresOf(self.membership, self.directory, [self._door])

    def start(self) -> None:
        """Join the others; a parent that is slow to answer hears of it all the same."""
        unheeded(self.directory.start())
        self.membership.start()

    @inlineCallbacks
    def stop(self) -> Any:
        """Leave them, when all clients are gone."""
        self.membership.stop()
        yield close(self._port)
