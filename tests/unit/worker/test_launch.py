# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's process: its start and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import launch


def test_constant_command_line_and_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[t.Any] = []
    popen = subprocess.Popen

    def spy(arguments: list[str], **options: t.Any) -> subprocess.Popen[bytes]:
        seen.append((arguments, options))
        return popen(arguments, **options)

    monkeypatch.setattr(launch.subprocess, "Popen", spy)
    process = launch.Process()
    assert process.end() == (-signal.SIGKILL, pytest.approx(0.0, abs=0.5))
    process.close()
    ((arguments, options),) = seen
    assert arguments == [sys.executable, "-I", "-S", "-B", "-c", launch.STUB]
    assert (options["env"], options["close_fds"], options["cwd"], options["start_new_session"]) == ({}, True, "/", True)


@pytest.mark.parametrize("interpreter", ["/nexcage/no/such/python", "/etc/passwd"])
def test_no_interpreter(interpreter: str) -> None:
    with pytest.raises(NexcageError, match="cannot start a worker") as caught:
        launch.Process(interpreter)
    assert caught.value.code == "E_SANDBOX"


def test_an_embedded_python_has_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.sys, "executable", None)
    with pytest.raises(NexcageError, match="unknown"):
        launch.Process()


def test_an_interpreter_that_ends_at_once() -> None:
    process = launch.Process("/bin/true")
    assert process.end(grace=5.0)[0] == 0
    process.close()


def test_a_grace_that_passes() -> None:
    process = launch.Process()
    assert process.end(grace=0.02)[0] == -signal.SIGKILL
    process.close()


def test_somebody_else_reaps() -> None:
    process = launch.Process("/bin/true")
    os.waitpid(process.pid, 0)
    assert process.end() == (0, 0.0)
    process.close()


def test_a_pipe_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: bytes) -> int:
        raise BlockingIOError

    with monkeypatch.context() as patch:
        patch.setattr(launch.os, "write", full)
        process = launch.Process()
    assert process.unsent == launch.program()
    process.end()
    process.close()


def test_a_worker_that_cannot_be_killed_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    process = launch.Process()
    kill = os.kill

    def late(pid: int, number: int) -> None:
        kill(pid, number)
        raise ProcessLookupError

    monkeypatch.setattr(launch.os, "kill", late)
    assert process.end()[0] == -signal.SIGKILL
    process.close()


def test_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    process = launch.ahead()
    assert process is not None and process.end()[0] == -signal.SIGKILL
    process.close()
    monkeypatch.setattr(sys, "executable", "/nexcage/no/such/python")
    assert launch.ahead() is None
