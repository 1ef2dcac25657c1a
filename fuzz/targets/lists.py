"""Files of text: lists, secrets, passwords, networks, uuids, totals; and certificates.

The promises: a file is read, or it is a mistake in one line that repeats nothing of it; entries are
lines of it; and a list of networks holds the addresses that Python's own `ipaddress` says it does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.common.certificates import (
    CertificateError,
    CertificateFiles,
    readCertificateAndKey,
)
from nymearemoteproxy.common.lists import (
    firstToken,
    parseEntries,
    parseList,
    parseSecret,
    parseUsers,
)
from nymearemoteproxy.connections.denylist import parseDenyList
from nymearemoteproxy.protocol.registration import parseUuids

_READERS: tuple[Callable[[bytes], Any], ...] = (
    parseList,
    firstToken,
    parseSecret,
    parseUsers,
    lambda content: parseUuids(parseEntries(content)),
    lambda content: TlsOptions(content),
)

_MAPPED = 96
"""Bits that an IPv4 address begins with on a socket of IPv6."""


def check(data: bytes) -> None:
    for read in _READERS:
        try:
            read(data)
        except ValueError as mistake:
            if not isinstance(mistake, UnicodeDecodeError):  # which is told in other words
                assert isLine(str(mistake)), "no text to be shown"
    try:
        readCertificateAndKey(CertificateFiles("file"), lambda _path: data)
    except CertificateError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
    try:
        entries = parseEntries(data)
    except ValueError:
        return
    lines = data.decode("utf-8-sig").split("\n")
    for number, entry in entries:
        line = lines[number - 1].removesuffix("\r").strip(" \t")
        assert entry == line, "no line of the file"
        _checkNetwork(entry)


def _checkNetwork(entry: str) -> None:
    try:
        denied = parseDenyList([(1, entry)])
    except ValueError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
        assert str(mistake).startswith("line 1 "), "nobody says where"
        return
    network = ipaddress.ip_network(entry)
    first, last = network[0], network[-1]
    for inside in (first, last):
        # Clients of IPv4 are no part of a network of IPv6, unless it is one of just such.
        isIpv4 = network.prefixlen < _MAPPED and getattr(inside, "ipv4_mapped", None)
        assert isIpv4 or str(inside) in denied, "an address is missing"
    for near in (int(first) - 1, int(last) + 1):
        if 0 <= near < 1 << network.max_prefixlen:
            address = type(first)(near)
            assert (str(address) in denied) is (address in network), "another address is in it"


TARGET = Target(
    check,
    covers=(
        "client.connecting.trust",
        "common.certificates",
        "common.lists",
        "connections.denylist",
    ),
    planted=(
        Planted(
            "common/lists.py",
            'content.decode("utf-8-sig").split("\\n")',
            'content.decode("utf-8-sig").splitlines()',
        ),
        Planted(
            "connections/denylist.py",
            "((1 << prefix) - 1) << (8 * size - prefix)",
            "((1 << prefix) - 1) << max(0, 8 * size - prefix - 1)",
        ),
        Planted("connections/denylist.py", "except OSError:", "except RecursionError:"),
        Planted(
            "common/certificates.py",
            "except (ValueError, x509.InvalidVersion):",
            "except x509.InvalidVersion:",
        ),
    ),
    words=(
        b"10.0.0.0/8\n",
        b"::ffff:1.2.3.0/120\n",
        b"user:password\n",
        b"# comment\n",
        b"1b9a8e44-0000-4000-8000-000000000001",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\n",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
    ),
)
