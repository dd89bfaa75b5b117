# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root lacks inside a container, read from a /proc of our own."""

from __future__ import annotations

import fcntl
import os
import pathlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import powers
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

ALL = "Name:\tx\nCapEff:\t000001ffffffffff\n"


@pytest.fixture
def proc(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns/user").write_text("")
    (tmp_path / "ns/mnt").write_text("")
    (tmp_path / "status").write_text(ALL)
    (tmp_path / "uid_map").write_text("         0          0 4294967295\n")
    monkeypatch.setattr(powers, "SELF", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(fcntl, "ioctl", lambda *_arguments: os.open(tmp_path / "ns/user", os.O_RDONLY))
    return tmp_path


def refused() -> str:
    with pytest.raises(NexcageError) as caught:
        powers.require("create web")
    assert caught.value.code == "E_PRIVILEGE" and caught.value.message.startswith("create web: ") and caught.value.remedy
    return caught.value.message


def test_root_of_the_host(proc: pathlib.Path) -> None:
    powers.require("create web")
    (proc / "uid_map").unlink()
    (proc / "status").unlink()
    powers.require("create web")


def test_somebody_else(proc: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root is needed" in refused()


def test_capabilities_that_a_container_engine_takes_away(proc: pathlib.Path) -> None:
    (proc / "status").write_text("CapEff:\t00000000a80425fb\n")  # docker's default set
    assert "without CAP_SYS_ADMIN" in refused()
    (proc / "status").write_text("CapEff:\t0000000000000000\n")
    assert "CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_ADMIN" in refused()


def test_a_user_namespace_that_is_too_small(proc: pathlib.Path) -> None:
    (proc / "uid_map").write_text("         0       1000          1\n")
    assert "has 1 user ids" in refused()
    (proc / "uid_map").write_text("         0       1000          1\n         1     100000      65536\n")
    powers.require("create web")


def test_mounts_of_another_user_namespace(proc: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (proc / "ns/other").write_text("")
    monkeypatch.setattr(fcntl, "ioctl", lambda *_arguments: os.open(proc / "ns/other", os.O_RDONLY))
    assert "may not mount" in refused()

    def forbidden(*_arguments: object) -> int:
        raise PermissionError

    monkeypatch.setattr(fcntl, "ioctl", forbidden)
    assert "may not mount" in refused()


def test_a_kernel_that_does_not_tell(proc: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object) -> int:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(fcntl, "ioctl", unknown)
    assert powers.mounts_are_ours()
    (proc / "ns/mnt").unlink()
    assert powers.mounts_are_ours()
