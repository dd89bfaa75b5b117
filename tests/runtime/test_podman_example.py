# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/examples/podman-backend with the real podman: a backend that has no OCI runtime of ours, and no privilege but its commands."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import examples, images, modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host, lives, process_of

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox", "ssh-keygen", "podman")
NAME = "podman-backend"
RUNNER = pathlib.Path(modules.__file__).parent / "killable.py"
# podman's own default is more than a machine for tests may allow
LIMITS = ["nofile=1024:1024", "nproc=1024:1024"]
WEB = f"nx-web-{os.getpid()}"


def podman(*words: str) -> str:
    """Podman itself, as its users have it."""
    return subprocess.run(["podman", *words], check=True, capture_output=True, text=True, timeout=60).stdout


def there() -> list[str]:
    """The names of all containers that podman has."""
    return podman("ps", "--all", "--format={{.Names}}").split()


@pytest.fixture(scope="module")
def image(host: Host, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[str]:
    """The plugin on the host, and an image whose path podman can make a name of."""
    folder = pathlib.Path(f"/tmp/nx-podman-{os.getpid()}")
    reference = images.make_busybox_layout(folder, Cmd=FOREVER)
    try:
        # crun cannot be used on a host with both versions of cgroups, runc on any
        with examples.installed(host, NAME, tmp_path_factory.mktemp("podman"), config={"runtime": "runc"}, accept_root_equivalent=True):
            yield reference
    finally:
        shutil.rmtree(folder)
        podman("rm", "--force", "--time=0", "--ignore", WEB)
        podman("rmi", "--force", f"localhost/tmp/nx-podman-{os.getpid()}")


@pytest.fixture
def task(image: str) -> t.Iterator[dict[str, t.Any]]:
    yield {"name": WEB, "backend": "podman", "image": image, "ulimits": LIMITS}
    modules.run("nexcage_container", name=WEB, state="absent", force_kill=True)
    podman("rm", "--force", "--time=0", "--ignore", WEB)


def record_of(host: Host) -> pathlib.Path:
    return host.root / f"var/lib/nexcage/foreign/{NAME}/{WEB}.json"


def test_a_life(host: Host, task: dict[str, t.Any]) -> None:
    asked = {**task, "env": {"A": "b c"}, "memory": "64m", "labels": {"x": "y"}, "hostname": "inside", "entrypoint": FOREVER[:1], "command": FOREVER[1:]}
    predicted = modules.works("nexcage_container", check=True, **asked)
    assert WEB not in there() and not record_of(host).exists()
    made = modules.works("nexcage_container", **asked)
    assert predicted.actions == made.actions == ["create", "start"] and predicted["diff"] == made["diff"]
    assert (made["container"]["backend"], made["container"]["status"]) == ("podman", "running")
    assert made["sandbox"]["tier"] in ("standard", "strong")
    process = process_of(made["container"])
    assert process.environment()["A"] == "b c" and process.group("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    before = modules.snapshot(host.root / "var")
    for check in (False, True):
        assert modules.works("nexcage_container", check=check, **asked)["changed"] is False
    assert modules.works("nexcage_container", **{**asked, "backend": "auto"})["changed"] is False
    assert modules.snapshot(host.root / "var") == before, "a run that changes nothing wrote something"
    (found,) = modules.works("nexcage_container_info", backend="podman")["containers"]
    assert (found["name"], found["resources"]["memory"], found["labels"]) == (WEB, 64 << 20, {"x": "y"})
    assert found["started"] and found["created"] and found["finished"] is None
    larger = {**asked, "memory": "96m"}
    predicted = modules.works("nexcage_container", check=True, **larger)
    done = modules.works("nexcage_container", **larger)
    assert predicted.actions == done.actions == ["replace", "start"] and predicted["diff"] == done["diff"]
    assert (done["diff"]["before"]["resources.memory"], done["diff"]["after"]["resources.memory"]) == ("64 MiB", "96 MiB")
    assert not lives(process.pid) and process_of(done["container"]).environment()["A"] == "b c"
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
    assert WEB not in there() and not record_of(host).exists()
    assert modules.works("nexcage_container", name=WEB, state="absent")["changed"] is False


def test_commands_and_secrets(host: Host, task: dict[str, t.Any]) -> None:
    secret = "swordfish # of the 1st sea"
    asked = {**task, "secret_env": {"TOKEN": secret}}
    made = modules.works("nexcage_container", **asked)
    assert process_of(made["container"]).environment()["TOKEN"] == secret
    assert modules.works("nexcage_container", **asked)["changed"] is False
    assert secret not in json.dumps(made) and host.holders("swordfish") == []

    def said(**more: t.Any) -> str:
        return str(modules.works("nexcage_container_exec", name=WEB, **more)["stdout"])

    assert said(argv=["/bin/sh", "-c", "echo $TOKEN-$A-$PWD-$(id -u)"], env={"A": "b"}, user="65534", working_dir="/etc") == f"{secret}-b-/etc-65534"
    assert said(argv=["/bin/cat"], stdin="from here\n\0\x07", stdin_add_newline=False) == "from here\n\0\x07"
    assert said(argv=["/bin/sh", "-c", "echo ${#B}"], secret_env={"B": "hush-hush"}) == "9"
    failed = modules.fails("nexcage_container_exec", name=WEB, argv=["/bin/sh", "-c", "echo no >&2; exit 4"])
    assert (failed["rc"], failed["stderr"], failed["error"]["code"]) == (4, "no", "E_RUNTIME")
    both = modules.fails("nexcage_container_exec", name=WEB, argv=["/bin/cat"], stdin="a", secret_env={"B": "hush-hush"})
    assert both["error"]["code"] == "E_UNSUPPORTED"
    assert modules.fails("nexcage_container_exec", name=WEB, argv=["/bin/true"], creates="/etc")["error"]["option"] == "creates"
    lost = modules.fails("nexcage_container", **{**task, "hostname": "other"})
    assert lost["error"]["option"] == "secret_env" and "TOKEN" in lost["msg"]
    changed = modules.works("nexcage_container", **{**task, "secret_env": {"TOKEN": "another-secret"}})
    assert changed.actions == ["replace", "start"] and "hmac" not in json.dumps(changed["diff"])
    assert process_of(changed["container"]).environment()["TOKEN"] == "another-secret"


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("seccomp_profile", "unconfined", "E_UNSUPPORTED"),
        ("pull", "always", "E_UNSUPPORTED"),
        ("bundle", "/srv", "E_UNSUPPORTED"),
        ("image", "oci:/tmp/nx-there-is-no-such-image:1", "E_IMAGE"),
        ("image", "oci:/tmp/Upper:1", "E_UNSUPPORTED"),
        ("mounts", [{"source": "/srv,ro", "target": "/srv"}], "E_UNSUPPORTED"),
        ("stop_timeout", 600, "E_UNSUPPORTED"),
        ("command", [], "E_UNSUPPORTED"),
    ],
)
def test_what_it_cannot_do_is_said_before_anything_changes(task: dict[str, t.Any], option: str, value: t.Any, code: str) -> None:
    if option == "bundle":
        del task["image"]
    for check in (True, False) if option != "mounts" else (False,):
        refused = modules.fails("nexcage_container", check=check, **{**task, option: value})
        assert refused["error"]["code"] == code, refused["msg"]
        assert option != "mounts" or refused["error"]["option"] == option
    assert WEB not in there()


