# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that end, change or hang, and the programs that are started."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import (
    process,
    runtime,
    waiting,
)
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


def test_a_dead_process_that_nobody_waited_for_is_dead() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        started = process.start_time(child.pid)
        assert process.alive(child.pid, started) and not process.alive(child.pid, 1) and not process.alive(None, started)
        waiting.send(child.pid, 1, signal.SIGKILL)  # another start time: another process
        assert not waiting.wait_end(child.pid, started, 0.02)
        waiting.send(child.pid, started, signal.SIGKILL)
        assert waiting.wait_end(child.pid, started, 5) and process.start_time(child.pid) is None
        waiting.send(child.pid, started, signal.SIGKILL)
    assert process.start_time(1 << 30) is None


def test_a_process_that_goes_on_without_its_first_thread_lives() -> None:
    script = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); ctypes.CDLL(None).syscall(%d, 0)"
    number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # exit(2), of this thread alone
    with subprocess.Popen([sys.executable, "-c", script % number]) as child:
        stat = pathlib.Path(f"/proc/{child.pid}/stat")
        deadline = time.monotonic() + 10
        while b") Z " not in stat.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.005)
        started = process.start_time(child.pid)
        assert b") Z " in stat.read_bytes() and process.alive(child.pid, started)
        waiting.send(child.pid, started, signal.SIGKILL)
        assert waiting.wait_end(child.pid, started, 5) and process.start_time(child.pid) is None


def test_waiting_without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        started = process.start_time(child.pid)
        assert not waiting.wait_end(child.pid, started, 0.02)
        waiting.send(child.pid, started, signal.SIGKILL)
        assert waiting.wait_end(child.pid, started, 5)


def test_a_process_that_changes_under_our_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(process, "alive", lambda _pid, _started: next(answers))
    before = len(os.listdir("/proc/self/fd"))
    assert waiting.open_process(os.getpid(), 1) == -1 and len(os.listdir("/proc/self/fd")) == before


def test_ending_all_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waiting.end_all(list, 1) == []
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        assert waiting.end_all(lambda: [child.pid], 5) == []
    monkeypatch.setattr(waiting, "kill_tree", lambda *_arguments: None)
    assert waiting.end_all(lambda: [os.getpid()], 0.02) == [os.getpid()]

    def gone(_pid: int, _number: int) -> None:
        raise ProcessLookupError

    monkeypatch.undo()
    monkeypatch.setattr(signal, "pidfd_send_signal", gone)
    waiting.send(os.getpid(), process.start_time(os.getpid()), 0)  # no signal, should there be no pidfd either


def test_boot_id_and_the_end_of_a_stat_file(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    assert process.boot_id() == process.boot_id() and len(process.boot_id()) == 36
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("")
    monkeypatch.setattr(process, "PROC", str(tmp_path))
    assert process.start_time(7) is None


def test_programs_come_from_roots_own_folders(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.program("sh").endswith("/sh")
    for name in ("../sh", "-x", "", "a b"):
        with pytest.raises(NexcageError) as caught:
            runtime.program(name)
        assert caught.value.code == "E_INVALID"
    monkeypatch.setattr(runtime, "FOLDERS", (str(tmp_path),))
    (tmp_path / "crun").mkdir()
    for change in (lambda: None, (tmp_path / "crun").rmdir, lambda: (tmp_path / "crun").write_text("")):
        change()
        with pytest.raises(NexcageError, match="is not installed"):
            runtime.program("crun")
    (tmp_path / "crun").chmod(0o777)
    with pytest.raises(NexcageError, match="can be changed by others"):
        runtime.program("crun")


def test_the_runtimes_words() -> None:
    assert runtime.message('time="2026-11-22T20:15:26Z" level=error msg="a \\"b\\" c"\n') == 'a "b" c'
    assert runtime.message("2026-11-22T20:15:26.123456Z: x\n\ny\n") == "x; y" and runtime.message("") == "no message"


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(NexcageError) as caught:
        runtime.call(["/bin/sleep", "60"], timeout=0.05)
    assert caught.value.code == "E_TIMEOUT"
