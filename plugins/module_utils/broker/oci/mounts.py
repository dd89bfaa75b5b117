# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted in a container: the defaults every container needs, and what the task asks for."""

from __future__ import annotations

import os
import stat
import struct
import typing as t

from ...model.errors import NexcageError
from . import runtime

INIT_TARGET = "/dev/init"
# podman's and docker's names for the same small program; it has to be static, as it runs on the image's files
_INIT_PROGRAMS = ("catatonit", "tini-static", "docker-init", "tini", "dumb-init")
_INIT_FOLDERS = (*runtime.FOLDERS, "/usr/libexec/catatonit")
_FLAGS = {"ro", "rw", "atime", "strictatime", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "relatime", "noatime", "sync"}
_BIND = _FLAGS | {"bind", "rbind", "private", "rprivate", "slave", "rslave", "shared", "rshared"}
_RELABEL = {"z", "Z"}
_TMPFS = _FLAGS
_TMPFS_VALUES = ("size=", "mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks=")


def defaults(folder: str, privileged: bool) -> list[dict[str, t.Any]]:
    """The mounts of every container; the files of the generation's own folder are bound over the image's."""
    write = "rw" if privileged else "ro"
    safe = ["nosuid", "noexec", "nodev"]
    mounts = [
        _mount("/proc", "proc", "proc", safe),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _mount("/dev/shm", "tmpfs", "shm", [*safe, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", safe),
        _mount("/sys", "sysfs", "sysfs", [*safe, write]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*safe, "relatime", write]),
    ]
    for name in ("hosts", "hostname", "resolv.conf"):
        mounts.append(_mount("/etc/" + name, "bind", f"{folder}/{name}", ["bind", "rprivate", "nosuid", "nodev", "rw"]))
    return mounts


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, t.Any]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def merge(base: t.Sequence[t.Mapping[str, t.Any]], asked: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """``base`` and the task's mounts, which win over a default at the same place.

    Raises:
        NexcageError: ``E_INVALID`` naming the source or target that cannot be.
    """
    own = [_asked(entry) for entry in asked]
    taken = {entry["destination"] for entry in own}
    kept = [dict(entry) for entry in base if os.path.normpath(entry["destination"]) not in taken]
    return kept + sorted(own, key=lambda entry: entry["destination"].count("/"))


def _asked(entry: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    target = _target(str(entry["target"]))
    kind = entry["type"]
    chosen = [option for option in entry.get("options") or [] if option not in ("ro", "rw")]
    write = "ro" if entry.get("read_only") or "ro" in (entry.get("options") or []) else "rw"
    if kind == "bind":
        source = _source(entry.get("source"))
        _check_options(chosen, _BIND | _RELABEL, (), target)
        if _RELABEL.intersection(chosen) and os.path.exists("/sys/fs/selinux/enforce"):
            raise NexcageError("E_UNSUPPORTED", "SELinux relabelling is not supported", option="mounts", value=target)
        chosen = [option for option in chosen if option not in _RELABEL]
        binding = [] if {"bind", "rbind"}.intersection(chosen) else ["rbind"]
        spread = [] if any(option.endswith(("private", "slave", "shared")) for option in chosen) else ["rprivate"]
        return _mount(target, "bind", source, [*binding, *spread, *chosen, write])
    if kind == "tmpfs":
        _check_options(chosen, _TMPFS, _TMPFS_VALUES, target)
        implied = [flag for flag, opposite in (("nosuid", "suid"), ("nodev", "dev")) if opposite not in chosen]
        return _mount(target, "tmpfs", "tmpfs", [*dict.fromkeys([*implied, *chosen, write])])
    raise NexcageError("E_INVALID", f"no such kind of mount: {kind}", option="mounts", value=target, remedy="use bind or tmpfs")


def _target(target: str) -> str:
    """A place inside the container: absolute and without ``..``."""
    parts = target.split("/")
    if not target.startswith("/") or ".." in parts or "\0" in target or not any(part not in ("", ".") for part in parts):
        raise NexcageError(
            "E_INVALID",
            "the target of a mount is an absolute path below / without '..'",
            option="mounts",
            value=target,
            remedy="give the full path inside the container",
        )
    return os.path.normpath("/" + target.lstrip("/"))


def _source(source: t.Any) -> str:
    if not isinstance(source, str) or not source.startswith("/") or ".." in source.split("/") or "\0" in source:
        raise NexcageError("E_INVALID", "the source of a bind mount is an absolute path without '..'", option="mounts", value=source)
    if not os.path.exists(source):
        raise NexcageError(
            "E_INVALID", "the source of a bind mount does not exist", option="mounts", value=source, remedy="create it first, or correct the path"
        )
    return source


def _check_options(chosen: t.Sequence[str], allowed: set[str], prefixes: tuple[str, ...], target: str) -> None:
    for option in chosen:
        if option in allowed or (prefixes and option.startswith(prefixes) and "," not in option):
            continue
        raise NexcageError(
            "E_INVALID",
            f"the mount at {target} has an unknown option",
            option="mounts",
            value=option,
            remedy="use " + ", ".join([*sorted(allowed), *prefixes]),
        )


def init_program() -> str:
    """The host's small init program for ``init: true``.

    Raises:
        NexcageError: ``E_BINARY`` naming the programs that would do.
    """
    dynamic = ""
    for name in _INIT_PROGRAMS:
        for folder in _INIT_FOLDERS:
            path = f"{folder}/{name}"
            if not os.access(path, os.X_OK):
                continue
            if static_program(path):
                return path
            dynamic = f"; {path} is not static and cannot run on the image's files"
    raise NexcageError(
        "E_BINARY",
        f"no init program is installed (looked for {', '.join(_INIT_PROGRAMS)}){dynamic}",
        option="init",
        value=True,
        remedy="install catatonit (Debian, Fedora, SUSE) or tini-static (Alpine), or leave init out",
    )


def static_program(path: str) -> bool:
    """Whether a 64-bit little-endian ELF file asks for no interpreter (``PT_INTERP``, elf(5))."""
    with open(path, "rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            return False
        offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
    kinds = [struct.unpack_from("<I", table, position)[0] for position in range(0, len(table) - 3, size or 1)]
    return 3 not in kinds


def host_devices() -> list[dict[str, t.Any]]:
    """The host's device nodes for a privileged container, without terminals and what the container has of its own."""
    found: list[dict[str, t.Any]] = []
    for place, folders, files in os.walk("/dev"):
        folders[:] = [name for name in folders if name not in ("pts", "shm", "mqueue", "fd") and not os.path.ismount(f"{place}/{name}")]
        for name in files:
            path = f"{place}/{name}"
            facts = os.lstat(path)
            kind = "c" if stat.S_ISCHR(facts.st_mode) else "b" if stat.S_ISBLK(facts.st_mode) else ""
            if kind and name not in ("console", "ptmx") and not name.startswith("tty"):
                numbers = {"major": os.major(facts.st_rdev), "minor": os.minor(facts.st_rdev)}
                owner = {"fileMode": facts.st_mode & 0o777, "uid": facts.st_uid, "gid": facts.st_gid}
                found.append({"path": path, "type": kind, **numbers, **owner})
    return found
