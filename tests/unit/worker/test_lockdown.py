# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each step of the lock-down with a note-taking operating system; the real one is in tests/adversarial."""

from __future__ import annotations

import errno
import sys
import types

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import lockdown
from ansible_collections.nexcage.backends.tests.support.worker import FakeSystem

LIMITS = {"memory": 1 << 27, "cpu": 6, "descriptors": 200}


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The module's own view of sys, so that these tests keep their output."""
    view = types.SimpleNamespace(stdout="stdout", stderr="stderr", maxsize=sys.maxsize)
    monkeypatch.setattr(lockdown, "sys", view)
    return view


def test_the_protocol_leaves_stdin_and_stdout(streams: types.SimpleNamespace) -> None:
    system = FakeSystem(listdir=["0", "1", "2", "3", "4", "7", "9", "10"])
    assert lockdown.take_pipes(system) == (3, 4)
    assert system.log == [
        ("dup", 0),
        ("dup", 1),
        ("pipe",),
        ("dup2", 9, 0),
        ("dup2", 2, 1),
        ("listdir", "/proc/self/fd"),
        ("close", 7),
        ("close", 9),
        ("close", 10),
    ]
    assert streams.stdout == "stderr"


def test_without_proc_every_low_descriptor_is_closed() -> None:
    system = FakeSystem({"listdir": errno.ENOENT, "close": errno.EBADF})
    lockdown.take_pipes(system)
    closed = [entry[1] for entry in system.log if entry[0] == "close"]
    assert closed == list(range(5, 256))


def test_limits() -> None:
    system = FakeSystem()
    assert lockdown.limit(system, LIMITS) == ""
    wanted = {"AS": 1 << 27, "CPU": 6, "NOFILE": 200, "FSIZE": 0, "CORE": 0, "NPROC": 0}
    assert [entry for entry in system.log if entry[0] == "setrlimit"] == [("setrlimit", name, (most, most)) for name, most in wanted.items()]


def test_a_limit_that_is_lower_already_stays() -> None:
    system = FakeSystem(getrlimit=(50, 50))
    assert lockdown.limit(system, LIMITS) == ""
    assert ("setrlimit", "NOFILE", (50, 50)) in system.log


def test_a_refused_limit_is_named() -> None:
    refused = lockdown.limit(FakeSystem({"setrlimit": errno.EINVAL}), LIMITS)
    assert "AS (" in refused
    assert "NPROC (" in refused


def test_the_user_changes_for_good() -> None:
    system = FakeSystem()
    assert lockdown.drop_identity(system, 990, 991) == ""
    assert system.log == [("setgroups", []), ("setresgid", 991, 991, 991), ("setresuid", 990, 990, 990), ("setuid", 0)]


def test_the_user_cannot_change() -> None:
    system = FakeSystem()
    assert "may not change" in lockdown.drop_identity(system, -1, -1)
    assert system.log == []
    assert "setresuid" in lockdown.drop_identity(FakeSystem({"setresuid": errno.EPERM}), 990, 990)
    assert "root again" in lockdown.drop_identity(FakeSystem({}), 990, 990)


def test_it_dies_with_its_parent() -> None:
    system = FakeSystem()
    assert lockdown.follow_parent(system, 42) == ""
    assert system.log == [("prctl", 1, 9), ("getppid",)]
    system = FakeSystem(getppid=1)
    lockdown.follow_parent(system, 42)
    assert system.log[-1] == ("_exit", 0)
    assert "prctl" in lockdown.follow_parent(FakeSystem({"prctl 1": errno.EINVAL}), 42)


def test_no_new_privileges() -> None:
    system = FakeSystem()
    assert lockdown.renounce(system) == ""
    assert system.log == [("prctl", 38, 1), ("prctl", 4, 0)]
    assert "prctl" in lockdown.renounce(FakeSystem({"prctl 38": errno.EINVAL}))


def test_the_filter() -> None:
    assert lockdown.filter_calls(FakeSystem()) == ""
    assert "no filter" in lockdown.filter_calls(FakeSystem(machine=""))
    assert "prctl" in lockdown.filter_calls(FakeSystem({"prctl 22": errno.EINVAL}))


def test_the_self_test_tells_what_it_saw() -> None:
    system = FakeSystem()
    lockdown.filter_calls(system)
    assert lockdown.self_test(system) == {"open": "EPERM", "socket": "EPERM", "fork": "EPERM", "exec": "EPERM"}
    system = FakeSystem({"open": errno.ENOENT, "execv": 99999}, fork=0)
    assert lockdown.self_test(system) == {"open": "ENOENT", "socket": "allowed", "fork": "allowed", "exec": "[Errno 99999] execv"}
    assert ("_exit", 0) in system.log
    system = FakeSystem({}, fork=77)
    lockdown.self_test(system)
    assert ("_exit", 0) not in system.log


@pytest.mark.parametrize(
    ("name", "machine", "maxsize", "wanted"),
    [
        ("Linux", "x86_64", 1 << 63, "x86_64"),
        ("Linux", "aarch64", 1 << 63, "aarch64"),
        ("Linux", "x86_64", 1 << 31, ""),  # a 32-bit interpreter makes i386 calls
        ("Linux", "riscv64", 1 << 63, ""),
        ("Darwin", "x86_64", 1 << 63, ""),
    ],
)
def test_only_known_platforms_have_a_filter(name: str, machine: str, maxsize: int, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockdown.sys, "maxsize", maxsize)
    monkeypatch.setattr(lockdown.os, "uname", lambda: types.SimpleNamespace(sysname=name, machine=machine))
    assert lockdown.System().machine() == wanted


def test_the_real_calls_report_errors() -> None:
    system = lockdown.System()
    system.socket()
    with pytest.raises(OSError, match="prctl"):
        system.prctl(1, 999)  # no such signal
    system._libc = types.SimpleNamespace(socket=lambda *_: -1, prctl=lambda *_: 0)
    system.prctl(1, 0)
    with pytest.raises(OSError, match="socket"):
        system.socket()
