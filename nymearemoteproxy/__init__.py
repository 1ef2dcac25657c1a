"""nymea-remoteproxy: a rendezvous proxy that joins two clients behind NAT.

Two connections authenticate with a token, the proxy pairs them, says so once,
and from then on relays their bytes.
"""

__version__ = "2.0.0"
