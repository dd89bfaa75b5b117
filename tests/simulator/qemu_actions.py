# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and stopping machines, their agent, their cloud-init drive."""

from __future__ import annotations

import re
import typing as t

from .access import Who
from .cluster import Cluster
from .errors import TaskError, bad, failed
from .lxc_actions import come_up, ha_task, overrule_shutdowns, to_base
from .lxc_config import apply_pending, unlocked
from .service import Call, answers
from .tasks import Task, Work
from .world import Guest, config_file

BASE = "/nodes/{node}/qemu/{vmid}"


def _find(call: Call) -> Guest | None:
    guest = call.cluster.guests.get(call.vmid)
    return guest if guest is not None and guest.kind == "qemu" and guest.node == call.node else None


def _alive(call: Call) -> Guest:
    guest = _find(call)
    if guest is None or not guest.running:
        raise failed(f"VM {call.vmid} not running")
    return guest


@answers(f"POST {BASE}/status/start")
def start(call: Call) -> t.Any:
    guest = _find(call)
    managed = ha_task(call, guest, "start") if guest else None
    if managed is not None:
        return managed
    return call.cluster.tasks.start(call.who, call.node, "qmstart", call.vmid, lambda task: _starting(call.cluster, call.node, call.vmid, task))


def start_machine(cluster: Cluster, who: Who, guest: Guest) -> None:
    """The second task of a creation with start=1."""
    cluster.tasks.start(who, guest.node, "qmstart", guest.vmid, lambda task: _starting(cluster, guest.node, guest.vmid, task), orphan=True)


def _starting(cluster: Cluster, node: str, vmid: int, task: Task) -> Work:
    guest = cluster.guests.get(vmid)
    if guest is None or guest.kind != "qemu" or guest.node != node:
        raise TaskError(f"Configuration file '{config_file('qemu', node, vmid)}' does not exist")
    yield from cluster.tasks.hold(task, guest)
    if cluster.guests.get(vmid) is not guest:
        raise TaskError(f"Configuration file '{config_file('qemu', node, vmid)}' does not exist")
    if guest.template:
        raise TaskError("you can't start a vm if it's a template")
    if guest.lock and guest.lock != "suspended":
        raise TaskError(f"VM is locked ({guest.lock})")
    if guest.running:
        raise TaskError(f"VM {vmid} already running")
    yield 0.4
    for key, value in sorted(guest.merged().items()):
        bridge = re.search(r"(?:^|,)bridge=([^,]*)", value) if re.fullmatch(r"net\d+", key) else None
        if bridge and bridge[1] not in cluster.nodes[node].bridges:
            task.log(f"bridge '{bridge[1]}' does not exist")
            raise TaskError("start failed: QEMU exited with code 1")
    yield 0.8
    come_up(cluster, guest)
    guest.config.pop("lock", None)


@answers(f"POST {BASE}/status/stop")
def stop(call: Call) -> t.Any:
    guest = _find(call)
    managed = ha_task(call, guest, "stop") if guest and guest.running else None
    if managed is not None:
        return managed

    def work(task: Task) -> Work:
        if guest is None:
            raise TaskError(f"unable to find configuration file for VM {call.vmid} on node '{call.node}'")
        if call.flag("overrule-shutdown"):
            overrule_shutdowns(call.cluster, guest, "qmshutdown")
            yield 5.0
        yield from call.cluster.tasks.hold(task, guest)
        if not guest.running:
            return
        if guest.lock:
            raise TaskError(f"VM is locked ({guest.lock})")
        yield 0.4
        _down(call.cluster, guest)

    return call.cluster.tasks.start(call.who, call.node, "qmstop", call.vmid, work)


def _down(cluster: Cluster, guest: Guest) -> None:
    """A machine's pending changes are applied when it stops already."""
    guest.running = guest.paused = False
    apply_pending(cluster, guest)


@answers(f"POST {BASE}/status/shutdown")
def shutdown(call: Call) -> t.Any:
    guest = call.guest()
    seconds, force = float(call.get("timeout", 60)), call.flag("forceStop")
    if guest.paused and not force:
        raise failed("VM is paused - cannot shutdown")
    managed = ha_task(call, guest, "stop") if guest.running else None
    if managed is not None:
        return managed

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        if not guest.running:
            return
        yield from _powerdown(guest, seconds, force)
        _down(call.cluster, guest)

    return call.cluster.tasks.start(call.who, call.node, "qmshutdown", guest.vmid, work)


def _powerdown(guest: Guest, seconds: float, force: bool) -> Work:
    if guest.deaf:
        yield seconds
        if not force:
            raise TaskError("VM quit/powerdown failed - got timeout")
    else:
        yield min(2.0, seconds)


@answers(f"POST {BASE}/status/reboot")
def reboot(call: Call) -> t.Any:
    guest = _alive(call)
    seconds = float(call.get("timeout", 60))

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        yield from _powerdown(guest, seconds, False)
        come_up(call.cluster, guest)

    return call.cluster.tasks.start(call.who, call.node, "qmreboot", guest.vmid, work)


def _simple(call: Call, kind: str, act: t.Callable[[Guest], None]) -> str:
    guest = _alive(call)

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        yield 0.2
        act(guest)

    return call.cluster.tasks.start(call.who, call.node, kind, guest.vmid, work)


@answers(f"POST {BASE}/status/reset")
def reset(call: Call) -> t.Any:
    return _simple(call, "qmreset", lambda guest: setattr(guest, "paused", False))


