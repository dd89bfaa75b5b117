# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker takes for a proof that it is in namespaces, and what it does not."""

from __future__ import annotations

import errno
import os
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import inside
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import NAMESPACES


class View:
    """A worker's view as bubblewrap makes it, with what a test changes in it."""

    W_OK = os.W_OK

    def __init__(self, **changes: t.Any) -> None:
        self.facts: dict[str, t.Any] = {
            "root": ["usr", "lib"],
            "writable": [],
            "visible": [],
            "pid": 2,
            "parent": 1,
            "session": 1,
            "name": inside.HOST_NAME,
            "interfaces": ["lo"],
            "capabilities": [6, 7],
            **changes,
        }
        self.os = self
        self.path = self

    def lexists(self, path: str) -> bool:
        return path in self.facts["visible"]

    def listdir(self, path: str) -> list[str]:
        assert path == "/"
        return list(self.facts["root"])

    def access(self, path: str, mode: int) -> bool:
        assert mode == os.W_OK
        return path in self.facts["writable"]

    def getpid(self) -> int:
        return int(self.facts["pid"])

    def getppid(self) -> int:
        return int(self.facts["parent"])

    def getsid(self, _pid: int) -> int:
        return int(self.facts["session"])

    def uname(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(nodename=self.facts["name"])

    def _answer(self, name: str) -> t.Any:
        if isinstance(self.facts[name], OSError):
            raise self.facts[name]
        return self.facts[name]

    def interfaces(self) -> list[str]:
        return list(self._answer("interfaces"))

    def capabilities(self) -> list[int]:
        return list(self._answer("capabilities"))


def prove(**changes: t.Any) -> dict[str, str]:
    """The layers that do not hold, with the reason."""
    return {layer: reason for layer, reason in inside.prove(t.cast(inside.System, View(**changes))).items() if reason}


def test_all_layers_hold() -> None:
    assert prove() == {}
    assert tuple(inside.prove(t.cast(inside.System, View()))) == NAMESPACES


@pytest.mark.parametrize(
    ("changes", "layer", "reason"),
    [
        ({"visible": ["/etc"]}, "mount_namespace", "/etc can be seen"),
        ({"visible": ["/proc", "/dev"]}, "mount_namespace", "/proc, /dev can be seen"),
        ({"writable": ["/"]}, "mount_namespace", "/ can be written"),
        ({"writable": ["/usr"]}, "mount_namespace", "/usr can be written"),
        ({"pid": 3}, "pid_namespace", "process 3, child of 1, in session 1"),
        ({"parent": 4711}, "pid_namespace", "process 2, child of 4711, in session 1"),
        ({"session": 2}, "pid_namespace", "process 2, child of 1, in session 2"),  # the module is the first process of a container
        ({"interfaces": ["eth0", "lo"]}, "network_namespace", "eth0 can be seen"),
        ({"interfaces": OSError(errno.EPERM, "if_nameindex")}, "network_namespace", "[Errno 1] if_nameindex"),
        ({"name": "host.example"}, "uts_namespace", "the host's name is host.example"),
        ({"capabilities": [6, 7, 21]}, "capabilities", "capabilities 21 are kept"),
        ({"capabilities": list(range(41))}, "capabilities", f"capabilities {', '.join(str(one) for one in range(41) if one not in (6, 7))} are kept"),
        ({"capabilities": OSError(errno.EINVAL, "capget")}, "capabilities", "[Errno 22] capget"),
    ],
)
def test_a_layer_that_does_not_hold(changes: dict[str, t.Any], layer: str, reason: str) -> None:
    assert prove(**changes) == {layer: reason}


def test_interfaces_that_the_kernel_makes_by_itself() -> None:
    assert prove(interfaces=["lo", "tunl0", "sit0"]) == {}
    assert prove(capabilities=[]) == {}


@pytest.mark.requires("linux")
def test_the_real_calls() -> None:
    """Here, where nothing is confined, they show a host."""
    system = inside.System()
    assert sorted(system.interfaces()) == sorted(name for name in os.listdir("/sys/class/net") if os.path.isdir(f"/sys/class/net/{name}"))
    with open("/proc/self/status", encoding="ascii") as status:
        permitted = next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm:"))
    assert sum(1 << number for number in system.capabilities()) == permitted
    found = inside.prove(system)
    assert found["mount_namespace"].startswith("/etc, /proc")
    assert found["pid_namespace"].startswith(f"process {os.getpid()}, ")
    assert found["uts_namespace"]


class Refusing:
    """A C library whose calls fail."""

    class Call:
        restype: t.Any = None

        def __init__(self, answer: int) -> None:
            self.answer = answer

        def __call__(self, *_arguments: t.Any) -> int:
            return self.answer

    if_nameindex = Call(0)
    capget = Call(-1)


@pytest.mark.requires("linux")
def test_calls_that_fail() -> None:
    system = inside.System()
    system._libc = t.cast(t.Any, Refusing())
    with pytest.raises(OSError, match="if_nameindex"):
        system.interfaces()
    with pytest.raises(OSError, match="capget"):
        system.capabilities()
