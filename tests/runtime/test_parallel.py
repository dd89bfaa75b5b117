# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Eight playbooks at once on one host, over the same and over their own containers."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.ansible_cli import environment, playbook_command, write_playbook
from ansible_collections.nexcage.backends.tests.support.host import RUNTIMES, Host
from ansible_collections.nexcage.backends.tests.support.trail import Trail

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
RUNNER = pathlib.Path(modules.__file__).parent / "killable.py"
PLAYBOOKS = 8
MEMORY = ("32m", "48m")


def tasks_of(number: int, host: Host) -> list[dict[str, t.Any]]:
    """What one playbook does: two shared containers from different sides, and one of its own through its whole life."""
    backend = RUNTIMES[number % 2]
    common = {"image": host.image, "env": {"MARKER": str(host.root)}, "timeout": 100}
    shared = {"name": f"shared-{backend}", "backend": backend, **common}
    steps: list[dict[str, t.Any]] = [
        {**shared, "memory": MEMORY[number // 2 % 2]},
        {"name": f"own-{number}", "backend": backend, **common},
        {"name": "contested", "backend": backend, "replace_backend": True, **common},
        {"name": f"own-{number}", "memory": "40m", "timeout": 100},
        {"name": "contested", "state": "absent", "force_kill": True, "timeout": 100},
        {**shared, "state": ("restarted", "stopped")[number % 4 // 2], "force_kill": True},
        {"name": f"own-{number}", "state": ("absent", "stopped")[number % 2], "timeout": 100},
    ]
    return [{"name": f"step {index}", "nexcage.backends.nexcage_container": step} for index, step in enumerate(steps)]


def test_eight_playbooks_at_once(host: Host, tmp_path: pathlib.Path) -> None:
    seen = Trail(host.root)
    running = []
    for number in range(PLAYBOOKS):
        results = tmp_path / f"results-{number}"
        settings = environment(tmp_path / f"home-{number}", ANSIBLE_CALLBACKS_ENABLED="nexcage_results", NEXCAGE_RESULTS=str(results))
        play = write_playbook(tmp_path / f"{number}.yml", {"tasks": tasks_of(number, host)})
        log = (tmp_path / f"log-{number}").open("wb")
        process = subprocess.Popen(playbook_command(play), env=settings, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        log.close()
        running.append((number, process, results))
    while any(process.poll() is None for _number, process, _results in running):
        seen.note()
        time.sleep(0.05)
    for number, process, results in running:
        assert process.returncode == 0, (tmp_path / f"log-{number}").read_text()
        done = [json.loads(line) for line in results.read_text().splitlines()]
        assert len(done) == 7, done
        check_truth(number, [entry["result"] for entry in done])
    seen.note()
    left = {name: host.one(name) for name in host.names()}
    assert set(left) == {"shared-crun", "shared-runc", *(f"own-{number}" for number in range(1, PLAYBOOKS, 2))}
    for name, found in left.items():
        assert found and found["backend_details"]["generation_leftovers"] == [], found
        assert found["status"] == "stopped" or name.startswith("shared-")
        if name.startswith("shared-"):
            assert found["spec"]["memory"] in (32 << 20, 48 << 20)
            assert found["resources"]["memory"] == found["spec"]["memory"]
    for name in left:
        host.converge(name, state="absent", force_kill=True)
    assert seen.left() == []


def check_truth(number: int, results: list[dict[str, t.Any]]) -> None:
    """What each step reported of itself was so, whoever else was at work."""
    shared, own, contested, changed, removed, last, ended = (result["container"] for result in results)
    assert shared["status"] == "running" and shared["resources"]["memory"] == int(MEMORY[number // 2 % 2][:-1]) << 20
    assert own["status"] == "running" and changed["resources"]["memory"] == 40 << 20 and changed["id"] == own["id"]
    assert contested["status"] == "running" and contested["backend"] == RUNTIMES[number % 2]
    assert removed["status"] == "absent" and ended["status"] == ("absent", "stopped")[number % 2]
    assert last["status"] == ("running", "stopped")[number % 4 // 2]


def test_who_waits_too_long_says_for_whom(host: Host, backend: str) -> None:
    """One run waits for a container's end; the others come to nothing after their own time, and harm nothing."""
    host.start("busy", backend, state="present")
    arguments = {"name": "busy", "state": "started", "wait": "exited", "timeout": 60}
    holder = subprocess.Popen([sys.executable, str(RUNNER), json.dumps(arguments), "", "-1"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not ((found := host.one("busy")) and found["status"] == "running") and time.monotonic() < deadline:
            time.sleep(0.02)
        begin = time.monotonic()
        refused = modules.fails("nexcage_container", name="busy", state="absent", timeout=1)
        assert 0.9 <= time.monotonic() - begin < 10
        assert refused["error"]["code"] == "E_LOCKED" and f"process {holder.pid}," in refused["msg"] and "busy" in refused["msg"]
        # reading waits for nobody
        assert modules.works("nexcage_container", name="busy", state="absent", check=True)["changed"]
        assert modules.works("nexcage_container_info", name=["busy"])["containers"][0]["status"] == "running"
        # neither does a command, and one that ends the container lets the holder go on
        modules.run("nexcage_container_exec", name="busy", command="kill -TERM 1", timeout=10)
        assert holder.wait(30) == 0
    finally:
        holder.kill()
        holder.wait()
    assert host.converge("busy", state="absent")["changed"]
