# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Growing and moving the disks of guests."""

from __future__ import annotations

import re
import typing as t

from .cluster import Cluster
from .errors import MISSING, ApiError, TaskError, bad, failed
from .lxc_config import same_digest, unlocked
from .service import Call, answers
from .tasks import Task, Work
from .volumes import allocate, check_storage, keep_unused, path_of, remove, sized, used_by
from .world import Guest, human, in_bytes


def props_of(guest: Guest) -> str:
    return "lxc-mp" if guest.kind == "lxc" else "qemu-drive"


def _volume_key(guest: Guest) -> str:
    return "volume" if guest.kind == "lxc" else "file"


def no_mount() -> ApiError:
    """What a container without that mount point answers."""
    return failed("format error", {"mp": MISSING, "volume": MISSING})


def wanted_size(text: str, now: int) -> int:
    return now + in_bytes(text[1:]) if text.startswith("+") else in_bytes(text)


def _grow(cluster: Cluster, guest: Guest, key: str, size: int) -> Work:
    volid = used_by(guest.config, guest.kind)[key]
    volume = cluster.volume(volid, guest.node)
    yield 0.3
    if volume is None:
        raise TaskError(f"volume '{volid}' does not exist")
    storage = cluster.storage(volume.storage)
    if "/base-" in volid and volume.base == "":
        preallocation = "'--preallocation=off' " if cluster.nine else ""
        raise TaskError(f"command '/usr/bin/qemu-img resize {preallocation}-f {volume.format} {path_of(storage, volume.name)} {size}' failed: exit code 1")
    if storage.used + sum(one.used for one in cluster.volumes if one.storage == storage.id) >= storage.total:
        raise TaskError(f"unable to resize: No space left on device ({storage.id})")
    volume.size = size
    parts = cluster.verifier.parse(props_of(guest), guest.config[key])
    guest.config[key] = cluster.verifier.join(props_of(guest), {**parts, "size": human(size)})


@answers("PUT /nodes/{node}/lxc/{vmid}/resize")
def resize_lxc(call: Call) -> t.Any:
    call.check(f"/vms/{call.vmid}", "VM.Config.Options")
    guest, key = call.guest(), call["disk"]
    call.cluster.tasks.hold_now(guest)
    guest = call.guest()  # it may have gone meanwhile
    unlocked(guest)
    same_digest(call, guest)
    if key not in guest.config:
        raise no_mount()
    if key not in used_by(guest.config, "lxc"):
        raise failed("can't resize this mount point")
    call.check(f"/storage/{used_by(guest.config, 'lxc')[key].partition(':')[0]}", "Datastore.AllocateSpace")
    volume = call.cluster.volume(used_by(guest.config, "lxc")[key], guest.node)
    now = volume.size if volume else in_bytes(call.cluster.verifier.parse("lxc-mp", guest.config[key]).get("size", "0"))
    size = wanted_size(call["size"], now)
    if size == now:
        raise failed("disk is already at specified size")
    if size < now:
        raise failed("unable to shrink disk size")

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        yield from _grow(call.cluster, guest, key, size)

    return call.cluster.tasks.start(call.who, call.node, "resize", guest.vmid, work)


@answers("PUT /nodes/{node}/qemu/{vmid}/resize")
def resize_qemu(call: Call) -> t.Any:
    def work(task: Task) -> Work:
        guest = call.guest()
        yield from call.cluster.tasks.hold(task, guest)
        if "digest" in call.params and call["digest"] != guest.digest():
            raise TaskError("checksum mismatch (file change by other user?)")
        unlocked(guest)
        key = call["disk"]
        if key not in used_by(guest.config, "qemu"):
            raise TaskError(f"disk '{key}' does not exist")
        volume = call.cluster.volume(used_by(guest.config, "qemu")[key], guest.node)
        now = volume.size if volume else 0
        size = wanted_size(call["size"], now)
        if size < now:
            raise TaskError("shrinking disks is not supported")
        if size > now:
            yield from _grow(call.cluster, guest, key, size)

    return call.cluster.tasks.start(call.who, call.node, "resize", call.vmid, work)


