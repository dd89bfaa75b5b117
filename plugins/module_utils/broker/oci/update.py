# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits that change while the container runs."""

from __future__ import annotations

import json
import os
import typing as t

from ...model.container import ContainerSpec
from ...model.errors import NexcageError
from .. import store
from . import cgroup, lifecycle, observe, records, resources, staging
from .runtime import Runtime


def apply(places: records.Places, tool: Runtime, name: str, changes: t.Mapping[str, t.Any]) -> None:
    """Set limits live where the container runs, and for its next start in any case.

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
        if option not in observe.UPDATABLE:
            raise NexcageError("E_UNSUPPORTED", "cannot change while the container exists", option=option, remedy="recreate the container")
    with lifecycle.locked(places, name, "update"):
        container = lifecycle.existing(places, name)
        spec = ContainerSpec(changes).over(ContainerSpec(container.record["spec"]))
        resources.check(spec.values)
        wanted = {**spec.values}
        chosen = set(changes) | ({"memory_swap", "memory"} if {"memory", "memory_swap"}.intersection(changes) else set())
        rendered = resources.render({option: wanted[option] for option in chosen if option in wanted})
        if lifecycle.situation(places, tool, container) != "stopped":
            _live(places, tool, container, rendered, {option: changes[option] for option in changes})
        store.checkpoint("update:live")
        _write(places, container, spec, rendered)


def _live(
    places: records.Places, tool: Runtime, container: records.Container, rendered: dict[str, t.Any], changes: dict[str, t.Any]
) -> None:
    """Hand all values over in one call and look whether the kernel took them."""
    path = f"{places.conmon}/{container.id}/resources.json"
    kind = cgroup.mode()
    store.atomic_write(path, json.dumps(rendered).encode(), sync=False)
    try:
        tool.check("update", "--resources", path, "--", container.id)
    finally:
        store.remove(path)
    found = cgroup.limits(container.record["cgroup"], kind, {**container.record["spec"], **changes})
    for option, value in changes.items():
        wanted = cgroup.UNLIMITED if option != "cpu_shares" and isinstance(value, int) and value <= 0 else value
        if option in found and found[option] != wanted:
            raise NexcageError(
                "E_RUNTIME", f"{tool.name} update left it at {found[option]}", option=option, value=value, remedy="recreate the container"
            )


def _write(places: records.Places, container: records.Container, spec: ContainerSpec, rendered: dict[str, t.Any]) -> None:
    path = container.folder + "/config.json"
    config = store.read_json(path)
    if config is not None:
        present = config["linux"].setdefault("resources", {})
        for kind, values in rendered.items():
            present[kind] = {**(present.get(kind) or {}), **values}
        config["annotations"]["org.nexcage.spec"] = spec.seal(staging.host_key(places))
        store.write_json(path, config)
    store.checkpoint("update:config")
    container.record["spec"] = spec.values
    store.write_json(container.folder + "/record.json", container.record)
    store.checkpoint("update:record")
    if not os.path.exists(path):
        raise NexcageError("E_STATE", "the bundle's config.json is gone", value=container.folder, remedy="create the container anew")
