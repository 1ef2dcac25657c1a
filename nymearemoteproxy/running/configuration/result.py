"""What comes out: all that the server is to do.

Owns what is decided before the parts are made. Knows nothing of how it was worked out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from nymearemoteproxy.accounting.bookkeeping import Books
from nymearemoteproxy.authentication.keysets import KeySet
from nymearemoteproxy.authentication.webtokens import Demands
from nymearemoteproxy.common.certificates import CertificateFiles
from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.connections.accounts import AccountBounds
from nymearemoteproxy.connections.denylist import DenyList
from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.protocol.frontnames import FrontNames
from nymearemoteproxy.running.configuration.clusterplan import ClusterPlan
from nymearemoteproxy.running.settings.values import Settings
from nymearemoteproxy.tunnelproxy.switchboard import Terms


@dataclass(frozen=True)
class WebTokens:
    """How JSON Web Tokens are judged.

    :ivar url: where the keys are fetched; "" = they are given.
    :ivar keys: those that are given.
    """

    demands: Demands
    url: str
    keys: KeySet | None


Certificates = Mapping[CertificateFiles | None, ServerContexts]
"""What each secure listener speaks TLS with, by its `Listener.files`."""


@dataclass(frozen=True)
class Configuration:
    """What the server is to do.

    :ivar tunnelLimits: of each tunnel.
    :ivar accountBounds: of each account.
    :ivar denied: addresses whose clients are not let in.
    :ivar acceptedTokens: that this server knows by itself; None = it knows none, and asks.
    :ivar webTokens: how JSON Web Tokens are judged; None = not at all.
    :ivar terms: of the tunnel proxy; None while it is switched off.
    :ivar allowedServers: which may register with it; None = any.
    :ivar names: by which visitors ask for homes at the front door.
    :ivar credentials: client id and secret for the authentication server.
    :ivar admin: where the admin pages are served; None = nowhere.
    :ivar adminUsers: who may see them, with passwords; None = everybody who can connect.
    :ivar books: what is to be written down.
    :ivar cluster: how to be a member of one; None = not at all.
    :ivar generatedToken: the one token that was made because none was given; to be shown.
    :ivar fingerprint: of the certificate that was made because none was given.
    :ivar logFile: where the log goes, too; None = nowhere.
    :ivar verbosity: 1 = log more, 2 = also the sizes of what is relayed.
    :ivar inBackground: nobody looks at the terminal.
    :ivar workers: how many processes serve; 1 = this one.
    :ivar warnings: what the operator should know, one line each.
    """

    settings: Settings
    listeners: Sequence[Listener]
    certificates: Certificates
    timing: Timing
    bounds: Bounds
    tunnelLimits: TunnelLimits
    accountBounds: AccountBounds
    denied: DenyList
    acceptedTokens: Sequence[str] | None = field(repr=False)
    webTokens: WebTokens | None
    terms: Terms | None
    allowedServers: frozenset[UUID] | None
    names: FrontNames
    credentials: tuple[str, str] | None = field(repr=False)
    admin: Listener | None
    adminUsers: Mapping[str, str] | None = field(repr=False)
    books: Books
    cluster: ClusterPlan | None
    acceptAnyToken: bool
    generatedToken: str | None = field(repr=False)
    fingerprint: str | None
    logFile: str | None
    verbosity: int
    inBackground: bool
    workers: int
    warnings: Sequence[str]
