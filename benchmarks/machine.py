"""What the benchmark ran on: hardware, system, versions.

Owns this description only.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import ssl
from pathlib import Path

from OpenSSL import SSL

from benchmarks.lab import Lab

PACKAGES = (
    ("Twisted", "twisted"),
    ("Autobahn", "autobahn"),
    ("pyOpenSSL", "pyopenssl"),
    ("websockets (unmasking)", "websockets"),
    ("numpy (escapes)", "numpy"),
    ("magic-wormhole-transit-relay", "magic-wormhole-transit-relay"),
    ("picows", "picows"),
    ("uvloop", "uvloop"),
)


def describe(lab: Lab) -> dict[str, str]:
    """Return names and values, for a table."""
    cores = "one core each" if lab.hasTwoCores else "ON THE SAME CORE, so that latencies mislead"
    found = {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": f"{os.cpu_count()}; server and load generator {cores}",
        "system": f"{platform.system()} {platform.release()}",
        "open files per process": f"{lab.fileLimit:,}",
        "Python": platform.python_version(),
        "OpenSSL of Python": ssl.OPENSSL_VERSION,
        "OpenSSL of pyOpenSSL": SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode(),
    }
    for name, package in PACKAGES:
        found[name] = _version(package)
    return found


def _processor() -> str:
    match = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return match[1] if match else platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
