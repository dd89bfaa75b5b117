# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a task to a container: what is called, in which order, and what is never called."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import converge, observe, registry
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import world as worlds

DEFAULTS = {name: entry.get("default") for name, entry in options.argument_spec().items()}


def task(world: worlds.World, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    with world.session(check) as session:
        return converge.converge(session, {**DEFAULTS, "name": "web", **parameters})


def kinds(result: dict[str, t.Any]) -> list[str]:
    return [action["action"] for action in result["plan"]]


def test_create_start_and_nothing_the_second_time(world: worlds.World) -> None:
    first = task(world, image="oci:/image", labels={"a": "b"})
    assert first["changed"] and kinds(first) == ["pull", "create", "start"]
    assert first["container"]["status"] == "running" and first["container"]["backend"] == "crun"
    assert world.writes() == ["ensure", "create", "start"]
    again = task(world, image="oci:/image", labels={"a": "b"})
    assert not again["changed"] and again["plan"] == [] and world.writes() == ["ensure", "create", "start"]


def test_check_mode_predicts_and_does_nothing(world: worlds.World) -> None:
    predicted = task(world, check=True, image="oci:/image")
    assert world.writes() == [] and predicted["container"] == {"name": "web", "status": "absent"}
    done = task(world, image="oci:/image")
    assert (predicted["plan"], predicted["diff"]) == (done["plan"], done["diff"])


def test_a_converged_run_writes_no_file(world: worlds.World, tmp_path: pathlib.Path) -> None:
    task(world, image="oci:/image")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    task(world)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_check_mode_makes_no_folder(world: worlds.World, tmp_path: pathlib.Path) -> None:
    task(world, check=True, image="oci:/image")
    assert list(tmp_path.iterdir()) == []


def test_live_change_and_replace(world: worlds.World) -> None:
    task(world, image="oci:/image", memory="32m", env={"A": "1"})
    assert kinds(task(world, memory="64m")) == ["update"]
    assert world.containers["web"]["spec"]["memory"] == 64 << 20
    assert kinds(task(world, env={"A": "2"})) == ["replace", "start"]
    assert world.containers["web"]["spec"]["memory"] == 64 << 20


def test_observed_drift_is_put_right_with_recorded_value(world: worlds.World) -> None:
    task(world, image="oci:/image", pids_limit=10)
    world.containers["web"]["observed"] = {"pids_limit": 99}
    assert kinds(task(world)) == ["update"]
    assert world.containers["web"]["spec"]["pids_limit"] == 10


def test_what_a_killed_run_left_is_cleared_away_though_nothing_changes(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.containers["web"]["backend_details"]["generation_leftovers"] = ["f" * 16]
    assert not task(world, check=True)["changed"] and "heal" not in world.calls
    healed = task(world)
    assert not healed["changed"] and "heal" in world.calls and "generation_leftovers" not in healed["container"]["backend_details"]
    task(world)
    assert world.calls.count("heal") == 1


def test_stop_pause_restart_remove(world: worlds.World) -> None:
    task(world, image="oci:/image")
    assert kinds(task(world, state="paused")) == ["pause"]
    assert kinds(task(world, state="stopped", kill_signal="INT", force_kill=True)) == ["stop"]
    assert kinds(task(world, state="restarted")) == ["start"]
    assert kinds(task(world, state="absent")) == ["stop", "delete"]
    assert kinds(task(world, state="absent")) == []
    assert not os.listdir(world.layout.runtime + "/tasks")


def test_move_to_another_backend(world: worlds.World) -> None:
    task(world, image="oci:/image")
    with pytest.raises(NexcageError) as caught:
        task(world, backend="runc")
    assert caught.value.code == "E_OWNER"
    moved = task(world, backend="runc", replace_backend=True)
    assert kinds(moved) == ["replace", "start"] and moved["container"]["backend"] == "runc"
    assert not task(world)["changed"]


def test_secrets(world: worlds.World) -> None:
    result = task(world, image="oci:/image", secret_env={"TOKEN": "swordfish-swordfish"})
    assert "swordfish" not in json.dumps(result) + json.dumps(world.containers)
    assert not task(world, secret_env={"TOKEN": "swordfish-swordfish"})["changed"]
    changed = task(world, secret_env={"TOKEN": "other"})
    assert changed["changed"] and "hmac" not in json.dumps(changed["diff"])


def test_failure_says_what_was_done(world: worlds.World) -> None:
    world.faults["start"] = NexcageError("E_RUNTIME", "no")
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image")
    details = caught.value.details
    assert (details["done"], details["failed"], details["plugin"]) == (["create"], "start", "crun-backend")


def test_an_impossible_spec_is_refused_before_the_old_one_is_touched(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.faults["check"] = NexcageError("E_INVALID", "no such source", option="mounts")
    for check in (True, False):
        with pytest.raises(NexcageError, match="no such source"):
            task(world, check=check, hostname="new")
    assert world.containers["web"]["status"] == "running" and "replace" not in world.calls


def test_unknown_image_fails_in_check_mode_too(world: worlds.World) -> None:
    for check in (True, False):
        with pytest.raises(NexcageError) as caught:
            task(world, check=check, image="oci:/nothing")
        assert caught.value.option == "image"
    assert world.writes() == []


def test_pull_always_sees_a_new_image(world: worlds.World) -> None:
    task(world, image="oci:/image")
    assert not task(world, image="oci:/image", pull="always")["changed"]
    world.images["oci:/image"] = "sha256:" + "2" * 64
    assert not task(world, image="oci:/image")["changed"]
    assert kinds(task(world, image="oci:/image", pull="always")) == ["pull", "replace", "start"]


def test_replace_resolves_the_recorded_image(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.fetched.clear()
    assert kinds(task(world, hostname="x")) == ["pull", "replace", "start"]


def test_env_files(world: worlds.World, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nA=file\nB=b=c\n\n")
    task(world, image="oci:/image", env_file=[str(file)], env={"A": "task"})
    assert world.containers["web"]["spec"]["env"] == {"A": "task", "B": "b=c"}


def test_only_a_newline_ends_a_line_of_an_env_file(world: worlds.World, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "env"
    file.write_bytes("A=a\u2028b\r\nB=a\x0bb\x85\x1cc\rd\n \r\nC=\r\n D=last".encode())
    task(world, image="oci:/image", env_file=[str(file)])
    assert world.containers["web"]["spec"]["env"] == {"A": "a\u2028b", "B": "a\x0bb\x85\x1cc\rd", "C": "", "D": "last"}


def test_an_env_file_for_a_shell(world: worlds.World, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "env"
    for line, remedy in (("export C=hush", "remove export"), ("A B=hush", "use a name without white space")):
        file.write_text("A=1\n" + line)
        with pytest.raises(NexcageError) as caught:
            task(world, image="oci:/image", env_file=[str(file)])
        error = caught.value
        assert (error.code, error.value, error.remedy) == ("E_INVALID", str(file), remedy) and "line 2" in error.message and "hush" not in str(error)


@pytest.mark.parametrize("content", [b"A\n", b"=x\n", b"\xff=1\n", b"A=\0\n"])
def test_env_file_refused(world: worlds.World, tmp_path: pathlib.Path, content: bytes) -> None:
    file = tmp_path / "env"
    file.write_bytes(content)
    for path in (str(file), str(tmp_path), "/does/not/exist"):
        with pytest.raises(NexcageError) as caught:
            task(world, image="oci:/image", env_file=[path])
        assert caught.value.option == "env_file" and caught.value.value == path


def test_incomplete_is_made_anew(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.containers["web"]["status"] = "incomplete"
    assert kinds(task(world, image="oci:/image")) == ["create", "start"]


def test_folders_that_others_can_change(world: worlds.World) -> None:
    task(world, image="oci:/image")
    os.chmod(world.layout.state, 0o777)
    for check in (True, False):
        with pytest.raises(NexcageError) as caught:
            task(world, check=check, state="absent")
        assert caught.value.code == "E_STATE" and f"chmod go-w {world.layout.state}" in caught.value.remedy
    os.chmod(world.layout.state, 0o700)
    assert task(world, state="absent")["changed"]


def test_not_root(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image")
    assert caught.value.code == "E_PRIVILEGE" and "become: true" in caught.value.remedy


@pytest.mark.parametrize(
    ("parameters", "option"), [({"wait": "ready"}, "wait"), ({"wait": "port:x"}, "wait"), ({"timeout": 0}, "timeout"), ({"kill_signal": "NO"}, "kill_signal")]
)
def test_bad_task_options(world: worlds.World, parameters: dict[str, t.Any], option: str) -> None:
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image", **parameters)
    assert caught.value.option == option and world.calls == []


def test_a_port_without_network(world: worlds.World) -> None:
    with pytest.raises(NexcageError, match="no port"):
        task(world, image="oci:/image", wait="port:80", network_mode="none")


def test_wait_for_the_end(world: worlds.World) -> None:
    world.exits_after = 3
    assert task(world, image="oci:/image", wait="exited")["container"]["exit_code"] == 3


def test_a_container_that_ends_at_once(world: worlds.World) -> None:
    world.exits_after = 1
    assert task(world, check=True, image="oci:/image")["warnings"] == []
    said = ["web ended with exit code 3; its log is /log; use wait: running to fail, or wait: exited for a job"]
    assert task(world, image="oci:/image")["warnings"] == said
    assert task(world, state="restarted")["warnings"] == said
    assert task(world, state="stopped")["warnings"] == []


def test_a_job_that_fails_says_so(world: worlds.World) -> None:
    """A task that failed_when lets fail has no other words of its own."""
    world.exits_after = 1
    said = "web ended with exit code 3; its log is /log"
    job = task(world, image="oci:/image", wait="exited")
    assert (job["msg"], job["warnings"]) == (said, [said])
    again = task(world, state="present", wait="exited")
    assert (again["changed"], again["msg"], again["warnings"]) == (False, said, [])
    world.code = 0
    job = task(world, wait="exited")
    assert "msg" not in job and job["warnings"] == []


def test_wait_running(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "SETTLED", 0.05)
    assert task(world, image="oci:/image", wait="running")["container"]["status"] == "running"
    assert not task(world, wait="running")["changed"]
    world.exits_after = 0
    with pytest.raises(NexcageError) as caught:
        task(world, state="restarted", wait="running")
    assert "exit code 3" in caught.value.message and "/log" in caught.value.remedy
    rescued = caught.value.details["container"]
    assert (rescued["exit_code"], rescued["backend_details"]["log"], rescued["backend"]) == (3, "/log", "crun")


def test_pausing_what_has_ended(world: worlds.World) -> None:
    world.faults["pause"] = NexcageError("E_INVALID", "the container is stopped, not running", option="name", value="web")
    world.exits_after = 1
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image", state="paused")
    error = caught.value
    assert (error.code, error.option, error.value) == ("E_RUNTIME", "state", "paused")
    assert error.message == "web ended with exit code 3; its log is /log; it could not be paused any more" and "log" in error.remedy
    assert (error.details["container"]["exit_code"], error.details["failed"], error.details["changed"]) == (3, "pause", True)


def test_a_value_in_an_error_stands_as_it_was_written(world: worlds.World) -> None:
    world.faults["check"] = NexcageError("E_INVALID", "no", option="memory", value=64 << 20)
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image", memory="64m")
    assert caught.value.value == "64m"
    world.faults["check"] = NexcageError("E_INVALID", "no", option="memory", value=7)  # not what the task says
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image", memory="64m")
    assert caught.value.value == 7


def test_wait_for_the_end_of_what_does_not_run(world: worlds.World) -> None:
    with pytest.raises(NexcageError, match="will not exit"):
        task(world, image="oci:/image", state="present", wait="exited")


def test_wait_for_a_port(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(observe.time, "sleep", lambda _seconds: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        first = task(world, image="oci:/image", network_mode="host", wait=f"port:{port}")
        assert first["changed"] and f"something answered on port {port} before web was started" in first["warnings"][0]
        assert task(world, state="restarted", wait=f"port:{port}")["warnings"] == []  # that may have been itself
    with pytest.raises(NexcageError) as caught:
        task(world, wait=f"port:{port}", timeout=1)
    error = caught.value
    assert (error.code, error.value, error.message) == ("E_TIMEOUT", f"port:{port}", f"nothing answers on port {port} after 1 s")
    assert error.remedy == "raise timeout, or read the log of the container: /log"


def test_a_wait_that_takes_too_long_says_for_what(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(observe, "SETTLED", 9.0)
    for wait, missing in (("exited", "web is running and has not ended after 1 s"), ("running", "web is running, but not for 9 s yet after 1 s")):
        with pytest.raises(NexcageError) as caught:
            task(world, image="oci:/image", state="restarted", wait=wait, timeout=1)
        error = caught.value
        assert (error.code, error.value, error.message) == ("E_TIMEOUT", wait, missing) and str(error.remedy).endswith("/log")


def test_a_port_of_what_has_ended(world: worlds.World) -> None:
    world.exits_after = 0
    with pytest.raises(NexcageError) as caught:
        task(world, image="oci:/image", network_mode="host", wait="port:80", timeout=1)
    assert (caught.value.value, caught.value.remedy) == ("port:80", "read the log of the container: /log")


def test_an_operation_that_a_plugin_does_not_have(world: worlds.World) -> None:
    plugin = registry.get("crun", world.layout)
    with world.session() as session, pytest.raises(NexcageError) as caught:
        session.operate(plugin._replace(manifest={**plugin.manifest, "operations": ["list"]}), "pause", {"name": "web"})
    assert caught.value.code == "E_UNSUPPORTED"


def test_a_write_operation_in_check_mode_has_no_handlers(world: worlds.World) -> None:
    plugin = registry.get("crun", world.layout)
    with world.session(True) as session, pytest.raises(NexcageError) as caught:
        session.operate(plugin, "start", {"name": "web"})
    assert caught.value.code == "E_READ_ONLY" and caught.value.details["plugin"] == "crun-backend"


def test_what_a_plugin_tells_of_the_spec_reaches_no_container(world: worlds.World) -> None:
    """The record on disk counts: a plugin that lies of a privileged one would otherwise get it."""
    task(world, image="oci:/image", hostname="one")
    world.containers["web"]["spec"] = {**world.containers["web"]["spec"], "privileged": True, "hostname": "two"}
    assert task(world, check=True)["changed"] is False
    with world.session(check_mode=True) as session:
        result = converge.converge(session, {**DEFAULTS, "name": "web", "recreate": True})
        assert [action["action"] for action in result["plan"]] == ["replace", "start"]
        assert session.orders["web"].spec.get("privileged") is None and session.orders["web"].spec.get("hostname") == "one"
