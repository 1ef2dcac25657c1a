"""Networks on this machine, made of namespaces, that a test can take apart.

Each host has three interfaces: for clients, for links between hosts, and for the directory. In the
middle is a hub with a bridge for each network; the directory's host is the hub. What is made here
has names that begin with ``nrp``, and is gone with `close`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

CLIENTS, LINKS, DIRECTORY = range(3)

HUB = 1
"""The last octet of the hub's address, or of ours in the network for clients."""

FIRST = 11
"""The last octet of the first host's."""


def ip(*words: object) -> None:
    """Have a command done; raises CalledProcessError."""
    command = ["ip", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def whyNot() -> str | None:
    """Return why there can be no such networks here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root, and ip(8)"
    name = f"nrp{os.getpid()}x"
    try:
        ip("netns", "add", name)
        try:
            ip("-n", name, "link", "add", "bridge", "type", "bridge")
            ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two")
        finally:
            ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"there can be no network namespaces: {error.stderr.decode().strip()}"
    return None


class Networks:
    """Some hosts in three networks.

    :param count: of hosts.
    """

    def __init__(self, count: int) -> None:
        self._name = f"nrp{os.getpid()}"
        self._net = f"198.18.{os.getpid() % 80 * 3}".split(".")
        self._made: list[str] = []
        try:
            self._make(count)
        except BaseException:
            self.close()
            raise

    def _make(self, count: int) -> None:
        hub = self._namespace("h")
        for network in (CLIENTS, LINKS, DIRECTORY):
            ip("-n", hub, "link", "add", f"br{network}", "type", "bridge")
            ip("-n", hub, "link", "set", f"br{network}", "up")
        ip("-n", hub, "addr", "add", f"{self.address(DIRECTORY, HUB)}/24", "dev", "br2")
        ip("link", "add", self._name, "type", "veth", "peer", "name", "us", "netns", hub)
        ip("-n", hub, "link", "set", "us", "master", "br0", "up")
        ip("addr", "add", f"{self.address(CLIENTS, HUB)}/24", "dev", self._name)
        ip("link", "set", self._name, "up")
        for host in range(count):
            name = self._namespace(str(host))
            for network in (CLIENTS, LINKS, DIRECTORY):
                port, device = f"p{host}n{network}", f"eth{network}"
                ip("-n", name, "link", "add", device, "type", "veth", "peer", port, "netns", hub)
                address = self.address(network, FIRST + host)
                ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
                ip("-n", name, "link", "set", device, "up")
                ip("-n", hub, "link", "set", port, "master", f"br{network}", "up")

    def _namespace(self, suffix: str) -> str:
        name = f"{self._name}{suffix}"
        ip("netns", "add", name)
        self._made.append(name)
        ip("-n", name, "link", "set", "lo", "up")
        return name

    def address(self, network: int, octet: int) -> str:
        """Return an address in a network."""
        one, two, three = self._net
        return f"{one}.{two}.{int(three) + network}.{octet}"

    def within(self, host: int | None) -> tuple[str, ...]:
        """Return the command by which another one runs at a host; None = the hub."""
        name = f"{self._name}{'h' if host is None else host}"
        return (shutil.which("ip") or "ip", "netns", "exec", name)

    def cut(self, host: int, network: int) -> None:
        """Let nothing from a host, or to it, through a network; its interface stays up."""
        ip("-n", f"{self._name}h", "link", "set", f"p{host}n{network}", "nomaster")

    def heal(self, host: int, network: int) -> None:
        """Let everything through again."""
        hub, port = f"{self._name}h", f"p{host}n{network}"
        ip("-n", hub, "link", "set", port, "master", f"br{network}")

    def close(self) -> None:
        """Take all away."""
        for name in self._made:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)
