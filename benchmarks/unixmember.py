"""The server with ``--cluster``, whose links are Unix sockets: as a worker's, without a parent."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from nymearemoteproxy.cluster.accepting import LinkFactory, listenLocally
from nymearemoteproxy.cluster.directory import Member
from nymearemoteproxy.cluster.linking import unixAddress
from nymearemoteproxy.commands import server
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.running import clustering


class UnixClustering(clustering.Clustering):
    def listen(self) -> None:
        proxy: Any = self.membership._proxy
        factory = LinkFactory(self._reactor, self.membership.answerer, turns=proxy.turns)
        directory = os.path.join(tempfile.gettempdir(), f"links-{os.geteuid()}")
        self._path, self._port = listenLocally(self._reactor, directory, self._id, factory)

    def _describe(self, ownHost: str) -> Member:
        return Member(self._id, unixAddress(self._path), VERSION, self._plan.name)


clustering.Clustering = UnixClustering  # type: ignore[misc]

if __name__ == "__main__":
    server()
