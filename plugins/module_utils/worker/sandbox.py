# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker may use, whom it becomes, and how strong its confinement turned out to be."""

from __future__ import annotations

import os
import re
import typing as t

from .channel import FROM_WORKER

TIERS = ("process", "standard", "strong")
NEEDED = frozenset(("rlimits", "no_new_privs", "seccomp"))  # layers of the tier standard
# What the tier strong has beyond them, each proven from inside.
NAMESPACES = ("mount_namespace", "pid_namespace", "network_namespace", "uts_namespace", "capabilities")
STRONG = frozenset((*NAMESPACES, "uid", "pdeathsig"))
CALLS, LOGS = 1000, 256  # per operation
MEMORY = 64 << 20  # bytes; an interpreter needs that much address space to begin
MESSAGE = 4096  # characters kept of a message
# What a plugin that did not come with the collection may import; each costs time, so built-in ones get none.
PRELOADABLE = (
    *("_strptime", "abc", "base64", "binascii", "bisect", "collections", "collections.abc", "contextlib", "copy"),
    *("dataclasses", "datetime", "decimal", "enum", "fnmatch", "fractions", "functools", "hashlib", "heapq", "hmac"),
    *("ipaddress", "itertools", "json", "math", "operator", "posixpath", "random", "re", "shlex", "statistics", "string", "struct"),
    *("textwrap", "time", "types", "typing", "unicodedata", "urllib.parse", "uuid", "zlib"),
)
NOBODY = 65534
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Limits(t.NamedTuple):
    """What one worker may use.

    Args:
        memory: Bytes of address space.
        cpu: Seconds of processor time over the worker's life.
        descriptors: Open files.
        timeout: Seconds that one operation may spend in the plugin; brokered calls do not count.
        calls: Brokered calls per operation.
        logs: Log lines per operation.
        frame: Bytes of one frame from the worker.
    """

    memory: int = MEMORY
    cpu: int = 2
    descriptors: int = 100
    timeout: float = 30.0
    calls: int = CALLS
    logs: int = LOGS
    frame: int = FROM_WORKER


def limits_of(requirements: t.Mapping[str, t.Any]) -> Limits:
    """The limits that a manifest's ``resource_requirements`` ask for, with the manifest's defaults.

    ``max_cpu_percent`` of ``timeout_seconds`` is a budget of processor seconds, at least one; less memory
    than an interpreter needs to start is raised to that.
    """
    timeout = requirements.get("timeout_seconds", 30)
    return Limits(
        memory=max(requirements.get("max_memory_mb", 64) << 20, MEMORY),
        cpu=max(1, requirements.get("max_cpu_percent", 5) * timeout // 100),
        descriptors=max(requirements.get("max_file_descriptors", 100), 16),
        timeout=float(timeout),
    )


class Sandbox(t.NamedTuple):
    """What confines a worker: tier, the layers that hold, and why others do not."""

    tier: str
    layers: tuple[str, ...]
    missing: dict[str, str]

    def as_dict(self) -> dict[str, t.Any]:
        """As it stands in a task's result."""
        return {"tier": self.tier, "layers": list(self.layers), "missing": dict(self.missing)}


def clean(text: object) -> str:
    """A worker's text on one line: control and direction characters written out, cut at MESSAGE characters."""
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], str(text)[:MESSAGE])


def identity() -> tuple[int, int]:
    """The user and group a worker becomes, (-1, -1) where this process may not change its user.

    ``nexcage-worker`` where the role made it, else nobody. Ending a process of another user needs
    CAP_KILL, so a root without it keeps the worker. The files are read directly: a name service may be slow.
    """
    if os.geteuid() != 0:
        return -1, -1
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            effective = int(next(line for line in status if line.startswith("CapEff:")).split()[1], 16)
    except (OSError, StopIteration):
        return -1, -1
    if effective & 0xE0 != 0xE0:  # CAP_KILL, CAP_SETGID, CAP_SETUID
        return -1, -1
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as users:
            for line in users:
                if line.startswith("nexcage-worker:"):
                    fields = line.split(":")
                    return int(fields[2]) or NOBODY, int(fields[3]) or NOBODY
    except (OSError, ValueError, IndexError):
        pass
    return NOBODY, NOBODY


def judge(frame: dict[str, t.Any]) -> Sandbox:
    """The tier that the facts in the ready frame amount to."""
    layers = tuple(clean(name) for name in frame["layers"])
    missing = {clean(name): clean(reason) for name, reason in frame["missing"].items()}
    tested = frame["selftest"]
    open_doors = [name for name in ("open", "socket", "fork", "exec") if tested.get(name) != "EPERM"]
    if "seccomp" in layers and open_doors:
        missing["selftest"] = ", ".join(f"{name} answers {clean(tested.get(name))}" for name in open_doors)
    if not NEEDED.issubset(layers) or open_doors:
        return Sandbox("process", layers, missing)
    return Sandbox("strong" if STRONG.issubset(layers) else "standard", layers, missing)
