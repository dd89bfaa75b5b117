# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin is replaced again and again while fifty processes use it at the same time, and none of them notices."""

from __future__ import annotations

import json
import os
import pathlib
import time
import traceback
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host
from ansible_collections.nexcage.backends.tests.support.tiny import GRANT, NAME, package

pytestmark = [
    pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox"),
    pytest.mark.xdist_group("host"),
]
READERS, MAKERS, WAITERS = 30, 14, 6
VERSIONS = ("1.0.0", "2.0.0")
SECONDS = 60.0


class Team:
    """Processes that do one operation after the other until they are told to stop.

    Args:
        folder: Where each of them writes down what came of its operations.
        image: Of the containers.
    """

    def __init__(self, folder: pathlib.Path, image: str) -> None:
        self.folder, self.image = folder, image
        self.stop = folder / "stop"
        self.pids: dict[int, pathlib.Path] = {}

    def add(self, work: t.Callable[[int], t.Any], number: int, repeat: bool = True) -> None:
        """Start one that does this work; what it returns is kept."""
        notes = self.folder / f"{work.__name__}-{number}"
        notes.touch()
        pid = os.fork()
        if pid:
            self.pids[pid] = notes
            return
        code = 1
        try:
            os.nice(5)
            while True:
                line = json.dumps(work(number))
                with notes.open("a") as file:
                    file.write(line + "\n")
                if not repeat or self.stop.exists():
                    break
            code = 0
        except BaseException:  # whatever it was, it is the test's failure
            notes.write_text(traceback.format_exc())
        finally:
            os._exit(code)

    def read(self, _number: int) -> str:
        """Ask the plugin for its health: record, manifest and each file of its code are of one version, which is returned."""
        (found,) = modules.works("nexcage_plugin_info", name=[NAME])["plugins"]
        assert found["health"]["status"] == "healthy", found
        assert found["state"] == "loaded" and found["grant"] == sorted(GRANT), found
        version = found["version"]
        assert (found["health"]["code"], found["health"]["steps"], found["manifest"]["version"]) == (version, version, version), found
        return str(version)

    def make(self, number: int) -> list[str]:
        """The life of a container."""
        task = {"name": f"made-{number}", "backend": "tiny", "image": self.image, "command": FOREVER, "stop_signal": "KILL", "timeout": SECONDS}
        done = [modules.works("nexcage_container", **task), modules.works("nexcage_container", **task)]
        assert [result["changed"] for result in done] == [True, False], done
        done.append(modules.works("nexcage_container_exec", name=task["name"], argv=["/bin/busybox", "true"], timeout=SECONDS))
        done.append(modules.works("nexcage_container", name=task["name"], state="absent", timeout=SECONDS))
        return [warning for result in done for warning in result.get("warnings", ())]

    def wait(self, number: int) -> str:
        """A command in a container, which ends when all replacements are done."""
        script = f"echo up >/up-{number}; echo up; while [ ! -e /go ]; do sleep 0.05; done; echo ended"
        return str(modules.works("nexcage_container_exec", name="shared", argv=["/bin/sh", "-c", script], timeout=SECONDS)["stdout"])

    def last(self, version: str) -> int:
        """How many of the readers were last answered by that version."""
        return sum(file.read_text().endswith(f'"{version}"\n') for file in self.folder.glob("read-*"))

    def at_work(self) -> int:
        """How many of the processes have not ended."""
        return sum(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None for pid in self.pids)

    def failures(self) -> list[str]:
        """Wait for the end of each; what those that failed wrote down."""
        self.stop.touch()
        codes = {notes: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, notes in self.pids.items()}
        return [f"{notes.name} ended with {code}: {notes.read_text()}" for notes, code in codes.items() if code != 0]


def reached(what: t.Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_fifty_operations_while_the_plugin_is_replaced(host: Host, tmp_path: pathlib.Path) -> None:
    files = [package(tmp_path, version) for version in VERSIONS]
    modules.works("nexcage_plugin", name=NAME, src=files[0], trust="unsigned", grant=GRANT, allow_downgrade=True)
    shared = modules.works("nexcage_container", name="shared", backend="tiny", image=host.image, command=FOREVER, stop_signal="KILL")
    inside = pathlib.Path(f"/proc/{shared['container']['pid']}/root")
    team = Team(tmp_path, host.image)
    try:
        for number in range(WAITERS):
            team.add(team.wait, number, repeat=False)
        for number in range(READERS):
            team.add(team.read, number)
        for number in range(MAKERS):
            team.add(team.make, number)
        reached(lambda: all((inside / f"up-{number}").exists() for number in range(WAITERS)) and team.last(VERSIONS[0]) == READERS)
        versions = []
        for change in ({"src": files[1]}, {"state": "rolled_back"}, {"src": files[1]}):
            assert team.at_work() == READERS + MAKERS + WAITERS
            result = modules.works("nexcage_plugin", name=NAME, trust="unsigned", **change)
            versions.append(result["plugin"]["version"])
            reached(lambda: team.last(versions[-1]) == READERS or team.at_work() < READERS)
        assert team.at_work() == READERS + MAKERS + WAITERS
    finally:
        (inside / "go").touch()
        failures = team.failures()
    assert failures == []
    assert versions == ["2.0.0", "1.0.0", "2.0.0"]
    assert [json.loads((tmp_path / f"wait-{number}").read_text()) for number in range(WAITERS)] == ["up\nended"] * WAITERS
    said = [json.loads(line) for number in range(MAKERS) for line in (tmp_path / f"make-{number}").read_text().splitlines()]
    assert len(said) >= MAKERS and not any(said), said
    modules.works("nexcage_container", name="shared", state="absent", force_kill=True)
    modules.works("nexcage_plugin", name=NAME, state="absent")
