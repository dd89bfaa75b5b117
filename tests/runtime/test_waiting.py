# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for containers: to run, to end, to answer on a port."""

from __future__ import annotations

import pathlib
import socket
import time

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")


# ---- waiting


def test_wait_for_the_end_and_its_exit_code(host: Host, backend: str) -> None:
    done = host.start("job", backend, command=["sh", "-c", "sleep 0.2; echo done; exit 7"], wait="exited")
    assert done["container"]["status"] == "stopped" and done["container"]["exit_code"] == 7 and done["container"]["finished"]
    assert pathlib.Path(done["container"]["backend_details"]["log"]).read_text().endswith("done\n")
    host.converge("job", state="absent")


def test_wait_for_it_to_run(host: Host, backend: str) -> None:
    begin = time.monotonic()
    assert host.start("web", backend, wait="running")["container"]["status"] == "running"
    assert time.monotonic() - begin > 1
    begin = time.monotonic()
    assert not host.start("web", backend, wait="running")["changed"]
    assert time.monotonic() - begin < 0.8  # it has run all along
    host.converge("web", state="absent", force_kill=True)


def test_waiting_ends_as_soon_as_it_cannot_come_true(host: Host, backend: str) -> None:
    begin = time.monotonic()
    failed = modules.fails("nexcage_container", name="job", backend=backend, image=host.image, command=["sh", "-c", "exit 3"], wait="running")
    assert failed["error"]["option"] == "wait" and "exit code 3" in failed["msg"] and "container.log" in failed["msg"]
    assert failed.actions == ["create", "start"] and failed["changed"]
    host.converge("job", command=["sh", "-c", "exit 4"], state="stopped")
    failed = modules.fails("nexcage_container", name="job", wait="port:1", network_mode="host")
    assert failed["error"]["option"] == "wait" and "exit code 4" in failed["msg"]
    assert time.monotonic() - begin < 3
    created = modules.fails("nexcage_container", name="other", backend=backend, image=host.image, state="stopped", wait="exited")
    assert created["error"]["option"] == "wait"
    for name in ("job", "other"):
        host.converge(name, state="absent")


def test_wait_for_a_port(host: Host, backend: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert host.start("web", backend, network_mode="host", wait=f"port:{port}")["changed"]
    begin = time.monotonic()
    failed = modules.fails("nexcage_container", name="web", wait=f"port:{port}", timeout=1)
    assert failed["error"]["code"] == "E_TIMEOUT" and failed["error"]["option"] == "wait" and 0.9 < time.monotonic() - begin < 2
    host.converge("web", state="absent", force_kill=True)


def test_wait_is_not_for_check_mode(host: Host, backend: str) -> None:
    assert host.start("web", backend, wait="running", check=True)["changed"]
    assert host.one("web") is None
