# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child that cannot hang, flood or outlive its parent."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import image_process
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


def state(pid: int) -> str:
    """The state letter of a process; Z and nothing at all both mean that it is dead."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "Z"


def wait_dead(pid: int) -> bool:
    for _attempt in range(200):
        if state(pid) == "Z":
            return True
        time.sleep(0.01)
    return False


def test_outcome(tmp_path: pathlib.Path) -> None:
    outcome = image_process.run(["sh", "-c", "pwd; umask; echo bad >&2; exit 3"], 10, {}, str(tmp_path))
    assert outcome == (3, f"{tmp_path}\n0022\n".encode(), "bad\n")


def test_environment_is_what_is_needed(tmp_path: pathlib.Path) -> None:
    given = {"HOME": "/home/x", "https_proxy": "http://p:1", "NO_PROXY": "h", "http_proxy": "", "LD_PRELOAD": "/x", "TOKEN": "t", "PATH": str(tmp_path)}
    assert image_process.child_environment(given) == {
        "HOME": "/home/x",
        "https_proxy": "http://p:1",
        "NO_PROXY": "h",
        "PATH": image_process.PATH,
    }
    assert b"TOKEN" not in image_process.run(["env"], 10, given).output


def test_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_process, "OUTPUT_LIMIT", 1000)
    monkeypatch.setattr(image_process, "ERROR_LIMIT", 10)
    outcome = image_process.run(["sh", "-c", "head -c 3000000 /dev/zero; head -c 100000 /dev/zero >&2; echo the end >&2"], 10, {})
    assert len(outcome.output) <= 1000 + 65536
    assert outcome.errors == "\0\0the end\n"
    assert outcome.code == 0


@pytest.mark.parametrize("script", ["sleep 60 & echo $!; wait", "echo $$; exec >&- 2>&-; exec sleep 60"])
def test_group_ends_with_the_time(script: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "script").write_text(script.replace("echo", f"exec 3>{tmp_path}/pid; echo", 1).replace("$!", "$! >&3").replace("$$", "$$ >&3"))
    with pytest.raises(subprocess.TimeoutExpired):
        image_process.run(["sh", str(tmp_path / "script")], 0.2, {})
    assert wait_dead(int((tmp_path / "pid").read_text()))


def test_child_dies_with_its_parent(tmp_path: pathlib.Path) -> None:
    ready = tmp_path / "pid"
    source = f"""
import sys
from ansible_collections.nexcage.backends.plugins.module_utils.broker import image_process
image_process.run(["sh", "-c", "echo $$ > {ready}.new; mv {ready}.new {ready}; exec sleep 60"], 50, {{}})
"""
    parent = subprocess.Popen([sys.executable, "-c", source])
    for _attempt in range(500):
        if ready.exists():
            break
        time.sleep(0.01)
    child = int(ready.read_text())
    assert state(child) != "Z"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert wait_dead(child)


def test_missing_program() -> None:
    with pytest.raises(NexcageError) as caught:
        image_process.run(["no-such-program"], 1, {})
    assert caught.value.code == "E_BINARY"
    assert "no-such-program" in caught.value.message


def test_program_that_cannot_start(tmp_path: pathlib.Path) -> None:
    with pytest.raises(NexcageError) as caught:
        image_process.run(["sh"], 1, {}, str(tmp_path / "gone"))
    assert caught.value.code == "E_BINARY"
