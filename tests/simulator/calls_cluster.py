# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls below /cluster: resources with late statistics, ids, options, high availability, bulk actions."""

from __future__ import annotations

import typing as t

from .cluster import Cluster
from .errors import ApiError, bad, failed, wrong
from .formats import split_list
from .guests import statistics
from .service import Call, answers
from .tasks import Task, Work
from .world import GIB, Guest, Node

KINDS = {"ct": "lxc", "vm": "qemu"}


def node_row(cluster: Cluster, node: Node, detailed: bool) -> dict[str, t.Any]:
    row: dict[str, t.Any] = {
        "id": f"node/{node.name}",
        "node": node.name,
        "type": "node",
        "level": "",
        "status": "offline" if node.state == "offline" else "online",
    }
    if detailed and node.state != "offline":
        used = sum(int(one.config.get("memory", "512").rpartition("=")[2]) << 20 for one in cluster.guests.values() if one.node == node.name and one.running)
        row.update(cpu=0.02, maxcpu=node.cores, mem=GIB + used, maxmem=node.memory, disk=20 * GIB, maxdisk=200 * GIB, uptime=5466)
    return row


def guest_row(cluster: Cluster, guest: Guest, late: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    """A guest in /cluster/resources: what the configuration says is current, the rest is as old as the statistics."""
    row: dict[str, t.Any] = {"id": f"{guest.kind}/{guest.vmid}", "vmid": guest.vmid, "type": guest.kind, "node": guest.node, "status": "unknown"}
    if cluster.nodes[guest.node].state != "offline":
        row.update(late.get(str(guest.vmid), {}))
    pool = cluster.pool_of(guest.vmid)
    if pool is not None:
        row["pool"] = pool
    if guest.ha is not None:
        row["hastate"] = guest.ha["state"]
    for key in ("tags", "lock"):
        if guest.config.get(key, "").strip():
            row[key] = guest.config[key]
    return row


def storage_row(cluster: Cluster, storage: str, node: str) -> dict[str, t.Any]:
    one = cluster.storages[storage]
    row: dict[str, t.Any] = {"id": f"storage/{node}/{storage}", "storage": storage, "node": node, "type": "storage", "shared": int(one.shared)}
    if cluster.nodes[node].state == "offline":
        return {**row, "status": "unknown", "plugintype": one.type, "content": ",".join(one.content)}
    row["status"] = "available"
    return {**row, "plugintype": one.type, "content": ",".join(one.content), "disk": one.used, "maxdisk": one.total}


@answers("GET /cluster/resources")
def resources(call: Call) -> t.Any:
    cluster, access, wanted = call.cluster, call.cluster.access, call.get("type")
    rows: list[dict[str, t.Any]] = []
    if wanted in (None, "vm"):
        late = cluster.statistics()
        guests = [one for one in sorted(cluster.guests.values(), key=lambda one: one.vmid) if access.may(call.who, f"/vms/{one.vmid}", "VM.Audit")]
        found = [guest_row(cluster, one, late) for one in guests]
        for row in found:
            if wanted is not None:
                row.pop("pool", None) if row.get("pool") is None else None
        rows += found
    if wanted in (None, "node"):
        mode = {"cgroup-mode": 2}
        rows += [{**node_row(cluster, one, access.may(call.who, f"/nodes/{one.name}", "Sys.Audit")), **mode} for one in cluster.nodes.values()]
    if wanted in (None, "storage"):
        rights = ("Datastore.Audit", "Datastore.AllocateSpace")
        rows += [
            storage_row(cluster, name, node)
            for name, one in cluster.storages.items()
            for node in cluster.nodes
            if one.on(node) and access.may(call.who, f"/storage/{name}", *rights, any_of=True)
        ]
    if wanted in (None, "sdn"):
        rows += _zones(call, wanted)
    if wanted in (None, "pool"):
        rows += [{"id": f"/pool/{name}", "pool": name, "type": "pool"} for name in cluster.pools if access.may(call.who, f"/pool/{name}", "Pool.Audit")]
    return rows


def _zones(call: Call, wanted: str | None) -> list[dict[str, t.Any]]:
    """The zone of each node; in 9, only where all kinds are asked for."""
    if not call.cluster.access.may(call.who, "/sdn/zones/localnetwork", "SDN.Audit"):
        return []
    if not call.cluster.nine:
        return [{"id": f"sdn/{node}/localnetwork", "node": node, "sdn": "localnetwork", "status": "ok", "type": "sdn"} for node in call.cluster.nodes]
    if wanted is not None:
        return []
    common = {"network": "localnetwork", "network-type": "zone", "status": "ok", "type": "network"}
    return [{"id": f"network/{node}/zone/localnetwork", "node": node, **common} for node in call.cluster.nodes]


@answers("GET /cluster/nextid")
def nextid(call: Call) -> t.Any:
    if "vmid" in call.params:
        if int(call["vmid"]) in call.cluster.guests:
            raise bad(vmid=f"VM {call['vmid']} already exists")
        return call["vmid"]
    return str(call.cluster.next_id())


@answers("GET /cluster/status")
def status(call: Call) -> t.Any:
    nodes = list(call.cluster.nodes.values())
    rows: list[dict[str, t.Any]] = []
    if len(nodes) > 1:
        rows.append({"type": "cluster", "id": "cluster", "name": "sim", "nodes": len(nodes), "quorate": int(call.cluster.quorate), "version": len(nodes)})
    for number, one in enumerate(nodes):
        row = {"type": "node", "id": f"node/{one.name}", "name": one.name, "ip": one.ip, "level": "", "local": int(number == 0)}
        rows.append({**row, "nodeid": one.number if len(nodes) > 1 else 0, "online": int(one.state != "offline")})
    return rows


@answers("GET /cluster/options")
def options(call: Call) -> t.Any:
    found: dict[str, t.Any] = {"description": "", "allowed-tags": [], **call.cluster.options}
    for key in ("next-id", "user-tag-access"):
        if key in found:
            found[key] = call.cluster.verifier.parse(f"cluster-{key}", found[key])
    return found


@answers("PUT /cluster/options")
def set_options(call: Call) -> t.Any:
    for key in split_list(call.get("delete", "")):
        call.cluster.options.pop(key, None)
    call.cluster.options.update({key: value for key, value in call.sent().items() if key != "delete"})


@answers("GET /cluster/tasks")
def tasks(call: Call) -> t.Any:
    rows = []
    for task in reversed(list(call.cluster.tasks.all.values())):
        if task.who.user == call.who.user or call.cluster.access.may(call.who, f"/nodes/{task.node}", "Sys.Audit"):
            row = {key: value for key, value in task.listed().items() if key not in ("pid", "pstart")}
            rows.append({**row, "saved": "0" if task.running else "1"})
    return rows[:25]


@answers("GET /cluster/log")
def log(call: Call) -> t.Any:
    rows = []
    for number, task in enumerate(call.cluster.tasks.all.values()):
        common = {"node": task.node, "pid": task.pid, "pri": 6, "tag": "pvedaemon", "time": int(task.started), "uid": str(number), "user": task.who.name}
        rows.append({**common, "id": f"{number}:{task.node}", "msg": f"starting task {task.upid}"})
        if not task.running:
            rows.append({**common, "id": f"{number}:{task.node}", "msg": f"end task {task.upid} {task.status}"})
    return rows[::-1][: int(call.get("max", 50))]


@answers("GET /cluster/sdn/zones", "GET /cluster/sdn/vnets")
def sdn(_call: Call) -> t.Any:
    return []


# ---- high availability


def _managed(cluster: Cluster) -> dict[str, Guest]:
    return {f"{'ct' if one.kind == 'lxc' else 'vm'}:{one.vmid}": one for one in cluster.guests.values() if one.ha is not None}


def _row(sid: str, guest: Guest) -> dict[str, t.Any]:
    kept = {key: value for key, value in (guest.ha or {}).items() if key != "crm"}
    return {"sid": sid, "type": sid[:2], "digest": guest.digest(), **kept}


@answers("GET /cluster/ha/resources")
def ha_list(call: Call) -> t.Any:
    return [_row(sid, one) for sid, one in _managed(call.cluster).items()]


@answers("POST /cluster/ha/resources")
def ha_add(call: Call) -> t.Any:
    sid = call["sid"]
    prefix, _colon, vmid = sid.partition(":")
    guest = call.cluster.guests.get(int(vmid or prefix)) if (vmid or prefix).isdigit() else None
    if guest is None or (vmid and KINDS.get(prefix) != guest.kind):
        raise failed(f"resource '{sid}' does not exist in cluster")
    if guest.ha is not None:
        raise failed(f"create resource failed: resource ID '{sid}' already defined")
    guest.ha = {"state": call.get("state", "started"), **{key: call[key] for key in ("group", "comment") if key in call.params}}


def _ha(call: Call) -> Guest:
    found = _managed(call.cluster).get(call["sid"])
    if found is None:
        raise failed(f"cannot delete service '{call['sid']}', not HA managed!" if call.endpoint.method == "DELETE" else f"no such resource '{call['sid']}'")
    return found


@answers("GET /cluster/ha/resources/{sid}")
def ha_one(call: Call) -> t.Any:
    return _row(call["sid"], _ha(call))


@answers("PUT /cluster/ha/resources/{sid}")
def ha_set(call: Call) -> t.Any:
    guest = _ha(call)
    if guest.ha is not None and "state" in call.params:
        guest.ha["state"] = call["state"]


@answers("DELETE /cluster/ha/resources/{sid}")
def ha_delete(call: Call) -> t.Any:
    _ha(call).ha = None


@answers("GET /cluster/ha/groups")
def ha_groups(call: Call) -> t.Any:
    if call.cluster.nine:
        raise failed("cannot index groups: ha groups have been migrated to rules")
    return []


@answers("GET /cluster/ha/rules")
def ha_rules(call: Call) -> t.Any:
    return list(call.cluster.ha_rules.values())


@answers("POST /cluster/ha/rules")
def ha_rule_add(call: Call) -> t.Any:
    if call["rule"] in call.cluster.ha_rules:
        raise failed(f"HA rule '{call['rule']}' already defined")
    call.cluster.ha_rules[call["rule"]] = {"order": len(call.cluster.ha_rules) + 1, **call.sent(), "digest": "0" * 40}


@answers("GET /cluster/ha/rules/{rule}")
def ha_rule(call: Call) -> t.Any:
    if call["rule"] not in call.cluster.ha_rules:
        raise failed(f"no such HA rule '{call['rule']}'")
    return call.cluster.ha_rules[call["rule"]]


@answers("PUT /cluster/ha/rules/{rule}")
def ha_rule_set(call: Call) -> t.Any:
    ha_rule(call).update({key: value for key, value in call.sent().items() if key not in ("delete", "digest")})


@answers("DELETE /cluster/ha/rules/{rule}")
def ha_rule_delete(call: Call) -> t.Any:
    call.cluster.ha_rules.pop(call["rule"], None)


def purge_ha(cluster: Cluster, guest: Guest) -> None:
    """Takes a guest out of all that high availability knows."""
    sid = f"{'ct' if guest.kind == 'lxc' else 'vm'}:{guest.vmid}"
    guest.ha = None
    for name, rule in list(cluster.ha_rules.items()):
        left = [one for one in split_list(rule["resources"]) if one != sid]
        if not left:
            cluster.ha_rules.pop(name)
        rule["resources"] = ",".join(left)


@answers("GET /cluster/ha/status/current")
def ha_status(call: Call) -> t.Any:
    first = next(iter(call.cluster.nodes))
    rows: list[dict[str, t.Any]] = [{"id": "quorum", "node": first, "quorate": int(call.cluster.quorate), "status": "OK", "type": "quorum"}]
    if call.cluster.nine:
        rows.append({"id": "fencing", "node": first, "type": "fencing", "armed-state": "standby", "status": "standby (CRM watchdog standby)"})
    return rows


# ---- many at once


@answers("GET /cluster/bulk-action")
def bulk_index(_call: Call) -> t.Any:
    return [{"name": "guest"}]


@answers("POST /cluster/bulk-action/guest/start", "POST /cluster/bulk-action/guest/shutdown", "POST /cluster/bulk-action/guest/suspend")
def bulk(call: Call) -> t.Any:
    cluster, action = call.cluster, call.endpoint.path.rpartition("/")[2]
    node = next(iter(cluster.nodes))
    wanted = [int(one) for one in call.get("vms", [])] or sorted(cluster.guests)

    def work(task: Task) -> Work:
        for vmid in wanted:
            guest = cluster.guests.get(vmid)
            if guest is None:
                continue
            yield 0.3
            if action == "start":
                guest.running = guest.running or not guest.template
            elif not guest.running:
                task.warn(f"{guest.label} {vmid} not running")
            elif action == "shutdown":
                guest.running = False

    return cluster.tasks.start(call.who, node, f"bulk-{action}", "", work)


@answers("POST /nodes/{node}/startall", "POST /nodes/{node}/stopall")
def all_of_node(call: Call) -> t.Any:
    wanted = {int(one) for one in split_list(call.get("vms", ""))}
    action = call.endpoint.path.rpartition("/")[2]
    for one in wanted:
        if not call.cluster.access.may(call.who, f"/vms/{one}", "VM.PowerMgmt"):
            raise ApiError(403, "Permission check failed")

    def work(task: Task) -> Work:
        task.log(action)
        for guest in [one for one in call.cluster.guests.values() if one.node == call.node and (not wanted or one.vmid in wanted)]:
            yield 0.3
            guest.running = action == "startall" and not guest.template

    return call.cluster.tasks.start(call.who, call.node, action, "", work)


def install(cluster: Cluster) -> None:
    """Tells the cluster how its statistics are made."""
    cluster.snapshot = lambda: statistics(cluster)


def no_rule(name: str) -> ApiError:
    return wrong({"rule": f"no such rule '{name}'"})
