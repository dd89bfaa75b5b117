# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools, in both ways to name one; the firewall of a container."""

from __future__ import annotations

import hashlib
import typing as t

from .calls_cluster import guest_row, storage_row
from .errors import failed
from .formats import split_list
from .service import Call, answers
from .world import Guest, Pool


def _pool(call: Call) -> Pool:
    found = call.cluster.pools.get(call["poolid"])
    if found is None:
        raise failed(f"pool '{call['poolid']}' does not exist")
    return found


def _shown(call: Call, pool: Pool) -> dict[str, t.Any]:
    cluster = call.cluster
    late = cluster.statistics()
    members = [guest_row(cluster, cluster.guests[vmid], late) for vmid in sorted(pool.vms) if vmid in cluster.guests]
    for one in members:
        one.pop("pool", None)
    members += [storage_row(cluster, name, node) for name in sorted(pool.storages) for node in cluster.nodes]
    found: dict[str, t.Any] = {"members": members}
    if pool.comment:
        found["comment"] = pool.comment
    return found


@answers("GET /pools")
def pools(call: Call) -> t.Any:
    if "poolid" in call.params:
        return [{"poolid": call["poolid"], **_shown(call, _pool(call))}]
    seen = [one for one in call.cluster.pools.values() if call.cluster.access.may(call.who, f"/pool/{one.poolid}", "Pool.Audit")]
    return [{"poolid": one.poolid, **({"comment": one.comment} if one.comment else {})} for one in seen]


@answers("GET /pools/{poolid}")
def pool(call: Call) -> t.Any:
    found = _shown(call, _pool(call))
    return {**found, "poolid": call["poolid"]}


@answers("POST /pools")
def create(call: Call) -> t.Any:
    name = call["poolid"]
    if name in call.cluster.pools:
        raise failed(f"create pool failed: pool '{name}' already exists")
    if "/" in name and name.rpartition("/")[0] not in call.cluster.pools:
        raise failed(f"create pool failed: parent '{name.rpartition('/')[0]}' of pool '{name}' does not exist")
    call.cluster.pools[name] = Pool(name, call.get("comment", ""))


@answers("DELETE /pools", "DELETE /pools/{poolid}")
def delete(call: Call) -> t.Any:
    name, pools = call["poolid"], call.cluster.pools
    if name not in pools:
        raise failed(f"delete pool failed: pool '{name}' does not exist")
    inner = next((one for one in pools if one.startswith(name + "/")), None)
    if inner is not None:
        raise failed(f"delete pool failed: pool '{name}' is not empty (contains pool '{inner}')")
    vmid = next(iter(sorted(one for one in pools[name].vms if one in call.cluster.guests)), None)
    if vmid is not None:
        raise failed(f"delete pool failed: pool '{name}' is not empty (contains VM {vmid})")
    pools.pop(name)


@answers("PUT /pools", "PUT /pools/{poolid}")
def update(call: Call) -> t.Any:
    found = _pool(call)
    if "comment" in call.params:
        found.comment = call["comment"]
    for text in split_list(call.get("vms", "")):
        _member(call, found, int(text))
    for name in split_list(call.get("storage", "")):
        (found.storages.discard if call.flag("delete") else found.storages.add)(name)


def _member(call: Call, pool: Pool, vmid: int) -> None:
    if call.flag("delete"):
        if vmid not in pool.vms:
            raise failed(f"update pools failed: VM {vmid} is not a pool member")
        pool.vms.discard(vmid)
        return
    if vmid in pool.vms:
        raise failed(f"update pools failed: VM {vmid} is already a pool member")
    other = call.cluster.pool_of(vmid)
    if other is not None:
        if not call.flag("allow-move"):
            raise failed(f"update pools failed: VM {vmid} belongs already to pool '{other}' and 'allow-move' is not set")
        call.cluster.pools[other].vms.discard(vmid)
    pool.vms.add(vmid)


# ---- the firewall of a container

FIREWALL = "/nodes/{node}/lxc/{vmid}/firewall"


def _guest(call: Call) -> Guest:
    """Also of a container that there is not: the firewall has files of its own."""
    return call.cluster.guests.get(call.vmid) or Guest(call.vmid, "lxc", call.node)


def _digest(what: t.Any) -> str:
    return hashlib.sha1(repr(what).encode() if what else b"").hexdigest()


@answers(f"GET {FIREWALL}/options")
def options(call: Call) -> t.Any:
    guest = _guest(call)
    shown = {key: int(value) if value in ("0", "1") else value for key, value in guest.firewall.items()}
    return {**shown, "digest": _digest(guest.firewall)}


@answers(f"PUT {FIREWALL}/options")
def set_options(call: Call) -> t.Any:
    guest = _guest(call)
    for key in split_list(call.get("delete", "")):
        guest.firewall.pop(key, None)
    guest.firewall.update({key: value for key, value in call.sent().items() if key not in ("delete", "digest")})


@answers(f"GET {FIREWALL}/rules")
def rules(call: Call) -> t.Any:
    found = _guest(call).fw_rules
    return [{**one, "pos": number, "digest": _digest(found)} for number, one in enumerate(found)]


@answers(f"POST {FIREWALL}/rules")
def add_rule(call: Call) -> t.Any:
    made = {key: value for key, value in call.sent().items() if key not in ("pos", "digest")}
    _guest(call).fw_rules.insert(0, {**made, "enable": int(made.get("enable", "0"))})


def _rule(call: Call) -> tuple[list[dict[str, t.Any]], int]:
    found, position = _guest(call).fw_rules, int(call["pos"])
    if position >= len(found):
        raise failed(f"no rule at position {position}")
    return found, position


@answers(f"GET {FIREWALL}/rules/{{pos}}")
def rule(call: Call) -> t.Any:
    found, position = _rule(call)
    return {**found[position], "pos": position}


@answers(f"PUT {FIREWALL}/rules/{{pos}}")
def set_rule(call: Call) -> t.Any:
    found, position = _rule(call)
    found[position].update({key: value for key, value in call.sent().items() if key not in ("delete", "digest", "moveto")})


@answers(f"DELETE {FIREWALL}/rules/{{pos}}")
def delete_rule(call: Call) -> t.Any:
    found, position = _rule(call)
    found.pop(position)
