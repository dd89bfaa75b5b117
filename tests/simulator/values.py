# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How values change between what was sent, what is kept, and what is shown."""

from __future__ import annotations

import re
import typing as t

from .cluster import Cluster
from .facts import indexed
from .formats import split_list
from .world import Guest


def tags(text: str) -> str:
    """Lower case, in order, each once; none at all is kept as one space."""
    return ";".join(sorted({one.lower() for one in split_list(text)})) or " "


def description(kind: str, text: str) -> str:
    """A container's ends with exactly one end of line, a machine's has no white space at its end."""
    if kind == "lxc":
        return text.rstrip("\n") + "\n" if text else ""
    return text.rstrip()


def net(cluster: Cluster, kind: str, text: str) -> str:
    """Each network without an address gets a new one, every time."""
    name = "lxc-net" if kind == "lxc" else "qemu-net"
    values = cluster.verifier.parse(name, text)
    if kind == "lxc":
        values.setdefault("hwaddr", cluster.mac())
        values["type"] = "veth"
    else:
        values["macaddr"] = values.get("macaddr", cluster.mac()).upper()
    return cluster.verifier.join(name, values)


def store(cluster: Cluster, kind: str, key: str, text: str) -> str | None:
    """What is kept of a value; None for nothing. Disks are no part of this."""
    if key == "tags":
        return tags(text) if kind == "lxc" or split_list(text) else None
    if key == "description":
        return description(kind, text) or None
    if re.fullmatch(r"net\d+", key):
        return net(cluster, kind, text)
    if kind == "lxc" and key in ("nameserver", "searchdomain"):
        return " ".join(split_list(text))
    if _is_integer(cluster, kind, key):
        return str(int(text))
    return text or (" " if kind == "lxc" or key not in EMPTY_IS_NONE else None)


EMPTY_IS_NONE = ("description", "ciuser", "tags", "cipassword", "sshkeys", "searchdomain", "nameserver")


def _rules(cluster: Cluster, kind: str) -> dict[str, t.Any]:
    found = cluster.facts.find("POST", f"/nodes/n/{kind}")
    return found[0].rules if found else {}


def _is_integer(cluster: Cluster, kind: str, key: str) -> bool:
    rule = indexed(_rules(cluster, kind), key)
    return rule is not None and rule.kind in ("int", "bool")


def shown(cluster: Cluster, kind: str, key: str, value: str) -> t.Any:
    """How an answer has a value: integers and booleans as numbers, all else as text."""
    if kind == "qemu" and key == "cipassword":
        return "**********"
    if _is_integer(cluster, kind, key) or key == "snaptime":
        return int(value)
    return value


def config(cluster: Cluster, guest: Guest, values: dict[str, str]) -> dict[str, t.Any]:
    """What GET .../config answers, without the digest."""
    found = {key: shown(cluster, guest.kind, key, value) for key, value in values.items()}
    if guest.raw and "lock" not in values:
        found["lxc"] = guest.raw
    return found


def pending(cluster: Cluster, guest: Guest) -> list[dict[str, t.Any]]:
    """What GET .../pending answers."""
    rows: list[dict[str, t.Any]] = []
    for key in sorted({*guest.config, *guest.pending}):
        row: dict[str, t.Any] = {"key": key}
        if key in guest.config:
            row["value"] = shown(cluster, guest.kind, key, guest.config[key])
        if key in guest.drops:
            row["delete"] = guest.drops[key]
        elif key in guest.pending:
            row["pending"] = shown(cluster, guest.kind, key, guest.pending[key])
        rows.append(row)
    rows.append({"key": "digest", "value": guest.digest()})
    return rows
