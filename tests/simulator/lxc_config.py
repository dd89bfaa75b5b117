# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PUT /nodes/{node}/lxc/{vmid}/config: what changes at once, what waits, what is refused."""

from __future__ import annotations

import re
import typing as t

from . import values
from .errors import ApiError, TaskError, failed, wrong
from .formats import split_list
from .lxc_may import Wishes
from .service import Call, answers
from .volumes import NEW, VOLUME, allocate, check_storage, gib, keep_unused, remove, sized, used_by
from .world import Guest

AT_ONCE = (
    "description",
    "onboot",
    "startup",
    "protection",
    "hostname",
    "hookscript",
    "cores",
    "tags",
    "lock",
    "template",
    "cpulimit",
    "cpuunits",
    "memory",
    "swap",
)
REQUIRED = ("memory", "ostype", "rootfs")
ONLY_PUT = ("delete", "revert", "digest")
NO_ARCH = "missing 'arch' - internal error at /usr/share/perl5/PVE/LXC.pm line 729."


def unlocked(guest: Guest) -> None:
    """Refuses a change of what is locked."""
    if guest.lock:
        raise failed(f"{guest.label} is locked ({guest.lock})")


def same_digest(call: Call, guest: Guest) -> None:
    if "digest" in call.params and call["digest"] != guest.digest():
        raise failed("detected modified configuration - file changed by other user? Try again.")


def deletions(call: Call, name: str = "delete") -> list[str]:
    """The keys to remove or revert."""
    found = split_list(call.get(name, ""))
    errors: dict[str, str] = {}
    for key in found:
        if key in call.params and key not in ONLY_PUT and name == "delete":
            errors[name] = f"you can't use '-{key}' and -delete {key}' at the same time"
        elif call.endpoint.rule(key) is None or key in (*ONLY_PUT, "skiplock", "force", "background_delay"):
            errors[name] = f"unknown option '{key}'"
    if errors:
        raise wrong(errors)
    return found


@answers("PUT /nodes/{node}/lxc/{vmid}/config")
def put(call: Call) -> t.Any:
    new = {key: value for key, value in call.sent().items() if key not in ONLY_PUT}
    gone, back = deletions(call), deletions(call, "revert")
    if not new and not gone and not back:
        raise failed("no options specified")
    guest = call.guest()
    merged = guest.merged()
    wishes = Wishes(call.cluster, call.who, guest.vmid, merged.get("unprivileged") == "1", merged.get("features", ""), merged.get("tags", ""))
    wishes.check({key: value for key, value in new.items() if key != "unprivileged"}, [key for key in gone if key != "unprivileged"])
    _volumes_allowed(call, new)
    _things_exist(call, guest, new)
    call.cluster.tasks.hold_now(guest)
    guest = call.guest()  # it may have gone meanwhile
    unlocked(guest)
    same_digest(call, guest)
    change = _Change(call, guest)
    change.fixed(new, gone)
    if guest.running:
        change.running(new, gone, back)
    else:
        change.stopped(new, gone, back)


def _things_exist(call: Call, guest: Guest, new: dict[str, str]) -> None:
    if "hookscript" in new and call.cluster.volume(new["hookscript"], guest.node) is None:
        raise failed(f"script '{new['hookscript']}' does not exist")
    for key, text in new.items():
        if re.fullmatch(r"dev\d+", key):
            path = call.cluster.verifier.parse("lxc-dev", text).get("path", "").removeprefix("path=")
            if path not in call.cluster.nodes[guest.node].devices:
                raise failed(f"Device {path} does not exist")


def _volumes_allowed(call: Call, new: dict[str, str]) -> None:
    for key, value in new.items():
        if re.fullmatch(r"mp\d+", key):
            match = NEW.fullmatch(call.cluster.verifier.parse("lxc-mp", value)["volume"])
            if match:
                check_storage(call.cluster, call.who, match[1], "rootdir", call.node)


