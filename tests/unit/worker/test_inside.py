# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker takes for a proof that it is in namespaces, and what it does not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
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
            "pid": 1,
            "parent": 0,
            "name": inside.HOST_NAME,
            "interfaces": ["lo"],
            "capabilities": [6, 7],
            "left": [],
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

    def forget_capabilities(self) -> None:
        self.facts["capabilities"] = self._answer("left")


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
        ({"pid": 2}, "pid_namespace", "process 2, child of 0"),
        ({"parent": 4711}, "pid_namespace", "process 1, child of 4711"),
        ({"pid": 2, "parent": 1}, "pid_namespace", "process 2, child of 1"),  # the module is the first process of a container
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


@pytest.mark.parametrize(
    ("left", "reason"),
    [([], ""), ([6, 7], "capabilities 6, 7 are kept"), (OSError(errno.EPERM, "capset"), "[Errno 1] capset")],
)
def test_what_is_left_is_given_up(left: t.Any, reason: str) -> None:
    assert inside.forget(t.cast(inside.System, View(left=left))) == reason


@pytest.mark.requires("root", "linux")
def test_a_process_really_gives_them_up() -> None:
    program = "from ansible_collections.nexcage.backends.plugins.module_utils.worker import inside; print(repr(inside.forget(inside.System())))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "''\n"


@pytest.mark.parametrize(("program", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", 137), ("os.read(0, 1) or os._exit(3)", 3)])
def test_the_first_process_tells_how_the_second_one_ended(program: str, code: int) -> None:
    """And holds no end of its pipes."""
    text = f"import os; from ansible_collections.nexcage.backends.plugins.module_utils.worker import inside; inside.divide(inside.System()); {program}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", text], env=environment, stdin=subprocess.DEVNULL, check=False).returncode == code


def test_the_order_of_the_first_process() -> None:
    calls: list[t.Any] = []

    class Ended(Exception):
        pass

    def leave(code: int) -> t.NoReturn:
        raise Ended(code)

    system = types.SimpleNamespace(
        forget_capabilities=lambda: calls.append("forget"),
        capabilities=list,
        os=types.SimpleNamespace(
            fork=lambda: 7,
            closerange=lambda first, last: calls.append((first, last)),
            waitpid=lambda child, _options: (child, 9),
            WIFSIGNALED=os.WIFSIGNALED,
            WTERMSIG=os.WTERMSIG,
            WEXITSTATUS=os.WEXITSTATUS,
            _exit=leave,
        ),
    )
    with pytest.raises(Ended) as caught:
        inside.divide(t.cast(inside.System, system))
    assert (caught.value.args, calls) == ((137,), ["forget", (0, 256)])
    system.os.waitpid = lambda child, _options: (child, 3 << 8)
    with pytest.raises(Ended) as caught:
        inside.divide(t.cast(inside.System, system))
    assert caught.value.args == (3,)
    system.os.fork = lambda: 0
    inside.divide(t.cast(inside.System, system))


def test_interfaces_that_the_kernel_makes_by_itself() -> None:
    assert prove(interfaces=["lo", "tunl0", "sit0"]) == {}
    assert prove(capabilities=[]) == {}


@pytest.mark.requires("linux")
def test_the_real_calls() -> None:
    """Here, where nothing is confined, they show a host."""
    system = inside.System()
    assert sorted(system.interfaces()) == sorted(name for name in os.listdir("/sys/class/net") if os.path.isdir(f"/sys/class/net/{name}"))
    with open("/proc/self/status", encoding="ascii") as status:
        held = [int(line.split()[1], 16) for line in status if line.startswith(("CapPrm:", "CapInh:"))]
    assert sum(1 << number for number in system.capabilities()) == held[0] | held[1]
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
    capset = Call(-1)


@pytest.mark.requires("linux")
def test_calls_that_fail() -> None:
    system = inside.System()
    system._libc = t.cast(t.Any, Refusing())
    with pytest.raises(OSError, match="if_nameindex"):
        system.interfaces()
    with pytest.raises(OSError, match="capget"):
        system.capabilities()
    with pytest.raises(OSError, match="capset"):
        system.forget_capabilities()
