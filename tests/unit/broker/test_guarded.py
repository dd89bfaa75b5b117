# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are read only where nobody else can have changed them."""

from __future__ import annotations

import os
import pathlib
import socket

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import guarded
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "a" / "b" / "file"
    path.parent.mkdir(parents=True)
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o755)
    path.write_bytes(b"content")
    path.chmod(0o644)
    return path


def refused(path: object, code: str = "E_INTEGRITY", limit: int = 100) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        guarded.read(str(path), limit)
    assert caught.value.code == code, caught.value
    return caught.value


def test_a_file_is_read(file: pathlib.Path) -> None:
    assert guarded.read(str(file), 7) == b"content"
    assert guarded.read(os.path.relpath(file), 7) == b"content"
    assert "7 bytes, and 6 are allowed" in refused(file, "E_LIMIT", 6).message
    file.write_bytes(b"")
    assert guarded.read(str(file), 0) == b""


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write(file: pathlib.Path, mode: int) -> None:
    file.chmod(mode)
    error = refused(file)
    assert f"{mode:04o}" in error.message and str(file) in error.remedy
    file.chmod(0o600)
    assert guarded.read(str(file), 7) == b"content"


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_case_92_a_folder_that_others_can_write(file: pathlib.Path, level: int, mode: int) -> None:
    folder = file.parents[level]
    folder.chmod(mode)
    assert str(folder) in refused(file).message
    folder.chmod(0o755)
    assert guarded.read(str(file), 7) == b"content"


def test_the_sticky_bit_helps_further_up_alone(file: pathlib.Path) -> None:
    file.parent.parent.chmod(0o1777)
    assert guarded.read(str(file), 7) == b"content"
    file.parent.chmod(0o1777)
    assert str(file.parent) in refused(file).message


@pytest.mark.requires("root")
@pytest.mark.parametrize("level", [-1, 0, 1])
def test_what_belongs_to_somebody_else(file: pathlib.Path, level: int) -> None:
    path = file if level < 0 else file.parents[level]
    os.chown(path, 12345, -1)
    assert "12345" in refused(file).message
    os.chown(path, 0, -1)
    assert guarded.read(str(file), 7) == b"content"


def test_what_is_no_regular_file(file: pathlib.Path) -> None:
    for name in ("fifo", "link", "folder", "socket"):
        path = file.parent / name
        if name == "fifo":
            os.mkfifo(path)
        elif name == "link":
            path.symlink_to(file)
        elif name == "folder":
            path.mkdir()
        else:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(path))
        refused(path, "E_STATE" if name == "socket" else "E_INTEGRITY")
    refused(file.parent / "gone", "E_NOT_FOUND")
    refused(file / "below", "E_NOT_FOUND")


def test_links_in_the_path(file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for number, target in enumerate((str(file.parent), "a/b", "../" + tmp_path.name + "/a/./b")):
        link = tmp_path / f"link{number}"
        link.symlink_to(target)
        assert guarded.read(f"{link}/file", 7) == b"content"
    (tmp_path / "round").symlink_to("round")
    assert "leads too far" in refused(tmp_path / "round" / "file").message
    (tmp_path / "mixed").symlink_to("link0/../b")
    assert "leads too far" in refused(tmp_path / "mixed" / "file").message


@pytest.mark.requires("root")
def test_a_link_that_somebody_else_made(file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.parent)
    os.lchown(link, 12345, -1)
    assert str(link) in refused(link / "file").message
    os.lchown(link, 0, -1)
    assert guarded.read(f"{link}/file", 7) == b"content"


def test_a_file_that_cannot_be_read(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def denied(path: str, *arguments: int, **options: int) -> int:
        if path == "file":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)
    assert refused(file, "E_PRIVILEGE").remedy == "run the task with 'become: true'"


def test_a_file_that_grows_while_it_is_read(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.read

    def growing(descriptor: int, count: int) -> bytes:
        with file.open("ab") as other:
            other.write(b"x" * 50)
        return real(descriptor, min(count, 10))

    monkeypatch.setattr(os, "read", growing)
    assert "grew" in refused(file, "E_LIMIT").message


def test_no_descriptor_is_left(file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to("a/b")
    before = os.listdir("/dev/fd")
    guarded.read(f"{tmp_path}/link/file", 7)
    refused(tmp_path / "link" / "gone", "E_NOT_FOUND")
    refused(tmp_path / "gone" / "gone", "E_NOT_FOUND")
    file.chmod(0o666)
    refused(file)
    file.parent.chmod(0o777)
    refused(file)
    assert os.listdir("/dev/fd") == before


def test_anybodys_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    file.chmod(0o666)
    (tmp_path / "link").symlink_to(file)
    assert guarded.read_any(str(file), 7) == guarded.read_any(str(tmp_path / "link"), 7) == b"content"
    os.mkfifo(tmp_path / "pipe")
    for name, limit, code in (("file", 6, "E_LIMIT"), ("none", 7, "E_NOT_FOUND"), ("", 7, "E_INTEGRITY"), ("pipe", 7, "E_INTEGRITY")):
        with pytest.raises(NexcageError) as caught:
            guarded.read_any(str(tmp_path / name), limit)
        assert caught.value.code == code


def test_anybodys_file_that_cannot_be_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in ((PermissionError(13, "no"), "E_PRIVILEGE"), (OSError(5, "broken"), "E_STATE")):

        def fail(*_arguments: object, error: OSError = error, **_more: object) -> int:
            raise error

        monkeypatch.setattr(guarded.os, "open", fail)
        with pytest.raises(NexcageError) as caught:
            guarded.read_any(str(tmp_path / "file"), 1)
        assert caught.value.code == code


def test_the_root_folder_counts_too(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, root = os.fstat, os.stat("/")

    def loose(descriptor: int) -> os.stat_result:
        facts = real(descriptor)
        return os.stat_result((facts.st_mode | 0o022, *facts[1:])) if os.path.samestat(facts, root) else facts

    assert guarded.read(str(file), 7) == b"content"
    monkeypatch.setattr(os, "fstat", loose)
    assert refused(file).value == "/"
