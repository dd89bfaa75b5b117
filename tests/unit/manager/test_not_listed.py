# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listing that could not look everywhere says so in its result, and fails where it was asked for just that container."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import information
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import boxes
from ansible_collections.nexcage.backends.tests.support.boxes import World, record, refused, task, web

DOWN = NexcageError("E_HTTP", "the boxes do not answer")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> World:
    made = boxes.make(monkeypatch, str(tmp_path))
    web(made)
    task(made, name="other", image="oci:/image", backend="crun")
    return made


def listing(world: World, **parameters: t.Any) -> dict[str, t.Any]:
    with world.session() as session:
        return information.containers(session, parameters)


def names(result: dict[str, t.Any]) -> list[str]:
    return [entry["name"] for entry in result["containers"]]


def test_all_that_could_be_looked_for(world: World) -> None:
    for parameters in ({}, {"name": ["web", "other", "none"]}):
        result = listing(world, **parameters)
        assert (names(result), result["not_listed"]) == (["other", "web"], [])


def test_a_backend_that_does_not_answer(world: World) -> None:
    world.boxes.faults["list"] = DOWN
    for parameters in ({}, {"name": ["other"]}, {"labels": {"a": "b"}}, {"status": ["running"]}):
        result = listing(world, **parameters)
        assert result["not_listed"] == [{"name": "web", "backend": "boxes", "reason": DOWN.message}]
        assert names(result) == ([] if "labels" in parameters else ["other"])
    assert listing(world, name=["web"], backend="crun")["not_listed"] == []
    for wanted in (["web"], ["other", "web"]):
        assert refused("E_HTTP", lambda wanted=wanted: listing(world, name=wanted)).message == DOWN.message  # type: ignore[misc]
    assert names(listing(world, name=["none"])) == []  # there is no record of it, so it is nowhere


def test_a_record_that_cannot_be_read(world: World) -> None:
    record(world).write_text("{")
    assert [entry["name"] for entry in listing(world)["not_listed"]] == ["web"]
    assert str(record(world)) in str(refused("E_STATE", lambda: listing(world, name=["web"])))


def test_a_plugin_that_is_gone(world: World) -> None:
    os.rename(record(world).parent, record(world).parent.parent / "gone-backend")
    assert [(entry["name"], entry["backend"]) for entry in listing(world)["not_listed"]] == [("web", "gone")]
    assert "gone-backend" in refused("E_OWNER", lambda: listing(world, name=["web"])).message


def test_a_policy_that_is_not_understood(world: World) -> None:
    path = pathlib.Path(world.layout.configuration, "policy.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"version": 1, "modus": "audit"}')
    path.chmod(0o600)
    for parameters in ({}, {"name": ["web"]}, {"name": ["none"]}):
        assert refused("E_POLICY", lambda parameters=parameters: listing(world, **parameters)).details["key"] == "modus"  # type: ignore[misc]
    path.write_text('{"version": 1, "rules": [{"id": "no", "effect": "deny", "when": {"op": "list", "plugin": "boxes-backend"}}]}')
    assert "no" in listing(world)["not_listed"][0]["reason"]
    refused("E_POLICY", lambda: listing(world, name=["web"]))
    path.write_text('{"version": 1}')
    assert names(listing(world)) == ["other", "web"]
