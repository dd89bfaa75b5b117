# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers and machines have in common: lists, state, configuration as it is read, destruction."""

from __future__ import annotations

import re
import typing as t

from . import values
from .cluster import Cluster
from .errors import TaskError, failed
from .service import Call, answers
from .tasks import Task, Work
from .volumes import destroy_all, used_by
from .world import Guest, in_bytes

MIB = 1 << 20


def cores(cluster: Cluster, guest: Guest) -> int:
    config = guest.config
    node = cluster.nodes[guest.node].cores
    if guest.kind == "lxc":
        return int(config.get("cores", node))
    return int(config.get("cores", 1)) * int(config.get("sockets", 1))


def memory(guest: Guest) -> int:
    """Bytes."""
    text = guest.config.get("memory", "512").strip()
    return int(text.rpartition("=")[2]) * MIB


def disk_size(cluster: Cluster, guest: Guest) -> int:
    if guest.kind == "lxc":
        text = guest.config.get("rootfs")
        return in_bytes(cluster.verifier.parse("lxc-rootfs", text).get("size", "4G")) if text else 4 << 30
    first = next((key for key in guest.config.get("boot", "").partition("order=")[2].split(";") if key in used_by(guest.config, "qemu")), None)
    if first is None:
        first = next((key for key in used_by(guest.config, "qemu") if not key.startswith(("unused", "efi", "tpm"))), None)
    return in_bytes(cluster.verifier.parse("qemu-drive", guest.config[first]).get("size", "0")) if first else 0


def state(cluster: Cluster, guest: Guest, detailed: bool) -> dict[str, t.Any]:
    """A guest as lists and status/current show it."""
    alive = guest.running
    found: dict[str, t.Any] = {"vmid": guest.vmid, "name": guest.name, "status": "running" if alive else "stopped"}
    found.update(cpu=0, cpus=cores(cluster, guest), mem=(7 << 20) if alive else 0, maxmem=memory(guest), maxdisk=disk_size(cluster, guest), disk=0)
    found.update(netin=0, netout=0, uptime=int(cluster.clock.now() - guest.started) if alive else 0)
    if alive:
        found["pid"] = guest.pid
    if guest.kind == "lxc":
        found.update(type="lxc", swap=0, maxswap=int(guest.config.get("swap", "0")) * MIB, diskread=0, diskwrite=0)
        if alive:
            found["disk"] = 2 << 20
    elif cluster.nine:
        found["memhost"] = 0
    if alive and cluster.nine:
        value = None if guest.kind == "lxc" else 0
        found.update({f"pressure{what}{how}": value for what in ("cpu", "io", "memory") for how in ("full", "some")})
    for key in ("tags", "lock"):
        if guest.config.get(key, "").strip():
            found[key] = guest.config[key]
    if guest.template:
        found["template"] = 1
    if detailed and guest.kind == "qemu":
        found.update(_machine(guest))
    return found


def _machine(guest: Guest) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {"qmpstatus": "paused" if guest.paused else "running" if guest.running else "stopped"}
    if guest.config.get("agent", "0").strip()[:1] == "1":
        found["agent"] = 1
    if guest.config.get("balloon", "0") != "0":
        found["balloon_min"] = int(guest.config["balloon"]) * MIB
    if re.match(r"(?:type=)?(?:qxl|virtio)", guest.config.get("vga", "")):
        found["spice"] = 1
    if guest.config.get("vga"):
        found["clipboard"] = None
    if guest.running:
        found.update({"running-machine": "pc-i440fx-9.2+pve1", "running-qemu": "9.2.0", "proxmox-support": {"pbs-dirty-bitmap": True}})
        found.update(blockstat={}, nics={f"tap{guest.vmid}i0": {"netin": 0, "netout": 0}} if "net0" in guest.config else {})
        found.update(ballooninfo={}, balloon=memory(guest), freemem=0)
    return found


@answers("GET /nodes/{node}/lxc", "GET /nodes/{node}/qemu")
def listing(call: Call) -> t.Any:
    cluster = call.cluster
    found = [one for one in cluster.guests.values() if one.kind == call.kind and one.node == call.node and (one.config or one.reserved)]
    rows = [
        state(cluster, one, call.flag("full"))
        for one in sorted(found, key=lambda one: one.vmid)
        if cluster.access.may(call.who, f"/vms/{one.vmid}", "VM.Audit")
    ]
    for row in rows:
        row.pop("ha", None)
    return rows


