# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin asks of the host."""

from __future__ import annotations

import os
import pathlib
import platform
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import runtime
from ansible_collections.nexcage.backends.plugins.module_utils.manager import requirements


def manifest(binaries: t.Sequence[t.Mapping[str, t.Any]] = (), **system: t.Any) -> dict[str, t.Any]:
    wanted = {"os": [], "architecture": [], "kernel_version": ">=0", "virtualization": [], **system}
    return {"system_requirements": wanted, "binary_dependencies": [{"version": ">=0", "description": "", "check_command": "", **entry} for entry in binaries]}


FACTS = os.uname_result(("Linux", "host", "6.1.0-13-amd64", "#1", "x86_64"))


@pytest.mark.parametrize(
    "system",
    [{}, {"os": ["linux"], "architecture": ["amd64", "arm64"]}, {"architecture": ["x86_64"], "kernel_version": ">=4.18"}, {"kernel_version": ">=6.1,<6.2"}],
)
def test_a_host_that_fits(system: dict[str, t.Any]) -> None:
    assert requirements.check(manifest(**system), FACTS) == []


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ({"os": ["freebsd", "darwin"]}, "system_requirements.os is freebsd, darwin, and this host has linux"),
        ({"architecture": ["riscv64"]}, "system_requirements.architecture is riscv64, and this host has x86_64"),
        ({"kernel_version": ">=6.2"}, "system_requirements.kernel_version is >=6.2, and this host has 6.1.0-13-amd64"),
    ],
)
def test_a_host_that_does_not(system: dict[str, t.Any], said: str) -> None:
    (error,) = requirements.check(manifest(**system), FACTS)
    assert error.code == "E_SYSTEM" and said in error.message


def test_a_kernel_of_unknown_version() -> None:
    facts = os.uname_result(("Linux", "host", "strange", "#1", "x86_64"))
    assert [error.code for error in requirements.check(manifest(), facts)] == ["E_SYSTEM"]


def test_virtualization(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"/dev/kvm": True}
    monkeypatch.setattr(requirements.os.path, "exists", lambda path: there[path])
    assert requirements.check(manifest(virtualization=["kvm"]), FACTS) == []
    there["/dev/kvm"] = False
    (error,) = requirements.check(manifest(virtualization=["kvm"]), FACTS)
    assert "virtualization is kvm, and this host has none" in error.message


def test_this_very_host() -> None:
    assert requirements.check(manifest(os=[platform.system().lower()], architecture=[platform.machine()])) == []


@pytest.fixture
def programs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder of programs that is looked at first."""
    monkeypatch.setattr(runtime, "FOLDERS", (str(tmp_path),))
    return tmp_path


def program(folder: pathlib.Path, name: str, text: str) -> None:
    (folder / name).write_text("#!/bin/sh\n" + text)
    (folder / name).chmod(0o755)


@pytest.mark.requires("root", "linux")
def test_programs(programs: pathlib.Path) -> None:
    program(programs, "good", 'test "$1" = --version && echo good version 1.10.0')
    program(programs, "words", 'test "$1" = version && echo v2.0 >&2')
    program(programs, "silent", "exit 0")
    program(programs, "alien", "echo 9.9.9")
    os.chown(programs / "alien", 65534, -1)
    fine = [{"name": "good", "version": ">=1.9"}, {"name": "words", "version": "~=2.0", "check_command": "words version"}, {"name": "silent"}]
    assert requirements.check(manifest(fine), FACTS) == []
    bad = [
        {"name": "good", "version": ">=1.11"},
        {"name": "silent", "version": ">=1"},
        {"name": "missing", "version": ">=3"},
        {"name": "alien"},
        {"name": "gone"},
    ]
    errors = requirements.check(manifest(bad), FACTS)
    assert {error.code for error in errors} == {"E_BINARY"}
    texts = [error.message for error in errors]
    assert f"good >=1.11 is needed, and {programs}/good is 1.10.0" in texts[0] and "unknown version" in texts[1]
    assert "missing is not installed" in texts[2] and errors[2].remedy == "install missing >=3" and "changed by others" in texts[3]
    assert "chown root" in errors[3].remedy and errors[4].remedy == "install gone"


@pytest.mark.requires("root", "linux")
def test_a_program_that_hangs(programs: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(programs, "slow", "exec sleep 60")
    original = runtime.call
    monkeypatch.setattr(requirements.runtime, "call", lambda argv, timeout: original(argv, 0.05))
    (error,) = requirements.check(manifest([{"name": "slow", "version": ">=1"}]), FACTS)
    assert "unknown version" in error.message
