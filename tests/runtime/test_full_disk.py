# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk for state and log that is full while containers run: what empties it goes on, whatever else the task says."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import Host, Process

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")


@pytest.fixture
def small(host: Host, tmp_path: pathlib.Path) -> t.Iterator[t.Callable[[], None]]:
    """A root with a small disk below ``var``, as a host has; the function fills it up."""
    disk = tmp_path / "var"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m,mode=755", "none", str(disk)], check=True)

    def fill() -> None:
        with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(b"x" * 4096)

    try:
        with modules.nexcage_root(tmp_path):
            yield fill
            (disk / "ballast").unlink(missing_ok=True)
            for found in modules.works("nexcage_container_info")["containers"]:
                modules.works("nexcage_container", name=found["name"], state="absent")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("more", [{"stop_timeout": 7, "stop_signal": "USR1", "memory": "64m"}, {"hostname": "other"}], ids=["update", "replace"])
def test_a_container_is_stopped_although_nothing_else_can_be_done(
    host: Host, small: t.Callable[[], None], backend: str, more: dict[str, t.Any], tmp_path: pathlib.Path
) -> None:
    made = modules.works("nexcage_container", name="busy", backend=backend, image=host.image)
    small()
    result = modules.fails("nexcage_container", name="busy", state="stopped", **more)
    assert result["error"]["code"] in ("E_SPACE", "E_AUDIT"), result
    assert result["changed"] and result["error"]["details"]["done"] == ["stop"] and result["plan"][0]["action"] == "stop"
    assert not Process(made["container"]["pid"]).folder.exists()
    (tmp_path / "var/ballast").unlink()
    again = modules.works("nexcage_container", name="busy", state="stopped", **more)
    assert again["changed"] and "stop" not in [action["action"] for action in again["plan"]]
    assert not modules.works("nexcage_container", name="busy", state="stopped", **more)["changed"]


def test_the_signal_of_the_task_is_the_one_that_stops(host: Host, backend: str) -> None:
    """It is recorded only after the stop."""
    host.start("busy", backend)
    result = host.converge("busy", state="stopped", stop_signal="USR1")
    assert [action["action"] for action in result["plan"]] == ["stop", "update"]
    assert result["container"]["exit_code"] == 10  # the image's trap for it
    assert not host.converge("busy", state="stopped", stop_signal="USR1")["changed"]


def test_it_can_be_removed_too(host: Host, small: t.Callable[[], None], backend: str) -> None:
    modules.works("nexcage_container", name="busy", backend=backend, image=host.image)
    small()
    result = modules.works("nexcage_container", name="busy", state="absent", stop_timeout=7)
    assert result["changed"] and modules.works("nexcage_container_info")["containers"] == []
