# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which privilege each key of a machine's configuration needs."""

from __future__ import annotations

import re

from .access import Who
from .cluster import Cluster
from .errors import failed, refused
from .lxc_may import check_bridge, check_tags

CPU = "cores sockets cpu cpulimit cpuunits numa smp vcpus"
MEMORY = "memory balloon hugepages keephugepages shares allow-ksm"
HARDWARE = "acpi arch audio0 bios hotplug kvm machine rng0 scsihw smbios1 spice_enhancements tablet vga watchdog serial parallel usb hostpci ivshmem virtiofs"
NETWORK = "net"
CLOUDINIT = "cicustom cipassword citype ciupgrade ciuser ipconfig nameserver searchdomain sshkeys"
DISKS = "ide sata scsi virtio efidisk tpmstate unused"
GROUPS: dict[str, str] = {}
for _names, _privilege in (
    (CPU, "VM.Config.CPU"),
    (MEMORY, "VM.Config.Memory"),
    (HARDWARE, "VM.Config.HWType"),
    (NETWORK, "VM.Config.Network"),
    (CLOUDINIT, "VM.Config.Cloudinit|VM.Config.Network"),
    (DISKS, "VM.Config.Disk"),
):
    GROUPS.update(dict.fromkeys(_names.split(), _privilege))
ROOT_ONLY = ("args", "affinity", "lock", "hookscript", "vmgenid", "spice_enhancements", "hugepages", "keephugepages", "arch", "ivshmem", "parallel")
REAL = {"serial": r"(?!socket$).*", "usb": r"(?!(?:host=)?spice(?:,|$)).*"}  # values that stand for something of the host


class MachineWishes:
    """What somebody wants of a machine."""

    def __init__(self, cluster: Cluster, who: Who, vmid: int, tags: str = "", pool: str = "", create: bool = False) -> None:
        self.cluster, self.who, self.vmid, self.tags, self.pool, self.create = cluster, who, vmid, tags, pool, create

    def check(self, new: dict[str, str], deleted: list[str], config: dict[str, str] | None = None) -> None:
        """Refuses the first key that is not allowed."""
        if self.who.is_root:
            return
        for key in [*sorted(new), *deleted]:
            self._key(key, re.sub(r"\d+$", "", key) if key not in GROUPS else key, new.get(key), (config or {}).get(key, ""))

    def _need(self, privileges: str) -> None:
        access, path = self.cluster.access, f"/vms/{self.vmid}"
        wanted = privileges.split("|")
        if not access.may(self.who, path, *wanted, any_of=True) and not (self.pool and access.may(self.who, f"/pool/{self.pool}", *wanted, any_of=True)):
            raise refused(f"{path}, {privileges}")

    def _key(self, key: str, family: str, value: str | None, old: str) -> None:
        if key in ROOT_ONLY or family in ROOT_ONLY:
            raise failed(f"only root can set '{key}' config")
        self._hardware(key, family, value, old)
        if key == "startup":
            self.cluster.access.check(self.who, "/", "Sys.Modify")
        elif key == "tags":
            check_tags(self.cluster, self.who, self.vmid, self.tags, value or "", self._need)
        elif family in DISKS.split() and self.create:
            pass  # the right to use the storage is enough
        elif family in DISKS.split() and "media=cdrom" in (value or old) and ":cloudinit" not in (value or ""):
            self._need("VM.Config.CDROM")
        else:
            self._need(GROUPS.get(family, "VM.Config.Options"))
        if family == "net" and value is not None:
            bridge = self.cluster.verifier.parse("qemu-net", value).get("bridge", "")
            if not bridge and not self.cluster.nine:
                raise failed("no sdn vnet ID specified")
            check_bridge(self.cluster, self.who, bridge)

    def _hardware(self, key: str, family: str, value: str | None, old: str) -> None:
        text = value if value is not None else old
        if family in REAL and text and "mapping=" not in text and re.fullmatch(REAL[family], text):
            raise failed(f"only root can {'modify' if family == 'serial' and not self.create else 'set'} '{key}' config for real devices")
        if family == "hostpci" and "mapping=" not in text:
            raise failed(f"only root can set '{key}' config for non-mapped devices")
        if key == "rng0" and "hwrng" in text and not self.cluster.access.may(self.who, "/mapping/hwrng", "Mapping.Use"):
            raise refused("/mapping/hwrng, Mapping.Use")
