# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of guests of both kinds."""

from __future__ import annotations

import typing as t

from . import values
from .cluster import Cluster
from .errors import TaskError, failed
from .guests import snapshot_config
from .service import Call, answers
from .tasks import Task, Work
from .volumes import used_by
from .world import Guest, Snapshot

BASE = "/nodes/{node}/{kind}/{vmid}"


def can_snapshot(cluster: Cluster, guest: Guest) -> bool:
    """Whether all volumes can; raw files in a folder cannot."""
    for key, volid in used_by(guest.config, guest.kind).items():
        volume = cluster.volume(volid, guest.node)
        storage = cluster.storages.get(volid.partition(":")[0])
        if key.startswith("unused") or volume is None or storage is None:
            continue
        if not storage.snapshots_raw and volume.format != "qcow2":
            return False
    return not any(key.startswith("mp") and value.startswith("/") for key, value in guest.config.items())


@answers(f"GET {BASE}/feature")
def feature(call: Call) -> t.Any:
    guest = call.guest()
    has = True if call["feature"] == "copy" else can_snapshot(call.cluster, guest)
    if call["feature"] == "clone" and guest.template and guest.kind == "qemu":
        has = True
    found: dict[str, t.Any] = {"hasFeature": int(has)}
    if guest.kind == "qemu":
        found["nodes"] = [call.node]
    return found


@answers(f"GET {BASE}/snapshot")
def listing(call: Call) -> t.Any:
    guest = call.guest()
    rows: list[dict[str, t.Any]] = []
    for name, one in guest.snapshots.items():
        row: dict[str, t.Any] = {"name": name, "snaptime": one.time, "description": one.description}
        if one.parent:
            row["parent"] = one.parent
        if guest.kind == "qemu":
            row["vmstate"] = int(one.vmstate)
        rows.append(row)
    last: dict[str, t.Any] = {"name": "current", "description": "You are here!", "digest": guest.digest(), "running": int(guest.running)}
    if "parent" in guest.config:
        last["parent"] = guest.config["parent"]
    return [*rows, last]


@answers(f"GET {BASE}/snapshot/{{snapname}}")
def index(_call: Call) -> t.Any:
    return [{"cmd": "rollback"}, {"cmd": "config"}]


@answers(f"GET {BASE}/snapshot/{{snapname}}/config")
def config(call: Call) -> t.Any:
    found = snapshot_config(call.cluster, call.guest(), call["snapname"])
    found.pop("digest")
    return found


@answers(f"PUT {BASE}/snapshot/{{snapname}}/config")
def describe(call: Call) -> t.Any:
    guest = call.guest()
    found = guest.snapshots.get(call["snapname"])
    if found is None:
        raise failed(f"snapshot '{call['snapname']}' does not exist")
    if "description" in call.params:
        found.description = values.description(guest.kind, call["description"])


def _locked(guest: Guest) -> None:
    if guest.lock:
        raise TaskError(f"{guest.label} is locked ({guest.lock})")


def _prefix(call: Call) -> str:
    return "vz" if call.kind == "lxc" else "qm"


@answers(f"POST {BASE}/snapshot")
def create(call: Call) -> t.Any:
    name, guest = call["snapname"], call.guest()
    if name == "current":
        raise failed("unable to use snapshot name 'current' (reserved name)")

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        _locked(guest)
        if name in guest.snapshots:
            raise TaskError(f"snapshot name '{name}' already used")
        if not can_snapshot(call.cluster, guest):
            raise TaskError("snapshot feature is not available")
        kept = {key: value for key, value in guest.config.items() if key not in ("parent", "lock")}
        guest.config["lock"] = "snapshot"
        yield 0.5
        guest.config.pop("lock", None)
        text = values.description(guest.kind, call.get("description", ""))
        guest.snapshots[name] = Snapshot(kept, int(call.cluster.clock.now()), text, guest.config.get("parent", ""), call.flag("vmstate"))
        guest.config["parent"] = name

    return call.cluster.tasks.start(call.who, call.node, _prefix(call) + "snapshot", guest.vmid, work)


@answers(f"POST {BASE}/snapshot/{{snapname}}/rollback")
def rollback(call: Call) -> t.Any:
    name, guest = call["snapname"], call.guest()

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        found = guest.snapshots.get(name)
        if found is None:
            raise TaskError(f"snapshot '{name}' does not exist")
        _locked(guest)
        guest.config["lock"] = "rollback"
        guest.running = False
        yield 0.6
        description = guest.config.get("description")
        guest.config = {**found.config, "parent": name}
        guest.config.pop("description", None)
        if description is not None:
            guest.config["description"] = description
        if call.flag("start") or found.vmstate:
            from .lxc_actions import start_task
            from .qemu_actions import start_machine

            begin = start_task if guest.kind == "lxc" else start_machine
            call.cluster.clock.later(0.05, lambda: begin(call.cluster, task.who, guest))

    return call.cluster.tasks.start(call.who, call.node, _prefix(call) + "rollback", guest.vmid, work)


@answers(f"DELETE {BASE}/snapshot/{{snapname}}")
def remove(call: Call) -> t.Any:
    name, guest = call["snapname"], call.guest()

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        found = guest.snapshots.get(name)
        if found is None:
            raise TaskError(f"snapshot '{name}' does not exist")
        if not call.flag("force"):
            _locked(guest)
        yield 0.4
        guest.snapshots.pop(name, None)
        for other in guest.snapshots.values():
            if other.parent == name:
                other.parent = found.parent
        if guest.config.get("parent") == name:
            guest.config.pop("parent")
            if found.parent:
                guest.config["parent"] = found.parent

    return call.cluster.tasks.start(call.who, call.node, _prefix(call) + "delsnapshot", guest.vmid, work)