def test_a_container_of_somebody_else(host: Host, task: dict[str, t.Any], image: str) -> None:
    podman("create", "--quiet", f"--name={WEB}", "--network=none", image)
    before = podman("container", "inspect", WEB)
    for parameters in (task, {"name": WEB, "backend": "podman", "state": "absent"}, {**task, "recreate": True}):
        refused = modules.fails("nexcage_container", **parameters)
        assert refused["error"]["code"] == "E_OWNER" and "not made by this host's nexcage" in refused["msg"]
    assert modules.works("nexcage_container_info", name=[WEB])["containers"] == []
    assert podman("container", "inspect", WEB) == before
    podman("rm", WEB)
    assert modules.works("nexcage_container", **task)["changed"]  # without it the same task is right
    podman("rm", "--force", "--time=0", WEB)
    podman("create", "--quiet", f"--name={WEB}", "--network=none", image)  # in place of ours
    assert modules.fails("nexcage_container", **task)["error"]["code"] == "E_OWNER"
    podman("rm", WEB)
    assert modules.works("nexcage_container_info")["containers"] == []
    assert modules.works("nexcage_container", name=WEB, state="absent")["changed"] is False
    assert not record_of(host).exists()


def test_a_record_that_somebody_changed(host: Host, task: dict[str, t.Any]) -> None:
    made = modules.works("nexcage_container", **task, env={"A": "b"})
    content = json.loads(record_of(host).read_text())
    content["spec"]["env"] = {"A": "c"}
    record_of(host).write_text(json.dumps(content))
    assert record_of(host).parent.stat().st_mode & 0o777 == 0o700
    anew = modules.works("nexcage_container", **task, env={"A": "c"})
    assert anew.actions == ["replace", "start"] and "behind our back" in anew["plan"][0]["reason"]
    assert anew["container"]["id"] != made["container"]["id"]
    record_of(host).write_text("{")
    refused = modules.fails("nexcage_container", **task)
    assert refused["error"]["code"] == "E_STATE" and str(record_of(host)) in refused["msg"]
    assert WEB in str(modules.works("nexcage_container_info").get("warnings"))
    podman("rm", "--force", "--time=0", WEB)
    record_of(host).unlink()