def _move(call: Call, guest: Guest, key: str, form: str) -> t.Callable[[Task], Work]:
    cluster = call.cluster

    def work(task: Task) -> Work:
        yield from cluster.tasks.hold(task, guest)
        storage = call["storage"]
        cluster.storage(storage)
        old = used_by(guest.config, guest.kind)[key]
        before = cluster.volume(old, guest.node)
        yield 0.8
        made = allocate(cluster, storage, guest.vmid, guest.node, before.size if before else 0, "rootdir" if guest.kind == "lxc" else "images", form)
        parts = cluster.verifier.parse(props_of(guest), guest.config[key])
        guest.config[key] = cluster.verifier.join(props_of(guest), sized({**parts, _volume_key(guest): made.volid}, made.size))
        if call.flag("delete"):
            remove(cluster, old, guest.node)
        else:
            keep_unused(guest.config, old)

    return work


@answers("POST /nodes/{node}/lxc/{vmid}/move_volume")
def move_volume(call: Call) -> t.Any:
    guest, key = call.guest(), call["volume"]
    if "storage" not in call.params and "target-vmid" not in call.params:
        text = "both 'storage' and 'target-vmid' missing, either needs to be set"
        raise bad(storage=text, target_vmid=text)
    unlocked(guest)
    same_digest(call, guest)
    if key not in guest.config:
        raise no_mount()
    if "target-vmid" in call.params:
        return _reassign(call, guest, key, call.get("target-volume", key))
    return call.cluster.tasks.start(call.who, call.node, "move_volume", guest.vmid, _move(call, guest, key, "raw"))


@answers("POST /nodes/{node}/qemu/{vmid}/move_disk")
def move_disk(call: Call) -> t.Any:
    guest, key = call.guest(), call["disk"]
    unlocked(guest)
    same_digest(call, guest)
    if key not in used_by(guest.config, "qemu"):
        raise failed(f"disk '{key}' does not exist")
    if "target-vmid" in call.params:
        return _reassign(call, guest, key, call.get("target-disk", key))
    storage = call.get("storage", used_by(guest.config, "qemu")[key].partition(":")[0])
    check_storage(call.cluster, call.who, storage, "images", call.node)
    volume = call.cluster.volume(used_by(guest.config, "qemu")[key], guest.node)
    form = call.get("format", "raw" if volume is None else volume.format)
    if volume is not None and volume.storage == storage and volume.format == form:
        raise failed("you can't move to the same storage with same format")
    return call.cluster.tasks.start(call.who, call.node, "qmmove", guest.vmid, _move(call, guest, key, form))


def _reassign(call: Call, guest: Guest, key: str, wanted: str) -> str:
    """Gives a disk to another guest of the same node."""
    cluster, other = call.cluster, call.cluster.guest(guest.kind, call.node, call["target-vmid"])
    unlocked(other)
    if wanted in other.config:
        raise failed(f"Target volume key '{wanted}' is already in use for '{other.vmid}'")

    def work(task: Task) -> Work:
        yield from cluster.tasks.hold(task, guest)
        volid = used_by(guest.config, guest.kind)[key]
        volume = cluster.volume(volid, guest.node)
        yield 0.3
        text = guest.config.pop(key)
        name = re.sub(r"\d+/(\w+)-\d+-", rf"{other.vmid}/\1-{other.vmid}-", volid)
        if volume is not None:
            volume.volid, volume.vmid = name, other.vmid
        other.config[wanted] = text.replace(volid, name)

    return cluster.tasks.start(call.who, call.node, "move_volume" if guest.kind == "lxc" else "qmmove", guest.vmid, work)


@answers("PUT /nodes/{node}/qemu/{vmid}/unlink")
def unlink(call: Call) -> t.Any:
    guest = call.guest()
    unlocked(guest)
    for key in re.split(r"[,; ]+", call["idlist"]):
        volid = used_by(guest.config, "qemu").get(key)
        if volid is None:
            continue
        guest.config.pop(key)
        if key.startswith("unused") or call.flag("force"):
            remove(call.cluster, volid, guest.node)
        else:
            keep_unused(guest.config, volid)
