# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capabilities and resource limits, never more than the caller itself really has."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import typing as t

from ...model.errors import NexcageError
from .. import store
from . import records

PROC = "/proc"
# capabilities(7); the position is the number
NAMES = tuple(
    (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
        "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
        "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
# podman's default set, containers-common 0.50 containers.conf(5) default_capabilities
DEFAULT = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split()
_RLIMITS = tuple("as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split())
_NUMBERS = {"locks": 10, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15, "sigpending": 11}  # getrlimit(2)
_INFINITY = 18446744073709551615  # the runtime specification's unsigned RLIM_INFINITY
# What a container gets where the task says nothing: soft and hard, -1 unlimited. Those of nofile and nproc are podman's,
# the others what the kernel gives its first process (INIT_RLIMITS in include/asm-generic/resource.h).
_DEFAULT_RLIMITS = {
    **dict.fromkeys(("as", "cpu", "data", "fsize", "locks", "rss", "rttime"), (-1, -1)),
    "core": (0, -1),
    "memlock": (8 << 20, 8 << 20),
    "msgqueue": (819200, 819200),
    "nice": (0, 0),
    "nofile": (1048576, 1048576),
    "nproc": (4194304, 4194304),
    "rtprio": (0, 0),
    "stack": (8 << 20, -1),
}
# Of them, those that could end conmon one day, or the runtime before the container is there
_DEADLY = ("as", "cpu", "data", "fsize", "rss")


def bounding() -> list[str]:
    """The capabilities that the calling process can hand on: its bounding set."""
    for line in (store.read_bytes(f"{PROC}/self/status") or b"").splitlines():
        if line.startswith(b"CapBnd:"):
            mask = int(line.split()[1], 16)
            return [name for number, name in enumerate(NAMES) if mask >> number & 1]
    return []


def capabilities(add: t.Sequence[str], drop: t.Sequence[str], privileged: bool, held: t.Sequence[str] | None = None) -> list[str]:
    """The container's capabilities, sorted, without ``CAP_``.

    Args:
        add: Canonical ``cap_add``; ``ALL`` means all that the caller has.
        drop: Canonical ``cap_drop``; ``ALL`` leaves only what ``add`` names.
        privileged: All that the caller has.
        held: The caller's bounding set; read from the kernel where not given.

    Raises:
        NexcageError: ``E_INVALID`` for an unknown name, ``E_PRIVILEGE`` for one that the caller lacks.
    """
    own = set(bounding() if held is None else held)
    for option, chosen in (("cap_add", add), ("cap_drop", drop)):
        for name in chosen:
            if name != "ALL" and name not in NAMES:
                raise NexcageError("E_INVALID", "no such capability", option=option, value=name, remedy="see capabilities(7)")
    for name in add:
        if name != "ALL" and name not in own:
            lacking(name)
    granted = own if privileged or "ALL" in add else own.intersection(DEFAULT)
    if "ALL" in drop:
        granted = set()
    return sorted((granted - set(drop)) | (set(add) - {"ALL"}))


def lacking(name: str, option: str = "cap_add") -> t.NoReturn:
    """Refuse a capability that the caller cannot hand on."""
    raise NexcageError(
        "E_PRIVILEGE",
        f"the calling process does not have CAP_{name} itself and cannot hand it on",
        option=option,
        value=name,
        remedy=f"leave CAP_{name} out, or run where the bounding set contains it (CapBnd in /proc/self/status)",
    )


def process_sets(granted: t.Sequence[str], added: t.Sequence[str], root: bool) -> dict[str, list[str]]:
    """The five sets of the runtime specification.

    The inheritable set is empty for root (CVE-2022-27649). A user other than root keeps the bounds but holds only what
    the task added by name, as podman does.
    """
    bounds = ["CAP_" + name for name in granted]
    if root:
        return {"bounding": bounds, "effective": bounds, "permitted": bounds, "inheritable": [], "ambient": []}
    held = ["CAP_" + name for name in granted if name in added]
    return {"bounding": bounds, "effective": held, "permitted": held, "inheritable": held, "ambient": held}


def rlimits(asked: t.Mapping[str, t.Sequence[int]], given: t.Sequence[t.Mapping[str, t.Any]] = ()) -> list[dict[str, t.Any]]:
    """The runtime specification's ``rlimits``: what was asked for, then what a bundle says, then the defaults.

    Without explicit values the limits of whoever calls the runtime would leak into the container: all are named.

    Args:
        asked: Canonical ``ulimits``: name to soft and hard value, ``-1`` unlimited.
        given: ``rlimits`` of a bundle.

    Raises:
        NexcageError: ``E_INVALID`` or ``E_PRIVILEGE`` where the kernel would refuse the value.
    """
    may_raise = _may_raise()
    for name, (soft, hard) in asked.items():
        _check_rlimit(name, soft, hard, may_raise)
    usual = {name: _possible(name, soft, hard, may_raise) for name, (soft, hard) in {**_DEFAULT_RLIMITS, "sigpending": _pending()}.items()}
    if not all(isinstance(entry, dict) and isinstance(entry.get("type"), str) for entry in given):
        raise NexcageError("E_INVALID", "process.rlimits of the bundle's config.json is no list of limits", option="bundle", value=str(given))
    found = {entry["type"]: dict(entry) for entry in [*map(_entry, usual.items()), *given, *map(_entry, asked.items())]}
    return [found[kind] for kind in sorted(found)]


def reachable(limits: t.Sequence[t.Mapping[str, t.Any]], asked: t.Collection[str] = ()) -> list[dict[str, t.Any]]:
    """The same ``rlimits`` as far as this caller can give them: with more the runtime would refuse to start anything.

    Args:
        limits: As another caller could give them.
        asked: Names that are given or refused as they are.
    """
    if _may_raise():
        return [dict(entry) for entry in limits]
    found = []
    for entry in limits:
        name = str(entry["type"]).replace("RLIMIT_", "", 1).lower()
        top = _hard(name) if name in _RLIMITS and name not in asked else -1
        found.append({**entry, **({key: min(entry[key], top) for key in ("soft", "hard")} if top >= 0 else {})})
    return found


def fit(folder: str, record: dict[str, t.Any]) -> None:
    """Let a container that another caller made start with what this one can give it, and note that in its record.

    Args:
        folder: Of the generation.
        record: Its record.
    """
    path = folder + "/config.json"
    content = store.read_bytes(path) or b"{}"
    if hashlib.sha256(content).hexdigest() != record.get("config_sha256"):
        return  # not what we wrote, and not to be noted as if it were
    config = json.loads(content)
    limits = (config.get("process") or {}).get("rlimits") or []
    fitting = reachable(limits, record["spec"].get("ulimits") or {})
    if fitting != limits:
        config["process"]["rlimits"] = fitting
        store.write_json(path, config)
        record["config_sha256"] = records.digest(config)
        store.write_json(folder + "/record.json", record)


def free(pid: int) -> None:
    """Take limits of the caller off a child that shall outlive it, as far as the kernel lets us."""
    for name in _DEADLY:
        number = _number(name)
        soft, hard = resource.getrlimit(number)
        if soft != resource.RLIM_INFINITY:
            best = resource.RLIM_INFINITY if _may_raise() else hard
            with contextlib.suppress(OSError):  # one that has ended says why elsewhere
                resource.prlimit(pid, number, (best, best))


def _may_raise() -> bool:
    """Whether the kernel lets us raise a hard limit: not in a user namespace, whatever capabilities one has there."""
    return "SYS_RESOURCE" in bounding() and (store.read_bytes(f"{PROC}/self/uid_map") or b"").split() == [b"0", b"0", b"4294967295"]


def _pending() -> tuple[int, int]:
    """The kernel's own default, half of the threads that it can have (fork_init in kernel/fork.c)."""
    most = int(store.read_bytes(f"{PROC}/sys/kernel/threads-max") or b"0") // 2 or -1
    return most, most


def _possible(name: str, soft: int, hard: int, may_raise: bool) -> tuple[int, int]:
    """A default as far as the caller can give it."""
    tops = [] if may_raise else [_hard(name)]
    if name == "nofile":
        tops.append(_ceiling())
    for top in tops:
        if top >= 0:
            soft, hard = (top if value < 0 else min(value, top) for value in (soft, hard))
    return soft, hard


def _entry(limit: tuple[str, t.Sequence[int]]) -> dict[str, t.Any]:
    name, (soft, hard) = limit
    return {"type": "RLIMIT_" + name.upper(), "soft": _unsigned(soft), "hard": _unsigned(hard)}


def _ceiling() -> int:
    """The most descriptors that the kernel gives anybody."""
    return int(store.read_bytes(f"{PROC}/sys/fs/nr_open") or b"1048576")


def _unsigned(value: int) -> int:
    return _INFINITY if value < 0 else value


def _number(name: str) -> int:
    number = _NUMBERS.get(name)
    return t.cast(int, getattr(resource, "RLIMIT_" + name.upper())) if number is None else number


def _hard(name: str) -> int:
    hard = resource.getrlimit(_number(name))[1]
    return -1 if hard == resource.RLIM_INFINITY else hard


def _check_rlimit(name: str, soft: int, hard: int, may_raise: bool) -> None:
    shown = f"{name}={soft}:{hard}"
    if name not in _RLIMITS:
        raise NexcageError("E_INVALID", "no such limit", option="ulimits", value=shown, remedy="use " + ", ".join(_RLIMITS))
    if hard >= 0 and (soft < 0 or soft > hard):
        raise NexcageError("E_INVALID", "the soft limit is above the hard limit", option="ulimits", value=shown)
    ceiling = _ceiling() if name == "nofile" else -1
    if ceiling >= 0 and (hard < 0 or hard > ceiling):
        raise NexcageError(
            "E_INVALID",
            f"the kernel's own limit is {ceiling}",
            option="ulimits",
            value=shown,
            remedy=f"use at most {ceiling}, or raise the sysctl fs.nr_open",
        )
    most = _hard(name)
    if most >= 0 and (hard < 0 or hard > most) and not may_raise:
        raise NexcageError(
            "E_PRIVILEGE",
            f"the calling process may set at most {most}, as it lacks CAP_SYS_RESOURCE",
            option="ulimits",
            value=shown,
            remedy=f"use a hard limit of at most {most}, or run with CAP_SYS_RESOURCE",
        )
