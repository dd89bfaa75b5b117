# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which privilege each key of a container's configuration needs."""

from __future__ import annotations

import re

from .access import Who
from .cluster import Cluster
from .errors import ApiError, failed, refused
from .formats import split_list
from .volumes import VOLUME

NETWORK = ("nameserver", "searchdomain", "hostname")
ROOT_ONLY = {"hookscript": "changing the hookscript", "dev": "configuring device passthrough"}
PRIVILEGE = dict.fromkeys(("cores", "cpuunits", "cpulimit"), "VM.Config.CPU") | dict.fromkeys(("memory", "swap"), "VM.Config.Memory")
PRIVILEGE |= dict.fromkeys(NETWORK, "VM.Config.Network") | dict.fromkeys(("rootfs", "mp", "unused"), "VM.Config.Disk")


def only_root(what: str) -> ApiError:
    return refused(f"{what} is only allowed for root@pam")


class Wishes:
    """What somebody wants of a container.

    Args:
        unprivileged: Whether it is or becomes an unprivileged one.
        features: What it has of them so far.
        tags: Those that it has so far.
    """

    def __init__(self, cluster: Cluster, who: Who, vmid: int, unprivileged: bool, features: str = "", tags: str = "", pool: str = "") -> None:
        self.cluster, self.who, self.vmid, self.unprivileged, self.features, self.tags, self.pool = cluster, who, vmid, unprivileged, features, tags, pool

    def check(self, new: dict[str, str], deleted: list[str]) -> None:
        """Refuses the first key that is not allowed."""
        if self.who.is_root:
            return
        for key in [*sorted(new), *deleted]:
            self._key(re.sub(r"\d+$", "", key), new.get(key))

    def _need(self, privilege: str) -> None:
        access, path = self.cluster.access, f"/vms/{self.vmid}"
        if not access.may(self.who, path, privilege) and not (self.pool and access.may(self.who, f"/pool/{self.pool}", privilege)):
            raise refused(f"{path}, {privilege}")

    def _key(self, family: str, value: str | None) -> None:
        if family in ROOT_ONLY:
            raise only_root(ROOT_ONLY[family])
        if family == "features":
            self._features(value or "")
        elif family == "net":
            self._need("VM.Config.Network")
            if value is not None:
                bridge = self.cluster.verifier.parse("lxc-net", value).get("bridge", "")
                if not bridge and not self.cluster.nine:
                    raise failed("no sdn vnet ID specified")
                check_bridge(self.cluster, self.who, bridge)
        elif family in ("mp", "rootfs"):
            self._need("VM.Config.Disk")
            if value is not None:
                self._mount(value)
        elif family == "tags":
            check_tags(self.cluster, self.who, self.vmid, self.tags, value or "", self._need)
        else:
            self._need(PRIVILEGE.get(family, "VM.Config.Options"))

    def _mount(self, value: str) -> None:
        volume = self.cluster.verifier.parse("lxc-mp", value).get("volume", "")
        if volume.startswith("/") and not VOLUME.fullmatch(volume):
            raise only_root(f"mount point type {'device' if volume.startswith('/dev/') else 'bind'}")

    def _features(self, value: str) -> None:
        if not self.unprivileged:
            raise only_root("changing feature flags for privileged container")
        parse = self.cluster.verifier.parse
        wanted, have = (parse("lxc-features", text.strip()) for text in (value, self.features))
        if {key for key in {*wanted, *have} - {"nesting"} if wanted.get(key, "0") != have.get(key, "0")}:
            raise only_root("changing feature flags (except nesting)")
        self._need("VM.Allocate")


def check_bridge(cluster: Cluster, who: Who, bridge: str) -> None:
    """The right to use a bridge."""
    if bridge:
        cluster.access.check(who, f"/sdn/zones/localnetwork/{bridge}", "SDN.Use")


def check_tags(cluster: Cluster, who: Who, vmid: int, old: str, new: str, need: object) -> None:
    """Tags that are not free for all need more."""
    allowed = cluster.verifier.parse("cluster-user-tag-access", cluster.options.get("user-tag-access", ""))
    registered = cluster.options.get("registered-tags", "").split(";")
    may_modify = cluster.access.may(who, "/", "Sys.Modify")
    if callable(need):
        need("VM.Config.Options")
    changed = {one.lower() for one in split_list(old)} ^ {one.lower() for one in split_list(new)}
    for tag in sorted(changed):
        free = allowed.get("user-allow", "free") == "free" or tag in allowed.get("user-allow-list", "").split(";")
        if (not free or tag in registered) and not may_modify:
            raise refused(f"/, Sys.Modify for modifying tag '{tag}'")