class _Change:
    """One change of a container's configuration."""

    def __init__(self, call: Call, guest: Guest) -> None:
        self.cluster, self.guest, self.call = call.cluster, guest, call

    def fixed(self, new: dict[str, str], gone: list[str]) -> None:
        """Refuses what cannot be changed."""
        if "unprivileged" in new:
            raise failed("unable to modify read-only option: 'unprivileged'")
        for key in gone:
            if key == "unprivileged":
                raise failed(NO_ARCH if "arch" not in self.guest.config and not self.cluster.nine else f"unable to delete read-only option: '{key}'")
            if key in REQUIRED:
                raise failed(f"unable to delete required option '{key}'")
        if self.guest.config.get("protection") == "1":
            for key in [*new, *(key for key in gone if key in self.guest.config)]:
                if re.fullmatch(r"rootfs|mp\d+|unused\d+", key):
                    raise failed(f"can't update CT {self.guest.vmid} drive '{key}' - protection mode enabled")

    def stopped(self, new: dict[str, str], gone: list[str], back: list[str]) -> None:
        del back  # nothing waits while it is stopped
        for key in gone:
            self._drop(key)
        for key, text in new.items():
            self._set(key, text)
        if "arch" not in self.guest.config:
            raise failed(NO_ARCH)
        for key in new:
            if re.fullmatch(r"net\d+", key):
                self._bridge(self.guest.config[key])

    def _drop(self, key: str) -> None:
        old = self.guest.config.pop(key, None)
        self.guest.pending.pop(key, None)
        if old is None:
            return
        volume = used_by({key: old}, "lxc").get(key)
        if volume and key.startswith("unused"):
            remove(self.cluster, volume, self.guest.node)
        elif volume and key.startswith("mp"):
            keep_unused(self.guest.config, volume)

    def _set(self, key: str, text: str) -> None:
        if re.fullmatch(r"mp\d+", key):
            self._mount(key, text)
            return
        kept = text if key == "rootfs" else values.store(self.cluster, "lxc", key, text)
        if kept is None:
            self.guest.config.pop(key, None)
        else:
            self.guest.config[key] = kept

    def _mount(self, key: str, text: str) -> None:
        parts = self.cluster.verifier.parse("lxc-mp", text)
        old = used_by(self.guest.config, "lxc").get(key)
        match = NEW.fullmatch(parts["volume"])
        if match:
            try:
                made = allocate(self.cluster, match[1], self.guest.vmid, self.guest.node, gib(match[2]), "rootdir")
            except TaskError as error:
                raise failed(str(error)) from None
            parts = sized({**parts, "volume": made.volid}, made.size)
        self.guest.config[key] = self.cluster.verifier.join("lxc-mp", parts)
        for unused in [name for name, volid in used_by(self.guest.config, "lxc").items() if name.startswith("unused") and volid == parts["volume"]]:
            self.guest.config.pop(unused)
        if old and old != parts["volume"]:
            keep_unused(self.guest.config, old)

    # ---- while it runs

    def running(self, new: dict[str, str], gone: list[str], back: list[str]) -> None:
        for key, text in new.items():
            if re.fullmatch(r"net\d+", key):
                self._hot_bridge(key, text)
        for key in back:
            self.guest.pending.pop(key, None)
            self.guest.drops.pop(key, None)
        for key in gone:
            self._drop_running(key)
        for key, text in new.items():
            self._set_running(key, text)

    def _drop_running(self, key: str) -> None:
        if key not in self.guest.config:
            return  # what only waits goes on waiting
        self.guest.pending.pop(key, None)
        if key in AT_ONCE or re.fullmatch(r"net\d+|unused\d+", key):
            self._drop(key)
        else:
            self.guest.drops[key] = 1

    def _set_running(self, key: str, text: str) -> None:
        self.guest.drops.pop(key, None)
        fresh = key not in self.guest.config
        hot = key in AT_ONCE or re.fullmatch(r"net\d+|unused\d+", key) or (fresh and re.fullmatch(r"mp\d+", key))
        if hot or (fresh and re.fullmatch(r"dev\d+", key) and self.cluster.nine):
            self.guest.pending.pop(key, None)
            self._set(key, text)
            return
        kept = text if re.fullmatch(r"mp\d+|rootfs", key) else values.store(self.cluster, "lxc", key, text)
        if kept is None or kept == self.guest.config.get(key):
            self.guest.pending.pop(key, None)
        else:
            self.guest.pending[key] = kept

    # ---- bridges

    def _bridge_of(self, text: str) -> str:
        return self.cluster.verifier.parse("lxc-net", text).get("bridge", "")

    def _bridge(self, text: str) -> None:
        """What is written stays written, though this fails."""
        bridge = self._bridge_of(text)
        if bridge not in self.cluster.nodes[self.guest.node].bridges:
            raise failed(f"bridge '{bridge}' does not exist")

    def _hot_bridge(self, key: str, text: str) -> None:
        bridge = self._bridge_of(text)
        if bridge not in self.cluster.nodes[self.guest.node].bridges:
            raise wrong({key: f"unable to hotplug {key}: bridge '{bridge}' does not exist\n"})


def apply_pending(call_cluster: t.Any, guest: Guest) -> None:
    """What a start does with what has waited."""
    for key in list(guest.drops):
        old = guest.config.pop(key, None)
        volume = used_by({key: old}, guest.kind).get(key) if old else None
        if volume:
            keep_unused(guest.config, volume)
    for key, text in list(guest.pending.items()):
        if guest.kind == "lxc" and re.fullmatch(r"mp\d+", key):
            _pending_mount(call_cluster, guest, key, text)
        else:
            guest.config[key] = text
    guest.pending.clear()
    guest.drops.clear()


def _pending_mount(cluster: t.Any, guest: Guest, key: str, text: str) -> None:
    parts = cluster.verifier.parse("lxc-mp", text)
    old = used_by(guest.config, "lxc").get(key)
    match = NEW.fullmatch(parts["volume"])
    if match:
        made = allocate(cluster, match[1], guest.vmid, guest.node, gib(match[2]), "rootdir")
        parts = sized({**parts, "volume": made.volid}, made.size)
    guest.config[key] = cluster.verifier.join("lxc-mp", parts)
    if old and old != parts["volume"]:
        keep_unused(guest.config, old)


def is_volume(value: str) -> bool:
    return bool(VOLUME.fullmatch(value))


__all__ = ["ApiError", "apply_pending", "deletions", "is_volume", "put", "same_digest", "unlocked"]
