# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting, stopping and looking into containers."""

from __future__ import annotations

import re
import typing as t

from .access import Who
from .cluster import Cluster
from .errors import TaskError, failed
from .lxc_config import apply_pending, unlocked
from .service import Call, answers
from .tasks import Task, Work
from .volumes import used_by
from .world import Guest, config_file

BASE = "/nodes/{node}/lxc/{vmid}"


def _running(call: Call, label: str = "CT") -> Guest:
    guest = call.cluster.guests.get(call.vmid)
    if guest is None or guest.node != call.node or guest.kind != "lxc" or not guest.running:
        raise failed(f"{label} {call.vmid} not running")
    return guest


def ha_task(call: Call, guest: Guest, wanted: str) -> str | None:
    """Guests that HA manages are only told what to be; the task ends before they are."""
    if guest.ha is None or guest.ha.get("state") == "ignored":
        return None
    ha = guest.ha

    def work(task: Task) -> Work:
        del task
        ha["state"] = "started" if wanted == "start" else "stopped"
        yield 0.2
        call.cluster.clock.later(15.0, lambda: _follow(call.cluster, guest, wanted))

    return call.cluster.tasks.start(call.who, call.node, "ha" + wanted, guest.vmid, work)


def _follow(cluster: Cluster, guest: Guest, wanted: str) -> None:
    if cluster.guests.get(guest.vmid) is guest and guest.ha is not None:
        if wanted == "start" and not guest.running:
            come_up(cluster, guest)
        elif wanted == "stop":
            guest.running = False


def come_up(cluster: Cluster, guest: Guest) -> None:
    apply_pending(cluster, guest)
    guest.running, guest.paused, guest.started = True, False, cluster.clock.now()
    guest.pid = 20000 + guest.vmid


@answers(f"POST {BASE}/status/start")
def start(call: Call) -> t.Any:
    guest = call.cluster.guests.get(call.vmid)
    if guest is not None and guest.kind == "lxc" and guest.running:
        raise failed(f"CT {call.vmid} already running")
    managed = ha_task(call, guest, "start") if guest else None
    if managed is not None:
        return managed
    return call.cluster.tasks.start(call.who, call.node, "vzstart", call.vmid, lambda task: _starting(call.cluster, call.node, call.vmid, task))


def start_task(cluster: Cluster, who: Who, guest: Guest) -> None:
    """The second task of a creation with start=1, which nobody is told of."""
    cluster.tasks.start(who, guest.node, "vzstart", guest.vmid, lambda task: _starting(cluster, guest.node, guest.vmid, task), orphan=True)


def _starting(cluster: Cluster, node: str, vmid: int, task: Task) -> Work:
    guest = cluster.guests.get(vmid)
    if guest is None or guest.kind != "lxc" or guest.node != node:
        raise TaskError(f"Configuration file '{config_file('lxc', node, vmid)}' does not exist")
    yield from cluster.tasks.hold(task, guest)
    if cluster.guests.get(vmid) is not guest:
        raise TaskError(f"Configuration file '{config_file('lxc', node, vmid)}' does not exist")
    if guest.template:
        raise TaskError("you can't start a CT if it's a template")
    if guest.lock:
        raise TaskError(f"CT is locked ({guest.lock})")
    yield 0.3
    _hook(cluster, guest, task, "pre-start")
    for key, value in sorted(guest.merged().items()):
        bridge = re.search(r"(?:^|,)bridge=([^,]*)", value) if re.fullmatch(r"net\d+", key) else None
        if bridge and bridge[1] not in cluster.nodes[node].bridges:
            raise TaskError(f"bridge '{bridge[1]}' does not exist")
    yield 0.4
    if guest.system.get("init") == "none":
        raise TaskError(f"startup for container '{vmid}' failed")
    if guest.system.get("exits"):
        raise TaskError(f"unable to get PID for CT {vmid} (not running?)")
    systemd = guest.system.get("systemd")
    if systemd and cluster.nine and "nesting=1" not in guest.merged().get("features", ""):
        task.warn(f"Systemd {systemd} detected. You may need to enable nesting.")
    come_up(cluster, guest)
    _hook(cluster, guest, task, "post-start")


def _hook(cluster: Cluster, guest: Guest, task: Task, phase: str) -> None:
    script = guest.config.get("hookscript")
    if not script:
        return
    volume = cluster.volume(script, guest.node)
    code = volume.traits.get("exit", 0) if volume else 0
    task.log(f"hook {guest.vmid} {phase}")
    if code:
        path = f"/var/lib/vz/snippets/{script.rpartition('/')[2]}"
        raise TaskError(f"hookscript error for {guest.vmid} on {phase}: command '{path} {guest.vmid} {phase}' failed: exit code {code}\n")


@answers(f"POST {BASE}/status/stop")
def stop(call: Call) -> t.Any:
    guest = _running(call)
    unlocked(guest)
    managed = ha_task(call, guest, "stop")
    if managed is not None:
        return managed
    overrule = call.flag("overrule-shutdown")
    return call.cluster.tasks.start(call.who, call.node, "vzstop", call.vmid, lambda task: _stopping(call.cluster, guest, task, overrule))


def overrule_shutdowns(cluster: Cluster, guest: Guest, kind: str) -> None:
    for other in cluster.tasks.all.values():
        if other.running and other.type == kind and other.id == str(guest.vmid):
            cluster.tasks.abort(other)


