"""Tells ``twistd --reactor`` about the reactor of the server."""

from twisted.application.reactors import Reactor

nymeaReactor = Reactor(
    "nymea",
    "nymearemoteproxy.running.epoll",
    "epoll(7) based reactor, with a main loop for many small messages.",
)
