# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creating machines and changing their configuration."""

from __future__ import annotations

import re
import typing as t

from . import qemu_disks, values
from .errors import ApiError, TaskError, failed, refused, wrong
from .formats import split_list
from .lxc_config import deletions, unlocked
from .qemu_may import MachineWishes
from .service import Call, answers
from .tasks import Task, Work
from .volumes import check_volume, keep_unused, remove, used_by
from .world import Guest

CREATE_ONLY = "vmid archive bwlimit force ha-managed import-working-storage live-restore pool start storage unique".split()
ONLY_CHANGE = ("delete", "revert", "digest", "skiplock", "force", "background_delay", "import-working-storage")
AT_ONCE = (
    "description hookscript lock migrate_downtime migrate_speed name onboot protection shares startup tags vmstatestorage template balloon cpulimit cpuunits "
    "ciuser cipassword sshkeys nameserver searchdomain ipconfig cicustom citype ciupgrade hotplug"
).split()
HOT_DISK_OPTIONS = ("backup", "replicate", "iops", "iops_rd", "iops_wr", "mbps", "mbps_rd", "mbps_wr", "bps", "bps_rd", "bps_wr", "size")


# ---- create


@answers("POST /nodes/{node}/qemu")
def create(call: Call) -> t.Any:
    cluster, vmid, pool = call.cluster, call.vmid, call.get("pool", "")
    if pool:
        cluster.need_pool(pool, call.who)
    if not cluster.access.may(call.who, f"/vms/{vmid}", "VM.Allocate") and not (pool and cluster.access.may(call.who, f"/pool/{pool}", "VM.Allocate")):
        raise refused()
    new = {key: value for key, value in call.sent().items() if key not in CREATE_ONLY}
    _archive(call, new)
    MachineWishes(cluster, call.who, vmid, pool=pool, create=True).check(new, [])
    disks = {key: value for key, value in new.items() if qemu_disks.KEY.fullmatch(key)}
    qemu_disks.allowed(call, disks, vmid)
    _keys_valid(new)
    try:
        cluster.check_free(vmid)
    except ApiError as error:
        raise failed(f"unable to create VM {vmid} - {error.message}") from None
    guest = cluster.guests[vmid] = Guest(vmid, "qemu", call.node, {"lock": "create"})
    if pool:
        cluster.pools[pool].vms.add(vmid)
    if call.flag("ha-managed"):
        guest.ha = {"state": "started" if call.flag("start") else "stopped"}
    kind = "qmrestore" if "archive" in call.params else "qmcreate"
    return cluster.tasks.start(call.who, call.node, kind, vmid, lambda task: _creating(call, guest, new, disks, task))


def _keys_valid(new: dict[str, str]) -> None:
    import urllib.parse

    if "sshkeys" in new:
        text = urllib.parse.unquote(new["sshkeys"]).strip()
        if text and not all(re.match(r"(?:ssh-|ecdsa-|sk-)\S+ +\S+", line) for line in text.splitlines()):
            raise failed("SSH public key validation error")


def _archive(call: Call, new: dict[str, str]) -> None:
    if "archive" not in call.params:
        return
    errors = {key: "option conflicts with option 'archive'" for key in new if qemu_disks.KEY.fullmatch(key)}
    if errors:
        raise wrong(errors)
    check_volume(call.cluster, call.who, call["archive"], "backup")


def _creating(call: Call, guest: Guest, new: dict[str, str], disks: dict[str, str], task: Task) -> Work:
    cluster = call.cluster
    yield from cluster.tasks.hold(task, guest)
    yield 0.3
    kept = {key: values.store(cluster, "qemu", key, value) for key, value in new.items() if key not in disks}
    config = {key: value for key, value in kept.items() if value is not None}
    if "tags" in new and not cluster.nine:
        config["tags"] = ";".join(sorted(set(split_list(new["tags"]))))  # as they were sent
    made: list[str] = []
    try:
        if "archive" in call.params:
            config, disks = _restored(call, config)
        for key in sorted(disks):
            config[key] = qemu_disks.realise(cluster, guest, key, disks[key], task.lines)
            made += [volid for volid in used_by({key: config[key]}, "qemu").values() if f"/vm-{guest.vmid}-" in volid]
            yield 0.3
    except TaskError as error:
        for volid in made:
            remove(cluster, volid, guest.node)
        cluster.guests.pop(guest.vmid, None)
        raise TaskError(f"unable to {'restore' if 'archive' in call.params else 'create'} VM {guest.vmid} - {error}") from None
    config.setdefault("boot", qemu_disks.default_boot(config))
    config["meta"] = f"creation-qemu={'10.1.2' if cluster.nine else '9.2.0'},ctime={int(cluster.clock.now())}"
    config.setdefault("smbios1", f"uuid={cluster.uuid()}")
    config["vmgenid"] = config.get("vmgenid", "1").replace("1", cluster.uuid()) if len(config.get("vmgenid", "1")) == 1 else config["vmgenid"]
    guest.config = config
    if call.flag("start"):
        from .qemu_actions import start_machine

        cluster.clock.later(0.05, lambda: start_machine(cluster, task.who, guest))


