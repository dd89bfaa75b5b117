# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of a backend of its own kind: what is recorded, asked and done, and what is refused."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import foreign
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import boxes
from ansible_collections.nexcage.backends.tests.support.boxes import Boxes, World, info, kinds, record, refused, run, task, web


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> World:
    return boxes.make(monkeypatch, str(tmp_path))


def test_a_life(world: World, tmp_path: pathlib.Path) -> None:
    predicted = web(world, check=True, memory="32m", env={"A": "b"})
    assert world.boxes.calls == ["list", "list", "check"] and list(tmp_path.iterdir()) == [], "check mode changes nothing"
    made = web(world, memory="32m", env={"A": "b"})
    assert (predicted["plan"], predicted["diff"]) == (made["plan"], made["diff"]) and kinds(made) == ["create", "start"]
    assert world.boxes.params["create"]["spec"] == {"image": "oci:/image", "memory": 32 << 20, "env": {"A": "b"}}
    assert (made["container"]["backend"], made["container"]["status"]) == ("boxes", "running")
    assert record(world).stat().st_mode & 0o777 == 0o600 and record(world).parent.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(record(world).read_text())["mark"] == world.boxes.there["web"]["mark"]
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert not web(world, memory="32m", env={"A": "b"})["changed"] and not web(world, check=True)["changed"] and not task(world, backend="auto")["changed"]
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert kinds(task(world, memory="64m")) == ["update"] and world.boxes.params["update"]["changes"] == {"memory": 64 << 20}
    assert world.boxes.params["update"]["spec"]["env"] == {"A": "b"}
    assert kinds(task(world, env={"A": "c"})) == ["replace", "start"] and world.boxes.there["web"]["spec"]["memory"] == 64 << 20
    assert [entry["name"] for entry in info(world, name=None)[0]] == ["web"] and info(world, backend="crun")[0] == []
    assert kinds(task(world, state="paused")) == ["pause"] and kinds(task(world)) == ["resume"]
    assert kinds(task(world, state="stopped", force_kill=True)) == ["stop"] and world.boxes.params["stop"]["force"] is True
    assert kinds(task(world, state="absent", backend="auto")) == ["delete"]
    assert not record(world).parent.exists() and not task(world, state="absent")["changed"]


def test_drift_is_put_right(world: World) -> None:
    web(world, memory="32m", pids_limit=7)
    world.boxes.there["web"]["observed"] = {"memory": 5 << 20}
    assert kinds(task(world, check=True)) == ["update"]
    world.boxes.there["web"]["observed"] = {"memory": 32 << 20}
    assert not task(world)["changed"]


def test_secrets(world: World, tmp_path: pathlib.Path) -> None:
    result = web(world, secret_env={"TOKEN": "swordfish-swordfish"})
    kept = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert "swordfish" not in json.dumps(result) + json.dumps(world.boxes.params) + kept
    assert world.boxes.params["create"]["spec"]["secret_env"] == {"TOKEN": "(secret)"}
    assert not web(world, secret_env={"TOKEN": "swordfish-swordfish"})["changed"]
    for check in (True, False):
        assert refused("E_INVALID", lambda check=check: task(world, check, env={"A": "b"})).option == "secret_env"  # type: ignore[misc]
    assert kinds(task(world, env={"A": "b"}, secret_env={})) == ["replace", "start"]


def test_what_the_backend_does_not_have(world: World) -> None:
    for name, value in (("hostname", "x"), ("pull", "always"), ("kill_signal", "INT"), ("tmpfs", ["/t"]), ("volumes", ["/a:/b"]), ("validate_certs", False)):
        error = refused("E_UNSUPPORTED", lambda name=name, value=value: web(world, **{name: value}))  # type: ignore[misc]
        assert error.option == name and "image, env" in error.remedy
    assert world.boxes.calls == []
    world.boxes.faults["check"] = NexcageError("E_UNSUPPORTED", "no such size")
    for check in (True, False):
        refused("E_UNSUPPORTED", lambda check=check: web(world, check))  # type: ignore[misc]
    assert world.boxes.there == {} and not record(world).exists()


def test_a_container_of_somebody_else(world: World) -> None:
    world.boxes.there["web"] = {"mark": "", "status": "running"}
    for check in (True, False):
        for state in ("started", "absent", "stopped"):
            refused("E_OWNER", lambda check=check, state=state: web(world, check, state=state))  # type: ignore[misc]
    assert set(world.boxes.calls) == {"list"} and info(world)[0] == []
    del world.boxes.there["web"]
    web(world)
    world.boxes.there["web"] = {"mark": "0" * 32, "status": "running"}  # made in place of ours
    refused("E_OWNER", lambda: web(world))
    found, warnings = info(world)
    assert found == [] and "web" in warnings[0]
    del world.boxes.there["web"]
    assert not task(world, state="absent")["changed"] and not record(world).exists()  # ours is gone, and so is its record


