# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything changes, and what a failure says of the part that was done."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import handlers
from ansible_collections.nexcage.backends.plugins.module_utils.manager import converge, execute, information, observe
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import world as worlds

DEFAULTS = {name: entry.get("default") for name, entry in options.argument_spec().items()}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> worlds.World:
    return worlds.make(monkeypatch, str(tmp_path))


def task(world: worlds.World, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    with world.session(check) as session:
        return converge.converge(session, {**DEFAULTS, "name": "web", **parameters})


def refused(world: worlds.World, **parameters: t.Any) -> NexcageError:
    """The same error in check mode and without; nothing was written."""
    before = world.writes()
    errors = []
    for check in (True, False):
        with pytest.raises(NexcageError) as caught:
            task(world, check, **parameters)
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1]) and world.writes() == before
    return errors[0]


@pytest.mark.parametrize(
    "parameters",
    [
        {"wait": "port:80"},
        {"wait": "port:80", "network_mode": "none"},
        {"wait": "running", "state": "stopped"},
        {"wait": "port:80", "state": "stopped", "network_mode": "host"},
        {"wait": "exited", "state": "absent"},
        {"wait": "running", "state": "paused"},
        {"wait": "port:0"},
        {"wait": "exited:1"},
    ],
)
def test_a_wait_that_cannot_come_true(world: worlds.World, parameters: dict[str, t.Any]) -> None:
    assert refused(world, image="oci:/image", **parameters).option == "wait"


def test_swap_needs_a_memory_here_or_there(world: worlds.World) -> None:
    assert refused(world, image="oci:/image", memory_swap="40m").option == "memory_swap"
    task(world, image="oci:/image", memory="20m")
    assert [action["action"] for action in task(world, memory_swap="40m")["plan"]] == ["update"]
    assert not task(world, memory_swap="40m")["changed"]
    assert refused(world, memory="80m").remedy == "give memory_swap too"


def test_an_image_that_only_a_pull_would_bring(world: worlds.World) -> None:
    error = refused(world, image="oci:/image", pull="never")
    assert (error.code, error.option, error.value) == ("E_IMAGE", "image", "oci:/image")
    task(world, image="oci:/image")
    assert not task(world, image="oci:/image", pull="never")["changed"]
    world.fetched.clear()
    assert refused(world, recreate=True, pull="never").code == "E_IMAGE"


def foreign(world: worlds.World) -> None:
    folder = pathlib.Path(world.layout.state, "containers/web")
    (folder / worlds.IDENTIFIER).mkdir(parents=True)
    (folder / "current").write_text(worlds.IDENTIFIER)
    (folder / worlds.IDENTIFIER / "record.json").write_text(json.dumps(worlds.record("web", "other-backend")))


def test_a_container_whose_plugin_is_gone(world: worlds.World) -> None:
    foreign(world)
    for state in ("started", "absent"):
        error = refused(world, image="oci:/image", state=state)
        assert error.code == "E_OWNER" and "other-backend" in error.message
    with world.session() as session:
        with pytest.raises(NexcageError) as caught:
            execute.execute(session, {"name": "web", "argv": ["true"], "timeout": 1})
        assert caught.value.code == "E_OWNER"
        assert information.containers(session, {})["containers"] == []
        assert "not listed: web" in session.warnings[0]


def test_how_a_replaced_container_is_stopped(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[handlers.Order] = []
    task(world, image="oci:/image")
    replace = handlers._replace
    monkeypatch.setattr(handlers, "_replace", lambda bench, arguments: (seen.append(bench.order("web")), replace(bench, arguments))[1])
    task(world, hostname="a", force_kill=True, kill_signal="INT", stop_timeout=3)
    task(world, hostname="b")
    assert seen[0].ending == {"signal": 2, "timeout": 3, "force": True}
    assert seen[1].ending == {"signal": None, "timeout": None, "force": False}


def test_a_failure_says_whether_anything_changed(world: worlds.World) -> None:
    world.faults["start"] = NexcageError("E_RUNTIME", "no")
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image")
    details = caught.value.details
    assert (details["done"], details["failed"], details["changed"]) == (["create"], "start", True)
    world.faults["create"] = NexcageError("E_RUNTIME", "no")
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image", name="other")
    assert caught.value.details["changed"] is False


def test_an_exit_code_that_is_still_on_its_way(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has ended, and whoever records its exit code has not yet."""
    observations: list[dict[str, t.Any]] = [{"status": "stopped", "exit_code": None}, {"status": "stopped", "exit_code": 7}]
    monkeypatch.setattr(observe, "one", lambda *_arguments: observations.pop(0))
    with world.session() as session:
        found = observe.wait(session, t.cast(t.Any, None), "web", observe.Wait("exited"), 5, True)
    assert found is not None and found["exit_code"] == 7


def test_a_container_that_nobody_can_read(world: worlds.World) -> None:
    """The preferred backend tells of it, once."""
    folder = pathlib.Path(world.layout.state, "containers/web", worlds.IDENTIFIER)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{")
    world.containers["web"] = {"name": "web", "backend": "crun-backend", "status": "incomplete", "spec": {}}
    with world.session() as session:
        assert [entry["status"] for entry in observe.everything(session)] == ["incomplete"]


def test_a_damaged_key_hinders_no_removal(world: worlds.World) -> None:
    task(world, image="oci:/image")
    pathlib.Path(world.layout.state, "host.key").write_bytes(b"short")
    assert refused(world, image="oci:/image").code == "E_STATE"
    assert task(world, state="absent")["changed"] and not world.containers
