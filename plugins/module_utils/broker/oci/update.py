# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes while the container runs: its limits, and what only the record says."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ...model.container import ContainerSpec, key_id
from ...model.errors import NexcageError
from .. import key, store
from . import cgroup, cgroup_control, lifecycle, observe, records, resources
from .runtime import Runtime

# Nothing outside the record depends on these.
_NOTED = ("labels", "stop_signal", "stop_timeout")
# option -> the runtime specification's words for no limit, the v1 controller, the kernel's file and word on v1 and v2
_UNLIMITED: dict[str, tuple[dict[str, t.Any], str, tuple[str, str], tuple[str, str]]] = {
    "cpus": (
        {"cpu": {"quota": -1, "period": cgroup.CPU_PERIOD}},
        "cpu",
        ("cpu.cfs_quota_us", "-1"),
        ("cpu.max", f"max {cgroup.CPU_PERIOD}"),
    ),
    "pids_limit": ({"pids": {"limit": -1}}, "pids", ("pids.max", "max"), ("pids.max", "max")),
}


def apply(places: records.Places, tool: Runtime, name: str, changes: t.Mapping[str, t.Any]) -> None:
    """Set limits live where the container runs, and for its next start in any case; labels and how to stop, in the record.

    Args:
        places: The backend's folders.
        tool: The backend's runtime.
        name: The container.
        changes: Canonical values of updatable options only.

    Raises:
        NexcageError: ``E_UNSUPPORTED`` for an option that needs a new container, ``E_INVALID``, ``E_RUNTIME``; the
            record then still has the old values.
    """
    for option in changes:
        if option not in observe.UPDATABLE + _NOTED:
            raise NexcageError("E_UNSUPPORTED", "cannot change while the container exists", option=option, remedy="recreate the container")
    with lifecycle.locked(places, name, "update"):
        container = lifecycle.existing(places, name)
        recorded = ContainerSpec(container.record["spec"])
        _refuse_unsealed(places, container, recorded)
        spec = ContainerSpec(changes).over(recorded)
        resources.check(spec.values)
        wanted = {**spec.values}
        chosen = set(changes) | ({"memory_swap", "memory"} if {"memory", "memory_swap"}.intersection(changes) else set())
        rendered = resources.render({option: wanted[option] for option in chosen if option in wanted})
        limits = {option: value for option, value in changes.items() if option not in _NOTED}
        if limits and lifecycle.situation(places, tool, container) != "stopped":
            _live(places, tool, container, rendered, limits)
        store.checkpoint("update:live")
        _write(places, container, spec, rendered)


def _refuse_unsealed(places: records.Places, container: records.Container, recorded: ContainerSpec) -> None:
    """What is not sealed shall not be by an update, which takes over what is recorded.

    Raises:
        NexcageError: ``E_STATE``.
    """
    seal = container.record.get("seal")
    if seal is not None and seal != recorded.seal(key.host_key(places.layout, make=False)):
        message = f"the record of {container.name} does not match its seal, and an update would take it over"
        raise NexcageError("E_STATE", message, value=container.folder + "/record.json", remedy="make it again with recreate: true")


def _live(places: records.Places, tool: Runtime, container: records.Container, rendered: dict[str, t.Any], changes: dict[str, t.Any]) -> None:
    """Hand all values over in one call and look whether the kernel took them."""
    group, kind = container.record["cgroup"], cgroup.mode()
    before = cgroup.limits(group, kind, container.record["spec"])
    try:
        _hand_over(places, tool, container, rendered)
        for option in ("cpus", "pids_limit"):
            if changes.get(option, 1) <= 0:
                _unlimit(places, tool, container, option)
    except NexcageError as error:
        old = {option: value for option, value in before.items() if option in changes}
        with contextlib.suppress(NexcageError):  # some may have been set before one was refused
            _hand_over(places, tool, container, resources.render(old))
        if error.code != "E_RUNTIME":
            raise
        error.option = "memory" if "memory" in error.message and "memory" in changes else next(iter(changes))
        if error.option == "memory":
            error.value = changes["memory"]
            error.remedy = "give more, as the container uses more than that now; or stop it first"
        raise
    found = cgroup.limits(group, kind, {**container.record["spec"], **changes})
    for option, value in changes.items():
        wanted = cgroup.UNLIMITED if option != "cpu_shares" and isinstance(value, int) and value <= 0 else value
        if option in found and found[option] != wanted:
            raise NexcageError("E_RUNTIME", f"{tool.name} update left it at {found[option]}", option=option, value=value, remedy="recreate the container")


def _hand_over(places: records.Places, tool: Runtime, container: records.Container, rendered: t.Mapping[str, t.Any]) -> None:
    if not rendered:
        return
    path = f"{places.conmon}/{container.id}/resources.json"
    store.write_json(path, rendered, sync=False)
    try:
        tool.check("update", "--resources", path, "--", container.id)
    finally:
        store.remove(path)


def _unlimit(places: records.Places, tool: Runtime, container: records.Container, option: str) -> None:
    """Take a limit away: through the runtime, which else sets it again, or directly where it cannot (crun 1.8)."""
    field, controller, v1, v2 = _UNLIMITED[option]
    try:
        _hand_over(places, tool, container, field)
    except NexcageError:
        file, text = v2 if cgroup.mode() == "v2" else v1
        cgroup_control.write(container.record["cgroup"], controller, file, text)


def _write(places: records.Places, container: records.Container, spec: ContainerSpec, rendered: dict[str, t.Any]) -> None:
    path, own_key = container.folder + "/config.json", key.host_key(places.layout, make=True)
    config = store.read_json(path)
    if config is not None:
        present = config["linux"].setdefault("resources", {})
        if (spec.get("pids_limit") or 1) <= 0:
            present.pop("pids", None)
        if (spec.get("cpus") or 1) <= 0:
            for field in ("quota", "period"):
                (present.get("cpu") or {}).pop(field, None)
        for kind, values in rendered.items():
            present[kind] = {**(present.get(kind) or {}), **values}
        config["annotations"]["org.nexcage.spec"] = spec.seal(own_key)
        store.write_json(path, config)
        container.record["config_sha256"] = records.digest(config)
    store.checkpoint("update:config")
    container.record.update(spec=spec.values, seal=spec.seal(own_key), key=key_id(own_key))
    for option in ("stop_signal", "stop_timeout"):
        if spec.get(option) is not None:
            container.record[option] = spec.get(option)
    store.write_json(container.folder + "/record.json", container.record)
    store.checkpoint("update:record")
    if not os.path.exists(path):
        raise NexcageError("E_STATE", "the bundle's config.json is gone", value=container.folder, remedy="create the container anew")
