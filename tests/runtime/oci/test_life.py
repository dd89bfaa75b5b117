# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a container on the real runtimes."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import mounts, privileges
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.containers import DIGEST, Yard, command_lines

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "busybox")


def refused(call: t.Callable[..., t.Any], *arguments: t.Any, **named: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        call(*arguments, **named)
    return caught.value


def test_from_created_to_gone(yard: Yard) -> None:
    name = "n" * 128  # longer than the path of a socket may be
    identifier = yard.create(name, memory=64 << 20, labels={"a": "b"}, secret_env={"TOKEN": "x"}, secrets={"TOKEN": "hush-hush"})
    entry = yard.one(name)
    assert (entry["id"], entry["status"], entry["started"], entry["image_digest"], entry["labels"]) == (identifier, "created", None, DIGEST, {"a": "b"})
    yard.engine.start(name)
    entry = yard.one(name)
    assert entry["status"] == "running" and entry["pid"] > 1 and entry["started"].endswith("Z") and entry["problems"] == []
    assert entry["observed"]["memory"] == 64 << 20 and entry["observed"]["memory_swap"] == 128 << 20 and entry["observed"]["pids_limit"] == 2048
    assert "hush" not in json.dumps(entry) and entry["spec"]["secret_env"]["TOKEN"].startswith("hmac-sha256:")
    assert yard.log(name) == ["up"]
    yard.engine.start(name)  # already running: left alone
    assert yard.one(name)["pid"] == entry["pid"]
    begun = time.monotonic()
    yard.engine.stop(name)
    assert time.monotonic() - begun < 2  # it ends by its own trap, long before the ten seconds until it is killed
    entry = yard.one(name)
    assert (entry["status"], entry["exit_code"], entry["pid"], entry["observed"]) == ("stopped", 3, 0, {}) and entry["finished"].endswith("Z")
    yard.engine.stop(name)
    yard.engine.delete(name)
    assert yard.engine.listing() == [] and yard.leftovers() == []
    assert refused(yard.engine.delete, name).code == "E_NOT_FOUND"


def test_a_stopped_container_keeps_its_files_when_started_again(yard: Yard) -> None:
    identifier = yard.run(stop_timeout=0)
    assert yard.shell("echo kept > /data/file")[0] == 0
    yard.engine.stop("web", force=True)
    assert yard.one()["exit_code"] == 137
    yard.engine.start("web")
    assert yard.shell("cat /data/file")[1] == "kept\n" and yard.one()["id"] == identifier and yard.one()["exit_code"] is None


def test_stop_by_signal_and_by_kill(yard: Yard) -> None:
    yard.run("deaf", command=["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.02; done"])
    yard.log("deaf")
    yard.engine.stop("deaf", timeout=0.2)
    assert yard.one("deaf")["exit_code"] == 137
    yard.run("other", command=["sh", "-c", "trap 'exit 9' USR1; echo up; while :; do sleep 0.02; done"])
    yard.log("other")
    yard.engine.stop("other", signal=10)
    assert yard.one("other")["exit_code"] == 9
    yard.run("hit", stop_signal=12, command=["sh", "-c", "trap 'echo hit' HUP; echo up; while :; do sleep 0.02; done"])
    yard.log("hit")
    yard.engine.kill("hit", 1)
    assert yard.log("hit", 2) == ["up", "hit"]
    assert refused(yard.engine.kill, "hit", 65).option == "stop_signal"
    yard.engine.stop("hit", force=True)
    assert refused(yard.engine.kill, "hit", 1).code == "E_INVALID"


def test_pause_and_resume(yard: Yard) -> None:
    yard.run()
    yard.log()
    yard.engine.pause("web")
    yard.engine.pause("web")
    assert yard.status() == "paused"
    assert refused(yard.engine.start, "web").remedy == "resume it"
    assert refused(yard.shell, "true").code == "E_INVALID"
    yard.engine.resume("web")
    yard.engine.resume("web")
    assert yard.status() == "running"
    yard.engine.pause("web")
    yard.engine.stop("web")
    assert yard.one()["exit_code"] == 3  # a paused one is stopped politely too
    assert refused(yard.engine.pause, "web").code == "E_INVALID"


def test_what_a_container_sees(yard: Yard) -> None:
    yard.run(
        hostname="box",
        env={"COLOUR": "red"},
        secret_env={"TOKEN": "t"},
        secrets={"TOKEN": "hush-hush"},
        working_dir="/data",
        user="app",
        groups=["more", "42"],
        no_new_privileges=True,
        read_only=True,
        ulimits={"nofile": [100, 200]},
    )
    out = yard.shell(
        "hostname; pwd; id; echo $COLOUR $TOKEN $HOME; grep -o 'open files  *[0-9]*  *[0-9]*' /proc/1/limits; "
        "grep -E 'Seccomp:|NoNewPrivs|CapBnd' /proc/self/status; ls /dev/shm; touch /x"
    )
    assert out[1].splitlines() == [
        "box",
        "/data",
        "uid=1000(app) gid=1001(app) groups=42,2000(extra),3000(more)",
        "red hush-hush /home/app",
        "open files            100                  200",  # of process 1: runc's exec sometimes loses the soft limit
        "CapBnd:\t00000000800405fb",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ]
    assert "Read-only" in out[2]
    assert yard.shell("cat /etc/hosts /etc/hostname; cat /proc/self/cgroup | grep -c nexcage; ls /sys/class/net", user="0")[1].split()[-4:] == [
        "box",
        "box",
        "0",
        "lo",
    ]
    assert all("hush" not in line for _pid, line in command_lines())
    folder = pathlib.Path(yard.one()["backend_details"]["bundle"])
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(os.stat(yard.layout.state).st_mode) == 0o700
    config = json.loads((folder / "config.json").read_text())
    assert config["annotations"]["org.nexcage.owner"] == "web" and len(config["annotations"]["org.nexcage.spec"]) == 64


def test_mounts(yard: Yard) -> None:
    source = pathlib.Path(yard.root, "source")
    source.mkdir()
    (source / "file").write_text("hello")
    yard.run(
        mounts=[
            {"type": "bind", "source": str(source), "target": "/mnt/here", "read_only": True, "options": []},
            {"type": "bind", "source": str(source / "file"), "target": "/etc/hosts", "read_only": False, "options": []},
            {"type": "tmpfs", "source": None, "target": "/scratch", "read_only": False, "options": ["size=1m", "mode=0700"]},
        ],
        network_mode="host",
    )
    rc, out, err = yard.shell("cat /mnt/here/file /etc/hosts; touch /scratch/a; touch /mnt/here/b; grep scratch /proc/mounts; hostname")
    assert out.startswith("hellohello") and "size=1024k" in out and "nosuid,nodev" in out and rc == 0 and "Read-only" in err
    assert out.rstrip().endswith(os.uname().nodename)


def test_privileged_is_what_the_caller_has(yard: Yard) -> None:
    own = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    yard.run(privileged=True)
    ratelimit = "/proc/sys/kernel/printk_ratelimit"
    out = yard.shell(f"grep -E 'CapBnd|Seccomp:' /proc/self/status; ls /dev/full; cat {ratelimit} > {ratelimit} && echo written")
    assert out[1].splitlines()[0] == own and "Seccomp:\t0" in out[1] and "/dev/full" in out[1] and "written" in out[1]


@pytest.mark.parametrize(
    ("values", "code", "option"),
    [
        ({"command": ["no-such-program"]}, "E_INVALID", "command"),
        ({"mounts": [{"type": "bind", "source": "/no/such/place", "target": "/m"}]}, "E_INVALID", "mounts"),
        ({"cap_add": ["SYS_RESOURCE"]}, "E_PRIVILEGE", "cap_add"),
        ({"ulimits": {"nofile": [1048577, 1048577]}}, "E_INVALID", "ulimits"),
        ({"annotations": {"run.oci.handler": "wasm"}}, "E_INVALID", "annotations"),
        ({"user": "nobody-here"}, "E_INVALID", "user"),
        ({"memory": 64 << 20, "memory_swap": 32 << 20}, "E_INVALID", "memory_swap"),
        ({"cpuset_cpus": "4000"}, "E_INVALID", "cpuset_cpus"),
    ],
)
def test_a_refused_container_leaves_nothing(yard: Yard, values: dict[str, t.Any], code: str, option: str | None) -> None:
    if option == "cap_add" and "SYS_RESOURCE" in privileges.bounding():
        values = {"cap_add": ["NO_SUCH"]}
        code = "E_INVALID"
    error = refused(yard.create, **values)
    assert (error.code, error.option) == (code, option), error
    assert yard.engine.listing() == [] and yard.leftovers() == []


def test_names_are_unique_over_all_backends(yard: Yard) -> None:
    yard.create()
    assert refused(yard.create).code == "E_EXISTS"
    other = yard.engine_for("runc" if yard.runtime == "crun" else "crun")
    assert refused(other.create, "web", ContainerSpec({"image": "x"}), {}, yard.image).code == "E_EXISTS"
    assert refused(other.delete, "web").code == "E_OWNER" and other.listing() == []
    for name in ("../web", "-web", "a\0b", "", "x" * 129):
        assert refused(yard.create, name).code == "E_INVALID"
        assert refused(yard.engine.listing, [name]).code == "E_INVALID"


def test_replace(yard: Yard) -> None:
    old = yard.run(secret_env={"TOKEN": "x"}, secrets={"TOKEN": "hush-hush"})
    yard.log()
    error = refused(yard.engine.replace, "web", ContainerSpec({"image": "x", "command": ["no-such"]}), {}, yard.image)
    assert error.option == "command" and yard.one()["id"] == old and yard.status() == "running" and yard.one()["backend_details"]["generation_leftovers"] == []
    masked = yard.one()["spec"]["secret_env"]
    new = yard.engine.replace("web", ContainerSpec({"image": "x", "env": {"A": "1"}, "secret_env": masked}), {}, yard.image)["id"]
    yard.note()
    assert yard.one()["id"] == new != old and yard.status() == "created" and yard.one()["spec"]["secret_env"] == masked
    yard.engine.start("web")
    assert yard.shell("echo $TOKEN $A")[1] == "hush-hush 1\n"
    other = yard.engine_for("runc" if yard.runtime == "crun" else "crun")
    assert refused(other.replace, "web", ContainerSpec({"image": "x"}), {}, yard.image).code == "E_OWNER" and yard.status() == "running"
    other.replace("web", ContainerSpec({"image": "x"}), {}, yard.image, take_over=True)
    yard.note()
    assert yard.engine.listing() == [] and other.listing()[0]["status"] == "created"
    assert refused(yard.engine.replace, "gone", ContainerSpec({"image": "x"}), {}, yard.image).code == "E_NOT_FOUND"
    assert refused(yard.create, "fresh", secret_env={"A": "hmac-sha256:00"}).option == "secret_env"


def test_a_bundle_of_the_operator(yard: Yard) -> None:
    bundle = pathlib.Path(yard.root, "bundle")
    bundle.mkdir(mode=0o755)
    os.rename(yard.image["path"], bundle / "rootfs")
    (bundle / "extra").mkdir()
    config = {
        "ociVersion": "1.0.2",
        "process": {"terminal": True, "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", "echo own; sleep 100"], "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "annotations": {"org.nexcage.owner": "somebody", "kept": "yes"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/data", "type": "bind", "source": "extra", "options": ["bind"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }
    (bundle / "config.json").write_text(json.dumps(config))
    (bundle / "config.json").chmod(0o644)
    yard.run(bundle=str(bundle), env={"A": "b"}, network_mode="none", memory=32 << 20)
    assert yard.log() == ["own"]
    assert yard.shell("echo $A; touch /data/x /new; ls /sys 2>/dev/null")[1] == "b\n"
    assert (bundle / "extra" / "x").exists() and not (bundle / "rootfs" / "new").exists()
    assert yard.one()["image"] is None and yard.one()["observed"]["memory"] == 32 << 20
    (bundle / "config.json").chmod(0o666)
    assert refused(yard.create, "two", bundle=str(bundle)).option == "bundle"


def test_logs_of_long_and_unfinished_lines(yard: Yard) -> None:
    yard.run(command=["sh", "-c", "dd if=/dev/zero bs=20000 count=1 2>/dev/null | cat; echo; echo err >&2; sleep 100"])
    texts = yard.log(lines=2)  # in either order: they come through two pipes
    assert sorted(len(text) for text in texts) == [3, 20000]
    assert [line["text"] for line in yard.engine.logs("web", 1)] == texts[1:] and yard.engine.logs("web", 0) == []
    assert {line["stream"] for line in yard.engine.logs("web")} == {"stdout", "stderr"}
    assert refused(yard.engine.logs, "none").code == "E_NOT_FOUND"


def test_init_and_features(yard: Yard) -> None:
    features = yard.engine.features()
    assert features["problems"] == [] and features["version"].count(".") == 2 and features["overlay"] and features["cgroup_mode"] in ("v1", "v2", "hybrid")
    if refusal := _init_missing():
        assert refused(yard.create, init=True).code == "E_BINARY", refusal
        return
    yard.run(init=True, command=["sh", "-c", "sleep 0.01 & echo up; sleep 100"])
    assert "init" in yard.shell("cat /proc/1/cmdline")[1]


def _init_missing() -> str:
    try:
        mounts.init_program()
    except NexcageError as error:
        return str(error)
    return ""


def test_a_caller_without_root_is_told_to_become(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        error = refused(yard.create)
    assert error.code == "E_PRIVILEGE" and "become: true" in error.remedy
