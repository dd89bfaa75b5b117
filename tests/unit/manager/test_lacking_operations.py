# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backends that lack an operation: a plan goes another way where there is one, and is refused whole where there is none."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun
from ansible_collections.nexcage.backends.plugins.module_utils.manager.converge import converge
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import world as worlds

DEFAULTS = {name: entry.get("default") for name, entry in options.argument_spec().items()}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> worlds.World:
    return worlds.make(monkeypatch, str(tmp_path))


def lacks(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setitem(crun.MANIFEST, "operations", [name for name in crun.MANIFEST["operations"] if name not in names])


def task(world: worlds.World, check: bool = False, **parameters: t.Any) -> list[str]:
    """The kinds of the plan's actions."""
    with world.session(check) as session:
        return [action["action"] for action in converge(session, {**DEFAULTS, "name": "web", "backend": "crun", **parameters})["plan"]]


def test_without_update_it_is_made_anew(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    task(world, image="oci:/image", memory="32m")
    for check in (True, False):
        lacks(monkeypatch, "update")
        assert task(world, check, memory="64m") == ["replace", "start"]
    assert task(world, memory="64m") == []


def test_with_update_it_stays(world: worlds.World) -> None:
    task(world, image="oci:/image", memory="32m")
    assert task(world, memory="64m") == ["update"]


@pytest.mark.parametrize("check", [True, False])
def test_without_replace_the_option_that_changed_is_named(world: worlds.World, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    task(world, image="oci:/image", memory="32m")
    lacks(monkeypatch, "replace")
    wanted: list[tuple[dict[str, t.Any], str, t.Any]] = [({"memory": "64m", "hostname": "a"}, "hostname", "a"), ({"recreate": True}, "recreate", True)]
    for changed, option, value in wanted:
        with pytest.raises(NexcageError) as caught:
            task(world, check, **changed)
        assert (caught.value.code, caught.value.option, caught.value.value) == ("E_UNSUPPORTED", option, value)
        assert "declare the operation replace" in str(caught.value.remedy)
    assert task(world, check, memory="64m") == ["update"]  # without it, all that can be changed live is
    monkeypatch.setitem(crun.MANIFEST, "operations", [*crun.MANIFEST["operations"], "replace"])
    assert task(world, check, hostname="a", memory="64m") == ["replace", "start"]


@pytest.mark.parametrize("check", [True, False])
def test_what_it_cannot_is_refused_before_the_first_step(world: worlds.World, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    lacks(monkeypatch, "pause")
    with pytest.raises(NexcageError) as caught:
        task(world, check, image="oci:/image", state="paused")
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_UNSUPPORTED", "state", "paused")
    assert "crun-backend cannot pause" in caught.value.message and caught.value.remedy and world.writes() == []
    monkeypatch.setitem(crun.MANIFEST, "operations", [*crun.MANIFEST["operations"], "pause"])
    assert task(world, check, image="oci:/image", state="paused") == ["pull", "create", "start", "pause"]
