"""The wire contract between two members: the tests of one, again."""

from __future__ import annotations

from tests.support.remote import again
from tests.support.served import Served
from tests.support.servedclusters import LinkedByUnix, ServedInCluster
from tests.wires import test_wires

again(globals(), test_wires, Served, LinkedByUnix, ServedInCluster)
