# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones: of containers, whose ids are taken at once, and of machines, whose ids are taken by the task."""

from __future__ import annotations

import re
import typing as t

from . import values
from .cluster import Cluster
from .disks import props_of
from .errors import TaskError, failed
from .lxc_config import unlocked
from .lxc_may import check_bridge
from .service import Call, answers
from .snapshots import can_snapshot
from .tasks import Task, Work
from .volumes import allocate, check_storage, free_name, remove, sized, used_by
from .world import Guest, Volume

NOT_COPIED = ("lock", "template", "parent", "snaptime", "vmstate", "protection")


def _target(call: Call) -> str:
    target = str(call.get("target", call.node))
    if target not in call.cluster.nodes:
        raise failed(f"no such cluster node '{target}'")
    return target


def _source_config(guest: Guest, snapname: str | None) -> dict[str, str]:
    if snapname is None:
        return dict(guest.config)
    if snapname not in guest.snapshots:
        raise failed(f"snapshot '{snapname}' does not exist")
    return dict(guest.snapshots[snapname].config)


def _reachable(call: Call, config: dict[str, str]) -> None:
    """Another node must see the disks."""
    target = _target(call)
    local = [volid for volid in used_by(config, call.kind).values() if not call.cluster.storage(volid.partition(":")[0]).shared]
    if target != call.node and local:
        raise failed(f"can't clone VM to node '{target}' (VM uses local storage)")


def _rights(call: Call, config: dict[str, str], full: bool) -> None:
    """What a clone needs beside VM.Clone: its networks, and room."""
    if "pool" in call.params:
        call.cluster.need_pool(call["pool"], call.who)
    _reachable(call, config)
    for key, value in sorted(config.items()):
        if re.fullmatch(r"net\d+", key) and not call.who.is_root:
            bridge = re.search(r"(?:^|,)bridge=([^,]+)", value)
            check_bridge(call.cluster, call.who, bridge[1] if bridge else "")
    content = "rootdir" if call.kind == "lxc" else "images"
    if "storage" in call.params:
        if not full:
            raise failed("parameter 'storage' not allowed for linked clones")
        check_storage(call.cluster, call.who, call["storage"], content)
    for key, volid in used_by(config, call.kind).items():
        if not key.startswith("unused") and "storage" not in call.params:
            call.cluster.access.check(call.who, f"/storage/{volid.partition(':')[0]}", "Datastore.AllocateSpace")


def _new_config(cluster: Cluster, guest: Guest, config: dict[str, str]) -> dict[str, str]:
    made = {key: value for key, value in config.items() if key not in NOT_COPIED and not key.startswith("unused")}
    for key, value in made.items():
        if re.fullmatch(r"net\d+", key):
            fresh = re.sub(r",hwaddr=[^,]+", "", value) if guest.kind == "lxc" else re.sub(r"^(\w[\w\-]*)=[^,]+", r"\1", value)
            made[key] = values.net(cluster, guest.kind, fresh)
    return made


def _copy(cluster: Cluster, guest: Guest, target: Guest, text: str, volid: str, full: bool, storage: str, form: str) -> tuple[str, str]:
    """A copy of one disk; the new text of its key, and the volume."""
    source = cluster.volume(volid, guest.node)
    if source is None:
        raise TaskError(f"volume '{volid}' does not exist")
    parts = cluster.verifier.parse(props_of(guest), text)
    home = storage or source.storage
    if full or cluster.storage(source.storage).snapshots_raw:
        made = allocate(cluster, home, target.vmid, target.node, source.size, source.content, form or source.format)
    else:
        name = free_name(cluster, home, target.vmid, target.node, "qcow2").partition(":")[2]
        made = allocate(cluster, home, target.vmid, target.node, source.size, source.content, "qcow2", f"{home}:{source.name}/{name}")
        made.base = source.volid
    key = "volume" if guest.kind == "lxc" else "file"
    return cluster.verifier.join(props_of(guest), sized({**parts, key: made.volid}, made.size)), made.volid


def _copy_all(call: Call, guest: Guest, target: Guest, config: dict[str, str], full: bool) -> t.Generator[float, None, dict[str, str]]:
    made: dict[str, str] = {}
    volumes: list[str] = []
    try:
        for key in sorted(used_by(config, guest.kind), key=lambda name: (name != "rootfs", name)):
            if key.startswith("unused"):
                continue
            volid = used_by(config, guest.kind)[key]
            if "media=cdrom" in config[key]:
                made[key] = _cloudinit(call.cluster, target, config[key], volid)
                continue
            made[key], volume = _copy(call.cluster, guest, target, config[key], volid, full, call.get("storage", ""), call.get("format", ""))
            volumes.append(volume)
            yield 0.8
    except TaskError:
        for volume in volumes:
            remove(call.cluster, volume, target.node)
        raise
    return made


