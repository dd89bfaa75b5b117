# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/examples/lxc-backend with the real LXC: what it has no arguments for is a file below a root that the operator grants."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import examples, modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host, lives, process_of

pytestmark = pytest.mark.requires("linux", "root", "crun", "skopeo", "umoci", "jq", "busybox", "ssh-keygen", "lxc-start", "lxc-create")
NAME = "lxc-backend"
PLACE = pathlib.Path("/var/lib/lxc")
WEB = f"nx-web-{os.getpid()}"
# a host with AppArmor may lack the program that would load LXC's own profile
SETTINGS = {"containers": str(PLACE), "apparmor_profile": "unconfined"}


def lxc(program: str, *words: str) -> str:
    """One of LXC's programs, as its users have them."""
    return subprocess.run([f"lxc-{program}", f"--name={WEB}", *words], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def installed(host: Host, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
    with examples.installed(host, NAME, tmp_path_factory.mktemp("lxc"), config=SETTINGS, accept_root_equivalent=True):
        yield
    for group in glob.glob("/sys/fs/cgroup/*/lxc.pivot"):  # LXC keeps it for the next one
        with contextlib.suppress(OSError):
            os.rmdir(group)


@pytest.fixture
def task(host: Host, installed: None) -> t.Iterator[dict[str, t.Any]]:
    yield {"name": WEB, "backend": "lxc", "image": host.image, "command": FOREVER}
    modules.run("nexcage_container", name=WEB, state="absent", force_kill=True)
    if (PLACE / WEB).exists():
        subprocess.run(["lxc-destroy", "--force", f"--name={WEB}"], check=False, capture_output=True)
        shutil.rmtree(PLACE / WEB, ignore_errors=True)
    for group in glob.glob(f"/sys/fs/cgroup/*/lxc.monitor.{WEB}*"):  # LXC leaves them where process 1 does not reap its monitor at once
        with contextlib.suppress(OSError):
            os.rmdir(group)


def test_a_life(host: Host, task: dict[str, t.Any]) -> None:
    asked = {**task, "env": {"A": 'b "c"'}, "memory": "64m", "hostname": "inside", "working_dir": "/etc"}
    predicted = modules.works("nexcage_container", check=True, **asked)
    assert not (PLACE / WEB).exists()
    made = modules.works("nexcage_container", **asked)
    assert predicted.actions == made.actions == ["create", "start"] and predicted["diff"] == made["diff"]
    assert (made["container"]["backend"], made["container"]["status"]) == ("lxc", "running")
    assert not (PLACE / f"{WEB}.conf").exists() and (PLACE / WEB / "config").stat().st_mode & 0o007 == 0
    process = process_of(made["container"])
    assert process.environment()["A"] == 'b "c"' and process.file("/which") == "one"
    assert process.group("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    for check in (False, True):
        assert modules.works("nexcage_container", check=check, **asked)["changed"] is False
    output = modules.works(
        "nexcage_container_exec", name=WEB, argv=["/bin/sh", "-c", "cat; echo $X $PWD; cat /proc/sys/kernel/hostname"], env={"X": "y"}, stdin="in"
    )
    assert output["stdout"].split() == ["in", "y", "/", "inside"]
    assert modules.fails("nexcage_container_exec", name=WEB, argv=["/bin/false"])["rc"] == 1
    assert modules.fails("nexcage_container_exec", name=WEB, argv=["/bin/true"], user="1")["error"]["code"] == "E_UNSUPPORTED"
    (found,) = modules.works("nexcage_container_info", backend="lxc")["containers"]
    assert (found["name"], found["resources"]["memory"]) == (WEB, 64 << 20)
    for state, actions, status in (
        ("paused", ["pause"], "paused"),
        ("stopped", ["stop"], "stopped"),
        ("started", ["start"], "running"),
        ("restarted", ["stop", "start"], "running"),
        ("absent", ["stop", "delete"], "absent"),
    ):
        predicted = modules.works("nexcage_container", check=True, name=WEB, state=state)
        done = modules.works("nexcage_container", name=WEB, state=state)
        assert predicted.actions == done.actions == actions and done["container"]["status"] == status, state
    assert not (PLACE / WEB).exists() and not lives(process.pid)
    assert modules.works("nexcage_container", name=WEB, state="absent")["changed"] is False


def test_a_limit_changes_live_and_drift_is_put_right(host: Host, task: dict[str, t.Any]) -> None:
    pid = modules.works("nexcage_container", **task, memory="64m", pids_limit=50)["container"]["pid"]
    larger = {**task, "memory": "96m", "pids_limit": 60}
    predicted = modules.works("nexcage_container", check=True, **larger)
    done = modules.works("nexcage_container", **larger)
    assert predicted.actions == done.actions == ["update"] and done["container"]["pid"] == pid
    process = process_of(done["container"])
    assert process.group("memory", "memory.limit_in_bytes", "memory.max") == str(96 << 20)
    assert process.group("pids", "pids.max", "pids.max") == "60"
    assert modules.works("nexcage_container", **larger)["changed"] is False
    lxc("cgroup", "pids.max", "70")  # behind our back
    put_right = modules.works("nexcage_container", **{**task, "memory": "96m"})
    assert put_right.actions == ["update"] and "70 -> 60" in put_right["plan"][0]["reason"]
    assert process.group("pids", "pids.max", "pids.max") == "60"
    free = {**task, "memory": "-1", "pids_limit": -1}
    assert modules.works("nexcage_container", **free).actions == ["update"] and process.group("pids", "pids.max", "pids.max") == "max"
    assert modules.works("nexcage_container", **free)["changed"] is False
    assert modules.works("nexcage_container", **larger).actions == ["update"]
    restarted = modules.works("nexcage_container", **larger, state="restarted")
    assert process_of(restarted["container"]).group("pids", "pids.max", "pids.max") == "60"
    replaced = modules.works("nexcage_container", **{**larger, "env": {"A": "b"}})
    assert replaced.actions == ["replace", "start"]


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("memory_swap", "1g", "E_UNSUPPORTED"),
        ("stop_timeout", 600, "E_UNSUPPORTED"),
        ("secret_env", {"TOKEN": "hush-hush"}, "E_UNSUPPORTED"),
        ("image", "oci:/tmp/nx-there-is-no-such-image:1", "E_IMAGE"),
        ("command", None, "E_INVALID"),
        ("env", {"A": "one\nlxc.hook.pre-start = /bin/true"}, "E_UNSUPPORTED"),
    ],
)
def test_what_it_cannot_do_is_said_before_anything_changes(task: dict[str, t.Any], option: str, value: t.Any, code: str) -> None:
    wrong = {**task, "memory": "64m", option: value} if value is not None else {key: task[key] for key in task if key != option}
    for check in (True, False):
        refused = modules.fails("nexcage_container", check=check, **wrong)
        assert refused["error"]["code"] == code and "hush" not in json.dumps(refused["error"]), refused["msg"]
    assert not (PLACE / WEB).exists()


def test_a_container_of_somebody_else(host: Host, task: dict[str, t.Any]) -> None:
    (PLACE / WEB).mkdir(mode=0o770)
    (PLACE / WEB / "config").write_text("lxc.uts.name = mine\n")
    for parameters in (task, {"name": WEB, "backend": "lxc", "state": "absent"}):
        assert modules.fails("nexcage_container", **parameters)["error"]["code"] == "E_OWNER"
    assert (PLACE / WEB / "config").read_text() == "lxc.uts.name = mine\n"
    shutil.rmtree(PLACE / WEB)
    assert modules.works("nexcage_container", **task, state="present").actions == ["create"]


def test_health(installed: None) -> None:
    (found,) = modules.works("nexcage_plugin_info", name=[NAME])["plugins"]
    assert found["health"]["status"] == "healthy", found["health"]


def test_the_task_of_its_readme_in_four_steps(task: dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    results = examples.four_steps(NAME, tmp_path, **task)
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["plan"] == results[1]["plan"] and results[1]["container"]["status"] == "running"
