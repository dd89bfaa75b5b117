# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the recordings leave out: the hand of whoever made them, between two requests, and headers and files that were sent.

Nothing of this is known to the simulator. Whatever a request or its answer proves to have happened out of sight is
done to the cluster before the request: a guest that was removed, a lock that was set, a guest that was stopped.
"""

from __future__ import annotations

import re
import typing as t

from ..cluster import Cluster
from ..world import Guest, Volume
from .setting import PROVISIONER

LOCKED = re.compile(r"(?:CT|VM) is locked \(([\w-]+)\)")
CREATES = re.compile(r"/nodes/pve1/(lxc|qemu)$")
CLONES = re.compile(r"/nodes/pve1/(lxc|qemu)/(\d+)/clone$")
OF_GUEST = re.compile(r"/nodes/pve1/(lxc|qemu)/(\d+)(/|$)(.*)")
DEAF = ("container did not stop", "VM quit/powerdown failed - got timeout", "unexpected status", "unable to read tail (got 0 bytes)")
OPTIONS = {"nextid with datacenter range": {"next-id": "lower=5000,upper=5001"}, "create outside range allowed?": {"next-id": "lower=5000,upper=5001"}}
OPTIONS["tag not allowed for prov"] = {"registered-tags": "reg"}
CHANGES: dict[str, dict[int, dict[str, str | None]]] = {
    "config shows parent": {100: {"description": "changed\n", "memory": "222"}},
    "vzdump": {100: {"mp0": None}},
    "start with good hook": {100: {"hookscript": "local:snippets/hook.sh"}},
    "start missing bridge": {200: {"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr99"}},
}
POOLS = {"pool delete p2": "p2"}
USERS = {"login expired user": {"enable": True, "expire": 1}, "expired token": {"enable": True, "expire": 0}}
CONTENT_TYPES = {"PUT json with charset": "application/json;charset=utf-8", "PUT text/plain": "text/plain", "PUT no content type": ""}


def forget(cluster: Cluster, vmid: int) -> None:
    found = cluster.guests.pop(vmid, None)
    if found is not None:
        for task in cluster.tasks.all.values():
            if task.running and found in task.guests:
                cluster.tasks.abort(task)
    cluster.guests.pop(vmid, None)
    cluster.volumes[:] = [one for one in cluster.volumes if one.vmid != vmid or one.content == "backup"]
    for pool in cluster.pools.values():
        pool.vms.discard(vmid)


def state(cluster: Cluster) -> t.Any:
    """What ``prepare`` may change of guests."""
    return {vmid: (one.running, dict(one.config)) for vmid, one in cluster.guests.items()}


def prepare(cluster: Cluster, entry: dict[str, t.Any], outcome: str) -> None:
    """Makes true what must have been true when this was recorded.

    Args:
        outcome: How the task that this starts ended, as far as the recording tells.
    """
    case = str(entry.get("case", ""))
    cluster.options.update(OPTIONS.get(case, {}))
    for name, value in USERS.get(case, {}).items():
        setattr(cluster.access.users["off@pve"], name, value)
    if case == "expired token":
        cluster.access.users["off@pve"].tokens["tk"].expire = 1
    if case.startswith("missing privilege"):
        _matrix(cluster, case)
    request, response = entry["request"], entry["response"]
    good = response["status"] == 200
    _ids(cluster, request, response)
    _content(cluster, request, response)
    _seen(cluster, response)
    _script(cluster, case, request, response)
    match = OF_GUEST.match(request.get("path", ""))
    guest = cluster.guests.get(int(match[2])) if match else None
    if guest is not None and match:
        _state(cluster, guest, request["method"], match[4], response, outcome)
        _lock(cluster, guest, request["method"], match[4], response, outcome, good)


def _matrix(cluster: Cluster, case: str) -> None:
    missing = case.removeprefix("missing privilege ").partition(":")[0]
    cluster.access.roles["One"] = {*PROVISIONER} - {missing}


def _ids(cluster: Cluster, request: dict[str, t.Any], response: dict[str, t.Any]) -> None:
    """An id that was given to a new guest was free; one that was refused as taken was taken."""
    given = request.get("params")
    params: dict[str, t.Any] = given if isinstance(given, dict) else {}
    path, taken = request.get("path", ""), re.search(r"(CT|VM) (\d+)(?: already exists on node|: config file already exists)", str(response.get("reason")))
    if request["method"] == "POST" and (CREATES.search(path) or CLONES.search(path)) and params:
        wanted = params.get("vmid", params.get("newid"))
        if response["status"] == 200 and wanted is not None and not (params.get("restore") and params.get("force")):
            forget(cluster, int(wanted))
        if (
            response["status"] in (400, 403, 500)
            and "/lxc" in path
            and not taken
            and wanted is not None
            and str(wanted).isdigit()
            and not params.get("restore")
        ):
            forget(cluster, int(wanted))
        if taken and int(taken[2]) not in cluster.guests:
            kind = "lxc" if taken[1] == "CT" else "qemu"
            cluster.guests[int(taken[2])] = Guest(int(taken[2]), kind, "pve1", {"arch": "amd64", "memory": "128"} if kind == "lxc" else {"memory": "128"})
    if "pool" in params and response["status"] == 200:
        cluster.load({"pools": [params["pool"]]} if params["pool"] not in cluster.pools else {})
    missing = re.search(r"Configuration file 'nodes/pve1/(lxc|qemu)(?:-server)?/(\d+).conf' does not exist", str(response.get("reason")))
    if missing and not any(task.running for task in cluster.tasks.all.values()):
        gone = cluster.guests.get(int(missing[2]))
        if gone is not None and gone.kind == missing[1]:
            forget(cluster, gone.vmid)
    if path == "/cluster/nextid" and "vmid" in params and response["status"] == 200:
        forget(cluster, int(params["vmid"]))


def _seen(cluster: Cluster, response: dict[str, t.Any]) -> None:
    """Tags that were set, and members of pools that were removed, before a list showed them so."""
    body = response.get("body")
    rows = body.get("data") if isinstance(body, dict) else None
    for guest in [one for one in cluster.guests.values() if one.system.get("hidden") and isinstance(rows, list)]:
        cluster.guests.pop(guest.vmid)
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        found = cluster.guests.get(row.get("vmid", 0))
        if found is None and row.get("type") in ("lxc", "qemu") and "vmid" in row and not any(task.running for task in cluster.tasks.all.values()):
            found = cluster.guests[row["vmid"]] = Guest(row["vmid"], row["type"], "pve1", {"memory": "128"}, system={"hidden": True})
        if found is not None and row.get("tags"):
            found.config["tags"] = row["tags"]
        if "members" in row and row.get("poolid") in cluster.pools:
            for vmid in cluster.pools[row["poolid"]].vms - {one.get("vmid") for one in row["members"]}:
                forget(cluster, vmid)


def _script(cluster: Cluster, case: str, request: dict[str, t.Any], response: dict[str, t.Any]) -> None:
    """Changes that only the next case tells of, and scripts that came and went."""
    for vmid, changes in CHANGES.get(case, {}).items():
        guest = cluster.guests.get(vmid)
        if guest is not None:
            for key, value in changes.items():
                if value is None:
                    guest.config.pop(key, None)
                else:
                    guest.config[key] = value
    if case in POOLS:
        cluster.pools.pop(POOLS[case] + "/sub", None)
        cluster.pools[POOLS[case]].vms.clear()
    params = request.get("params")
    if isinstance(params, dict) and "hookscript" in params:
        script(cluster, params["hookscript"], str(response.get("reason")) + str(response.get("body")))


def script(cluster: Cluster, volid: str, told: str) -> None:
    """A script was there unless the answer says otherwise."""
    found = cluster.volume(volid, "pve1")
    if f"script '{volid}' does not exist" in told:
        if found is not None:
            cluster.volumes.remove(found)
    elif found is None and "nosuch" not in volid:
        cluster.volumes.append(Volume(volid, "snippets", "snippet", 35, node="pve1"))


def _content(cluster: Cluster, request: dict[str, t.Any], response: dict[str, t.Any]) -> None:
    """Files that came to a storage out of sight, and disks of guests that went."""
    body = response.get("body")
    if not request.get("path", "").endswith("/content") or request["method"] != "GET" or not isinstance(body, dict) or response["status"] != 200:
        return
    if not isinstance(body.get("data"), list):
        return
    for row in body["data"]:
        if row["content"] == "import" and cluster.volume(row["volid"], "pve1") is None:
            cluster.volumes.append(Volume(row["volid"], "import", row["format"], row["size"], node="pve1"))


def _lock(cluster: Cluster, guest: Guest, method: str, tail: str, response: dict[str, t.Any], outcome: str, good: bool) -> None:
    told = LOCKED.search(str(response.get("reason"))) or LOCKED.search(outcome)
    busy = any(task.running and task.id == str(guest.vmid) for task in cluster.tasks.all.values())
    body = response.get("body")
    data = body.get("data") if isinstance(body, dict) else None
    shown = data.get("lock", "") if isinstance(data, dict) and tail in ("config", "status/current") and method == "GET" else None
    if told:
        if not busy:
            guest.config["lock"] = told[1]
    elif busy:
        return
    elif shown:
        guest.config["lock"] = shown
    elif shown == "" or (good and method != "GET"):
        guest.config.pop("lock", None)


def _state(cluster: Cluster, guest: Guest, method: str, tail: str, response: dict[str, t.Any], outcome: str) -> None:
    """A guest that was started or stopped out of sight, and whether it listens when it is asked to shut down."""
    reason, body = str(response.get("reason")), response.get("body")
    data = body.get("data") if isinstance(body, dict) else None
    busy = any(task.running and task.id == str(guest.vmid) for task in cluster.tasks.all.values())
    if not busy and tail == "status/current" and method == "GET" and isinstance(data, dict):
        guest.running = data.get("status") == "running"
    if "QEMU guest agent is not running" in reason:
        guest.config["agent"], guest.running = "1", True
    if not busy and method == "DELETE" and response["status"] == 200:
        guest.config.update({"protection": "0"} if guest.config.get("protection") == "1" else {})
    if not busy and tail == "template" and response["status"] == 200:
        guest.running = False
    if not busy and method == "POST":
        if f"{guest.vmid} not running" in reason or (tail == "status/start" and response["status"] == 200 and "already running" not in outcome):
            guest.running = False
        if "already running" in reason or (guest.kind == "lxc" and tail in ("status/stop", "status/shutdown", "status/reboot") and response["status"] == 200):
            guest.running = True
    if tail in ("status/shutdown", "status/reboot") and method == "POST":
        guest.deaf = outcome in DEAF


def upload(case: str) -> tuple[str, bytes]:
    """The body of an upload, by what its case says of it."""
    content = b"not really a template"
    name = {"upload bad extension": "x.exe", "upload iso": "up.iso", "upload path traversal": "../x.iso", "upload snippets": "x.sh"}.get(
        case, "uploaded_1_amd64.tar.gz"
    )
    if "checksum" in case:
        name = "uploaded_2_amd64.tar.gz"
    kind = {"upload iso": "iso", "upload path traversal": "iso", "upload snippets": "snippets", "upload unknown content": "foo"}.get(case, "vztmpl")
    import hashlib

    good = hashlib.sha256(content).hexdigest()
    fields = [("content", kind)]
    if "checksum" in case:
        pair = [("checksum-algorithm", "sha256"), ("checksum", "0" * 64 if "bad" in case else good)]
        fields += pair[::-1] if "before" in case else pair
    parts = [f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields]
    head = f'--b\r\nContent-Disposition: form-data; name="filename"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return "multipart/form-data; boundary=b", b"".join(parts) + head.encode() + content + b"\r\n--b--\r\n"
