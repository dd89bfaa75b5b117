# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders below a folder, reached without following any link: by openat2 where the kernel has it, else step by step."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPENAT2 = 437  # the same number on every architecture since Linux 5.6: asm-generic/unistd.h
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS, NO_SYMLINKS, BENEATH: linux/openat2.h
# The kernel lacks it, a filter hides it, or somebody renamed a folder just now.
_INSTEAD = (errno.ENOSYS, errno.EPERM, errno.EAGAIN)


class _How(ctypes.Structure):
    """struct open_how of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(folder: int, path: str, flags: int) -> int:
    """A descriptor for ``path`` below ``folder``.

    Raises:
        OSError: As the system call; ``ENOSYS`` elsewhere than on Linux.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    how = _How(flags, 0, _RESOLVE)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    found = call(ctypes.c_long(_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(os.fsencode(path)), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(found)


def walk(folder: int, path: str) -> int:
    """The same for a folder, without that system call: one name at a time, each of which must be a folder and no link."""
    here = os.dup(folder)
    os.set_inheritable(here, False)
    for step in path.split("/"):
        try:
            below = os.open(step, FOLDER, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def enter(folder: int, path: str) -> int:
    """A descriptor of the folder ``path`` below ``folder``; the caller closes it.

    Args:
        folder: Descriptor of a folder.
        path: Relative, without empty parts, ``.`` and ``..``; empty for the folder itself.

    Raises:
        OSError: ``ENOENT``, ``ENOTDIR`` or ``ELOOP`` where a part is missing, no folder or a link; others.
    """
    if not path:
        return os.open(".", FOLDER, dir_fd=folder)
    try:
        return openat2(folder, path, FOLDER & ~os.O_NOFOLLOW)  # it then says that it met a link
    except OSError as error:
        if error.errno not in _INSTEAD:
            raise
    return walk(folder, path)


def kind(facts: os.stat_result) -> str:
    """What an entry of a folder is: file, folder, link or other."""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(facts.st_mode), "other")
