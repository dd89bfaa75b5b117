# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the simulated cluster has: nodes, storages with volumes, guests, pools."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t

GIB = 1 << 30
KINDS = {"lxc": "CT", "qemu": "VM"}
UNITS = (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10))


def human(size: int) -> str:
    """A size as configurations write it; 0 is ``0T``."""
    for unit, factor in UNITS:
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def in_bytes(text: str) -> int:
    """Bytes of ``10G``, ``0.5G``, ``1073741824``."""
    for unit, factor in UNITS:
        if text.endswith(unit):
            return int(float(text[:-1]) * factor)
    return int(float(text))


@dataclasses.dataclass
class Node:
    """A member of the cluster.

    Attributes:
        state: ``online``, ``offline`` (its neighbours answer 595 for it) or ``slow`` (596, though it does its work).
    """

    name: str
    ip: str = "192.0.2.2"
    cores: int = 2
    memory: int = 24 * GIB
    bridges: tuple[str, ...] = ("vmbr0",)
    devices: tuple[str, ...] = ("/dev/null", "/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/dri/renderD128", "/dev/ttyS0")
    state: str = "online"
    number: int = 1
    fingerprint: str = ""


@dataclasses.dataclass
class Volume:
    """A disk, template, image or backup on a storage.

    Attributes:
        traits: What a template or backup holds: ``ostype``, ``systemd``, ``init``, ``oci``, ``broken``, ``config``.
        node: Where it is; empty on a shared storage.
    """

    volid: str
    content: str
    format: str
    size: int
    ctime: int = 0
    used: int = 4096
    vmid: int = 0
    node: str = ""
    base: str = ""
    traits: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def storage(self) -> str:
        return self.volid.partition(":")[0]

    @property
    def name(self) -> str:
        return self.volid.partition(":")[2]


@dataclasses.dataclass
class Storage:
    """A place for volumes; ``nodes`` is empty where all nodes have it."""

    id: str
    type: str
    content: list[str]
    path: str = "/var/lib/vz"
    shared: bool = False
    nodes: tuple[str, ...] = ()
    total: int = 200 * GIB
    used: int = 20 * GIB
    enabled: bool = True

    def on(self, node: str) -> bool:
        return not self.nodes or node in self.nodes

    @property
    def snapshots_raw(self) -> bool:
        """Whether raw volumes can be snapshotted and cloned by reference."""
        return self.type in ("btrfs", "zfspool", "lvmthin", "rbd")


@dataclasses.dataclass
class Snapshot:
    """A snapshot of a guest."""

    config: dict[str, str]
    time: int
    description: str = ""
    parent: str = ""
    vmstate: bool = False


@dataclasses.dataclass
class Guest:
    """A container or a virtual machine.

    Attributes:
        config: As its file has it, without snapshots and pending changes.
        pending: What waits for a restart.
        drops: Keys that a restart removes; 2 with force.
        busy: The task that holds the lock on its file.
        reserved: Only the id is taken yet.
        deaf: It does not shut down when asked.
        agent: What its QEMU guest agent can do, if one runs.
    """

    vmid: int
    kind: str
    node: str
    config: dict[str, str] = dataclasses.field(default_factory=dict)
    pending: dict[str, str] = dataclasses.field(default_factory=dict)
    drops: dict[str, int] = dataclasses.field(default_factory=dict)
    snapshots: dict[str, Snapshot] = dataclasses.field(default_factory=dict)
    raw: list[list[str]] = dataclasses.field(default_factory=list)
    running: bool = False
    paused: bool = False
    pid: int = 0
    started: float = 0.0
    busy: t.Any = None
    reserved: bool = False
    deaf: bool = False
    hold: str = ""
    agent: dict[str, t.Any] | None = None
    ha: dict[str, t.Any] | None = None
    firewall: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    fw_rules: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    system: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def lock(self) -> str:
        return self.config.get("lock", "")

    @property
    def template(self) -> bool:
        return self.config.get("template") == "1"

    @property
    def name(self) -> str:
        if self.kind == "lxc":
            return self.config.get("hostname", f"CT{self.vmid}")
        return self.config.get("name", f"VM {self.vmid}")

    @property
    def label(self) -> str:
        return KINDS[self.kind]

    @property
    def file(self) -> str:
        return config_file(self.kind, self.node, self.vmid)

    def digest(self) -> str:
        """Changes whenever the file does."""
        text = repr([sorted(self.config.items()), sorted(self.pending.items()), sorted(self.drops.items()), self.raw, sorted(self.snapshots)])
        return hashlib.sha1(text.encode()).hexdigest()

    def merged(self) -> dict[str, str]:
        """The configuration as it will be after a restart."""
        return {key: value for key, value in {**self.config, **self.pending}.items() if key not in self.drops}


def config_file(kind: str, node: str, vmid: object) -> str:
    return f"nodes/{node}/{'lxc' if kind == 'lxc' else 'qemu-server'}/{vmid}.conf"


@dataclasses.dataclass
class Pool:
    """A resource pool."""

    poolid: str
    comment: str = ""
    vms: set[int] = dataclasses.field(default_factory=set)
    storages: set[str] = dataclasses.field(default_factory=set)
