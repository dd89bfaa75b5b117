# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker sees of its namespaces from inside. It has no /proc to ask, so it looks for what a host would show.

Looks as root and before the filter: a user without rights could not tell a read-only root from a closed one.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOST_NAME = "nexcage-worker"  # only in a namespace of its own could bubblewrap set it
# One of these is on every host; none is bound into the worker's root.
HIDDEN = ("/etc", "/proc", "/sys", "/dev", "/run", "/var", "/tmp", "/boot")
# The kernel makes these in every new network namespace where their modules are loaded; they are down (ip_tunnel.c and its like).
FALLBACK = frozenset(("lo", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6tnl0", "ip6gre0", "ip6_vti0"))
_CAPABILITY_VERSION_3 = 0x20080522
_DESCRIPTORS = 256  # more than are open
_GIVEN_UP_LATER = frozenset((6, 7))  # CAP_SETGID, CAP_SETUID: the change of user takes them away


class _Name(ctypes.Structure):
    """struct if_nameindex"""

    _fields_ = [("index", ctypes.c_uint), ("name", ctypes.c_char_p)]


class System:
    """What is asked of the operating system, in one object that a test replaces."""

    os: Any = os

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def interfaces(self) -> list[str]:
        """Names of the network interfaces; ``OSError`` where they cannot be asked for."""
        self._libc.if_nameindex.restype = ctypes.POINTER(_Name)
        found = self._libc.if_nameindex()
        if not found:
            raise OSError(ctypes.get_errno(), "if_nameindex")
        names: list[str] = []
        while found[len(names)].index:
            names.append(found[len(names)].name.decode("ascii", "replace"))
        self._libc.if_freenameindex(found)
        return names

    def capabilities(self) -> list[int]:
        """Numbers of those that are permitted or inheritable, see capget(2); ``OSError`` where they cannot be asked for."""
        header, data = self._words()
        if self._libc.capget(header, data):
            raise OSError(ctypes.get_errno(), "capget")
        held = (data[1] | data[2]) | (data[4] | data[5]) << 32  # two structs of effective, permitted and inheritable
        return [number for number in range(64) if held >> number & 1]

    def forget_capabilities(self) -> None:
        """Give up all of them; ``OSError`` where that fails."""
        if self._libc.capset(*self._words()):
            raise OSError(ctypes.get_errno(), "capset")

    def _words(self) -> tuple[Any, Any]:
        return (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()


def prove(system: System) -> dict[str, str]:
    """Layer to the reason why it does not hold, empty where it does."""
    return {
        "mount_namespace": _mounts(system),
        "pid_namespace": _processes(system),
        "network_namespace": _network(system),
        "uts_namespace": _name(system),
        "capabilities": _capabilities(system, _GIVEN_UP_LATER),
    }


def divide(system: System) -> None:
    """Go on as the second process of the namespace; the first one waits for its end and tells it to bubblewrap.

    The worker becomes another user, whom bubblewrap, a root without a capability, may not signal when it dies. The first
    process stays root, dies with bubblewrap, and the kernel ends the namespace with it.
    """
    calls = system.os
    child = calls.fork()
    if child:
        forget(system)
        calls.closerange(0, _DESCRIPTORS)  # the ends of the pipes are the worker's alone
        status = calls.waitpid(child, 0)[1]
        calls._exit(128 + calls.WTERMSIG(status) if calls.WIFSIGNALED(status) else calls.WEXITSTATUS(status))


def forget(system: System) -> str:
    """Give up what is left of capabilities after the change of user: bubblewrap lets them be inherited. Returns why not."""
    try:
        system.forget_capabilities()
    except OSError as error:
        return str(error)
    return _capabilities(system, frozenset())


def _mounts(system: System) -> str:
    calls = system.os
    visible = [path for path in HIDDEN if calls.path.lexists(path)]
    if visible:
        return f"{', '.join(visible)} can be seen"
    # root may write to a folder of root's, except where the file system is read-only
    writable = [path for path in ("/", *(f"/{name}" for name in calls.listdir("/"))) if calls.access(path, calls.W_OK)]
    return f"{', '.join(writable)} can be written" if writable else ""


def _processes(system: System) -> str:
    """Only the first process of a namespace has a parent that it cannot see."""
    found = (system.os.getpid(), system.os.getppid())
    return "" if found == (1, 0) else f"process {found[0]}, child of {found[1]}"


def _network(system: System) -> str:
    try:
        strange = sorted(set(system.interfaces()) - FALLBACK)
    except OSError as error:
        return str(error)
    return f"{', '.join(strange)} can be seen" if strange else ""


def _name(system: System) -> str:
    name = system.os.uname().nodename
    return "" if name == HOST_NAME else f"the host's name is {name}"


def _capabilities(system: System, allowed: frozenset[int]) -> str:
    try:
        kept = [str(number) for number in system.capabilities() if number not in allowed]
    except OSError as error:
        return str(error)
    return f"capabilities {', '.join(kept)} are kept" if kept else ""