@answers(f"POST {BASE}/status/suspend")
def suspend(call: Call) -> t.Any:
    if not call.flag("todisk"):
        return _simple(call, "qmpause", lambda guest: setattr(guest, "paused", True))

    def sleep(guest: Guest) -> None:
        guest.running = False
        guest.config["lock"] = "suspended"

    return _simple(call, "qmsuspend", sleep)


@answers(f"POST {BASE}/status/resume")
def resume(call: Call) -> t.Any:
    guest = _find(call)
    if guest is not None and guest.lock == "suspended":
        return start(call)
    return _simple(call, "qmresume", lambda guest: setattr(guest, "paused", False))


@answers(f"POST {BASE}/template")
def template(call: Call) -> t.Any:
    guest = call.guest()
    unlocked(guest)
    if guest.template:
        raise failed("you can't convert a template to a template")
    if guest.running:
        raise failed("you can't convert a VM to template if VM is running")

    def work(task: Task) -> Work:
        yield from call.cluster.tasks.hold(task, guest)
        yield 0.3
        to_base(call.cluster, guest)

    return call.cluster.tasks.start(call.who, call.node, "qmtemplate", guest.vmid, work)


# ---- the agent in the machine


def _agent(call: Call) -> dict[str, t.Any]:
    guest = call.guest()
    if guest.config.get("agent", "0").replace("enabled=", "")[:1] != "1":
        raise failed("No QEMU guest agent configured")
    if not guest.running:
        raise failed(f"VM {guest.vmid} is not running")
    if guest.agent is None:
        raise failed("QEMU guest agent is not running")
    return guest.agent


@answers(f"POST {BASE}/agent/ping")
def ping(call: Call) -> t.Any:
    _agent(call)
    return {"result": {}}


@answers(f"GET {BASE}/agent/network-get-interfaces")
def network(call: Call) -> t.Any:
    return {"result": _agent(call).get("interfaces", [])}


@answers(f"POST {BASE}/agent/exec")
def execute(call: Call) -> t.Any:
    """What a command does is what the test has put into ``agent``: {"commands": {"ARGUMENTS": {...}}}; anything else fails with 127."""
    agent = _agent(call)
    done = agent.setdefault("done", {})
    pid = 1000 + len(done)
    result = agent.get("commands", {}).get(" ".join(call["command"]), {"exitcode": 127})
    if result.get("echo"):
        result = {"exitcode": 0, "out-data": call.get("input-data", "")}
    done[str(pid)] = {**result, "at": call.cluster.clock.now() + result.get("seconds", 0.1)}
    return {"pid": pid}


@answers(f"GET {BASE}/agent/exec-status")
def exec_status(call: Call) -> t.Any:
    found = _agent(call).get("done", {}).get(call["pid"])
    if found is None:
        raise failed(f"Agent error: PID {call['pid']} does not exist")
    if call.cluster.clock.now() < found["at"]:
        return {"exited": 0}
    return {
        "exited": 1,
        **{key: value for key, value in found.items() if key in ("exitcode", "signal", "out-data", "err-data", "out-truncated", "err-truncated")},
    }


@answers(f"GET {BASE}/agent/file-read")
def file_read(call: Call) -> t.Any:
    files = _agent(call).setdefault("files", {})
    if call["file"] not in files:
        raise failed("Agent error: failed to open file '" + call["file"] + "' (mode: 'r'): No such file or directory")
    return {"content": files[call["file"]], "bytes-read": len(files[call["file"]])}


@answers(f"POST {BASE}/agent/file-write")
def file_write(call: Call) -> t.Any:
    _agent(call).setdefault("files", {})[call["file"]] = call["content"]


@answers(f"POST {BASE}/monitor")
def monitor(call: Call) -> t.Any:
    guest = call.guest()
    return "" if guest.running else f"ERROR: VM {guest.vmid} not running\n"


# ---- cloud-init


@answers(f"GET {BASE}/cloudinit/dump")
def dump(call: Call) -> t.Any:
    guest = call.guest()
    config = guest.merged()
    if call["type"] == "user":
        lines = ["#cloud-config", f"hostname: {guest.name.partition('.')[0]}", "manage_etc_hosts: true", f"user: {config.get('ciuser', 'root')}"]
        return "\n".join(lines) + "\n"
    if call["type"] == "network":
        return "version: 1\nconfig:\n" + "".join(f"    # {key}: {value}\n" for key, value in sorted(config.items()) if key.startswith("ipconfig"))
    return f"instance-id: {guest.digest()}\n"


@answers(f"GET {BASE}/cloudinit")
def cloudinit(call: Call) -> t.Any:
    from .values import shown

    guest = call.guest()
    names = ("ciuser", "cipassword", "citype", "ciupgrade", "searchdomain", "nameserver", "sshkeys", "name")
    return [
        {"key": key, "value": shown(call.cluster, "qemu", key, value)}
        for key, value in guest.config.items()
        if (key in names and key != "name") or re.fullmatch(r"(?:ipconfig|net)\d+", key)
    ]


@answers(f"PUT {BASE}/cloudinit")
def regenerate(call: Call) -> t.Any:
    guest = call.guest()
    if not any("cloudinit" in value for key, value in guest.config.items() if re.match(r"(?:ide|scsi|sata|virtio)\d", key)):
        raise bad(vmid="no cloudinit drive")
