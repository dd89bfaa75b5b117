# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts that fail."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import (
    rootfs,
    runtime,
)
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


def test_mount_failures(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not rootfs.mounted(str(tmp_path / "none")) and rootfs.mounted("/proc") and not rootfs.mounted(str(tmp_path))
    with pytest.raises(OSError):
        rootfs._mount("none", str(tmp_path / "none"), "no-such-type", 0, "")
    with pytest.raises(NexcageError) as caught:
        rootfs.prepare(str(tmp_path), str(tmp_path / "no-image"))
    assert caught.value.code == "E_IMAGE"
    assert rootfs._escaped("/a:b,c\\d") == "/a\\:b\\,c\\\\d"
    for number, code in ((28, "E_SPACE"), (5, "E_STATE")):

        def fail(*_arguments: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        folder = tmp_path / str(number)
        (folder / "lower").mkdir(parents=True)
        monkeypatch.setattr(rootfs, "_mount", fail)
        with pytest.raises(NexcageError) as caught:
            rootfs.prepare(str(folder), str(folder / "lower"))
        assert caught.value.code == code
        with pytest.raises(NexcageError):
            rootfs.remount(str(folder), {"rootfs": {"kind": "overlay", "lower": str(folder / "lower")}})
    for words, code in (("No space left on device", "E_SPACE"), ("odd", "E_STATE")):
        monkeypatch.setattr(runtime, "call", lambda *_arguments, words=words, **_named: runtime.Answer(1, b"", words))
        with pytest.raises(NexcageError) as caught:
            rootfs._copy("/a", "/b")
        assert caught.value.code == code


def test_unmounting_that_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def umount2(self, _target: bytes, _flags: int) -> int:
            return -1

    rootfs.release(str(tmp_path))
    monkeypatch.setattr(rootfs, "_libc", Library())
    monkeypatch.setattr(rootfs.ctypes, "get_errno", lambda: 1)
    with pytest.raises(NexcageError, match="cannot be unmounted"):
        rootfs.release(str(tmp_path))
