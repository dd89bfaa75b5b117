# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that fail, full disks and killed runs leave nothing of an image."""

from __future__ import annotations

import copy
import ctypes
import errno
import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import image_pull
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image import ImageStore
from ansible_collections.nexcage.backends.plugins.module_utils.broker.store import Lock, write_json
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import images
from ansible_collections.nexcage.backends.tests.support.image_tools import Tools
from ansible_collections.nexcage.backends.tests.unit.broker.image.test_image_store import left_behind, refused


@pytest.mark.parametrize("doing", ["copy", "unpack"])
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        ("it broke", "E_IMAGE"),
        ("no space left on device", "E_SPACE"),
        (subprocess.TimeoutExpired("x", 600), "E_TIMEOUT"),
        (OSError(errno.ENOSPC, "No space left on device"), "E_SPACE"),
        (OSError(errno.EACCES, "Permission denied"), "E_PRIVILEGE"),
        ("not started", "E_BINARY"),
    ],
)
def test_failing_step_leaves_nothing(store: ImageStore, layout: images.Layout, tools: Tools, doing: str, failure: t.Any, code: str) -> None:
    reference = layout.tag(layout.manifest([]), "1")

    def fail(_folder: pathlib.Path) -> object:
        if code == "E_BINARY":
            raise NexcageError(code, failure)
        if isinstance(failure, Exception):
            raise copy.copy(failure)
        return failure

    tools.hooks[doing] = fail
    error = refused(store.ensure, reference)
    assert (error.code, error.option, error.value) == (code, "image", reference)
    if code == "E_SPACE":
        assert f"no space left in {store.folder} while " in error.message
        assert error.remedy == f"free some space in {store.folder}"
    assert os.listdir(store.folder) == []
    assert store.references() == {}
    del tools.hooks[doing]
    assert store.ensure(reference)["changed"] is True


def test_disk_that_is_full_at_the_last_moment(store: ImageStore, layout: images.Layout, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_syncfs(*_arguments: object, **_options: object) -> t.Any:
        class Library:
            @staticmethod
            def syncfs(_descriptor: int) -> int:
                ctypes.set_errno(errno.ENOSPC)
                return -1

        return Library

    monkeypatch.setattr(ctypes, "CDLL", no_syncfs)
    reference = layout.tag(layout.manifest([]), "1")
    assert refused(store.ensure, reference).code == "E_SPACE"
    assert os.listdir(store.folder) == []


@pytest.mark.parametrize("name", ["image.json", "references.json"])
def test_full_disk_for_the_small_files(store: ImageStore, layout: images.Layout, tools: Tools, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write = write_json

    def full(path: str, value: t.Any) -> None:
        if path.endswith(name):
            raise NexcageError("E_SPACE", "no space left on device", value=path)
        write(path, value)

    monkeypatch.setattr(image_pull, "write_json", full)
    reference = layout.tag(layout.manifest([]), "1")
    error = refused(store.ensure, reference)
    assert (error.code, error.value) == ("E_SPACE", reference)
    assert "while writing the image" in error.message
    assert store.references() == {}
    assert left_behind(store) == []


def test_locked_image(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    manifest = layout.manifest([])
    reference = layout.tag(manifest, "1")
    with Lock(f"{store.layout.runtime}/locks/image-{manifest['digest'][7:]}", 1, "another run"):
        error = refused(store.ensure, reference, timeout=0.01)
    assert (error.code, error.option) == ("E_LOCKED", "image")
    assert "another run" in error.message


def test_leftovers_of_dead_runs_are_removed(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    living, dead = "a" * 64, "b" * 64
    for name in (f"{living}-1", f"{dead}-2", f"{dead}-2-damaged"):
        os.makedirs(f"{store.folder}/{image_pull.STAGING}{name}/rootfs")
    with Lock(f"{store.layout.runtime}/locks/image-{living}", 1, "another run"):
        store.ensure(layout.tag(layout.manifest([]), "1"))
    assert left_behind(store) == [f"{image_pull.STAGING}{living}-1"]
    store.ensure(layout.tag(layout.manifest([], {"User": "1"}), "2"))
    assert left_behind(store) == []
    assert os.listdir(f"{store.layout.runtime}/locks") == ["image-references"]
