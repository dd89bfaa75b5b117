# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task waits for: a condition that its plan cannot bring about is refused before anything is done."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import converge, observe
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import world as worlds

DEFAULTS = {name: entry.get("default") for name, entry in options.argument_spec().items()}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> worlds.World:
    """One that waits less long for a container to settle."""
    monkeypatch.setattr(observe, "SETTLED", 0.05)
    return worlds.make(monkeypatch, str(tmp_path))


def task(world: worlds.World, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    with world.session(check) as session:
        return converge.converge(session, {**DEFAULTS, "name": "web", **parameters})


def refused(world: worlds.World, **parameters: t.Any) -> NexcageError:
    """The same refusal in check mode and in a run, with nothing done."""
    world.calls.clear()
    said = []
    for check in (True, False):
        with pytest.raises(NexcageError) as caught:
            task(world, check, **parameters)
        said.append(caught.value)
    assert world.writes() == [] and str(said[0]) == str(said[1])
    assert (said[1].code, said[1].option, said[1].value) == ("E_INVALID", "wait", parameters["wait"])
    return said[1]


def test_the_end_of_what_would_be_made_and_not_started(world: worlds.World) -> None:
    """A running container must not be lost for a wait that fails afterwards."""
    task(world, image="oci:/image", hostname="one")
    error = refused(world, hostname="two", state="stopped", wait="exited")
    assert error.message == "cannot come true with state stopped: web would be created and will not exit"
    assert error.remedy == "leave wait out, a stop waits for the end by itself"
    assert world.containers["web"]["status"] == "running" and world.containers["web"]["spec"]["hostname"] == "one"
    assert [step["action"] for step in task(world, hostname="two", state="stopped")["plan"]] == ["stop", "replace"]


def test_the_end_of_what_is_only_stopped(world: worlds.World) -> None:
    task(world, image="oci:/image")
    assert task(world, True, state="stopped", wait="exited")["changed"]
    assert task(world, state="stopped", wait="exited")["container"]["status"] == "stopped"
    assert not task(world, state="stopped", wait="exited")["changed"]
    assert not task(world, state="present", wait="exited")["changed"]


@pytest.mark.parametrize("wait", ["exited", "running", "port:80"])
def test_what_is_created_and_stays_so(world: worlds.World, wait: str) -> None:
    given = {"image": "oci:/image", "network_mode": "host", "state": "present"}
    assert refused(world, **given, wait=wait).message.startswith("cannot come true with state present: web would be created")
    task(world, **given)
    error = refused(world, **given, wait=wait)
    assert error.message.startswith("cannot come true with state present: web is created")
    assert error.remedy == "use state: started, or leave wait out"


def test_what_has_stopped_and_is_not_started(world: worlds.World) -> None:
    task(world, image="oci:/image")
    assert not task(world, state="present", wait="running")["changed"]
    task(world, state="stopped")
    assert refused(world, state="present", memory="64m", wait="running").message.endswith("web would be stopped")
    assert task(world, memory="64m", wait="running")["changed"]
    task(world, state="paused")
    assert refused(world, state="present", wait="running").message.endswith("web is paused")


def test_a_job_that_has_not_run_yet_has_no_exit_code(world: worlds.World) -> None:
    """In check mode that of an earlier run would say how the next one ends."""
    world.exits_after = 1
    assert task(world, image="oci:/image", wait="exited")["container"]["exit_code"] == 3
    for given in ({}, {"hostname": "two"}, {"hostname": "two", "state": "stopped"}):
        predicted = task(world, True, **given)
        assert predicted["changed"] and predicted["container"]["exit_code"] is None
    assert task(world, True, state="stopped")["container"]["exit_code"] == 3  # nothing is to be run
    assert task(world, True, state="stopped", memory="64m")["container"]["exit_code"] == 3


@pytest.mark.parametrize(("condition", "said"), [("exited", "web is absent and will not exit"), ("running", "web is absent")])
def test_what_somebody_removes_while_it_is_waited_for(world: worlds.World, monkeypatch: pytest.MonkeyPatch, condition: str, said: str) -> None:
    task(world, image="oci:/image")
    monkeypatch.setattr(converge, "_apply", lambda _session, _task, *_rest: world.containers.clear())
    with pytest.raises(NexcageError) as caught:
        task(world, state="restarted", wait=condition)
    assert (caught.value.code, caught.value.message) == ("E_RUNTIME", said)
