# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a plugin may ask for: the 28 capability names, and what each is worth.

A table, no decisions. What a call needs and takes stands in ``effects``, apart, as a run of a module reads only
that. The names are those of existing NexCage plugins.
"""

from __future__ import annotations

import typing as t

from .effects import EFFECTS as CONTAINER_EFFECTS
from .effects import OPERATIONS, READ, STATE_QUOTA, WRITE, Effect
from .effects_extra import EXTRA

__all__ = [
    "CAPABILITIES",
    "CONTAINED",
    "EFFECTS",
    "NOTHING",
    "OPERATIONS",
    "READ",
    "ROOT_EQUIVALENT",
    "SCOPED",
    "STATE_QUOTA",
    "WRITE",
    "Capability",
    "Effect",
    "effective_level",
]

EFFECTS: dict[str, Effect] = {**CONTAINER_EFFECTS, **EXTRA}  # every broker call there is

CONTAINED = "contained"  # stays with what belongs to the plugin or to nobody
SCOPED = "scoped"  # acts on named things: this backend's containers, granted roots, hosts, paths
ROOT_EQUIVALENT = "root-equivalent"  # whoever has it can become root on the host
NOTHING = "nothing"  # declared, but opens no call


class Capability(t.NamedTuple):
    """One of the 28 names: its class, whether a task can grant it, the broker calls it gates.

    ``section`` is the field of the manifest that says what exactly is meant ("filesystem.read");
    while it is empty the name opens nothing.
    """

    level: str
    grantable: bool
    calls: tuple[str, ...] = ()
    section: str = ""


def _never(level: str) -> Capability:
    return Capability(level, False)


_IMAGE = ("image.resolve", "image.configuration", "image.ensure")

CAPABILITIES: dict[str, Capability] = {
    "filesystem_read": Capability(SCOPED, True, ("fs.read", "fs.list", "fs.stat"), "filesystem.read"),
    "filesystem_write": Capability(SCOPED, True, ("fs.write", "fs.mkdir", "fs.remove"), "filesystem.write"),
    "filesystem_execute": _never(ROOT_EQUIVALENT),
    "network_client": Capability(SCOPED, True, ("http.request", "proxmox.request"), "network"),
    "network_server": _never(SCOPED),
    "network_raw": _never(ROOT_EQUIVALENT),
    "process_spawn": _never(ROOT_EQUIVALENT),
    "process_signal": _never(ROOT_EQUIVALENT),
    "process_ptrace": _never(ROOT_EQUIVALENT),
    "system_info": _never(CONTAINED),
    "system_metrics": _never(CONTAINED),
    "container_create": Capability(SCOPED, True, (*_IMAGE, "oci.check", "oci.create", "oci.replace")),
    "container_start": Capability(SCOPED, True, ("oci.start", "oci.pause", "oci.resume", "oci.update", "oci.heal")),
    "container_stop": Capability(SCOPED, True, ("oci.stop", "oci.kill")),
    "container_delete": Capability(SCOPED, True, ("oci.delete", "oci.replace")),
    "container_exec": Capability(SCOPED, True, ("oci.exec", "oci.exists")),
    "container_list": Capability(CONTAINED, True, ("oci.list", "oci.features")),
    "container_info": Capability(CONTAINED, True, ("oci.info", "oci.logs", "oci.features")),
    "host_command": Capability(ROOT_EQUIVALENT, True, ("command.run",), "commands"),
    "host_mount": _never(ROOT_EQUIVALENT),
    "host_device": _never(ROOT_EQUIVALENT),
    "config_read": _never(SCOPED),
    "config_write": _never(ROOT_EQUIVALENT),
    "logging": Capability(CONTAINED, True, ("log",)),
    "metrics": _never(CONTAINED),
    "tracing": _never(CONTAINED),
    "api_server": _never(SCOPED),
    "api_client": _never(SCOPED),
}


def effective_level(name: str, manifest: t.Mapping[str, t.Any]) -> str:
    """The class of a declared capability in this manifest, ``NOTHING`` where it opens no call.

    A capability is an upper bound: ``host_command`` without an entry in ``commands`` opens nothing and
    is not root-equivalent. ``KeyError`` for a name that is not one of the 28.
    """
    row = CAPABILITIES[name]
    if not row.grantable:
        return NOTHING
    if not row.section:
        return row.level
    scope: t.Any = manifest
    for part in row.section.split("."):
        scope = scope.get(part) or {}
    return row.level if scope else NOTHING
