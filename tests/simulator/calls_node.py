# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of a node: what it is, its tasks, migration of its guests, backups."""

from __future__ import annotations

import time
import typing as t

from .calls_cluster import node_row
from .errors import TaskError, bad, failed
from .formats import split_list
from .lxc_config import unlocked
from .service import Call, Reply, answers
from .tasks import UPID, Work
from .tasks import Task as Worker
from .volumes import allocate, used_by
from .world import GIB, Guest, human

TASKS = "/nodes/{node}/tasks"


@answers("GET /nodes")
def nodes(call: Call) -> t.Any:
    cluster = call.cluster
    return [
        {**node_row(cluster, one, cluster.access.may(call.who, f"/nodes/{one.name}", "Sys.Audit")), "ssl_fingerprint": one.fingerprint}
        for one in cluster.nodes.values()
    ]


@answers("GET /nodes/{node}/status")
def status(call: Call) -> t.Any:
    node, version = call.cluster.nodes[call.node], call.cluster.version_info()
    kernel = {"sysname": "Linux", "release": "6.14.0-1-pve", "machine": "x86_64", "version": "#1 SMP"}
    cpu = {"cores": node.cores, "cpus": node.cores, "sockets": 1, "model": "simulated", "mhz": "2600.000", "flags": "", "hvm": "", "user_hz": 100}
    memory = {"total": node.memory, "used": GIB, "free": node.memory - GIB, "available": node.memory - GIB}
    disk = {"total": 200 * GIB, "used": 20 * GIB, "free": 180 * GIB, "avail": 170 * GIB}
    return {
        "boot-info": {"mode": "efi"},
        "cpu": 0.02,
        "cpuinfo": {**cpu, **({"family": "25", "vendor": "none"} if call.cluster.nine else {})},
        "current-kernel": kernel,
        "idle": 0,
        "ksm": {"shared": 0},
        "kversion": "Linux 6.14.0-1-pve",
        "loadavg": ["0.10", "0.10", "0.10"],
        "memory": memory if call.cluster.nine else {key: value for key, value in memory.items() if key != "available"},
        "pveversion": f"pve-manager/{version['version']}/{version['repoid']}",
        "rootfs": disk,
        "swap": {"total": 0, "used": 0, "free": 0},
        "uptime": 5466,
        "wait": 0,
    }


@answers("GET /nodes/{node}/network")
def network(call: Call) -> t.Any:
    if not call.cluster.access.may(call.who, f"/nodes/{call.node}", "Sys.Audit"):
        return []
    common = {"type": "bridge", "active": 1, "autostart": 1, "method": "static", "method6": "manual", "families": ["inet"], "priority": 4}
    extra = {"address": "10.77.0.1", "netmask": "24", "cidr": "10.77.0.1/24", "bridge_ports": "", "bridge_stp": "off", "bridge_fd": "0"}
    return [{**common, **extra, "iface": name} for name in call.cluster.nodes[call.node].bridges]


@answers("GET /nodes/{node}/config")
def config(_call: Call) -> t.Any:
    return {}


@answers("GET /nodes/{node}/dns")
def dns(_call: Call) -> t.Any:
    return {"dns1": "192.0.2.53"}


@answers("GET /nodes/{node}/time")
def clock(call: Call) -> t.Any:
    now = int(call.cluster.clock.now())
    return {"time": now, "localtime": now - (time.timezone if call.cluster.clock.speed else 0), "timezone": "UTC"}


@answers("GET /nodes/{node}/capabilities/qemu/machines")
def machines(_call: Call) -> t.Any:
    return [{"id": "pc-i440fx-9.2", "type": "i440fx", "version": "9.2"}, {"id": "pc-q35-9.2", "type": "q35", "version": "9.2"}]


@answers("POST /nodes/{node}/execute")
def execute(_call: Call) -> t.Any:
    return []


# ---- tasks


def _worker(call: Call, right: str = "Sys.Audit") -> Worker:
    upid = call["upid"]
    match = UPID.fullmatch(upid)
    if not match:
        raise bad(upid="unable to parse worker upid")
    found = call.cluster.tasks.find(upid)
    owner = match[7].partition("!")[0]
    if found is None and right == "Sys.Modify":
        raise bad(upid="no such task")
    if owner != call.who.user or (call.who.token and match[7] != call.who.name):
        call.check(f"/nodes/{call.node}", right)
    if found is None or match[1] != call.node:
        raise bad(upid="no such task")
    return found


@answers(f"GET {TASKS}")
def tasks(call: Call) -> t.Any:
    audit = call.cluster.access.may(call.who, f"/nodes/{call.node}", "Sys.Audit")
    source = call.get("source", "archive")
    found = []
    for one in reversed(list(call.cluster.tasks.all.values())):
        mine = one.who.user == call.who.user and not (call.who.token and one.who.token != call.who.token)
        if one.node == call.node and (audit or mine) and (source == "all" or one.active == (source == "active")) and _wanted(call, one):
            found.append(one.listed())
    start, limit = int(call.get("start", 0)), int(call.get("limit", 50))
    return Reply(found[start : start + limit] if limit else found[start:], {"total": len(found)})


def _wanted(call: Call, task: Worker) -> bool:
    given = {"vmid": task.id, "typefilter": task.type}
    if any(name in call.params and call[name] != value for name, value in given.items()):
        return False
    if call.flag("errors") and (task.active or task.status == "OK"):
        return False
    kind = "ok" if task.status == "OK" else "warning" if task.status.startswith("WARNINGS") else "unknown" if task.active else "error"
    return kind in split_list(call.get("statusfilter", kind)) and call.get("userfilter", "") in task.who.name


