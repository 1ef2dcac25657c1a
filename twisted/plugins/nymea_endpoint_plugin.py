"""Tells ``clientFromString`` about ``nymea:`` endpoints."""

from nymearemoteproxy.client.endpointstrings import TunnelParser

nymeaTunnel = TunnelParser()
