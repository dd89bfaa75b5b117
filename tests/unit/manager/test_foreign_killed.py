# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run on a backend of its own kind is killed at each of its steps: whichever task comes next finds a true state, and heals it."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import boxes
from ansible_collections.nexcage.backends.tests.support.boxes import Boxes, Killed, World, info, kinds, record, task, web


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> World:
    return boxes.make(monkeypatch, str(tmp_path))


WANTED: dict[str, dict[str, t.Any]] = {
    "create": {"image": "oci:/image", "memory": "64m", "env": {"A": "new"}},
    "update": {"memory": "64m"},
    "replace": {"image": "oci:/image", "env": {"A": "new"}},
    "absent": {"state": "absent"},
}


@pytest.mark.parametrize("then", ["again", "old", "absent"])
@pytest.mark.parametrize("what", WANTED)
def test_killed_anywhere_the_next_run_heals(world: World, monkeypatch: pytest.MonkeyPatch, what: str, then: str) -> None:
    old = {"image": "oci:/image", "memory": "32m", "env": {"A": "old"}}
    for step in range(40):
        world.boxes.kill_at = -1
        task(world, state="absent")
        if what != "create":
            task(world, **old)
        world.boxes.kill_at = step
        try:
            task(world, **WANTED[what])
        except Killed:
            pass
        else:
            break
        world.boxes.kill_at = -1
        assert all(entry["status"] in ("incomplete", "created", "running", "stopped") for entry in info(world)[0])
        wanted = {"again": WANTED[what], "old": old, "absent": {"state": "absent"}}[then]
        predicted = task(world, check=True, **wanted)
        healed = task(world, **wanted)
        assert kinds(predicted) == kinds(healed), (step, kinds(predicted), kinds(healed))
        assert not task(world, **wanted)["changed"], step
        if wanted.get("state") == "absent":
            assert world.boxes.there == {} and not record(world).exists(), step
        else:
            box = world.boxes.there["web"]
            assert box["status"] == "running", step
            env = "old" if then == "old" or what == "update" else "new"
            memory = 32 << 20 if then == "old" or what == "replace" else 64 << 20
            assert (box["spec"]["env"], box["spec"]["memory"]) == ({"A": env}, memory), step
    assert step >= 4, step


def test_a_half_made_one_that_runs_is_stopped_first(world: World) -> None:
    world.boxes.kill_at = 3
    with pytest.raises(Killed):
        web(world)
    world.boxes.kill_at = -1
    world.boxes.there["web"]["status"] = "running"
    assert kinds(task(world, state="absent")) == ["delete"] and world.boxes.there == {}
    assert world.boxes.calls[-3:] == ["stop", "delete", "list"]


# ---- moves


@pytest.fixture
def crates(world: World, monkeypatch: pytest.MonkeyPatch) -> Boxes:
    """One more backend of its own kind."""
    other = Boxes()
    other.step = world.boxes.step  # type: ignore[method-assign]
    boxes.add(monkeypatch, "crates-backend", other, 40)
    return other


@pytest.mark.parametrize("then", ["again", "stay", "absent"])
@pytest.mark.parametrize("start", ["crun", "boxes"])
def test_a_move_that_is_killed_anywhere_loses_nothing(world: World, crates: Boxes, start: str, then: str) -> None:
    """Also not what only the record knows: the task that moves it says nothing of image and environment."""
    for step in range(40):
        world.boxes.kill_at = -1
        task(world, backend="auto", state="absent")
        task(world, backend=start, image="oci:/image", env={"A": "kept"})
        world.boxes.kill_at = step
        move = {"backend": "crates", "replace_backend": True}
        try:
            task(world, **move)
        except Killed:
            pass
        else:
            break
        world.boxes.kill_at = -1
        (found,) = info(world)[0]
        if then == "stay" and found["backend"] == start:
            assert not task(world, backend=start)["changed"] or found["status"] == "stopped", step
            assert [entry["backend"] for entry in info(world)[0]] == [start]
        wanted = {"backend": "auto", "state": "absent"} if then == "absent" else move
        healed = task(world, **wanted)
        assert not task(world, **wanted)["changed"], step
        if then == "absent":
            assert (world.boxes.there, crates.there, world.containers, info(world)[0]) == ({}, {}, {}, []), step
            assert not list(pathlib.Path(world.layout.state).glob("foreign/*/*")), step
        else:
            assert healed["container"]["backend"] == "crates" and crates.there["web"]["spec"]["env"] == {"A": "kept"}, step
            assert (world.boxes.there, world.containers) == ({}, {}), step
    assert step >= 4, step
