# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backend a task gets, and what it says where there is none."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import backends
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import world as worlds
from ansible_collections.nexcage.backends.tests.unit.manager.test_converge import task


def test_auto_takes_the_best_that_works(world: worlds.World) -> None:
    world.versions["crun"] = "0.9.0"
    assert task(world, image="oci:/image")["container"]["backend"] == "runc"


def test_auto_finds_none(world: worlds.World) -> None:
    world.faults["features"] = NexcageError("E_BINARY", "not installed")
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image")
    assert "crun: not installed; runc: not installed" in caught.value.message


def test_a_named_backend_that_is_too_old(world: worlds.World) -> None:
    world.versions["runc"] = "nonsense"
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image", backend="runc")
    assert caught.value.code == "E_BINARY" and ">=1.0.0" in caught.value.message


def test_a_disabled_backend(world: worlds.World) -> None:
    os.makedirs(world.layout.configuration)
    with open(world.layout.configuration + "/config.json", "w", encoding="utf-8") as file:
        json.dump({"plugins": {"crun-backend": {"enabled": False}}}, file)
    assert task(world, image="oci:/image")["container"]["backend"] == "runc"
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image", name="other", backend="crun")
    assert caught.value.code == "E_DISABLED"
    with world.session() as session:
        assert backends.choose(session, "auto", "runc-backend").backend == "runc"


def test_all_backends_disabled(world: worlds.World) -> None:
    os.makedirs(world.layout.configuration)
    with open(world.layout.configuration + "/config.json", "w", encoding="utf-8") as file:
        json.dump({"plugins": {"crun-backend": {"enabled": False}, "runc-backend": {"enabled": False}}}, file)
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image")
    assert caught.value.code == "E_DISABLED" and caught.value.message.endswith("crun: disabled; runc: disabled")
    assert "enable one" in caught.value.remedy and "install" not in caught.value.remedy


def test_nothing_is_done_through_a_disabled_backend(world: worlds.World) -> None:
    task(world, image="oci:/image", backend="runc")
    os.makedirs(world.layout.configuration)
    with open(world.layout.configuration + "/config.json", "w", encoding="utf-8") as file:
        json.dump({"plugins": {"runc-backend": {"enabled": False}}}, file)
    world.calls.clear()
    for check in (True, False):
        for state in ("started", "absent"):
            for given in ({}, {"backend": "runc"}, {"backend": "crun", "replace_backend": True}):
                if (state, given.get("backend")) == ("started", "crun"):
                    continue  # which takes it away from there
                with pytest.raises(NexcageError) as caught:
                    task(world, check=check, state=state, **given)
                error = caught.value
                assert (error.code, error.option, error.value) == ("E_DISABLED", "name", "web")
                assert error.remedy == "enable it with nexcage_plugin: name=runc-backend state=enabled"
            with pytest.raises(NexcageError) as caught:
                task(world, check=check, state=state, backend="crun")
            assert caught.value.code == "E_OWNER"
    assert world.writes() == []