def test_one_that_was_removed_by_hand_is_made_again(world: World) -> None:
    web(world)
    world.boxes.there.clear()
    assert info(world)[0] == [] and kinds(web(world, check=True)) == ["create", "start"]
    assert kinds(web(world)) == ["create", "start"] and not web(world)["changed"]


def test_one_that_was_removed_in_part_is_made_again(world: World) -> None:
    web(world, env={"A": "b"})
    for state, actions in (("started", ["create", "start"]), ("absent", ["delete"])):
        world.boxes.there["web"]["status"] = "incomplete"
        assert kinds(task(world, check=True, state=state)) == actions == kinds(task(world, state=state))
    assert world.boxes.there == {} and world.boxes.params["create"]["spec"]["env"] == {"A": "b"} and not record(world).exists()


def test_a_record_that_was_changed(world: World) -> None:
    web(world, env={"A": "b"})
    value = json.loads(record(world).read_text())
    record(world).write_text(json.dumps({**value, "spec": {**value["spec"], "env": {"A": "c"}}}))
    anew = web(world, env={"A": "c"})
    assert kinds(anew) == ["replace", "start"] and "behind our back" in anew["plan"][0]["reason"]
    assert not web(world, env={"A": "c"})["changed"]
    record(world).write_text("{")
    for state in ("started", "absent"):
        assert str(record(world)) in str(refused("E_STATE", lambda state=state: web(world, state=state)))  # type: ignore[misc]
    assert "not listed" in info(world)[1][0]
    refused("E_DISABLED", lambda: (_disable(world), web(world)))
    assert "web" in world.boxes.there


@pytest.mark.parametrize("again", [{}, {"state": "started"}, {"state": "stopped"}])
@pytest.mark.parametrize("key", ["ours", "another"])
def test_what_was_forged_is_not_sealed_where_making_it_again_fails(world: World, key: str, again: dict[str, t.Any]) -> None:
    web(world, env={"A": "b"})
    value = json.loads(record(world).read_text())
    forged = {**value, "spec": {**value["spec"], "env": {"FORGED": "c"}}, **({"key": "0" * len(value["key"])} if key == "another" else {})}
    record(world).write_text(json.dumps(forged))
    world.boxes.faults["delete"] = NexcageError("E_RUNTIME", "no")
    for _attempt in range(2):
        refused("E_RUNTIME", lambda: web(world, recreate=True))
        assert "FORGED" not in record(world).read_text()
    world.boxes.faults.clear()
    refused("E_STATE", lambda: task(world, **{"state": "started", **again}))  # it does not say of which image
    anew = web(world, **again)
    assert "replace" in kinds(anew) and "behind our back" in str(anew["plan"])
    assert world.boxes.there["web"]["spec"].get("env") is None and not web(world, **again)["changed"]


def _disable(world: World) -> None:
    os.makedirs(world.layout.configuration, exist_ok=True)
    pathlib.Path(world.layout.configuration, "config.json").write_text('{"plugins": {"boxes-backend": {"enabled": false}}}')


def test_between_backends(world: World) -> None:
    task(world, backend="crun", image="oci:/image")
    refused("E_OWNER", lambda: web(world))
    world.boxes.there["web"] = {"mark": "", "status": "running"}
    before = list(world.calls)
    refused("E_OWNER", lambda: web(world, replace_backend=True))  # there it is somebody else's: the old one stays
    assert "delete" not in world.calls[len(before) :] and world.containers["web"]["status"] == "running"
    del world.boxes.there["web"]
    moved = web(world, replace_backend=True)
    assert kinds(moved) == ["replace", "start"] and moved["container"]["backend"] == "boxes" and world.containers == {}
    back = task(world, backend="crun", image="oci:/image", replace_backend=True)
    assert back["container"]["backend"] == "crun" and world.boxes.there == {} and not record(world).exists()


def test_a_move_that_is_denied_or_impossible_is_not_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    task(world, backend="crun", image="oci:/image")
    policy = pathlib.Path(world.layout.configuration, "policy.json")
    policy.parent.mkdir(parents=True)
    for plugin, operation in (("crun-backend", "delete"), ("boxes-backend", "create")):
        rule = {"id": "no", "effect": "deny", "when": {"plugin": plugin, "operation": operation}, "message": "ask first"}
        policy.write_text(json.dumps({"version": 1, "rules": [rule]}))
        policy.chmod(0o600)
        for check in (True, False):
            refused("E_POLICY", lambda check=check: web(world, check, replace_backend=True))  # type: ignore[misc]
    policy.unlink()
    assert world.containers["web"]["status"] == "running" and world.boxes.there == {} and not record(world).exists()
    web(world, replace_backend=True)
    monkeypatch.setitem(boxes.MANIFEST, "operations", [name for name in boxes.MANIFEST["operations"] if name != "delete"])
    boxes.add(monkeypatch, "boxes-backend", world.boxes)
    for check in (True, False):
        refused("E_UNSUPPORTED", lambda check=check: task(world, check, backend="crun", image="oci:/image", replace_backend=True))  # type: ignore[misc]
    assert world.boxes.there["web"]["status"] == "running"