def _restored(call: Call, config: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    source = call.cluster.volume(call["archive"], call.node)
    if source is None:
        raise TaskError(f"volume '{call['archive']}' does not exist")
    saved = dict(source.traits.get("config", {}))
    disks = {}
    for key, volid in used_by(saved, "qemu").items():
        home = call.get("storage", volid.partition(":")[0])
        size = re.search(r"size=(\d+)G", saved[key])
        disks[key] = f"{home}:{size[1] if size else 1}"
        saved.pop(key)
    return {**saved, **config}, disks


# ---- change


def _change(call: Call) -> tuple[Guest, t.Callable[[], None]]:
    """What a change will do, once all is checked that is checked at once."""
    cluster = call.cluster
    new = {key: value for key, value in call.sent().items() if key not in ONLY_CHANGE}
    gone, back = deletions(call), deletions(call, "revert")
    if not new and not gone and not back:
        raise failed("no options specified")
    guest = call.guest()
    if "hookscript" in new and cluster.volume(new["hookscript"], guest.node) is None:
        raise wrong({"hookscript": f"script '{new['hookscript']}' does not exist\n"})
    MachineWishes(cluster, call.who, guest.vmid, guest.merged().get("tags", "")).check(new, gone, guest.merged())
    disks = {key: value for key, value in new.items() if qemu_disks.KEY.fullmatch(key)}
    qemu_disks.allowed(call, disks, guest.vmid)
    _keys_valid(new)
    cluster.tasks.hold_now(guest)
    guest = call.guest()  # it may have gone meanwhile
    if "digest" in call.params and call["digest"] != guest.digest():
        raise failed("checksum mismatch (file change by other user?)")
    if not (gone == ["lock"] or call.flag("skiplock")):
        unlocked(guest)
    return guest, lambda: _Apply(call, guest).all(new, gone, back)


@answers("PUT /nodes/{node}/qemu/{vmid}/config")
def put(call: Call) -> t.Any:
    _guest, act = _change(call)
    try:
        act()
    except TaskError as error:
        raise failed(str(error)) from None


@answers("POST /nodes/{node}/qemu/{vmid}/config")
def post(call: Call) -> t.Any:
    guest, act = _change(call)
    if call.get("background_delay"):
        act()
        return None

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        yield 0.3
        act()

    return call.cluster.tasks.start(call.who, call.node, "qmconfig", guest.vmid, work)


class _Apply:
    """One change of a machine's configuration."""

    def __init__(self, call: Call, guest: Guest) -> None:
        self.call, self.cluster, self.guest = call, call.cluster, guest

    def all(self, new: dict[str, str], gone: list[str], back: list[str]) -> None:
        if self.guest.config.get("protection") == "1":
            for key in [*new, *gone]:
                if qemu_disks.KEY.fullmatch(key) or key.startswith("unused"):
                    raise failed(f"can't remove drive '{key}' - protection mode enabled")
        for key in back:
            self.guest.pending.pop(key, None)
            self.guest.drops.pop(key, None)
        for key in gone:
            self._drop(key)
        problems = {key: problem for key, text in new.items() if (problem := self._set(key, text))}
        if problems:
            raise wrong(problems)

    def _hot(self, key: str) -> bool:
        return not self.guest.running or key in AT_ONCE or bool(re.fullmatch(r"ipconfig\d+|unused\d+", key))

    def _features(self) -> list[str]:
        text = self.guest.config.get("hotplug", "1")
        return [] if text == "0" else ["network", "disk", "usb"] if text == "1" else text.split(",")

    def _drop(self, key: str) -> None:
        self.guest.pending.pop(key, None)
        if self._hot(key):
            qemu_disks.drop(self.cluster, self.guest, key)
        elif key in self.guest.config:
            self.guest.drops[key] = 2 if self.call.flag("force") else 1

    def _set(self, key: str, text: str) -> str:
        """Sets one key; what could not be done to the running machine."""
        self.guest.drops.pop(key, None)
        if qemu_disks.KEY.fullmatch(key):
            return self._disk(key, text)
        kept = values.store(self.cluster, "qemu", key, text)
        if key == "vmgenid" and text == "1":
            kept = self.cluster.uuid()
        if self._hot(key) or (key.startswith("net") and "network" in self._features() and self._net_fits(key, str(kept))):
            self.guest.pending.pop(key, None)
            if kept is None:
                self.guest.config.pop(key, None)
            else:
                self.guest.config[key] = kept
            return ""
        if kept is None or kept == self.guest.config.get(key):
            self.guest.pending.pop(key, None)
        else:
            self.guest.pending[key] = kept
        if key.startswith("net") and key in self.guest.config and "network" in self._features():
            return f"hotplug problem - error on hot-unplugging device '{key}'\n"
        return ""

    def _net_fits(self, key: str, text: str) -> bool:
        """Whether a running network can become this one: a new one, or one of the same model and address."""
        old = self.guest.config.get(key)
        if old is None:
            return True
        before, after = (self.cluster.verifier.parse("qemu-net", one) for one in (old, text))
        return before.get("model") == after.get("model") and before.get("macaddr") == after.get("macaddr")

    def _disk(self, key: str, text: str) -> str:
        old = self.guest.config.get(key)
        before = used_by(self.guest.config, "qemu").get(key)
        made = qemu_disks.realise(self.cluster, self.guest, key, text, [])
        after = used_by({key: made}, "qemu").get(key)
        hot = old is None and key.startswith(("scsi", "virtio")) and "disk" in self._features()
        if not self.guest.running or hot or (before == after and self._only_hot(old or "", made)):
            self.guest.pending.pop(key, None)
            self.guest.config[key] = made
            boot = self.guest.config.get("boot", "")
            if old is None and "media=cdrom" in made and boot.startswith("order="):
                self.guest.config["boot"] = f"{boot};{key}"
            if "cloudinit" in made:
                qemu_disks.custom_files(self.cluster, self.guest)  # too late: the drive is written already
            if before and before != after:
                keep_unused(self.guest.config, before)
        else:
            self.guest.pending[key] = made
        return ""

    def _only_hot(self, old: str, new: str) -> bool:
        one, two = (self.cluster.verifier.parse("qemu-drive", text) for text in (old, new)) if old else ({}, {"file": ""})
        return all(one.get(name) == two.get(name) or name in HOT_DISK_OPTIONS for name in {*one, *two})
