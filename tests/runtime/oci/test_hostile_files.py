# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that change their own files to harm whoever looks at them later."""

from __future__ import annotations

import os
import pathlib
import shutil
import threading
import time

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import execution
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.containers import Yard

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "busybox")


def test_a_pipe_in_place_of_its_accounts_holds_nobody_up(yard: Yard) -> None:
    yard.run()
    assert yard.shell("cd /etc; busybox mkfifo pipe; busybox mv pipe passwd; test -p passwd")[0] == 0
    begin = time.monotonic()
    for user in (None, "0", "app"):
        with pytest.raises(NexcageError, match="/etc/passwd in the container is no file"):
            yard.shell("true", user=user)
    yard.engine.stop("web", timeout=1)
    with pytest.raises(NexcageError, match="/etc/passwd in the container is no file"):
        yard.engine.start("web")
    assert yard.status() == "stopped" and time.monotonic() - begin < 20
    os.unlink(os.path.join(yard.one()["backend_details"]["bundle"], "rootfs", "etc", "passwd"))
    yard.engine.start("web")
    assert yard.shell("echo $HOME")[:2] == (0, "/root\n")


def test_without_accounts_home_is_the_root(yard: Yard) -> None:
    yard.run(user="12345")
    assert yard.shell("echo $HOME")[:2] == (0, "/\n")


def test_a_command_in_a_container_that_is_paused_meanwhile_ends_in_time(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "KILL_PATIENCE", 0.5)
    yard.run()
    pausing = threading.Timer(0.5, yard.engine_for(yard.runtime).pause, ["web"])
    pausing.start()
    begin = time.monotonic()
    answer = yard.engine.exec("web", {"argv": ["sleep", "60"], "timeout": 1})
    pausing.join()
    assert answer["timed_out"] and time.monotonic() - begin < 10
    yard.engine.resume("web")
    assert yard.status() == "running" and yard.shell("true")[0] == 0


def test_a_command_where_the_runtime_has_lost_the_container(yard: Yard) -> None:
    identifier = yard.run()
    shutil.rmtree(f"{yard.layout.runtime}/oci/{yard.runtime}-backend/{identifier}")
    with pytest.raises(NexcageError, match="lost its state") as caught:
        yard.shell("true")
    assert caught.value.remedy == "stop and start it"


def test_strangers_among_the_containers(yard: Yard) -> None:
    yard.run()
    folder = pathlib.Path(yard.layout.state, "containers")
    (folder / "file").write_text("")
    for name in (".hidden", "no name"):
        (folder / name).mkdir()
    assert [entry["name"] for entry in yard.engine.listing()] == ["web"] and yard.engine.listing(["file"]) == []
    (folder / "web" / "current").unlink()
    (folder / "web" / "current").mkdir()
    assert yard.status() == "incomplete"
    yard.engine.delete("web")
    assert sorted(os.listdir(folder)) == [".hidden", "file", "no name"]
    (folder / "file").unlink()
    for name in (".hidden", "no name"):
        (folder / name).rmdir()


def test_a_full_disk_is_called_a_full_disk(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.run()

    def full(path: str, *_arguments: object, **_options: object) -> None:
        raise NexcageError("E_SPACE", f"{path} cannot be written: No space left on device")

    monkeypatch.setattr(store, "write_json", full)
    with pytest.raises(NexcageError) as caught:
        yard.engine.update("web", {"memory": 64 << 20})
    assert (caught.value.code, caught.value.remedy) == ("E_SPACE", "free some space")