def test_one_name_one_container(world: World) -> None:
    web(world)
    assert refused("E_OWNER", lambda: task(world, backend="crun", image="oci:/image")).option == "backend"
    world.boxes.there.clear()  # gone by hand: then anybody may have the name
    assert task(world, backend="crun", image="oci:/image")["container"]["backend"] == "crun" and not record(world).exists()


def test_a_failure_leaves_no_record_of_nothing(world: World) -> None:
    world.boxes.faults["create"] = NexcageError("E_RUNTIME", "no")
    refused("E_RUNTIME", lambda: web(world))
    assert not record(world).exists()
    del world.boxes.faults["create"]
    web(world)
    world.boxes.faults["create"] = NexcageError("E_RUNTIME", "no")
    refused("E_RUNTIME", lambda: web(world, env={"A": "b"}))  # the old one is gone by then
    assert info(world)[0][0]["status"] == "incomplete"
    del world.boxes.faults["create"]
    healed = task(world, image="oci:/image")
    assert kinds(healed) == ["create", "start"] and world.boxes.there["web"]["spec"]["env"] == {"A": "b"}


# ---- a command


def test_exec(world: World) -> None:
    web(world)
    result = run(world, env={"A": "b"}, secret_env={"TOKEN": "hush-hush"}, stdin="x")
    assert (result["rc"], result["stdout"]) == (0, "hello")
    told = world.boxes.params["exec"]
    assert (told["argv"], told["env"], told["secret_env"], told["stdin"]) == (["a"], {"A": "b"}, ["TOKEN"], True) and "hush" not in json.dumps(told)
    world.boxes.answer = {"rc": 3, "stdout": "é", "stderr": "no"}
    assert refused("E_RUNTIME", lambda: run(world)).details["stdout"] == "é"
    world.boxes.answer = {"rc": 0, "timed_out": True}
    refused("E_TIMEOUT", lambda: run(world))
    for answer in (None, [], {}, {"rc": "0"}, {"rc": True}, {"rc": 0, "stdout": 1}, {"rc": 0, "stderr": None}):
        world.boxes.answer = answer
        assert refused("E_PROTOCOL", lambda: run(world)).details["changed"] is True
    assert run(world, check=True)["skipped"]
    assert refused("E_UNSUPPORTED", lambda: run(world, creates="/x")).option == "creates"


def test_exec_reads_bytes_that_are_text(world: World) -> None:
    web(world)
    run(world, stdin="\udcff", stdin_add_newline=False)
    assert "d800" not in str(refused("E_INVALID", lambda: run(world, stdin="\ud800", stdin_add_newline=False)))


def test_records_of_a_plugin_that_is_gone(world: World, tmp_path: pathlib.Path) -> None:
    web(world)
    os.rename(record(world).parent, record(world).parent.parent / "gone-backend")
    (tmp_path / "var/lib/nexcage/foreign/junk").write_text("")
    (tmp_path / "var/lib/nexcage/foreign/gone-backend/-no.json").write_text("")
    found, warnings = info(world)
    assert found == [] and "gone-backend" in warnings[0]
    refused("E_OWNER", lambda: web(world))
    assert foreign.held(world.layout) == {"gone-backend": ["web"]}


def test_a_plugin_that_answers_with_nonsense(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    web(world)
    monkeypatch.setattr(Boxes, "list", lambda boxes, host, params: [{"name": "web", "status": "fine"}])
    assert refused("E_PROTOCOL", lambda: web(world)).option == "status"
    assert "not listed" in info(world)[1][0]
    refused("E_PROTOCOL", lambda: info(world, backend="boxes"))


def test_a_task_on_a_built_in_backend_imports_nothing_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    web(world)
    for module, name in ((foreign, "manager"), (foreign.foreign, "model")):
        monkeypatch.setitem(sys.modules, module.__name__, None)
        monkeypatch.delattr(sys.modules[module.__name__.rpartition(".")[0]], "foreign")
        assert name in module.__name__
    for more in ({"image": "oci:/image"}, {"memory": "64m"}, {"hostname": "x"}, {}, {"state": "absent"}, {"state": "absent"}):
        task(world, backend="crun", **{"name": "db", **more})
    with pytest.raises(ImportError):  # and that is what would be seen
        web(world)