def _cloudinit(cluster: Cluster, target: Guest, text: str, volid: str) -> str:
    name = f"{volid.partition(':')[0]}:{target.vmid}/vm-{target.vmid}-cloudinit.qcow2"
    cluster.volumes.append(Volume(name, "images", "qcow2", 4 << 20, int(cluster.clock.now()), vmid=target.vmid, node=target.node))
    return text.replace(volid, name)


# ---- containers


@answers("POST /nodes/{node}/lxc/{vmid}/clone")
def clone_lxc(call: Call) -> t.Any:
    cluster, guest, newid = call.cluster, call.guest(), int(call["newid"])
    unlocked(guest)
    node = _target(call)
    config = _source_config(guest, call.get("snapname"))
    full = _full_lxc(call, guest)
    if guest.running and full and "snapname" not in call.params:
        old = "Cannot do full clones on a running container without snapshots"
        raise failed("Full clone of a running container is only possible from a snapshot" if cluster.nine else old)
    cluster.check_free(newid)
    _rights(call, config, full)
    for key, value in sorted(config.items()):
        if re.fullmatch(r"rootfs|mp\d+", key) and value.startswith("/"):
            raise failed(f"unable to clone mountpoint '{key}' (type bind)")
    if not full:
        for key, volid in used_by(config, "lxc").items():
            if not key.startswith("unused") and not cluster.storage(volid.partition(":")[0]).snapshots_raw:
                raise failed(f"Linked clone feature for '{volid}' is not available")
    target = cluster.guests[newid] = Guest(newid, "lxc", node, raw=[list(one) for one in guest.raw], system=dict(guest.system))
    disks = {key: value for key, value in config.items() if re.fullmatch(r"rootfs|mp\d+", key)}
    target.config = {key: value for key, value in _new_config(cluster, guest, config).items() if key not in disks}
    target.config["lock"] = "create"
    if "hostname" in call.params:
        target.config["hostname"] = call["hostname"]
    if "description" in call.params:
        target.config["description"] = values.description("lxc", call["description"])
    guest.config["lock"] = "disk"
    if "pool" in call.params:
        cluster.pools[call["pool"]].vms.add(newid)
    return cluster.tasks.start(call.who, call.node, "vzclone", guest.vmid, lambda task: _cloning_lxc(call, guest, target, disks, full, task))


def _full_lxc(call: Call, guest: Guest) -> bool:
    if "full" in call.params:
        return call.flag("full")
    return not guest.template and not (can_snapshot(call.cluster, guest) and "snapname" in call.params)


def _cloning_lxc(call: Call, guest: Guest, target: Guest, disks: dict[str, str], full: bool, task: Task) -> Work:
    task.log("create full clone" if full else "create linked clone")
    try:
        made = yield from _copy_all(call, guest, target, disks, full)
        target.config.update(made)
        target.config.pop("lock", None)
    except TaskError:
        call.cluster.guests.pop(target.vmid, None)
        raise
    finally:
        if guest.config.get("lock") == "disk":
            guest.config.pop("lock")


# ---- machines


@answers("POST /nodes/{node}/qemu/{vmid}/clone")
def clone_qemu(call: Call) -> t.Any:
    cluster, newid = call.cluster, int(call["newid"])
    guest = cluster.guests.get(call.vmid)
    if guest is None or guest.kind != "qemu" or guest.node != call.node:
        raise failed(f"unable to find configuration file for VM {call.vmid} on node '{call.node}'")
    node = _target(call)
    unlocked(guest)
    config = _source_config(guest, call.get("snapname"))
    full = call.flag("full") if "full" in call.params else not guest.template
    if newid in cluster.guests:
        raise failed(f"unable to create VM {newid}: config file already exists")
    _rights(call, config, full)
    if not full and not guest.template:
        for key, volid in used_by(config, "qemu").items():
            if not key.startswith("unused"):
                raise failed(f"Linked clone feature is not supported for '{volid}' ({key})")

    return cluster.tasks.start(call.who, call.node, "qmclone", guest.vmid, lambda task: _cloning_qemu(call, guest, node, config, full, task))


def _cloning_qemu(call: Call, guest: Guest, node: str, config: dict[str, str], full: bool, task: Task) -> Work:
    cluster, newid = call.cluster, int(call["newid"])
    if newid in cluster.guests:
        raise TaskError(f"unable to create VM {newid}: config file already exists")
    target = cluster.guests[newid] = Guest(newid, "qemu", node, {"lock": "clone", "description": " qmclone temporary file"}, reserved=True)
    task.log("create full clone of the disks" if full else "create linked clone of the disks")
    try:
        yield 0.2
        made = yield from _copy_all(call, guest, target, config, full)
    except TaskError:
        cluster.guests.pop(newid, None)
        raise
    target.reserved = False
    target.config = {**_new_config(cluster, guest, config), **made, "smbios1": f"uuid={cluster.uuid()}", "vmgenid": cluster.uuid()}
    target.config["name"] = call.get("name", f"Copy-of-VM-{config.get('name', guest.vmid)}")
    if "description" in call.params:
        target.config["description"] = call["description"].rstrip()
    if "pool" in call.params:
        cluster.pools[call["pool"]].vms.add(newid)
