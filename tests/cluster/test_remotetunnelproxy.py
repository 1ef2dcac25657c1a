"""Servers and clients of the tunnel proxy that come to two members: the tests of one, again."""

from __future__ import annotations

from tests.support.remote import again
from tests.support.served import Served
from tests.support.servedclusters import LinkedByUnix, ServedInCluster
from tests.tunnelproxy import test_lifetimes, test_pressure, test_registering, test_relaying

for _tests in (test_lifetimes, test_pressure, test_registering, test_relaying):
    again(globals(), _tests, Served, LinkedByUnix, ServedInCluster)
