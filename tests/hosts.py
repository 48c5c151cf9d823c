"""Hosts that are network namespaces, with a cable of their own each that can be pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

#: In every host, and here, this address leads to this machine's own processes.
_HUB = "10.{net}.0.1"


class Network:
    """
    Some hosts around this one, while the block lasts; needs root and `ip`.

    Each has a veth pair to here and nothing else. `address` is this machine's, seen from all.
    """

    def __init__(self, count: int) -> None:
        # Several tests may run side by side, in processes of their own.
        self._net = 64 + os.getpid() % 128
        self._stack = ExitStack()
        self.address = _HUB.format(net=self._net)
        self.hosts = [
            Host(f"ms{os.getpid()}h{number}", self._net, number) for number in range(count)
        ]

    def __enter__(self) -> Self:
        """Lay the cables; the test is skipped where that is not possible."""
        why = _impossible()
        if why:
            pytest.skip(why)
        _ip("addr", "add", f"{self.address}/32", "dev", "lo")
        self._stack.callback(_ip, "addr", "del", f"{self.address}/32", "dev", "lo")
        try:
            for host in self.hosts:
                host.plug(self.address)
                self._stack.callback(host.remove)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take everything away again."""
        self._stack.close()


class Host:
    """One network namespace, `name`, and its cable to here."""

    def __init__(self, name: str, net: int, number: int) -> None:
        self.name = name
        self._here, self._there = f"v{number}a{os.getpid()}", f"v{number}b{os.getpid()}"
        self._relays: list[subprocess.Popen[bytes]] = []
        self._own = f"10.{net}.{number + 1}.2"
        self._gate = f"10.{net}.{number + 1}.1"

    def plug(self, hub: str) -> None:
        """Make it, with its cable."""
        _ip("netns", "add", self.name)
        _ip("link", "add", self._here, "type", "veth", "peer", "name", self._there)
        _ip("link", "set", self._there, "netns", self.name)
        _ip("addr", "add", f"{self._gate}/30", "dev", self._here)
        _ip("link", "set", self._here, "up")
        for command in (
            ("addr", "add", f"{self._own}/30", "dev", self._there),
            ("link", "set", self._there, "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", f"{hub}/32", "via", self._gate),
        ):
            _ip("-n", self.name, *command)

    def remove(self) -> None:
        """Take it away; a cable goes with its end."""
        for relay in self._relays:
            relay.kill()
            relay.wait()
        _ip("netns", "del", self.name)

    def cut(self) -> None:
        """Pull the cable: nobody is told, packets are lost."""
        _ip("link", "set", self._here, "down")

    def heal(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self._here, "up")

    def lead(self, port: int, address: str) -> None:
        """Let a port of its loopback lead to the same port of an address."""
        command = [sys.executable, "-m", "tests.relay", str(port), address, str(port)]
        relay = subprocess.Popen(
            self.command(command), cwd=Path(__file__).parents[1], stdout=subprocess.PIPE
        )
        self._relays.append(relay)
        assert relay.stdout is not None
        with relay.stdout as said:
            assert said.readline() == b"listens\n"

    def command(self, command: Sequence[str]) -> list[str]:
        """Give the command line that runs a command on this host."""
        return [_program(), "netns", "exec", self.name, *command]


def _impossible() -> str:
    """Say why there can be no hosts, empty when there can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and the program ip"
    probe = f"ms{os.getpid()}probe"
    tried = subprocess.run(
        [_program(), "netns", "add", probe], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        return f"no network namespace can be made here: {tried.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


def _ip(*arguments: str) -> None:
    subprocess.run([_program(), *arguments], check=True, capture_output=True)


def _program() -> str:
    return shutil.which("ip") or "ip"