def _stopping(cluster: Cluster, guest: Guest, task: Task, overrule: bool) -> Work:
    if overrule:
        overrule_shutdowns(cluster, guest, "vzshutdown")
        yield 5.0
    yield from cluster.tasks.hold(task, guest)
    if guest.lock:
        raise TaskError(f"CT is locked ({guest.lock})")
    yield 0.5
    _hook(cluster, guest, task, "pre-stop")
    guest.running = False


@answers(f"POST {BASE}/status/shutdown")
def shutdown(call: Call) -> t.Any:
    guest = _running(call)
    unlocked(guest)
    managed = ha_task(call, guest, "stop")
    if managed is not None:
        return managed
    seconds, force = float(call.get("timeout", 60)), call.flag("forceStop")
    return call.cluster.tasks.start(call.who, call.node, "vzshutdown", call.vmid, lambda task: _shutting(call.cluster, guest, task, seconds, force))


def _shutting(cluster: Cluster, guest: Guest, task: Task, seconds: float, force: bool) -> Work:
    yield from cluster.tasks.hold(task, guest)
    if guest.deaf:
        yield seconds + 8
        if not force:
            raise TaskError("container did not stop")
    else:
        yield min(1.5, seconds)
    guest.running = False


@answers(f"POST {BASE}/status/reboot")
def reboot(call: Call) -> t.Any:
    guest = _running(call, "VM")
    unlocked(guest)
    seconds = float(call.get("timeout", 60))

    def work(task: Task) -> Work:
        yield from _shutting(call.cluster, guest, task, seconds, False)
        yield 1.0
        come_up(call.cluster, guest)

    return call.cluster.tasks.start(call.who, call.node, "vzreboot", call.vmid, work)


@answers(f"POST {BASE}/status/suspend")
def suspend(call: Call) -> t.Any:
    _running(call)
    return _criu(call, "vzsuspend", f"lxc-checkpoint -n {call.vmid} -s -D /var/lib/vz/dump")


@answers(f"POST {BASE}/status/resume")
def resume(call: Call) -> t.Any:
    if call.guest().running:
        raise failed(f"CT {call.vmid} already running")
    return _criu(call, "vzresume", f"lxc-checkpoint -n {call.vmid} -r --foreground -D /var/lib/vz/dump")


def _criu(call: Call, kind: str, command: str) -> str:
    """Checkpoints are experimental; here they never work."""

    def work(task: Task) -> Work:
        task.log("lxc-checkpoint: not possible here")
        yield 0.2
        raise TaskError(f"command '{command}' failed: exit code 1")

    return call.cluster.tasks.start(call.who, call.node, kind, call.vmid, work)


@answers(f"GET {BASE}/interfaces")
def interfaces(call: Call) -> t.Any:
    guest = call.guest()
    if not guest.running:
        return None
    found = [_interface("lo", "00:00:00:00:00:00", "127.0.0.1/8", "::1/128")]
    for key, value in sorted(guest.config.items()):
        if re.fullmatch(r"net\d+", key):
            parts = call.cluster.verifier.parse("lxc-net", value)
            address = parts.get("ip", "")
            if address == "dhcp":
                address = guest.system.get("lease", "")
            found.append(_interface(parts["name"], parts["hwaddr"].lower(), address if "/" in address else "", parts.get("ip6", "")))
    return found


def _interface(name: str, mac: str, four: str, six: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {"name": name, "hwaddr": mac, "hardware-address": mac, "ip-addresses": []}
    for key, kind, text in (("inet", "inet", four), ("inet6", "inet6", six)):
        if "/" in text:
            found[key] = text
            address, _slash, prefix = text.partition("/")
            found["ip-addresses"].append({"ip-address": address, "ip-address-type": kind, "prefix": prefix})
    return found


@answers(f"POST {BASE}/template")
def template(call: Call) -> t.Any:
    guest = call.guest()
    unlocked(guest)
    if guest.template:
        raise failed("you can't convert a template to a template")
    if guest.running:
        raise failed("you can't convert a CT to template if the CT is running")
    to_base(call.cluster, guest)


def to_base(cluster: Cluster, guest: Guest) -> None:
    """Marks a guest as a template; its disks become bases where the storage has such."""
    if guest.kind == "lxc" and any(cluster.storage(one.partition(":")[0]).type == "btrfs" for one in used_by(guest.config, "lxc").values()):
        return  # succeeds, and does nothing
    for key, volid in used_by(guest.config, guest.kind).items():
        volume = cluster.volume(volid, guest.node)
        if volume is not None and cluster.storage(volume.storage).type == "dir" and not key.startswith("unused"):
            volume.volid = volid.replace(f"/vm-{guest.vmid}-", f"/base-{guest.vmid}-")
            guest.config[key] = guest.config[key].replace(volid, volume.volid)
    guest.config["template"] = "1"


@answers(f"GET {BASE}/rrddata")
def rrddata(call: Call) -> t.Any:
    call.guest()
    now = int(call.cluster.clock.now()) // 60 * 60
    known = dict.fromkeys(("cpu", "maxcpu", "mem", "maxmem", "disk", "maxdisk", "netin", "netout", "diskread", "diskwrite"), 0)
    return [*({"time": now - 60 * number} for number in range(69, 0, -1)), {"time": now, **known}]


@answers(f"POST {BASE}/termproxy")
def termproxy(_call: Call) -> t.Any:
    raise failed("Timeout while waiting for port '5900' to get ready!")
