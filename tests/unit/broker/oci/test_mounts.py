# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts of a container."""

from __future__ import annotations

import os
import pathlib
import struct
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import mounts
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


def one(**entry: t.Any) -> dict[str, t.Any]:
    return mounts.merge([], [{"type": "bind", "source": "/", "target": "/t", "read_only": False, "options": [], **entry}])[0]


def test_options() -> None:
    assert one()["options"] == ["rbind", "rprivate", "rw"]
    assert one(read_only=True, options=["rshared", "bind", "z", "noexec"])["options"] == ["rshared", "bind", "noexec", "ro"]
    assert one(options=["ro"])["options"] == ["rbind", "rprivate", "ro"]
    assert one(type="tmpfs", source=None, options=["size=1m", "dev"])["options"] == ["nosuid", "size=1m", "dev", "rw"]
    assert one(target="//a//b/./c/")["destination"] == "/a/b/c"


def test_the_task_wins_over_a_default() -> None:
    merged = mounts.merge(
        mounts.defaults("/g", False), [{"type": "tmpfs", "target": "/dev/shm", "options": ["size=9m"]}, {"type": "bind", "source": "/", "target": "/a"}]
    )
    places = [entry["destination"] for entry in merged]
    assert places.count("/dev/shm") == 1 and places[-2:] == ["/a", "/dev/shm"] and "/proc" in places
    assert [entry["options"][-1] for entry in mounts.defaults("/g", True) if entry["destination"] == "/sys"] == ["rw"]


@pytest.mark.parametrize(
    "entry",
    [
        {"target": "relative"},
        {"target": "/a/../b"},
        {"target": "/"},
        {"target": "/./"},
        {"target": "/a\0b"},
        {"source": "relative"},
        {"source": "/a/../etc"},
        {"source": None},
        {"source": "/no/such/place"},
        {"source": "/a\0b"},
        {"options": ["size=1"]},
        {"options": ["upperdir=/x"]},
        {"type": "tmpfs", "options": ["size=1,uid=0"]},
        {"type": "overlay"},
    ],
)
def test_refusals(entry: dict[str, t.Any]) -> None:
    with pytest.raises(NexcageError) as caught:
        one(**entry)
    assert (caught.value.code, caught.value.option) == ("E_INVALID", "mounts")


def test_relabelling_is_refused_where_it_would_mean_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda _path: True)
    with pytest.raises(NexcageError) as caught:
        one(options=["Z"])
    assert caught.value.code == "E_UNSUPPORTED"


def elf(*kinds: int) -> bytes:
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", head, 32, 64)
    struct.pack_into("<HH", head, 54, 56, len(kinds))
    return bytes(head) + b"".join(struct.pack("<I", kind) + b"\0" * 52 for kind in kinds)


def test_an_init_program_has_to_be_static(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_INIT_FOLDERS", (str(tmp_path),))
    with pytest.raises(NexcageError) as caught:
        mounts.init_program()
    assert (caught.value.code, caught.value.option) == ("E_BINARY", "init") and "catatonit" in caught.value.remedy
    tini = tmp_path / "tini"
    for content in (elf(1, 3, 2), b"#!/bin/sh\n", b""):
        tini.write_bytes(content)
        tini.chmod(0o755)
        with pytest.raises(NexcageError, match="is not static"):
            mounts.init_program()
    tini.write_bytes(elf(1, 2))
    assert mounts.init_program() == str(tini)


def test_host_devices() -> None:
    paths = {entry["path"]: entry for entry in mounts.host_devices()}
    assert paths["/dev/null"]["type"] == "c" and (paths["/dev/null"]["major"], paths["/dev/null"]["minor"]) == (1, 3)
    assert not any(path.startswith(("/dev/pts/", "/dev/shm/", "/dev/tty")) for path in paths)
