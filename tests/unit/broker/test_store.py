# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Atomic files and locks."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import subprocess
import sys
import threading
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


@pytest.mark.parametrize("sync", [True, False])
def test_written_whole_with_its_mode(tmp_path: pathlib.Path, sync: bool) -> None:
    path = tmp_path / "file"
    store.atomic_write(str(path), b"one")
    store.atomic_write(str(path), b"two" * 50000, mode=0o644, sync=sync)
    assert path.read_bytes() == store.read_bytes(str(path)) == b"two" * 50000
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 and os.listdir(tmp_path) == ["file"]
    store.sync_folder(str(tmp_path))


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "E_SPACE"), (errno.EDQUOT, "E_SPACE"), (errno.EIO, "E_STATE")])
def test_a_failed_write_leaves_the_old_content(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(_descriptor: int, _data: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(NexcageError) as caught:
        store.atomic_write(str(path), b"new")
    assert caught.value.code == code and path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_folder_in_the_way(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NexcageError) as caught:
        store.ensure_folder(str(tmp_path / "file" / "sub"))
    assert caught.value.code == "E_STATE"
    store.ensure_folder(str(tmp_path / "a" / "b"))
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_reading(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "value.json")
    assert store.read_json(path) is None and store.read_bytes(path + "/below") is None
    store.write_json(path, {"ä": [1, None]})
    assert store.read_json(path) == {"ä": [1, None]}
    store.atomic_write(path, b"{")
    with pytest.raises(NexcageError, match="is damaged"):
        store.read_json(path)
    store.remove(path)
    store.remove(path)


def test_checkpoints_are_nothing_until_a_test_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    store.checkpoint("create:mounted")
    steps: list[str] = []
    monkeypatch.setattr(store, "CHECKPOINT", steps.append)
    store.checkpoint("create:mounted")
    assert steps == ["create:mounted"]


def test_a_lock_tells_its_holder_and_is_given_up(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "locks" / "web")
    with store.Lock(path, 1, "process 1 (start web)"):
        with pytest.raises(NexcageError) as caught, store.Lock(path, 0.05, "process 2"):
            pass
        assert caught.value.code == "E_LOCKED" and "process 1 (start web)" in caught.value.message
    with store.Lock(path, 1, "process 2"):
        assert store.read_bytes(path) == b"process 2"
    assert os.path.exists(path)


def test_a_lock_file_goes_with_its_subject(tmp_path: pathlib.Path) -> None:
    path, subject = str(tmp_path / "lock"), tmp_path / "subject"
    subject.write_text("")
    with store.Lock(path, 1, "one", str(subject)):
        pass
    assert os.path.exists(path)
    with store.Lock(path, 1, "two", str(subject)):
        subject.unlink()
    assert not os.path.exists(path)
    lock = store.Lock(path, 1, "three")
    with lock:
        lock.discard = True
    assert not os.path.exists(path)


def test_a_lock_on_a_file_just_removed_is_taken_anew(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "lock")
    original: t.Callable[[os.stat_result, os.stat_result], bool] = os.path.samestat
    answers = iter([False])
    monkeypatch.setattr(os.path, "samestat", lambda one, two: next(answers, None) is None and original(one, two))
    with store.Lock(path, 5, "one"):
        assert store.read_bytes(path) == b"one"


def test_only_one_holds_it(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "lock")
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _number in range(5):
            with store.Lock(path, 20, "thread", str(tmp_path / "never")):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(most) == 20


def test_the_kernel_frees_the_lock_of_a_killed_holder(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "lock")
    script = f"import fcntl,os,time;f=os.open({path!r},os.O_CREAT|os.O_RDWR);fcntl.flock(f,fcntl.LOCK_EX);print(1,flush=True);time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(NexcageError, match="somebody unknown"), store.Lock(path, 0, "me"):
            pass
        holder.kill()
    with store.Lock(path, 1, "me"):
        pass


def test_a_lock_needs_no_space(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with store.Lock(str(tmp_path / "lock"), 0.0, "me"), pytest.raises(NexcageError, match="still locked"), store.Lock(str(tmp_path / "lock"), 0.0, "you"):
        pass


def test_a_read_only_folder_is_said(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *_arguments: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(NexcageError, match=r"file cannot be written: Read-only") as caught:
        store.atomic_write(str(tmp_path / "file"), b"")
    assert caught.value.code == "E_STATE"
    with pytest.raises(NexcageError, match=r"file cannot be removed: Read-only"):
        store.remove(str(tmp_path / "file"))
    with pytest.raises(NexcageError, match=r"file cannot be removed: Read-only"):
        store.remove(str(tmp_path / "file"))