@answers("GET /nodes/{node}/{kind}/{vmid}/status/current")
def current(call: Call) -> t.Any:
    cluster = call.cluster
    guest = cluster.guests.get(call.vmid) if call.kind == "qemu" else None
    if guest is None or not guest.reserved or guest.node != call.node:
        guest = call.guest()
    found = state(cluster, guest, True)
    if guest.ha is None:
        found["ha"] = {"managed": 0}
    else:
        found["ha"] = {"managed": 1, "state": guest.ha.get("crm"), "group": guest.ha.get("group")}
    return found


@answers("GET /nodes/{node}/{kind}/{vmid}/config")
def config(call: Call) -> t.Any:
    guest = call.guest()
    if "snapshot" in call.params:
        return snapshot_config(call.cluster, guest, call["snapshot"])
    kept = guest.config if call.flag("current") else guest.merged()
    if not call.cluster.access.may(call.who, f"/vms/{guest.vmid}", "VM.Config.Options"):
        kept = {key: value for key, value in kept.items() if key != "env"}
    return {**values.config(call.cluster, guest, kept), "digest": guest.digest()}


def snapshot_config(cluster: Cluster, guest: Guest, name: str) -> dict[str, t.Any]:
    found = guest.snapshots.get(name)
    if found is None:
        raise failed(f"snapshot '{name}' does not exist")
    kept = dict(found.config)
    if found.description:
        kept["description"] = found.description
    else:
        kept.pop("description", None)
    if found.parent:
        kept["parent"] = found.parent
    return {**values.config(cluster, guest, kept), "snaptime": found.time, "digest": guest.digest()}


@answers("GET /nodes/{node}/{kind}/{vmid}/pending")
def pending(call: Call) -> t.Any:
    return values.pending(call.cluster, call.guest())


@answers("DELETE /nodes/{node}/{kind}/{vmid}")
def destroy(call: Call) -> t.Any:
    cluster, guest = call.cluster, call.guest()
    if guest.config.get("protection") == "1":
        raise failed(f"can't remove {guest.label} {guest.vmid} - protection mode enabled")
    if guest.ha is not None and not call.flag("purge"):
        raise failed(f"unable to remove {guest.label} {guest.vmid} - used in HA resources and purge parameter not set.")
    force = call.flag("force")
    if guest.kind == "lxc" and guest.lock and not (force and guest.lock == "destroyed"):
        raise failed(f"CT is locked ({guest.lock})")
    if guest.running and not force:
        raise failed(f"VM {guest.vmid} is running - destroy failed" if guest.kind == "qemu" else f"unable to destroy CT {guest.vmid} - container is running")
    return cluster.tasks.start(
        call.who, call.node, "vzdestroy" if guest.kind == "lxc" else "qmdestroy", guest.vmid, lambda task: _destroying(call, guest, task)
    )


def _destroying(call: Call, guest: Guest, task: Task) -> Work:
    cluster = call.cluster
    yield from cluster.tasks.hold(task, guest)
    if cluster.guests.get(guest.vmid) is not guest:
        raise TaskError(f"Configuration file '{guest.file}' does not exist")
    if guest.lock:
        raise TaskError(f"{guest.label} is locked ({guest.lock})")
    used = set(used_by(guest.config, guest.kind).values())
    linked = next((one.base for one in cluster.volumes if one.base in used), None)
    if linked is not None:
        raise TaskError(f"base volume '{linked}' is still in use by linked cloned")
    guest.running = False
    yield 0.4
    destroy_all(cluster, guest, call.get("destroy-unreferenced-disks", "0") == "1")
    cluster.guests.pop(guest.vmid, None)
    for pool in cluster.pools.values():
        pool.vms.discard(guest.vmid)
    if call.flag("purge"):
        from .calls_cluster import purge_ha

        purge_ha(cluster, guest)


def statistics(cluster: Cluster) -> dict[str, dict[str, t.Any]]:
    """What the next broadcast tells of every guest."""
    found = {}
    for guest in cluster.guests.values():
        if not guest.config:
            continue
        row = state(cluster, guest, False)
        kept = {key: row[key] for key in ("name", "status", "cpu", "mem", "maxmem", "disk", "maxdisk", "netin", "netout", "uptime")}
        found[str(guest.vmid)] = {**kept, "maxcpu": row["cpus"], "template": int(guest.template), "diskread": 0, "diskwrite": 0}
        if cluster.nine:
            found[str(guest.vmid)]["memhost"] = 0
    return found
