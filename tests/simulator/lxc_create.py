# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""POST /nodes/{node}/lxc: from a template, an OCI image or a backup."""

from __future__ import annotations

import re
import typing as t

from . import values
from .errors import TaskError, bad, failed, refused
from .lxc_may import Wishes
from .service import Call, answers
from .tasks import Task, Work
from .volumes import NEW, PATH_ONLY_ROOT, VOLUME, allocate, check_storage, check_volume, destroy_all, formatted, gib, remove, sized, used_by
from .world import GIB, Guest, Volume, in_bytes

CREATE_ONLY = "vmid ostemplate password ssh-public-keys storage restore unique force bwlimit start ha-managed ignore-unpack-errors pool".split()
DISK = re.compile(r"rootfs|mp\d+")
EXCLUDES = (
    "--totals --one-file-system -p --sparse --numeric-owner --acls --xattrs '--xattrs-include=user.*' '--xattrs-include=security.capability' "
    "'--warning=no-file-ignored' '--warning=no-xattr-write'"
)


@answers("POST /nodes/{node}/lxc")
def create(call: Call) -> t.Any:
    cluster, vmid = call.cluster, call.vmid
    restore = call.flag("restore")
    old = cluster.guests.get(vmid)
    if not (restore and call.flag("force") and old is not None and old.kind == "lxc" and old.node == call.node):
        cluster.check_free(vmid)
        old = None
    new = {key: value for key, value in call.sent().items() if key not in CREATE_ONLY}
    unprivileged = new.get("unprivileged", "1" if cluster.nine and not restore else "0") == "1"
    _permitted(call, new, unprivileged)
    storage = call.get("storage", "local")
    check_storage(cluster, call.who, storage, "rootdir", call.node)
    if call["ostemplate"].startswith("/") or not VOLUME.fullmatch(call["ostemplate"]):
        if not call.who.is_root:
            raise failed(PATH_ONLY_ROOT)
    else:
        check_volume(cluster, call.who, call["ostemplate"], "backup" if restore else "vztmpl")
    _disks_allowed(call, new)
    if "ssh-public-keys" in call.params and not re.match(r"(ssh-|ecdsa-|sk-)\S+ +\S+", call["ssh-public-keys"].strip()):
        raise failed("SSH public key validation error")
    kept = {key: values.store(cluster, "lxc", key, value) for key, value in new.items() if not DISK.fullmatch(key)}
    config = {key: value for key, value in kept.items() if value is not None and key != "unprivileged"}
    disks = {key: value for key, value in new.items() if DISK.fullmatch(key)}
    return _begin(call, config, disks, unprivileged, old)


def _begin(call: Call, config: dict[str, str], disks: dict[str, str], unprivileged: bool, old: Guest | None) -> str:
    cluster, vmid, restore = call.cluster, call.vmid, call.flag("restore")
    if old is not None:
        destroy_all(cluster, old, False)
    guest = cluster.guests[vmid] = Guest(vmid, "lxc", call.node, {"lock": "create"})
    if "pool" in call.params:
        cluster.pools[call["pool"]].vms.add(vmid)
    if call.flag("ha-managed"):
        guest.ha = {"state": "started" if call.flag("start") else "stopped"}
    making = _Making(call, guest, config, disks, unprivileged)
    return cluster.tasks.start(call.who, call.node, "vzrestore" if restore else "vzcreate", vmid, making.work)


def _permitted(call: Call, new: dict[str, str], unprivileged: bool) -> None:
    access, who = call.cluster.access, call.who
    pool = call.get("pool", "")
    if pool:
        call.cluster.need_pool(pool, who)
    if not access.may(who, f"/vms/{call.vmid}", "VM.Allocate") and not (pool and access.may(who, f"/pool/{pool}", "VM.Allocate")):
        raise refused()
    if call.cluster.nine and not unprivileged and not call.flag("restore") and not access.may(who, "/", "Sys.Modify"):
        raise refused("/, Sys.Modify")
    Wishes(call.cluster, who, call.vmid, unprivileged, pool=pool).check({key: value for key, value in new.items() if key != "unprivileged"}, [])


def _disks_allowed(call: Call, new: dict[str, str]) -> None:
    cluster = call.cluster
    for key, value in sorted(new.items()):
        if not DISK.fullmatch(key):
            continue
        volume = cluster.verifier.parse("lxc-mp", value)["volume"]
        match = NEW.fullmatch(volume)
        if match:
            check_storage(cluster, call.who, match[1], "rootdir", call.node)
        elif not (key != "rootfs" and volume.startswith("/")):
            check_volume(cluster, call.who, volume, vmid=call.vmid)
    if any(key.startswith("mp") for key in new) and "rootfs" not in new and not call.flag("restore"):
        raise failed("mount points configured, but 'rootfs' not set - aborting")


