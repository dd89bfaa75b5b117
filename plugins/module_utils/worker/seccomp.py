# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system calls a worker may make, and the BPF program that refuses the others.

Sources: linux/seccomp.h, linux/filter.h, linux/audit.h; the numbers are those of asm/unistd_64.h
(x86_64) and asm-generic/unistd.h (aarch64). A test interprets the program for every number.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    Prctl = Callable[[int, int, int], None]

# name: (x86_64, aarch64); -1 where the architecture has no such call
ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "select": (23, -1),  # time.sleep before Python 3.11
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getuid": (102, 174),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "pselect6": (270, 72),  # time.sleep before Python 3.11
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}
AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
KILL, REFUSE, ALLOW = 0x80000000, 0x00050001, 0x7FFF0000  # kill the process, EPERM, let through
X32 = 0x40000000  # this bit marks the x32 calls, which share the architecture of x86_64

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


def numbers(machine: str) -> list[int]:
    """The allowed numbers of ``machine`` (as uname says it), in order."""
    column = list(AUDIT_ARCHITECTURE).index(machine)
    return sorted(row[column] for row in ALLOWED.values() if row[column] >= 0)


def assemble(machine: str) -> bytes:
    """The filter for ``machine``: an array of struct sock_filter. ``KeyError`` for an unknown one."""
    allowed = numbers(machine) if machine in AUDIT_ARCHITECTURE else []
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, AUDIT_ARCHITECTURE[machine]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, len(allowed), 0, X32),
    ]
    # Each hit jumps over the remaining comparisons and over the refusal that follows them.
    program += [(_EQUAL, len(allowed) - index, 0, number) for index, number in enumerate(allowed)]
    program += [(_RETURN, 0, 0, REFUSE), (_RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in program)


def install(prctl: Prctl, machine: str) -> None:
    """Load the filter into this process, for ever. ``OSError`` where the kernel refuses.

    Args:
        prctl: :meth:`lockdown.System.prctl`.
        machine: One of ``AUDIT_ARCHITECTURE``.
    """
    import ctypes

    code = assemble(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(header))
