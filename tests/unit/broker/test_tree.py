# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing folders that a stranger filled."""

from __future__ import annotations

import os
import pathlib
import resource
import shutil

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import tree


def nest(folder: pathlib.Path, depth: int) -> None:
    """Folders in folders, each with a file, deeper than a path may be long."""
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for _level in range(depth):
        os.mkdir("down", dir_fd=handle)
        inner = os.open("down", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        handle = inner
    os.close(handle)


@pytest.mark.parametrize("descriptors", [64, 4096])
def test_no_tree_is_too_deep(tmp_path: pathlib.Path, descriptors: int) -> None:
    nest(tmp_path / "deep", 2500)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(used + descriptors, hard), hard))
    try:
        tree.remove(str(tmp_path / "deep"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_nothing_outside_is_touched(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("precious")
    hostile = tmp_path / "hostile"
    (hostile / "inner").mkdir(parents=True)
    for place in (hostile, hostile / "inner"):
        (place / "link").symlink_to(kept)
        os.mkfifo(place / "pipe")
    monkeypatch.setattr(shutil, "rmtree", lambda *_arguments, **_options: None)  # the way for deep trees alone
    tree.remove(str(hostile))
    tree.remove(str(hostile))
    assert not hostile.exists() and (kept / "file").read_text() == "precious"


def test_what_stays_is_an_error(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    with pytest.raises(OSError, match="directory"):
        tree.remove(str(file))
