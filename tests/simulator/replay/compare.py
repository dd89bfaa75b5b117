# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds an answer of the simulator against a recorded one."""

from __future__ import annotations

import re
import typing as t

VOLATILE = (
    (re.compile(r"UPID:[^:\s]+:[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:[0-9A-Fa-f]{8}:"), "UPID:"),
    (re.compile(r"\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b"), "MAC"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"creation-qemu=[\d.]+,ctime=\d+"), "META"),
    (re.compile(r"\.tmp\.\d+"), ".tmp.PID"),
    (re.compile(r"\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d"), "STAMP"),
    (re.compile(r"line \d+\."), "line N."),
    (re.compile(r"got '[0-9a-f]{64}'"), "got SUM"),
)
# Statistics that may not have arrived yet, and what the recording machine had of its own.
LATE = set("name status template cpu mem maxmem disk maxdisk netin netout uptime maxcpu memhost diskread diskwrite hastate".split())
OWN = re.compile(r"pressure\w+|cgroup-mode|pid|nics|blockstat|ballooninfo|balloon|freemem|shares|running-\w+|proxmox-support|serial|clipboard|balloon_min")
TIMES = ("ctime", "used", "snaptime")
KINDS: dict[type, str] = {int: "number", float: "number", bool: "number", str: "text", type(None): "null"}


def settle(value: t.Any) -> t.Any:
    """The value without what differs from run to run."""
    if isinstance(value, str):
        for expression, instead in VOLATILE:
            value = expression.sub(instead, value)
        return value
    if isinstance(value, list):
        return [settle(one) for one in value]
    if isinstance(value, dict):
        return {key: settle(one) for key, one in value.items()}
    return value


def shape(value: t.Any, ignored: t.Container[str] = ()) -> t.Any:
    """Keys and kinds of a value; of a list, those of all elements together."""
    if isinstance(value, dict):
        return {key: shape(one, ignored) for key, one in sorted(value.items()) if key not in ignored and key not in TIMES and not OWN.fullmatch(key)}
    if isinstance(value, list):
        merged: dict[str, t.Any] = {}
        for one in value:
            if not isinstance(one, dict):
                return ["..."] if value else []
            merged.update({key: found for key, found in shape(one, ignored).items() if found not in ([], "null") or key not in merged})
        return [merged] if value else []
    return KINDS.get(type(value), type(value).__name__)


def errors_of(body: t.Any) -> t.Any:
    if not isinstance(body, dict):
        return None
    return {key: sorted(str(text).splitlines()) for key, text in (settle(body.get("errors")) or {}).items()}


def _lines(data: t.Any) -> dict[str, t.Any]:
    return {row["key"]: settle(row) for row in data}


def data_of(path: str, recorded: t.Any, found: t.Any) -> str:
    """What differs between two answers that are successes; nothing where they are alike."""
    tail = path.rstrip("/").rpartition("/")[2]
    if tail == "config" and isinstance(recorded, dict) and "/snapshot/" not in path:
        return _values({**settle(recorded)}, {**settle(found)} if isinstance(found, dict) else {})
    if tail == "pending":
        return _values(_lines(recorded), _lines(found or []))
    if tail == "status" and isinstance(recorded, dict) and recorded.get("status") == "running" and isinstance(found, dict):
        found = {key: value for key, value in found.items() if key != "exitstatus"}  # how long a task takes proves nothing
    if tail == "status" and isinstance(recorded, dict) and "exitstatus" in recorded:
        one, two = settle(recorded["exitstatus"]), settle(found.get("exitstatus"))
        return "" if one == two else f"exitstatus {two!r}, recorded {one!r}"
    ignored = LATE if path.startswith(("/cluster/resources", "/pools")) else ()
    before, after = shape(recorded, ignored), shape(found, ignored)
    return "" if before == after else _shapes(before, after)


def _shapes(before: t.Any, after: t.Any) -> str:
    if isinstance(before, list) and isinstance(after, list) and before and after:
        before, after = before[0], after[0]
    if isinstance(before, dict) and isinstance(after, dict):
        return "shape: " + _values(before, after)
    return f"shape {after!r}, recorded {before!r}"


def _values(recorded: dict[str, t.Any], found: dict[str, t.Any]) -> str:
    differences = []
    for key in sorted({*recorded, *found}):
        if key in TIMES or recorded.get(key, ()) == found.get(key, ()):
            continue
        differences.append(f"{key}: {found.get(key, 'absent')!r}, recorded {recorded.get(key, 'absent')!r}")
    return "; ".join(differences)


def answers(path: str, recorded: dict[str, t.Any], status: int, reason: str, body: t.Any, loose: bool = False) -> str:
    """What differs between a recorded answer and one of the simulator; ``loose``: not all of the body was recorded."""
    if status != recorded["status"]:
        return f"{status} {reason} {body if status != 200 else ''}, recorded {recorded['status']} {recorded['reason']}"
    before = recorded.get("body")
    if status == 200:
        if isinstance(before, dict) and "data" in before and isinstance(body, dict):
            return data_of(path, before["data"], body.get("data"))
        return ""
    if settle(reason) != settle(recorded["reason"]) and not str(recorded["reason"]).startswith("'\""):
        return f"reason {reason!r}, recorded {recorded['reason']!r}"
    if loose:
        return ""
    if errors_of(body) != errors_of(before):
        return f"errors {errors_of(body)}, recorded {errors_of(before)}"
    if isinstance(before, dict) != isinstance(body, dict) or (isinstance(before, dict) and settle(before.get("message")) != settle(body.get("message"))):
        return f"body {body!r}, recorded {before!r}"
    return ""