@answers(f"GET {TASKS}/{{upid}}")
def task_index(_call: Call) -> t.Any:
    return [{"name": "log"}, {"name": "status"}]


@answers(f"GET {TASKS}/{{upid}}/status")
def task_status(call: Call) -> t.Any:
    return _worker(call).shown()


@answers(f"GET {TASKS}/{{upid}}/log")
def task_log(call: Call) -> t.Any:
    if UPID.fullmatch(call["upid"]) and call.cluster.tasks.find(call["upid"]) is None:
        row = {"n": 1, "t": "unable to open file - No such file or directory"}
        return Reply([row] if call.cluster.nine else row, {"total": 1})
    lines = _worker(call).lines or ["no content"]
    if call.flag("download"):
        return Reply(None, {"text": "\n".join(lines) + "\n"})
    start, limit = int(call.get("start", 0)), int(call.get("limit", 50)) or len(lines)
    return Reply([{"n": number, "t": line} for number, line in enumerate(lines, 1)][start : start + limit], {"total": len(lines)})


@answers(f"DELETE {TASKS}/{{upid}}")
def task_abort(call: Call) -> t.Any:
    call.cluster.tasks.abort(_worker(call, "Sys.Modify"))


# ---- migration


def _migration_target(call: Call) -> str:
    target = str(call["target"])
    if target not in call.cluster.nodes:
        raise failed(f"no such cluster node '{target}'")
    if target == call.node:
        raise bad(target="target is local node.")
    return target


@answers("GET /nodes/{node}/lxc/{vmid}/migrate")
def migrate_check_lxc(call: Call) -> t.Any:
    guest = call.guest()
    return {"running": int(guest.running), "allowed-nodes": [name for name in call.cluster.nodes if name != call.node], "not-allowed-nodes": {}}


@answers("GET /nodes/{node}/qemu/{vmid}/migrate")
def migrate_check_qemu(call: Call) -> t.Any:
    guest = call.guest()
    disks = []
    for key, volid in used_by(guest.config, "qemu").items():
        volume = call.cluster.volume(volid, call.node)
        row: dict[str, t.Any] = {
            "volid": volid,
            "drivename": key,
            "size": volume.size if volume else 0,
            "cdrom": 0,
            "is_attached": 1,
            "replicate": 1,
            "shared": 0,
        }
        disks.append({**row, "is_cloudinit": 0, "is_tpmstate": 0, "is_unused": int(key.startswith("unused")), "is_vmstate": 0})
    others = [name for name in call.cluster.nodes if name != call.node]
    found: dict[str, t.Any] = {"running": int(guest.running), "allowed_nodes": others, "not_allowed_nodes": {}, "local_disks": disks, "local_resources": []}
    return {**found, "mapped-resources": [], **({"mapped-resource-info": {}, "has-dbus-vmstate": 1} if call.cluster.nine else {})}


@answers("POST /nodes/{node}/{kind}/{vmid}/migrate")
def migrate(call: Call) -> t.Any:
    guest, target = call.guest(), _migration_target(call)
    unlocked(guest)
    if call.cluster.nodes[target].state == "offline":
        raise failed(f"target node '{target}' is offline")
    if guest.running and guest.kind == "lxc" and not (call.flag("restart") or call.flag("online")):
        raise failed("lxc live migration is currently not implemented")
    if guest.running and guest.kind == "qemu" and not call.flag("online"):
        raise failed("can't migrate running VM without online option")

    def work(task: Worker) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        guest.config["lock"] = "migrate"
        yield 1.5
        _carry(call, guest, target)
        guest.config.pop("lock", None)
        guest.node = target

    return call.cluster.tasks.start(call.who, call.node, "vzmigrate" if guest.kind == "lxc" else "qmigrate", guest.vmid, work)


def _carry(call: Call, guest: Guest, target: str) -> None:
    for volid in used_by(guest.config, guest.kind).values():
        storage = call.cluster.storage(volid.partition(":")[0])
        volume = call.cluster.volume(volid, guest.node)
        if volume is None or storage.shared:
            continue
        if not storage.on(target):
            guest.config.pop("lock", None)
            raise TaskError(f"storage '{storage.id}' is not available on node '{target}'")
        volume.node = target


# ---- backups


@answers("POST /nodes/{node}/vzdump")
def vzdump(call: Call) -> t.Any:
    cluster, vmids = call.cluster, [int(one) for one in split_list(call.get("vmid", ""))]
    storage = call.get("storage", "local")
    for vmid in vmids:
        call.check(f"/vms/{vmid}", "VM.Backup")

    def work(task: Worker) -> Work:
        for vmid in vmids:
            guest = cluster.guests.get(vmid)
            if guest is None:
                task.log(f"ERROR: Backup of VM {vmid} failed - unable to find VM '{vmid}'")
                raise TaskError("job errors")
            yield 0.1
            guest.config["lock"] = "backup"
            yield 1.0
            guest.config.pop("lock", None)
            stamp = time.strftime("%Y_%m_%d-%H_%M_%S", time.gmtime(cluster.clock.now()))
            ending = "tar.zst" if guest.kind == "lxc" else "vma.zst"
            name = f"{storage}:backup/vzdump-{guest.kind}-{vmid}-{stamp}.{ending}"
            made = allocate(cluster, storage, vmid, call.node, 1 << 20, "backup", ending, name)
            made.traits = {"config": {key: value for key, value in guest.config.items() if key != "lock"}, **guest.system}
            task.log(f"creating archive '{name}' ({human(made.size)})")

    return cluster.tasks.start(call.who, call.node, "vzdump", ",".join(map(str, vmids)), work)
