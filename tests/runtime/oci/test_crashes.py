# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is known to go wrong under a container ends in a true state and a way out."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import conmon, lifecycle, process, records, removal, rootfs, runtime
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.containers import Yard

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "busybox")
QUIET = ["sh", "-c", "while :; do sleep 0.05; done"]


def until(condition: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def conmon_of(yard: Yard) -> int:
    return int(yard.one()["backend_details"]["conmon_pid"])


def test_first_process_killed(yard: Yard) -> None:
    yard.run()
    os.kill(yard.one()["pid"], signal.SIGKILL)
    until(lambda: yard.status() == "stopped" and yard.one()["exit_code"] == 137)
    yard.engine.start("web")
    assert yard.status() == "running"


@pytest.mark.parametrize("way_out", ["stop", "delete", "replace"])
def test_conmon_killed(yard: Yard, way_out: str) -> None:
    yard.run(command=QUIET, stop_timeout=0)
    pid = conmon_of(yard)
    os.kill(pid, signal.SIGKILL)
    until(lambda: process.start_time(pid) is None)
    entry = yard.one()
    assert entry["status"] == "running" and "conmon has ended" in entry["problems"][0]
    if way_out == "stop":
        yard.engine.stop("web", timeout=0)
        assert (yard.status(), yard.one()["exit_code"]) == ("stopped", None)
        yard.engine.start("web")
        assert (yard.status(), yard.one()["problems"]) == ("running", [])
    elif way_out == "replace":
        yard.engine.replace("web", ContainerSpec({"image": "x", "stop_timeout": 0}), {}, yard.image)
    else:
        yard.engine.delete("web")
        assert yard.leftovers() == []


@pytest.mark.parametrize("way_out", ["stop", "delete", "pause", "kill"])
def test_state_folder_of_the_runtime_lost(yard: Yard, way_out: str) -> None:
    identifier = yard.run(stop_timeout=1)
    yard.log()
    if way_out == "pause":
        yard.engine.pause("web")
    shutil.rmtree(f"{yard.layout.runtime}/oci/{yard.runtime}-backend/{identifier}")
    entry = yard.one()
    assert entry["status"] == ("paused" if way_out == "pause" else "running") and entry["pid"] > 1 and "lost its state" in entry["problems"][0]
    with pytest.raises(NexcageError):
        yard.shell("true")
    if way_out == "delete":
        yard.engine.delete("web")
        assert yard.leftovers() == []
        return
    if way_out == "kill":
        yard.engine.kill("web", signal.SIGTERM)
        until(lambda: yard.status() == "stopped")
    yard.engine.stop("web")
    assert yard.one()["exit_code"] == 3
    yard.engine.start("web")
    assert yard.status() == "running" and yard.one()["problems"] == []


def test_the_runtime_itself_is_not_there_for_a_while(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while its package is upgraded: a healthy container runs on, and nobody is told to stop or delete it."""
    yard.run()
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "FOLDERS", ("/nonexistent",))
        patch.setattr(yard.engine.runtime, "_path", "")
        entry = yard.one()
        assert entry["status"] == "running" and entry["pid"] > 1
        assert entry["problems"] == [f"the runtime gave no listing: {yard.runtime} is not installed (looked in /nonexistent)"]
    assert (yard.status(), yard.one()["problems"]) == ("running", [])


def test_all_of_the_runtime_folder_lost_while_running(yard: Yard) -> None:
    yard.run()
    shutil.rmtree(yard.layout.runtime)
    assert yard.status() == "running"  # the kernel's control group still tells
    yard.engine.stop("web", timeout=1)
    assert yard.status() == "stopped"
    yard.engine.start("web")
    assert yard.status() == "running"


def deserted(group: pathlib.Path) -> bool:
    return not group.joinpath("cgroup.procs").read_text()


def reboot(yard: Yard, monkeypatch: pytest.MonkeyPatch, keep_run: bool) -> None:
    """What a power cut leaves: no process, no mount, perhaps an old runtime folder, another boot id."""
    entry = yard.one()
    os.kill(int(entry["backend_details"]["conmon_pid"]), signal.SIGKILL)
    if entry["pid"]:
        os.kill(entry["pid"], signal.SIGKILL)
    until(lambda: process.start_time(entry["pid"]) is None)
    folder = entry["backend_details"]["bundle"]
    rootfs.release(folder)
    for path in pathlib.Path("/sys/fs/cgroup").glob("*" + entry["backend_details"]["cgroup"]):
        until(functools.partial(deserted, path))
        path.rmdir()
    if not keep_run:
        shutil.rmtree(yard.layout.runtime)
    monkeypatch.setattr(process, "_boot", ["another-boot"])


@pytest.mark.parametrize("keep_run", [True, False])
def test_after_a_reboot_it_is_stopped_and_starts(yard: Yard, monkeypatch: pytest.MonkeyPatch, keep_run: bool) -> None:
    yard.run(secret_env={"TOKEN": "x"}, secrets={"TOKEN": "hush-hush"})
    yard.shell("echo kept > /data/file")
    reboot(yard, monkeypatch, keep_run)
    assert (yard.status(), yard.one()["problems"]) == ("stopped", [])
    yard.engine.stop("web")
    yard.engine.start("web")
    assert yard.shell("cat /data/file; echo $TOKEN")[1] == "kept\nhush-hush\n"


def test_after_a_reboot_a_container_never_started_starts_too(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.create()
    reboot(yard, monkeypatch, keep_run=False)
    assert yard.status() == "stopped"
    yard.engine.start("web")
    assert yard.status() == "running"


def test_a_pid_that_means_another_process_now(yard: Yard) -> None:
    identifier = yard.run()
    yard.engine.stop("web", force=True)
    path = pathlib.Path(f"{yard.layout.runtime}/conmon/{identifier}/process.json")
    facts = json.loads(path.read_text())
    with subprocess.Popen(["sleep", "60"]) as innocent:
        path.write_text(json.dumps({**facts, "pid": innocent.pid, "conmon_pid": innocent.pid}))
        assert yard.status() == "stopped"
        yard.engine.stop("web", force=True)
        yard.engine.delete("web")
        assert innocent.poll() is None
        innocent.kill()


def test_started_by_a_run_that_was_killed_before_it_noted_that(yard: Yard) -> None:
    for way_on in ("start", "stop"):
        identifier = yard.run(way_on)
        path = pathlib.Path(f"{yard.layout.runtime}/conmon/{identifier}/process.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "started": None}))
        pid = yard.one(way_on)["pid"]
        yard.log(way_on)
        if way_on == "start":
            yard.engine.start(way_on)
            assert yard.one(way_on)["pid"] == pid and yard.one(way_on)["started"]
        else:
            yard.engine.stop(way_on)
            assert yard.one(way_on)["exit_code"] == 3  # politely


def test_a_runtime_that_was_killed_while_it_wrote_the_pid(yard: Yard) -> None:
    identifier = yard.run()
    yard.engine.stop("web", force=True)
    pathlib.Path(f"{yard.layout.runtime}/conmon/{identifier}/.pid").touch()
    yard.engine.start("web")
    assert yard.status() == "running"


def test_a_start_that_the_runtime_refuses(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pathlib.Path(yard.root, "source")
    source.mkdir()
    yard.run(mounts=[{"type": "bind", "source": str(source), "target": "/m"}])
    yard.engine.stop("web", force=True)
    source.rmdir()
    with pytest.raises(NexcageError):
        yard.engine.start("web")
    assert yard.status() == "stopped"
    source.mkdir()
    yard.engine.start("web")
    assert yard.status() == "running"
    yard.create("two")
    with monkeypatch.context() as patch:
        patch.setattr(yard.engine.runtime, "_path", "/bin/false")
        with pytest.raises(NexcageError, match="start: no message"):
            yard.engine.start("two")
    yard.engine.start("two")
    assert yard.status("two") == "running"


def test_a_replace_that_cannot_stop_the_old_one(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    old = yard.run()

    def refuse(*_arguments: object) -> None:
        raise NexcageError("E_TIMEOUT", "stuck")

    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "halt", refuse)
        with pytest.raises(NexcageError, match="stuck"):
            yard.engine.replace("web", ContainerSpec({"image": "x"}), {}, yard.image)
    assert yard.status() == "running" and yard.one()["id"] == old and yard.one()["backend_details"]["generation_leftovers"] == []


def test_bundle_lost_while_running(yard: Yard) -> None:
    yard.run()
    folder = pathlib.Path(yard.one()["backend_details"]["bundle"])
    (folder / "config.json").unlink()
    assert yard.status() == "running" and "config.json is gone" in yard.one()["problems"][0]
    with pytest.raises(NexcageError, match="is gone"):
        yard.shell("true")
    with pytest.raises(NexcageError, match="is gone"):
        yard.engine.update("web", {"pids_limit": 9})
    yard.engine.stop("web", force=True)
    with pytest.raises(NexcageError, match="is gone"):
        yard.engine.start("web")
    yard.engine.replace("web", ContainerSpec({"image": "x"}), {}, yard.image)
    yard.note()
    yard.engine.start("web")
    assert yard.status() == "running"


def test_whole_generation_folder_lost_while_running(yard: Yard) -> None:
    yard.run()
    folder = yard.one()["backend_details"]["bundle"]
    (pathlib.Path(folder) / "record.json").write_text("{")  # as after a power cut
    assert yard.status() == "incomplete"
    yard.engine.delete("web")
    assert yard.status() == "" and yard.leftovers() == []


def test_a_damaged_name_is_healed_by_create(yard: Yard) -> None:
    yard.run()
    pathlib.Path(f"{yard.layout.state}/containers/web/current").write_text("")
    pathlib.Path(f"{yard.layout.state}/containers/web/current.1-1.tmp").write_text("")
    assert yard.status() == "incomplete" and yard.one()["spec"] == {}
    yard.run()
    assert yard.status() == "running" and len(os.listdir(f"{yard.layout.state}/containers/web")) == 2


def test_image_gone(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.run()
    reboot(yard, monkeypatch, keep_run=True)
    os.rename(yard.image["path"], yard.image["path"] + ".away")
    container = records.find(yard.engine.places, "web")
    if container and container.record["rootfs"]["kind"] == "copy":  # this machine's own root is an overlay
        yard.engine.start("web")
        assert yard.status() == "running"
    else:
        with pytest.raises(NexcageError) as caught:
            yard.engine.start("web")
        assert caught.value.code == "E_IMAGE" and yard.status() == "stopped"
    with pytest.raises(NexcageError) as caught:
        yard.create("two")
    assert caught.value.code == "E_IMAGE" and yard.status("two") == ""


def test_without_overlay_the_image_is_copied(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(rootfs, "_mount", refuse)
    yard.run()
    assert yard.shell("echo x > /new; cat /etc/passwd")[0] == 0 and not os.path.exists(yard.image["path"] + "/new")
    yard.engine.stop("web", force=True)
    yard.engine.start("web")
    assert yard.shell("cat /new")[1] == "x\n"


def test_runtime_program_gone(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.run()
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "FOLDERS", ("/nowhere",))
        yard.engine = yard.engine_for(yard.runtime)
        entry = yard.one()
        assert entry["status"] == "running" and any("not installed" in problem for problem in entry["problems"])
        assert yard.engine.features()["path"] is None
        with pytest.raises(NexcageError) as caught:
            yard.create("two")
        assert caught.value.code == "E_BINARY"
        yard.engine.delete("web")
    assert yard.leftovers() == []


@pytest.mark.parametrize("behaviour", ["exec sleep 60", "exit 0", "kill -9 $PPID"])
def test_a_runtime_that_hangs_or_lies(yard: Yard, monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    fake = pathlib.Path(yard.root, yard.runtime)
    fake.write_text(f'#!/bin/sh\ncase "$*" in *create*) {behaviour};; esac\nexec {runtime.program(yard.runtime)} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(conmon, "TIMEOUT", 0.5)
    yard.engine.runtime._path = str(fake)
    with pytest.raises(NexcageError) as caught:
        yard.create()
    assert caught.value.code in ("E_TIMEOUT", "E_RUNTIME") and yard.status() == "" and yard.leftovers() == []


def test_a_hanging_conmon_is_ended(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.run()
    pid = conmon_of(yard)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(lifecycle, "_CONMON_PATIENCE", 0.1)
    monkeypatch.setattr(lifecycle, "_KILL_PATIENCE", 0.3)
    # while its parent does not reap it, the first process stays a zombie: dead, as far as the kernel's pidfd is concerned
    yard.engine.stop("web", force=True)
    assert yard.status() == "stopped" and process.start_time(pid) is None


def test_a_second_caller_waits_and_is_told_who_works(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.create()
    monkeypatch.setattr(lifecycle, "LOCK_TIMEOUT", 0.1)
    with store.Lock(f"{yard.layout.runtime}/locks/web", 1, "process 1 (test)"), pytest.raises(NexcageError) as caught:
        yard.engine.start("web")
    assert caught.value.code == "E_LOCKED" and "process 1 (test)" in caught.value.message


def test_processes_of_finds_only_our_helpers(yard: Yard) -> None:
    identifier = yard.run()
    found = removal.processes_of(identifier, yard.runtime)
    assert found == [conmon_of(yard)]
    assert records.find(yard.engine.places, "web") is not None
