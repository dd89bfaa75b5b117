# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test can do to the cluster behind its back: move the clock, break things, look inside.

``POST /_sim`` with ``{"do": NAME, ...}`` and the header ``X-Simulator``.
"""

from __future__ import annotations

import hmac
import typing as t

from .access import Grant, Token
from .cluster import Cluster
from .errors import ApiError
from .world import Guest

PREFIX = "/_sim"
SECRET = {"value": ""}
FRONTS: dict[int, t.Any] = {}
ACTS: dict[str, t.Callable[[Cluster, dict[str, t.Any]], t.Any]] = {}


def act(function: t.Callable[[Cluster, dict[str, t.Any]], t.Any]) -> t.Callable[[Cluster, dict[str, t.Any]], t.Any]:
    ACTS[function.__name__] = function
    return function


def do(cluster: Cluster, headers: t.Mapping[str, str], asked: dict[str, t.Any]) -> t.Any:
    """Does what a test asks for.

    Raises:
        ApiError: 403 without the secret; 400 where there is nothing of that name.
    """
    if not hmac.compare_digest((headers.get("X-Simulator") or "").encode(), SECRET["value"].encode()):
        raise ApiError(403, "not the test that started this simulator")
    if asked.get("do") not in ACTS:
        raise ApiError(400, f"nothing to do: {asked.get('do')}; there is {', '.join(sorted(ACTS))}")
    with cluster.lock:
        cluster.clock.run_due()
        return ACTS[asked["do"]](cluster, asked)


@act
def advance(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Moves a clock of ours by ``seconds``."""
    cluster.clock.advance(asked["seconds"])
    return cluster.clock.now()


@act
def finish(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Moves the clock until the task ``upid`` has ended, or all have; at most for ``within`` seconds."""
    upid = asked.get("upid")

    def done() -> bool:
        return not any(task.running for task in cluster.tasks.all.values() if upid in (None, task.upid))

    if upid is None:
        cluster.clock.wait(0.1)  # what has just ended may be about to start another
    return cluster.clock.wait(asked.get("within", 3600), done)


@act
def fault(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Breaks the next ``count`` requests that fit ``method`` and ``path``: kind drop, drop-after, delay, status."""
    cluster.faults.append({key: value for key, value in asked.items() if key != "do"})


@act
def heal(cluster: Cluster, _asked: dict[str, t.Any]) -> t.Any:
    """Takes back all faults."""
    cluster.faults.clear()
    cluster.quorate = True
    cluster.tasks.dying = 0
    for node in cluster.nodes.values():
        node.state = "online"


@act
def node(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Sets the state of node ``name``: online, offline, slow; or other attributes."""
    for name, value in asked["set"].items():
        setattr(cluster.nodes[asked["name"]], name, value)


@act
def storage(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Sets attributes of storage ``name``, such as ``used`` to fill it."""
    for name, value in asked["set"].items():
        setattr(cluster.storages[asked["name"]], name, value)


@act
def quorum(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Loses or regains the quorum."""
    cluster.quorate = bool(asked["quorate"])


@act
def die(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """The next ``count`` tasks are killed while they run."""
    cluster.tasks.dying = asked.get("count", 1)


@act
def guest(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Makes guest ``vmid``, or sets attributes of it; ``config`` replaces single keys, null removes one."""
    vmid = asked["vmid"]
    found = cluster.guests.get(vmid)
    if found is None:
        found = cluster.guests[vmid] = Guest(vmid, asked["kind"], asked.get("node", next(iter(cluster.nodes))))
    for name, value in asked.get("config", {}).items():
        if value is None:
            found.config.pop(name, None)
        else:
            found.config[name] = value
    for name, value in asked.get("set", {}).items():
        setattr(found, name, value)


@act
def forget(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Removes guest ``vmid`` and its volumes without a trace, and ends its tasks."""
    found = cluster.guests.get(asked["vmid"])
    for task in cluster.tasks.all.values():
        if task.running and (task.id == str(asked["vmid"]) or found in task.guests):
            cluster.tasks.abort(task)
    cluster.guests.pop(asked["vmid"], None)
    cluster.volumes[:] = [one for one in cluster.volumes if one.vmid != asked["vmid"] or one.content == "backup"]
    for pool in cluster.pools.values():
        pool.vms.discard(asked["vmid"])


@act
def add(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Adds nodes, storages, volumes, users and so on, as the description of a world does."""
    cluster.load(asked["world"])


@act
def user(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Sets attributes of user ``userid``, and of its tokens."""
    found = cluster.access.users[asked["userid"]]
    for name, value in asked.get("set", {}).items():
        setattr(found, name, value)
    for one in asked.get("tokens", []):
        found.tokens[one["tokenid"]] = Token(**one)


@act
def acl(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Replaces the access control list."""
    cluster.access.grants[:] = [Grant(**one) for one in asked["acl"]]


@act
def role(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Sets the privileges of a role."""
    cluster.access.roles[asked["name"]] = set(asked["privileges"])


@act
def option(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Sets options of the data centre; null removes one."""
    for name, value in asked["set"].items():
        if value is None:
            cluster.options.pop(name, None)
        else:
            cluster.options[name] = value


@act
def front(cluster: Cluster, asked: dict[str, t.Any]) -> t.Any:
    """Sets what stands before the API: ``reasons``, ``message``, ``cookie``."""
    for name, value in asked["set"].items():
        setattr(FRONTS[id(cluster)], name, value)


@act
def look(cluster: Cluster, _asked: dict[str, t.Any]) -> t.Any:
    """All guests, volumes, tasks and requests so far."""
    return {
        "now": cluster.clock.now(),
        "guests": {
            one.vmid: {
                "kind": one.kind,
                "node": one.node,
                "config": one.config,
                "pending": one.pending,
                "running": one.running,
                "snapshots": sorted(one.snapshots),
            }
            for one in cluster.guests.values()
        },
        "volumes": [{"volid": one.volid, "node": one.node, "vmid": one.vmid, "size": one.size, "content": one.content} for one in cluster.volumes],
        "tasks": [{**task.shown(), "log": task.lines} for task in cluster.tasks.all.values()],
        "seen": cluster.seen,
    }


@act
def unsee(cluster: Cluster, _asked: dict[str, t.Any]) -> t.Any:
    """Forgets the requests so far."""
    cluster.seen.clear()
