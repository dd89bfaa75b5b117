# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps by which a worker gives up everything but two pipes, each reported as a layer.

A step that the host refuses does not stop the others: the report says what is missing, and the module
decides whether that is enough before it sends one byte of a plugin.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys

from . import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL = 9
_NOWHERE = "/nexcage-self-test"  # does not exist; without the filter the answer would be ENOENT


class System:
    """What the lock-down asks of the operating system, in one object that a test replaces."""

    os: Any = os
    resource: Any = resource

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def machine(self) -> str:
        """The architecture as the kernel names it, empty where there is no filter for it."""
        uname = os.uname()
        known = uname.sysname == "Linux" and sys.maxsize > 1 << 32 and uname.machine in seccomp.AUDIT_ARCHITECTURE
        return uname.machine if known else ""

    def prctl(self, option: int, value: int, pointer: int = 0) -> None:
        """prctl(2); ``OSError`` where it fails."""
        word = ctypes.c_ulong
        if self._libc.prctl(option, word(value), word(pointer), word(0), word(0)):
            raise OSError(ctypes.get_errno(), "prctl")

    def socket(self) -> None:
        """Open and leave a Unix stream socket; ``OSError`` where that fails."""
        if self._libc.socket(1, 1, 0) < 0:
            raise OSError(ctypes.get_errno(), "socket")


def take_pipes(system: System) -> tuple[int, int]:
    """Move the protocol away from stdin and stdout, so that a print harms nobody, and close all else."""
    calls = system.os
    incoming, outgoing = calls.dup(0), calls.dup(1)
    empty, _end = calls.pipe()  # its other end closed below, it reads like /dev/null, which is not there in a namespace
    calls.dup2(empty, 0)
    calls.dup2(2, 1)
    sys.stdout = sys.stderr  # which writes out every line at once
    try:
        others = [int(name) for name in calls.listdir("/proc/self/fd")]
    except OSError:
        others = list(range(256))
    for descriptor in others:
        if descriptor > 2 and descriptor not in (incoming, outgoing):
            try:  # noqa: SIM105 - contextlib would cost the worker its import
                calls.close(descriptor)
            except OSError:
                pass  # the one that listdir itself used
    return incoming, outgoing


def limit(system: System, limits: dict[str, int]) -> str:
    """Set the resource limits: "memory" bytes of address space, "cpu" seconds, "descriptors".

    No file, core dump or further process at all. Returns what was refused, empty where nothing was.
    """
    calls = system.resource
    refused = []
    wanted = {
        "AS": limits["memory"],
        "CPU": limits["cpu"],
        "NOFILE": limits["descriptors"],
        "FSIZE": 0,
        "CORE": 0,
        "NPROC": 0,
    }
    for name, value in wanted.items():
        try:
            kind = getattr(calls, "RLIMIT_" + name)
            hard = calls.getrlimit(kind)[1]
            most = value if hard == calls.RLIM_INFINITY else min(value, hard)
            calls.setrlimit(kind, (most, most))
        except (AttributeError, OSError, ValueError) as error:
            refused.append(f"{name} ({error})")
    return ", ".join(refused)


def drop_identity(system: System, uid: int, gid: int) -> str:
    """Become another user without groups and without a way back. Returns why not, empty where it worked."""
    calls = system.os
    if uid < 0:
        return "the module may not change its user"
    try:
        calls.setgroups([])
        calls.setresgid(gid, gid, gid)
        calls.setresuid(uid, uid, uid)
    except (AttributeError, OSError) as error:
        return str(error)
    try:
        calls.setuid(0)
    except OSError:
        return ""
    return "could become root again"


def follow_parent(system: System, parent: int) -> str:
    """Die with the module. After the change of user, which clears the setting; then see whether it still lives."""
    try:
        system.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    except (AttributeError, OSError) as error:
        return str(error)
    if system.os.getppid() != parent:
        system.os._exit(0)
    return ""


def renounce(system: System) -> str:
    """No new privileges by any exec, no tracing and no core by the same user. Returns why not."""
    try:
        system.prctl(_PR_SET_NO_NEW_PRIVS, 1)
        system.prctl(_PR_SET_DUMPABLE, 0)
    except (AttributeError, OSError) as error:
        return str(error)
    return ""


def filter_calls(system: System) -> str:
    """Load the system call filter. Returns why not."""
    machine = system.machine()
    if not machine:
        return "no filter for this platform"
    try:
        seccomp.install(system.prctl, machine)
    except OSError as error:
        return str(error)
    return ""


def _outcome(step: Any, *arguments: Any) -> str:
    try:
        step(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "allowed"


def self_test(system: System) -> dict[str, str]:
    """What open, socket, fork and exec answer now: "EPERM" for each where the filter works."""
    calls = system.os

    def fork() -> None:
        if calls.fork() == 0:
            calls._exit(0)

    return {
        "open": _outcome(calls.open, _NOWHERE, calls.O_RDONLY),
        "socket": _outcome(system.socket),
        "fork": _outcome(fork),
        "exec": _outcome(calls.execv, _NOWHERE, [_NOWHERE]),
    }
