"""Tells twistd about ``twistd nymea-remoteproxy``."""

from twisted.application.service import ServiceMaker

nymeaRemoteproxy = ServiceMaker(
    "nymea-remoteproxy",
    "nymearemoteproxy.running.twistd",
    "Joins two clients that show the same token, and relays what they send.",
    "nymea-remoteproxy",
)
