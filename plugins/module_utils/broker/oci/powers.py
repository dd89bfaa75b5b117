# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this process, though root, can make containers at all: inside another container it often cannot."""

from __future__ import annotations

import fcntl
import os

from ...model.errors import NexcageError
from .. import store

SELF = "/proc/self"
# capabilities(7): those without which no runtime makes a container, by their numbers
NEEDED = {"CHOWN": 0, "SETGID": 6, "SETUID": 7, "SETPCAP": 8, "SYS_ADMIN": 21}
LEAST_IDS = 65536  # user ids that a container's file system and its devpts count on
_NS_GET_USERNS = 0xB701  # ioctl_ns(2)
_REMEDY = "run the task on the host itself, or in a container that is privileged"


def require(what: str) -> None:
    """Refuse before anything is touched where the kernel would refuse half-way.

    Args:
        what: The operation, for the message.

    Raises:
        NexcageError: ``E_PRIVILEGE`` naming what is missing and where to run instead.
    """
    if os.geteuid() != 0:
        raise NexcageError("E_PRIVILEGE", f"{what}: root is needed to make and change containers")
    lacking = missing_capabilities()
    if lacking:
        names = ", ".join("CAP_" + name for name in lacking)
        raise NexcageError("E_PRIVILEGE", f"{what}: this process is root without {names}", value=lacking, remedy=_REMEDY)
    ids = mapped_ids()
    if ids < LEAST_IDS:
        raise NexcageError("E_PRIVILEGE", f"{what}: this user namespace has {ids} user ids, {LEAST_IDS} are needed", value=ids, remedy=_REMEDY)
    if not mounts_are_ours():
        raise NexcageError("E_PRIVILEGE", f"{what}: this process may not mount, its mount namespace belongs to another user namespace", remedy=_REMEDY)


def missing_capabilities() -> list[str]:
    """Those of :data:`NEEDED` that are not in the effective set."""
    for line in (store.read_bytes(f"{SELF}/status") or b"").splitlines():
        if line.startswith(b"CapEff:"):
            mask = int(line.split()[1], 16)
            return [name for name, number in NEEDED.items() if not mask >> number & 1]
    return []


def mapped_ids() -> int:
    """How many user ids there are in this user namespace, user_namespaces(7)."""
    lines = (store.read_bytes(f"{SELF}/uid_map") or b"").split(b"\n")
    counts = [int(fields[2]) for fields in map(bytes.split, lines) if len(fields) == 3]
    return sum(counts) if counts else LEAST_IDS


def mounts_are_ours() -> bool:
    """Whether the mount namespace belongs to this process's user namespace; so it seems where the kernel does not tell."""
    try:
        namespace = os.open(f"{SELF}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        owner = fcntl.ioctl(namespace, _NS_GET_USERNS)
    except PermissionError:  # it belongs to one that is none of ours
        return False
    except OSError:
        return True
    finally:
        os.close(namespace)
    try:
        return os.path.samestat(os.fstat(owner), os.stat(f"{SELF}/ns/user"))
    finally:
        os.close(owner)