def test_between_backends(host: Host, task: dict[str, t.Any]) -> None:
    held = {**task, "backend": "crun", "stop_signal": "KILL"}
    first = modules.works("nexcage_container", **held)
    assert modules.fails("nexcage_container", **task)["error"]["code"] == "E_OWNER"
    moved = modules.works("nexcage_container", **task, replace_backend=True)
    assert moved.actions == ["replace", "start"] and moved["container"]["backend"] == "podman"
    assert not lives(first["container"]["pid"]) and modules.works("nexcage_container", **task)["changed"] is False
    refused = modules.fails("nexcage_plugin", name=NAME, state="absent")
    assert refused["error"]["code"] == "E_EXISTS" and WEB in refused["msg"]
    back = modules.works("nexcage_container", **held, replace_backend=True)
    assert back["container"]["backend"] == "crun" and WEB not in there() and not record_of(host).exists()


def killed_at(step: int, **parameters: t.Any) -> bool:
    """Whether a run of the module was killed at a step; it has fewer where not."""
    command = [sys.executable, str(RUNNER), json.dumps(parameters), "", str(step)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stdout
    return ended.returncode != 0


def test_every_option_means_what_it_means_elsewhere(host: Host, task: dict[str, t.Any]) -> None:
    (host.files / "data").mkdir(exist_ok=True)
    asked: dict[str, t.Any] = {
        **task,
        "user": "65534:65534",
        "groups": ["12"],
        "working_dir": "/etc",
        "hostname": "inside",
        "read_only": True,
        "init": True,
        "cap_drop": ["ALL"],
        "cap_add": ["NET_ADMIN"],
        "cpus": "0.5",
        "cpu_shares": 512,
        "pids_limit": 77,
        "memory": "64m",
        "memory_swap": "96m",
        "stop_signal": "USR1",
        "stop_timeout": 3,
        "network_mode": "host",
        "annotations": {"a": "b"},
        "volumes": [f"{host.files}/data:/data:ro"],
        "tmpfs": ["/scratch:size=1m,mode=0700"],
        "ulimits": ["nofile=900:1000", *LIMITS[1:]],
    }
    process = process_of(modules.works("nexcage_container", **asked)["container"])
    shell = modules.works("nexcage_container_exec", name=WEB, argv=["/bin/sh", "-c", "id; touch /x /data/x; ps"], user="0")
    assert "Read-only file system" in shell["stderr"] and "uid=0" in shell["stdout"]
    assert [process.mount(target)[0] for target in ("/scratch", "/proc")] == ["tmpfs", "proc"] and "size=1024k" in process.mount("/scratch")
    assert "ro" in process.mount("/data") and process.mount("/tmp") == [] and process.limit("Max open files") == ["900", "1000"]
    assert process.group("pids", "pids.max", "pids.max") == "77" and process.link("ns/net") == os.readlink("/proc/self/ns/net")
    assert modules.works("nexcage_container", **asked)["changed"] is False
    unlimited = {**task, "memory": "-1", "memory_swap": "-1", "pids_limit": -1, "cpus": "-1"}
    assert modules.works("nexcage_container", **unlimited).actions == ["replace", "start"]
    assert modules.works("nexcage_container", **unlimited)["changed"] is False


def test_a_job(task: dict[str, t.Any]) -> None:
    asked = {**task, "command": ["/bin/sh", "-c", "echo done; exit 4"], "wait": "exited"}
    made = modules.works("nexcage_container", **asked)
    assert (made["container"]["status"], made["container"]["exit_code"]) == ("stopped", 4) and "exit code 4" in made["msg"]
    assert made["container"]["started"] and made["container"]["finished"] and "done" in pathlib.Path(made["container"]["backend_details"]["log"]).read_text()
    assert modules.works("nexcage_container", **{**asked, "state": "present", "wait": None})["changed"] is False


# Of the record's steps: 1 before podman does anything, 2 once it has done it. tests/unit/manager/test_foreign.py has them all.
@pytest.mark.parametrize(("what", "step"), [("create", 1), ("create", 2), ("replace", 1), ("replace", 2), ("absent", 0)])
def test_killed_in_between_it_is_healed(host: Host, task: dict[str, t.Any], what: str, step: int) -> None:
    old, new = {**task, "hostname": "old"}, {**task, "hostname": "new"}
    wanted = {"create": new, "replace": new, "absent": {"name": WEB, "state": "absent", "force_kill": True}}[what]
    if what != "create":
        modules.works("nexcage_container", **old)
    assert killed_at(step, **wanted)
    found = host.one(WEB)
    expected = {"create": {1: None, 2: "incomplete"}, "replace": {1: "running", 2: "incomplete"}, "absent": {0: None}}
    assert (found and found["status"]) == expected[what][step]
    healed = modules.works("nexcage_container", **wanted)
    assert modules.works("nexcage_container", **wanted)["changed"] is False
    if what == "absent":
        assert WEB not in there() and not record_of(host).exists()
    else:
        assert (healed["container"]["status"], podman("exec", WEB, "cat", "/proc/sys/kernel/hostname").strip()) == ("running", "new")


def test_a_stop_that_was_killed_is_gone_on_with(task: dict[str, t.Any]) -> None:
    made = modules.works("nexcage_container", **task, command=["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    with subprocess.Popen(["podman", "stop", "--time=60", WEB]) as stopping:
        deadline = time.monotonic() + 10
        while podman("container", "inspect", "--format={{.State.Status}}", WEB).strip() != "stopping" and time.monotonic() < deadline:
            time.sleep(0.02)
        stopping.kill()
    assert lives(made["container"]["pid"])  # "stopping" is not stopped
    done = modules.works("nexcage_container", name=WEB, state="stopped", force_kill=True)
    assert (done.actions, done["container"]["status"]) == (["stop"], "stopped") and not lives(made["container"]["pid"])


def test_health(image: str) -> None:
    (found,) = modules.works("nexcage_plugin_info", name=[NAME])["plugins"]
    assert found["health"]["status"] == "healthy" and found["health"]["version"].startswith("4."), found["health"]


def test_the_task_of_its_readme_in_four_steps(task: dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    results = examples.four_steps(NAME, tmp_path, **task, command=["sleep", "1000"])
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["plan"] == results[1]["plan"] and results[1]["container"]["status"] == "running"