class _Making:
    """The work of a creation."""

    def __init__(self, call: Call, guest: Guest, config: dict[str, str], disks: dict[str, str], unprivileged: bool) -> None:
        self.call, self.cluster, self.guest = call, call.cluster, guest
        self.config, self.disks, self.unprivileged = config, disks, unprivileged
        self.made: list[str] = []

    def work(self, task: Task) -> Work:
        yield from self.cluster.tasks.hold(task, self.guest)
        try:
            yield 0.3
            source = self._source()
            yield from self._allocate(task, source)
            yield 1.0
            self._unpack(task, source)
        except TaskError as error:
            self._undo()
            verb = "restore" if self.call.flag("restore") else "create"
            raise TaskError(f"unable to {verb} CT {self.guest.vmid} - {error}") from None
        self._finish(task, source)

    def _source(self) -> Volume | None:
        return self.cluster.volume(self.call["ostemplate"], self.call.node)

    def _allocate(self, task: Task, source: Volume | None) -> Work:
        storage = self.call.get("storage", "local")
        if self.call.flag("restore") and "rootfs" not in self.disks and source is not None:
            saved = source.traits.get("config", {})
            self.disks = {key: f"{storage}:{in_bytes(_size(value)) / GIB:g}{_options(value)}" for key, value in saved.items() if DISK.fullmatch(key)}
        self.disks.setdefault("rootfs", f"{storage}:4")
        for key in sorted(self.disks, key=lambda name: (name != "rootfs", name)):
            parts = self.cluster.verifier.parse("lxc-mp", self.disks[key])
            match = NEW.fullmatch(parts["volume"])
            if match:
                made = allocate(self.cluster, match[1], self.guest.vmid, self.guest.node, gib(match[2]), "rootdir")
                self.made.append(made.volid)
                task.log(formatted(self.cluster, made))
                task.log(f"Creating filesystem with {made.size // 4096} 4k blocks")
                parts = sized({**parts, "volume": made.volid}, made.size)
                self.disks[key] = self.cluster.verifier.join("lxc-mp", parts)
            yield 0.1

    def _unpack(self, task: Task, source: Volume | None) -> None:
        name = self.call["ostemplate"]
        if source is None:
            raise TaskError(f"can't find file '{name}'" if name.startswith("/") else f"volume '{name}' does not exist")
        task.log(f"extracting archive '{name}'")
        if source.traits.get("broken"):
            mapped = "lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- " if self.unprivileged else ""
            target = f"-C /var/lib/lxc/{self.guest.vmid}/rootfs --skip-old-files --anchored --exclude './dev/*'"
            raise TaskError(f"command '{mapped}tar xpf - -z {EXCLUDES} {target}' failed: exit code 2")
        systemd = source.traits.get("systemd")
        nesting = "nesting=1" in self.config.get("features", "")
        if systemd and self.cluster.nine and not nesting:
            task.warn(f"Systemd {systemd} detected. You may need to enable nesting.")

    def _undo(self) -> None:
        for volid in self.made:
            remove(self.cluster, volid, self.guest.node)
        self.cluster.guests.pop(self.guest.vmid, None)
        for pool in self.cluster.pools.values():
            pool.vms.discard(self.guest.vmid)

    def _finish(self, task: Task, source: Volume | None) -> None:
        traits = source.traits if source else {}
        config = {"arch": "amd64", "hostname": f"CT{self.guest.vmid}", "memory": "512", "swap": "512"}
        if self.call.flag("restore"):
            config = {key: value for key, value in traits.get("config", {}).items() if key not in used_by(traits.get("config", {}), "lxc")}
            self.unprivileged = self.unprivileged if "unprivileged" in self.call.params else config.get("unprivileged") == "1"
            config.pop("unprivileged", None)
        config = {"ostype": traits.get("ostype", "unmanaged"), **config, **self.config, **self.disks}
        if self.unprivileged:
            config["unprivileged"] = "1"
        self.guest.system = dict(traits)
        if traits.get("oci") is not None:
            self._image(config, traits["oci"])
        self.guest.config = config
        if self.call.flag("start"):
            from .lxc_actions import start_task

            self.cluster.clock.later(0.05, lambda: start_task(self.cluster, task.who, self.guest))

    def _image(self, config: dict[str, str], image: dict[str, t.Any]) -> None:
        """What an OCI image sets; it wins over what was asked for."""
        self.guest.raw = [list(pair) for pair in image.get("lxc", [])]
        if image.get("env"):
            config["env"] = "\0".join(image["env"])
        if not image.get("entrypoint"):
            return
        config["entrypoint"], config["cmode"] = image["entrypoint"], "console"
        for key in [name for name in config if re.fullmatch(r"net\d+", name)]:
            parts = self.cluster.verifier.parse("lxc-net", config[key])
            parts.setdefault("host-managed", "1")
            config[key] = self.cluster.verifier.join("lxc-net", parts)


def _size(value: str) -> str:
    match = re.search(r"(?:^|,)size=([^,]+)", value)
    return match[1] if match else "4G"


def _options(value: str) -> str:
    rest = [part for part in value.split(",")[1:] if not part.startswith("size=")]
    return "".join("," + part for part in rest)


def no_rootdir(name: str) -> Exception:
    return bad(storage=f"storage '{name}' does not support container directories")
