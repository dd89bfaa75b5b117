# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules started by a process that hands down odd signals, masks, descriptors and folders."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import privileges
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import Host, Process

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")

_CHILD = """
import json, sys
from ansible_collections.nexcage.backends.tests.support import modules
print(json.dumps(modules.run(sys.argv[1], **json.loads(sys.argv[2]))))
"""


def run(prepare: t.Callable[[], object], module: str, cwd: str = "/", environment: t.Mapping[str, str] | None = None, **parameters: t.Any) -> modules.Result:
    """A module in a process of its own, for which ``prepare`` runs first."""
    words = [sys.executable, "-c", _CHILD, module, json.dumps(parameters)]
    settings = {**os.environ, **(environment or {})}
    done = subprocess.run(words, preexec_fn=prepare, cwd=cwd, env=settings, capture_output=True, check=True, timeout=60)
    return modules.Result(json.loads(done.stdout))


def signals() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD})


def test_signals_ignored_and_blocked(host: Host, backend: str) -> None:
    made = run(signals, "nexcage_container", name="odd", backend=backend, image=host.image)
    assert not made.get("failed"), made["msg"]
    assert Process(made["container"]["pid"]).status("SigBlk") == ["0" * 16]
    asked = run(signals, "nexcage_container_exec", name="odd", argv=["sh", "-c", "exit 7"])
    assert asked["rc"] == 7
    assert run(signals, "nexcage_container", name="odd", state="absent")["changed"]


LIMITS = {"CPU": 500, "FSIZE": 8 << 20, "AS": 4 << 30, "DATA": 2 << 30, "CORE": 4096, "STACK": 4 << 20, "MEMLOCK": 65536, "NOFILE": 512, "MSGQUEUE": 1000}


def limited() -> None:
    for name, most in LIMITS.items():
        number = {"MSGQUEUE": 12}.get(name)
        resource.setrlimit(getattr(resource, "RLIMIT_" + name) if number is None else number, (most, most))


def shown(pid: int | str) -> dict[str, str]:
    """The limits of a process by name, as the kernel shows them."""
    return named(pathlib.Path(f"/proc/{pid}/limits").read_text())


def named(text: str) -> dict[str, str]:
    return {line[:26].strip(): " ".join(line[26:68].split()) for line in text.splitlines()[1:]}


def test_limits_of_the_caller_reach_neither_container_nor_conmon(host: Host, backend: str) -> None:
    may_raise = pathlib.Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"] and "SYS_RESOURCE" in privileges.bounding()
    asked: dict[str, t.Any] = {"backend": backend, "image": host.image, "ulimits": ["nofile=300:400"]}
    free = run(lambda: None, "nexcage_container", name="free", **asked)
    made = run(limited, "nexcage_container", name="odd", **asked)
    assert not made.get("failed"), made["msg"]
    plain, odd = (shown(result["container"]["pid"]) for result in (free, made))
    assert plain["Max open files"] == odd["Max open files"] == "300 400"
    told = run(limited, "nexcage_container_exec", name="odd", argv=["cat", "/proc/self/limits"])["stdout"]
    inside = named(told)
    if backend == "runc" and inside["Max open files"] == "400 400":  # runc 1.1.5's Go runtime sometimes puts its own back
        inside["Max open files"] = "300 400"
    assert inside == odd
    if may_raise:
        assert odd == plain and plain["Max cpu time"] == plain["Max file size"] == "unlimited unlimited"
        conmon = shown(Process(made["container"]["pid"]).status("PPid")[0])
        assert [conmon[f"Max {what}"] for what in ("cpu time", "file size", "address space")] == ["unlimited unlimited"] * 3
    else:
        assert odd["Max cpu time"] == "500 500" and plain["Max core file size"] == "0 unlimited"


def test_a_container_of_another_caller(host: Host, backend: str) -> None:
    """One that may raise no limit gives what it has: less is better than none at all."""
    made = host.start("web", backend)["container"]
    assert run(limited, "nexcage_container_exec", name="web", argv=["true"])["rc"] == 0
    host.converge("web", state="stopped", force_kill=True)
    again = run(limited, "nexcage_container", name="web")
    assert not again.get("failed"), again["msg"]
    assert shown(again["container"]["pid"])["Max cpu time"] in ("unlimited unlimited", "500 500")
    assert again["container"]["id"] == made["id"] and host.converge("web")["changed"] is False  # the bundle is still ours


def shared(folder: pathlib.Path) -> list[str]:
    """What others than root may change below a folder, without the container's own files."""
    found = []
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("rootfs", "upper", "work")]
        found += [full for full in (path, *(os.path.join(path, name) for name in files)) if os.lstat(full).st_mode & 0o002]
    return found


@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_mask_of_files_that_lets_all_or_nobody_in(host: Host, tmp_path: pathlib.Path, mask: int) -> None:
    setting = {"NEXCAGE_ROOT": str(tmp_path / "root")}

    def prepare() -> None:
        os.umask(mask)

    made = run(prepare, "nexcage_container", environment=setting, name="odd", backend="crun", image=host.image)
    assert not made.get("failed"), made["msg"]
    assert shared(tmp_path / "root") == []
    assert run(prepare, "nexcage_container_exec", environment=setting, name="odd", user="65534", argv=["cat", "/etc/hosts"])["rc"] == 0
    assert run(prepare, "nexcage_container", environment=setting, name="odd", state="absent")["changed"]


def test_a_root_that_depends_on_the_working_folder(tmp_path: pathlib.Path) -> None:
    answer = run(lambda: None, "nexcage_container_info", cwd=str(tmp_path), environment={"NEXCAGE_ROOT": "here"})
    assert (answer["error"]["code"], answer["error"]["option"], answer["error"]["value"]) == ("E_INVALID", "NEXCAGE_ROOT", "here")
    assert os.listdir(tmp_path) == []


def test_what_the_system_refuses_is_an_error_that_names_the_file(host: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").write_text("a file in place of a folder")
    answer = run(lambda: None, "nexcage_container", environment={"NEXCAGE_ROOT": str(tmp_path)}, name="odd", image=host.image)
    assert answer["error"]["code"] == "E_STATE" and str(tmp_path / "run") in answer["msg"]
    (tmp_path / "run").unlink()
    (tmp_path / "run/nexcage/tasks/odd").mkdir(parents=True)
    answer = run(lambda: None, "nexcage_container", environment={"NEXCAGE_ROOT": str(tmp_path)}, name="odd", image=host.image)
    assert answer["error"]["code"] == "E_STATE" and answer["error"]["value"] == str(tmp_path / "run/nexcage/tasks/odd")
